//! A look at a registered session: which of its datasets are late.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::files::comparison::PathIndex;
use crate::flag::FlagContent;
use crate::flagged::late::pace::Pace;
use crate::flagged::listing::exclusion;
use crate::hashing::disk_steps::DiskStep;
use crate::hashing::stamp::FileStamp;
use crate::listing::discover::classify;
use crate::listing::file_system::{self, is_network};
use crate::listing::gap::{Gap, LateFile};
use crate::listing::left_out::LeftOutReason;
use crate::listing::snapshot::{FolderDigest, SessionSnapshot};
use crate::opener::data_folders::DataFolders;
use alf::{DatasetTypes, SessionPath};
use alyx_client::DatasetRecord;

/// What a look found.
#[derive(Debug, Clone, Default)]
pub struct LateLook {
    /// What the next look compares the session with.
    pub snapshot: SessionSnapshot,
    /// The datasets that Alyx does not hold with their present size: [`Gap::LateFiles`].
    pub late: Option<Gap>,
}

/// How a session is looked at.
#[derive(Debug, Clone)]
pub struct LookRules<'a> {
    /// Whether every file counts, or only those of folders whose times have moved.
    pub every_file: bool,
    /// How it was registered.
    pub flagged: &'a FlaggedOptions,
    /// Derived data, which is never late.
    pub late_exclude: &'a [glob::Pattern],
}

impl RegistrationClient {
    /// Looks for datasets that appeared or changed since a session was registered. No file is opened. Alyx is asked only
    /// if there are any: what it holds with that size was registered by another program, and is not late. `None`: the
    /// look was stopped.
    ///
    /// # Errors
    /// [`Error::Vanished`] or [`Error::Unreadable`] for the session folder itself, and those of the requests.
    pub async fn find_late_files(
        &self,
        session: &SessionPath,
        eid: &str,
        before: &SessionSnapshot,
        rules: &LookRules<'_>,
        pace: Pace,
    ) -> Result<Option<LateLook>, Error> {
        let types = self.dataset_types().await?;
        let listing = Listing {
            types: Arc::clone(&types),
            data: Arc::clone(&self.options().data),
            every_file: rules.every_file,
            pace,
            runtime: Handle::current(),
            step: self.context().progress.steps.begin("looking for late files in", session.folder()),
        };
        let (folder, before) = (session.folder().to_owned(), before.clone());
        let exclude = exclusion(&FlagContent::Everything, &rules.flagged.for_folder(session.folder()));
        let listed = tokio::task::spawn_blocking(move || listing.list(&folder, &before, exclude))
            .await
            .map_err(|e| Error::Internal(format!("looking for late files: {e}")))??;
        let Some((mut snapshot, mut changed)) = listed else { return Ok(None) };
        changed.retain(|Changed { path, size, .. }| {
            !snapshot.is_unregistered(path, *size)
                && !rules.late_exclude.iter().any(|pattern| pattern.matches(path))
        });
        if changed.is_empty() {
            return Ok(Some(LateLook { snapshot, ..LateLook::default() }));
        }
        // Whether Alyx has a record of each, and one of this size. A record without a size proves nothing.
        let mut held = vec![(false, false); changed.len()];
        let by_path = PathIndex::of(&changed, |file| file.path.as_str());
        let take = |record: DatasetRecord| {
            for place in by_path.at(&record.relative_path(), &changed, |file| file.path.as_str()) {
                let place = *place as usize;
                if let (Some((is_there, is_same)), Some(file)) = (held.get_mut(place), changed.get(place)) {
                    *is_there = true;
                    let has_its_size = record.file_size.is_none_or(|held| held == file.size);
                    *is_same |= has_its_size && file.problem.is_none();
                }
            }
        };
        let is_deleted = match self.alyx().for_each_dataset_of_session(eid, take).await {
            Ok(()) => false,
            // Alyx refuses to list the datasets of a session that it does not have.
            Err(error @ alyx_client::Error::Refused { .. }) => {
                match self.alyx().session_without_datasets(eid).await {
                    Err(alyx_client::Error::NotFound { .. }) => true,
                    _ => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        let mut late = Vec::new();
        for (Changed { path, problem, .. }, (is_changed, _)) in
            changed.into_iter().zip(held).filter(|(_, (_, is_same))| !is_same)
        {
            snapshot.list_again(&path);
            late.push(LateFile { path: path.into(), is_changed, problem });
        }
        late.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(LateLook { snapshot, late: Gap::late(late, is_deleted, &types) }))
    }
}

/// Lists what may have changed in a session.
struct Listing {
    types: Arc<DatasetTypes>,
    data: Arc<DataFolders>,
    every_file: bool,
    pace: Pace,
    runtime: Handle,
    step: DiskStep,
}

/// A dataset by its name, in a folder that differs from the look before.
struct Changed {
    /// Relative to the session.
    path: String,
    size: u64,
    /// Why it cannot be registered as it is.
    problem: Option<LeftOutReason>,
}

/// The snapshot after a look, and the datasets of the folders that differ from the one before.
type Listed = (SessionSnapshot, Vec<Changed>);

impl Listing {
    /// Blocks. Hidden folders and links to folders hold no datasets. `None`: the look was stopped.
    fn list(
        &self,
        session: &Path,
        before: &SessionSnapshot,
        exclude: impl Fn(&str) -> Option<LeftOutReason>,
    ) -> Result<Option<Listed>, Error> {
        let is_remote = is_network(session).map_err(|e| Error::reading(session, &e))?;
        let (mut after, mut changed) = (before.without_folders(), Vec::new());
        let mut waiting: Vec<String> = before.folders().rev().map(str::to_owned).collect();
        waiting.push(String::new());
        let mut seen = BTreeSet::new();
        while let Some(relative) = waiting.pop() {
            if !seen.insert(relative.clone()) {
                continue;
            }
            let path = session.join(&relative);
            if !self.may_look(&path, is_remote) {
                return Ok(None);
            }
            let known = before.folder(&relative);
            // The session folder itself may be a link.
            let metadata = match relative.is_empty() {
                true => std::fs::metadata(&path),
                false => std::fs::symlink_metadata(&path),
            };
            // The times first: what comes while the folder is listed moves them, and is seen at the next look.
            let entries = metadata.and_then(|metadata| {
                let digest = FolderDigest::of(&FileStamp::of(&metadata));
                if !metadata.is_dir() {
                    return Ok(None);
                }
                let has_moved = known.is_none_or(|known| known.times != digest.times);
                let list = self.every_file || has_moved;
                Ok(Some((digest, list.then(|| std::fs::read_dir(&path)).transpose()?)))
            });
            match entries {
                Err(error) if relative.is_empty() => return Err(Error::reading(session, &error)),
                Ok(None) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // Not readable now: as it was before.
                Err(_) => known.into_iter().for_each(|known| after.set_folder(&relative, known)),
                Ok(Some((_, None))) => {
                    known.into_iter().for_each(|known| after.set_folder(&relative, known));
                }
                Ok(Some((mut digest, Some(entries)))) => {
                    let mut datasets = Vec::new();
                    for entry in entries.flatten() {
                        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                        if name.starts_with('.') {
                            continue;
                        }
                        let inner = if relative.is_empty() { name } else { format!("{relative}/{name}") };
                        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                            waiting.push(inner);
                            continue;
                        }
                        if classify(Path::new(&inner), &self.types, &exclude).is_err() {
                            continue;
                        }
                        if !self.may_look(&entry.path(), is_remote) {
                            return Ok(None);
                        }
                        let (size, problem) = match std::fs::metadata(entry.path()) {
                            Ok(metadata) if !metadata.is_file() => continue,
                            Ok(metadata) => {
                                let refusal = self.data.refusal(&entry.path(), &metadata);
                                (metadata.len(), refusal.map(LeftOutReason::from))
                            }
                            Err(error) if entry.path().is_symlink() => {
                                (0, Some(LeftOutReason::LeadsNowhere(error.to_string())))
                            }
                            // Removed since it was listed.
                            Err(_) => continue,
                        };
                        digest.add(&inner, size);
                        datasets.push(Changed { path: inner, size, problem });
                    }
                    if known.is_none_or(|known| known.datasets != digest.datasets) {
                        changed.extend(datasets);
                    }
                    after.set_folder(&relative, digest);
                }
            }
        }
        Ok(Some((after, changed)))
    }

    /// Waits for its turn. `false`: the look is to stop.
    fn may_look(&self, path: &Path, is_remote: bool) -> bool {
        let may_look = self.pace.wait(&self.runtime);
        self.step.touch();
        if may_look && is_remote {
            file_system::refresh(path);
        }
        may_look
    }
}
