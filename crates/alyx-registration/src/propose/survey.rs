//! A survey of session folders: the names in their paths, those of their files, and those that their sidecars and rig files
//! mention. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::listing::copy_signs::CopySign;
use crate::listing::discover::FoundFiles;
use crate::listing::left_out::LeftOutReason;
use crate::metadata::known::KnownSession;
use alf::dataset_type::NoDatasetType;
use alf::{DatasetName, SessionPath};
use alyx_client::Endpoint;
use alyx_client::text::printable;
use jiff::tz::TimeZone;
use session_metadata::{Field, Source};

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
    /// Users, projects, procedures and locations that the sidecars and rig files of sessions name, with the first place.
    pub(crate) names: BTreeMap<(Endpoint, String), String>,
    /// Repositories that sidecars name, each for a subject and, if the path or a file names one, a lab; with the first
    /// place.
    pub(crate) repositories: BTreeMap<(String, String, Option<String>), String>,
    /// The repositories in whose folders sessions are, each with the subject and, if the path or a file names one, the
    /// lab.
    pub(crate) placed: BTreeSet<(String, String, Option<String>)>,
    /// Files that are still being copied, by the names that they have until then.
    pub(crate) copies: BTreeSet<String>,
    /// What is wrong in these files, one line each.
    pub(crate) problems: Vec<String>,
}

impl Survey {
    /// Adds a session and its files.
    pub(crate) fn add(&mut self, session: &SessionPath, found: &FoundFiles, signs: &[CopySign]) {
        self.sessions += 1;
        let labs = self.subjects.entry(session.subject().to_owned()).or_default();
        labs.insert(session.lab().map(str::to_owned));
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        self.datasets.extend(found.files.iter().filter_map(|file| name(&file.path)));
        for file in &found.left_out {
            let Some(name) = name(&file.path) else { continue };
            match &file.reason {
                LeftOutReason::NoType(NoDatasetType::Several(types)) => {
                    self.ambiguous.insert(name, types.clone());
                }
                LeftOutReason::NoType(_) if is_copy(&file.path, signs) => {
                    self.copies.insert(printable(&name));
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

    /// Adds what the sidecars and rig files of a session say.
    pub(crate) fn add_known(&mut self, known: &KnownSession, zone: &TimeZone) {
        let session = &known.session;
        let at = |source: &Source| format!("{} of {session}", source);
        let (values, problems) = (&known.metadata.values, &known.metadata.problems);
        for (field, found) in values.fields.iter().filter(|(_, found)| found.source.origin.is_file()) {
            let endpoint = match field {
                Field::Users => Endpoint::Users,
                Field::Projects => Endpoint::Projects,
                Field::Procedures => Endpoint::Procedures,
                Field::Location => Endpoint::Locations,
                Field::Lab => {
                    let labs = self.subjects.entry(session.subject().to_owned()).or_default();
                    labs.remove(&None);
                    labs.extend(found.value.as_str().map(|lab| Some(lab.to_owned())));
                    continue;
                }
                _ => continue,
            };
            for name in known.metadata.names(*field) {
                self.names.entry((endpoint, name.to_owned())).or_insert_with(|| at(&found.source));
            }
        }
        if let Some((name, found)) = known.repository() {
            let key = (name.to_owned(), session.subject().to_owned(), known.own_lab());
            self.repositories.entry(key).or_insert_with(|| at(&found.source));
        }
        let contradiction = match problems.is_empty() {
            true => known.request(zone).err().map(|error| error.to_string()),
            false => None,
        };
        let problems = problems.iter().map(|problem| format!("{session}: {problem}"));
        self.problems.extend(problems.chain(contradiction));
    }

    /// The subjects of the sessions.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.keys().map(String::as_str)
    }
}

/// Whether a file has the name that a copying program gives it until it is complete.
fn is_copy(path: &Path, signs: &[CopySign]) -> bool {
    let is_dataset = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| DatasetName::parse(name).is_ok())
    };
    signs.iter().any(|sign| sign.hides_name(path) || sign.complete(path).is_some_and(is_dataset))
}
