//! An outage: the time in which Alyx does not answer. Reported once at its start and once at its end. Pure.

use std::time::{Duration, Instant};

use alyx_client::backoff::Backoff;

/// How many suspicious failures in a row make an outage likely.
const FAILURES: u32 = 3;

/// Whether Alyx answers.
#[derive(Debug)]
pub struct Outage {
    backoff: Backoff,
    failures: u32,
    since: Option<Instant>,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageChange {
    /// Perhaps a failure of this request alone.
    NotYet,
    /// Enough in a row to suspect the server: probe it before everything waits.
    Suspected,
    /// The outage begins: everything waits; probe at this time.
    Begins(Instant),
    /// The outage continues: probe at this time.
    Continues(Instant),
}

impl Outage {
    /// No outage. `backoff` spaces the probes.
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, since: None }
    }

    /// Whether there is an outage.
    pub fn is_active(&self) -> bool {
        self.since.is_some()
    }

    /// A request failed in a way that may affect the whole server. `certain`: it does, because no connection could be
    /// made, or because the request was a probe. `after`: the server's `Retry-After`.
    pub fn failed(
        &mut self,
        now: Instant,
        certain: bool,
        after: Option<Duration>,
        random: f64,
    ) -> OutageChange {
        self.failures = self.failures.saturating_add(1);
        if !certain && self.since.is_none() {
            return if self.failures < FAILURES { OutageChange::NotYet } else { OutageChange::Suspected };
        }
        let again = now + self.backoff.delay(self.failures, random).max(after.unwrap_or_default());
        match self.since {
            Some(_) => OutageChange::Continues(again),
            None => {
                self.since = Some(now);
                OutageChange::Begins(again)
            }
        }
    }

    /// A request was answered. Returns the length of the outage that ended, if any.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.since.take().map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Outage {
        Outage::new(Backoff::constant(Duration::from_secs(5), 2.0, Duration::from_secs(60)))
    }

    #[test]
    fn a_refused_connection_is_an_outage_at_once_and_one_bad_answer_is_not() {
        let now = Instant::now();
        assert!(matches!(outage().failed(now, true, None, 0.5), OutageChange::Begins(_)));
        let mut outage = outage();
        assert_eq!(outage.failed(now, false, None, 0.5), OutageChange::NotYet);
        assert_eq!(outage.failed(now, false, None, 0.5), OutageChange::NotYet);
        // Three suspicious failures call for a probe, whose failure is certain.
        assert_eq!(outage.failed(now, false, None, 0.5), OutageChange::Suspected);
        assert!(matches!(outage.failed(now, true, None, 0.5), OutageChange::Begins(_)));
    }

    #[test]
    fn a_week_of_outage_starts_once_and_ends_once() {
        let start = Instant::now();
        let (mut outage, mut now, mut begun) = (outage(), start, 0);
        while now < start + Duration::from_secs(7 * 86_400) {
            now = match outage.failed(now, true, None, 0.5) {
                OutageChange::Begins(again) => {
                    begun += 1;
                    again
                }
                OutageChange::Continues(again) => again,
                other => panic!("an outage went away by itself: {other:?}"),
            };
        }
        assert_eq!(begun, 1);
        assert!(outage.answered(now).is_some_and(|length| length >= Duration::from_secs(7 * 86_400)));
        assert_eq!(outage.answered(now), None);
    }

    #[test]
    fn an_answer_in_between_resets_the_count() {
        let (mut outage, now) = (outage(), Instant::now());
        for _ in 0..10 {
            assert_eq!(outage.failed(now, false, None, 0.5), OutageChange::NotYet);
            assert_eq!(outage.answered(now), None);
        }
    }

    #[test]
    fn the_server_is_not_probed_before_its_retry_after() {
        let (mut outage, now) = (outage(), Instant::now());
        let OutageChange::Begins(again) = outage.failed(now, true, Some(Duration::from_secs(600)), 0.5)
        else {
            panic!("no outage")
        };
        assert!(again >= now + Duration::from_secs(600));
    }
}
