//! Back-off: how long to wait after a failure, as pure arithmetic.
//!
//! There is no clock and no random generator: the caller passes the number of failures and a random number, so a test
//! plays a week of outage in a microsecond. The client waits seconds with it, the queue minutes and hours.

use std::time::Duration;

/// Waiting times that grow by a factor up to a limit, with jitter.
///
/// After the n-th failure the full time is `initial * factor^(n - 1)`, at most `max`. The delay lies between half
/// of the full time and the full time; `random` chooses where. So ten rigs that lost one server in the same second
/// do not all return in the same second.
///
/// Invariants: `initial` is not zero, which would retry in a hot loop; `factor` is finite and at least 1; `max` is
/// at least `initial`.
///
/// ```
/// use alyx_client::backoff::Backoff;
/// use std::time::Duration;
///
/// let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
/// let backoff = Backoff::try_new(minute, 2.0, hour).unwrap();
/// assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(30));
/// assert_eq!(backoff.delay(2, 0.5), Duration::from_secs(90));
/// assert_eq!(backoff.delay(99, 0.5), Duration::from_secs(2700));
///
/// for refused in [0.5, -1.0, f64::NAN, f64::INFINITY] {
///     assert!(Backoff::try_new(minute, refused, hour).is_err());
/// }
/// assert!(Backoff::try_new(hour, 2.0, minute).is_err());
/// assert!(Backoff::try_new(Duration::ZERO, 2.0, minute).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    initial: Duration,
    factor: f64,
    max: Duration,
}

/// Why numbers make no back-off.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The first delay is zero.
    #[error("the first delay must not be zero")]
    ZeroInitial,
    /// The factor is below 1, infinite, or not a number.
    #[error("the factor must be a number of at least 1, not {0}")]
    Factor(f64),
    /// The limit is shorter than the first delay.
    #[error("the longest delay ({max:?}) must not be shorter than the first ({initial:?})")]
    MaxBelowInitial {
        /// The first delay.
        initial: Duration,
        /// The longest delay.
        max: Duration,
    },
}

impl Backoff {
    /// `initial` is the full waiting time after the first failure, `factor` multiplies it at each further failure,
    /// `max` is the longest full waiting time.
    ///
    /// # Errors
    /// [`InvalidBackoff`] says which number is wrong.
    pub const fn try_new(initial: Duration, factor: f64, max: Duration) -> Result<Self, InvalidBackoff> {
        if initial.is_zero() {
            return Err(InvalidBackoff::ZeroInitial);
        }
        if !factor.is_finite() || factor < 1.0 {
            return Err(InvalidBackoff::Factor(factor));
        }
        if max.as_nanos() < initial.as_nanos() {
            return Err(InvalidBackoff::MaxBelowInitial { initial, max });
        }
        Ok(Self { initial, factor, max })
    }

    /// [`Backoff::try_new`] for a `const`, where bad numbers do not compile.
    ///
    /// # Panics
    /// If a number is wrong.
    pub const fn constant(initial: Duration, factor: f64, max: Duration) -> Self {
        match Self::try_new(initial, factor, max) {
            Ok(backoff) => backoff,
            Err(_) => panic!("the numbers of a back-off are wrong"),
        }
    }

    /// The longest full waiting time.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The waiting time after `failures` failures in a row, without jitter. 0 counts as 1.
    pub fn full(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // A product that is too large for a Duration, or infinite, is beyond the limit.
        Duration::try_from_secs_f64(seconds).map_or(self.max, |full| full.min(self.max))
    }

    /// The waiting time after `failures` failures in a row. `random` is clamped to 0..=1; NaN counts as 0.
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

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_factor_that_would_shorten_the_delay_is_refused() {
        for factor in [0.999, 0.0, -2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Backoff::try_new(MINUTE, factor, MINUTE).unwrap_err();
            assert!(matches!(error, InvalidBackoff::Factor(_)), "{factor}: {error}");
        }
        assert!(Backoff::try_new(MINUTE, 1.0, MINUTE).is_ok());
    }

    #[test]
    fn a_first_delay_of_zero_or_beyond_the_longest_is_refused() {
        assert_eq!(Backoff::try_new(Duration::ZERO, 2.0, MINUTE), Err(InvalidBackoff::ZeroInitial));
        let error = Backoff::try_new(2 * MINUTE, 2.0, MINUTE).unwrap_err();
        assert_eq!(error, InvalidBackoff::MaxBelowInitial { initial: 2 * MINUTE, max: MINUTE });
    }

    #[test]
    fn a_week_of_outage_asks_a_few_times_an_hour_at_most() {
        let backoff = Backoff::try_new(MINUTE / 2, 2.0, 60 * MINUTE).unwrap();
        let week = Duration::from_secs(7 * 24 * 3600);
        let (mut waited, mut failures) = (Duration::ZERO, 0);
        while waited < week {
            failures += 1;
            waited += backoff.delay(failures, 0.0);
        }
        assert!((168..400).contains(&failures), "{failures}");
    }

    proptest! {
        #[test]
        fn no_accepted_number_panics_and_no_delay_is_out_of_bounds(
            initial: Duration, max: Duration, factor: f64, failures: u32, random: f64
        ) {
            let Ok(backoff) = Backoff::try_new(initial.min(max), factor.abs() + 1.0, max) else {
                return Ok(());
            };
            let (full, delay) = (backoff.full(failures), backoff.delay(failures, random));
            prop_assert!(full <= max);
            prop_assert!(delay <= full && delay >= full / 2);
        }

        #[test]
        fn more_failures_never_wait_less(
            initial in 1u64..100_000, longer in 0u64..1_000_000, factor in 1.0f64..10.0, failures in 1u32..1000
        ) {
            let (initial, longer) = (Duration::from_millis(initial), Duration::from_millis(longer));
            let backoff = Backoff::try_new(initial, factor, initial + longer).unwrap();
            prop_assert!(backoff.full(failures + 1) >= backoff.full(failures));
        }
    }
}
