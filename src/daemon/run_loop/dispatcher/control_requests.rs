//! Requests from the control socket: `status`, `retry`, `forget`, `acknowledge`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::daemon::clock::Moment;
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::JobStatus;
use crate::daemon::queue::stale_flags::is_stale;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Effect;
use crate::daemon::run_loop::dispatcher::flags::{FlagState, waiting};
use crate::daemon::run_loop::dispatcher::reporting::cause_prefix;
use crate::daemon::status::{
    DaemonStatus, GapStatus, NotLoadableStatus, ProgressStatus, SessionState, SessionStatus, Status,
};
use crate::ledger::GapChange;

impl Dispatcher {
    pub(super) fn on_request(&mut self, id: u64, request: Request, now: Moment) {
        let answer = match request {
            Request::Status => Answer::Status(Box::new(self.status(now))),
            Request::Retry { session } => {
                let count = self.retry(session.as_deref(), now);
                tracing::info!(session, count, "retrying sessions at once, as requested");
                Answer::Done(count)
            }
            Request::Forget { session } => return self.forget(id, session, now),
            Request::Acknowledge(what) => {
                let (count, changes) = self.gaps.acknowledge(&what);
                tracing::info!(%what, count, "gaps are acknowledged, as requested");
                // A flag that its gaps have kept goes with them.
                for session in changes.iter().filter_map(GapChange::acknowledged_session) {
                    self.retry(Some(session), now);
                }
                self.reporting.mark_status_dirty();
                self.write(LedgerEntry::Gaps(changes));
                Answer::Done(count)
            }
            Request::Gaps(changes) => {
                changes.iter().for_each(|change| self.gaps.apply(change));
                self.reporting.mark_status_dirty();
                let count = changes.len();
                self.write(LedgerEntry::Gaps(changes));
                Answer::Done(count)
            }
        };
        self.effects.push(Effect::Answer(id, answer));
    }

    fn status(&self, now: Moment) -> Status {
        let creations = &self.config.client.context().creations;
        let mut sessions: Vec<SessionStatus> = self
            .flags
            .queue
            .jobs()
            .map(|job| {
                let state_of = job.data;
                let state = match (job.due, job.needs_attention, job.failures) {
                    (None, ..) => SessionState::Running,
                    (_, true, _) => SessionState::NeedsAttention,
                    (_, _, 0) => SessionState::Waiting,
                    _ => SessionState::Retrying,
                };
                let failed = state_of.failure.is_some();
                let hindrance = state_of.hindrance().cloned();
                let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
                let progress = ProgressStatus {
                    files: load(&state_of.progress.files),
                    files_done: load(&state_of.progress.files_done),
                    bytes: load(&state_of.progress.bytes),
                    bytes_done: load(&state_of.progress.bytes_done),
                    creation_waits_until: creations
                        .waits_until(&job.session_name())
                        .map(|until| now.wall_of(until)),
                };
                SessionStatus {
                    session: job.session_name(),
                    flag: job.path.to_string_lossy().into_owned(),
                    state,
                    since: state_of.since,
                    flagged_at: Some(state_of.flagged_at),
                    stale: if failed {
                        is_stale(state_of.flagged_at, now.wall, self.config.options.warn_after)
                    } else {
                        self.flags.stale_flags.is_stale(&waiting(job.path, state_of), now.wall)
                    },
                    failures: job.failures,
                    next: job.due.map(|due| now.wall_of(due)),
                    kind: hindrance.as_ref().map(|error| error.kind.clone()),
                    error: hindrance.as_ref().map(|error| error.message.clone()),
                    next_step: hindrance.map(|error| error.next_step),
                    progress: (state == SessionState::Running).then_some(progress),
                }
            })
            .collect();
        sessions.sort_by(SessionStatus::in_order);
        let reading = self.config.client.reading();
        Status {
            daemon: Some(DaemonStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                since: self.reporting.started,
                alyx: self.config.client.alyx().url().to_owned(),
                away_since: self.pauses.away_since,
                login_refused_since: self.pauses.login_refused.map(|refused| refused.since),
                creations_from: self.creations_from(now),
                ledger: self.config.options.ledger.as_ref().and_then(|ledger| ledger.problem()),
                stuck: self.reporting.stuck.map(str::to_owned),
                md5: self.config.client.md5_difference(),
                max_read_rate: reading.max_rate,
                yielding: reading.yields,
                yielded: reading.yielded.as_secs(),
            }),
            sessions,
            obstacles: [self.reporting.obstacles.status(), self.hangs.status(now)].concat(),
            gaps: self.gaps.open().map(GapStatus::from).collect(),
            created_twice: self.gaps.created_twice().map(GapStatus::from).collect(),
            verification: self.verification_status(),
            copies: self.copies_status(),
            not_loadable: self.loadability.reasons().map(NotLoadableStatus::from).collect(),
            ..Status::default()
        }
    }

    /// From when on sessions are created, if they are not yet.
    fn creations_from(&self, now: Moment) -> Option<jiff::Timestamp> {
        let client = &self.config.client;
        let wait = client.context().creations.held_for(client.alyx().request_timeout());
        (!wait.is_zero()).then(|| now.wall_of(now.instant + wait))
    }

    /// The flags of one session, or of all.
    fn flags_of(&self, session: Option<&str>) -> Vec<PathBuf> {
        let is_it = |job: &JobStatus<'_, FlagState>| {
            session.is_none_or(|session| {
                session == job.session_name() || job.path.parent().is_some_and(|p| p == Path::new(session))
            })
        };
        self.flags.queue.jobs().filter(is_it).map(|job| job.path.to_owned()).collect()
    }

    /// Makes sessions due now, and tries a refused login. Returns the number of sessions.
    fn retry(&mut self, session: Option<&str>, now: Moment) -> usize {
        let flags = self.flags_of(session);
        let count = flags.iter().filter(|path| self.flags.queue.make_due_now(path, now.instant)).count();
        for path in &flags {
            self.reporting.throttle.reset(&cause_prefix(path));
            if let Some(arriving) = self.flags.queue.data_mut(path).and_then(|state| state.arriving.as_mut())
            {
                arriving.times = 0;
            }
        }
        self.pauses.query_at_once(now.instant);
        count
    }

    /// Forgets what the ledger remembers of a session. Its flag stays, as a new one: it does not wait for the next attempt
    /// of one that failed.
    fn forget(&mut self, id: u64, session: String, now: Moment) {
        for path in self.flags_of(Some(&session)) {
            if let Some(state) = self.flags.queue.data_mut(&path) {
                state.clear();
            }
            self.flags.queue.forget_failures(&path);
            self.flags.queue.make_due_now(&path, now.instant);
            self.reporting.throttle.reset(&cause_prefix(&path));
        }
        self.gaps.forget(&session);
        self.looks.retain(|_, planned| planned != session);
        self.flags.restored.retain(|_, row| row.session != session);
        self.effects.push(if self.reporting.has_ledger {
            Effect::Forget(id, session)
        } else {
            let reason = "the ledger is not in use by this daemon".to_owned();
            Effect::Answer(id, Answer::Refused(reason))
        });
    }
}
