//! The shell of the run loop: carries out effects with tasks, channels and connections.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::messages::{Answer, Report};
use crate::daemon::options::Options;
use crate::daemon::outside::ledger_writer::{LedgerEntry, LedgerWriter};
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::queue::Job;
use crate::daemon::queue::folder_locks::FolderLocks;
use crate::daemon::run_loop::credentials::{CredentialCheck, CredentialSource};
use crate::daemon::run_loop::dispatcher::events::{Completed, Effect, Notification, Query, TaskResult};
use crate::daemon::run_loop::dispatcher::{CONFIGURATION, Config, Restored, STALE_REPORTED};
use crate::daemon::run_loop::follow_pass::{FollowContext, FollowPass};
use crate::daemon::run_loop::late_look::{EndedLook, Look, LookContext, LookResult};
use crate::daemon::run_loop::watcher_handle::WatcherHandle;
use crate::daemon::run_loop::worker;
use crate::daemon::tree::root::FolderStamp;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::verification::VerifyTask;
use crate::daemon::watch::RootOptions;
use alyx_client::NextStep;
use alyx_registration::{DiskSteps, FlaggedOptions, MissingName, Progress, RunContext, StatRate};

/// The tasks, channels and connections that carry out effects.
pub(crate) struct Shell {
    pub(crate) watcher: WatcherHandle,
    pub(crate) tasks: TaskTracker,
    pub(crate) systemd: Option<Systemd>,
    /// The current options for registering sessions.
    flagged: FlaggedOptions,
    at_alyx: Arc<Semaphore>,
    folders: Arc<FolderLocks>,
    stat_rate: Arc<StatRate>,
    /// The calls to the file system of all tasks.
    steps: Arc<DiskSteps>,
    ledger_writer: Option<LedgerWriter>,
    reports: Option<mpsc::UnboundedSender<Report>>,
    results: mpsc::UnboundedSender<Completed>,
    /// The senders for answers, by request number.
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    requests: u64,
    /// The data roots whose last looks are finished, or are being finished.
    last_looks: Arc<Mutex<BTreeSet<PathBuf>>>,
    shutdown: CancellationToken,
}

/// Reads what the previous daemon left. `None`: there is no ledger.
pub(crate) async fn restore(options: &Options) -> Option<Restored> {
    let ledger = options.ledger.clone()?;
    let configuration = options.configuration.clone();
    let read = tokio::task::spawn_blocking(move || Restored {
        rows: ledger.waiting(),
        same_configuration: ledger.fact(CONFIGURATION).as_deref() == Some(&configuration),
        stale_reported: ledger.fact(STALE_REPORTED).and_then(|at| at.parse().ok()),
        gaps: ledger.gap_book(),
        looks: ledger.looks(),
    });
    Some(read.await.unwrap_or_default())
}

impl Shell {
    /// Starts the watcher. The returned channel receives the results of tasks.
    pub(crate) fn new(
        options: &Options,
        steps: Arc<DiskSteps>,
        reports: Option<mpsc::UnboundedSender<Report>>,
        systemd: Option<Systemd>,
        shutdown: CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<Completed>) {
        let (results, receiver) = mpsc::unbounded_channel();
        let at_alyx = Arc::new(Semaphore::new(options.workers.max(1)));
        let shell = Self {
            watcher: WatcherHandle::start(options, &steps, &shutdown),
            tasks: TaskTracker::new(),
            systemd,
            flagged: options.flagged.clone(),
            at_alyx,
            folders: Arc::default(),
            stat_rate: Arc::new(StatRate::new(options.late.rate)),
            steps,
            ledger_writer: options.ledger.clone().and_then(LedgerWriter::open),
            reports,
            results,
            answers: HashMap::new(),
            requests: 0,
            last_looks: Arc::default(),
            shutdown,
        };
        (shell, receiver)
    }

    /// Whether events are written to a ledger.
    pub(crate) fn has_ledger(&self) -> bool {
        self.ledger_writer.is_some()
    }

    /// Stores the sender for the answer, and returns the number of the request.
    pub(crate) fn expect(&mut self, answer: oneshot::Sender<Answer>) -> u64 {
        self.requests += 1;
        self.answers.insert(self.requests, answer);
        self.requests
    }

    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>, config: &Config) {
        for effect in effects {
            match effect {
                Effect::Start { generation, job, progress, accepted_gaps, at_most } => {
                    let options = FlaggedOptions { accepted_gaps, ..self.flagged.clone() };
                    self.start(generation, job, (progress, at_most), options, config);
                }
                Effect::Query(generation, query) => self.ask(generation, query, config),
                Effect::CheckFolders(generation, root, folders) => {
                    self.check_folders(generation, root, folders)
                }
                Effect::Look(generation, look) => self.look(generation, look, config),
                Effect::Verify(generation, since, stop) => self.verify(generation, since, stop, config),
                Effect::Follow(generation, pass) => self.follow(generation, pass, config),
                Effect::Write(entry) => self.write(entry),
                Effect::Forget(id, session) => self.forget(id, session),
                Effect::Report(report) => {
                    if let Some(reports) = &self.reports {
                        let _ = reports.send(report);
                    }
                }
                Effect::Notify(notification) => self.notify(&notification),
                Effect::Answer(id, answer) => {
                    if let Some(sender) = self.answers.remove(&id) {
                        let _ = sender.send(answer);
                    }
                }
                Effect::Reconfigure { earlier_workers } => {
                    let workers = config.options.workers;
                    set_workers(&self.at_alyx, earlier_workers.max(1), workers.max(1));
                    self.flagged = config.options.flagged.clone();
                    self.stat_rate = Arc::new(StatRate::new(config.options.late.rate));
                }
                Effect::Rewatch(known) => {
                    self.watcher.exchange(known, &config.options);
                    self.finish_last_looks(config);
                }
                Effect::Rescan => self.watcher.rescan(),
            }
        }
    }

    /// Finishes the last looks that an earlier daemon left in the data roots, each root once it is locked.
    pub(crate) fn finish_last_looks(&mut self, config: &Config) {
        let progress = Arc::new(Progress::with_steps(Arc::clone(&self.steps)));
        let client = config.client.in_context(RunContext { progress, ..config.client.context().clone() });
        for root in config.options.roots.iter().map(RootOptions::absolute_path) {
            let begun = Arc::clone(&self.last_looks);
            let (client, flagged) = (client.clone(), config.options.flagged.clone());
            let (locks, shutdown) = (Arc::downgrade(&config.options.locks), self.shutdown.clone());
            // On a task of its own: a dead share must not hold up the others.
            self.tasks.spawn(async move {
                let finish = async {
                    // After a reload, the next configuration waits for the root.
                    let Some(_locks) = RootLocks::locked(&locks, &root).await else { return };
                    if !begun.lock().unwrap_or_else(PoisonError::into_inner).insert(root.clone()) {
                        return;
                    }
                    client.finish_last_looks(&flagged, |flag| flag.starts_with(&root)).await;
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = finish => {}
                }
            });
        }
    }

    /// Runs a job on a task of its own.
    fn start(
        &self,
        generation: u64,
        job: Job,
        (progress, at_most): (Arc<Progress>, Option<u64>),
        options: FlaggedOptions,
        config: &Config,
    ) {
        let (results, shutdown) = (self.results.clone(), self.shutdown.clone());
        let at_alyx = Some(Arc::clone(&self.at_alyx));
        let client = &config.client;
        let client = client.in_context(RunContext { progress, at_alyx, ..client.context().clone() });
        let folders = Arc::clone(&self.folders);
        let locks = Arc::clone(&config.options.locks);
        self.tasks.spawn(async move {
            let attempt = worker::run(client, job, options, folders, at_most, shutdown).await;
            drop(locks);
            let result = TaskResult::Attempt(Box::new(attempt));
            let _ = results.send(Completed { generation, result });
        });
    }

    /// Asks Alyx on a task of its own.
    fn ask(&self, generation: u64, query: Query, config: &Config) {
        let (results, shutdown) = (self.results.clone(), self.shutdown.clone());
        let (client, source) = (config.client.clone(), config.options.credentials.clone());
        let alyx = client.alyx().clone();
        let answer = async move {
            match query {
                Query::Probe => TaskResult::Probed(alyx.ping().await),
                Query::CheckCredentials { force } => {
                    let (source, check) = check_credentials(alyx, source, force).await;
                    TaskResult::CredentialsChecked(Box::new(source), check)
                }
                Query::Loadability(places) => {
                    let found = client.why_not_loadable(&places).await;
                    let found =
                        found.inspect_err(|error| tracing::debug!("asking for repositories: {error}"));
                    TaskResult::Loadability(found.ok())
                }
                Query::FindNames(names) => TaskResult::NamesFound(find_names(&alyx, names).await),
            }
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                result = answer => drop(results.send(Completed { generation, result })),
            }
        });
    }

    /// Looks at the session folders of a data root on a thread of its own: they may be on a dead share.
    fn check_folders(&self, generation: u64, root: PathBuf, folders: Vec<(PathBuf, FolderStamp)>) {
        let (results, steps) = (self.results.clone(), Arc::clone(&self.steps));
        // Not tracked: shutdown does not wait for it.
        tokio::task::spawn_blocking(move || {
            let has_changed = |(flag, stamp): &(PathBuf, FolderStamp)| {
                let _step = steps.begin("looking at", flag);
                flag.parent().and_then(FolderStamp::load).is_some_and(|now| now != *stamp)
            };
            let changed = folders.into_iter().filter(has_changed).map(|(flag, _)| flag).collect();
            let result = TaskResult::FoldersChanged(root, changed);
            drop(results.send(Completed { generation, result }));
        });
    }

    /// Looks for late files.
    fn look(&self, generation: u64, look: Look, config: &Config) {
        let Some(ledger) = config.options.ledger.clone() else { return };
        let (results, shutdown) = (self.results.clone(), self.shutdown.clone());
        let at_alyx = Some(Arc::clone(&self.at_alyx));
        let client = &config.client;
        let progress = Arc::new(Progress::with_steps(Arc::clone(&self.steps)));
        let client = client.in_context(RunContext { progress, at_alyx, ..client.context().clone() });
        let context = LookContext {
            client,
            ledger,
            flagged: self.flagged.clone(),
            late: config.options.late.clone(),
            rate: Arc::clone(&self.stat_rate),
            folders: Arc::clone(&self.folders),
            roots: config.options.roots.iter().map(RootOptions::absolute_path).collect(),
        };
        let locks = Arc::downgrade(&config.options.locks);
        self.tasks.spawn(async move {
            let ended = async {
                match RootLocks::locked(&locks, &look.row.folder).await {
                    Some(_locks) => context.look(look.clone()).await,
                    None => EndedLook {
                        row: look.row.clone(),
                        is_last: look.is_last,
                        result: LookResult::Stopped,
                    },
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => look.stop.cancel(),
                ended = ended => {
                    let result = TaskResult::Looked(Box::new(ended));
                    drop(results.send(Completed { generation, result }));
                }
            }
        });
    }

    /// Verifies what is due.
    fn verify(&self, generation: u64, since: Timestamp, stop: CancellationToken, config: &Config) {
        let options = &config.options;
        let (Some(ledger), Some(verify)) = (options.ledger.clone(), options.verify.clone()) else { return };
        let progress = Arc::new(Progress::with_steps(Arc::clone(&self.steps)));
        let client = config.client.in_context(RunContext { progress, ..config.client.context().clone() });
        let (results, shutdown) = (self.results.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let ended = verify.work.run(VerifyTask { client, ledger, since, stop: stop.clone() });
            tokio::select! {
                () = shutdown.cancelled() => stop.cancel(),
                ended = ended => {
                    let result = TaskResult::Verified(Box::new(ended));
                    drop(results.send(Completed { generation, result }));
                }
            }
        });
    }

    /// Looks for copies in other repositories. Their disks are no data roots: one that hangs holds nothing up but this.
    fn follow(&self, generation: u64, pass: FollowPass, config: &Config) {
        let options = &config.options;
        let (Some(ledger), Some(rules)) = (options.ledger.clone(), options.follow.clone()) else { return };
        let progress = Arc::new(Progress::default());
        let client = config.client.in_context(RunContext { progress, ..config.client.context().clone() });
        let (retry, every) = (options.retry, options.watch.poll_interval);
        let context = FollowContext { client, ledger, rules, retry, every };
        let (results, shutdown) = (self.results.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = context.run(pass) => {
                    let result = TaskResult::Followed(Box::new(ended));
                    drop(results.send(Completed { generation, result }));
                }
            }
        });
    }

    fn write(&self, entry: LedgerEntry) {
        if let Some(ledger_writer) = &self.ledger_writer {
            ledger_writer.write(entry);
        }
    }

    fn forget(&mut self, id: u64, session: String) {
        let Some(answer) = self.answers.remove(&id) else { return };
        let (sender, lines) = oneshot::channel();
        self.write(LedgerEntry::Forget(session, sender));
        self.tasks.spawn(async move {
            let reply = match lines.await {
                Ok(Some(count)) => Answer::Done(count),
                _ => Answer::Refused("the ledger cannot be written; look at the daemon's log".to_owned()),
            };
            drop(answer.send(reply));
        });
    }

    fn notify(&self, notification: &Notification) {
        let Some(systemd) = &self.systemd else { return };
        match notification {
            Notification::Ready(line) => systemd.ready(line),
            Notification::Status(line) => systemd.status(line),
            Notification::Reloading => systemd.reloading(),
            Notification::Alive => systemd.alive(),
        }
    }

    /// Waits for the watcher and the ledger after shutdown.
    pub(crate) async fn close(self) {
        self.watcher.stopped().await;
        if let Some(ledger_writer) = self.ledger_writer {
            ledger_writer.close().await;
        }
    }
}

/// Checks whether the secret has changed and the login is accepted. Without a source, tries the same credentials
/// again.
async fn check_credentials(
    alyx: alyx_client::Client,
    source: Option<CredentialSource>,
    force: bool,
) -> (CredentialSource, CredentialCheck) {
    let Some(source) = source else {
        let check = if force {
            match alyx.ping().await {
                Err(error) if error.next_step() == NextStep::NeedsCredentials => {
                    CredentialCheck::Refused(error.to_string())
                }
                _ => CredentialCheck::Accepted,
            }
        } else {
            CredentialCheck::Same
        };
        return (CredentialSource::new(None, Arc::new(|| Err(String::new()))), check);
    };
    source.check(alyx, force).await
}

/// Which of these names Alyx knows.
async fn find_names(alyx: &alyx_client::Client, names: Vec<MissingName>) -> Vec<MissingName> {
    let mut known = Vec::new();
    for missing in names {
        match alyx.find_member(missing.endpoint, &missing.name).await {
            Ok(Some(_)) => known.push(missing),
            Ok(None) => {}
            // The next session or the next round will report the error.
            Err(error) => {
                tracing::debug!("asking for missing names: {error}");
                break;
            }
        }
    }
    known
}

/// Applies a new worker limit. A lower limit takes effect as running sessions finish.
fn set_workers(at_alyx: &Arc<Semaphore>, earlier: usize, now: usize) {
    at_alyx.add_permits(now.saturating_sub(earlier));
    let fewer = u32::try_from(earlier.saturating_sub(now)).unwrap_or(u32::MAX);
    if fewer > 0 {
        let at_alyx = Arc::clone(at_alyx);
        // Not tracked: shutdown does not wait for it.
        tokio::spawn(async move {
            if let Ok(permits) = at_alyx.acquire_many_owned(fewer).await {
                permits.forget();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_workers_are_reached_as_sessions_end_and_more_at_once() {
        let at_alyx = Arc::new(Semaphore::new(2));
        let mut workers = 2;
        let mut set = async |now| {
            set_workers(&at_alyx, std::mem::replace(&mut workers, now), now);
            // The task that takes permits away is queued now.
            tokio::task::yield_now().await;
        };
        let busy =
            [at_alyx.clone().try_acquire_owned().unwrap(), at_alyx.clone().try_acquire_owned().unwrap()];
        set(1).await;
        drop(busy);
        tokio::task::yield_now().await;
        assert_eq!(at_alyx.available_permits(), 1);
        set(5).await;
        assert_eq!(at_alyx.available_permits(), 5);
        set(2).await;
        assert_eq!(at_alyx.available_permits(), 2);
    }
}
