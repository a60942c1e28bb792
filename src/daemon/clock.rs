//! Moment: one moment on both clocks. The queue uses the monotonic one; the ledger and people use the wall clock.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) wall: Timestamp,
}

impl Moment {
    pub(crate) fn read() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }

    /// The wall-clock time of another instant.
    pub(crate) fn wall_of(&self, other: Instant) -> Timestamp {
        let (ahead, behind) =
            (other.saturating_duration_since(self.instant), self.instant.saturating_duration_since(other));
        let signed = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
        let moved = if ahead.is_zero() {
            self.wall.checked_sub(signed(behind))
        } else {
            self.wall.checked_add(signed(ahead))
        };
        moved.unwrap_or(self.wall)
    }

    /// The instant of a wall-clock time, at most `longest` from now in case the wall clock has jumped.
    pub(crate) fn instant_of(&self, wall: Timestamp, longest: Duration) -> Instant {
        let wait = Duration::try_from(wall.duration_since(self.wall)).unwrap_or(Duration::ZERO);
        self.instant + wait.min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_and_a_clock_jump_delays_nothing_for_long() {
        let now = Moment { instant: Instant::now(), wall: Timestamp::from_second(1_700_000_000).unwrap() };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let later = now.wall_of(now.instant + minute);
        assert_eq!(later.as_second(), 1_700_000_060);
        assert_eq!(now.wall_of(now.instant - minute).as_second(), 1_699_999_940);
        assert_eq!(now.instant_of(later, hour), now.instant + minute);
        assert_eq!(now.instant_of(Timestamp::from_second(0).unwrap(), hour), now.instant);
        assert_eq!(now.instant_of(Timestamp::from_second(9_000_000_000).unwrap(), hour), now.instant + hour);
    }
}
