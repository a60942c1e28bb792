//! The watchdog: whether the loop turns and starts what is due. While it does, systemd is pinged; when the pings stop,
//! systemd restarts the daemon, which loses nothing. Pure.
//!
//! It has no timer of its own: the run loop sends each ping itself, so a blocked loop sends none. Running work does not
//! count: a disk that hangs is reported, and a restart would end the sessions of all other disks.

use std::time::{Duration, Instant};

/// Pings per watchdog interval; one ping may be late.
const PINGS: u32 = 3;
/// How long a session may be due without being started. The loop normally starts it in the same turn.
const NOT_STARTED: Duration = Duration::from_secs(30);

/// Decides when a ping is sent.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Duration,
    next: Instant,
    not_started_since: Option<Instant>,
}

impl Watchdog {
    /// `within`: the watchdog interval.
    pub(crate) fn new(within: Duration, now: Instant) -> Self {
        Self { every: within / PINGS, next: now, not_started_since: None }
    }

    /// When the loop is checked next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Checks the loop. `due_but_not_started`: something should have started in this turn and has not. Returns whether a
    /// ping is due: otherwise the loop is stuck.
    pub(crate) fn check(&mut self, due_but_not_started: bool, now: Instant) -> bool {
        self.next = now + self.every;
        if !due_but_not_started {
            self.not_started_since = None;
            return true;
        }
        let since = *self.not_started_since.get_or_insert(now);
        now.saturating_duration_since(since) < NOT_STARTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pings_come_three_times_within_the_time_that_systemd_allows() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(2 * MINUTE, now);
        assert_eq!(watchdog.next(), now);
        for turn in 0..900 {
            let now = watchdog.next();
            assert!(watchdog.check(false, now), "{turn}");
            assert_eq!(watchdog.next(), now + 2 * MINUTE / 3);
        }
    }

    #[test]
    fn a_session_that_is_due_and_is_not_started_stops_the_pings_at_once() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(2 * MINUTE, start);
        assert!(watchdog.check(true, start));
        assert!(!watchdog.check(true, start + Duration::from_secs(40)));
        assert!(watchdog.check(false, start + Duration::from_secs(80)));
        // It counts from anew.
        assert!(watchdog.check(true, start + Duration::from_secs(120)));
    }

    #[test]
    fn a_machine_that_slept_does_not_count_as_stuck() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(2 * MINUTE, start);
        assert!(watchdog.check(false, start));
        assert!(watchdog.check(true, start + 60 * MINUTE));
    }
}
