//! The plan of looks: when a registered session is looked at again. Pure.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How much later than planned a look may be, as a part of the wait: the sessions of a backlog, which are registered
/// together, are not looked at together.
const SPREAD: f64 = 0.25;

/// After which times a registered session is looked at again; none: never.
///
/// ```
/// use std::time::Duration;
/// use alyx_registration::LookPlan;
///
/// let day = Duration::from_secs(24 * 3600);
/// assert_eq!(LookPlan::within(7 * day).len(), 6);
/// assert_eq!(LookPlan::within(Duration::ZERO).len(), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookPlan(Vec<Duration>);

impl LookPlan {
    /// The looks of this time after the registration: after 10 minutes, 1 and 6 hours, 1 and 3 days, and at its end.
    pub fn within(time: Duration) -> Self {
        let usual = [10 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR, 72 * HOUR];
        let end = (!time.is_zero()).then_some(time);
        Self(usual.into_iter().filter(|after| *after < time).chain(end).collect())
    }

    /// How many looks there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the look after `done` others is the last one, at which every file counts.
    pub fn is_last(&self, done: usize) -> bool {
        done + 1 >= self.0.len()
    }

    /// How long after the registration, or after the look before, the look after `done` others is due. `None`: there is
    /// none. Never a time of day: whatever becomes of the clock, looks neither come all at once nor never.
    ///
    /// `random`: from 0 to 1.
    pub fn wait(&self, done: usize, random: f64) -> Option<Duration> {
        let before = done.checked_sub(1).and_then(|last| self.0.get(last)).copied().unwrap_or_default();
        let wait = self.0.get(done)?.saturating_sub(before);
        Some(wait + wait.mul_f64(SPREAD * random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_of_looks_adds_up_to_a_week_and_a_shorter_time_ends_with_its_last_look() {
        let waits =
            |plan: &LookPlan| -> Vec<Duration> { (0..).map_while(|done| plan.wait(done, 0.0)).collect() };
        let week = LookPlan::within(7 * 24 * HOUR);
        assert_eq!(waits(&week), [10 * MINUTE, 50 * MINUTE, 5 * HOUR, 18 * HOUR, 48 * HOUR, 96 * HOUR]);
        assert!(week.is_last(5) && !week.is_last(4));
        assert_eq!(waits(&LookPlan::within(2 * HOUR)), [10 * MINUTE, 50 * MINUTE, HOUR]);
        assert_eq!(waits(&LookPlan::within(MINUTE)), [MINUTE]);
        assert_eq!(week.wait(0, 1.0), Some(10 * MINUTE + 150 * Duration::from_secs(1)));
        // A shorter plan after a reload: there is no look any more.
        assert_eq!(LookPlan::within(MINUTE).wait(3, 0.5), None);
    }
}
