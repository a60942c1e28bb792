//! The service: the one task that owns the queue. The watcher tells it what is on disk, the workers how their jobs
//! ended, people what they ask, and it decides what runs when.

mod attempt_results;
mod control_requests;
pub mod credentials;
#[cfg(test)]
mod example;
mod outages;
mod persistence;
mod reload;
mod sd_notify;
mod stale_flags;
mod watchdog;
mod watcher_handle;
pub mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::clock::Moment;
use crate::daemon::handles::DaemonIo;
use crate::daemon::log_throttle::LogThrottle;
use crate::daemon::messages::Report;
use crate::daemon::options::Options;
use crate::daemon::outside::ledger_writer::{LedgerEntry, LedgerWriter};
use crate::daemon::outside::obstacles::Obstacles;
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::queue::folder_locks::FolderLocks;
use crate::daemon::queue::old_flags::{OldFlags, put_at};
use crate::daemon::queue::outage::Outage;
use crate::daemon::queue::{Enqueued, Queue};
use crate::daemon::run_loop::credentials::{CredentialCheck, CredentialSource};
use crate::daemon::run_loop::sd_notify::StatusReporter;
use crate::daemon::run_loop::watchdog::{ProgressWatchdog, Stuck};
use crate::daemon::run_loop::watcher_handle::WatcherHandle;
use crate::daemon::run_loop::worker::Attempt;
use crate::daemon::watch;
use crate::daemon::watch::WatchEvent;
use crate::ledger::WaitingRow;
use alyx_client::backoff::Backoff;
use alyx_registration::flagged::FlaggedOptions;
use alyx_registration::{MissingName, Progress, RegistrationClient};

/// How long the workers may take to stop. A worker looks up after each piece of a file, and lets go of a request at
/// once.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How soon a line of the same cause is told again.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// So many sessions more than `workers` may be under way: those that read files, and wait for Alyx.
const READING_AHEAD: usize = 16;

/// The longest step that shows no progress, apart from a request: listing a huge folder on a slow drive.
const LONGEST_STEP: Duration = Duration::from_secs(15 * 60);
/// How often the progress is on_credentials_checked at where no systemd wants a sign of life: three times within this.
const SIGN_WITHIN: Duration = Duration::from_secs(120);

/// Runs the daemon until `shutdown`.
///
/// Everything that goes wrong is told in the log and tried again; nothing ends the daemon but `shutdown`.
pub async fn run(client: RegistrationClient, options: Options, doors: DaemonIo, shutdown: CancellationToken) {
    let DaemonIo { reports, mut commands, control, mut questions, systemd } = doors;
    let (news_in, mut news) = mpsc::unbounded_channel();
    let mut service = Service::new(client, options, reports, news_in, shutdown.clone());
    service.remember().await;
    service.look_for_credentials(Moment::read());
    if let Some(within) = systemd.as_ref().and_then(Systemd::watchdog) {
        service.watchdog = ProgressWatchdog::new(within, Instant::now());
    }
    service.status_reporter = systemd.map(|systemd| {
        let roots = service.options.roots.iter().map(|root| root.path.clone());
        StatusReporter::new(systemd, roots, Instant::now())
    });
    let mut watching = WatcherHandle::start(&service.options, &shutdown);
    if let Some(control) = control {
        service.tasks.spawn(control.serve(questions.client(), shutdown.clone()));
    }
    loop {
        let now = Moment::read();
        service.start_due(now);
        service.tell_systemd(now);
        service.check_progress(now);
        let next = service.next_wake();
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(sighted) = watching.next() => service.on_watch_event(sighted, Moment::read()),
            Some(news) = news.recv() => service.on_task_done(news, Moment::read()),
            Some(question) = questions.waiting.recv() => service.on_request(question, Moment::read()),
            Some(command) = commands.recv() => service.on_command(command, &mut watching, Moment::read()),
            () = sleep_until(next), if next.is_some() => {}
        }
    }
    if let Some(status_reporter) = &service.status_reporter {
        status_reporter.stopping();
    }
    service.tasks.close();
    // A creation that has been sent is waited for: cut off, it would be carried out when nobody looks any more.
    let ending = async { tokio::join!(service.tasks.wait(), service.client.finish_creations()) };
    if tokio::time::timeout(STOP_WITHIN, ending).await.is_err() {
        tracing::warn!("a session did not stop in time and is left as it is; it goes on at the next start");
    }
    // What has ended meanwhile is told like everything else.
    while let Ok(news) = news.try_recv() {
        service.on_task_done(news, Moment::read());
    }
    watching.stopped().await;
    if let Some(ledger_writer) = service.ledger_writer.take() {
        ledger_writer.close().await;
    }
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

/// What a task of the service has to tell, and in which generation it was begun.
struct Completed {
    generation: u64,
    news: TaskResult,
}

enum TaskResult {
    Ended(Box<Attempt>),
    /// The server was on_request whether it is back.
    Probed(Result<(), alyx_client::Error>),
    /// Refused credentials were on_credentials_checked at.
    Looked(Box<CredentialSource>, CredentialCheck),
    /// Alyx knows these names now.
    Known(Vec<MissingName>),
}

/// What is known of a flag beyond its place in the queue.
#[derive(Debug)]
struct FlagState {
    /// Since when it is known, to this daemon or to one before it.
    since: Timestamp,
    /// When this daemon saw it first.
    seen: Timestamp,
    /// When it was put, by its own time.
    put: Timestamp,
    /// Of the last failure: what was wrong, and what to do.
    failure: Option<(String, String)>,
    /// Names that Alyx did not know.
    missing: Vec<MissingName>,
    /// Of the run that is under way.
    progress: Arc<Progress>,
    told_changing: bool,
    /// How often in a row its files were still changing.
    changed_times: u32,
}

impl FlagState {
    /// A flag that was not known, and was put then.
    fn new(put: Timestamp, now: Moment) -> Self {
        Self {
            since: now.wall,
            seen: now.wall,
            put,
            failure: None,
            missing: Vec::new(),
            progress: Arc::default(),
            told_changing: false,
            changed_times: 0,
        }
    }
}

/// The login is refused.
#[derive(Debug, Clone, Copy)]
struct LoginRefused {
    since: Timestamp,
    /// When the file of the secret is on_credentials_checked at; `None` while somebody looks.
    look_at: Option<Instant>,
    /// When the login is tried in any case.
    try_at: Instant,
}

struct Service {
    client: RegistrationClient,
    options: Options,
    /// Counts the configurations. What an earlier one began says nothing about this one.
    generation: u64,
    /// Since when the configuration on disk is one that cannot be used.
    refused_since: Option<Timestamp>,
    flagged: FlaggedOptions,
    at_alyx: Arc<Semaphore>,
    queue: Queue<FlagState>,
    running: usize,
    folders: Arc<FolderLocks>,
    outage: Outage,
    away_since: Option<Timestamp>,
    /// Its return is told only if its absence was.
    away_told: bool,
    /// When the server is on_request whether it is back.
    probe_at: Option<Instant>,
    login_refused: Option<LoginRefused>,
    /// When Alyx is on_request for missing names.
    names_at: Option<Instant>,
    old_flags: OldFlags,
    /// When the next flag gets old, or an old one is told again.
    old_at: Option<Instant>,
    /// What waited when the last daemon ended, and has not been seen yet.
    restored: HashMap<PathBuf, WaitingRow>,
    ledger_writer: Option<LedgerWriter>,
    status_reporter: Option<StatusReporter>,
    watchdog: ProgressWatchdog,
    /// Why there is no progress.
    stuck: Option<Stuck>,
    /// Questions to Alyx that are under way.
    asking: usize,
    /// Attempts that have begun, and that have ended.
    begun_and_ended: u64,
    log_throttle: LogThrottle,
    obstacles: Obstacles,
    started: Timestamp,
    reports: Option<mpsc::UnboundedSender<Report>>,
    news: mpsc::UnboundedSender<Completed>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Service {
    fn new(
        client: RegistrationClient,
        options: Options,
        reports: Option<mpsc::UnboundedSender<Report>>,
        news: mpsc::UnboundedSender<Completed>,
        shutdown: CancellationToken,
    ) -> Self {
        let at_alyx = Arc::new(Semaphore::new(options.workers.max(1)));
        Self {
            watchdog: ProgressWatchdog::new(SIGN_WITHIN, Instant::now()),
            stuck: None,
            client,
            old_flags: OldFlags::new(options.warn_after),
            generation: 0,
            refused_since: None,
            flagged: reload::flagged(&options, &at_alyx),
            at_alyx,
            options,
            queue: Queue::default(),
            running: 0,
            folders: Arc::default(),
            outage: no_outage(),
            away_since: None,
            away_told: false,
            probe_at: None,
            login_refused: None,
            names_at: None,
            old_at: None,
            restored: HashMap::new(),
            ledger_writer: None,
            status_reporter: None,
            asking: 0,
            begun_and_ended: 0,
            log_throttle: LogThrottle::new(TELL_AGAIN),
            obstacles: Obstacles::default(),
            started: Timestamp::now(),
            reports,
            news,
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// When there is something to do if nothing happens before.
    fn next_wake(&self) -> Option<Instant> {
        let job = if self.may_start() { self.queue.next_due() } else { None };
        let look = self.login_refused.and_then(|refused| refused.look_at);
        let tell = self.status_reporter.as_ref().and_then(StatusReporter::next);
        let watchdog = Some(self.watchdog.next());
        [watchdog, job, self.probe_at, look, self.names_at, tell, self.old_at].into_iter().flatten().min()
    }

    fn may_start(&self) -> bool {
        let most = self.options.workers.max(1) + READING_AHEAD;
        self.running < most && !self.outage.is_on() && self.login_refused.is_none()
    }

    /// Starts what is due.
    fn start_due(&mut self, now: Moment) {
        while self.may_start()
            && let Some(job) = self.queue.take_due(now.instant)
        {
            self.running += 1;
            self.begun_and_ended += 1;
            self.mark_status_dirty();
            let progress: Arc<Progress> = Arc::default();
            if let Some(note) = self.queue.data_mut(&job.flag.path) {
                note.progress = Arc::clone(&progress);
            }
            let (news, client, shutdown) = (self.news.clone(), self.client.clone(), self.shutdown.clone());
            let (options, folders) = (self.flagged.with_progress(progress), Arc::clone(&self.folders));
            let (generation, locks) = (self.generation, Arc::clone(&self.options.locks));
            self.tasks.spawn(async move {
                let attempt = worker::run(client, job, options, folders, shutdown).await;
                drop(locks);
                let _ = news.send(Completed { generation, news: TaskResult::Ended(Box::new(attempt)) });
            });
        }
        self.ask_what_is_due(now);
        self.tell_old_flags(now);
    }

    fn on_task_done(&mut self, Completed { generation, news }: Completed, now: Moment) {
        self.mark_status_dirty();
        let is_current = generation == self.generation;
        match &news {
            TaskResult::Ended(_) => self.begun_and_ended += 1,
            TaskResult::Probed(_) | TaskResult::Looked(..) | TaskResult::Known(_) => {
                self.asking = self.asking.saturating_sub(1);
            }
        }
        match news {
            TaskResult::Ended(attempt) => self.on_attempt_done(*attempt, is_current, now),
            // Somebody asks anew under the present configuration.
            TaskResult::Probed(_) | TaskResult::Looked(..) | TaskResult::Known(_) if !is_current => {}
            TaskResult::Probed(answer) => self.on_probe(answer, now),
            TaskResult::Looked(source, look) => self.on_credentials_checked(*source, look, now),
            TaskResult::Known(names) => self.names_known(&names, now),
        }
    }

    fn report(&self, report: Report) {
        if let Some(reports) = &self.reports {
            let _ = reports.send(report);
        }
    }

    fn write_down(&self, entry: LedgerEntry) {
        if let Some(ledger_writer) = &self.ledger_writer {
            ledger_writer.write(entry);
        }
    }

    fn on_watch_event(&mut self, sighted: WatchEvent, now: Moment) {
        self.mark_status_dirty();
        match sighted {
            WatchEvent::Flag(flag) => {
                let path = flag.path.clone();
                let put = put_at(&flag.stamp, now.wall);
                let due = now.instant + self.options.settle;
                let sighting = self.queue.enqueue(flag, due, || FlagState::new(put, now));
                let job = self.queue.job(&path);
                let session = job.map(|job| job.session_name()).unwrap_or_default();
                match sighting {
                    Enqueued::New => {
                        tracing::debug!(session, "flag found");
                        self.note_new(&path, now);
                    }
                    Enqueued::Touched | Enqueued::RunsAgain => {
                        let runs =
                            if sighting == Enqueued::RunsAgain { " while its session runs" } else { "" };
                        tracing::info!(session, "flag touched{runs}: the session is tried again");
                        self.log_throttle.is_over(&cause_prefix(&path));
                        self.ask_at_once(now);
                        if let Some(note) = self.queue.data_mut(&path) {
                            (note.failure, note.told_changing, note.changed_times) = (None, false, 0);
                            note.put = put;
                            note.missing.clear();
                        }
                        self.plan_age(&path, now);
                        self.write_down(LedgerEntry::Over(path));
                    }
                    Enqueued::Known => {}
                }
            }
            WatchEvent::Gone(path) => {
                if self.queue.job(&path).is_some() {
                    tracing::debug!(flag = ?path, "flag is gone");
                }
                self.remove_flag(&path);
            }
            WatchEvent::Scanned(summary) => self.scanned(summary, now),
            WatchEvent::Obstacles { root, obstacles } => self.obstacles.seen(root, obstacles, now.wall),
            WatchEvent::Trouble(trouble) => {
                if let Some(root) = trouble.root_away() {
                    self.root_seen(root);
                }
                let text = trouble.to_string();
                if self.log_throttle.is_new(&text, now.instant) {
                    tracing::warn!("{text}");
                } else {
                    tracing::debug!("{text}");
                }
            }
        }
    }

    fn scanned(&mut self, summary: watch::ScanSummary, now: Moment) {
        self.root_seen(&summary.root);
        let is_start = summary.reason == watch::ScanReason::Start;
        // A disk with a bad cable comes and goes all day.
        let is_back = summary.reason == watch::ScanReason::NewRoot;
        let is_news =
            is_start || is_back && self.log_throttle.is_new(&format!("back {:?}", summary.root), now.instant);
        if is_news {
            tracing::info!(
                root = %summary.root.display(),
                flags = summary.flags,
                sessions = summary.sessions,
                watched = summary.watched,
                took = ?summary.took,
                "data root scanned"
            );
        }
        if is_start || is_back {
            self.drop_what_is_gone(&summary.root);
        }
        self.report(Report::Scanned(summary));
    }

    fn is_running(&self, path: &Path) -> bool {
        self.queue.job(path).is_some_and(|job| job.is_running())
    }

    /// Removes a flag that is no longer on disk, or not watched any more; one that runs leaves when it ends.
    fn remove_flag(&mut self, path: &Path) {
        if let Some(state) = self.queue.remove(path) {
            self.over(path, &state);
        }
    }

    /// A flag has left the queue.
    fn over(&mut self, path: &Path, state: &FlagState) {
        self.log_throttle.is_over(&cause_prefix(path));
        if state.failure.is_some() {
            self.write_down(LedgerEntry::Over(path.to_owned()));
        }
    }
}

/// No outage, and how often Alyx is on_request in one.
fn no_outage() -> Outage {
    Outage::new(Backoff { initial: Duration::from_secs(2), factor: 2.0, max: Duration::from_secs(60) })
}

/// With what the causes of a flag's failures begin among the log_throttle.
fn cause_prefix(path: &Path) -> String {
    format!("{}\n", path.display())
}
