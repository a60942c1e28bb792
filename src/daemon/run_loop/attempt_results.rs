//! How an attempt ended: what it means for its job, for the others, for the ledger and for the log.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::daemon::messages::Report;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::Outcome;
use crate::daemon::run_loop::persistence::outcome_row;
use crate::daemon::run_loop::worker::{Attempt, AttemptResult};
use crate::daemon::run_loop::{Moment, Service, cause_prefix};
use crate::ledger::OutcomeRow;
use alyx_client::text::some_of;
use alyx_client::{self, NextStep};
use alyx_registration::Error;
use alyx_registration::flag::Removal;
use alyx_registration::flagged::Registered;

/// A wait as people read it.
fn seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs_f64().ceil() as u64)
}

impl Service {
    /// `is_current`: it began under the present configuration.
    pub(crate) fn on_attempt_done(&mut self, attempt: Attempt, is_current: bool, now: Moment) {
        self.running = self.running.saturating_sub(1);
        let (outcome, word) = match &attempt.result {
            AttemptResult::Stopped => return,
            AttemptResult::Gone => (Outcome::Gone, ""),
            AttemptResult::Registered(registered) => {
                if is_current {
                    self.answered(now);
                }
                (self.registered(&attempt, registered, now), "registered")
            }
            AttemptResult::Failed(error) if !is_current && !matches!(error, Error::StillChanging { .. }) => {
                tracing::info!(
                    session = attempt.session,
                    "not registered under the earlier configuration, which is no failure: {error}. It runs again"
                );
                (Outcome::PutOff { at: now.instant }, "")
            }
            AttemptResult::Failed(error) if self.queue.is_removed(&attempt.flag) => {
                tracing::info!(
                    session = attempt.session,
                    "its flag went away while it ran, and it is not tried again unless the flag comes back: {error}"
                );
                (Outcome::Gone, "")
            }
            AttemptResult::Failed(error) => self.failed(&attempt, error, now),
        };
        // Its root, or its flag's name, is not watched any more.
        let outcome = if is_current || self.is_watched(&attempt.flag) { outcome } else { Outcome::Gone };
        let again_in = match outcome {
            Outcome::Done | Outcome::Gone => None,
            Outcome::RunAgain { at }
            | Outcome::Retry { at }
            | Outcome::NeedsAttention { at }
            | Outcome::PutOff { at } => Some(at.saturating_duration_since(now.instant)),
        };
        let job = self.queue.job(&attempt.flag);
        let row =
            if word.is_empty() { None } else { job.and_then(|job| outcome_row(&attempt, word, &job, now)) };
        let left = self.queue.finish(&attempt.flag, outcome);
        let due = self.queue.job(&attempt.flag).and_then(|job| job.due);
        let row = row.map(|row| Box::new(OutcomeRow { next: due.map(|due| now.wall_of(due)), ..row }));
        let waiting = self.waiting_row(&attempt.flag, now);
        match (row, waiting) {
            (Some(row), waiting) => self.write_down(LedgerEntry::Ended(row, waiting)),
            (None, Some(waiting)) => self.write_down(LedgerEntry::Waits(waiting)),
            (None, None) => {}
        }
        if let Some(state) = left {
            self.over(&attempt.flag, &state);
        }
        self.report(Report::Attempt { attempt, outcome, again_in });
    }

    fn registered(&mut self, attempt: &Attempt, registered: &Registered, now: Moment) -> Outcome {
        if let Some(note) = self.queue.data_mut(&attempt.flag) {
            (note.failure, note.told_changing, note.changed_times) = (None, false, 0);
            note.missing.clear();
        }
        let left_out = (!registered.left_out.is_empty()).then(|| registered.left_out.to_string());
        tracing::info!(
            session = attempt.session,
            eid = registered.eid,
            attempt = attempt.attempt,
            n_files = registered.n_files,
            bytes = registered.bytes,
            took = ?attempt.took,
            outcome = "registered",
            created = registered.created,
            left_out,
            "registered"
        );
        if !registered.refused.is_empty() {
            tracing::warn!(
                session = attempt.session,
                refused = registered.refused.len(),
                "registered without the files that Alyx does not accept: {}",
                some_of(&registered.refused, "; ")
            );
        }
        if !registered.unmatched.is_empty() {
            let entries = some_of(&registered.unmatched, ", ");
            tracing::warn!(
                session = attempt.session,
                "the flag named files that the session does not have: {entries}"
            );
        }
        match registered.flag {
            Removal::Removed | Removal::AlreadyGone => Outcome::Done,
            Removal::Changed => {
                tracing::info!(
                    session = attempt.session,
                    "flag touched while its session ran: it runs again"
                );
                Outcome::RunAgain { at: now.instant + self.options.settle }
            }
        }
    }

    /// One match from an error to an outcome, and the word for it in the history; without a word it is no outcome.
    fn failed(&mut self, attempt: &Attempt, error: &Error, now: Moment) -> (Outcome, &'static str) {
        if let Error::StillChanging { wait, .. } = error {
            if let Some(note) = self.queue.data_mut(&attempt.flag)
                && !std::mem::replace(&mut note.told_changing, true)
            {
                tracing::info!(session = attempt.session, "waiting: {error}");
            }
            // Ever longer: to read 50 GB again every few seconds would be for nothing.
            let times = self.queue.data_mut(&attempt.flag).map_or(0, |note| {
                note.changed_times = note.changed_times.saturating_add(1);
                note.changed_times
            });
            let patience = match times {
                0..=3 => Duration::ZERO,
                more => self.options.retry.delay(more - 3, alyx_client::random()),
            };
            return (Outcome::RunAgain { at: now.instant + patience.max(*wait) }, "");
        }
        if let Some(note) = self.queue.data_mut(&attempt.flag) {
            note.failure = Some((error.to_string(), error.kind().next_step().to_owned()));
            note.missing = match error {
                Error::Missing(names) => names.clone(),
                _ => Vec::new(),
            };
        }
        let mut told = false;
        if error.is_outage() {
            told = self.away(error, now);
            // What concerns all is nobody's failure: the session runs as soon as Alyx is back.
            if matches!(error, Error::Alyx(error) if error.concerns_all()) {
                tracing::debug!(session = attempt.session, "put off: {error}");
                return (Outcome::PutOff { at: now.instant }, "");
            }
        } else if !matches!(error, Error::Unreadable { .. } | Error::Vanished { .. } | Error::NotASession(_))
        {
            self.answered(now);
        }
        let (outcome, word, at) = match error.next_step() {
            step @ NextStep::TryAgain { .. } => {
                let wait = self.options.retry.delay(attempt.attempt, alyx_client::random());
                let after = self.asked_to_wait(step).unwrap_or_default();
                let at = now.instant + wait.max(after);
                (Outcome::Retry { at }, "retry", at)
            }
            NextStep::NeedsAttention => {
                if let Error::Missing(names) = error {
                    self.plan_names(names, now);
                }
                let at = now.instant + self.options.permanent;
                (Outcome::NeedsAttention { at }, "needs_attention", at)
            }
            NextStep::NeedsCredentials => {
                self.login_refused(error, now);
                // Not this session's fault, most likely. Should it be (one address that answers 401), then it is
                // this session that waits, and not the others.
                let wait = self.options.retry.delay(attempt.attempt, alyx_client::random());
                return (Outcome::Retry { at: now.instant + wait }, "");
            }
        };
        self.tell_failure(attempt, error, word, told, at, now);
        (outcome, word)
    }

    /// One line an attempt that failed; the same cause again within the hour, and a dead server's, only for those
    /// who look closely.
    fn tell_failure(
        &mut self,
        attempt: &Attempt,
        error: &Error,
        outcome: &str,
        told: bool,
        at: Instant,
        now: Moment,
    ) {
        let retry_in = seconds(at.saturating_duration_since(now.instant));
        let cause = format!("{}{error}", cause_prefix(&attempt.flag));
        let (session, n, took) = (&attempt.session, attempt.attempt, attempt.took);
        let kind = error.kind();
        let n_files = if let Error::FilesRefused { registered, .. } = error { *registered } else { 0 };
        let progress = self.queue.job(&attempt.flag).map(|job| &job.data.progress);
        let eid = progress.and_then(|progress| progress.eid.get());
        let bytes = progress.map_or(0, |progress| progress.bytes.load(Ordering::Relaxed));
        if told || !self.log_throttle.is_new(&cause, now.instant) {
            tracing::debug!(session, attempt = n, ?took, outcome, ?retry_in, "not registered: {error}");
        } else if outcome == "needs_attention" {
            tracing::warn!(
                session,
                eid,
                attempt = n,
                n_files,
                bytes,
                ?took,
                outcome,
                ?retry_in,
                kind = kind.name(),
                next_step = kind.next_step(),
                "needs attention: {error}. The flag stays; touch it to try at once"
            );
        } else {
            tracing::warn!(
                session,
                eid,
                attempt = n,
                n_files,
                bytes,
                ?took,
                outcome,
                ?retry_in,
                kind = kind.name(),
                next_step = kind.next_step(),
                "not registered, trying again: {error}"
            );
        }
    }
}
