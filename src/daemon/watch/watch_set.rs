//! The watch set: which folders of one root have a watch, and which should have one.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::daemon::tree::layout::Place;
use crate::daemon::tree::root::FolderIdentity;
use crate::daemon::watch::inotify_pool::{PoolTraversal, TraversalResult, WatcherPool};
use crate::daemon::watch::mounts::Mounts;
use crate::daemon::watch::source::{WatchError, Watches};
use alyx_registration::file_system::is_network;

struct Watched {
    /// `None`: the watch was removed and has to be added again.
    identity: Option<FolderIdentity>,
    /// The last complete scan that visited the folder.
    scan: u64,
    /// Which inotify instance holds the watch.
    instance: usize,
}

impl Watched {
    fn inode(&self) -> Option<u64> {
        self.identity.map(|identity| identity.inode)
    }
}

/// The folders of one root that have a watch.
#[derive(Default)]
pub(crate) struct WatchSet {
    pool: WatcherPool,
    /// No folder has a watch yet.
    fresh: bool,
    /// Each with the folder's identity when its watch was added: a watch follows a folder that is renamed, and the
    /// folder that takes its name has none.
    watched: BTreeMap<PathBuf, Watched>,
    /// Folders that could not be watched, usually for lack of permission.
    refused: BTreeSet<PathBuf>,
    /// Network drives mounted below the root.
    drives: Vec<PathBuf>,
    root_device: Option<u64>,
    mounts: Mounts,
    /// Number of the last complete scan.
    scan: u64,
    /// The limit was reached in this scan; no more watches are requested until the next one.
    at_limit: bool,
    ended: bool,
    over_limit: usize,
    without_events: usize,
}

impl WatchSet {
    /// Starts over with a source of events, or without one.
    pub(crate) fn reset(&mut self, source: Option<Box<dyn Watches>>) {
        let mounts = if source.is_some() { Mounts::open() } else { Mounts::default() };
        *self = Self { fresh: source.is_some(), pool: WatcherPool::new(source), mounts, ..Self::default() };
    }

    /// Whether no scan has run since the last reset.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Starts a scan. A complete scan counts the folders without a watch from zero.
    pub(crate) fn begin_scan(&mut self, whole: bool) {
        self.at_limit = false;
        if whole {
            self.refused.clear();
            (self.over_limit, self.without_events) = (0, 0);
            self.drives.clear();
            self.root_device = None;
            self.scan += 1;
        }
    }

    /// Ends a complete scan: folders that it did not visit no longer exist.
    pub(crate) fn end_whole_scan(&mut self) {
        let gone: Vec<(PathBuf, Watched)> =
            self.watched.extract_if(.., |_, watched| watched.scan != self.scan).collect();
        if gone.is_empty() {
            return;
        }
        // A folder that was renamed is left to the event of its renaming: both names may share one watch.
        let here: HashSet<Option<u64>> = self.watched.values().map(Watched::inode).collect();
        for (path, watched) in gone {
            if !here.contains(&watched.inode()) {
                self.pool.remove(watched.instance, &path);
            }
        }
    }

    /// Adds a watch to a folder, if it needs one. `inode` is the number in its parent's listing.
    pub(crate) fn ensure_watched(&mut self, folder: &Path, place: Place, inode: u64) {
        let Some(identity) = self.needs_watch(folder, place, inode) else { return };
        if self.at_limit {
            self.over_limit += 1;
            return;
        }
        // Its own instance, for a watch that is renewed; else that of its parent.
        let mut own_or_parents = folder.ancestors().take(2).filter_map(|path| self.watched.get(path));
        let instance = own_or_parents.next().map_or(0, |watched| watched.instance);
        let result = self.pool.add(instance, folder);
        self.record_result(folder, identity, instance, result);
    }

    /// Prepares one traversal per inotify instance, for the first scan of a root with this number of dates. `open`
    /// opens another instance. Pass the results to [`merge_results`](Self::merge_results).
    pub(crate) fn traversals(
        &mut self,
        dates: usize,
        open: &dyn Fn() -> notify::Result<Box<dyn Watches>>,
    ) -> Vec<PoolTraversal<'_>> {
        self.fresh = false;
        self.pool.grow(dates, open);
        self.pool.traversals(&self.drives)
    }

    /// Merges the results of the parallel traversals.
    pub(crate) fn merge_results(&mut self, results: Vec<TraversalResult>) {
        for (instance, result) in results.into_iter().enumerate() {
            (self.over_limit, self.without_events) =
                (self.over_limit + result.over_limit, self.without_events + result.on_drives);
            for (folder, inode, result) in result.attempted {
                self.record_result(&folder, FolderIdentity { device: 0, inode }, instance, result);
            }
        }
    }

    /// The identity of a folder that should have a watch and has none.
    fn needs_watch(&mut self, folder: &Path, place: Place, inode: u64) -> Option<FolderIdentity> {
        if self.pool.is_empty() {
            return None;
        }
        let identity = match place {
            // Disks are mounted on labs and subjects. A listing shows the inode below the mount point, so the folder
            // itself is examined; there are few of these.
            Place::Above(_) => FolderIdentity::load(folder).ok()?,
            _ => FolderIdentity { device: 0, inode },
        };
        if self.is_on_drive(folder, place, identity) {
            self.without_events += 1;
            return None;
        }
        if matches!(place, Place::Above(_)) {
            self.mounts.watch_device(folder, identity.device);
        }
        match self.watched.get_mut(folder) {
            Some(watched) if watched.identity == Some(identity) => {
                watched.scan = self.scan;
                None
            }
            _ => Some(identity),
        }
    }

    /// Records the result of adding a watch.
    fn record_result(
        &mut self,
        folder: &Path,
        identity: FolderIdentity,
        instance: usize,
        result: Result<(), WatchError>,
    ) {
        match result {
            Ok(()) => {
                self.refused.remove(folder);
                let identity = Some(identity);
                self.watched.insert(folder.to_owned(), Watched { identity, scan: self.scan, instance });
                return;
            }
            Err(WatchError::Limit) => {
                self.at_limit = true;
                self.over_limit += 1;
            }
            Err(WatchError::Folder) => {
                // The watch on the parent folder reports when the permissions change. The root has no watched parent,
                // and the parent of a link reports only the link.
                let has_watched_parent =
                    folder.parent().is_some_and(|parent| self.watched.contains_key(parent));
                if !has_watched_parent || folder.is_symlink() {
                    self.without_events += 1;
                }
                self.refused.insert(folder.to_owned());
            }
            Err(WatchError::Ended) => self.ended = true,
        }
        self.watched.remove(folder);
    }

    /// Whether a folder is on a network drive mounted below the root.
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

    /// Removes the watches on a folder and everything below it, after an event about it; the scan that follows adds
    /// them again. A watch that was kept might belong to a folder that was renamed while another took its name: the
    /// source of events finds watches by name only, and could never remove it.
    ///
    /// Invalidate all folders with events before scanning any of them: one may be the new name of another, and both
    /// names share one watch.
    pub(crate) fn invalidate(&mut self, folder: &Path) {
        let is_gone = |path: &Path| path.symlink_metadata().is_err();
        let all_gone = is_gone(folder);
        for path in self.watched_below(folder) {
            let Some(watched) = self.watched.get_mut(&path) else { continue };
            watched.identity = None;
            self.pool.remove(watched.instance, &path);
            if all_gone || is_gone(&path) {
                self.watched.remove(&path);
            }
        }
        self.refused.retain(|path| !path.starts_with(folder));
    }

    /// After the scan of a folder: what is still invalid no longer exists, and has no watch.
    pub(crate) fn drop_invalidated(&mut self, folder: &Path) {
        for path in self.watched_below(folder) {
            if self.watched.get(&path).is_some_and(|watched| watched.identity.is_none()) {
                self.watched.remove(&path);
            }
        }
    }

    fn watched_below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.watched.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.map(|(path, _)| path).take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Whether a watch on this folder was refused. It may succeed after a change of permissions.
    pub(crate) fn was_refused(&self, folder: &Path) -> bool {
        self.refused.contains(folder)
    }

    /// The number of folders with a watch.
    pub(crate) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// The number of folders without a watch because of the kernel's limit.
    pub(crate) fn over_limit(&self) -> usize {
        self.over_limit
    }

    /// Whether there is a source of events.
    pub(crate) fn has_events(&self) -> bool {
        !self.pool.is_empty()
    }

    /// Whether some folders are found only by polling.
    pub(crate) fn needs_polling(&self) -> bool {
        self.pool.is_empty() || self.over_limit > 0 || self.without_events > 0
    }

    /// Whether a disk was unmounted since the last call. Its watches no longer exist.
    pub(crate) fn was_unmounted(&mut self) -> bool {
        self.mounts.was_unmounted()
    }

    /// Whether the source of events has ended unexpectedly.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}
