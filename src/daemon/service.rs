//! The service: the one task that owns the queue. The watcher tells it what is on disk, the workers how their jobs
//! ended, and it decides what runs when.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outage::{Outage, Verdict};
use super::queue::{Outcome, Queue, Sighting};
use super::watcher::{self, RootOptions, Sighted, WatchOptions};
use super::worker::{self, Attempt, AttemptResult, session_name};
use crate::alyx::{self, NextStep};
use crate::backoff::Backoff;
use crate::flag::Removal;
use crate::registration::flagged::{FlaggedOptions, Registered};
use crate::registration::{Error, RegistrationClient};

/// How long the workers may take to stop. A worker looks up after each piece of a file, and lets go of a request at
/// once.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the daemon needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data roots.
    pub roots: Vec<RootOptions>,
    /// How they are watched.
    pub watch: WatchOptions,
    /// How long a flag, and the files of its session, must have been quiet.
    pub settle: Duration,
    /// Waits after a failure that may go away by itself.
    pub retry: Backoff,
    /// How soon a session that needs a person, and refused credentials, are looked at again.
    pub permanent: Duration,
    /// Sessions at once.
    pub workers: usize,
    /// How sessions are registered.
    pub flagged: FlaggedOptions,
}

/// What the daemon tells whoever runs it inside another program.
#[derive(Debug)]
pub enum Report {
    /// A root has been scanned; its flags are in the queue.
    Scanned(watcher::ScanSummary),
    /// A run of a session ended.
    Attempt {
        /// How.
        attempt: Attempt,
        /// When it runs again, if it does.
        again_in: Option<Duration>,
    },
}

/// Runs the daemon until `shutdown`. `reports`, if given, hears what happens; `rescan` makes all roots be scanned.
///
/// Everything that goes wrong is told in the log and tried again; nothing ends the daemon but `shutdown`.
pub async fn run(
    client: RegistrationClient,
    options: Options,
    reports: Option<mpsc::UnboundedSender<Report>>,
    rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    let (sightings_in, mut sightings) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watcher::watch(
        options.roots.clone(),
        options.watch.clone(),
        sightings_in,
        rescan,
        shutdown.clone(),
    ));
    let (ended_in, mut ended) = mpsc::unbounded_channel();
    let (answers_in, mut answers) = mpsc::unbounded_channel();
    let mut service = Service::new(client, options, reports, ended_in, answers_in, shutdown.clone());
    loop {
        service.start_due(Instant::now());
        let next = service.next_wake();
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(sighted) = sightings.recv() => service.sighted(sighted, Instant::now()),
            Some(attempt) = ended.recv() => service.ended(attempt, Instant::now()),
            Some(answer) = answers.recv() => service.probed(answer, Instant::now()),
            () = sleep_until(next), if next.is_some() => {}
        }
    }
    service.tasks.close();
    if tokio::time::timeout(STOP_WITHIN, service.tasks.wait()).await.is_err() {
        tracing::warn!("a session did not stop in time and is left as it is; it goes on at the next start");
    }
    // What has ended meanwhile is told like everything else.
    while let Ok(attempt) = ended.try_recv() {
        service.ended(attempt, Instant::now());
    }
    let _ = watching.await;
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

struct Service {
    client: RegistrationClient,
    options: Options,
    flagged: Arc<FlaggedOptions>,
    queue: Queue,
    running: usize,
    outage: Outage,
    /// When the server is asked whether it is back.
    probe_at: Option<Instant>,
    /// Sessions of which it has been told that they are still changing.
    told_changing: HashSet<PathBuf>,
    reports: Option<mpsc::UnboundedSender<Report>>,
    ended: mpsc::UnboundedSender<Attempt>,
    answers: mpsc::UnboundedSender<Result<(), alyx::Error>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Service {
    fn new(
        client: RegistrationClient,
        options: Options,
        reports: Option<mpsc::UnboundedSender<Report>>,
        ended: mpsc::UnboundedSender<Attempt>,
        answers: mpsc::UnboundedSender<Result<(), alyx::Error>>,
        shutdown: CancellationToken,
    ) -> Self {
        let probing = Backoff { initial: Duration::from_secs(2), factor: 2.0, max: Duration::from_secs(60) };
        Self {
            client,
            flagged: Arc::new(FlaggedOptions { settle: options.settle, ..options.flagged.clone() }),
            options,
            queue: Queue::new(),
            running: 0,
            outage: Outage::new(probing),
            probe_at: None,
            told_changing: HashSet::new(),
            reports,
            ended,
            answers,
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// When there is something to do if nothing happens before.
    fn next_wake(&self) -> Option<Instant> {
        let job = if self.may_start() { self.queue.next_due() } else { None };
        [job, self.probe_at].into_iter().flatten().min()
    }

    fn may_start(&self) -> bool {
        self.running < self.options.workers.max(1) && !self.outage.is_on()
    }

    /// Starts what is due, and asks the server whether it is back when that is due.
    fn start_due(&mut self, now: Instant) {
        while self.may_start()
            && let Some(job) = self.queue.take_due(now)
        {
            self.running += 1;
            let (ended, client) = (self.ended.clone(), self.client.clone());
            let (flagged, shutdown) = (Arc::clone(&self.flagged), self.shutdown.clone());
            self.tasks.spawn(async move {
                let _ = ended.send(worker::run(client, job, flagged, shutdown).await);
            });
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_at = None;
            let (answers, alyx, shutdown) =
                (self.answers.clone(), self.client.alyx().clone(), self.shutdown.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    answer = alyx.ping() => drop(answers.send(answer)),
                }
            });
        }
    }

    fn report(&self, report: Report) {
        if let Some(reports) = &self.reports {
            let _ = reports.send(report);
        }
    }

    fn sighted(&mut self, sighted: Sighted, now: Instant) {
        match sighted {
            Sighted::Flag(flag) => {
                let session = session_name(flag.session_folder());
                match self.queue.sighted(flag, now, now + self.options.settle) {
                    Sighting::New => tracing::debug!(session, "flag found"),
                    Sighting::Touched => {
                        tracing::info!(session, "flag touched: the session is looked at again")
                    }
                    Sighting::RunsAgain => {
                        tracing::info!(session, "flag touched while its session runs: it runs again")
                    }
                    Sighting::Known => {}
                }
            }
            Sighted::Gone(path) => {
                self.told_changing.remove(&path);
                if self.queue.withdrawn(&path) {
                    tracing::debug!(flag = ?path, "flag is gone");
                }
            }
            Sighted::Scanned(summary) => {
                if summary.reason == watcher::ScanReason::Start {
                    tracing::info!(
                        root = %summary.root.display(),
                        flags = summary.flags,
                        sessions = summary.sessions,
                        watched = summary.watched,
                        took = ?summary.took,
                        "data root scanned"
                    );
                }
                self.report(Report::Scanned(summary));
            }
            Sighted::Trouble(trouble) => tracing::warn!("{trouble}"),
        }
    }

    /// An attempt has ended: what it means for its job, for the others, and for the log.
    fn ended(&mut self, attempt: Attempt, now: Instant) {
        self.running = self.running.saturating_sub(1);
        let outcome = match &attempt.result {
            AttemptResult::Stopped => return,
            AttemptResult::Gone => Outcome::Gone,
            AttemptResult::Registered(registered) => self.registered(&attempt, registered, now),
            AttemptResult::Failed(error) => self.failed(&attempt, error, now),
        };
        let again_in = match outcome {
            Outcome::Done | Outcome::Gone => {
                self.told_changing.remove(&attempt.flag);
                None
            }
            Outcome::RunAgain { at } | Outcome::Retry { at } | Outcome::NeedsPerson { at } => {
                Some(at.saturating_duration_since(now))
            }
        };
        self.queue.finished(&attempt.flag, outcome);
        self.report(Report::Attempt { attempt, again_in });
    }

    fn registered(&mut self, attempt: &Attempt, registered: &Registered, now: Instant) -> Outcome {
        self.answered(now);
        let left_out = (!registered.left_out.is_empty()).then(|| registered.left_out.to_string());
        tracing::info!(
            session = attempt.session,
            eid = registered.eid,
            attempt = attempt.attempt,
            n_files = registered.n_files,
            bytes = registered.bytes,
            took = ?attempt.took,
            created = registered.created,
            left_out,
            "registered"
        );
        if !registered.unmatched.is_empty() {
            let entries = registered.unmatched.join(", ");
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
                Outcome::RunAgain { at: now + self.options.settle }
            }
        }
    }

    /// One match from an error to an outcome.
    fn failed(&mut self, attempt: &Attempt, error: &Error, now: Instant) -> Outcome {
        if let Error::StillChanging { wait, .. } = error {
            if self.told_changing.insert(attempt.flag.clone()) {
                tracing::info!(session = attempt.session, "waiting: {error}");
            }
            return Outcome::RunAgain { at: now + *wait };
        }
        let mut told = false;
        if error.is_outage() {
            told = self.away(error, now);
        } else if !matches!(error, Error::Unreadable { .. } | Error::Vanished { .. } | Error::NotASession(_))
        {
            self.answered(now);
        }
        let outcome = match error.next_step() {
            NextStep::TryAgain { after } => {
                let wait = self.options.retry.delay(attempt.attempt, alyx::random());
                Outcome::Retry { at: now + wait.max(after.unwrap_or_default()) }
            }
            NextStep::NeedsPerson => Outcome::NeedsPerson { at: now + self.options.permanent },
            NextStep::NeedsCredentials => {
                let until = now + self.options.permanent;
                if self.queue.held_until().is_none_or(|held| held <= now) {
                    tracing::error!("nothing can be registered: {error}; then restart the daemon");
                }
                self.queue.hold_until(until);
                // Not this session's fault: no attempt is counted.
                return Outcome::RunAgain { at: until };
            }
        };
        let (retry_in, person) = match outcome {
            Outcome::Retry { at } => (at.saturating_duration_since(now), false),
            _ => (self.options.permanent, true),
        };
        let retry_in = Duration::from_secs(retry_in.as_secs_f64().ceil() as u64);
        match (told, person) {
            // One pause and one warning for a dead server, not one a session.
            (true, _) => tracing::debug!(
                session = attempt.session,
                attempt = attempt.attempt,
                "not registered: {error}"
            ),
            (false, true) => tracing::warn!(
                session = attempt.session, attempt = attempt.attempt, took = ?attempt.took, ?retry_in,
                "needs a person: {error}. The flag stays; touch it to try at once"
            ),
            (false, false) => tracing::warn!(
                session = attempt.session, attempt = attempt.attempt, took = ?attempt.took, ?retry_in,
                "not registered, trying again: {error}"
            ),
        }
        outcome
    }

    /// The server may be away. Returns whether that has been told for all sessions.
    fn away(&mut self, error: &Error, now: Instant) -> bool {
        let certain = matches!(error, Error::Alyx(alyx::Error::Unreachable { maybe_done: false, .. }));
        let after = match error.next_step() {
            NextStep::TryAgain { after } => after,
            _ => None,
        };
        match self.outage.failed(now, certain, after, alyx::random()) {
            Verdict::NotYet => return false,
            Verdict::Begins(at) => {
                tracing::warn!("Alyx is away: {error}. All sessions wait; nothing is lost");
                self.probe_at = Some(at);
            }
            // A probe is under way or planned.
            Verdict::GoesOn(_) => {}
        }
        true
    }

    /// The server was asked whether it is back.
    fn probed(&mut self, answer: Result<(), alyx::Error>, now: Instant) {
        match answer {
            Err(error) if error.is_outage() => {
                tracing::debug!("Alyx is still away: {error}");
                let after = match error.next_step() {
                    NextStep::TryAgain { after } => after,
                    _ => None,
                };
                match self.outage.failed(now, true, after, alyx::random()) {
                    Verdict::Begins(at) | Verdict::GoesOn(at) => self.probe_at = Some(at),
                    Verdict::NotYet => {}
                }
            }
            // Any answer of Alyx itself will do; what it says about the login, the next session meets.
            _ => self.answered(now),
        }
    }

    fn answered(&mut self, now: Instant) {
        if let Some(length) = self.outage.answered(now) {
            let length = Duration::from_secs(length.as_secs());
            tracing::info!(?length, "Alyx is back");
            self.probe_at = None;
        }
    }
}
