//! Looks for late files: when they are planned and begin, and what their results mean.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::clock::Moment;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Effect;
use crate::daemon::run_loop::late_look::{EndedLook, LookResult};
use crate::daemon::run_loop::worker::Attempt;
use crate::ledger::{LookChange, LookRow, OutcomeRow};
use alyx_client::text::some_of;
use alyx_registration::advice::Kind;
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, Gap, SessionSnapshot};

impl Dispatcher {
    /// Plans the first look at a session that was registered.
    pub(crate) fn plan_looks(&mut self, attempt: &Attempt, registered: &Registered, now: Moment) {
        let folder = attempt.flag.parent().unwrap_or(&attempt.flag).to_owned();
        let (session, eid) = (attempt.session.clone(), registered.eid.clone());
        let row = LookRow { folder, session, eid, done: 0, due: now.wall };
        self.plan_look(row, Some(registered.snapshot.clone()), now);
    }

    /// Plans the looks that the previous daemon left. Those that are overdue come one after the other, and not in one
    /// moment.
    pub(crate) fn restore_looks(&mut self, rows: Vec<LookRow>, now: Moment) {
        for mut row in rows {
            let Some(root) = self.config.root_of(&row.folder).map(Path::to_owned) else { continue };
            let plan = &self.config.options.late.plan;
            // At most the planned wait, whatever became of the clock. The plan may have become shorter.
            let Some(longest) = plan.wait(row.done, (self.config.random)()) else { continue };
            let due = now.instant_of(row.due, longest).saturating_duration_since(now.instant);
            let wait = if due.is_zero() { longest.min(OVERDUE).mul_f64((self.config.random)()) } else { due };
            self.looks.plan(&root, &mut row, wait, now);
        }
    }

    /// Starts the looks that are due.
    pub(crate) fn start_looks(&mut self, now: Moment) {
        if self.pauses.is_active() || self.config.options.late.plan.is_empty() {
            return;
        }
        let Self { looks, flags, config, .. } = self;
        let flag_names = &config.options.watch.flags;
        let is_flagged =
            |folder: &Path| flag_names.iter().any(|name| flags.queue.job(&folder.join(name)).is_some());
        let is_busy = |root: &Path| flags.queue.busy_folders().any(|folder| folder.starts_with(root));
        for look in looks.take_due(&config.options.late.plan, is_busy, is_flagged, now) {
            self.effects.push(Effect::Look(config.generation, look));
        }
    }

    pub(crate) fn next_look(&self) -> Option<std::time::Instant> {
        if self.pauses.is_active() || self.config.options.late.plan.is_empty() || self.runs.stopping {
            return None;
        }
        self.looks.next_wake(|root| self.flags.queue.busy_folders().any(|folder| folder.starts_with(root)))
    }

    pub(crate) fn on_look_ended(&mut self, ended: EndedLook, is_current: bool, now: Moment) {
        let EndedLook { row, is_last, result } = ended;
        // Registered anew, forgotten, or no longer watched.
        if self.looks.ended(&row.folder).is_none() {
            return;
        }
        let session = &row.session;
        match result {
            LookResult::Unknown => {}
            LookResult::Stopped => self.postpone_look(row, Duration::ZERO, now),
            // Under the current configuration other files may be excluded.
            _ if !is_current => self.postpone_look(row, Duration::ZERO, now),
            LookResult::Failed(error @ Error::Alyx(_)) => {
                tracing::debug!(session, "the check for late files failed, trying again: {error}");
                self.note_outage(&error, now);
                self.postpone_look(row, self.config.options.retry.max(), now);
            }
            // The disk comes back, with what is late.
            LookResult::NoRoot(error) => {
                tracing::debug!(session, "the check for late files failed, trying again: {error}");
                self.postpone_look(row, self.config.options.retry.max(), now);
            }
            LookResult::Failed(error) => {
                tracing::debug!(session, "the check for late files failed: {error}");
                self.next_look_of(row, is_last, None, now);
            }
            LookResult::Seen { registered: Some(Err(error)), .. }
                if error.wait_to_settle().is_some() || error.is_outage() || error.is_elsewhere() =>
            {
                tracing::debug!(session, "late files are not registered yet: {error}");
                self.note_outage(&error, now);
                let settle = error.wait_to_settle().map(|wait| wait.max(self.config.retry_delay(1)));
                let wait = settle.unwrap_or_else(|| self.config.options.retry.max());
                self.postpone_look(row, wait, now);
            }
            LookResult::Seen { snapshot, late, registered } => {
                self.judge_look(&row, late.as_ref(), registered, now);
                // Nothing more is to be found out about a session that Alyx no longer has.
                let is_deleted = late.is_some_and(|late| late.is_of_deleted_session());
                self.next_look_of(row, is_last || is_deleted, Some(snapshot), now);
            }
        }
    }

    /// An outage that a look meets is one of all sessions: nothing else may be due that would notice it.
    pub(in crate::daemon::run_loop::dispatcher) fn note_outage(&mut self, error: &Error, now: Moment) {
        if error.is_outage() {
            self.pauses.session_failed(error, &self.config, &mut self.reporting.throttle, now);
        }
    }

    /// Reports late files, or that they were registered.
    fn judge_look(
        &mut self,
        row: &LookRow,
        late: Option<&Gap>,
        registered: Option<Result<Box<Registered>, Error>>,
        now: Moment,
    ) {
        let (session, eid) = (&row.session, &row.eid);
        let mut late = late;
        let mut problem = String::new();
        match registered {
            Some(Ok(registered)) => {
                let Registered { n_files, bytes, .. } = *registered;
                if n_files > 0 {
                    tracing::info!(session, eid, n_files, bytes, "late files registered");
                    let outcome = self.late_outcome(row, &registered, now);
                    self.write(LedgerEntry::Outcome(Box::new(outcome), None));
                }
                match registered.refused.as_slice() {
                    [] => late = None,
                    refused => problem = some_of(refused, "; "),
                }
            }
            Some(Err(error)) => problem = error.to_string(),
            None => {}
        }
        let (gap, changes) = self.gaps.judge_late(row, late, now.wall);
        if !changes.is_empty() {
            self.write(LedgerEntry::Gaps(changes));
        }
        if let Some(gap) = gap.filter(|gap| !gap.acknowledged) {
            if problem.is_empty() {
                tracing::warn!(session, eid, "late files: {}", gap.text);
            } else {
                tracing::warn!(session, eid, "late files not registered: {problem}. {}", gap.text);
            }
        }
    }

    fn late_outcome(&self, row: &LookRow, registered: &Registered, now: Moment) -> OutcomeRow {
        let flag = self.config.options.watch.flags.first().cloned().unwrap_or_default();
        OutcomeRow {
            at: now.wall,
            session: row.session.clone(),
            subject: Some(registered.session.subject().to_owned()),
            date: Some(registered.session.date().to_string()),
            flag: row.folder.join(flag),
            attempt: 1,
            outcome: "registered".to_owned(),
            eid: Some(row.eid.clone()),
            n_files: registered.n_files as u64,
            bytes: registered.bytes,
            took: Duration::ZERO,
            left_out: String::new(),
            files: Vec::new(),
            described: None,
            kind: (!registered.refused.is_empty()).then(|| Kind::FilesRefused.name().to_owned()),
            error: (!registered.refused.is_empty()).then(|| some_of(&registered.refused, "; ")),
            next_step: None,
            next: None,
            by: None,
            trail: Arc::clone(&registered.trail),
        }
    }

    /// A look that does not count is repeated.
    fn postpone_look(&mut self, mut row: LookRow, wait: Duration, now: Moment) {
        if let Some(root) = self.config.root_of(&row.folder).map(Path::to_owned) {
            self.looks.plan(&root, &mut row, wait, now);
            self.write(LedgerEntry::Look(LookChange::Set(row, None)));
        }
    }

    fn next_look_of(&mut self, row: LookRow, is_last: bool, snapshot: Option<SessionSnapshot>, now: Moment) {
        if is_last {
            self.write(LedgerEntry::Look(LookChange::Remove(row.folder)));
        } else {
            self.plan_look(LookRow { done: row.done + 1, ..row }, snapshot, now);
        }
    }

    /// Plans a look, if there is one and it can be remembered.
    fn plan_look(&mut self, mut row: LookRow, snapshot: Option<SessionSnapshot>, now: Moment) {
        let options = &self.config.options;
        let wait = options.late.plan.wait(row.done, (self.config.random)());
        let Some(wait) = wait.filter(|_| self.reporting.has_ledger && options.flagged.register_files) else {
            return;
        };
        let Some(root) = self.config.root_of(&row.folder).map(Path::to_owned) else { return };
        self.looks.plan(&root, &mut row, wait, now);
        self.write(LedgerEntry::Look(LookChange::Set(row, snapshot)));
    }
}

/// Over this time, overdue looks are spread after a start.
const OVERDUE: Duration = Duration::from_secs(600);
