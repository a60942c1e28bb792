//! The pool: the sources of events of one root.
//!
//! To set a watch is a round trip between two threads (that is how `notify` does it), and on a busy machine most of
//! it is waiting for one's turn. So the watches of a large root are set through several sources at the same time.
//!
//! It does not matter which lane holds a folder: each tells what happens in the folder, and of the folder's own end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::watch::source::{WatchError, Watches};

/// So many dates are worth a lane. A source costs a thread, and one of the user's `max_user_instances`.
const DATES_A_LANE: usize = 250;
/// More gain nothing, even where ten programs wait for two processors.
const MOST_LANES: usize = 4;

/// The sources of events of one root; none where it is polled.
#[derive(Default)]
pub(crate) struct WatcherPool(Vec<Box<dyn Watches>>);

impl WatcherPool {
    /// One lane, or none.
    pub(crate) fn new(first: Option<Box<dyn Watches>>) -> Self {
        Self(first.into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a watch in a lane.
    pub(crate) fn add(&mut self, lane: usize, folder: &Path) -> Result<(), WatchError> {
        self.0.get_mut(lane).map_or(Err(WatchError::Ended), |lane| lane.add(folder))
    }

    /// Ends a watch that a lane holds.
    pub(crate) fn remove(&mut self, lane: usize, folder: &Path) {
        if let Some(lane) = self.0.get_mut(lane) {
            lane.remove(folder);
        }
    }

    /// Opens as many pool as so many dates are worth. Where one cannot be had, those that are there do.
    pub(crate) fn widen(&mut self, dates: usize, open: &dyn Fn() -> notify::Result<Box<dyn Watches>>) {
        let worth = MOST_LANES.min(dates / DATES_A_LANE);
        while !self.0.is_empty()
            && self.0.len() < worth
            && let Ok(lane) = open()
        {
            self.0.push(lane);
        }
    }

    /// A walk for each lane; one that watches nothing where there is none.
    pub(crate) fn walks<'a>(&'a mut self, drives: &'a [PathBuf]) -> Vec<PoolTraversal<'a>> {
        let end: Arc<End> = Arc::default();
        let walk = |source| PoolTraversal { source, drives, end: end.clone(), walked: Walked::default() };
        match self.0.as_mut_slice() {
            [] => vec![walk(None)],
            pool => pool.iter_mut().map(|lane| walk(Some(lane))).collect(),
        }
    }
}

/// One lane's part of a walk through folders of which none has a watch yet.
pub(crate) struct PoolTraversal<'a> {
    source: Option<&'a mut Box<dyn Watches>>,
    /// What is mounted from elsewhere gives no events.
    drives: &'a [PathBuf],
    end: Arc<End>,
    walked: Walked,
}

/// What makes all pool ask no more.
#[derive(Default)]
struct End {
    at_limit: AtomicBool,
    /// A source has ended: all is done anew.
    source_ended: AtomicBool,
}

/// What one lane's part of a walk has come to.
#[derive(Default)]
pub(crate) struct Walked {
    /// Folders for which a watch was asked for, with their numbers.
    pub asked: Vec<(PathBuf, u64, Result<(), WatchError>)>,
    /// Folders without a watch because of the kernel's limit.
    pub over_limit: usize,
    /// Folders on network drives.
    pub on_drives: usize,
}

impl PoolTraversal<'_> {
    /// Sees to it that a folder has a watch.
    pub(crate) fn enter(&mut self, folder: &Path, inode: u64) {
        let Some(source) = &mut self.source else { return };
        if self.drives.iter().any(|drive| folder.starts_with(drive)) {
            self.walked.on_drives += 1;
        } else if self.end.at_limit.load(Ordering::Relaxed) {
            self.walked.over_limit += 1;
        } else if !self.end.source_ended.load(Ordering::Relaxed) {
            let result = source.add(folder);
            match result {
                Err(WatchError::Limit) => self.end.at_limit.store(true, Ordering::Relaxed),
                Err(WatchError::Ended) => self.end.source_ended.store(true, Ordering::Relaxed),
                Ok(()) | Err(WatchError::Folder) => {}
            }
            self.walked.asked.push((folder.to_owned(), inode, result));
        }
    }

    pub(crate) fn end(self) -> Walked {
        self.walked
    }
}
