//! Running tasks: sessions, and queries to Alyx.

use std::time::Instant;

/// How many sessions beyond `workers` may run: those that read files, and then wait for Alyx.
const MAX_READ_AHEAD: usize = 16;

/// The running tasks.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) running: usize,
    /// Queries to Alyx without an answer so far.
    pub(crate) queries: usize,
    /// The number of attempts that began plus those that ended.
    pub(crate) transitions: u64,
    /// Nothing new starts.
    pub(crate) stopping: bool,
}

impl Runs {
    /// Whether one more session may run.
    pub(crate) fn has_room(&self, workers: usize) -> bool {
        !self.stopping && self.running < workers.max(1) + MAX_READ_AHEAD
    }

    pub(crate) fn run_begins(&mut self) {
        self.running += 1;
        self.transitions += 1;
    }

    pub(crate) fn run_ended(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.transitions += 1;
    }

    pub(crate) fn query_ended(&mut self) {
        self.queries = self.queries.saturating_sub(1);
    }

    /// When the next job can start, if there is room.
    pub(crate) fn next_wake(&self, next_due: Option<Instant>, workers: usize) -> Option<Instant> {
        next_due.filter(|_| self.has_room(workers))
    }
}
