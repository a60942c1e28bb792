//! InFlightCreations of sessions: one at a time for each session, each to its end, and none too soon after one whose end is
//! not known.
//!
//! Alyx has no uniqueness on sessions: whoever looks, finds nothing and posts, while another post of the same
//! session is on its way, makes a second one. Two folders may be one session (behaviour on one disk, video on
//! another), and a post goes on inside the server when its client has gone.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use crate::client::RegistrationClient;
use crate::error::Error;
use alf::SessionPath;
use alyx_client::{self, SessionRecord, SessionRequest};

/// How often Alyx is asked again while a creation may still be under way.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// So many sessions are remembered before those that are settled are forgotten.
const MANY: usize = 1000;

/// Remembers creations that have been sent and not been answered, from one run of the program to the next.
pub trait PendingCreations: Debug + Send + Sync {
    /// A creation is about to be sent. Blocks.
    fn begin(&self, session: &str, now: Timestamp);
    /// It was answered. Blocks.
    fn end(&self, session: &str);
    /// When one was sent that has not been answered. Blocks.
    fn begun(&self, session: &str) -> Option<Timestamp>;
}

/// When a creation was sent that has not been answered. Whoever holds it may create the session.
pub(crate) type Pending = Option<Timestamp>;

/// Whose turn it is, session by session.
#[derive(Debug, Default)]
pub(crate) struct InFlightCreations {
    scheduler: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Pending>>>>,
    memory: OnceLock<Arc<dyn PendingCreations>>,
    under_way: TaskTracker,
}

impl InFlightCreations {
    /// Waits for the turn of a session.
    pub(crate) async fn turn(&self, path: &SessionPath) -> OwnedMutexGuard<Pending> {
        let turn = {
            let mut scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
            if scheduler.len() >= MANY {
                scheduler.retain(|_, turn| {
                    Arc::strong_count(turn) > 1 || turn.try_lock().map_or(true, |pending| pending.is_some())
                });
            }
            Arc::clone(scheduler.entry(path.to_string()).or_default())
        };
        turn.lock_owned().await
    }

    async fn remember(&self, work: impl FnOnce(&dyn PendingCreations) + Send + 'static) {
        if let Some(memory) = self.memory.get().cloned() {
            let _ = tokio::task::spawn_blocking(move || work(&*memory)).await;
        }
    }
}

/// How long it may take until a creation that was sent then has ended one way or the other; zero: it has. Pure.
///
/// The server works on a request no longer than its client would wait for it. A time in the future comes from a
/// clock that was set back.
fn still_open(begun: Timestamp, now: Timestamp, at_most: Duration) -> Duration {
    let passed = now.duration_since(begun).unsigned_abs();
    at_most.saturating_sub(passed)
}

/// Whether Alyx has said that it did not create the session, or that it did.
fn is_settled(result: &Result<SessionRecord, alyx_client::Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(alyx_client::Error::Unreachable { maybe_done, .. }) => !maybe_done,
        Err(alyx_client::Error::Busy { status, .. }) => *status == 429,
        Err(alyx_client::Error::Server { .. } | alyx_client::Error::NotAlyx { .. }) => false,
        Err(_) => true,
    }
}

impl RegistrationClient {
    /// Remembers in `memory` which creations have not been answered, so that a program that was killed in between
    /// does not create a session twice. Only the first call counts.
    pub fn remember_creations(&self, memory: Arc<dyn PendingCreations>) {
        let _ = self.creations().memory.set(memory);
    }

    /// Waits until every creation that has been sent is answered. To be called before the program ends: a post whose
    /// client goes away is carried out all the same, when nobody looks any more.
    pub async fn finish_creations(&self) {
        let under_way = &self.creations().under_way;
        under_way.close();
        under_way.wait().await;
        under_way.reopen();
    }

    /// How long nobody may create this session because an earlier creation may still be under way.
    pub(crate) async fn creation_open(&self, path: &SessionPath, pending: &mut Pending) -> Duration {
        let at_most = self.alyx().request_timeout();
        if pending.is_none()
            && let Some(memory) = self.creations().memory.get().cloned()
        {
            let session = path.to_string();
            *pending = tokio::task::spawn_blocking(move || memory.begun(&session)).await.ok().flatten();
        }
        pending.map_or(Duration::ZERO, |begun| still_open(begun, Timestamp::now(), at_most).min(ASK_EVERY))
    }

    /// Creates a session whose turn it is. Once sent, the request goes on to its answer even if this future is
    /// dropped, and the turn ends with it.
    pub(crate) async fn create(
        &self,
        path: &SessionPath,
        request: SessionRequest,
        mut turn: OwnedMutexGuard<Pending>,
    ) -> Result<SessionRecord, Error> {
        let (client, session) = (self.clone(), path.to_string());
        // Here it may still be dropped; and the time from which on it is under way is that of its sending.
        let due = self.alyx().turn().await?;
        let creating = self.creations().under_way.spawn(async move {
            let now = Timestamp::now();
            *turn = Some(now);
            let name = session.clone();
            client.creations().remember(move |memory| memory.begin(&name, now)).await;
            let result = client.alyx().create_session_in_turn(&request, due).await;
            if is_settled(&result) {
                *turn = None;
                client.creations().remember(move |memory| memory.end(&session)).await;
            }
            result
        });
        let result = creating.await.map_err(|e| Error::Internal(format!("creating a session: {e}")))?;
        result.map_err(Error::from)
    }

    /// The session was found: nothing is pending any more.
    pub(crate) async fn creation_found(&self, path: &SessionPath, mut turn: OwnedMutexGuard<Pending>) {
        if turn.take().is_some() {
            let session = path.to_string();
            self.creations().remember(move |memory| memory.end(&session)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_is_over_when_its_client_would_have_given_up() {
        let begun = Timestamp::from_second(1_000_000).unwrap();
        let after = |seconds| begun + jiff::SignedDuration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        assert_eq!(still_open(begun, after(0), minute), minute);
        assert_eq!(still_open(begun, after(45), minute), Duration::from_secs(15));
        assert_eq!(still_open(begun, after(60), minute), Duration::ZERO);
        assert_eq!(still_open(begun, after(-86_400), minute), Duration::ZERO);
    }

    #[test]
    fn an_answer_that_may_be_a_proxys_settles_nothing() {
        let busy = |status| {
            let (what, body) = (String::new(), String::new());
            Err(alyx_client::Error::Busy { what, status, retry_after: None, body })
        };
        assert!(!is_settled(&busy(504)));
        assert!(is_settled(&busy(429)));
        let lost = |maybe_done| {
            let (url, reason) = (String::new(), String::new());
            Err(alyx_client::Error::Unreachable { url, reason, maybe_done, connected: true })
        };
        assert!(!is_settled(&lost(true)));
        assert!(is_settled(&lost(false)));
    }
}
