//! The options of the watcher, and what a root is now.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::tree::root::{FolderIdentity, has_marker, is_network};
use crate::daemon::watch::trouble::WatchTrouble;

/// How a root is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// By events, or by polling where the file system lies on another machine.
    #[default]
    Auto,
    /// By events, whatever the file system.
    Native,
    /// By polling.
    Poll,
}

/// One root to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOptions {
    /// The folder. It need not exist yet.
    pub path: PathBuf,
    /// How it is watched.
    pub mode: WatchMode,
    /// The name of a file that is in the root whenever the right disk is mounted there. Without that file the root
    /// counts as missing, so an empty mount point is told from an empty disk.
    pub require_marker: Option<String>,
}

impl RootOptions {
    /// Whether it is watched by events, not by polling.
    pub fn wants_events(&self) -> bool {
        match self.mode {
            WatchMode::Native => true,
            WatchMode::Poll => false,
            WatchMode::Auto => !is_network(&self.path).unwrap_or(true),
        }
    }

    /// The path with which the paths of its flags begin.
    pub(crate) fn whole_path(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// What the root is now; why it cannot be watched, where it is not there as it should be.
    ///
    /// # Errors
    /// [`WatchTrouble`] of a root that is missing, unusable or without its marker.
    pub fn identify(&self) -> Result<FolderIdentity, WatchTrouble> {
        let root = self.path.clone();
        let identity = match FolderIdentity::load(&root) {
            Ok(identity) => identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WatchTrouble::RootMissing { root });
            }
            Err(source) => return Err(WatchTrouble::RootUnusable { root, source }),
        };
        match self.require_marker.as_ref().map(|marker| (marker, has_marker(&root, marker))) {
            None | Some((_, Ok(true))) => Ok(identity),
            Some((marker, Ok(false))) => Err(WatchTrouble::MarkerMissing { root, marker: marker.clone() }),
            Some((_, Err(source))) => Err(WatchTrouble::RootUnusable { root, source }),
        }
    }
}

/// How all roots are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// File names that are flags, such as `create_me.flag`.
    pub flags: Vec<String>,
    /// A flag is found within this time, whatever events were lost.
    pub rescan_interval: Duration,
    /// The time between two scans of what gives no events, and between two looks at whether each root is there and
    /// still the same folder.
    pub poll_interval: Duration,
    /// Levels of folders above the dates that are looked through.
    pub max_depth: u8,
}
