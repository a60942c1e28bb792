//! The watchdog: whether the queue makes progress. While it does, systemd is pinged; when the pings stop, systemd
//! restarts the daemon, which loses nothing. Pure.
//!
//! It has no timer of its own: the run loop sends each ping itself, so a blocked loop sends none. A session of 200 GB
//! may take hours; bytes read are progress.

use std::time::{Duration, Instant};

/// Pings per watchdog interval; one ping may be late.
const PINGS: u32 = 3;
/// How long a session may be due without being started. The loop normally starts it in the same turn.
const NOT_STARTED: Duration = Duration::from_secs(30);

/// The progress of the queue at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProgressSample {
    /// Counters whose every change is progress: bytes and files read, requests answered, attempts begun and ended.
    pub(crate) done: [u64; 4],
    /// Sessions or queries are running.
    pub(crate) has_running_tasks: bool,
    /// Something should have started in this turn of the loop and has not.
    pub(crate) due_but_not_started: bool,
}

/// Why the queue makes no progress, so that no ping is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// Running tasks make no progress.
    NoProgress,
    /// What is due has not started.
    NotStarted,
}

impl Stuck {
    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoProgress => "running work makes no progress; a disk or network drive may hang",
            Self::NotStarted => "due work does not start",
        }
    }
}

/// Decides when a ping is sent.
#[derive(Debug)]
pub(crate) struct ProgressWatchdog {
    every: Duration,
    next: Instant,
    done: [u64; 4],
    progress_at: Instant,
    not_started_since: Option<Instant>,
}

impl ProgressWatchdog {
    /// `within`: the watchdog interval.
    pub(crate) fn new(within: Duration, now: Instant) -> Self {
        Self { every: within / PINGS, next: now, done: [0; 4], progress_at: now, not_started_since: None }
    }

    /// When the queue is checked next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Checks the queue. `patience`: the longest step without visible progress. `Ok`: a ping is due.
    pub(crate) fn check(
        &mut self,
        sample: ProgressSample,
        patience: Duration,
        now: Instant,
    ) -> Result<(), Stuck> {
        self.next = now + self.every;
        if sample.done != self.done || !sample.has_running_tasks {
            (self.done, self.progress_at) = (sample.done, now);
        }
        if sample.due_but_not_started {
            self.not_started_since.get_or_insert(now);
        } else {
            self.not_started_since = None;
        }
        if self.not_started_since.is_some_and(|since| now.saturating_duration_since(since) >= NOT_STARTED) {
            return Err(Stuck::NotStarted);
        }
        if now.saturating_duration_since(self.progress_at) >= patience {
            return Err(Stuck::NoProgress);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(15 * 60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn watchdog(now: Instant) -> ProgressWatchdog {
        ProgressWatchdog::new(2 * MINUTE, now)
    }

    /// Runs each check when it is due, for this long; returns the time until the first check without a ping, if any.
    fn stuck_after(
        watchdog: &mut ProgressWatchdog,
        length: Duration,
        sample: impl Fn(u64) -> ProgressSample,
    ) -> Option<Duration> {
        let start = watchdog.next();
        loop {
            let now = watchdog.next();
            let passed = now - start;
            if passed > length {
                return None;
            }
            if watchdog.check(sample(passed.as_secs()), PATIENCE, now).is_err() {
                return Some(passed);
            }
        }
    }

    #[test]
    fn pings_come_three_times_within_the_time_that_systemd_allows() {
        let now = Instant::now();
        let mut watchdog = watchdog(now);
        assert_eq!(watchdog.next(), now);
        assert_eq!(watchdog.check(ProgressSample::default(), PATIENCE, now), Ok(()));
        assert_eq!(watchdog.next(), now + 2 * MINUTE / 3);
    }

    #[test]
    fn an_idle_queue_is_healthy_forever() {
        let mut watchdog = watchdog(Instant::now());
        assert_eq!(stuck_after(&mut watchdog, 100 * HOUR, |_| ProgressSample::default()), None);
    }

    #[test]
    fn ten_hours_of_reading_are_healthy_while_bytes_advance() {
        let mut watchdog = watchdog(Instant::now());
        let reading = |seconds| ProgressSample {
            done: [0, seconds * 5_000_000, 0, 1],
            has_running_tasks: true,
            ..ProgressSample::default()
        };
        assert_eq!(stuck_after(&mut watchdog, 10 * HOUR, reading), None);
    }

    #[test]
    fn work_without_progress_stops_the_pings_and_progress_brings_them_back() {
        let mut watchdog = watchdog(Instant::now());
        let hung = |seconds: u64| ProgressSample {
            done: [seconds.min(600), 0, 0, 0],
            has_running_tasks: true,
            due_but_not_started: false,
        };
        let stopped = stuck_after(&mut watchdog, HOUR, hung).unwrap();
        assert!(stopped >= 25 * MINUTE && stopped <= 27 * MINUTE, "{stopped:?}");
        let now = watchdog.next();
        assert_eq!(watchdog.check(hung(600), PATIENCE, now), Err(Stuck::NoProgress));
        assert_eq!(watchdog.check(ProgressSample { done: [601, 0, 0, 0], ..hung(0) }, PATIENCE, now), Ok(()));
    }

    #[test]
    fn a_session_that_is_due_and_is_not_started_stops_the_pings_at_once() {
        let mut watchdog = watchdog(Instant::now());
        // Others make progress in the meantime.
        let not_started = |seconds| ProgressSample {
            done: [seconds, 0, 0, 0],
            has_running_tasks: true,
            due_but_not_started: true,
        };
        assert_eq!(stuck_after(&mut watchdog, HOUR, not_started), Some(40 * Duration::from_secs(1)));
        let now = watchdog.next();
        assert_eq!(watchdog.check(not_started(1), PATIENCE, now), Err(Stuck::NotStarted));
        assert_eq!(
            watchdog.check(ProgressSample { due_but_not_started: false, ..not_started(2) }, PATIENCE, now),
            Ok(())
        );
    }

    #[test]
    fn a_machine_that_slept_does_not_count_as_stuck() {
        let start = Instant::now();
        let mut watchdog = watchdog(start);
        assert_eq!(
            watchdog.check(
                ProgressSample { has_running_tasks: false, ..ProgressSample::default() },
                PATIENCE,
                start
            ),
            Ok(())
        );
        let later = start + HOUR;
        // Started in this turn: its counter has changed.
        let begun =
            ProgressSample { done: [0, 0, 0, 1], has_running_tasks: true, due_but_not_started: false };
        assert_eq!(watchdog.check(begun, PATIENCE, later), Ok(()));
    }
}
