//! Watch events: what the watcher reports.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::watch::trouble::WatchTrouble;
use alyx_registration::flag::FlagFile;

/// What the watcher tells. The same flag may be told many times.
#[derive(Debug)]
pub enum WatchEvent {
    /// A flag is there.
    Flag(FlagFile),
    /// A flag that was told before is there no longer: removed, moved, or its root is away.
    Gone(PathBuf),
    /// A root was scanned whole; all its flags have been told before this.
    Scanned(ScanSummary),
    /// Something needs attention, or is worth a line in the log. Each trouble is told once while it lasts.
    Trouble(WatchTrouble),
    /// Everything that keeps flags of a root from being seen or removed now, in words; told whenever it changes.
    Obstacles {
        /// The root.
        root: PathBuf,
        /// The text of each trouble.
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
    /// How many of them have a watch. 0 where the root is polled.
    pub watched: usize,
    /// How long it took, with the setting of watches.
    pub took: Duration,
}

/// Why a root was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanReason {
    /// The watcher started.
    Start,
    /// The root was missing and has appeared, or was replaced by another folder.
    NewRoot,
    /// Events were lost.
    EventsLost,
    /// The rescan interval has passed.
    Timer,
    /// The poll interval has passed, and some part of the root gives no events.
    Poll,
    /// Somebody asked for it.
    Command,
}
