//! What keeps a flagged session from being registered now, and what it lacks.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use crate::client::options::{FlaggedOptions, OnLeftOut};
use crate::client::{RegistrationClient, clocks_began};
use crate::error::Error;
use crate::flag::{FlagContent, FlagFile};
use crate::listing::discover::FoundFiles;
use crate::listing::gap::{Gap, Untyped};
use crate::listing::left_out::LeftOutReason;
use crate::metadata::known::KnownSession;
use crate::metadata::options::OnMissing;
use alf::SessionPath;
use alyx_client::text::some_of;

/// How long a session in which something has changed waits at least.
pub(crate) const MIN_WAIT: Duration = Duration::from_secs(1);

impl RegistrationClient {
    /// What a session lacks, by its folder.
    pub(crate) async fn find_gap(
        &self,
        found: &FoundFiles,
        has_datasets: bool,
        options: &FlaggedOptions,
    ) -> Result<Option<Gap>, Error> {
        if !options.register_files || options.on_left_out == OnLeftOut::Ignore {
            return Ok(None);
        }
        Ok(Gap::of(&found.left_out, has_datasets, self.dataset_types().await?.as_ref()))
    }

    /// Refuses a session whose files still arrive, if they are to be registered.
    pub(crate) fn check_quiet(
        &self,
        session: &SessionPath,
        found: &FoundFiles,
        options: &FlaggedOptions,
    ) -> Result<(), Error> {
        if !options.register_files {
            return Ok(());
        }
        let now = (Instant::now(), SystemTime::now());
        let (looks, is_remote) = (&self.context().looks, found.is_remote);
        looks.judge(session.folder(), &found.activity, &options.quiet, is_remote, clocks_began(), now)
    }

    /// The kinds of files that no dataset type takes.
    pub(crate) async fn find_untyped(
        &self,
        found: &FoundFiles,
        options: &FlaggedOptions,
    ) -> Result<Vec<Untyped>, Error> {
        match options.on_left_out {
            OnLeftOut::Ignore => Ok(Vec::new()),
            _ if found.left_out.is_empty() => Ok(Vec::new()),
            OnLeftOut::Warn | OnLeftOut::KeepFlag => {
                Ok(Untyped::of(&found.left_out, self.dataset_types().await?.as_ref()))
            }
        }
    }

    /// Refuses what is wrong in the files that describe a session, and waits for files that it lacks.
    pub(crate) fn check_known(
        &self,
        known: Option<&KnownSession>,
        options: &FlaggedOptions,
    ) -> Result<(), Error> {
        let Some(known) = known else { return Ok(()) };
        let on_missing = self.options().metadata.on_missing;
        known.check(on_missing, options.quiet.settle)?;
        let missing = known.missing();
        if on_missing == OnMissing::Finish && !missing.is_empty() {
            let text = some_of(&missing, "; ");
            if self.context().remarks.is_new(format!("{} {text}", known.session)) {
                tracing::warn!(session = %known.session, "registered although files are missing: {text}");
            }
        }
        Ok(())
    }
}

/// What a session lacks in spite of its datasets that Alyx had before: they are elsewhere, not missing. Pure.
///
/// # Errors
/// [`Error::Gaps`] with [`OnLeftOut::KeepFlag`], unless the gap was acknowledged.
pub(crate) fn judge_gap(
    gap: Gap,
    at_alyx: &HashSet<String>,
    options: &FlaggedOptions,
) -> Result<Option<Gap>, Error> {
    match gap.without_datasets_at_alyx(at_alyx) {
        Some(gap) if options.on_left_out == OnLeftOut::KeepFlag && !options.accepted_gaps.accept(&gap) => {
            Err(Error::Gaps(gap))
        }
        gap => Ok(gap),
    }
}

/// Refuses a flag that selects none of the files of a session, probably because of a typing error: the session would be
/// registered without files, and the flag removed.
pub(crate) fn check_flag_matches(
    flag: &FlagFile,
    content: &FlagContent,
    found: &FoundFiles,
) -> Result<(), Error> {
    let has_others = found.left_out.iter().any(|file| file.reason == LeftOutReason::NotInFlag);
    match content {
        FlagContent::Only(list) if has_others => Err(Error::Flag {
            path: flag.path.clone(),
            reason: format!(
                "none of the lines of {:?} ({}) names a dataset of the session; write relative paths or parts of file names \
                 (no wildcards), or empty the flag to register everything",
                flag.path,
                some_of(list.entries(), ", ")
            ),
        }),
        _ => Ok(()),
    }
}
