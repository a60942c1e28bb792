//! A survey of session folders: the names in their paths, and the names of their files. No file is read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::listing::discover::FoundFiles;
use crate::listing::left_out::LeftOutReason;
use alf::SessionPath;
use alf::dataset_type::NoDatasetType;
use alyx_client::text::printable;

/// What sessions show of themselves.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// How many sessions.
    pub sessions: usize,
    /// The subjects, each with the labs of its paths.
    pub(crate) subjects: BTreeMap<String, BTreeSet<Option<String>>>,
    /// The names of files that are datasets.
    pub(crate) datasets: BTreeSet<String>,
    /// ALF names of files that no dataset type or no data format takes.
    pub(crate) untyped: BTreeSet<String>,
    /// ALF names that several dataset types take, with these types.
    pub(crate) ambiguous: BTreeMap<String, Vec<String>>,
    /// Files to rename, with the right name.
    pub(crate) near_misses: BTreeMap<String, String>,
    /// Files whose names are not ALF.
    pub(crate) not_alf: BTreeSet<String>,
}

impl Survey {
    /// Adds a session and its files.
    pub(crate) fn add(&mut self, session: &SessionPath, found: &FoundFiles) {
        self.sessions += 1;
        let labs = self.subjects.entry(session.subject().to_owned()).or_default();
        labs.insert(session.lab().map(str::to_owned));
        let name =
            |path: &std::path::Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        self.datasets.extend(found.files.iter().filter_map(|file| name(&file.path)));
        for file in &found.left_out {
            let Some(name) = name(&file.path) else { continue };
            match &file.reason {
                LeftOutReason::NoType(NoDatasetType::Several(types)) => {
                    self.ambiguous.insert(name, types.clone());
                }
                LeftOutReason::NoType(_) => {
                    self.untyped.insert(name);
                }
                LeftOutReason::NearMiss(rename) => {
                    self.near_misses.insert(printable(&name), rename.clone());
                }
                LeftOutReason::NotAlf | LeftOutReason::RawRecording => {
                    self.not_alf.insert(printable(&name));
                }
                _ => {}
            }
        }
    }

    /// The subjects of the sessions.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.keys().map(String::as_str)
    }
}
