//! An outage: the time in which Alyx does not answer, told once at its start and once at its end. Pure.

use std::time::{Duration, Instant};

use alyx_client::backoff::Backoff;

/// How many failures in a row that may be the server's make an outage.
const FAILURES: u32 = 3;

/// Whether Alyx answers.
#[derive(Debug)]
pub struct Outage {
    backoff: Backoff,
    failures: u32,
    since: Option<Instant>,
}

/// What a failure meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be this request's alone.
    NotYet,
    /// So many in a row that it may be the server: somebody asks it before everything waits.
    Suspected,
    /// The outage begins: everything waits, and somebody asks again at this time.
    Begins(Instant),
    /// The outage goes on: somebody asks again at this time.
    Continues(Instant),
}

impl Outage {
    /// No outage. `backoff` spaces the questions whether the server is back.
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, since: None }
    }

    /// Whether there is an outage.
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// A request failed in a way that may be the whole server's. `certain`: it is, because no connection could be
    /// made at all, or because the request asked for nothing but an answer. `after`: what the server asked for in `Retry-After`.
    pub fn failed(&mut self, now: Instant, certain: bool, after: Option<Duration>, random: f64) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        if !certain && self.since.is_none() {
            return if self.failures < FAILURES { Verdict::NotYet } else { Verdict::Suspected };
        }
        let again = now + self.backoff.delay(self.failures, random).max(after.unwrap_or_default());
        match self.since {
            Some(_) => Verdict::Continues(again),
            None => {
                self.since = Some(now);
                Verdict::Begins(again)
            }
        }
    }

    /// A request was answered. Says how long the outage was, if there was one.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.since.take().map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Outage {
        Outage::new(Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60) })
    }

    #[test]
    fn a_refused_connection_is_an_outage_at_once_and_one_bad_answer_is_not() {
        let now = Instant::now();
        assert!(matches!(outage().failed(now, true, None, 0.5), Verdict::Begins(_)));
        let mut outage = outage();
        assert_eq!(outage.failed(now, false, None, 0.5), Verdict::NotYet);
        assert_eq!(outage.failed(now, false, None, 0.5), Verdict::NotYet);
        // Three strange answers are a reason to ask, and what was asked then is certain.
        assert_eq!(outage.failed(now, false, None, 0.5), Verdict::Suspected);
        assert!(matches!(outage.failed(now, true, None, 0.5), Verdict::Begins(_)));
    }

    #[test]
    fn a_week_of_outage_begins_once_and_ends_once() {
        let start = Instant::now();
        let (mut outage, mut now, mut begun) = (outage(), start, 0);
        while now < start + Duration::from_secs(7 * 86_400) {
            now = match outage.failed(now, true, None, 0.5) {
                Verdict::Begins(again) => {
                    begun += 1;
                    again
                }
                Verdict::Continues(again) => again,
                other => panic!("an outage went away by itself: {other:?}"),
            };
        }
        assert_eq!(begun, 1);
        assert!(outage.answered(now).is_some_and(|length| length >= Duration::from_secs(7 * 86_400)));
        assert_eq!(outage.answered(now), None);
    }

    #[test]
    fn an_answer_in_between_starts_the_count_anew() {
        let (mut outage, now) = (outage(), Instant::now());
        for _ in 0..10 {
            assert_eq!(outage.failed(now, false, None, 0.5), Verdict::NotYet);
            assert_eq!(outage.answered(now), None);
        }
    }

    #[test]
    fn the_server_is_not_asked_before_the_time_it_named() {
        let (mut outage, now) = (outage(), Instant::now());
        let Verdict::Begins(again) = outage.failed(now, true, Some(Duration::from_secs(600)), 0.5) else {
            panic!("no outage")
        };
        assert!(again >= now + Duration::from_secs(600));
    }
}
