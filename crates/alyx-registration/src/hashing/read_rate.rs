//! The read rate: how many bytes a second the threads of all data roots may read together.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What was not read in this time may be read later at once.
const BURST: Duration = Duration::from_millis(100);

/// A limit to the bytes that are read each second. Without one, nothing waits.
#[derive(Debug, Default)]
pub(crate) struct ReadRate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In bytes a second.
    limit: Option<u64>,
    /// When everything that was read would have been read at the limit.
    paid: Option<Instant>,
}

impl State {
    /// When the next piece may be read, after one of this length. Pure.
    fn next(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let limit = self.limit?;
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = self.paid.map_or(earliest, |paid| paid.max(earliest));
        let paid = begins + Duration::from_secs_f64(bytes as f64 / limit.max(1) as f64);
        self.paid = Some(paid);
        (paid > now).then_some(paid)
    }
}

impl ReadRate {
    /// Changes the limit, in bytes a second. Readers that wait go on.
    pub(crate) fn set(&self, limit: Option<u64>) {
        let mut state = self.state();
        if state.limit != limit {
            *state = State { limit, paid: None };
            self.changed.notify_all();
        }
    }

    /// Waits after a piece was read until the next one may be. Blocks.
    pub(crate) fn wait(&self, bytes: u64) {
        let mut state = self.state();
        let limit = state.limit;
        let Some(until) = state.next(bytes, Instant::now()) else { return };
        while state.limit == limit {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_spread_over_the_time_that_the_limit_allows_but_for_a_short_burst() {
        let mut state = State { limit: Some(1000), paid: None };
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(state.next(100, start), None);
        assert_eq!(state.next(100, start), Some(after(100)));
        // Of another thread, at the same time.
        assert_eq!(state.next(50, start), Some(after(150)));
        assert_eq!(state.next(100, after(150)), Some(after(250)));
        // A long pause allows no more than a short one.
        assert_eq!(state.next(300, after(100_000)), Some(after(100_200)));
        assert_eq!(State::default().next(1 << 40, start), None);
    }

    #[test]
    fn readers_that_wait_go_on_when_the_limit_changes() {
        let rate = ReadRate::default();
        rate.set(Some(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| rate.wait(1 << 40));
            while rate.state().paid.is_none() {
                std::thread::yield_now();
            }
            rate.set(None);
            waiting.join().unwrap();
        });
        rate.wait(1 << 40);
    }
}
