//! The known flags: the queue with the state of each flag, those restored from the ledger, and stale ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::daemon::clock::Moment;
use crate::daemon::queue::Queue;
use crate::daemon::queue::stale_flags::{StaleFlags, WaitingFlag};
use crate::daemon::tree::root::FolderStamp;
use crate::json::error_report::ErrorReport;
use crate::ledger::WaitingRow;
use alyx_registration::{MissingName, Progress};

/// The longest time until the next check for stale flags, in case the wall clock is set.
const CHECK_WITHIN: Duration = Duration::from_secs(3600);

/// The state of a flag beyond its place in the queue.
#[derive(Debug)]
pub(crate) struct FlagState {
    /// When this daemon, or one before it, first saw the flag.
    pub(crate) since: Timestamp,
    /// When this daemon first saw the flag.
    pub(crate) seen: Timestamp,
    /// The flag's own time.
    pub(crate) flagged_at: Timestamp,
    /// The last failure.
    pub(crate) failure: Option<ErrorReport>,
    /// The session folder at the end of a run that ended with a need for attention.
    pub(crate) folder: Option<FolderStamp>,
    /// Names that Alyx did not know.
    pub(crate) missing: Vec<MissingName>,
    /// The progress of the current run.
    pub(crate) progress: Arc<Progress>,
    /// Set while its files still arrive.
    pub(crate) arriving: Option<Arriving>,
    /// Set while another program or computer holds it.
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// A flag that another program or computer holds.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    /// That this is so, and by which process.
    pub(crate) error: ErrorReport,
    /// How many times in a row that was found.
    pub(crate) times: u32,
}

/// A session whose files still arrive.
#[derive(Debug, Clone)]
pub(crate) struct Arriving {
    /// When that was first seen.
    pub(crate) since: Instant,
    /// What still arrives.
    pub(crate) error: ErrorReport,
    /// How many times in a row a run began and met the same kind of obstacle, such as a file that changed.
    pub(crate) times: u32,
}

impl FlagState {
    /// What holds the session up: another program, the last failure, or files that still arrive.
    pub(crate) fn hindrance(&self) -> Option<&ErrorReport> {
        self.elsewhere
            .as_ref()
            .map(|held| &held.error)
            .or(self.failure.as_ref())
            .or(self.arriving.as_ref().map(|arriving| &arriving.error))
    }

    /// The state of a new flag.
    pub(crate) fn new(flagged_at: Timestamp, now: Moment) -> Self {
        Self {
            since: now.wall,
            seen: now.wall,
            flagged_at,
            failure: None,
            folder: None,
            missing: Vec::new(),
            progress: Arc::default(),
            arriving: None,
            elsewhere: None,
        }
    }

    /// Forgets the failures of earlier attempts.
    pub(crate) fn clear(&mut self) {
        (self.failure, self.folder, self.arriving) = (None, None, None);
        self.elsewhere = None;
        self.missing.clear();
    }
}

/// The known flags.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) queue: Queue<FlagState>,
    /// Flags that waited when the previous daemon ended, and have not been seen yet.
    pub(crate) restored: HashMap<PathBuf, WaitingRow>,
    pub(crate) stale_flags: StaleFlags,
    /// When the next flag becomes stale, or a stale one is reported again.
    pub(crate) stale_at: Option<Instant>,
    /// When to look whether the folders of sessions that need attention have changed; `None`: not planned.
    folders_at: Option<Instant>,
    /// The data roots whose folders are being looked at.
    looking_in: HashSet<PathBuf>,
}

impl Flags {
    /// No flags yet. They become stale after `warn_after`.
    pub(crate) fn new(warn_after: Option<Duration>) -> Self {
        Self {
            queue: Queue::default(),
            restored: HashMap::new(),
            stale_flags: StaleFlags::new(warn_after),
            stale_at: None,
            folders_at: None,
            looking_in: HashSet::new(),
        }
    }

    /// Plans the next look at the folders of sessions that need attention.
    pub(crate) fn plan_folders(&mut self, at: Instant) {
        if self.queue.jobs().any(|job| job.needs_attention && job.data.folder.is_some()) {
            self.folders_at.get_or_insert(at);
        }
    }

    /// By data root, the flags of sessions that need attention, with their folder as it was, if it is time to look at
    /// them. A root whose folders are still being looked at, because its disk hangs, has none.
    pub(crate) fn take_folders(&mut self, now: Instant) -> BTreeMap<PathBuf, Vec<(PathBuf, FolderStamp)>> {
        let mut by_root: BTreeMap<PathBuf, Vec<_>> = BTreeMap::new();
        if self.folders_at.take_if(|at| *at <= now).is_none() {
            return by_root;
        }
        for job in self.queue.jobs().filter(|job| job.needs_attention && !job.is_running()) {
            let root = self.queue.root_of(job.path);
            if let Some(folder) = job.data.folder.filter(|_| !self.looking_in.contains(root)) {
                by_root.entry(root.to_owned()).or_default().push((job.path.to_owned(), folder));
            }
        }
        self.looking_in.extend(by_root.keys().cloned());
        by_root
    }

    /// The folders of a data root have been looked at.
    pub(crate) fn folders_checked(&mut self, root: &Path) {
        self.looking_in.remove(root);
    }

    pub(crate) fn is_running(&self, path: &Path) -> bool {
        self.queue.job(path).is_some_and(|job| job.is_running())
    }

    /// When stale flags are reported, or folders looked at, next.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        [self.stale_at, self.folders_at].into_iter().flatten().min()
    }

    /// Plans when a flag is reported as stale.
    pub(crate) fn plan_stale(&mut self, path: &Path, now: Moment) {
        let Some(job) = self.queue.job(path) else { return };
        if let Some(due) = self.stale_flags.due(&waiting(path, job.data)) {
            let at = now.instant_of(due, CHECK_WITHIN);
            self.stale_at = Some(self.stale_at.map_or(at, |planned| planned.min(at)));
        }
    }

    /// The stale flags to report now, the oldest first.
    pub(crate) fn take_stale(&mut self, now: Moment) -> Vec<PathBuf> {
        if self.stale_at.is_none_or(|at| at > now.instant) {
            return Vec::new();
        }
        let flags = self.queue.jobs().map(|job| waiting(job.path, job.data));
        let stale = self.stale_flags.take_due(flags, now.wall);
        let due =
            self.queue.jobs().filter_map(|job| self.stale_flags.due(&waiting(job.path, job.data))).min();
        self.stale_at = due.map(|due| now.instant_of(due, CHECK_WITHIN));
        stale
    }

    /// The missing names of waiting sessions.
    pub(crate) fn missing_names(&self) -> HashSet<MissingName> {
        let waiting = self.queue.jobs().filter(|job| !job.is_running());
        waiting.flat_map(|job| job.data.missing.iter().cloned()).collect()
    }

    /// Alyx now knows these names. Sessions that miss no other names become due; returns their flags.
    pub(crate) fn names_found(&mut self, names: &[MissingName], now: Instant) -> Vec<PathBuf> {
        let mut complete = Vec::new();
        for (path, state) in self.queue.all_data_mut().filter(|(_, state)| !state.missing.is_empty()) {
            state.missing.retain(|missing| !names.contains(missing));
            if state.missing.is_empty() {
                complete.push(path.to_owned());
            }
        }
        complete.retain(|path| self.queue.make_due_now(path, now));
        complete
    }
}

/// A flag in the form that [`StaleFlags`] takes.
pub(crate) fn waiting<'a>(path: &'a Path, state: &FlagState) -> WaitingFlag<'a> {
    WaitingFlag { path, flagged_at: state.flagged_at, seen: state.seen }
}
