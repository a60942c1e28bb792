//! In-flight creations of sessions: one at a time for each session, each runs to completion, and no second one while
//! the outcome of the first is unknown.
//!
//! Alyx has no uniqueness constraint on sessions: a client that finds nothing and posts, while another post of the same
//! session is on its way, creates a second one. Two folders may be one session (behaviour on one disk, video on
//! another), and the server completes a post even if its client is gone.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use alf::SessionPath;
use alyx_client::{self, SessionRecord, SessionRequest};

/// How often Alyx is asked again while a creation may still be on its way.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How many sessions are kept before those that are resolved are dropped.
const MAX_RESOLVED: usize = 1000;

/// Remembers creations that were sent and not answered, from one start of the program to the next.
pub trait PendingCreations: Debug + Send + Sync {
    /// A creation is about to be sent. Blocks.
    fn begin(&self, session: &str, now: Timestamp);
    /// It was answered. Blocks.
    fn end(&self, session: &str);
    /// When the unanswered creation was sent, if there is one. Blocks.
    fn pending_since(&self, session: &str) -> Option<Timestamp>;
}

/// When the unanswered creation was sent, if there is one. Holding the lock grants the right to create the session.
pub(crate) type Pending = Option<Timestamp>;

/// Creations of sessions that are on their way: at most one for each session.
#[derive(Debug, Default)]
pub struct InFlightCreations {
    claims: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Pending>>>>,
    memory: Option<Arc<dyn PendingCreations>>,
    requests: TaskTracker,
}

impl InFlightCreations {
    /// Remembers unanswered creations in `memory`, so that a program that was killed in between does not create a
    /// session twice.
    pub fn remembered_in(memory: Arc<dyn PendingCreations>) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }

    /// Waits until every creation that was sent is answered. Call this before the program exits: the server carries out a
    /// request even if its client is gone.
    pub(crate) async fn finish(&self) {
        self.requests.close();
        self.requests.wait().await;
        self.requests.reopen();
    }

    /// Waits for the right to create a session.
    pub(crate) async fn claim(&self, path: &SessionPath) -> OwnedMutexGuard<Pending> {
        let claim = {
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            if claims.len() >= MAX_RESOLVED {
                claims.retain(|_, claim| {
                    Arc::strong_count(claim) > 1 || claim.try_lock().map_or(true, |pending| pending.is_some())
                });
            }
            Arc::clone(claims.entry(path.to_string()).or_default())
        };
        claim.lock_owned().await
    }

    /// How long the session must not be created because an earlier creation may still be on its way.
    pub(crate) async fn still_open(
        &self,
        path: &SessionPath,
        pending: &mut Pending,
        at_most: Duration,
    ) -> Duration {
        if pending.is_none()
            && let Some(memory) = self.memory.clone()
        {
            let session = path.to_string();
            *pending =
                tokio::task::spawn_blocking(move || memory.pending_since(&session)).await.ok().flatten();
        }
        pending.map_or(Duration::ZERO, |pending_since| {
            remaining(pending_since, Timestamp::now(), at_most).min(RECHECK_INTERVAL)
        })
    }

    /// Creates a claimed session. Once sent, the request runs to its answer even if this future is dropped, and the
    /// claim ends with it.
    pub(crate) async fn create(
        self: &Arc<Self>,
        alyx: &alyx_client::Client,
        path: &SessionPath,
        request: SessionRequest,
        mut claim: OwnedMutexGuard<Pending>,
    ) -> Result<SessionRecord, Error> {
        let (creations, alyx, session) = (Arc::clone(self), alyx.clone(), path.to_string());
        // Waited for outside the task: until then the future may be dropped, and the creation begins when it is sent.
        let slot = alyx.acquire_slot().await?;
        let creating = self.requests.spawn(async move {
            let now = Timestamp::now();
            *claim = Some(now);
            let name = session.clone();
            creations.remember(move |memory| memory.begin(&name, now)).await;
            let result = alyx.create_session_in_slot(&request, slot).await;
            if is_resolved(&result) {
                *claim = None;
                creations.remember(move |memory| memory.end(&session)).await;
            }
            result
        });
        let result = creating.await.map_err(|e| Error::Internal(format!("creating a session: {e}")))?;
        result.map_err(Error::from)
    }

    /// The session was found on Alyx: nothing is pending any more.
    pub(crate) async fn found(&self, path: &SessionPath, mut claim: OwnedMutexGuard<Pending>) {
        if claim.take().is_some() {
            let session = path.to_string();
            self.remember(move |memory| memory.end(&session)).await;
        }
    }

    async fn remember(&self, work: impl FnOnce(&dyn PendingCreations) + Send + 'static) {
        if let Some(memory) = self.memory.clone() {
            let _ = tokio::task::spawn_blocking(move || work(&*memory)).await;
        }
    }
}

/// How long a creation sent at `pending_since` may still take; zero: it has ended one way or the other. Pure.
///
/// The server works on a request no longer than its client would wait for it. A time in the future comes from a
/// clock that was set back.
fn remaining(pending_since: Timestamp, now: Timestamp, at_most: Duration) -> Duration {
    let passed = now.duration_since(pending_since).unsigned_abs();
    at_most.saturating_sub(passed)
}

/// Whether Alyx has reported that it created the session, or that it did not.
fn is_resolved(result: &Result<SessionRecord, alyx_client::Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(alyx_client::Error::Unreachable { maybe_done, .. }) => !maybe_done,
        Err(alyx_client::Error::Busy { status, .. }) => *status == 429,
        Err(alyx_client::Error::Server { .. } | alyx_client::Error::NotAlyx { .. }) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_is_over_when_its_client_would_have_given_up() {
        let pending_since = Timestamp::from_second(1_000_000).unwrap();
        let after = |seconds| pending_since + jiff::SignedDuration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        assert_eq!(remaining(pending_since, after(0), minute), minute);
        assert_eq!(remaining(pending_since, after(45), minute), Duration::from_secs(15));
        assert_eq!(remaining(pending_since, after(60), minute), Duration::ZERO);
        assert_eq!(remaining(pending_since, after(-86_400), minute), Duration::ZERO);
    }

    #[test]
    fn an_answer_that_may_come_from_a_proxy_resolves_nothing() {
        let busy = |status| {
            let (what, body) = (String::new(), String::new());
            Err(alyx_client::Error::Busy { what, status, retry_after: None, body })
        };
        assert!(!is_resolved(&busy(504)));
        assert!(is_resolved(&busy(429)));
        let lost = |maybe_done| {
            let (url, reason) = (String::new(), String::new());
            Err(alyx_client::Error::Unreachable { url, reason, maybe_done, connected: true })
        };
        assert!(!is_resolved(&lost(true)));
        assert!(is_resolved(&lost(false)));
    }
}
