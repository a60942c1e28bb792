//! Watch events: what the watcher reports.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::watch::problem::WatchProblem;
use alyx_registration::flag::FlagFile;

/// An event of the watcher. The same flag may be reported many times.
#[derive(Debug)]
pub enum WatchEvent {
    /// A flag exists.
    Flag(FlagFile),
    /// A flag that was reported before no longer exists: removed, moved, or its root is unavailable.
    Gone(PathBuf),
    /// A root was scanned completely; all its flags have been reported before this event.
    Scanned(ScanSummary),
    /// A problem; reported once while it lasts.
    Problem(WatchProblem),
    /// The current obstacles of a root: everything that keeps its flags from being seen or removed. Reported on each
    /// change.
    Obstacles {
        /// The root.
        root: PathBuf,
        /// The text of each problem.
        obstacles: Vec<String>,
    },
}

/// One scan of a whole root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSummary {
    /// The root.
    pub root: PathBuf,
    /// Why it was scanned.
    pub reason: ScanReason,
    /// How many flags were found.
    pub flags: usize,
    /// How many session folders there are.
    pub sessions: usize,
    /// How many folders belong to the layout.
    pub folders: usize,
    /// How many of these have a watch; 0 if the root is polled.
    pub watched: usize,
    /// How long the scan took, including adding watches.
    pub took: Duration,
}

/// Why a root was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanReason {
    /// The watcher started.
    Start,
    /// The root appeared, or was replaced by another folder.
    NewRoot,
    /// Events were lost.
    EventsLost,
    /// The rescan interval has passed.
    Timer,
    /// The poll interval has passed, and part of the root has no events.
    Poll,
    /// A command (`SIGUSR1`, the page) asked for it.
    Command,
}
