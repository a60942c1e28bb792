//! Running tasks: sessions, counted by data root, and queries to Alyx.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::daemon::queue::Room;

/// How many sessions of a data root may run beyond `workers`: those that read files, and then wait for Alyx.
const MAX_READ_AHEAD: usize = 16;
/// Sessions below this size in bytes have a place of their own in each data root.
pub(crate) const SMALL: u64 = 1_000_000_000;

/// The running tasks.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// The flags of the running sessions, each with its data root.
    running: HashMap<PathBuf, PathBuf>,
    /// Queries to Alyx without an answer so far.
    pub(crate) queries: usize,
    /// Nothing new starts.
    pub(crate) stopping: bool,
}

impl Runs {
    /// Which sessions of a data root may start. Each root has places of its own, so that a disk that hangs holds up its
    /// own sessions only. The last place is kept for a small session.
    pub(crate) fn room(&self, root: &Path, workers: usize) -> Room {
        let places = workers.max(1) + MAX_READ_AHEAD;
        let free = places.saturating_sub(self.running.values().filter(|other| *other == root).count());
        match free {
            _ if self.stopping => Room::Full,
            0 => Room::Full,
            1 => Room::ForSmall,
            _ => Room::Free,
        }
    }

    /// Whether no session runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) fn run_begins(&mut self, flag: &Path, root: &Path) {
        self.running.insert(flag.to_owned(), root.to_owned());
    }

    pub(crate) fn run_ended(&mut self, flag: &Path) {
        self.running.remove(flag);
    }

    pub(crate) fn query_ended(&mut self) {
        self.queries = self.queries.saturating_sub(1);
    }
}
