//! Back-off: how long to wait after a failure, as pure arithmetic.
//!
//! No clock and no random generator: the caller passes the number of failures and a random number, and a week of
//! outage is tested in a microsecond. The client waits seconds with it, the queue minutes and hours.

use std::time::Duration;

/// Waiting times that grow by a factor up to a limit, with jitter.
///
/// After the n-th failure the full time is `initial * factor^(n - 1)`, at most `max`. The delay lies between half
/// of the full time and the full time: `random` chooses where. So ten rigs that lost one server at the same second
/// do not all come back at the same second, and nobody waits less than half.
///
/// ```
/// use alyx_client::backoff::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff { initial: Duration::from_secs(60), factor: 2.0, max: Duration::from_secs(3600) };
/// assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(30));
/// assert_eq!(backoff.delay(2, 0.5), Duration::from_secs(90));
/// assert_eq!(backoff.delay(99, 0.5), Duration::from_secs(2700));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Full waiting time after the first failure.
    pub initial: Duration,
    /// What each further failure multiplies it by. Below 1, or not a number, counts as 1.
    pub factor: f64,
    /// The longest full waiting time.
    pub max: Duration,
}

impl Backoff {
    /// The waiting time after `failures` failures in a row, without jitter. 0 counts as 1.
    pub fn full(&self, failures: u32) -> Duration {
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        // An infinite product, or 0 times infinity, is no Duration: the limit is the answer then.
        match Duration::try_from_secs_f64(self.initial.as_secs_f64() * factor.powi(exponent)) {
            Ok(_) if self.initial.is_zero() => Duration::ZERO,
            Ok(full) => full.min(self.max),
            Err(_) if self.initial.is_zero() => Duration::ZERO,
            Err(_) => self.max,
        }
    }

    /// The waiting time after `failures` failures in a row. `random` is a number from 0 to below 1; what lies
    /// outside is clamped, and what is not a number counts as 0.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let full = self.full(failures);
        let share = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        let half = full / 2;
        (half + half.mul_f64(share)).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_week_of_outage_asks_a_few_times_an_hour_at_most() {
        let backoff =
            Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(3600) };
        let week = Duration::from_secs(7 * 24 * 3600);
        let (mut waited, mut failures) = (Duration::ZERO, 0);
        while waited < week {
            failures += 1;
            waited += backoff.delay(failures, 0.0);
        }
        assert!((168..400).contains(&failures), "{failures}");
    }

    #[test]
    fn a_time_of_zero_stays_zero() {
        let backoff = Backoff { initial: Duration::ZERO, factor: f64::INFINITY, max: Duration::MAX };
        assert_eq!(backoff.delay(u32::MAX, 0.9), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_no_delay_is_out_of_bounds(
            initial: Duration, max: Duration, factor: f64, failures: u32, random: f64
        ) {
            let backoff = Backoff { initial, factor, max };
            let (full, delay) = (backoff.full(failures), backoff.delay(failures, random));
            prop_assert!(full <= max);
            prop_assert!(delay <= full && delay >= full / 2);
        }

        #[test]
        fn more_failures_never_wait_less(
            initial in 1u64..100_000, max in 1u64..1_000_000, factor in 1.0f64..10.0, failures in 1u32..1000
        ) {
            let backoff =
                Backoff { initial: Duration::from_millis(initial), factor, max: Duration::from_millis(max) };
            prop_assert!(backoff.full(failures + 1) >= backoff.full(failures));
        }
    }
}
