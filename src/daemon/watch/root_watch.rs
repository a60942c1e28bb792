//! The watch on one root: its thread's loop.
//!
//! Hazards that shape it:
//! - A folder is watched first and then listed; what is created in between is found twice, never missed.
//! - The source removes a watch by path when it reads that the path was deleted, even if a new folder of that name has
//!   been watched since. So every event about a folder renews the watches of everything in it.
//! - No event reports that a root was replaced, or that a deleted root exists again. So each tick checks the root, and
//!   whether a disk was unmounted.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::daemon::tree::layout::{Check, Layout};
use crate::daemon::tree::root::{FolderIdentity, is_read_only};
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::tree::scan::{Scan, ScanProblem, Scanner};
use crate::daemon::watch::Disks;
use crate::daemon::watch::emitter::EventEmitter;
use crate::daemon::watch::events::{ScanReason, ScanSummary, WatchEvent};
use crate::daemon::watch::inotify_pool::PoolTraversal;
use crate::daemon::watch::options::{RootOptions, WatchOptions};
use crate::daemon::watch::problem::WatchProblem;
use crate::daemon::watch::problem::{suggested_limit, watch_limit};
use crate::daemon::watch::source::{EventSink, MakeWatches, Watches};
use crate::daemon::watch::watch_set::WatchSet;
use alyx_registration::DiskStep;
use alyx_registration::flag::{FlagError, FlagFile};

/// A message to the thread of a root.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something to check, from the source of events with this number.
    Check(u64, Check),
    /// The source of events with this number has failed.
    EventsFailed(u64, String),
    /// Scan the whole root.
    Rescan,
    /// Stop.
    Stop,
}

/// How many checks may wait: a scan of a dead drive may never end. Beyond that everything is checked.
const MAX_WAITING: usize = 65_536;

/// How many messages are handled together. Duplicates among them cost nothing.
const BATCH: usize = 4096;

pub(crate) struct RootWatch {
    root: RootOptions,
    rescan_interval: Duration,
    poll_interval: Duration,
    scanner: Scanner,
    make: MakeWatches,
    inbox: Sender<Message>,
    messages: Receiver<Message>,
    /// How many of them are checks.
    waiting: Arc<AtomicUsize>,
    emitter: EventEmitter,
    shutdown: CancellationToken,
    disks: Disks,
    /// What this thread does with the file system now.
    step: Option<Arc<DiskStep>>,

    /// The identity of the root when it was last present.
    identity: Option<FolderIdentity>,
    watch_set: WatchSet,
    /// Number of the current source of events. Events of earlier sources are ignored.
    source: u64,
    unreadable: BTreeSet<PathBuf>,
    limit_reported: bool,
    next_check: Instant,
    next_scan: Instant,
    last_event_loss: Option<Instant>,
    wants_events: bool,
    restart_at: Option<Instant>,
}

/// The checks that a batch of messages requires.
#[derive(Default)]
struct PendingChecks {
    flags: BTreeSet<PathBuf>,
    misplaced: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
    root: bool,
    rescan: bool,
    stop: bool,
}

impl RootWatch {
    pub(crate) fn new(
        layout: Layout,
        root: RootOptions,
        options: &WatchOptions,
        (make, disks): (MakeWatches, Disks),
        (inbox, messages): (Sender<Message>, Receiver<Message>),
        emitter: EventEmitter,
        shutdown: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            root,
            rescan_interval: options.rescan_interval,
            poll_interval: options.poll_interval,
            scanner: Scanner::new(layout),
            make,
            inbox,
            messages,
            waiting: Arc::default(),
            emitter,
            shutdown,
            disks,
            step: None,
            identity: None,
            watch_set: WatchSet::default(),
            source: 0,
            unreadable: BTreeSet::new(),
            limit_reported: false,
            next_check: now,
            next_scan: now,
            last_event_loss: None,
            wants_events: false,
            restart_at: None,
        }
    }

    pub(crate) fn run(mut self) {
        self.begin_step();
        self.check_root(ScanReason::Start, false);
        while !self.is_stopped() {
            self.emitter.emit_obstacles(&self.root.path);
            let next =
                [Some(self.next_check), Some(self.next_scan), self.restart_at].into_iter().flatten().min();
            let wait = next.map_or(self.poll_interval, |next| next.saturating_duration_since(Instant::now()));
            self.step = None;
            let message = self.messages.recv_timeout(wait);
            self.begin_step();
            match message {
                Ok(first) => self.handle_batch(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.handle_timers();
        }
    }

    fn begin_step(&mut self) {
        self.step = Some(Arc::new(self.disks.steps.begin("scanning", &self.scanner.layout().root)));
    }

    /// Polled before each folder of a scan: whether to stop.
    fn stop(&self) -> impl Fn() -> bool + Sync + use<> {
        let (shutdown, step) = (self.shutdown.clone(), self.step.clone());
        move || {
            step.iter().for_each(|step| step.touch());
            shutdown.is_cancelled()
        }
    }

    fn is_stopped(&self) -> bool {
        self.shutdown.is_cancelled() || self.emitter.is_closed()
    }

    fn handle_timers(&mut self) {
        let now = Instant::now();
        if self.restart_at.is_some_and(|at| at <= now) {
            self.last_event_loss = Some(now);
            self.restart(ScanReason::EventsLost);
        }
        if self.next_check <= now {
            self.check_root(ScanReason::NewRoot, false);
            if self.identity.is_some() && self.wants_events && !self.watch_set.has_events() {
                self.restart(ScanReason::Poll);
            } else if self.identity.is_some() && self.watch_set.needs_polling() {
                self.scan(ScanReason::Poll);
            }
        }
        if self.next_scan <= now {
            self.scan(ScanReason::Timer);
        }
    }

    // ---- messages

    fn handle_batch(&mut self, first: Message) {
        let mut batch = PendingChecks::default();
        let mut messages = vec![first];
        messages.extend(self.messages.try_iter().take(BATCH));
        for message in messages {
            if matches!(message, Message::Check(..)) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            match message {
                Message::Check(source, check) if source == self.source => self.add_check(check, &mut batch),
                Message::EventsFailed(source, error) if source == self.source => {
                    self.events_are_lost(WatchProblem::EventsFailed { root: self.root.path.clone(), error });
                }
                Message::Check(..) | Message::EventsFailed(..) => {}
                Message::Rescan => batch.rescan = true,
                Message::Stop => batch.stop = true,
            }
        }
        if !batch.stop {
            self.run_checks(batch);
        }
    }

    fn add_check(&mut self, check: Check, batch: &mut PendingChecks) {
        match check {
            Check::Flag(path) => _ = batch.flags.insert(path),
            Check::MisplacedFlag(path) => _ = batch.misplaced.insert(path),
            Check::Folder(path) => _ = batch.folders.insert(path),
            Check::Permissions(path)
                if !self.unreadable.contains(&path) && !self.watch_set.was_refused(&path) => {}
            Check::Permissions(path) if path == self.scanner.layout().root => batch.rescan = true,
            Check::Permissions(path) => _ = batch.folders.insert(path),
            Check::Root => batch.root = true,
            Check::Everything => {
                self.events_are_lost(WatchProblem::EventsLost { root: self.root.path.clone() });
            }
        }
    }

    fn run_checks(&mut self, batch: PendingChecks) {
        if batch.root || batch.rescan {
            self.check_root(ScanReason::NewRoot, batch.root);
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        for folder in batch.folders {
            // Sorted by components: a folder comes right before everything in it.
            if folders.last().is_none_or(|above| !folder.starts_with(above)) {
                self.watch_set.invalidate(&folder);
                folders.push(folder);
            }
        }
        for folder in &folders {
            self.check_folder(folder);
        }
        for folder in &folders {
            self.watch_set.drop_invalidated(folder);
        }
        for flag in batch.flags {
            self.check_flag(flag);
        }
        for flag in batch.misplaced {
            match self.scanner.find_misplaced(&flag) {
                Some(problem) => self.emitter.report(WatchProblem::Scan(problem)),
                None => self.emitter.resolve_at(&flag),
            }
        }
        if batch.rescan {
            self.scan(ScanReason::Command);
        }
    }

    fn check_flag(&mut self, path: PathBuf) {
        let loaded = FlagFile::load(path.clone());
        if loaded.is_ok() {
            self.emitter.resolve_at(&path);
        }
        match loaded {
            Ok(Some(flag)) => self.emitter.emit_flag(flag),
            Ok(None) => self.emitter.emit_gone(path),
            Err(error) => self.emitter.report(WatchProblem::Scan(error.into())),
        }
    }

    fn check_folder(&mut self, folder: &Path) {
        if self.identity.is_none() {
            return;
        }
        self.watch_set.begin_scan(false);
        let stop = self.stop();
        let scan = self.scanner.scan_below(
            folder,
            &mut |folder, place, inode| self.watch_set.ensure_watched(folder, place, inode),
            &stop,
        );
        if !scan.stopped {
            self.emitter.resolve_after_scan(&scan, folder);
        }
        self.apply_scan(scan, folder);
        self.after_scan();
    }

    // ---- the root

    /// Checks that the root exists and is still the same folder; otherwise sets everything up again. An event about
    /// the root itself always does: a new folder may have the inode of the old one.
    fn check_root(&mut self, reason: ScanReason, has_root_event: bool) {
        self.next_check = Instant::now() + self.poll_interval;
        if !self.lock() {
            return;
        }
        let was_unmounted = self.watch_set.was_unmounted();
        match (self.root.identify(), self.identity) {
            (Ok(now), Some(before)) if now == before && !has_root_event && !was_unmounted => {
                self.check_read_only()
            }
            (Ok(now), before) => {
                let root = self.root.path.clone();
                if before.is_some_and(|before| before != now) {
                    self.emitter.report(WatchProblem::RootReplaced { root });
                } else if was_unmounted {
                    self.emitter.report(WatchProblem::DiskUnmounted { root });
                }
                self.emitter.forget_problems();
                self.identity = Some(now);
                self.check_read_only();
                self.restart(reason);
            }
            (Err(problem), before) => {
                if before.is_some() {
                    self.emitter.forget_problems();
                    self.identity = None;
                    self.source += 1;
                    self.watch_set.reset(None);
                }
                for flag in self.emitter.flags_below(&self.root_folder()) {
                    self.emitter.emit_gone(flag);
                }
                self.emitter.root_unavailable(problem);
            }
        }
    }

    /// Locks the root, unless it is locked. Nothing in it is looked at before, and if its disk hangs this does too.
    fn lock(&mut self) -> bool {
        let Some(locks) = &self.disks.locks else { return true };
        match RootLocks::lock_in_use(locks, &self.root_folder()) {
            Some(Ok(())) => true,
            // A reload has replaced the configuration: this watch ends.
            None => false,
            Some(Err(error)) => {
                let root = self.root.path.clone();
                self.emitter.root_unavailable(WatchProblem::NotLocked { root, error });
                false
            }
        }
    }

    fn check_read_only(&mut self) {
        let problem = WatchProblem::ReadOnly { root: self.root.path.clone() };
        if is_read_only(&self.root.path).unwrap_or(false) {
            self.emitter.report(problem);
        } else {
            self.emitter.resolve(&problem);
        }
    }

    fn root_folder(&self) -> PathBuf {
        self.scanner.layout().root.clone()
    }

    /// Opens a new source of events, and scans the whole root with it.
    fn restart(&mut self, reason: ScanReason) {
        self.restart_at = None;
        if self.identity.is_none() {
            return;
        }
        self.source += 1;
        self.wants_events = self.root.wants_events();
        // The old source is closed first: its watches count towards the kernel's limit.
        self.watch_set.reset(None);
        if self.wants_events {
            match self.source_factory()() {
                Ok(watches) => self.watch_set.reset(Some(watches)),
                Err(error) => self.emitter.report(WatchProblem::NoEvents {
                    root: self.root.path.clone(),
                    error: error.to_string(),
                }),
            }
        }
        self.scan(reason);
    }

    /// Returns a function that opens sources of events under the current number.
    fn source_factory(&self) -> impl Fn() -> notify::Result<Box<dyn Watches>> + use<> {
        let (make, source) = (self.make.clone(), self.source);
        let (inbox, waiting) = (self.inbox.clone(), Arc::clone(&self.waiting));
        let layout = self.scanner.layout().clone();
        move || {
            let is_open: Arc<AtomicBool> = Arc::default();
            let end = EndNotifier {
                source,
                inbox: inbox.clone(),
                waiting: Arc::clone(&waiting),
                is_open: is_open.clone(),
            };
            let watches = make(sink(end, layout.clone()))?;
            is_open.store(true, Ordering::SeqCst);
            Ok(watches)
        }
    }

    /// Starts over: at once the first time, then at most once per poll interval, so that a storm of events does not
    /// keep the root scanning.
    fn events_are_lost(&mut self, problem: WatchProblem) {
        if self.restart_at.is_some() {
            return;
        }
        self.emitter.emit(WatchEvent::Problem(problem));
        let now = Instant::now();
        self.restart_at = Some(self.last_event_loss.map_or(now, |last| now.max(last + self.poll_interval)));
    }

    // ---- scans

    fn scan(&mut self, reason: ScanReason) {
        let began = Instant::now();
        self.next_scan = began + self.rescan_interval;
        if self.identity.is_none() {
            return;
        }
        self.watch_set.begin_scan(true);
        let stop = self.stop();
        let mut scan = self.scan_whole_root(&stop);
        if scan.stopped {
            return;
        }
        self.watch_set.end_whole_scan();
        self.emitter.resolve_after_scan(&scan, &self.root_folder());
        let (flags, sessions, folders) = (scan.flags.len(), scan.sessions, scan.folders);
        let unflagged = std::mem::take(&mut scan.unflagged);
        self.apply_scan(scan, &self.root_folder());
        self.after_scan();
        let summary = ScanSummary {
            root: self.root.path.clone(),
            reason,
            flags,
            sessions,
            folders,
            watched: self.watch_set.watched(),
            took: began.elapsed(),
        };
        self.emitter.emit(WatchEvent::Scanned(summary));
        // After the flags have been reported, which it must not delay.
        if !matches!(reason, ScanReason::Poll | ScanReason::EventsLost) {
            let today = jiff::Zoned::now().date();
            for problem in self.scanner.find_too_deep(unflagged, today, &stop) {
                self.emitter.report(WatchProblem::Scan(problem));
            }
        }
    }

    /// Scans the whole root and adds a watch to every folder. On the first scan, several threads share the work.
    fn scan_whole_root(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Scan {
        if !self.watch_set.is_fresh() {
            let watch_set = &mut self.watch_set;
            return self
                .scanner
                .scan(&mut |folder, place, inode| watch_set.ensure_watched(folder, place, inode), stop);
        }
        let open = self.source_factory();
        let Self { scanner, watch_set, .. } = self;
        let mut partial = scanner
            .scan_to_dates(&mut |folder, place, inode| watch_set.ensure_watched(folder, place, inode), stop);
        let mut traversals = watch_set.traversals(partial.dates(), &open);
        let on_folder = traversals
            .iter_mut()
            .map(|traversal| |folder: &Path, _, inode| traversal.ensure_watched(folder, inode));
        partial.scan_dates(scanner.layout(), on_folder.collect(), stop);
        let results = traversals.into_iter().map(PoolTraversal::finish).collect();
        watch_set.merge_results(results);
        scanner.finish(
            partial,
            &mut |folder, place, inode| watch_set.ensure_watched(folder, place, inode),
            stop,
        )
    }

    /// Reports what a scan of a folder found, and what no longer exists.
    fn apply_scan(&mut self, scan: Scan, folder: &Path) {
        self.unreadable.retain(|path| !path.starts_with(folder));
        for problem in scan.problems {
            match &problem {
                ScanProblem::Unreadable { folder, .. } => _ = self.unreadable.insert(folder.clone()),
                ScanProblem::Flag(FlagError::Io { path, .. }) => {
                    self.unreadable.extend(path.parent().map(Path::to_owned));
                }
                _ => {}
            }
            self.emitter.report(WatchProblem::Scan(problem));
        }
        let found: HashSet<PathBuf> = scan.flags.iter().map(|flag| flag.path.clone()).collect();
        for flag in scan.flags {
            self.emitter.emit_flag(flag);
        }
        if !scan.stopped {
            for flag in self.emitter.flags_below(folder).into_iter().filter(|flag| !found.contains(flag)) {
                // Not found, perhaps only because a folder above it is unreadable now.
                if matches!(FlagFile::load(flag.clone()), Ok(None)) {
                    self.emitter.emit_gone(flag);
                }
            }
        }
    }

    fn after_scan(&mut self) {
        if self.watch_set.has_ended() {
            let root = self.root.path.clone();
            self.events_are_lost(WatchProblem::EventsFailed { root, error: "its thread has ended".into() });
        }
        let unwatched = self.watch_set.over_limit();
        if unwatched > 0 && !self.limit_reported {
            let folders = self.watch_set.watched() + unwatched;
            let suggested = suggested_limit(watch_limit(), unwatched);
            let root = self.root.path.clone();
            let problem = WatchProblem::WatchLimit { root, folders, unwatched, suggested };
            self.emitter.emit(WatchEvent::Problem(problem));
        }
        self.limit_reported = unwatched > 0;
    }
}

/// Forwards the events of a source.
fn sink(end: EndNotifier, layout: Layout) -> EventSink {
    // A source that cannot read its events may report that forever; once is enough.
    let alive = AtomicBool::new(true);
    Box::new(move |event| match event {
        Ok(event) => {
            for check in layout.checks(&event) {
                end.send(check);
            }
        }
        Err(error) => {
            if alive.swap(false, Ordering::Relaxed) {
                end.notify(error.to_string());
            }
        }
    })
}

/// Owned by the thread of a source of events; sends a message when the thread ends.
struct EndNotifier {
    source: u64,
    inbox: Sender<Message>,
    /// How many checks are in it.
    waiting: Arc<AtomicUsize>,
    /// A source that could not be opened has not ended.
    is_open: Arc<AtomicBool>,
}

impl EndNotifier {
    /// Sends a check; one of everything instead of the first for which there is no room.
    fn send(&self, check: Check) {
        let check = match self.waiting.fetch_add(1, Ordering::Relaxed) {
            waiting if waiting < MAX_WAITING => check,
            MAX_WAITING => Check::Everything,
            _ => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let _ = self.inbox.send(Message::Check(self.source, check));
    }

    fn notify(&self, why: String) {
        let _ = self.inbox.send(Message::EventsFailed(self.source, why));
    }
}

impl Drop for EndNotifier {
    fn drop(&mut self) {
        if self.is_open.load(Ordering::SeqCst) {
            self.notify("its thread has ended".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_for_which_there_is_no_room_become_one_of_everything() {
        let (inbox, messages) = std::sync::mpsc::channel();
        let waiting: Arc<AtomicUsize> = Arc::default();
        let end = EndNotifier { source: 1, inbox, waiting: Arc::clone(&waiting), is_open: Arc::default() };
        for _ in 0..MAX_WAITING + 10 {
            end.send(Check::Root);
        }
        let kept: Vec<Message> = messages.try_iter().collect();
        assert_eq!(kept.len(), MAX_WAITING + 1);
        assert!(matches!(kept.last(), Some(Message::Check(1, Check::Everything))));
        // Once they are handled there is room again.
        waiting.store(0, Ordering::Relaxed);
        end.send(Check::Root);
        assert!(matches!(messages.try_recv(), Ok(Message::Check(1, Check::Root))));
    }
}
