//! The dispatcher: one function from an event and a moment to effects.
//!
//! Pure: no clock, no channel, no task, no tokio. The shell reads the clock, passes each event to
//! [`Dispatcher::handle`], and carries out the effects in order. The state is in nine parts, which own their
//! transitions and their wake times:
//!
//! | part | holds |
//! |---|---|
//! | [`Runs`] | the running tasks |
//! | [`Pauses`] | what makes all sessions wait: an outage, a refused login, missing names |
//! | [`Flags`] | the queue with what is known of each flag |
//! | [`Reporting`] | what the log, the ledger and systemd are given |
//! | [`GapBook`] | the sessions that were registered with gaps |
//! | [`LateLooks`] | when registered sessions are looked at again |
//! | [`Follows`] | when copies in other repositories are looked for, and what was found |
//! | [`Loadability`] | why ONE does not load what is registered |
//! | [`Verifications`] | when registered files are verified |
//! | [`Hangs`] | the data roots whose disks do not answer |
//! | [`Config`] | the configuration in use, and its generation |

mod attempt_results;
mod config;
mod control_requests;
pub(crate) mod events;
mod flags;
mod follows;
mod hangs;
mod late_looks;
mod ledger_rows;
mod pauses;
mod reload;
mod reporting;
mod runs;
#[cfg(test)]
mod tests;
mod verifications;
mod watchdog;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::clock::Moment;
use crate::daemon::messages::Report;
use crate::daemon::options::Options;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::stale_flags::flagged_since;
use crate::daemon::queue::{Enqueued, Room};
pub(crate) use crate::daemon::run_loop::dispatcher::config::Config;
use crate::daemon::run_loop::dispatcher::events::{Completed, Effect, Event, Query, TaskResult};
use crate::daemon::run_loop::dispatcher::flags::{FlagState, Flags};
use crate::daemon::run_loop::dispatcher::follows::Follows;
use crate::daemon::run_loop::dispatcher::hangs::Hangs;
use crate::daemon::run_loop::dispatcher::late_looks::LateLooks;
use crate::daemon::run_loop::dispatcher::ledger_rows::{missing_names, stamp_text};
use crate::daemon::run_loop::dispatcher::pauses::Pauses;
use crate::daemon::run_loop::dispatcher::reporting::{Reporting, cause_prefix};
use crate::daemon::run_loop::dispatcher::runs::{Runs, SMALL};
use crate::daemon::run_loop::dispatcher::verifications::Verifications;
use crate::daemon::run_loop::loadability::Loadability;
use crate::daemon::watch::{RootOptions, ScanReason, ScanSummary, WatchEvent};
use crate::humanize::length;
use crate::json::error_report::ErrorReport;
use crate::ledger::{GapBook, LookRow, WaitingRow};
use alyx_registration::advice::FOLLOW_MESSAGE;
use alyx_registration::{DiskSteps, MissingName, Progress, RegistrationClient};
use jiff::Timestamp;

/// The fact that holds the previous daemon's configuration.
pub(crate) const CONFIGURATION: &str = "configuration";
/// The fact that holds the time when stale flags were last reported. Persisted since 0.1.0; do not rename.
pub(crate) const STALE_REPORTED: &str = "old flags told";
/// How many stale flags are logged individually; after a long outage there may be thousands.
const MAX_LOGGED: usize = 20;
/// How many names are queried per round, with one request each.
const NAMES_PER_ROUND: usize = 50;

/// The state of the daemon.
pub(crate) struct Dispatcher {
    pub(crate) config: Config,
    runs: Runs,
    pauses: Pauses,
    flags: Flags,
    reporting: Reporting,
    gaps: GapBook,
    looks: LateLooks,
    verifications: Verifications,
    follows: Follows,
    loadability: Loadability,
    hangs: Hangs,
    /// The effects of the event being handled.
    effects: Vec<Effect>,
}

/// What the previous daemon left in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) rows: Vec<WaitingRow>,
    /// Whether it ran with the current configuration.
    pub(crate) same_configuration: bool,
    /// When it last reported stale flags.
    pub(crate) stale_reported: Option<Timestamp>,
    /// The sessions with gaps.
    pub(crate) gaps: GapBook,
    /// The looks for late files that are due.
    pub(crate) looks: Vec<LookRow>,
}

impl Dispatcher {
    pub(crate) fn new(
        client: RegistrationClient,
        options: Options,
        random: fn() -> f64,
        now: Moment,
    ) -> Self {
        let mut flags = Flags::new(options.warn_after);
        flags.queue.set_roots(root_paths(&options));
        let loadability = Loadability::of(&options);
        Self {
            config: Config::new(client, options, random),
            runs: Runs::default(),
            pauses: Pauses::new(),
            flags,
            reporting: Reporting::new(now),
            gaps: GapBook::default(),
            looks: LateLooks::default(),
            verifications: Verifications::default(),
            follows: Follows::default(),
            loadability,
            hangs: Hangs::new(),
            effects: Vec::new(),
        }
    }

    /// Restores what the previous daemon left. `has_ledger`: events can be written from now on.
    pub(crate) fn restore(&mut self, restored: Restored, has_ledger: bool, now: Moment) {
        if let Some(at) = restored.stale_reported {
            self.flags.stale_flags.restore(at);
        }
        for mut row in restored.rows {
            // The new configuration most likely fixes the cause.
            if !restored.same_configuration {
                row.next = now.wall;
            }
            self.flags.restored.insert(row.flag.clone(), row);
        }
        self.gaps = restored.gaps;
        self.reporting.has_ledger = has_ledger;
        self.restore_looks(restored.looks, now);
        self.set_follows(now);
        let configuration = self.config.options.configuration.clone();
        self.write(LedgerEntry::Fact(CONFIGURATION, configuration));
    }

    /// systemd started the program, and restarts it without a ping within `watchdog`.
    pub(crate) fn notify_systemd(&mut self, watchdog: Option<Duration>, now: Moment) {
        let roots = self.config.options.roots.iter().map(|root| root.path.clone());
        self.reporting.notify_systemd(watchdog, roots, now.instant);
    }

    /// Refuses the login at once if there is no password or token.
    pub(crate) fn check_for_credentials(&mut self, now: Moment) {
        if let Some(error) = self.config.client.alyx().lacks_credentials() {
            self.pauses.refuse_login(&error.into(), &self.config, &mut self.reporting.throttle, now);
        }
    }

    /// Starts nothing from now on; results of running tasks are still handled.
    pub(crate) fn stop(&mut self) {
        self.runs.stopping = true;
        self.looks.stop_in(|_| true);
        self.verifications.stop();
    }

    /// Handles an event, then starts, queries and reports what is due.
    pub(crate) fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        if !matches!(event, Event::Tick) {
            self.reporting.mark_status_dirty();
        }
        self.check_hangs(now);
        match event {
            Event::Watch(event) => self.on_watch_event(event, now),
            Event::TaskDone(completed) => self.on_task_done(completed, now),
            Event::Request(id, request) => self.on_request(id, request, now),
            Event::Command(command) => self.on_command(command, now),
            Event::Tick => {}
        }
        if !self.runs.stopping {
            self.start_due(now);
            self.start_looks(now);
            self.start_verification(now);
            self.start_follow(now);
            self.query_due(now);
            self.ask_loadability(now);
            self.check_folders(now);
            self.report_stale_flags(now);
            self.notify_status(now);
            self.ping(now);
        }
        std::mem::take(&mut self.effects)
    }

    /// When to handle an [`Event::Tick`] if nothing happens before.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let runs = if self.pauses.is_active() { None } else { self.next_due() };
        let (looks, verification, follow) = (self.next_look(), self.next_verification(), self.next_follow());
        let ask = self.loadability.next_wake().filter(|_| !self.pauses.is_active());
        let hangs = self.hangs.next_wake();
        let (pauses, flags, reporting) =
            (self.pauses.next_wake(), self.flags.next_wake(), self.reporting.next_wake());
        let times = [runs, looks, verification, follow, pauses, flags, reporting, ask, hangs];
        times.into_iter().flatten().min()
    }

    /// When the next session may start.
    fn next_due(&self) -> Option<Instant> {
        self.flags.queue.next_due(|root| self.runs.room(root, self.config.options.workers))
    }

    fn start_due(&mut self, now: Moment) {
        let workers = self.config.options.workers;
        while !self.pauses.is_active()
            && let Some(job) = self.flags.queue.take_due(|root| self.runs.room(root, workers), now.instant)
        {
            let root = self.flags.queue.root_of(&job.flag.path);
            let at_most = (self.runs.room(root, workers) == Room::ForSmall).then_some(SMALL);
            self.runs.run_begins(&job.flag.path, root);
            self.looks.stop_in(|root| job.flag.path.starts_with(root));
            self.reporting.mark_status_dirty();
            let progress = Arc::new(Progress::with_steps(self.hangs.steps()));
            if let Some(state) = self.flags.queue.data_mut(&job.flag.path) {
                state.progress = Arc::clone(&progress);
            }
            let accepted_gaps = self.gaps.accepted(job.flag.session_folder());
            let generation = self.config.generation;
            self.effects.push(Effect::Start { generation, job, progress, accepted_gaps, at_most });
        }
    }

    /// Queries Alyx, and checks the secret, when that is due.
    fn query_due(&mut self, now: Moment) {
        if self.pauses.take_probe(now.instant) {
            self.query(Query::Probe);
        }
        if let Some(force) = self.pauses.take_check(self.config.options.permanent, now.instant) {
            self.query(Query::CheckCredentials { force });
        }
        if self.pauses.take_names(now.instant) {
            let missing = self.flags.missing_names();
            if !missing.is_empty() {
                self.pauses.plan_names(self.config.options.names_interval, now.instant);
                if !self.pauses.is_active() {
                    // The order of a set is arbitrary, so each name has its turn eventually.
                    self.query(Query::FindNames(missing.into_iter().take(NAMES_PER_ROUND).collect()));
                }
            }
        }
    }

    /// Asks Alyx whether ONE loads what is registered, when that is due.
    fn ask_loadability(&mut self, now: Moment) {
        if !self.pauses.is_active()
            && let Some(places) = self.loadability.take_due(now.instant)
        {
            self.query(Query::Loadability(places));
        }
    }

    /// Looks whether the folders of sessions that need attention have changed: the cause may have been removed.
    fn check_folders(&mut self, now: Moment) {
        for (root, folders) in self.flags.take_folders(now.instant) {
            self.effects.push(Effect::CheckFolders(self.config.generation, root, folders));
        }
    }

    fn on_folders_checked(&mut self, root: &Path, changed: &[PathBuf], now: Moment) {
        self.flags.folders_checked(root);
        for path in changed {
            if self.flags.queue.make_due_now(path, now.instant) {
                self.reporting.throttle.reset(&cause_prefix(path));
                let session = self.flags.queue.job(path).map(|job| job.session_name());
                tracing::info!(session, "the session folder has changed: the session is tried again");
            }
        }
        self.flags.plan_folders(now.instant + self.config.options.watch.poll_interval);
    }

    fn query(&mut self, query: Query) {
        self.runs.queries += 1;
        self.effects.push(Effect::Query(self.config.generation, query));
    }

    fn on_task_done(&mut self, Completed { generation, result }: Completed, now: Moment) {
        let is_current = generation == self.config.generation;
        let is_query = !matches!(
            result,
            TaskResult::Attempt(_)
                | TaskResult::FoldersChanged(..)
                | TaskResult::Looked(_)
                | TaskResult::Verified(_)
                | TaskResult::Followed(_)
        );
        if is_query {
            self.runs.query_ended();
        }
        let throttle = &mut self.reporting.throttle;
        match result {
            TaskResult::Attempt(attempt) => self.on_attempt_done(*attempt, is_current, now),
            TaskResult::Looked(ended) => self.on_look_ended(*ended, is_current, now),
            TaskResult::Verified(ended) => self.on_verified(*ended, is_current, now),
            TaskResult::Followed(ended) => self.on_follow_ended(*ended, is_current, now),
            TaskResult::FoldersChanged(root, changed) => self.on_folders_checked(&root, &changed, now),
            // Under the current configuration the query is sent again.
            _ if !is_current => {}
            TaskResult::Probed(answer) => self.pauses.on_probe(answer, &self.config, throttle, now),
            TaskResult::CredentialsChecked(source, check) => {
                let every = source.check_every;
                if let Some(kept) = &mut self.config.options.credentials {
                    *kept = *source;
                }
                self.pauses.on_credentials_checked(every, check, throttle, now);
            }
            TaskResult::Loadability(found) => self.loadability.on_answer(found, now.instant),
            TaskResult::NamesFound(names) => {
                for path in self.flags.names_found(&names, now.instant) {
                    let known = format!("{}known", cause_prefix(&path));
                    // If lookup and registration disagree, this happens every few minutes.
                    if throttle.should_log(&known, now.instant) {
                        let session = self.flags.queue.job(&path).map(|job| job.session_name());
                        tracing::info!(session, "Alyx now knows what was missing: the session runs");
                    }
                }
            }
        }
    }

    fn on_watch_event(&mut self, event: WatchEvent, now: Moment) {
        match event {
            WatchEvent::Flag(flag) => {
                if let Some(session) = self.config.skipped(&flag.path) {
                    // Each scan finds it again.
                    let this = format!("{}skipped", cause_prefix(&flag.path));
                    if self.reporting.throttle.should_log(&this, now.instant) {
                        tracing::info!(
                            session,
                            "skipped: its subject is in metadata.skip_subjects; the flag stays"
                        );
                    }
                    return;
                }
                let path = flag.path.clone();
                let flagged_at = flagged_since(&flag.stamp, now.wall);
                let due = now.instant + self.config.options.flagged.quiet.settle;
                let tried = self
                    .flags
                    .queue
                    .job(&path)
                    .is_some_and(|job| job.failures > 0 || job.data.hindrance().is_some());
                let enqueued = self.flags.queue.enqueue(flag, due, || FlagState::new(flagged_at, now));
                let job = self.flags.queue.job(&path);
                let session = job.map(|job| job.session_name()).unwrap_or_default();
                match enqueued {
                    Enqueued::New => {
                        tracing::debug!(session, "flag found");
                        self.restore_flag(&path, now);
                    }
                    Enqueued::Touched | Enqueued::RunsAgain => {
                        let runs =
                            if enqueued == Enqueued::RunsAgain { " while its session runs" } else { "" };
                        // The creation of a flag and the first write to it are two events.
                        if enqueued == Enqueued::RunsAgain || tried {
                            tracing::info!(session, "flag touched{runs}: the session is tried again");
                        }
                        self.reporting.throttle.reset(&cause_prefix(&path));
                        self.pauses.query_at_once(now.instant);
                        if let Some(state) = self.flags.queue.data_mut(&path) {
                            state.clear();
                            state.flagged_at = flagged_at;
                        }
                        self.flags.plan_stale(&path, now);
                        self.write(LedgerEntry::NotWaiting(path));
                    }
                    Enqueued::Known => {}
                }
            }
            WatchEvent::Gone(path) => {
                if self.flags.queue.job(&path).is_some() {
                    tracing::debug!(flag = ?path, "flag is gone");
                }
                self.remove_flag(&path);
            }
            WatchEvent::Scanned(summary) => self.on_scanned(summary, now),
            WatchEvent::Obstacles { root, obstacles } => {
                self.reporting.obstacles.set_root(root, obstacles, now.wall);
            }
            WatchEvent::Problem(problem) => {
                if let Some(root) = problem.unavailable_root() {
                    self.reporting.root_seen(root);
                }
                let text = problem.to_string();
                if self.reporting.throttle.should_log(&text, now.instant) {
                    tracing::warn!("{text}");
                } else {
                    tracing::debug!("{text}");
                }
            }
        }
    }

    fn on_scanned(&mut self, summary: ScanSummary, now: Moment) {
        self.reporting.root_seen(&summary.root);
        let is_start = summary.reason == ScanReason::Start;
        // A disk with a bad cable comes and goes all day.
        let is_back = summary.reason == ScanReason::NewRoot;
        let back = format!("back {:?}", summary.root);
        if is_start || is_back && self.reporting.throttle.should_log(&back, now.instant) {
            tracing::info!(
                root = %summary.root.display(),
                flags = summary.flags,
                sessions = summary.sessions,
                watched = summary.watched,
                took = ?summary.took,
                "data root {}scanned",
                if is_back { "is available again: " } else { "" }
            );
        }
        if is_start || is_back {
            self.drop_restored(&summary.root);
        }
        self.effects.push(Effect::Report(Report::Scanned(summary)));
    }

    /// Restores the back-off of a new flag that waited before a restart.
    fn restore_flag(&mut self, path: &Path, now: Moment) {
        if let Some(row) = self.flags.restored.remove(path) {
            if self.flags.queue.job(path).is_some_and(|job| stamp_text(job.stamp) == row.stamp) {
                let longest = self.config.options.permanent.max(self.config.options.retry.max());
                // Perhaps the service was restarted because the cause is removed.
                let next = if row.needs_attention { now.wall } else { row.next };
                let due = now.instant_of(next, longest);
                self.flags.queue.restore(path, row.failures, row.needs_attention, due);
                let missing = missing_names(&row.missing);
                self.plan_names(&missing, now);
                if let Some(state) = self.flags.queue.data_mut(path) {
                    state.since = row.since.min(now.wall);
                    state.missing = missing;
                    state.failure =
                        Some(ErrorReport::stored(row.kind.as_deref(), &row.error, Some(&row.next_step)));
                }
            } else {
                self.write(LedgerEntry::NotWaiting(path.to_owned()));
            }
        }
        self.flags.plan_stale(path, now);
    }

    /// Drops the restored flags of a root that its first scan did not find.
    fn drop_restored(&mut self, root: &Path) {
        let gone: Vec<_> =
            self.flags.restored.keys().filter(|flag| flag.starts_with(root)).cloned().collect();
        for flag in gone {
            self.flags.restored.remove(&flag);
            self.write(LedgerEntry::NotWaiting(flag));
        }
    }

    fn plan_names(&mut self, missing: &[MissingName], now: Moment) {
        if !missing.is_empty() {
            self.pauses.plan_names(self.config.options.names_interval, now.instant);
        }
    }

    /// Removes a flag that is no longer on disk or no longer watched; a running one leaves when it ends.
    fn remove_flag(&mut self, path: &Path) {
        if let Some(state) = self.flags.queue.remove(path) {
            self.on_flag_removed(path, &state);
        }
    }

    /// Cleans up after a flag that has left the queue.
    fn on_flag_removed(&mut self, path: &Path, state: &FlagState) {
        self.reporting.throttle.reset(&cause_prefix(path));
        if state.failure.is_some() {
            self.write(LedgerEntry::NotWaiting(path.to_owned()));
        }
    }

    fn write(&mut self, entry: LedgerEntry) {
        self.effects.push(Effect::Write(entry));
    }

    /// Logs stale flags when that is due.
    fn report_stale_flags(&mut self, now: Moment) {
        let stale = self.flags.take_stale(now);
        for path in stale.iter().take(MAX_LOGGED) {
            let Some(job) = self.flags.queue.job(path) else { continue };
            tracing::warn!(
                session = job.session_name(),
                flagged = %job.data.flagged_at,
                "stale flag: created {} ago, session not registered: {}",
                length(now.wall.duration_since(job.data.flagged_at)),
                self.why_it_waits(path, job.data)
            );
        }
        if let Some(more) = stale.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            tracing::warn!("{more} more flags are stale; alyx-registrar status --json lists them all");
        }
        if !stale.is_empty() {
            self.write(LedgerEntry::Fact(STALE_REPORTED, now.wall.to_string()));
        }
    }

    fn why_it_waits(&self, path: &Path, state: &FlagState) -> String {
        match state.hindrance() {
            Some(report) if report.next_step == FOLLOW_MESSAGE => return report.message.clone(),
            Some(ErrorReport { message, next_step, .. }) => {
                return format!("{message}. What to do: {next_step}");
            }
            None => {}
        }
        let reason = if self.pauses.login_refused.is_some() {
            "Alyx refuses the login; correct the password or token"
        } else if self.pauses.away_since.is_some() {
            "Alyx does not answer"
        } else if self.flags.is_running(path) {
            "it is being registered now"
        } else {
            "it waits for its turn"
        };
        reason.to_owned()
    }

    fn notify_status(&mut self, now: Moment) {
        let Self { flags, gaps, pauses, config, reporting, effects, .. } = self;
        let line = |reporting: &Reporting| {
            reporting.status_line(flags.queue.counts(), gaps.open().count(), pauses, config)
        };
        effects.extend(reporting.status_notification(line, now.instant).map(Effect::Notify));
    }

    /// Notifies systemd that a reload is over. During the start, the end of the start is notified instead.
    fn notify_reloaded(&mut self) {
        let Self { flags, gaps, pauses, config, reporting, effects, .. } = self;
        if reporting.has_started() {
            let line = |reporting: &Reporting| {
                reporting.status_line(flags.queue.counts(), gaps.open().count(), pauses, config)
            };
            effects.extend(reporting.ready_notification(line, false).map(Effect::Notify));
        }
    }

    /// Logs which disks do not answer, and which answer again.
    fn check_hangs(&mut self, now: Moment) {
        let root_of = |path: &Path| self.flags.queue.root_of(path).to_owned();
        let changed = self.hangs.check(root_of, self.config.options.hangs_after, now.instant);
        if changed {
            self.reporting.mark_status_dirty();
        }
        self.reporting.hanging = self.hangs.status(now).len();
    }

    /// Notifies systemd that the loop turns, when that is due. Must be the last step, because it checks what has not
    /// started.
    fn ping(&mut self, now: Moment) {
        if self.reporting.is_check_due(now.instant) {
            let is_stuck = self.is_due_but_not_started(now.instant);
            let ping = self.reporting.check_progress(is_stuck, now.instant);
            self.effects.extend(ping.map(Effect::Notify));
        }
    }

    /// Whether something should have started in this turn of the loop and has not.
    fn is_due_but_not_started(&self, now: Instant) -> bool {
        let pauses = &self.pauses;
        let nothing_queried = self.runs.queries == 0
            && (pauses.outage.is_active() && pauses.probe_at.is_none()
                || pauses.login_refused.is_some_and(|refused| refused.check_at.is_none()));
        let due = !pauses.is_active() && self.next_due().is_some_and(|due| due <= now);
        due || nothing_queried
    }

    /// The calls to the file system of all tasks.
    pub(crate) fn steps(&self) -> Arc<DiskSteps> {
        self.hangs.steps()
    }
}

/// The data roots as flags are found below them.
fn root_paths(options: &Options) -> Vec<PathBuf> {
    options.roots.iter().map(RootOptions::absolute_path).collect()
}
