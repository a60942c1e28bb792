//! Read schedulers by data root: what hangs on one disk takes no threads from the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hashing::lanes::Lanes;
use crate::hashing::read_rate::ReadRate;
use crate::hashing::read_scheduler::ReadScheduler;

/// A read scheduler for each data root. Each has the same number of threads, which no other root can use up.
#[derive(Debug)]
pub(crate) struct RootSchedulers {
    state: Mutex<State>,
    /// Of all data roots together.
    rate: Arc<ReadRate>,
    lanes: Arc<Lanes>,
}

#[derive(Debug)]
struct State {
    count: usize,
    by_root: BTreeMap<PathBuf, Arc<ReadScheduler>>,
}

impl RootSchedulers {
    /// Schedulers with this number of threads each.
    pub(crate) fn new(count: usize) -> Self {
        Self::build(count, Lanes::shared())
    }

    pub(crate) fn build(count: usize, lanes: Arc<Lanes>) -> Self {
        let state = State { count, by_root: BTreeMap::new() };
        Self { state: Mutex::new(state), rate: Arc::default(), lanes }
    }

    /// The scheduler of a data root.
    pub(crate) fn of(&self, root: &Path) -> Arc<ReadScheduler> {
        let mut state = self.state();
        let count = state.count;
        let new = || ReadScheduler::build(count, Arc::clone(&self.lanes), Arc::clone(&self.rate));
        let scheduler = state.by_root.entry(root.to_owned()).or_insert_with(new);
        Arc::clone(scheduler)
    }

    /// Changes the number of threads of each.
    pub(crate) fn set_count(&self, count: usize) {
        let mut state = self.state();
        state.count = count;
        state.by_root.values().for_each(|scheduler| scheduler.set_count(count));
    }

    /// How fast the files of all data roots together are read.
    pub(crate) fn rate(&self) -> &ReadRate {
        &self.rate
    }

    /// What hashes.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// How many bytes have been read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.state().by_root.values().map(|scheduler| scheduler.bytes_read()).sum()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_root_are_its_own() {
        let schedulers = RootSchedulers::new(2);
        let (a, b) = (schedulers.of(Path::new("/a")), schedulers.of(Path::new("/b")));
        assert!(Arc::ptr_eq(&a, &schedulers.of(Path::new("/a"))) && !Arc::ptr_eq(&a, &b));
        schedulers.set_count(3);
        assert_eq!([a.count(), b.count(), schedulers.of(Path::new("/c")).count()], [3; 3]);
        a.count_read(2);
        b.count_read(3);
        assert_eq!(schedulers.bytes_read(), 5);
    }
}
