//! What people ask of the running service: `status`, `retry`, `forget`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::daemon::messages::{Answer, Question, Request};
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::JobStatus;
use crate::daemon::queue::old_flags::is_old;
use crate::daemon::run_loop::stale_flags::waiting;
use crate::daemon::run_loop::{FlagState, Moment, Service};
use crate::daemon::status::{DaemonStatus, ProgressStatus, SessionState, SessionStatus, Status};

impl Service {
    pub(crate) fn on_request(&mut self, (request, answer): Question, now: Moment) {
        self.mark_status_dirty();
        match request {
            Request::Status => drop(answer.send(Answer::Status(Box::new(self.status(now))))),
            Request::Retry { session } => {
                let count = self.retry(session.as_deref(), now);
                tracing::info!(session, count, "sessions are tried at once, as requested");
                drop(answer.send(Answer::Done(count)));
            }
            Request::Forget { session } => self.forget(session, answer),
        }
    }

    fn status(&self, now: Moment) -> Status {
        let mut sessions: Vec<SessionStatus> = self
            .queue
            .jobs()
            .map(|job| {
                let note = job.data;
                let state = match (job.due, job.needs_attention, job.failures) {
                    (None, ..) => SessionState::Running,
                    (_, true, _) => SessionState::NeedsAttention,
                    (_, _, 0) => SessionState::Waiting,
                    _ => SessionState::Retrying,
                };
                let failed = note.failure.is_some();
                let (error, next_step) = note.failure.clone().unzip();
                let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
                let progress = ProgressStatus {
                    files: load(&note.progress.files),
                    files_done: load(&note.progress.files_done),
                    bytes: load(&note.progress.bytes),
                    bytes_done: load(&note.progress.bytes_done),
                };
                SessionStatus {
                    session: job.session_name(),
                    flag: job.path.to_string_lossy().into_owned(),
                    state,
                    since: note.since,
                    put: Some(note.put),
                    old: if failed {
                        is_old(note.put, now.wall, self.options.warn_after)
                    } else {
                        self.old_flags.is_old(&waiting(job.path, note), now.wall)
                    },
                    failures: job.failures,
                    next: job.due.map(|due| now.wall_of(due)),
                    error,
                    next_step,
                    progress: (state == SessionState::Running).then_some(progress),
                }
            })
            .collect();
        sessions.sort_by(SessionStatus::in_order);
        Status {
            daemon: Some(DaemonStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                since: self.started,
                alyx: self.client.alyx().url().to_owned(),
                away_since: self.away_since,
                login_refused_since: self.login_refused.map(|refused| refused.since),
                ledger: self.options.ledger.as_ref().and_then(|ledger| ledger.trouble()),
                stuck: self.stuck.map(|stuck| stuck.text().to_owned()),
            }),
            sessions,
            obstacles: self.obstacles.status(),
        }
    }

    /// The flags of a session, or all.
    fn flags_of(&self, session: Option<&str>) -> Vec<PathBuf> {
        let is_it = |job: &JobStatus<'_, FlagState>| {
            session.is_none_or(|session| {
                session == job.session_name() || job.path.parent().is_some_and(|p| p == Path::new(session))
            })
        };
        self.queue.jobs().filter(is_it).map(|job| job.path.to_owned()).collect()
    }

    /// Makes sessions due now; a refused login is tried as well. Returns how many sessions it was.
    fn retry(&mut self, session: Option<&str>, now: Moment) -> usize {
        let flags = self.flags_of(session);
        let count = flags.iter().filter(|path| self.queue.make_due_now(path, now.instant)).count();
        for path in &flags {
            self.log_throttle.is_over(&crate::daemon::run_loop::cause_prefix(path));
        }
        self.ask_at_once(now);
        count
    }

    /// Forgets what is remembered of a session; the flag, if there is one, starts anew.
    fn forget(&mut self, session: String, answer: tokio::sync::oneshot::Sender<Answer>) {
        for path in self.flags_of(Some(&session)) {
            if let Some(note) = self.queue.data_mut(&path) {
                note.failure = None;
                note.missing.clear();
            }
            self.queue.forget_failures(&path);
        }
        self.restored.retain(|_, row| row.session != session);
        if self.ledger_writer.is_none() {
            let reason = "nothing is remembered: this daemon has no ledger".to_owned();
            drop(answer.send(Answer::Refused(reason)));
            return;
        }
        let (sender, lines) = tokio::sync::oneshot::channel();
        self.write_down(LedgerEntry::Forget(session, sender));
        self.tasks.spawn(async move {
            let reply = match lines.await {
                Ok(Some(count)) => Answer::Done(count),
                _ => Answer::Refused("the ledger cannot be written; look at the daemon's log".to_owned()),
            };
            drop(answer.send(reply));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::daemon::run_loop::LoginRefused;
    use crate::daemon::watch::WatchEvent;
    use alyx_registration::flag::FlagFile;

    #[tokio::test]
    async fn a_flag_that_is_touched_while_the_login_is_refused_has_it_tried_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let flag = folder.path().join("create_me.flag");
        let mut service = Service::example();
        let see = |service: &mut Service, text: &str, now| {
            std::fs::write(&flag, text).unwrap();
            service.on_watch_event(WatchEvent::Flag(FlagFile::load(&flag).unwrap().unwrap()), now);
        };
        let now = Moment::read();
        see(&mut service, "", now);
        let later = now.instant + Duration::from_secs(86_400);
        let refused = LoginRefused { since: now.wall, look_at: Some(later), try_at: later };
        service.login_refused = Some(refused);
        see(&mut service, "alf", now);
        let due = |service: &Service| service.login_refused.map(|refused| (refused.look_at, refused.try_at));
        let at_once: Option<(Option<Instant>, Instant)> = Some((Some(now.instant), now.instant));
        assert_eq!(due(&service), at_once);
        // Somebody looks already: once more when that has ended.
        service.login_refused = Some(LoginRefused { look_at: None, ..refused });
        see(&mut service, "alf/probe00", now);
        assert_eq!(due(&service), Some((None, now.instant)));
    }
}
