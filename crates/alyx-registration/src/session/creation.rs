//! In-flight creations of sessions: one at a time for each session, each runs to completion, and no second one while
//! the outcome of the first is unknown.
//!
//! Alyx has no uniqueness constraint on sessions: a client that finds nothing and posts, while another post of the same
//! session is on its way, creates a second one. Two folders may be one session (behaviour on one disk, video on
//! another), and the server completes a post even if its client is gone.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::session::created::CreatedSessions;
use crate::session::request_marks::{RECHECK_INTERVAL, RequestMark, maybe_done};
use alf::SessionPath;
use alyx_client::{self, SessionRecord, SessionRequest};

/// How many sessions are kept before those that are resolved are dropped.
const MAX_RESOLVED: usize = 1000;

/// When the creation that is not answered was sent. Its holder may create the session.
pub(crate) type Pending = Option<Instant>;

/// Creations of sessions that are on their way: at most one for each session.
#[derive(Debug, Default)]
pub struct InFlightCreations {
    claims: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Pending>>>>,
    /// The eids of sessions that this process created.
    created: Mutex<HashSet<String>>,
    /// When this process started, if an earlier one may have sent creations that have not arrived yet.
    unclean_start: Option<Instant>,
    requests: TaskTracker,
    /// Until when a session is not created, by its name, because an earlier request may still arrive.
    waiting: Mutex<HashMap<String, Instant>>,
}

/// A session that waits for an earlier creation, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    creations: &'a InFlightCreations,
    session: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.creations.waiting().remove(&self.session);
    }
}

impl InFlightCreations {
    /// An earlier process, which ended before `started`, may have sent creations that have not arrived yet: a session
    /// that Alyx does not have is created only when they no longer can.
    ///
    /// No clock is involved but the monotonic one of this process: whatever an earlier process wrote down may be lost,
    /// and the wall clock may have been set since.
    pub fn after_unclean_stop(started: Instant) -> Self {
        Self { unclean_start: Some(started), ..Self::default() }
    }

    /// How long no session is created because of an earlier process. `at_most`: how long a request may take.
    pub fn held_for(&self, at_most: Duration) -> Duration {
        self.unclean_start.map_or(Duration::ZERO, |started| remaining(started.elapsed(), at_most))
    }

    /// Until when a session (`subject/date/number`) is not created at the latest, because an earlier request may still
    /// arrive. `None`: it does not wait.
    pub fn waits_until(&self, session: &str) -> Option<Instant> {
        self.waiting().get(session).copied()
    }

    /// Makes known that a session waits.
    pub(crate) fn wait(&self, session: &SessionPath, until: Instant) -> Waiting<'_> {
        let session = session.to_string();
        self.waiting().insert(session.clone(), until);
        Waiting { creations: self, session }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no creation is on its way: each was answered, or can no longer arrive.
    pub(crate) fn is_settled(&self, at_most: Duration) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |claim: &Arc<tokio::sync::Mutex<Pending>>| {
            claim.try_lock().map_or(true, |pending| {
                pending.is_some_and(|sent| !remaining(sent.elapsed(), at_most).is_zero())
            })
        };
        self.held_for(at_most).is_zero() && !claims.values().any(is_open)
    }

    /// Whether this process created the session.
    pub(crate) fn has_created(&self, eid: &str) -> bool {
        self.created.lock().is_ok_and(|created| created.contains(eid))
    }

    /// Runs what must not be cut off: a request that was sent, to its answer.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.requests.spawn(work);
        running.await.map_err(|e| Error::Internal(format!("creating a record: {e}")))?
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

    /// How long to wait before Alyx is asked again, because an earlier creation may still be on its way. `elsewhere`: how
    /// long one of another program may.
    pub(crate) fn still_open(&self, pending: &Pending, elsewhere: Duration, at_most: Duration) -> Duration {
        let ours = pending.map_or(Duration::ZERO, |sent| remaining(sent.elapsed(), at_most));
        ours.max(elsewhere).max(self.held_for(at_most)).min(RECHECK_INTERVAL)
    }

    /// Creates a claimed session, and remembers that in `memory`. Once sent, the request runs to its answer even if this
    /// future is dropped, and the claim ends with it.
    pub(crate) async fn create(
        self: &Arc<Self>,
        alyx: &alyx_client::Client,
        request: SessionRequest,
        mut claim: OwnedMutexGuard<Pending>,
        mark: RequestMark,
        memory: Option<Arc<dyn CreatedSessions>>,
    ) -> Result<SessionRecord, Error> {
        let alyx = alyx.clone();
        // Waited for outside the task: until then the future may be dropped, and the creation begins when it is sent.
        let slot = alyx.acquire_slot().await?;
        let creations = Arc::clone(self);
        self.run_to_end(async move {
            let mut mark = mark.sending().await?;
            *claim = Some(Instant::now());
            let result = alyx.create_session_in_slot(&request, slot).await;
            if result.as_ref().err().is_none_or(|error| !maybe_done(error)) {
                *claim = None;
                mark.answered();
            } else {
                // The client may have sent it again after a refusal: the last one began at some time until now.
                *claim = Some(Instant::now());
                drop(mark.sending().await?);
            }
            if let (Ok(record), Ok(mut created)) = (&result, creations.created.lock()) {
                created.insert(record.eid().to_owned());
            }
            if let (Ok(record), Some(memory)) = (&result, memory) {
                let eid = record.eid().to_owned();
                // Without it, the session counts as one of others after a restart.
                let _ = tokio::task::spawn_blocking(move || memory.add(&eid)).await;
            }
            result.map_err(Error::from)
        })
        .await
    }
}

/// How long a creation that was sent `passed` ago may still take; zero: it has ended one way or the other. Pure.
///
/// The server works on a request no longer than its client would wait for it.
fn remaining(passed: Duration, at_most: Duration) -> Duration {
    at_most.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn the_time_of_a_creation_runs_from_the_last_time_that_it_was_sent() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let refused = std::thread::spawn(move || {
            let (mut first, _) = server.accept().unwrap();
            let _ = first.read(&mut [0; 4096]).unwrap();
            let answer = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
            first.write_all(answer.as_bytes()).unwrap();
            let refused = Instant::now();
            let (mut second, _) = server.accept().unwrap();
            let _ = second.read(&mut [0; 4096]).unwrap();
            refused
        });
        let login = alyx_client::Credentials::Token { username: None, token: "t".into() };
        let alyx = alyx_client::Client::new(alyx_client::ClientOptions::new(url, login)).unwrap();
        let creations = Arc::new(InFlightCreations::default());
        let path = SessionPath::parse(std::path::Path::new("/data/KS014/2024-05-01/001")).unwrap();
        let claim = creations.claim(&path).await;
        let (request, mark) = (SessionRequest::default(), RequestMark::default());
        creations.create(&alyx, request, claim, mark, None).await.unwrap_err();
        let sent = creations.claim(&path).await.expect("it may still arrive");
        assert!(sent >= refused.join().unwrap() + Duration::from_secs(1));
    }

    #[test]
    fn a_creation_is_over_when_its_client_would_have_given_up() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(remaining(Duration::ZERO, minute), minute);
        assert_eq!(remaining(45 * second, minute), 15 * second);
        assert_eq!(remaining(60 * second, minute), Duration::ZERO);
    }

    #[test]
    fn after_an_unclean_stop_nothing_is_created_until_no_earlier_request_can_arrive() {
        let (clean, minute) = (InFlightCreations::default(), Duration::from_secs(60));
        assert_eq!(clean.still_open(&None, Duration::ZERO, minute), Duration::ZERO);
        let unclean = InFlightCreations::after_unclean_stop(Instant::now());
        assert_eq!(unclean.still_open(&None, Duration::ZERO, minute), RECHECK_INTERVAL);
        assert!(!unclean.is_settled(minute) && unclean.is_settled(Duration::ZERO));
        assert_eq!(unclean.still_open(&None, Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
