//! When to repeat a request: a pure decision from the last reply.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::transport::reply::Reply;

/// How often one request is sent, and how long the client waits in between. Seconds, not minutes: longer waits belong
/// to the queue.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The largest number of times that a request is sent.
    pub attempts: u32,
    /// Delays between two attempts.
    pub backoff: Backoff,
    /// The longest `Retry-After` that the client waits for; a longer one goes to the caller.
    pub longest_wait: Duration,
}

/// Short enough for an interactive command.
const BACKOFF: Backoff = Backoff::constant(Duration::from_millis(400), 3.0, Duration::from_secs(5));

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, backoff: BACKOFF, longest_wait: Duration::from_secs(40) }
    }
}

/// Whether a request may be executed twice without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    /// Reading, `PATCH` with fixed values, and `/register-file`, which gets or creates.
    Idempotent,
    /// `POST /sessions`, water and weight: the server enforces no uniqueness, so a second post makes a second record.
    NotIdempotent,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Return the reply to the caller.
    Return,
    /// Wait, then send again.
    Retry(Duration),
}

impl RetryPolicy {
    /// Decides what to do about the reply to attempt number `attempt` (1, 2, …); `random` is in `0..1`.
    pub(crate) fn decide(
        &self,
        attempt: u32,
        reply: &Reply,
        idempotency: Idempotency,
        random: f64,
    ) -> Decision {
        if attempt >= self.attempts {
            return Decision::Return;
        }
        let pause = self.backoff.delay(attempt, random);
        match reply {
            Reply::Lost { maybe_done, .. } => match (maybe_done, idempotency) {
                (true, Idempotency::NotIdempotent) => Decision::Return,
                _ => Decision::Retry(pause),
            },
            // The rate limit refuses before Alyx executes anything, so even a creation may be repeated.
            Reply::Answer(answer) if answer.status == 429 => match answer.retry_after {
                Some(wait) if wait > self.longest_wait => Decision::Return,
                Some(wait) => Decision::Retry(wait + pause.min(Duration::from_millis(250))),
                None => Decision::Retry(pause),
            },
            // A proxy may answer 502 or 504 although the server behind it has executed the request.
            Reply::Answer(answer) if matches!(answer.status, 502..=504) => {
                match (idempotency, answer.retry_after) {
                    (Idempotency::NotIdempotent, _) => Decision::Return,
                    (Idempotency::Idempotent, Some(wait)) if wait > self.longest_wait => Decision::Return,
                    (Idempotency::Idempotent, wait) => Decision::Retry(wait.unwrap_or_default().max(pause)),
                }
            }
            Reply::Answer(_) => Decision::Return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::reply::Answer;

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
        assert_eq!(policy.decide(1, &lost(true), Idempotency::NotIdempotent, 0.5), Decision::Return);
        assert_eq!(policy.decide(1, &answer(502, None), Idempotency::NotIdempotent, 0.5), Decision::Return);
        assert!(matches!(
            policy.decide(1, &lost(false), Idempotency::NotIdempotent, 0.5),
            Decision::Retry(_)
        ));
        assert!(matches!(policy.decide(1, &lost(true), Idempotency::Idempotent, 0.5), Decision::Retry(_)));
    }

    #[test]
    fn a_short_retry_after_is_obeyed_and_a_long_one_goes_to_the_caller() {
        let policy = RetryPolicy::default();
        let Decision::Retry(wait) = policy.decide(1, &answer(429, Some(32)), Idempotency::NotIdempotent, 0.0)
        else {
            panic!("gave up")
        };
        assert!(wait >= Duration::from_secs(32));
        assert_eq!(
            policy.decide(1, &answer(429, Some(3600)), Idempotency::Idempotent, 0.0),
            Decision::Return
        );
        assert_eq!(
            policy.decide(1, &answer(503, Some(3600)), Idempotency::Idempotent, 0.0),
            Decision::Return
        );
    }

    #[test]
    fn attempts_are_counted() {
        let policy = RetryPolicy::default();
        assert!(matches!(policy.decide(2, &lost(true), Idempotency::Idempotent, 0.0), Decision::Retry(_)));
        assert_eq!(policy.decide(3, &lost(true), Idempotency::Idempotent, 0.0), Decision::Return);
        assert_eq!(policy.decide(1, &answer(400, None), Idempotency::Idempotent, 0.0), Decision::Return);
        assert_eq!(policy.decide(1, &answer(500, None), Idempotency::Idempotent, 0.0), Decision::Return);
    }
}
