//! The coverage: which folders of one root have a watch, and which should have one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::daemon::root::{FolderIdentity, is_network};
use crate::daemon::watch_plan::Place;

/// Sets watches on single folders. The real one is inotify.
pub(super) trait Watches: Send {
    /// Adds a watch, or renews it.
    fn add(&mut self, folder: &Path) -> Result<(), WatchError>;
}

/// Takes what the source of events has to say. It may be called from another thread, and must not block.
pub(super) type EventSink = Box<dyn Fn(notify::Result<notify::Event>) + Send>;

/// Opens a source of events. Dropping what it returns ends all its watches.
pub(super) type MakeWatches = Arc<dyn Fn(EventSink) -> notify::Result<Box<dyn Watches>> + Send + Sync>;

/// Why a folder got no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchError {
    /// The kernel's limit is reached.
    Limit,
    /// The folder is gone or may not be read. The listing that follows tells which.
    Folder,
    /// The source of events has ended.
    Ended,
}

struct Watched {
    identity: FolderIdentity,
    /// The last whole walk that met the folder.
    walk: u64,
}

/// The folders of one root that have a watch.
#[derive(Default)]
pub(super) struct Coverage {
    watches: Option<Box<dyn Watches>>,
    /// With what each folder was when its watch was set: a watch stays with a folder that is moved away, and one
    /// that takes its place has none.
    watched: BTreeMap<PathBuf, Watched>,
    /// Folders that could not be watched, most likely for want of permission.
    refused: BTreeSet<PathBuf>,
    /// Network drives that are mounted below the root.
    drives: Vec<PathBuf>,
    root_device: Option<u64>,
    /// Number of the last walk over the whole root.
    walk: u64,
    /// The limit was reached in this walk: not asked again before the next one.
    at_limit: bool,
    ended: bool,
    over_limit: usize,
    without_events: usize,
}

impl Coverage {
    /// Begins anew with a source of events, or with none.
    pub(super) fn reset(&mut self, watches: Option<Box<dyn Watches>>) {
        *self = Self { watches, ..Self::default() };
    }

    /// Begins a walk. A walk over the whole root counts anew how many folders have no watch.
    pub(super) fn begin_walk(&mut self, whole: bool) {
        self.at_limit = false;
        if whole {
            self.refused.clear();
            (self.over_limit, self.without_events) = (0, 0);
            self.drives.clear();
            self.root_device = None;
            self.walk += 1;
        }
    }

    /// Ends a walk over the whole root: folders that it did not meet are there no longer.
    pub(super) fn end_whole_walk(&mut self) {
        self.watched.retain(|_, watched| watched.walk == self.walk);
    }

    /// Sees to it that a folder has a watch. `inode` is its number as its parent lists it.
    pub(super) fn enter(&mut self, folder: &Path, place: Place, inode: u64) {
        if self.watches.is_none() {
            return;
        }
        let identity = match place {
            // Disks are mounted on labs and subjects. A listing tells the number of the folder below the mount, so
            // it takes a look at the folder itself; there are few of these.
            Place::Above(_) => match FolderIdentity::load(folder) {
                Ok(identity) => identity,
                Err(_) => return,
            },
            _ => FolderIdentity { device: 0, inode },
        };
        if self.is_on_drive(folder, place, identity) {
            self.without_events += 1;
            return;
        }
        if let Some(watched) = self.watched.get_mut(folder)
            && watched.identity == identity
        {
            watched.walk = self.walk;
            return;
        }
        if self.at_limit {
            self.over_limit += 1;
            return;
        }
        let Some(watches) = &mut self.watches else { return };
        match watches.add(folder) {
            Ok(()) => {
                self.refused.remove(folder);
                self.watched.insert(folder.to_owned(), Watched { identity, walk: self.walk });
            }
            Err(WatchError::Limit) => {
                self.at_limit = true;
                self.over_limit += 1;
            }
            Err(WatchError::Folder) => _ = self.refused.insert(folder.to_owned()),
            Err(WatchError::Ended) => self.ended = true,
        }
    }

    /// Whether a folder lies on a network drive that is mounted below the root.
    fn is_on_drive(&mut self, folder: &Path, place: Place, identity: FolderIdentity) -> bool {
        if self.drives.iter().any(|drive| folder.starts_with(drive)) {
            return true;
        }
        if !matches!(place, Place::Above(_)) {
            return false;
        }
        let root_device = *self.root_device.get_or_insert(identity.device);
        let is_drive = identity.device != root_device && is_network(folder).unwrap_or(true);
        if is_drive {
            self.drives.push(folder.to_owned());
        }
        is_drive
    }

    /// Forgets a folder and all below it: whatever takes its place gets new watches.
    pub(super) fn forget(&mut self, folder: &Path) {
        let gone: Vec<PathBuf> = self
            .watched
            .range::<Path, _>((Bound::Included(folder), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(folder))
            .cloned()
            .collect();
        for path in gone {
            self.watched.remove(&path);
        }
        self.refused.retain(|path| !path.starts_with(folder));
    }

    /// Whether a folder has no watch because it could not be had. Perhaps it can, after a change of permissions.
    pub(super) fn was_refused(&self, folder: &Path) -> bool {
        self.refused.contains(folder)
    }

    /// How many folders have a watch.
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// How many folders have none because of the kernel's limit.
    pub(super) fn over_limit(&self) -> usize {
        self.over_limit
    }

    /// Whether there is a source of events.
    pub(super) fn has_events(&self) -> bool {
        self.watches.is_some()
    }

    /// Whether some folders are found by polling only.
    pub(super) fn needs_polling(&self) -> bool {
        self.watches.is_none() || self.over_limit > 0 || self.without_events > 0
    }

    /// Whether the source of events has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Watches by inotify. Never recursive: that would watch the raw data, and it loses flags that are made right after
/// their folders.
pub(super) fn inotify(sink: EventSink) -> notify::Result<Box<dyn Watches>> {
    // The sink only hands over: setting a watch from inside it would lock up.
    let watcher = notify::recommended_watcher(sink)?;
    Ok(Box::new(Inotify(watcher)))
}

struct Inotify(RecommendedWatcher);

impl Watches for Inotify {
    fn add(&mut self, folder: &Path) -> Result<(), WatchError> {
        // notify panics in its caller when its own thread has ended.
        let added = catch_unwind(AssertUnwindSafe(|| self.0.watch(folder, RecursiveMode::NonRecursive)));
        match added {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                Err(WatchError::Limit)
            }
            Ok(Err(_)) => Err(WatchError::Folder),
            Err(_) => Err(WatchError::Ended),
        }
    }
}
