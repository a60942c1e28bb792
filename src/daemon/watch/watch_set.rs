//! The watch_set: which folders of one root have a watch, and which should have one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::daemon::tree::layout::Place;
use crate::daemon::tree::root::{FolderIdentity, is_network};
use crate::daemon::watch::inotify_pool::{PoolTraversal, Walked, WatcherPool};
use crate::daemon::watch::mounts::Mounts;
use crate::daemon::watch::source::{WatchError, Watches};

struct Watched {
    /// `None`: it was given back, and is to be set anew.
    identity: Option<FolderIdentity>,
    /// The last whole walk that met the folder.
    walk: u64,
    /// Which lane holds the watch.
    lane: usize,
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
    /// Nothing has a watch yet.
    fresh: bool,
    /// With what each folder was when its watch was set: a watch stays with a folder that is moved away, and one
    /// that takes its place has none.
    watched: BTreeMap<PathBuf, Watched>,
    /// Folders that could not be watched, most likely for want of permission.
    refused: BTreeSet<PathBuf>,
    /// Network drives that are mounted below the root.
    drives: Vec<PathBuf>,
    root_device: Option<u64>,
    disks: Mounts,
    /// Number of the last walk over the whole root.
    walk: u64,
    /// The limit was reached in this walk: not asked again before the next one.
    at_limit: bool,
    ended: bool,
    over_limit: usize,
    without_events: usize,
}

impl WatchSet {
    /// Begins anew with a source of events, or with none.
    pub(crate) fn reset(&mut self, source: Option<Box<dyn Watches>>) {
        let disks = if source.is_some() { Mounts::open() } else { Mounts::default() };
        *self = Self { fresh: source.is_some(), pool: WatcherPool::new(source), disks, ..Self::default() };
    }

    /// Whether no root has been walked through since it began anew.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Begins a walk. A walk over the whole root counts anew how many folders have no watch.
    pub(crate) fn begin_walk(&mut self, whole: bool) {
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
    pub(crate) fn end_whole_walk(&mut self) {
        let gone: Vec<(PathBuf, Watched)> =
            self.watched.extract_if(.., |_, watched| watched.walk != self.walk).collect();
        if gone.is_empty() {
            return;
        }
        // One that has another name now is left to the event that tells of it: perhaps both names are one watch.
        let here: HashSet<Option<u64>> = self.watched.values().map(Watched::inode).collect();
        for (path, watched) in gone {
            if !here.contains(&watched.inode()) {
                self.pool.remove(watched.lane, &path);
            }
        }
    }

    /// Sees to it that a folder has a watch. `inode` is its number as its parent lists it.
    pub(crate) fn enter(&mut self, folder: &Path, place: Place, inode: u64) {
        let Some(identity) = self.wants(folder, place, inode) else { return };
        if self.at_limit {
            self.over_limit += 1;
            return;
        }
        // Its own, for a watch that is renewed; else that of the folder above.
        let mut own_or_parents = folder.ancestors().take(2).filter_map(|path| self.watched.get(path));
        let lane = own_or_parents.next().map_or(0, |watched| watched.lane);
        let result = self.pool.add(lane, folder);
        self.take(folder, identity, lane, result);
    }

    /// Several walks that go on at the same time, each with a lane of its own, over so many dates; for a root of which
    /// no date has a watch yet. `open` opens a further lane. Afterwards, [`take_walks`](Self::take_walks).
    pub(crate) fn walks(
        &mut self,
        dates: usize,
        open: &dyn Fn() -> notify::Result<Box<dyn Watches>>,
    ) -> Vec<PoolTraversal<'_>> {
        self.fresh = false;
        self.pool.widen(dates, open);
        self.pool.walks(&self.drives)
    }

    /// Takes over what walks of several pool have done.
    pub(crate) fn take_walks(&mut self, walks: Vec<Walked>) {
        for (lane, walked) in walks.into_iter().enumerate() {
            (self.over_limit, self.without_events) =
                (self.over_limit + walked.over_limit, self.without_events + walked.on_drives);
            for (folder, inode, result) in walked.asked {
                self.take(&folder, FolderIdentity { device: 0, inode }, lane, result);
            }
        }
    }

    /// What a folder is, if it should get a watch and has none.
    fn wants(&mut self, folder: &Path, place: Place, inode: u64) -> Option<FolderIdentity> {
        if self.pool.is_empty() {
            return None;
        }
        let identity = match place {
            // Mounts are mounted on labs and subjects. A listing tells the number of the folder below the mount, so
            // it takes a look at the folder itself; there are few of these.
            Place::Above(_) => FolderIdentity::load(folder).ok()?,
            _ => FolderIdentity { device: 0, inode },
        };
        if self.is_on_drive(folder, place, identity) {
            self.without_events += 1;
            return None;
        }
        if matches!(place, Place::Above(_)) {
            self.disks.meet(folder, identity.device);
        }
        match self.watched.get_mut(folder) {
            Some(watched) if watched.identity == Some(identity) => {
                watched.walk = self.walk;
                None
            }
            _ => Some(identity),
        }
    }

    /// Takes note of how the setting of a watch ended.
    fn take(&mut self, folder: &Path, identity: FolderIdentity, lane: usize, result: Result<(), WatchError>) {
        match result {
            Ok(()) => {
                self.refused.remove(folder);
                let identity = Some(identity);
                self.watched.insert(folder.to_owned(), Watched { identity, walk: self.walk, lane });
                return;
            }
            Err(WatchError::Limit) => {
                self.at_limit = true;
                self.over_limit += 1;
            }
            Err(WatchError::Folder) => {
                // That its permissions have changed is told by the watch on the folder above. The root has none above
                // it, and a link's leads to the link.
                let is_told = folder.parent().is_some_and(|parent| self.watched.contains_key(parent));
                if !is_told || folder.is_symlink() {
                    self.without_events += 1;
                }
                self.refused.insert(folder.to_owned());
            }
            Err(WatchError::Ended) => self.ended = true,
        }
        self.watched.remove(folder);
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

    /// Something was told of a folder: the watches on it and on all below it are given back, and set anew by the walk
    /// that follows. One that is kept may be that of a folder which has moved away and left its name to another: the
    /// source of events finds it by its name only, and so never again.
    ///
    /// That must be done for all folders of which something was told before any of them is walked: one may be
    /// another's new name, and both names one watch.
    pub(crate) fn doubt(&mut self, folder: &Path) {
        let is_gone = |path: &Path| path.symlink_metadata().is_err();
        let all_gone = is_gone(folder);
        for path in self.watched_below(folder) {
            let Some(watched) = self.watched.get_mut(&path) else { continue };
            watched.identity = None;
            self.pool.remove(watched.lane, &path);
            if all_gone || is_gone(&path) {
                self.watched.remove(&path);
            }
        }
        self.refused.retain(|path| !path.starts_with(folder));
    }

    /// After the walk through a folder: what is still doubtful has gone meanwhile, and has no watch any more.
    pub(crate) fn end_doubt(&mut self, folder: &Path) {
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

    /// Whether a folder has no watch because it could not be had. Perhaps it can, after a change of permissions.
    pub(crate) fn was_refused(&self, folder: &Path) -> bool {
        self.refused.contains(folder)
    }

    /// How many folders have a watch.
    pub(crate) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// How many folders have none because of the kernel's limit.
    pub(crate) fn over_limit(&self) -> usize {
        self.over_limit
    }

    /// Whether there is a source of events.
    pub(crate) fn has_events(&self) -> bool {
        !self.pool.is_empty()
    }

    /// Whether some folders are found by polling only.
    pub(crate) fn needs_polling(&self) -> bool {
        self.pool.is_empty() || self.over_limit > 0 || self.without_events > 0
    }

    /// Whether a disk was unmounted since this was asked last. The watches on it are gone then.
    pub(crate) fn was_unmounted(&mut self) -> bool {
        self.disks.was_unmounted()
    }

    /// Whether the source of events has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}
