//! The rate limit: how many requests a client sends within any minute, at most. Pure.
//!
//! Alyx limits the requests of each user, and the rig's own software is often the same user: using up the limit here
//! would stop a running experiment.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The times of the requests of the last minute, and of those that are planned.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_minute: usize,
    times: VecDeque<Instant>,
}

impl RateLimiter {
    /// A limit of at least one request per minute.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute: (per_minute as usize).max(1), times: VecDeque::new() }
    }

    /// Changes the limit. Requests already sent or planned still count.
    pub(crate) fn set(&mut self, per_minute: u32) {
        self.per_minute = (per_minute as usize).max(1);
    }

    /// Plans one request and returns when it may be sent. Waiting requests are first in, first out.
    pub(crate) fn acquire(&mut self, now: Instant) -> Instant {
        while self.times.front().is_some_and(|oldest| *oldest + MINUTE <= now) {
            self.times.pop_front();
        }
        let before = self.times.len().checked_sub(self.per_minute).and_then(|nth| self.times.get(nth));
        let in_order = self.times.back().map_or(now, |last| now.max(*last));
        let time = before.map_or(in_order, |before| in_order.max(*before + MINUTE));
        self.times.push_back(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_next_request_waits_for_its_minute() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(60);
        assert!((0..60).all(|_| limiter.acquire(start) == start));
        assert_eq!(limiter.acquire(start), start + MINUTE);
        assert_eq!(limiter.acquire(start + Duration::from_secs(30)), start + MINUTE);
        assert_eq!(limiter.acquire(start + Duration::from_secs(90)), start + Duration::from_secs(90));
    }

    #[test]
    fn a_changed_limit_counts_the_requests_already_sent() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(60);
        assert!((0..30).all(|_| limiter.acquire(start) == start));
        limiter.set(10);
        assert_eq!(limiter.acquire(start), start + MINUTE);
        limiter.set(12);
        assert_eq!(limiter.acquire(start), start + MINUTE);
        // Above the number sent: free again, but not before the requests that already wait.
        limiter.set(100);
        assert_eq!(limiter.acquire(start), start + MINUTE);
        assert_eq!(limiter.acquire(start + 3 * MINUTE), start + 3 * MINUTE);
    }

    #[test]
    fn no_minute_of_an_hour_exceeds_the_limit() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(300);
        let mut made = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(3600) {
            now = limiter.acquire(now + Duration::from_millis(50));
            made.push(now);
        }
        assert!(made.windows(301).all(|w| w[300] - w[0] >= MINUTE));
        assert!(made.len() > 300 * 55, "{}", made.len());
    }
}
