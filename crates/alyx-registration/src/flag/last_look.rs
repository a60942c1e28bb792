//! The last look: after its flag was removed, a session is looked at once more.
//!
//! The look before the removal takes time. A dataset that is rewritten, or appears, behind its back would never be
//! registered. So a removed flag is put back if the session then differs. What is needed for that is remembered before
//! the removal, so that a program that is killed in between looks at its next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::flag::{FlagError, FlagFile, HeldFlag, LastLook, Removal};
use crate::flagged::listing::exclusion;
use crate::listing::discover::{DiscoverRules, FoundFiles, discover};
use crate::opener::data_folders::DataFolders;
use alf::{DatasetTypes, SessionPath};

/// Whether a session looks the same. What cannot be registered counts: it would have kept the flag.
fn is_same(before: &FoundFiles, after: &FoundFiles) -> bool {
    let problems = |found: &FoundFiles| -> Vec<_> {
        found.left_out.iter().filter(|file| file.reason.is_problem()).cloned().collect()
    };
    after.activity.has_same_files(&before.activity) && problems(before) == problems(after)
}

impl RegistrationClient {
    /// Removes the flag, and puts it back if the session no longer looks as it did before. `look` looks at it.
    ///
    /// # Errors
    /// Those of removing it, and [`Error::Flag`] if it cannot be put back.
    pub(crate) async fn remove_flag(
        &self,
        held: HeldFlag,
        before: &FoundFiles,
        look: impl AsyncFnOnce() -> Result<FoundFiles, Error>,
    ) -> Result<Removal, Error> {
        self.context().progress.is_ending.store(true, Ordering::Relaxed);
        let (memory, files) = (self.context().last_looks.clone(), before.activity.digest_of_files());
        let steps = Arc::clone(&self.context().progress.steps);
        let remove = move || -> Result<_, FlagError> {
            let flag = held.copy()?;
            let _step = steps.begin("removing", &flag.path);
            let pending = LastLook { flag, files };
            if let Some(memory) = &memory {
                memory.begin(&pending);
            }
            let removal = held.remove_if_unchanged();
            if let (Some(memory), false) = (&memory, matches!(removal, Ok(Removal::Removed))) {
                memory.end(pending.flag());
            }
            removal.map(|removal| (removal, pending))
        };
        let (removal, pending) = blocking("removing a flag", remove).await??;
        if removal != Removal::Removed {
            return Ok(removal);
        }
        let is_same = match look().await {
            Ok(after) => is_same(before, &after),
            // It was moved away at once.
            Err(Error::Vanished { .. }) => true,
            Err(error) => {
                tracing::debug!(flag = ?pending.flag(), "looking at its session again: {error}");
                false
            }
        };
        let memory = self.context().last_looks.clone();
        let steps = Arc::clone(&self.context().progress.steps);
        let settle = move || -> Result<_, FlagError> {
            if !is_same {
                let _step = steps.begin("writing", pending.flag());
                put_back(&pending)?;
            }
            if let Some(memory) = &memory {
                memory.end(pending.flag());
            }
            Ok(if is_same { Removal::Removed } else { Removal::Changed })
        };
        Ok(blocking("looking at a session again", settle).await??)
    }

    /// Looks at the sessions whose last look is pending, because the program was killed after it removed their flags.
    /// Those that cannot be looked at stay pending, and those whose flags are not in `these`.
    pub async fn finish_last_looks(&self, options: &FlaggedOptions, these: impl Fn(&Path) -> bool) {
        let Some(memory) = self.context().last_looks.clone() else { return };
        let read = Arc::clone(&memory);
        let Ok(pending) = blocking("last looks", move || read.pending()).await else { return };
        let mut by_root: BTreeMap<Option<PathBuf>, Vec<LastLook>> = BTreeMap::new();
        for look in pending.into_iter().filter(|look| these(look.flag())) {
            let roots = &self.options().data.roots;
            let root = roots.iter().find(|root| look.flag().starts_with(root)).cloned();
            by_root.entry(root).or_default().push(look);
        }
        // Each data root on a thread of its own: one that hangs must not delay the others.
        let looks = by_root.into_values().map(|pending| {
            let (memory, data, options) = (Arc::clone(&memory), self.options().data.clone(), options.clone());
            let steps = Arc::clone(&self.context().progress.steps);
            blocking("last looks", move || {
                for look in pending {
                    let _step = steps.begin("looking at the session of", look.flag());
                    match finish(&look, &data, &options) {
                        Ok(()) => memory.end(look.flag()),
                        Err(error) => {
                            tracing::debug!(flag = ?look.flag(), "its last look stays pending: {error}");
                        }
                    }
                }
            })
        });
        futures_util::future::join_all(looks).await;
    }
}

/// Looks at one session, and puts its flag back if it has changed. Blocks.
fn finish(pending: &LastLook, data: &DataFolders, options: &FlaggedOptions) -> Result<(), Error> {
    if FlagFile::load(pending.flag())?.is_some() {
        return Ok(());
    }
    let content = pending.flag.content()?;
    let session = SessionPath::parse(pending.flag().parent().unwrap_or(Path::new("")))?;
    // Which files are datasets does not matter, so Alyx is not asked.
    let types = DatasetTypes::default();
    let (copy_signs, flag) = (&options.quiet.copy_signs, Some(pending.flag()));
    let rules = DiscoverRules { types: &types, data, copy_signs, flag, flag_stamp: None };
    let found =
        discover(session.folder(), &rules, exclusion(&content, &options.for_folder(session.folder())))?;
    if found.activity.digest_of_files() != pending.files {
        put_back(pending)?;
    }
    Ok(())
}

fn put_back(pending: &LastLook) -> Result<(), FlagError> {
    tracing::info!(flag = ?pending.flag(), "the session changed while its flag was removed: the flag is put back");
    pending.flag.put_back()
}

async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("{doing}: {e}")))
}
