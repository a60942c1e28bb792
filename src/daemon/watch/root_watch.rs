//! The watch over one root: its thread's loop.
//!
//! Hazards that shape it:
//! - A folder is watched first and listed then; what is made in between is met twice, never missed.
//! - The source of events removes a watch by path when it reads that the path was removed, even if a new folder of
//!   that name has been watched since. So every event about a folder renews the watches of all that is in it.
//! - No event tells that a root was replaced, or that one that was deleted is there again. So the root is looked
//!   at on every tick, and whether a disk was unmounted meanwhile.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::daemon::tree::layout::{Layout, Reaction};
use crate::daemon::tree::root::{FolderIdentity, is_read_only};
use crate::daemon::tree::scan::{Scan, ScanProblem, Scanner};
use crate::daemon::watch::emitter::EventEmitter;
use crate::daemon::watch::events::{ScanReason, ScanSummary, WatchEvent};
use crate::daemon::watch::inotify_pool::PoolTraversal;
use crate::daemon::watch::options::{RootOptions, WatchOptions};
use crate::daemon::watch::source::{EventSink, MakeWatches, Watches};
use crate::daemon::watch::trouble::WatchTrouble;
use crate::daemon::watch::trouble::{suggested_limit, watch_limit};
use crate::daemon::watch::watch_set::WatchSet;
use alyx_registration::flag::{FlagError, FlagFile};

/// What a root's thread is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the source of events with this number: something to look at.
    Reaction(u64, Reaction),
    /// The source of events with this number has failed.
    EventsFailed(u64, String),
    /// Scan the whole root.
    Rescan,
    /// End.
    Stop,
}

/// How many messages are taken together. Repeated ones among them cost nothing.
const BATCH: usize = 4096;

pub(crate) struct RootWatch {
    root: RootOptions,
    rescan_interval: Duration,
    poll_interval: Duration,
    scanner: Scanner,
    make: MakeWatches,
    inbox: Sender<Message>,
    messages: Receiver<Message>,
    told: EventEmitter,
    shutdown: CancellationToken,

    /// What the root was when it was last there.
    present: Option<FolderIdentity>,
    watch_set: WatchSet,
    /// Number of the present source of events. What older ones still say no longer counts.
    source: u64,
    unreadable: BTreeSet<PathBuf>,
    limit_told: bool,
    next_look: Instant,
    next_scan: Instant,
    last_loss: Option<Instant>,
    wants_events: bool,
    restart_at: Option<Instant>,
}

/// Everything that a batch of messages asks to look at.
#[derive(Default)]
struct ToLookAt {
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
        make: MakeWatches,
        (inbox, messages): (Sender<Message>, Receiver<Message>),
        told: EventEmitter,
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
            told,
            shutdown,
            present: None,
            watch_set: WatchSet::default(),
            source: 0,
            unreadable: BTreeSet::new(),
            limit_told: false,
            next_look: now,
            next_scan: now,
            last_loss: None,
            wants_events: false,
            restart_at: None,
        }
    }

    pub(crate) fn run(mut self) {
        self.look_at_root(ScanReason::Start, false);
        while !self.is_stopped() {
            self.told.tell_obstacles(&self.root.path);
            let next =
                [Some(self.next_look), Some(self.next_scan), self.restart_at].into_iter().flatten().min();
            let wait = next.map_or(self.poll_interval, |next| next.saturating_duration_since(Instant::now()));
            match self.messages.recv_timeout(wait) {
                Ok(first) => self.take_batch(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.take_timers();
        }
    }

    fn is_stopped(&self) -> bool {
        self.shutdown.is_cancelled() || self.told.is_in_vain()
    }

    fn take_timers(&mut self) {
        let now = Instant::now();
        if self.restart_at.is_some_and(|at| at <= now) {
            self.last_loss = Some(now);
            self.restart(ScanReason::EventsLost);
        }
        if self.next_look <= now {
            self.look_at_root(ScanReason::NewRoot, false);
            if self.present.is_some() && self.wants_events && !self.watch_set.has_events() {
                self.restart(ScanReason::Poll);
            } else if self.present.is_some() && self.watch_set.needs_polling() {
                self.scan(ScanReason::Poll);
            }
        }
        if self.next_scan <= now {
            self.scan(ScanReason::Timer);
        }
    }

    // ---- messages

    fn take_batch(&mut self, first: Message) {
        let mut batch = ToLookAt::default();
        let mut messages = vec![first];
        messages.extend(self.messages.try_iter().take(BATCH));
        for message in messages {
            match message {
                Message::Reaction(source, reaction) if source == self.source => {
                    self.sort(reaction, &mut batch)
                }
                Message::EventsFailed(source, error) if source == self.source => {
                    self.events_are_lost(WatchTrouble::EventsFailed { root: self.root.path.clone(), error });
                }
                Message::Reaction(..) | Message::EventsFailed(..) => {}
                Message::Rescan => batch.rescan = true,
                Message::Stop => batch.stop = true,
            }
        }
        if !batch.stop {
            self.look_at(batch);
        }
    }

    fn sort(&mut self, reaction: Reaction, batch: &mut ToLookAt) {
        match reaction {
            Reaction::Flag(path) => _ = batch.flags.insert(path),
            Reaction::MisplacedFlag(path) => _ = batch.misplaced.insert(path),
            Reaction::Folder(path) => _ = batch.folders.insert(path),
            Reaction::Permissions(path)
                if !self.unreadable.contains(&path) && !self.watch_set.was_refused(&path) => {}
            Reaction::Permissions(path) if path == self.scanner.layout().root => batch.rescan = true,
            Reaction::Permissions(path) => _ = batch.folders.insert(path),
            Reaction::Root => batch.root = true,
            Reaction::Everything => {
                self.events_are_lost(WatchTrouble::EventsLost { root: self.root.path.clone() });
            }
        }
    }

    fn look_at(&mut self, batch: ToLookAt) {
        if batch.root || batch.rescan {
            self.look_at_root(ScanReason::NewRoot, batch.root);
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        for folder in batch.folders {
            // Sorted by components: a folder comes right before all that is in it.
            if folders.last().is_none_or(|above| !folder.starts_with(above)) {
                self.watch_set.doubt(&folder);
                folders.push(folder);
            }
        }
        for folder in &folders {
            self.look_at_folder(folder);
        }
        for folder in &folders {
            self.watch_set.end_doubt(folder);
        }
        for flag in batch.flags {
            self.look_at_flag(flag);
        }
        for flag in batch.misplaced {
            match self.scanner.find_misplaced(&flag) {
                Some(problem) => self.told.trouble(WatchTrouble::Problem(problem)),
                None => self.told.is_well(&flag),
            }
        }
        if batch.rescan {
            self.scan(ScanReason::Command);
        }
    }

    fn look_at_flag(&mut self, path: PathBuf) {
        let looked = FlagFile::load(path.clone());
        if looked.is_ok() {
            self.told.is_well(&path);
        }
        match looked {
            Ok(Some(flag)) => self.told.flag(flag),
            Ok(None) => self.told.gone(path),
            Err(error) => self.told.trouble(WatchTrouble::Problem(error.into())),
        }
    }

    fn look_at_folder(&mut self, folder: &Path) {
        if self.present.is_none() {
            return;
        }
        self.watch_set.begin_walk(false);
        let shutdown = self.shutdown.clone();
        let scan = self.scanner.scan_below(
            folder,
            &mut |folder, place, inode| self.watch_set.enter(folder, place, inode),
            &|| shutdown.is_cancelled(),
        );
        if !scan.stopped {
            self.told.forget_ended_troubles(&scan, folder);
        }
        self.take_scan(scan, folder);
        self.after_walk();
    }

    // ---- the root

    /// Looks whether the root is there and still the same folder; sets everything up anew where it is not. After
    /// an event about the root itself that is done in any case: a new folder may get the number of the old one.
    fn look_at_root(&mut self, reason: ScanReason, was_told: bool) {
        self.next_look = Instant::now() + self.poll_interval;
        let was_unmounted = self.watch_set.was_unmounted();
        match (self.root.identify(), self.present) {
            (Ok(now), Some(before)) if now == before && !was_told && !was_unmounted => {
                self.look_whether_read_only()
            }
            (Ok(now), before) => {
                let root = self.root.path.clone();
                if before.is_some_and(|before| before != now) {
                    self.told.trouble(WatchTrouble::RootReplaced { root });
                } else if was_unmounted {
                    self.told.trouble(WatchTrouble::DiskUnmounted { root });
                }
                self.told.forget_troubles();
                self.present = Some(now);
                self.look_whether_read_only();
                self.restart(reason);
            }
            (Err(trouble), before) => {
                if before.is_some() {
                    self.told.forget_troubles();
                    self.present = None;
                    self.source += 1;
                    self.watch_set.reset(None);
                }
                for flag in self.told.flags_below(&self.root_folder()) {
                    self.told.gone(flag);
                }
                self.told.away(trouble);
            }
        }
    }

    fn look_whether_read_only(&mut self) {
        let trouble = WatchTrouble::ReadOnly { root: self.root.path.clone() };
        if is_read_only(&self.root.path).unwrap_or(false) {
            self.told.trouble(trouble);
        } else {
            self.told.is_over(&trouble);
        }
    }

    fn root_folder(&self) -> PathBuf {
        self.scanner.layout().root.clone()
    }

    /// Opens a new source of events, and scans the whole root with it.
    fn restart(&mut self, reason: ScanReason) {
        self.restart_at = None;
        if self.present.is_none() {
            return;
        }
        self.source += 1;
        self.wants_events = self.root.wants_events();
        // The old source goes first: its watches count towards the kernel's limit.
        self.watch_set.reset(None);
        if self.wants_events {
            match self.opener()() {
                Ok(watches) => self.watch_set.reset(Some(watches)),
                Err(error) => self.told.trouble(WatchTrouble::NoEvents {
                    root: self.root.path.clone(),
                    error: error.to_string(),
                }),
            }
        }
        self.scan(reason);
    }

    /// Opens sources of events that count as the present one.
    fn opener(&self) -> impl Fn() -> notify::Result<Box<dyn Watches>> + use<> {
        let (make, source) = (self.make.clone(), self.source);
        let (inbox, layout) = (self.inbox.clone(), self.scanner.layout().clone());
        move || {
            let is_open: Arc<AtomicBool> = Arc::default();
            let end = TellsItsEnd { source, inbox: inbox.clone(), is_open: is_open.clone() };
            let watches = make(sink(end, layout.clone()))?;
            is_open.store(true, Ordering::SeqCst);
            Ok(watches)
        }
    }

    /// Starts anew: at once the first time, then not more often than the poll interval, so that a storm of events
    /// does not keep it scanning.
    fn events_are_lost(&mut self, trouble: WatchTrouble) {
        if self.restart_at.is_some() {
            return;
        }
        self.told.tell(WatchEvent::Trouble(trouble));
        let now = Instant::now();
        self.restart_at = Some(self.last_loss.map_or(now, |last| now.max(last + self.poll_interval)));
    }

    // ---- scans

    fn scan(&mut self, reason: ScanReason) {
        let began = Instant::now();
        self.next_scan = began + self.rescan_interval;
        if self.present.is_none() {
            return;
        }
        self.watch_set.begin_walk(true);
        let shutdown = self.shutdown.clone();
        let stop = || shutdown.is_cancelled();
        let mut scan = self.walk_through(&stop);
        if scan.stopped {
            return;
        }
        self.watch_set.end_whole_walk();
        self.told.forget_ended_troubles(&scan, &self.root_folder());
        let (flags, sessions, folders) = (scan.flags.len(), scan.sessions, scan.folders);
        let unflagged = std::mem::take(&mut scan.unflagged);
        self.take_scan(scan, &self.root_folder());
        self.after_walk();
        let summary = ScanSummary {
            root: self.root.path.clone(),
            reason,
            flags,
            sessions,
            folders,
            watched: self.watch_set.watched(),
            took: began.elapsed(),
        };
        self.told.tell(WatchEvent::Scanned(summary));
        // After the flags have been told: it must not hold them up.
        if !matches!(reason, ScanReason::Poll | ScanReason::EventsLost) {
            let today = jiff::Zoned::now().date();
            for problem in self.scanner.find_too_deep(unflagged, today, &stop) {
                self.told.trouble(WatchTrouble::Problem(problem));
            }
        }
    }

    /// Walks through the whole root and sees to it that every folder has a watch. The first time there are many to
    /// be set, which is shared by several threads.
    fn walk_through(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Scan {
        if !self.watch_set.is_fresh() {
            let watch_set = &mut self.watch_set;
            return self
                .scanner
                .scan(&mut |folder, place, inode| watch_set.enter(folder, place, inode), stop);
        }
        let open = self.opener();
        let Self { scanner, watch_set, .. } = self;
        let mut at_dates =
            scanner.scan_to_dates(&mut |folder, place, inode| watch_set.enter(folder, place, inode), stop);
        let mut walks = watch_set.walks(at_dates.dates(), &open);
        let entering = walks.iter_mut().map(|walk| |folder: &Path, _, inode| walk.enter(folder, inode));
        at_dates.look_through(scanner.layout(), entering.collect(), stop);
        let walked = walks.into_iter().map(PoolTraversal::end).collect();
        watch_set.take_walks(walked);
        scanner.finish(at_dates, &mut |folder, place, inode| watch_set.enter(folder, place, inode), stop)
    }

    /// Tells what a walk over a folder found, and what it found no longer.
    fn take_scan(&mut self, scan: Scan, folder: &Path) {
        self.unreadable.retain(|path| !path.starts_with(folder));
        for problem in scan.problems {
            match &problem {
                ScanProblem::Unreadable { folder, .. } => _ = self.unreadable.insert(folder.clone()),
                ScanProblem::Flag(FlagError::Io { path, .. }) => {
                    self.unreadable.extend(path.parent().map(Path::to_owned));
                }
                _ => {}
            }
            self.told.trouble(WatchTrouble::Problem(problem));
        }
        let found: HashSet<PathBuf> = scan.flags.iter().map(|flag| flag.path.clone()).collect();
        for flag in scan.flags {
            self.told.flag(flag);
        }
        if !scan.stopped {
            for flag in self.told.flags_below(folder).into_iter().filter(|flag| !found.contains(flag)) {
                // Not met, but perhaps only because a folder above it cannot be read now.
                if matches!(FlagFile::load(flag.clone()), Ok(None)) {
                    self.told.gone(flag);
                }
            }
        }
    }

    fn after_walk(&mut self) {
        if self.watch_set.has_ended() {
            let root = self.root.path.clone();
            self.events_are_lost(WatchTrouble::EventsFailed { root, error: "its thread has ended".into() });
        }
        let unwatched = self.watch_set.over_limit();
        if unwatched > 0 && !self.limit_told {
            let folders = self.watch_set.watched() + unwatched;
            let suggested = suggested_limit(watch_limit(), unwatched);
            let root = self.root.path.clone();
            let trouble = WatchTrouble::WatchLimit { root, folders, unwatched, suggested };
            self.told.tell(WatchEvent::Trouble(trouble));
        }
        self.limit_told = unwatched > 0;
    }
}

/// Hands on what a source of events tells.
fn sink(end: TellsItsEnd, layout: Layout) -> EventSink {
    // A source that cannot read its events may say so for ever; once is enough.
    let alive = AtomicBool::new(true);
    Box::new(move |event| match event {
        Ok(event) => {
            for reaction in layout.react(&event) {
                let _ = end.inbox.send(Message::Reaction(end.source, reaction));
            }
        }
        Err(error) => {
            if alive.swap(false, Ordering::Relaxed) {
                end.tell(error.to_string());
            }
        }
    })
}

/// Lives in the thread of a source of events, and tells when that ends.
struct TellsItsEnd {
    source: u64,
    inbox: Sender<Message>,
    /// A source that could not be opened has not ended.
    is_open: Arc<AtomicBool>,
}

impl TellsItsEnd {
    fn tell(&self, why: String) {
        let _ = self.inbox.send(Message::EventsFailed(self.source, why));
    }
}

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        if self.is_open.load(Ordering::SeqCst) {
            self.tell("its thread has ended".into());
        }
    }
}
