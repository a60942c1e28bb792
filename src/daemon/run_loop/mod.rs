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

use crate::daemon::clock::Now;
use crate::daemon::handles::Doors;
use crate::daemon::log_throttle::Repeats;
use crate::daemon::options::Options;
use crate::daemon::outside::control::Question;
use crate::daemon::outside::ledger_writer::{Entry, Journal};
use crate::daemon::outside::obstacles::Obstacles;
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::queue::folder_locks::Folders;
use crate::daemon::queue::old_flags::{OldFlags, put_at};
use crate::daemon::queue::outage::Outage;
use crate::daemon::queue::{Outcome, Queue, Sighting};
use crate::daemon::run_loop::credentials::{CredentialSource, Look};
use crate::daemon::run_loop::sd_notify::Telling;
use crate::daemon::run_loop::watchdog::{Pulse, Stuck};
use crate::daemon::run_loop::watcher_handle::Watching;
use crate::daemon::run_loop::worker::{Attempt, session_name};
use crate::daemon::watch;
use crate::daemon::watch::Sighted;
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
/// How often the progress is looked at where no systemd wants a sign of life: three times within this.
const SIGN_WITHIN: Duration = Duration::from_secs(120);

/// What the daemon tells whoever runs it inside another program.
#[derive(Debug)]
pub enum Report {
    /// A root has been scanned; its flags are in the queue.
    Scanned(watch::ScanSummary),
    /// A run of a session ended.
    Attempt {
        /// How.
        attempt: Attempt,
        /// What it means for its flag.
        outcome: Outcome,
        /// When it runs again, if it does.
        again_in: Option<Duration>,
    },
}

/// Runs the daemon until `shutdown`.
///
/// Everything that goes wrong is told in the log and tried again; nothing ends the daemon but `shutdown`.
pub async fn run(client: RegistrationClient, options: Options, doors: Doors, shutdown: CancellationToken) {
    let Doors { reports, mut orders, control, mut questions, systemd } = doors;
    let (news_in, mut news) = mpsc::unbounded_channel();
    let mut service = Service::new(client, options, reports, news_in, shutdown.clone());
    service.remember().await;
    service.look_for_credentials(Now::read());
    if let Some(within) = systemd.as_ref().and_then(Systemd::watchdog) {
        service.pulse = Pulse::new(within, Instant::now());
    }
    service.telling = systemd.map(|systemd| {
        let roots = service.options.roots.iter().map(|root| root.path.clone());
        Telling::new(systemd, roots, Instant::now())
    });
    let mut watching = Watching::start(&service.options, &shutdown);
    if let Some(control) = control {
        service.tasks.spawn(control.serve(questions.asker(), shutdown.clone()));
    }
    loop {
        let now = Now::read();
        service.start_due(now);
        service.tell_systemd(now);
        service.feel_pulse(now);
        let next = service.next_wake();
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(sighted) = watching.next() => service.sighted(sighted, Now::read()),
            Some(news) = news.recv() => service.heard(news, Now::read()),
            Some(question) = questions.waiting.recv() => service.asked(question, Now::read()),
            Some(order) = orders.recv() => service.ordered(order, &mut watching, Now::read()),
            () = sleep_until(next), if next.is_some() => {}
        }
    }
    if let Some(telling) = &service.telling {
        telling.stopping();
    }
    service.tasks.close();
    // A creation that has been sent is waited for: cut off, it would be carried out when nobody looks any more.
    let ending = async { tokio::join!(service.tasks.wait(), service.client.finish_creations()) };
    if tokio::time::timeout(STOP_WITHIN, ending).await.is_err() {
        tracing::warn!("a session did not stop in time and is left as it is; it goes on at the next start");
    }
    // What has ended meanwhile is told like everything else.
    while let Ok(news) = news.try_recv() {
        service.heard(news, Now::read());
    }
    watching.ended().await;
    if let Some(journal) = service.journal.take() {
        journal.close().await;
    }
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

/// What a task of the service has to tell, and in which era it was begun.
struct Told {
    era: u64,
    news: News,
}

enum News {
    Ended(Box<Attempt>),
    /// The server was asked whether it is back.
    Probed(Result<(), alyx_client::Error>),
    /// Refused credentials were looked at.
    Looked(Box<CredentialSource>, Look),
    /// Alyx knows these names now.
    Known(Vec<MissingName>),
}

/// What is known of a flag beyond its place in the queue.
#[derive(Debug)]
struct Note {
    /// Since when it is known, to this daemon or to one before it.
    since: Timestamp,
    /// When this daemon saw it first.
    seen: Timestamp,
    /// When it was put, by its own time.
    put: Timestamp,
    session: String,
    stamp: String,
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

/// The login is refused.
#[derive(Debug, Clone, Copy)]
struct LoginRefused {
    since: Timestamp,
    /// When the file of the secret is looked at; `None` while somebody looks.
    look_at: Option<Instant>,
    /// When the login is tried in any case.
    try_at: Instant,
}

struct Service {
    client: RegistrationClient,
    options: Options,
    /// Counts the configurations. What an earlier one began says nothing about this one.
    era: u64,
    /// Since when the configuration on disk is one that cannot be used.
    refused_since: Option<Timestamp>,
    flagged: FlaggedOptions,
    at_alyx: Arc<Semaphore>,
    queue: Queue,
    notes: HashMap<PathBuf, Note>,
    running: usize,
    folders: Arc<Folders>,
    outage: Outage,
    away_since: Option<Timestamp>,
    /// Its return is told only if its absence was.
    away_told: bool,
    /// When the server is asked whether it is back.
    probe_at: Option<Instant>,
    login_refused: Option<LoginRefused>,
    /// When Alyx is asked for missing names.
    names_at: Option<Instant>,
    old_flags: OldFlags,
    /// When the next flag gets old, or an old one is told again.
    old_at: Option<Instant>,
    /// What waited when the last daemon ended, and has not been seen yet.
    restored: HashMap<PathBuf, WaitingRow>,
    journal: Option<Journal>,
    telling: Option<Telling>,
    pulse: Pulse,
    /// Why there is no progress.
    stuck: Option<Stuck>,
    /// Questions to Alyx that are under way.
    asking: usize,
    /// Attempts that have begun, and that have ended.
    begun_and_ended: u64,
    repeats: Repeats,
    obstacles: Obstacles,
    started: Timestamp,
    reports: Option<mpsc::UnboundedSender<Report>>,
    news: mpsc::UnboundedSender<Told>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Service {
    fn new(
        client: RegistrationClient,
        options: Options,
        reports: Option<mpsc::UnboundedSender<Report>>,
        news: mpsc::UnboundedSender<Told>,
        shutdown: CancellationToken,
    ) -> Self {
        let at_alyx = Arc::new(Semaphore::new(options.workers.max(1)));
        Self {
            pulse: Pulse::new(SIGN_WITHIN, Instant::now()),
            stuck: None,
            client,
            old_flags: OldFlags::new(options.warn_after),
            era: 0,
            refused_since: None,
            flagged: reload::flagged(&options, &at_alyx),
            at_alyx,
            options,
            queue: Queue::new(),
            notes: HashMap::new(),
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
            journal: None,
            telling: None,
            asking: 0,
            begun_and_ended: 0,
            repeats: Repeats::new(TELL_AGAIN),
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
        let tell = self.telling.as_ref().and_then(Telling::next);
        let pulse = Some(self.pulse.next());
        [pulse, job, self.probe_at, look, self.names_at, tell, self.old_at].into_iter().flatten().min()
    }

    fn may_start(&self) -> bool {
        let most = self.options.workers.max(1) + READING_AHEAD;
        self.running < most && !self.outage.is_on() && self.login_refused.is_none()
    }

    /// Starts what is due.
    fn start_due(&mut self, now: Now) {
        while self.may_start()
            && let Some(job) = self.queue.take_due(now.instant)
        {
            self.running += 1;
            self.begun_and_ended += 1;
            self.stirred();
            let progress: Arc<Progress> = Arc::default();
            if let Some(note) = self.notes.get_mut(&job.flag.path) {
                note.progress = Arc::clone(&progress);
            }
            let (news, client, shutdown) = (self.news.clone(), self.client.clone(), self.shutdown.clone());
            let (options, folders) = (self.flagged.with_progress(progress), Arc::clone(&self.folders));
            let (era, locks) = (self.era, Arc::clone(&self.options.locks));
            self.tasks.spawn(async move {
                let attempt = worker::run(client, job, options, folders, shutdown).await;
                drop(locks);
                let _ = news.send(Told { era, news: News::Ended(Box::new(attempt)) });
            });
        }
        self.ask_what_is_due(now);
        self.tell_old_flags(now);
    }

    fn heard(&mut self, Told { era, news }: Told, now: Now) {
        self.stirred();
        let is_present = era == self.era;
        match &news {
            News::Ended(_) => self.begun_and_ended += 1,
            News::Probed(_) | News::Looked(..) | News::Known(_) => {
                self.asking = self.asking.saturating_sub(1);
            }
        }
        match news {
            News::Ended(attempt) => self.ended(*attempt, is_present, now),
            // Somebody asks anew under the present configuration.
            News::Probed(_) | News::Looked(..) | News::Known(_) if !is_present => {}
            News::Probed(answer) => self.probed(answer, now),
            News::Looked(source, look) => self.looked(*source, look, now),
            News::Known(names) => self.names_known(&names, now),
        }
    }

    fn report(&self, report: Report) {
        if let Some(reports) = &self.reports {
            let _ = reports.send(report);
        }
    }

    fn write_down(&self, entry: Entry) {
        if let Some(journal) = &self.journal {
            journal.write(entry);
        }
    }

    fn sighted(&mut self, sighted: Sighted, now: Now) {
        self.stirred();
        match sighted {
            Sighted::Flag(flag) => {
                let session = session_name(flag.session_folder());
                let (path, stamp) = (flag.path.clone(), persistence::stamp_text(&flag.stamp));
                let put = put_at(&flag.stamp, now.wall);
                let sighting = self.queue.sighted(flag, now.instant, now.instant + self.options.settle);
                match sighting {
                    Sighting::New => {
                        tracing::debug!(session, "flag found");
                        self.note_new(&path, session, (stamp, put), now);
                    }
                    Sighting::Touched | Sighting::RunsAgain => {
                        let runs =
                            if sighting == Sighting::RunsAgain { " while its session runs" } else { "" };
                        tracing::info!(session, "flag touched{runs}: the session is looked at again");
                        self.repeats.is_over(&cause_prefix(&path));
                        self.ask_at_once(now);
                        if let Some(note) = self.notes.get_mut(&path) {
                            (note.stamp, note.failure, note.told_changing, note.changed_times) =
                                (stamp, None, false, 0);
                            note.put = put;
                            note.missing.clear();
                        }
                        self.plan_age(&path, now);
                        self.write_down(Entry::Over(path));
                    }
                    Sighting::Known => {}
                }
            }
            Sighted::Gone(path) => {
                if self.queue.withdrawn(&path) {
                    tracing::debug!(flag = ?path, "flag is gone");
                }
                if !self.is_running(&path) {
                    self.over(&path);
                }
            }
            Sighted::Scanned(summary) => self.scanned(summary, now),
            Sighted::Obstacles { root, obstacles } => self.obstacles.seen(root, obstacles, now.wall),
            Sighted::Trouble(trouble) => {
                if let Some(root) = trouble.root_away() {
                    self.root_seen(root);
                }
                let text = trouble.to_string();
                if self.repeats.is_new(&text, now.instant) {
                    tracing::warn!("{text}");
                } else {
                    tracing::debug!("{text}");
                }
            }
        }
    }

    fn scanned(&mut self, summary: watch::ScanSummary, now: Now) {
        self.root_seen(&summary.root);
        let is_start = summary.reason == watch::ScanReason::Start;
        // A disk with a bad cable comes and goes all day.
        let is_back = summary.reason == watch::ScanReason::NewRoot;
        let is_news =
            is_start || is_back && self.repeats.is_new(&format!("back {:?}", summary.root), now.instant);
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
        self.queue.job(path).is_some_and(|job| job.due.is_none())
    }

    /// A flag is no concern of ours any more.
    fn over(&mut self, path: &Path) {
        self.repeats.is_over(&cause_prefix(path));
        if self.notes.remove(path).is_some_and(|note| note.failure.is_some()) {
            self.write_down(Entry::Over(path.to_owned()));
        }
    }
}

/// No outage, and how often Alyx is asked in one.
fn no_outage() -> Outage {
    Outage::new(Backoff { initial: Duration::from_secs(2), factor: 2.0, max: Duration::from_secs(60) })
}

/// With what the causes of a flag's failures begin among the repeats.
fn cause_prefix(path: &Path) -> String {
    format!("{}\n", path.display())
}
