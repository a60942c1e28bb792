//! The pool: several inotify instances for one root.
//!
//! `notify` adds each watch in a round trip between two threads, and on a busy machine most of that time is spent
//! waiting for the scheduler. So the watches of a large root are added through several instances in parallel.
//!
//! Any instance may hold the watch of any folder: each reports what happens in the folder, and that the folder is
//! deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::watch::source::{WatchError, Watches};

/// How many dates justify another instance. Each costs a thread, and one of the user's `max_user_instances`.
const DATES_PER_INSTANCE: usize = 250;
/// More bring no gain, even with ten programs competing for two processors.
const MAX_INSTANCES: usize = 4;

/// The inotify instances of one root; empty if it is polled.
#[derive(Default)]
pub(crate) struct WatcherPool(Vec<Box<dyn Watches>>);

impl WatcherPool {
    /// A pool of one instance, or an empty one.
    pub(crate) fn new(first: Option<Box<dyn Watches>>) -> Self {
        Self(first.into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a watch through an instance.
    pub(crate) fn add(&mut self, instance: usize, folder: &Path) -> Result<(), WatchError> {
        self.0.get_mut(instance).map_or(Err(WatchError::Ended), |instance| instance.add(folder))
    }

    /// Removes a watch that an instance holds.
    pub(crate) fn remove(&mut self, instance: usize, folder: &Path) {
        if let Some(instance) = self.0.get_mut(instance) {
            instance.remove(folder);
        }
    }

    /// Opens more instances for large roots; stops quietly when none can be opened.
    pub(crate) fn grow(&mut self, dates: usize, open: &dyn Fn() -> notify::Result<Box<dyn Watches>>) {
        let wanted = MAX_INSTANCES.min(dates / DATES_PER_INSTANCE);
        while !self.0.is_empty()
            && self.0.len() < wanted
            && let Ok(instance) = open()
        {
            self.0.push(instance);
        }
    }

    /// One traversal per instance; a single one that adds no watches if the pool is empty.
    pub(crate) fn traversals<'a>(&'a mut self, drives: &'a [PathBuf]) -> Vec<PoolTraversal<'a>> {
        let stop: Arc<StopFlags> = Arc::default();
        let traversal =
            |source| PoolTraversal { source, drives, stop: stop.clone(), result: TraversalResult::default() };
        match self.0.as_mut_slice() {
            [] => vec![traversal(None)],
            pool => pool.iter_mut().map(|instance| traversal(Some(instance))).collect(),
        }
    }
}

/// One instance's part of a traversal through folders that have no watches yet.
pub(crate) struct PoolTraversal<'a> {
    source: Option<&'a mut Box<dyn Watches>>,
    /// Network drives send no events.
    drives: &'a [PathBuf],
    stop: Arc<StopFlags>,
    result: TraversalResult,
}

/// Stops all instances from adding watches.
#[derive(Default)]
struct StopFlags {
    at_limit: AtomicBool,
    /// A source has ended: everything starts over.
    source_ended: AtomicBool,
}

/// The result of one instance's part of a traversal.
#[derive(Default)]
pub(crate) struct TraversalResult {
    /// Folders for which a watch was requested, with inode and result.
    pub attempted: Vec<(PathBuf, u64, Result<(), WatchError>)>,
    /// Folders without a watch because of the kernel's limit.
    pub over_limit: usize,
    /// Folders on network drives.
    pub on_drives: usize,
}

impl PoolTraversal<'_> {
    /// Adds a watch to a folder.
    pub(crate) fn ensure_watched(&mut self, folder: &Path, inode: u64) {
        let Some(source) = &mut self.source else { return };
        if self.drives.iter().any(|drive| folder.starts_with(drive)) {
            self.result.on_drives += 1;
        } else if self.stop.at_limit.load(Ordering::Relaxed) {
            self.result.over_limit += 1;
        } else if !self.stop.source_ended.load(Ordering::Relaxed) {
            let result = source.add(folder);
            match result {
                Err(WatchError::Limit) => self.stop.at_limit.store(true, Ordering::Relaxed),
                Err(WatchError::Ended) => self.stop.source_ended.store(true, Ordering::Relaxed),
                Ok(()) | Err(WatchError::Folder) => {}
            }
            self.result.attempted.push((folder.to_owned(), inode, result));
        }
    }

    pub(crate) fn finish(self) -> TraversalResult {
        self.result
    }
}
