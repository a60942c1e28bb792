//! The pace of looks: a limited number of `stat` calls a second, in all data roots together.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The limit on calls, which all looks share.
#[derive(Debug)]
pub struct StatRate {
    apart: Duration,
    /// When the next call may begin.
    next: Mutex<Option<Instant>>,
}

impl StatRate {
    /// At least one call a second.
    pub fn new(per_second: u32) -> Self {
        Self { apart: Duration::from_secs(1) / per_second.max(1), next: Mutex::default() }
    }

    /// Plans one call, and returns how long it has to wait. Pure.
    fn acquire(&self, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |next| next.max(now));
        *next = Some(at + self.apart);
        at.saturating_duration_since(now)
    }
}

/// The pace of one look, which another task can stop.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The shared limit.
    pub rate: Arc<StatRate>,
    /// Ends the look before its next call.
    pub stop: CancellationToken,
}

impl Pace {
    /// Waits until the next call may begin; `false`: the look is to stop. Blocks: for a thread that may.
    pub(crate) fn wait(&self, runtime: &Handle) -> bool {
        let wait = self.rate.acquire(Instant::now());
        if !wait.is_zero() {
            runtime.block_on(async {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            });
        }
        !self.stop.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_as_far_apart_as_the_limit_and_idle_time_is_not_saved_up() {
        let rate = StatRate::new(200);
        let (now, apart) = (Instant::now(), Duration::from_millis(5));
        assert_eq!((0..4).map(|_| rate.acquire(now)).collect::<Vec<_>>(), [0, 1, 2, 3].map(|n| n * apart));
        let later = now + Duration::from_secs(60);
        assert_eq!([rate.acquire(later), rate.acquire(later)], [Duration::ZERO, apart]);
    }
}
