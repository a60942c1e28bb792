//! The pace: how many requests a minute one client makes at most. Pure.
//!
//! Alyx counts the requests of a user, and the rig's own software is the same user: whoever takes all of them
//! stops the experiment that runs meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that holds one minute's requests and fills up steadily.
#[derive(Debug)]
pub(super) struct Pace {
    a_minute: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(a_minute: u32, now: Instant) -> Self {
        let a_minute = f64::from(a_minute.max(1));
        Self { a_minute, left: a_minute, at: now }
    }

    /// Takes one request out, and says how long to wait before it is made.
    ///
    /// The bucket may go below empty: those who wait are in a row, and each knows its time.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * self.a_minute / 60.0;
        self.left = (self.left + filled).min(self.a_minute) - 1.0;
        self.at = now;
        if self.left >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.left * 60.0 / self.a_minute)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_keeps_the_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(60, start);
        assert!((0..60).all(|_| pace.take(start).is_zero()));
        assert_eq!(pace.take(start), Duration::from_secs(1));
        assert_eq!(pace.take(start), Duration::from_secs(2));
    }

    #[test]
    fn no_hour_has_more_requests_than_allowed() {
        let start = Instant::now();
        let mut pace = Pace::new(300, start);
        let (mut now, mut made) = (start, 0);
        while now < start + Duration::from_secs(3600) {
            let wait = pace.take(now);
            now += wait;
            made += 1;
        }
        assert!((300 * 60..=300 * 61 + 1).contains(&made), "{made}");
    }

    #[test]
    fn a_long_rest_saves_one_minute_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(60, start);
        let later = start + Duration::from_secs(86_400);
        assert_eq!((0..100).filter(|_| pace.take(later).is_zero()).count(), 60);
    }
}
