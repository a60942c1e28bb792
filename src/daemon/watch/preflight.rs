//! Preflight: what the daemon will find in a data root and in its state folder. Read-only.
//!
//! Everything here blocks, and may hang on a dead network drive.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::lock_reach::{LockReach, lock_reach};
use crate::daemon::tree::root::{file_system, is_read_only};
use crate::daemon::tree::scan::{Scan, ScanProblem, Scanner};
use crate::daemon::watch::options::{RootOptions, WatchOptions};
use crate::daemon::watch::problem::WatchProblem;
use alf::SessionPath;
use alyx_registration::file_system::is_network;

/// What the daemon will find in a data root.
#[derive(Debug)]
pub struct RootPreflight {
    /// The type of its file system, such as `ext4`.
    pub file_system: Option<String>,
    /// Whether it is on another machine.
    pub network: bool,
    /// How far locks on its files reach.
    pub locks: LockReach,
    /// Whether it is watched by events rather than polled.
    pub events: bool,
    /// Whether the file system is mounted read-only.
    pub read_only: bool,
    /// Folders that belong to the layout. Each needs a watch.
    pub folders: usize,
    /// Session folders among them.
    pub sessions: usize,
    /// Their paths.
    pub session_folders: Vec<PathBuf>,
    /// Flags in them.
    pub flags: usize,
    /// Session folders in which this user cannot read the files or remove the flag.
    pub closed: BTreeSet<PathBuf>,
    /// Those of them that contain a flag.
    pub closed_with_flag: Vec<PathBuf>,
    /// The reason for the first of them.
    pub reason: Option<String>,
    /// Other problems that were found.
    pub problems: Vec<ScanProblem>,
    /// Stopped early: the counts are too small.
    pub stopped: bool,
}

/// How far locks on the files of a root reach.
fn locks(root: &Path) -> LockReach {
    let list = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    lock_reach(&String::from_utf8_lossy(&list), &root)
}

/// Examines a data root as this user. `is_skipped`: whose flags do not count. `stop` is polled before each folder.
///
/// # Errors
/// The root is missing, unusable, or not the right disk.
pub fn preflight_root(
    root: &RootOptions,
    watch: &WatchOptions,
    is_skipped: &dyn Fn(&SessionPath) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<RootPreflight, WatchProblem> {
    root.identify()?;
    let (mut closed, mut reason) = (BTreeSet::new(), None);
    let mut session_folders = Vec::new();
    let mut on_folder = |folder: &Path, place: Place, _inode: u64| {
        if place != Place::Session {
            return;
        }
        session_folders.push(folder.to_owned());
        if let Some(why) = why_closed(folder) {
            closed.insert(folder.to_owned());
            reason.get_or_insert(why);
        }
    };
    let layout = Layout { root: root.path.clone(), flags: watch.flags.clone(), max_depth: watch.max_depth };
    // Checked first: without a readable root nothing else is found.
    let scan = match std::fs::read_dir(&root.path) {
        Ok(_) => Scanner::new(layout).scan(&mut on_folder, stop),
        Err(source) => Scan {
            problems: vec![ScanProblem::Unreadable { folder: root.path.clone(), source }],
            ..Scan::default()
        },
    };
    let folders = scan.flags.iter().map(|flag| flag.session_folder());
    let flagged: BTreeSet<&Path> = folders
        .filter(|folder| !SessionPath::parse(folder).is_ok_and(|session| is_skipped(&session)))
        .collect();
    Ok(RootPreflight {
        file_system: file_system(&root.path),
        network: is_network(&root.path).unwrap_or(true),
        locks: locks(&root.path),
        events: root.wants_events(),
        read_only: is_read_only(&root.path).unwrap_or(false),
        folders: scan.folders,
        sessions: scan.sessions,
        session_folders,
        flags: flagged.len(),
        closed_with_flag: closed.iter().filter(|f| flagged.contains(f.as_path())).cloned().collect(),
        closed,
        reason,
        problems: scan.problems,
        stopped: scan.stopped,
    })
}

/// Why this user cannot read the files of a folder and remove one, according to its permissions. Tries nothing.
fn why_closed(folder: &Path) -> Option<String> {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(folder, wanted) {
        return Some(io::Error::from(error).to_string());
    }
    // In a sticky folder such as /tmp, permission to write is not permission to remove.
    let metadata = std::fs::metadata(folder).ok()?;
    let me = rustix::process::geteuid();
    let is_sticky = metadata.mode() & 0o1000 != 0 && metadata.uid() != me.as_raw() && !me.is_root();
    is_sticky.then(|| "its sticky bit lets only owners remove files".to_owned())
}

/// What the daemon will find at the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePreflight {
    /// Whether it exists; otherwise the daemon creates it.
    pub exists: bool,
    /// The folder in which this user cannot write, and why.
    pub closed: Option<(PathBuf, String)>,
    /// Free space for this user, in bytes.
    pub free: Option<u64>,
    /// Whether it is on another machine.
    pub network: bool,
}

/// Examines a state folder as this user.
pub fn preflight_state(state_dir: &Path) -> StatePreflight {
    // If it does not exist, the folder in which it would be created counts.
    let nearest = state_dir.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    let place = nearest.unwrap_or(Path::new("/"));
    let access = if place.is_dir() {
        rustix::fs::access(place, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
            .map_err(io::Error::from)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    };
    let room = rustix::fs::statvfs(place).ok();
    StatePreflight {
        exists: place == state_dir,
        closed: access.err().map(|error| (place.to_owned(), error.to_string())),
        free: room.map(|room| room.f_bavail.saturating_mul(room.f_frsize)),
        network: is_network(place).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::watch::options::WatchMode;
    use std::time::Duration;

    fn options() -> WatchOptions {
        let long = Duration::from_secs(60);
        WatchOptions {
            flags: vec!["create_me.flag".into()],
            rescan_interval: long,
            poll_interval: long,
            max_depth: 8,
        }
    }

    fn root(path: &Path, mode: WatchMode, marker: Option<&str>) -> RootOptions {
        RootOptions { path: path.to_owned(), mode, require_marker: marker.map(str::to_owned) }
    }

    #[test]
    fn sessions_flags_and_folders_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for session in ["a/2024-05-01/001", "a/2024-05-01/002", "b/2024-05-02/1"] {
            std::fs::create_dir_all(folder.path().join(session)).unwrap();
        }
        std::fs::write(folder.path().join("b/2024-05-02/1/create_me.flag"), "").unwrap();
        let root = root(folder.path(), WatchMode::Auto, None);
        let found = preflight_root(&root, &options(), &|_| false, &|| false).unwrap();
        assert_eq!((found.folders, found.sessions, found.flags), (8, 3, 1));
        assert!(found.events && !found.network && found.file_system.is_some(), "{found:?}");
        assert!(found.closed.is_empty() && found.problems.is_empty() && !found.stopped, "{found:?}");
        assert!(preflight_root(&root, &options(), &|_| false, &|| true).unwrap().stopped);
    }

    #[test]
    fn a_missing_root_or_wrong_disk_is_reported_as_by_the_watcher() {
        let folder = tempfile::tempdir().unwrap();
        let missing = root(&folder.path().join("none"), WatchMode::Poll, None);
        let error = preflight_root(&missing, &options(), &|_| false, &|| false).unwrap_err();
        assert!(matches!(error, WatchProblem::RootMissing { .. }), "{error}");
        let marked = root(folder.path(), WatchMode::Poll, Some(".this_disk"));
        let error = preflight_root(&marked, &options(), &|_| false, &|| false).unwrap_err();
        assert!(matches!(error, WatchProblem::MarkerMissing { .. }), "{error}");
        std::fs::write(folder.path().join(".this_disk"), "").unwrap();
        assert!(!preflight_root(&marked, &options(), &|_| false, &|| false).unwrap().events);
    }

    #[test]
    fn a_missing_state_folder_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let new = preflight_state(&folder.path().join("a/b"));
        assert!(!new.exists && new.closed.is_none() && new.free.is_some(), "{new:?}");
        assert!(preflight_state(folder.path()).exists);
        std::fs::write(folder.path().join("file"), "").unwrap();
        let inside = preflight_state(&folder.path().join("file/state"));
        assert_eq!(inside.closed.unwrap().0, folder.path().join("file"));
        assert!(!folder.path().join("a").exists(), "preflight created a folder");
    }
}
