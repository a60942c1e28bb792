//! The work of a command on one session, as it is remembered.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::output::{Failure, exit_of};
use crate::cli::remembered::Remembered;
use crate::cli::scan::flag_result::{FlagResult, ScanOutcome};
use crate::cli::scan::places::wait_to_settle;
use crate::config::Config;
use crate::json::error_report::ErrorReport;
use crate::ledger::{Access, OutcomeRow};
use alf::SessionPath;
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, RegistrationClient, RunContext, TrailFile};

/// The work of a command on one session, for the history and the status; without a configuration it is not remembered.
pub(super) struct Record<'a> {
    remembered: Option<Remembered>,
    session: &'a SessionPath,
    flag: PathBuf,
    command: &'static str,
    started: Instant,
}

impl<'a> Record<'a> {
    pub(super) fn of(config: Option<&Config>, session: &'a SessionPath, command: &'static str) -> Self {
        let flag = config.and_then(|config| config.flags.first()).map(String::as_str).unwrap_or_default();
        let remembered = config.map(|config| Remembered::open(config, Access::Change));
        Self { remembered, session, flag: session.folder().join(flag), command, started: Instant::now() }
    }

    /// The same client, which keeps what it reads and creates in mind.
    pub(super) fn client(&self, client: &RegistrationClient) -> RegistrationClient {
        let Some(remembered) = &self.remembered else { return client.clone() };
        let RunContext { cache, created, .. } = remembered.context();
        client.in_context(RunContext { cache, created, ..client.context().clone() })
    }

    /// Whether anything is remembered.
    pub(super) fn is_kept(&self) -> bool {
        self.remembered.is_some()
    }

    /// Remembers an error of which others must know.
    pub(super) async fn failed(&self, error: &Error) {
        if let Some(remembered) = &self.remembered {
            remembered.failed(self.session, error).await;
        }
    }

    /// The result of the attempts, with such an error remembered.
    pub(super) async fn or_failure<T>(&self, attempt: Result<T, Error>) -> Result<T, Failure> {
        if let Err(error) = &attempt {
            self.failed(error).await;
        }
        attempt.map_err(changing)
    }

    /// Remembers a session of a flag, `with_files` or without; returns what it lacks, and `None` if nothing is remembered.
    pub(super) async fn done_whole(&self, done: Registered, with_files: bool) -> Option<Option<String>> {
        let eid = done.eid.clone();
        let gap = self.done(&eid, [], Some(done).filter(|_| with_files)).await;
        self.is_kept().then_some(gap)
    }

    /// Remembers a session that is registered with these files; `whole`: with all its files. Returns what it lacks.
    pub(super) async fn done(
        &self,
        eid: &str,
        files: impl IntoIterator<Item = TrailFile>,
        whole: Option<Registered>,
    ) -> Option<String> {
        let remembered = self.remembered.as_ref()?;
        let mut result = FlagResult::of(self.session.folder());
        match whole {
            Some(whole) => result.registered(self.session, whole, remembered).await,
            None => {
                let files: Vec<TrailFile> = files.into_iter().collect();
                let registered = || files.iter().filter(|file| file.left_out.is_none());
                result.eid = Some(eid.to_owned()).filter(|eid| !eid.is_empty());
                (result.files, result.bytes) =
                    (registered().count(), registered().filter_map(|file| file.size).sum());
                result.trail = Arc::new(files.into_iter().collect());
                result.outcome = ScanOutcome::Registered { left_out: String::new() };
            }
        }
        result.took = self.started.elapsed();
        if let Some(row) = result.to_row(&self.flag) {
            remembered.ended(OutcomeRow { by: Some(self.command.to_owned()), ..row }).await;
        }
        result.gap
    }
}

/// What a command recorded of something other than a session.
#[derive(Default)]
pub(super) struct Recorded<'a> {
    pub(super) command: &'a str,
    /// What it is of: a subject, or another record on Alyx.
    pub(super) of: String,
    /// The subject, if it is one.
    pub(super) subject: Option<String>,
    /// The time of a measurement.
    pub(super) at: Option<&'a str>,
    /// In words.
    pub(super) text: String,
    pub(super) files: Vec<TrailFile>,
}

impl Recorded<'_> {
    /// Remembers it; without a configuration it is not remembered.
    pub(super) async fn remember(self, config: Option<&Config>) {
        let Some(config) = config else { return };
        let registered = || self.files.iter().filter(|file| file.left_out.is_none());
        let row = OutcomeRow {
            at: jiff::Timestamp::now(),
            session: self.of,
            subject: self.subject,
            date: self.at.and_then(|at| at.get(..10)).map(str::to_owned),
            flag: PathBuf::new(),
            attempt: 1,
            outcome: "recorded".to_owned(),
            eid: None,
            n_files: registered().count() as u64,
            bytes: registered().filter_map(|file| file.size).sum(),
            took: Duration::ZERO,
            left_out: String::new(),
            files: Vec::new(),
            described: Some(self.text),
            kind: None,
            error: None,
            next_step: None,
            next: None,
            by: Some(self.command.to_owned()),
            trail: Arc::new(self.files.into_iter().collect()),
        };
        Remembered::open(config, Access::Change).ended(row).await;
    }
}

/// An error after the last attempt: a command does not wait any longer.
pub(super) fn changing(error: Error) -> Failure {
    match (wait_to_settle(&error), error.path()) {
        (Some(_), Some(path)) => {
            let message = format!(
                "{path:?} is still changing; run the command again when no program writes to it any more"
            );
            Failure::reported(exit_of(&error), ErrorReport { message, ..ErrorReport::from(&error) })
        }
        _ => error.into(),
    }
}
