//! When a request is sent once more: a pure decision over what came of the last time.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::reply::Reply;

/// How patient the client is with one request. Seconds, not minutes: longer waits belong to the queue.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How often a request is sent at most.
    pub attempts: u32,
    /// Waits between two attempts.
    pub backoff: Backoff,
    /// The longest `Retry-After` that is waited for here; a longer one is handed to the caller.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff {
                initial: Duration::from_millis(400),
                factor: 3.0,
                max: Duration::from_secs(5),
            },
            longest_wait: Duration::from_secs(40),
        }
    }
}

/// Whether a request may be carried out twice without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idempotency {
    /// Reading, `PATCH` with fixed values, and `/register-file`, which gets or creates.
    Idempotent,
    /// `POST /sessions`, water and weight: the server has no uniqueness, a second post is a second record.
    NotIdempotent,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Hand the reply to the caller.
    Deliver,
    /// Wait, then send again.
    Again(Duration),
}

impl RetryPolicy {
    /// Decides over the reply to attempt number `attempt` (1, 2, …); `random` is in `0..1`.
    pub(super) fn decide(
        &self,
        attempt: u32,
        reply: &Reply,
        idempotency: Idempotency,
        random: f64,
    ) -> Decision {
        if attempt >= self.attempts {
            return Decision::Deliver;
        }
        let pause = self.backoff.delay(attempt, random);
        match reply {
            Reply::Lost { maybe_done, .. } => match (maybe_done, idempotency) {
                (true, Idempotency::NotIdempotent) => Decision::Deliver,
                _ => Decision::Again(pause),
            },
            // Refused before it was looked at: harmless whatever the request was.
            Reply::Answer(answer) if answer.status == 429 => match answer.retry_after {
                Some(wait) if wait > self.longest_wait => Decision::Deliver,
                Some(wait) => Decision::Again(wait + pause.min(Duration::from_millis(250))),
                None => Decision::Again(pause),
            },
            // A proxy says 502 or 504 after the server behind it may have done the work.
            Reply::Answer(answer) if matches!(answer.status, 502..=504) => {
                match (idempotency, answer.retry_after) {
                    (Idempotency::NotIdempotent, _) => Decision::Deliver,
                    (Idempotency::Idempotent, Some(wait)) if wait > self.longest_wait => Decision::Deliver,
                    (Idempotency::Idempotent, wait) => Decision::Again(wait.unwrap_or_default().max(pause)),
                }
            }
            Reply::Answer(_) => Decision::Deliver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Answer;

    fn answer(status: u16, retry_after: Option<u64>) -> Reply {
        let retry_after = retry_after.map(Duration::from_secs);
        Reply::Answer(Answer { status, retry_after, location: None, body: Vec::new() })
    }

    fn lost(maybe_done: bool) -> Reply {
        Reply::Lost { reason: String::new(), maybe_done }
    }

    #[test]
    fn a_creation_whose_answer_was_lost_is_never_sent_again() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.decide(1, &lost(true), Idempotency::NotIdempotent, 0.5), Decision::Deliver);
        assert_eq!(policy.decide(1, &answer(502, None), Idempotency::NotIdempotent, 0.5), Decision::Deliver);
        assert!(matches!(
            policy.decide(1, &lost(false), Idempotency::NotIdempotent, 0.5),
            Decision::Again(_)
        ));
        assert!(matches!(policy.decide(1, &lost(true), Idempotency::Idempotent, 0.5), Decision::Again(_)));
    }

    #[test]
    fn retry_after_is_kept_where_it_is_short_and_handed_on_where_it_is_long() {
        let policy = RetryPolicy::default();
        let Decision::Again(wait) = policy.decide(1, &answer(429, Some(32)), Idempotency::NotIdempotent, 0.0)
        else {
            panic!("gave up")
        };
        assert!(wait >= Duration::from_secs(32));
        assert_eq!(
            policy.decide(1, &answer(429, Some(3600)), Idempotency::Idempotent, 0.0),
            Decision::Deliver
        );
        assert_eq!(
            policy.decide(1, &answer(503, Some(3600)), Idempotency::Idempotent, 0.0),
            Decision::Deliver
        );
    }

    #[test]
    fn attempts_are_counted() {
        let policy = RetryPolicy::default();
        assert!(matches!(policy.decide(2, &lost(true), Idempotency::Idempotent, 0.0), Decision::Again(_)));
        assert_eq!(policy.decide(3, &lost(true), Idempotency::Idempotent, 0.0), Decision::Deliver);
        assert_eq!(policy.decide(1, &answer(400, None), Idempotency::Idempotent, 0.0), Decision::Deliver);
        assert_eq!(policy.decide(1, &answer(500, None), Idempotency::Idempotent, 0.0), Decision::Deliver);
    }
}
