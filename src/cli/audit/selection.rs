//! The selection of an audit or a verification: the sessions that the arguments name, on disks that are still the same.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;

use crate::cli::audit::report::Report;
use crate::cli::audit::scope::Scope;
use crate::cli::audit::targets::targets;
use crate::cli::output::Failure;
use crate::cli::scan::scan_roots::ScannedRoots;
use crate::cli::service::wiring;
use crate::config::Config;
use crate::json::error_report::{CommandKind, ErrorReport};
use alf::SessionPath;
use alyx_client::NextStep;
use alyx_registration::flag::FlagFile;
use alyx_registration::{
    AuditRoots, AuditRules, Error, FlaggedOptions, RegistrationClient, SessionAudit, SessionPair,
};

/// For how long a disk may make no progress.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What the arguments say.
pub(in crate::cli) struct Words<'a> {
    pub(in crate::cli) targets: &'a [String],
    pub(in crate::cli) since: Option<Duration>,
    /// Whether the problems of the start were counted before an interruption.
    pub(in crate::cli) resumed: bool,
}

/// What is compared.
pub(in crate::cli) struct Selection<'a> {
    config: &'a Config,
    pub(in crate::cli) client: RegistrationClient,
    pub(in crate::cli) report: Report,
    pub(in crate::cli) scope: Scope,
    flagged: FlaggedOptions,
    roots: AuditRoots,
    has_all_folders: bool,
    /// How many folders and roots could not be used at the start.
    pub(in crate::cli) missed: usize,
    /// Data roots, and disks below them, that are gone since the start.
    lost: Mutex<Vec<PathBuf>>,
}

impl<'a> Selection<'a> {
    /// What the arguments name. `scanned`: the session folders of the data roots.
    pub(in crate::cli) async fn begin(
        words: &Words<'_>,
        config: &'a Config,
        client: RegistrationClient,
        scanned: ScannedRoots,
        report: Report,
    ) -> Result<Self, Failure> {
        let ScannedRoots { flags, unflagged, missed, with_bad_flag, broken_links, is_partial } = scanned;
        let mut not_compared = 0;
        if !missed.is_empty() {
            report.documents(missed.clone());
        }
        let mut sessions = Vec::new();
        let flagged = flags.iter().map(FlagFile::session_folder).map(Path::to_owned);
        for folder in unflagged.into_iter().chain(flagged).chain(with_bad_flag) {
            match SessionPath::parse(&folder) {
                Ok(session) => sessions.push(session),
                Err(_) if words.resumed => {}
                Err(why) => {
                    report.failure(ErrorReport::from(&Error::from(why)).at(&folder));
                    not_compared += 1;
                }
            }
        }
        for link in &broken_links {
            let broken = ErrorReport::command(
                CommandKind::Disk,
                format!(
                    "the link {link:?} leads nowhere: the sessions behind it are not compared; mount its disk, or remove it"
                ),
            );
            report.failure(broken.at(link));
        }
        if !words.resumed {
            not_compared += missed.len() + broken_links.len();
        }
        let has_all_folders = !is_partial && broken_links.is_empty();
        // Of two flags in one session, both are listed.
        sessions.sort_by(|a, b| a.folder().cmp(b.folder()));
        sessions.dedup_by(|a, b| a.folder() == b.folder());
        let today = jiff::Zoned::now().date();
        let since = words.since.and_then(|since| before(today, since));
        let targets = targets(words.targets, config, &client, &sessions).await?;
        if targets.is_empty() {
            // Their flags are left alone too, so that none of them is on Alyx.
            sessions
                .retain(|session| !config.skip_subjects.iter().any(|skipped| skipped == session.subject()));
        }
        let roots: Vec<PathBuf> = config.data_roots.iter().map(|root| root.path.clone()).collect();
        let folders: Vec<PathBuf> = sessions.iter().map(|session| session.folder().to_owned()).collect();
        let load = move || {
            let folders = folders.iter().map(PathBuf::as_path);
            AuditRoots::load(roots.iter().map(PathBuf::as_path)).with_mounts(folders)
        };
        let roots = tokio::task::spawn_blocking(load).await.unwrap_or_default();
        let scope = Scope::of(&targets, sessions, since);
        if !has_all_folders {
            tracing::warn!(
                "sessions without a folder are not reported, because not all data roots could be listed"
            );
        }
        let (flagged, lost) = (wiring::flagged(config), Mutex::default());
        let missed = not_compared;
        Ok(Self { config, client, report, scope, flagged, roots, has_all_folders, missed, lost })
    }

    /// Says what cannot be found without the name of a repository.
    pub(in crate::cli) fn log_placements(&self) {
        let roots = self.config.data_roots.iter().map(|root| root.path.as_path());
        if self.flagged.placements(roots).iter().all(|placement| placement.is_nowhere()) {
            tracing::info!(
                "no repository is named for these data roots (datasets.repository): sessions without a folder cannot be \
                 found, and a dataset counts as here if no repository holds it"
            );
        }
    }

    /// How sessions are compared. `contents`: whether the files to verify are wanted.
    pub(in crate::cli) fn rules(&self, contents: bool) -> AuditRules<'_> {
        let has_all_folders = self.has_all_folders && self.lost().is_empty();
        let (flagged, roots, hangs_after) = (&self.flagged, &self.roots, HANGS_AFTER);
        AuditRules { flagged, roots, hangs_after, has_all_folders, contents }
    }

    /// Compares one session. `None`: its data root is lost, which was reported.
    pub(in crate::cli) async fn audit(
        &self,
        pair: &SessionPair,
        contents: bool,
    ) -> Result<Option<SessionAudit>, Error> {
        let is_lost = {
            let lost = self.lost();
            pair.folders.iter().any(|folder| lost.iter().any(|root| folder.folder().starts_with(root)))
        };
        if is_lost {
            return Ok(None);
        }
        // In a box: it is large, and several wait at the same time.
        Box::pin(self.client.audit_session(pair, &self.rules(contents))).await.map(Some)
    }

    /// Reports a session that could not be compared, or the data root that it was in, once.
    pub(in crate::cli) fn not_compared(&self, name: &str, error: &Error) {
        match error {
            Error::Unreadable { path, reason } if self.roots.contains(path) => {
                if self.lost().contains(path) {
                    return;
                }
                self.lost().push(path.clone());
                let (noun, command) = (self.report.noun(), self.report.command);
                let report = ErrorReport::command(
                    CommandKind::Disk,
                    format!(
                        "the data root or disk {path:?} was lost during the {noun} ({reason}); mount it, then run {command} again"
                    ),
                );
                self.report.failure(report.at(path));
            }
            other => self.failed(name, other),
        }
    }

    pub(in crate::cli) fn failed(&self, name: &str, error: &Error) {
        self.report.not_compared(name, error);
    }

    /// Whether no other session can be compared either. One answer that cannot be read may be that of one session only:
    /// then Alyx still answers another request.
    pub(in crate::cli) async fn is_cut_off(&self, error: &Error) -> bool {
        match error {
            Error::Alyx(alyx_client::Error::NotAlyx { .. }) => self.client.alyx().ping().await.is_err(),
            other => other.is_outage() || other.next_step() == NextStep::NeedsCredentials,
        }
    }

    fn lost(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day that lies a time before today. Pure.
fn before(today: Date, since: Duration) -> Option<Date> {
    let days = i64::try_from(since.as_secs().div_ceil(86_400)).ok()?;
    today.checked_sub(jiff::Span::new().try_days(days).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_before_today_is_rounded_up_to_days() {
        let today: Date = "2024-05-31".parse().unwrap();
        let hours = |n: u64| before(today, Duration::from_secs(n * 3600)).unwrap().to_string();
        assert_eq!((hours(24 * 30), hours(1)), ("2024-05-01".to_owned(), "2024-05-30".to_owned()));
        assert_eq!(before(today, Duration::MAX), None);
    }
}
