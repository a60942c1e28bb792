//! Watch problems: what can go wrong while watching a root.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io;
use std::path::{Path, PathBuf};

use crate::daemon::tree::lock::LockError;
use crate::daemon::tree::scan::ScanProblem;

/// A problem with watching a root. None of these stops the watcher: the text says what happens instead, and how to fix
/// the cause.
#[derive(Debug, thiserror::Error)]
pub enum WatchProblem {
    /// The root does not exist.
    #[error("the data root {root:?} is missing; mount the disk, or correct data_roots. Waiting for it")]
    RootMissing {
        /// The root.
        root: PathBuf,
    },
    /// The root cannot be read, or is not a folder.
    #[error(
        "the data root {root:?} cannot be used ({source}); it must be a folder that the service user may enter. Waiting \
         for it"
    )]
    RootUnusable {
        /// The root.
        root: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The marker file is missing.
    #[error(
        "the data root {root:?} holds no file {marker:?}, so its disk counts as not mounted: mount it, or create the file"
    )]
    MarkerMissing {
        /// The root.
        root: PathBuf,
        /// The file's name.
        marker: String,
    },
    /// The root is not locked, because another registrar serves it.
    #[error("the data root {root:?} is not watched: {error}")]
    NotLocked {
        /// The root.
        root: PathBuf,
        /// Who serves it.
        error: LockError,
    },
    /// The disk of the root does not answer.
    #[error("the data root {root:?} does not answer; check the disk or network drive")]
    NoAnswer {
        /// The root.
        root: PathBuf,
    },
    /// The root is read-only, so no flag can be removed.
    #[error(
        "the data root {root:?} is read-only here: sessions are registered, but no flag can be removed. Under systemd \
         name it in a line ReadWritePaths= (systemctl edit), then restart; otherwise mount it for writing"
    )]
    ReadOnly {
        /// The root.
        root: PathBuf,
    },
    /// The root is a different folder than before.
    #[error(
        "the data root {root:?} is a different folder than before (mounted, unmounted or replaced): scanning it again"
    )]
    RootReplaced {
        /// The root.
        root: PathBuf,
    },
    /// A disk was unmounted; the kernel dropped all watches on it.
    #[error(
        "a disk of the data root {root:?} was unmounted, and perhaps mounted again since: scanning the root again"
    )]
    DiskUnmounted {
        /// The root.
        root: PathBuf,
    },
    /// The kernel's watch limit is reached.
    #[error(
        "{unwatched} of the {folders} folders of {root:?} have no watch, because the limit is reached; flags there are \
         found by polling. To raise it: sysctl fs.inotify.max_user_watches={suggested}, and write that setting to a \
         file in /etc/sysctl.d"
    )]
    WatchLimit {
        /// The root.
        root: PathBuf,
        /// Folders that should have a watch.
        folders: usize,
        /// Folders without a watch.
        unwatched: usize,
        /// A limit that is high enough.
        suggested: u64,
    },
    /// The source of events could not be opened.
    #[error(
        "no events for {root:?} ({error}): polling it instead. If too many programs watch files: \
         sysctl fs.inotify.max_user_instances=1024"
    )]
    NoEvents {
        /// The root.
        root: PathBuf,
        /// The system's error.
        error: String,
    },
    /// The kernel dropped events.
    #[error(
        "events of {root:?} were lost: scanning it completely. If it happens often: sysctl fs.inotify.max_queued_events=131072"
    )]
    EventsLost {
        /// The root.
        root: PathBuf,
    },
    /// The source of events failed.
    #[error("the source of events for {root:?} failed ({error}): restarting it, and scanning the whole root")]
    EventsFailed {
        /// The root.
        root: PathBuf,
        /// The source's error.
        error: String,
    },
    /// A flag or a folder that cannot be used.
    #[error(transparent)]
    Scan(#[from] ScanProblem),
    /// No thread could be started for the root.
    #[error("cannot watch {root:?}: no thread for it ({error}); raise the limit of tasks and restart")]
    NoThread {
        /// The root.
        root: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl WatchProblem {
    /// Whether it keeps flags from being seen or removed until an operator acts. A refused link hides nothing: its target
    /// is found under another name.
    pub fn is_obstacle(&self) -> bool {
        match self {
            Self::RootMissing { .. }
            | Self::RootUnusable { .. }
            | Self::MarkerMissing { .. }
            | Self::NotLocked { .. }
            | Self::NoAnswer { .. }
            | Self::ReadOnly { .. }
            | Self::NoThread { .. } => true,
            Self::Scan(problem) => !matches!(problem, ScanProblem::LinkRefused { .. }),
            Self::RootReplaced { .. }
            | Self::DiskUnmounted { .. }
            | Self::WatchLimit { .. }
            | Self::NoEvents { .. }
            | Self::EventsLost { .. }
            | Self::EventsFailed { .. } => false,
        }
    }

    /// The root, if it cannot be scanned because of this problem.
    pub fn unavailable_root(&self) -> Option<&Path> {
        match self {
            Self::RootMissing { root }
            | Self::RootUnusable { root, .. }
            | Self::MarkerMissing { root, .. }
            | Self::NotLocked { root, .. }
            | Self::NoAnswer { root }
            | Self::NoThread { root, .. } => Some(root),
            _ => None,
        }
    }
}

/// The kernel's limit of watches per user: `fs.inotify.max_user_watches`.
pub fn watch_limit() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

/// The limit to suggest: a power of two with room to double.
pub fn suggested_limit(current: Option<u64>, unwatched: usize) -> u64 {
    let needed = current.unwrap_or(65_536).saturating_add(unwatched as u64);
    needed.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX)
}
