//! Results of attempts: what each means for its job, the other sessions, the ledger and the log.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::daemon::clock::Moment;
use crate::daemon::messages::Report;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::Outcome;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Effect;
use crate::daemon::run_loop::dispatcher::flags::Arriving;
use crate::daemon::run_loop::dispatcher::flags::Elsewhere;
use crate::daemon::run_loop::dispatcher::ledger_rows::{outcome_row, waiting_row};
use crate::daemon::run_loop::dispatcher::reporting::cause_prefix;
use crate::daemon::run_loop::worker::{Attempt, AttemptResult};
use crate::daemon::status::retry_command;
use crate::json::error_report::ErrorReport;
use crate::ledger::{GapChange, GapRow, OutcomeRow};
use alyx_client::text::some_of;
use alyx_client::{self, NextStep};
use alyx_registration::Error;
use alyx_registration::flag::Removal;
use alyx_registration::flagged::Registered;

/// The longest time between two looks at a session that lacks files.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// A wait in whole seconds, for the log.
fn seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs_f64().ceil() as u64)
}

/// Whether only an answer of Alyx can lead to an error. Others say nothing of an outage.
fn is_from_alyx(error: &Error) -> bool {
    matches!(
        error,
        Error::Alyx(_)
            | Error::Missing(_)
            | Error::Ambiguous { .. }
            | Error::CreatedTwice { .. }
            | Error::FilesRefused { .. }
            | Error::NotConfirmed(_)
            | Error::FlagStays { .. }
    )
}

impl Dispatcher {
    /// `is_current`: the attempt began under the current configuration.
    pub(super) fn on_attempt_done(&mut self, attempt: Attempt, is_current: bool, now: Moment) {
        self.runs.run_ended(&attempt.flag);
        let mut gap = None;
        if let AttemptResult::Failed(error) = &attempt.result {
            let folder = attempt.flag.parent().unwrap_or(&attempt.flag);
            let changes = self.gaps.add_created_twice(folder, error, now.wall);
            self.remember_gaps(changes);
        }
        let (outcome, word) = match &attempt.result {
            AttemptResult::Stopped => return,
            AttemptResult::Gone => (Outcome::Gone, None),
            AttemptResult::TooLarge => {
                tracing::debug!(session = attempt.session, "waits for a place for large sessions");
                self.flags.queue.set_large(&attempt.flag);
                (Outcome::PutOff { at: now.instant }, None)
            }
            AttemptResult::Registered(registered) => {
                if is_current {
                    self.pauses.answered(now);
                }
                gap = self.judge_gaps(&attempt, registered, now);
                self.plan_looks(&attempt, registered, now);
                self.plan_follow(&attempt, registered, now);
                let word = if gap.is_some() { "gaps" } else { "registered" };
                (self.on_registered(&attempt, registered, gap.as_ref(), now), Some(word))
            }
            AttemptResult::Failed(error) if !is_current && error.wait_to_settle().is_none() => {
                tracing::info!(
                    session = attempt.session,
                    "not registered under the earlier configuration, which does not count as a failure: {error}. The session runs again"
                );
                (Outcome::PutOff { at: now.instant }, None)
            }
            AttemptResult::Failed(error @ Error::CreatedTwice { .. })
                if self.flags.queue.is_removed(&attempt.flag) =>
            {
                tracing::warn!(session = attempt.session, "its flag was removed by another program: {error}");
                (Outcome::Gone, Some("needs_attention"))
            }
            AttemptResult::Failed(error) if self.flags.queue.is_removed(&attempt.flag) => {
                tracing::info!(
                    session = attempt.session,
                    "the flag was removed while its session ran, so the session is not tried again unless the flag comes back: {error}"
                );
                (Outcome::Gone, None)
            }
            AttemptResult::Failed(error) => {
                self.keep_gaps(&attempt, error, now);
                self.on_failed(&attempt, error, now)
            }
        };
        // Its root, or its flag's name, may no longer be watched.
        let outcome =
            if is_current || self.config.is_watched(&attempt.flag) { outcome } else { Outcome::Gone };
        let again_in = match outcome {
            Outcome::Done | Outcome::Gone => None,
            Outcome::RunAgain { at }
            | Outcome::Retry { at }
            | Outcome::NeedsAttention { at }
            | Outcome::PutOff { at } => Some(at.saturating_duration_since(now.instant)),
        };
        let job = self.flags.queue.job(&attempt.flag);
        let row = word.zip(job).and_then(|(word, job)| outcome_row(&attempt, word, &job, now));
        let left = self.flags.queue.finish(&attempt.flag, outcome);
        self.flags.plan_folders(now.instant + self.config.options.watch.poll_interval);
        let due = self.flags.queue.job(&attempt.flag).and_then(|job| job.due);
        let row = row.map(|row| Box::new(OutcomeRow { next: due.map(|due| now.wall_of(due)), ..row }));
        let waiting = self.flags.queue.job(&attempt.flag).and_then(|job| waiting_row(&job, now));
        match (row, waiting) {
            (Some(row), waiting) => self.write(LedgerEntry::Outcome(row, waiting)),
            (None, Some(waiting)) => self.write(LedgerEntry::Waiting(waiting)),
            (None, None) => {}
        }
        if let Some(state) = left {
            self.on_flag_removed(&attempt.flag, &state);
        }
        self.effects.push(Effect::Report(Report::Attempt {
            attempt,
            outcome,
            gap: gap.map(Box::new),
            again_in,
        }));
    }

    /// What a registered session lacks; remembers it.
    fn judge_gaps(&mut self, attempt: &Attempt, registered: &Registered, now: Moment) -> Option<GapRow> {
        let folder = attempt.flag.parent().unwrap_or(&attempt.flag);
        let root = self.config.root_of(&attempt.flag);
        let (gap, changes) = self.gaps.judge(&attempt.session, folder, registered, root, now.wall);
        self.remember_gaps(changes);
        gap
    }

    fn remember_gaps(&mut self, changes: Vec<GapChange>) {
        if !changes.is_empty() {
            self.effects.push(Effect::Write(LedgerEntry::Gaps(changes)));
        }
    }

    /// Remembers gaps that keep a flag, so that they can be acknowledged.
    fn keep_gaps(&mut self, attempt: &Attempt, error: &Error, now: Moment) {
        let Error::Gaps(gap) = error else { return };
        let folder = attempt.flag.parent().unwrap_or(&attempt.flag);
        let job = self.flags.queue.job(&attempt.flag);
        let eid = job.and_then(|job| job.data.progress.eid.get().cloned()).unwrap_or_default();
        let change = self.gaps.keep(&attempt.session, folder, &eid, gap, now.wall);
        self.effects.push(Effect::Write(LedgerEntry::Gaps(vec![change])));
    }

    fn on_registered(
        &mut self,
        attempt: &Attempt,
        registered: &Registered,
        gap: Option<&GapRow>,
        now: Moment,
    ) -> Outcome {
        if let Some(state) = self.flags.queue.data_mut(&attempt.flag) {
            state.clear();
        }
        if registered.n_files > 0 {
            let lab = registered.record.as_ref().and_then(|record| record.lab.clone());
            let lab = registered.session.lab().map(str::to_owned).or(lab);
            let placement = self.config.options.flagged.placement_in(registered.session.folder());
            self.loadability.registered(&registered.session, (lab, placement), now.instant);
        }
        let left_out = (!registered.left_out.is_empty()).then(|| registered.left_out.to_string());
        let (session, eid, n) = (&attempt.session, &registered.eid, attempt.attempt);
        let Registered { n_files, bytes, created, .. } = *registered;
        let (took, outcome) = (attempt.took, if gap.is_some() { "gaps" } else { "registered" });
        let acknowledged = if gap.is_some() { " with gaps, which are acknowledged" } else { "" };
        match gap.filter(|gap| !gap.acknowledged) {
            None => tracing::info!(
                session,
                eid,
                attempt = n,
                n_files,
                bytes,
                ?took,
                outcome,
                created,
                left_out,
                "registered{acknowledged}"
            ),
            Some(gap) => tracing::warn!(
                session,
                eid,
                attempt = n,
                n_files,
                bytes,
                ?took,
                outcome,
                created,
                left_out,
                gap = gap.kind,
                "registered with gaps: {}",
                gap.text
            ),
        }
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
                "no dataset matches these lines of the flag: {entries}"
            );
        }
        match registered.flag {
            Removal::Removed | Removal::AlreadyGone => Outcome::Done,
            Removal::Changed => {
                tracing::info!(
                    session = attempt.session,
                    "the flag was touched while its session ran: the session runs again"
                );
                Outcome::RunAgain { at: now.instant + self.config.options.flagged.quiet.settle }
            }
        }
    }

    /// The outcome of an error, and its name in the history; `None` is not recorded.
    fn on_failed(
        &mut self,
        attempt: &Attempt,
        error: &Error,
        now: Moment,
    ) -> (Outcome, Option<&'static str>) {
        let is_held = error.is_elsewhere();
        if let Some(state) = self.flags.queue.data_mut(&attempt.flag) {
            let earlier = state.elsewhere.take();
            if is_held {
                if earlier.is_none() {
                    tracing::info!(session = attempt.session, "waiting: {error}");
                }
                let times = earlier.map_or(1, |earlier| earlier.times.saturating_add(1));
                state.elsewhere = Some(Elsewhere { error: ErrorReport::from(error), times });
                let delay = self.config.retry_delay(times);
                let delay = error.waits_for_request().map_or(delay, |left| delay.min(left));
                return (Outcome::PutOff { at: now.instant + delay }, None);
            }
        }
        if let Some(wait) = error.wait_to_settle() {
            return self.not_quiet(attempt, error, wait, now);
        }
        if let Some(state) = self.flags.queue.data_mut(&attempt.flag) {
            // Something else holds it up now.
            state.arriving = None;
            state.failure = Some(ErrorReport::from(error));
            state.missing = match error {
                Error::Missing(names) => names.clone(),
                _ => Vec::new(),
            };
        }
        let mut logged = false;
        if error.is_outage() {
            logged = self.pauses.session_failed(error, &self.config, &mut self.reporting.throttle, now);
            // An outage is not a failure of this session: it runs as soon as Alyx is back.
            if matches!(error, Error::Alyx(error) if error.concerns_all()) {
                tracing::debug!(session = attempt.session, "put off: {error}");
                return (Outcome::PutOff { at: now.instant }, None);
            }
        } else if is_from_alyx(error) {
            self.pauses.answered(now);
        }
        let (outcome, word, at) = match error.next_step() {
            step @ NextStep::TryAgain { .. } => {
                let wait = self.config.retry_delay(attempt.attempt);
                let after = self.config.retry_after(step).unwrap_or_default();
                let at = now.instant + wait.max(after);
                (Outcome::Retry { at }, "retry", at)
            }
            NextStep::NeedsAttention => {
                if let Error::Missing(names) = error {
                    self.plan_names(names, now);
                }
                if let Some(state) = self.flags.queue.data_mut(&attempt.flag) {
                    state.folder = attempt.folder;
                }
                let at = now.instant + self.config.options.permanent;
                (Outcome::NeedsAttention { at }, "needs_attention", at)
            }
            NextStep::NeedsCredentials => {
                self.pauses.refuse_login(error, &self.config, &mut self.reporting.throttle, now);
                // Most likely not this session's fault. If it is (a single endpoint that answers 401), this session
                // waits rather than all others.
                let wait = self.config.retry_delay(attempt.attempt);
                return (Outcome::Retry { at: now.instant + wait }, None);
            }
        };
        self.log_failure(attempt, error, word, logged, at, now);
        (outcome, Some(word))
    }

    /// The outcome of a session whose files still arrive. It needs attention if that lasts.
    fn not_quiet(
        &mut self,
        attempt: &Attempt,
        error: &Error,
        wait: Duration,
        now: Moment,
    ) -> (Outcome, Option<&'static str>) {
        let Some(state) = self.flags.queue.data_mut(&attempt.flag) else {
            return (Outcome::RunAgain { at: now.instant + wait }, None);
        };
        if state.arriving.is_none() {
            tracing::info!(session = attempt.session, "waiting: {error}");
        }
        let report = ErrorReport::from(error);
        let first = || Arriving { since: now.instant, error: report.clone(), times: 0 };
        let arriving = state.arriving.get_or_insert_with(first);
        // Files that were missing have come: that they still change is new.
        if arriving.error.kind != report.kind {
            arriving.times = 0;
        }
        arriving.error = report;
        // Only such a run may have read the files.
        if matches!(error, Error::StillChanging { .. } | Error::Incomplete { .. }) {
            arriving.times = arriving.times.saturating_add(1);
        }
        let Arriving { since, times, .. } = *arriving;
        // Longer each time: hashing 50 GB again every few seconds is useless.
        let patience = match times {
            0..=3 => Duration::ZERO,
            more => self.config.retry_delay(more - 3),
        };
        // To look for files that are missing is cheap.
        let is_missing = matches!(error, Error::Incomplete { .. });
        let patience = if is_missing { patience.min(LONGEST_LOOK) } else { patience };
        let at = now.instant + patience.max(wait);
        let lasts = now.instant.saturating_duration_since(since);
        let is_too_long = self.config.options.warn_after.is_some_and(|after| lasts >= after);
        match error.never_quiet(&attempt.flag, lasts).filter(|_| is_too_long) {
            None => (Outcome::RunAgain { at }, None),
            Some(error) => {
                if let Some(state) = self.flags.queue.data_mut(&attempt.flag) {
                    state.failure = Some(ErrorReport::from(&error));
                }
                self.log_failure(attempt, &error, "needs_attention", false, at, now);
                (Outcome::NeedsAttention { at }, Some("needs_attention"))
            }
        }
    }

    /// Logs a failed attempt; at debug level if the same cause was logged within the hour, or during an outage.
    fn log_failure(
        &mut self,
        attempt: &Attempt,
        error: &Error,
        outcome: &str,
        logged: bool,
        at: Instant,
        now: Moment,
    ) {
        let retry_in = seconds(at.saturating_duration_since(now.instant));
        let cause = format!("{}{error}", cause_prefix(&attempt.flag));
        let (session, n, took) = (&attempt.session, attempt.attempt, attempt.took);
        let kind = error.kind();
        let n_files = if let Error::FilesRefused { registered, .. } = error { *registered } else { 0 };
        let progress = self.flags.queue.job(&attempt.flag).map(|job| &job.data.progress);
        let eid = progress.and_then(|progress| progress.eid.get());
        let bytes = progress.map_or(0, |progress| progress.bytes.load(Ordering::Relaxed));
        if logged || !self.reporting.throttle.should_log(&cause, now.instant) {
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
                "needs attention: {error}. The flag stays. To try at once: {}",
                retry_command(session)
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
