//! The options of the watcher, and the identity of a root.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::tree::root::{FolderIdentity, has_marker};
use crate::daemon::watch::problem::WatchProblem;
use alyx_registration::file_system::is_network;

/// How a root is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// By events, or by polling if the file system is on another machine.
    #[default]
    Auto,
    /// By events on every file system.
    Native,
    /// By polling.
    Poll,
}

/// The options of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOptions {
    /// The folder. It need not exist yet.
    pub path: PathBuf,
    /// How it is watched.
    pub mode: WatchMode,
    /// A file that the root contains whenever the right disk is mounted. Without the file the root counts as missing,
    /// so an empty mount point is not mistaken for an empty disk.
    pub require_marker: Option<String>,
}

impl RootOptions {
    /// Whether the root is watched by events rather than polled.
    pub fn wants_events(&self) -> bool {
        match self.mode {
            WatchMode::Native => true,
            WatchMode::Poll => false,
            WatchMode::Auto => !is_network(&self.path).unwrap_or(true),
        }
    }

    /// The absolute path, with which the paths of its flags begin.
    pub(crate) fn absolute_path(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// The current identity of the root.
    ///
    /// # Errors
    /// [`WatchProblem`] of a root that is missing, unusable or without its marker.
    pub fn identify(&self) -> Result<FolderIdentity, WatchProblem> {
        let root = self.path.clone();
        let identity = match FolderIdentity::load(&root) {
            Ok(identity) => identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WatchProblem::RootMissing { root });
            }
            Err(source) => return Err(WatchProblem::RootUnusable { root, source }),
        };
        match self.require_marker.as_ref().map(|marker| (marker, has_marker(&root, marker))) {
            None | Some((_, Ok(true))) => Ok(identity),
            Some((marker, Ok(false))) => Err(WatchProblem::MarkerMissing { root, marker: marker.clone() }),
            Some((_, Err(source))) => Err(WatchProblem::RootUnusable { root, source }),
        }
    }
}

/// The options for all roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// File names that are flags, such as `create_me.flag`.
    pub flags: Vec<String>,
    /// The longest time until a flag is found, whatever events are lost.
    pub rescan_interval: Duration,
    /// The time between two polls of folders without events, and between two checks that each root exists and is still
    /// the same folder.
    pub poll_interval: Duration,
    /// How many levels of folders above the dates are scanned.
    pub max_depth: u8,
}
