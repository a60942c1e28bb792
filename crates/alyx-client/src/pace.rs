//! The pace: how many requests a client makes within any minute, at most. Pure.
//!
//! Alyx counts the requests of a user, and the rig's own software is the same user: whoever takes all of them
//! stops the experiment that runs meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The times of the requests of the last minute, and of those that are planned.
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

    /// Another number from now on. What was made before counts.
    pub(super) fn set(&mut self, a_minute: u32) {
        self.a_minute = (a_minute as usize).max(1);
    }

    /// Plans one request, and says when it may be made. Those who have to wait are in a row, each with its time.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        while self.last.front().is_some_and(|oldest| *oldest + MINUTE <= now) {
            self.last.pop_front();
        }
        let before = self.last.len().checked_sub(self.a_minute).and_then(|nth| self.last.get(nth));
        let in_row = self.last.back().map_or(now, |last| now.max(*last));
        let time = before.map_or(in_row, |before| in_row.max(*before + MINUTE));
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
    fn another_number_counts_from_the_next_request_on_and_what_was_made_counts_too() {
        let start = Instant::now();
        let mut pace = Pace::new(60);
        assert!((0..30).all(|_| pace.take(start) == start));
        pace.set(10);
        assert_eq!(pace.take(start), start + MINUTE);
        pace.set(12);
        assert_eq!(pace.take(start), start + MINUTE);
        // More than were made: free again, but not before those who are in the row already.
        pace.set(100);
        assert_eq!(pace.take(start), start + MINUTE);
        assert_eq!(pace.take(start + 3 * MINUTE), start + 3 * MINUTE);
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
