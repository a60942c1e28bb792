//! The watchdog: whether the queue makes progress. While it does, systemd gets a sign of life now and then; when the
//! signs stop, systemd starts the daemon anew, which loses nothing. Pure.
//!
//! It is no clock of its own: the one loop that owns the queue gives each sign itself, so a loop that is blocked gives
//! none. A session of 200 GB may take hours; its bytes are progress.

use std::time::{Duration, Instant};

/// So often within systemd's time is a sign given: one may be late.
const SIGNS: u32 = 3;
/// How long a session may be due, and free to start, without being started. The loop starts it in the same turn.
const NOT_STARTED: Duration = Duration::from_secs(30);

/// What the loop sees of its queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProgressSample {
    /// Another value than before: something has got on. Files and bytes read, requests answered, attempts begun and
    /// ended.
    pub(crate) done: [u64; 4],
    /// Something has been begun that has to end: sessions, questions to Alyx.
    pub(crate) under_way: bool,
    /// Something should have been begun in this very turn and was not.
    pub(crate) due_but_not_started: bool,
}

/// Why the queue makes no progress, so that no sign of life is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// What is under way does not get on.
    NothingGetsOn,
    /// What is due is not begun.
    NotStarted,
}

impl Stuck {
    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NothingGetsOn => "what is under way does not get on; a disk or network drive may hang",
            Self::NotStarted => "what is due is not begun",
        }
    }
}

/// The signs of life.
#[derive(Debug)]
pub(crate) struct ProgressWatchdog {
    every: Duration,
    next: Instant,
    done: [u64; 4],
    progress_at: Instant,
    not_started_since: Option<Instant>,
}

impl ProgressWatchdog {
    /// `within`: somebody wants a sign within this time.
    pub(crate) fn new(within: Duration, now: Instant) -> Self {
        Self { every: within / SIGNS, next: now, done: [0; 4], progress_at: now, not_started_since: None }
    }

    /// When the queue is on_credentials_checked at next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks at the queue. `patience`: as long as the longest step that shows nothing. `Ok`: a sign of life is to be
    /// given.
    pub(crate) fn look(
        &mut self,
        sight: ProgressSample,
        patience: Duration,
        now: Instant,
    ) -> Result<(), Stuck> {
        self.next = now + self.every;
        if sight.done != self.done || !sight.under_way {
            (self.done, self.progress_at) = (sight.done, now);
        }
        if sight.due_but_not_started {
            self.not_started_since.get_or_insert(now);
        } else {
            self.not_started_since = None;
        }
        if self.not_started_since.is_some_and(|since| now.saturating_duration_since(since) >= NOT_STARTED) {
            return Err(Stuck::NotStarted);
        }
        if now.saturating_duration_since(self.progress_at) >= patience {
            return Err(Stuck::NothingGetsOn);
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

    /// Looks whenever it is time to, for so long; how long it took until there was no sign, if ever.
    fn stuck_after(
        watchdog: &mut ProgressWatchdog,
        length: Duration,
        sight: impl Fn(u64) -> ProgressSample,
    ) -> Option<Duration> {
        let start = watchdog.next();
        loop {
            let now = watchdog.next();
            let passed = now - start;
            if passed > length {
                return None;
            }
            if watchdog.look(sight(passed.as_secs()), PATIENCE, now).is_err() {
                return Some(passed);
            }
        }
    }

    #[test]
    fn signs_come_three_times_within_the_time_that_systemd_allows() {
        let now = Instant::now();
        let mut watchdog = watchdog(now);
        assert_eq!(watchdog.next(), now);
        assert_eq!(watchdog.look(ProgressSample::default(), PATIENCE, now), Ok(()));
        assert_eq!(watchdog.next(), now + 2 * MINUTE / 3);
    }

    #[test]
    fn a_queue_with_nothing_to_do_is_well_for_ever() {
        let mut watchdog = watchdog(Instant::now());
        assert_eq!(stuck_after(&mut watchdog, 100 * HOUR, |_| ProgressSample::default()), None);
    }

    #[test]
    fn ten_hours_of_reading_are_well_as_long_as_bytes_advance() {
        let mut watchdog = watchdog(Instant::now());
        let reading = |seconds| ProgressSample {
            done: [0, seconds * 5_000_000, 0, 1],
            under_way: true,
            ..ProgressSample::default()
        };
        assert_eq!(stuck_after(&mut watchdog, 10 * HOUR, reading), None);
    }

    #[test]
    fn work_that_does_not_get_on_stops_the_signs_and_progress_brings_them_back() {
        let mut watchdog = watchdog(Instant::now());
        let hung = |seconds: u64| ProgressSample {
            done: [seconds.min(600), 0, 0, 0],
            under_way: true,
            due_but_not_started: false,
        };
        let stopped = stuck_after(&mut watchdog, HOUR, hung).unwrap();
        assert!(stopped >= 25 * MINUTE && stopped <= 27 * MINUTE, "{stopped:?}");
        let now = watchdog.next();
        assert_eq!(watchdog.look(hung(600), PATIENCE, now), Err(Stuck::NothingGetsOn));
        assert_eq!(watchdog.look(ProgressSample { done: [601, 0, 0, 0], ..hung(0) }, PATIENCE, now), Ok(()));
    }

    #[test]
    fn a_session_that_is_due_and_is_not_started_stops_the_signs_at_once() {
        let mut watchdog = watchdog(Instant::now());
        // Others get on meanwhile.
        let lying =
            |seconds| ProgressSample { done: [seconds, 0, 0, 0], under_way: true, due_but_not_started: true };
        assert_eq!(stuck_after(&mut watchdog, HOUR, lying), Some(40 * Duration::from_secs(1)));
        let now = watchdog.next();
        assert_eq!(watchdog.look(lying(1), PATIENCE, now), Err(Stuck::NotStarted));
        assert_eq!(
            watchdog.look(ProgressSample { due_but_not_started: false, ..lying(2) }, PATIENCE, now),
            Ok(())
        );
    }

    #[test]
    fn a_machine_that_slept_does_not_count_as_stuck_before_the_work_had_a_chance() {
        let start = Instant::now();
        let mut watchdog = watchdog(start);
        assert_eq!(
            watchdog.look(ProgressSample { under_way: false, ..ProgressSample::default() }, PATIENCE, start),
            Ok(())
        );
        let later = start + HOUR;
        // Begun in this turn: its number is another one.
        let begun = ProgressSample { done: [0, 0, 0, 1], under_way: true, due_but_not_started: false };
        assert_eq!(watchdog.look(begun, PATIENCE, later), Ok(()));
    }
}
