//! ReadScheduler: who may read a file now. A session of 200 GB must not hold up one of 20 MB.
//!
//! Files are read in slices, and each slice takes a turn. The next turn goes to the session that has read least so
//! far: a small session waits for one slice of a large one, not for the whole of it, and large ones share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// A number of scheduler that may be taken at the same time.
#[derive(Debug)]
pub struct ReadScheduler {
    row: Mutex<State>,
    read: AtomicU64,
}

#[derive(Debug)]
struct State {
    count: usize,
    free: usize,
    /// ReadScheduler that are taken, and end when they are given back: there are fewer now.
    surplus: usize,
    /// Those who wait, by what they have had so far; the number keeps the order of arrival.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<ReadPermit>>,
    arrivals: u64,
}

/// A turn. It goes to the next in the row when it is dropped.
#[derive(Debug)]
pub struct ReadPermit {
    scheduler: Arc<ReadScheduler>,
}

impl ReadScheduler {
    /// So many scheduler at the same time, at least one.
    pub fn new(count: usize) -> Arc<Self> {
        let count = count.max(1);
        let row = State { count, free: count, surplus: 0, waiting: BTreeMap::new(), arrivals: 0 };
        Arc::new(Self { row: Mutex::new(row), read: AtomicU64::new(0) })
    }

    /// How many scheduler there are.
    pub fn count(&self) -> usize {
        self.row().count
    }

    /// So many scheduler from now on. Of fewer, those that are taken now are given back first.
    pub fn set_count(self: &Arc<Self>, count: usize) {
        let count = count.max(1);
        let mut row = self.row();
        let more = count.saturating_sub(row.count);
        let mut fewer = row.count.saturating_sub(count);
        row.count = count;
        let free = fewer.min(row.free);
        row.free -= free;
        fewer -= free;
        row.surplus += fewer;
        drop(row);
        // A new turn goes where one that is given back goes.
        for _ in 0..more {
            drop(ReadPermit { scheduler: Arc::clone(self) });
        }
    }

    fn row(&self) -> std::sync::MutexGuard<'_, State> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that were read in a turn.
    pub fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes were read in all scheduler so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Waits for a turn. `served`: what the session has had so far, in bytes. Dropping the future gives up the
    /// place in the row.
    pub async fn take(self: &Arc<Self>, served: u64) -> ReadPermit {
        let waiting = {
            let mut row = self.row();
            if row.free > 0 {
                row.free -= 1;
                return ReadPermit { scheduler: Arc::clone(self) };
            }
            let (sender, receiver) = oneshot::channel();
            row.arrivals += 1;
            let place = (served, row.arrivals);
            row.waiting.insert(place, sender);
            receiver
        };
        // The sender stays in the row until it sends, so this does not fail.
        waiting.await.unwrap_or_else(|_| ReadPermit { scheduler: Arc::clone(self) })
    }
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        loop {
            let next = {
                let mut row = self.scheduler.row();
                if row.surplus > 0 {
                    row.surplus -= 1;
                    return;
                }
                match row.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        row.free += 1;
                        return;
                    }
                }
            };
            if next.is_closed() {
                continue;
            }
            // Who gives up in this very moment drops the turn, and so gives it on.
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
    fn the_one_who_has_had_least_is_next_whoever_came_first() {
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
    fn a_turn_is_never_lost_with_somebody_who_gives_up() {
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
    fn there_may_be_more_or_fewer_from_one_moment_to_the_next() {
        let scheduler = ReadScheduler::new(2);
        let taken = [scheduler.take(0).now_or_never().unwrap(), scheduler.take(0).now_or_never().unwrap()];
        let mut waits = Box::pin(scheduler.take(0));
        assert!((&mut waits).now_or_never().is_none());
        scheduler.set_count(3);
        let third = waits.now_or_never().unwrap();
        assert!(scheduler.take(0).now_or_never().is_none());
        scheduler.set_count(1);
        drop(taken);
        // Two were too many, and the third is still out.
        assert!(scheduler.take(0).now_or_never().is_none());
        drop(third);
        let only = scheduler.take(0).now_or_never().unwrap();
        assert!(scheduler.take(0).now_or_never().is_none());
        // Asked for fewer and then for more: the sum counts.
        scheduler.set_count(2);
        let _second = scheduler.take(0).now_or_never().unwrap();
        scheduler.set_count(1);
        scheduler.set_count(2);
        drop(only);
        assert!(scheduler.take(0).now_or_never().is_some());
        assert_eq!(scheduler.count(), 2);
    }

    #[test]
    fn there_are_as_many_turns_as_were_given() {
        let scheduler = ReadScheduler::new(2);
        let (_a, b) = (scheduler.take(0).now_or_never().unwrap(), scheduler.take(0).now_or_never().unwrap());
        assert!(scheduler.take(0).now_or_never().is_none());
        drop(b);
        assert!(scheduler.take(0).now_or_never().is_some());
    }
}
