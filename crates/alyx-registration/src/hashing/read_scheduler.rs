//! The read scheduler: a fair semaphore for reading files. A session of 200 GB must not hold up one of 20 MB.
//!
//! Files are read in slices, and each slice needs a permit. The next permit goes to the session that has read least so
//! far: a small session waits for one slice of a large one, not for all of it, and large ones share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// A number of permits, shared fairly between sessions.
#[derive(Debug)]
pub struct ReadScheduler {
    state: Mutex<State>,
    read: AtomicU64,
}

#[derive(Debug)]
struct State {
    count: usize,
    free: usize,
    /// Permits in use that are dropped when they are returned, because the number was lowered.
    surplus: usize,
    /// The waiting sessions, by what they have read so far; the second number keeps the order of arrival.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<ReadPermit>>,
    arrivals: u64,
}

/// The right to read one slice. Dropping it returns it.
#[derive(Debug)]
pub struct ReadPermit {
    scheduler: Arc<ReadScheduler>,
}

impl ReadScheduler {
    /// A scheduler with this number of permits, at least one.
    pub fn new(count: usize) -> Arc<Self> {
        let count = count.max(1);
        let state = State { count, free: count, surplus: 0, waiting: BTreeMap::new(), arrivals: 0 };
        Arc::new(Self { state: Mutex::new(state), read: AtomicU64::new(0) })
    }

    /// The number of permits.
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// Changes the number of permits. When lowered, surplus permits are dropped as they are returned.
    pub fn set_count(self: &Arc<Self>, count: usize) {
        let count = count.max(1);
        let mut state = self.state();
        let more = count.saturating_sub(state.count);
        let mut fewer = state.count.saturating_sub(count);
        state.count = count;
        let free = fewer.min(state.free);
        state.free -= free;
        fewer -= free;
        state.surplus += fewer;
        drop(state);
        // A new permit goes where a returned one goes.
        for _ in 0..more {
            drop(ReadPermit { scheduler: Arc::clone(self) });
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that were read with a permit.
    pub fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes have been read with permits so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Waits for a permit. `served`: the bytes that the session has read so far. Dropping the future leaves the queue.
    pub async fn take(self: &Arc<Self>, served: u64) -> ReadPermit {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return ReadPermit { scheduler: Arc::clone(self) };
            }
            let (sender, receiver) = oneshot::channel();
            state.arrivals += 1;
            let place = (served, state.arrivals);
            state.waiting.insert(place, sender);
            receiver
        };
        // The sender stays in the queue until it sends, so this does not fail.
        waiting.await.unwrap_or_else(|_| ReadPermit { scheduler: Arc::clone(self) })
    }
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        loop {
            let next = {
                let mut state = self.scheduler.state();
                if state.surplus > 0 {
                    state.surplus -= 1;
                    return;
                }
                match state.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            if next.is_closed() {
                continue;
            }
            // A receiver that is dropped at this moment drops the permit, which passes it on.
            drop(next.send(ReadPermit { scheduler: Arc::clone(&self.scheduler) }));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_session_that_has_read_least_is_next_regardless_of_arrival() {
        let scheduler = ReadScheduler::new(1);
        let held = scheduler.take(0).now_or_never().unwrap();
        let mut large = Box::pin(scheduler.take(200_000));
        let mut small = Box::pin(scheduler.take(20));
        assert!((&mut large).now_or_never().is_none() && (&mut small).now_or_never().is_none());
        drop(held);
        assert!((&mut large).now_or_never().is_none());
        let held = small.now_or_never().unwrap();
        drop(held);
        assert!(large.now_or_never().is_some());
    }

    #[test]
    fn no_permit_is_lost_when_a_waiting_session_gives_up() {
        let scheduler = ReadScheduler::new(1);
        for gives_up_late in [false, true] {
            let held = scheduler.take(0).now_or_never().unwrap();
            let mut first = Box::pin(scheduler.take(1));
            let mut second = Box::pin(scheduler.take(2));
            assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
            if gives_up_late {
                drop(held);
                drop(first);
            } else {
                drop(first);
                drop(held);
            }
            assert!(second.now_or_never().is_some());
        }
        assert!(scheduler.take(0).now_or_never().is_some());
    }

    #[test]
    fn the_number_of_permits_can_be_raised_and_lowered() {
        let scheduler = ReadScheduler::new(2);
        let in_use = [scheduler.take(0).now_or_never().unwrap(), scheduler.take(0).now_or_never().unwrap()];
        let mut waits = Box::pin(scheduler.take(0));
        assert!((&mut waits).now_or_never().is_none());
        scheduler.set_count(3);
        let third = waits.now_or_never().unwrap();
        assert!(scheduler.take(0).now_or_never().is_none());
        scheduler.set_count(1);
        drop(in_use);
        // Two are surplus, and the third is still in use.
        assert!(scheduler.take(0).now_or_never().is_none());
        drop(third);
        let only = scheduler.take(0).now_or_never().unwrap();
        assert!(scheduler.take(0).now_or_never().is_none());
        // Lowered and raised again: the last number counts.
        scheduler.set_count(2);
        let _second = scheduler.take(0).now_or_never().unwrap();
        scheduler.set_count(1);
        scheduler.set_count(2);
        drop(only);
        assert!(scheduler.take(0).now_or_never().is_some());
        assert_eq!(scheduler.count(), 2);
    }

    #[test]
    fn there_are_as_many_permits_as_configured() {
        let scheduler = ReadScheduler::new(2);
        let (_a, b) = (scheduler.take(0).now_or_never().unwrap(), scheduler.take(0).now_or_never().unwrap());
        assert!(scheduler.take(0).now_or_never().is_none());
        drop(b);
        assert!(scheduler.take(0).now_or_never().is_some());
    }
}
