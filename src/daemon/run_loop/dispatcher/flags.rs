//! The known flags: the queue with what is known of each, those restored from the ledger, and stale ones.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::daemon::clock::Moment;
use crate::daemon::queue::Queue;
use crate::daemon::queue::old_flags::{OldFlags, WaitingFlag};
use crate::ledger::WaitingRow;
use alyx_registration::{MissingName, Progress};

/// The longest time until stale flags are looked for again: the wall clock may be set meanwhile.
const CHECK_WITHIN: Duration = Duration::from_secs(3600);

/// What is known of a flag beyond its place in the queue.
#[derive(Debug)]
pub(crate) struct FlagState {
    /// Since when it is known, to this daemon or to one before it.
    pub(crate) since: Timestamp,
    /// When this daemon saw it first.
    pub(crate) seen: Timestamp,
    /// When it was put, by its own time.
    pub(crate) put: Timestamp,
    /// Of the last failure: the error, and the next step.
    pub(crate) failure: Option<(String, String)>,
    /// Names that Alyx did not know.
    pub(crate) missing: Vec<MissingName>,
    /// Of the run that is under way.
    pub(crate) progress: Arc<Progress>,
    /// Whether it has been logged that its files are still changing.
    pub(crate) changing_logged: bool,
    /// How often in a row its files were still changing.
    pub(crate) changed_times: u32,
}

impl FlagState {
    /// A flag that was not known, and was put then.
    pub(crate) fn new(put: Timestamp, now: Moment) -> Self {
        Self {
            since: now.wall,
            seen: now.wall,
            put,
            failure: None,
            missing: Vec::new(),
            progress: Arc::default(),
            changing_logged: false,
            changed_times: 0,
        }
    }

    /// Forgets how earlier attempts ended.
    pub(crate) fn clear(&mut self) {
        (self.failure, self.changing_logged, self.changed_times) = (None, false, 0);
        self.missing.clear();
    }
}

/// The known flags.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) queue: Queue<FlagState>,
    /// What waited when the last daemon ended, and has not been seen yet.
    pub(crate) restored: HashMap<PathBuf, WaitingRow>,
    pub(crate) old_flags: OldFlags,
    /// When the next flag becomes stale, or a stale one is reported again.
    pub(crate) old_at: Option<Instant>,
}

impl Flags {
    /// No flags. They are stale after this time.
    pub(crate) fn new(warn_after: Option<Duration>) -> Self {
        Self {
            queue: Queue::default(),
            restored: HashMap::new(),
            old_flags: OldFlags::new(warn_after),
            old_at: None,
        }
    }

    pub(crate) fn is_running(&self, path: &Path) -> bool {
        self.queue.job(path).is_some_and(|job| job.is_running())
    }

    /// When stale flags are reported next.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.old_at
    }

    /// Plans when a flag is reported as stale.
    pub(crate) fn plan_stale(&mut self, path: &Path, now: Moment) {
        let Some(job) = self.queue.job(path) else { return };
        if let Some(due) = self.old_flags.due(&waiting(path, job.data)) {
            let at = now.instant_of(due, CHECK_WITHIN);
            self.old_at = Some(self.old_at.map_or(at, |planned| planned.min(at)));
        }
    }

    /// The stale flags that are to be reported now, the oldest first.
    pub(crate) fn take_stale(&mut self, now: Moment) -> Vec<PathBuf> {
        if self.old_at.is_none_or(|at| at > now.instant) {
            return Vec::new();
        }
        let flags = self.queue.jobs().map(|job| waiting(job.path, job.data));
        let stale = self.old_flags.take(flags, now.wall);
        let due = self.queue.jobs().filter_map(|job| self.old_flags.due(&waiting(job.path, job.data))).min();
        self.old_at = due.map(|due| now.instant_of(due, CHECK_WITHIN));
        stale
    }

    /// The names that waiting sessions miss.
    pub(crate) fn missing_names(&self) -> HashSet<MissingName> {
        let waiting = self.queue.jobs().filter(|job| !job.is_running());
        waiting.flat_map(|job| job.data.missing.iter().cloned()).collect()
    }

    /// Alyx knows these names now. The sessions that missed no others are due now, and returned.
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

/// A flag as [`OldFlags`] wants it.
pub(crate) fn waiting<'a>(path: &'a Path, state: &FlagState) -> WaitingFlag<'a> {
    WaitingFlag { path, put: state.put, seen: state.seen }
}
