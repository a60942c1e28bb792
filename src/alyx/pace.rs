//! The pace: how many requests a client makes within any minute, at most. Pure.
//!
//! Alyx counts the requests of a user, and the rig's own software is the same user: whoever takes all of them
//! stops the experiment that runs meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The times of the last requests, as many as a minute may have.
#[derive(Debug)]
pub(super) struct Pace {
    a_minute: usize,
    last: VecDeque<Instant>,
}

impl Pace {
    /// No request has been made yet.
    pub(super) fn new(a_minute: u32) -> Self {
        Self { a_minute: (a_minute as usize).max(1), last: VecDeque::new() }
    }

    /// Plans one request, and says when it may be made. Those who have to wait are in a row, each with its time.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let time = match self.last.front() {
            Some(oldest) if self.last.len() >= self.a_minute => now.max(*oldest + MINUTE),
            _ => now,
        };
        if self.last.len() >= self.a_minute {
            self.last.pop_front();
        }
        self.last.push_back(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_next_request_waits_for_its_minute() {
        let start = Instant::now();
        let mut pace = Pace::new(60);
        assert!((0..60).all(|_| pace.take(start) == start));
        assert_eq!(pace.take(start), start + MINUTE);
        assert_eq!(pace.take(start + Duration::from_secs(30)), start + MINUTE);
        assert_eq!(pace.take(start + Duration::from_secs(90)), start + Duration::from_secs(90));
    }

    #[test]
    fn no_minute_of_an_hour_has_more_requests_than_allowed() {
        let start = Instant::now();
        let mut pace = Pace::new(300);
        let mut made = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(3600) {
            now = pace.take(now + Duration::from_millis(50));
            made.push(now);
        }
        assert!(made.windows(301).all(|w| w[300] - w[0] >= MINUTE));
        assert!(made.len() > 300 * 55, "{}", made.len());
    }
}
