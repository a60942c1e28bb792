//! The handle for tests: recorded requests, stored records, injected faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::faults::{Fault, FaultRule, Faults};

use crate::http::server::{Server, lock};
use crate::seed::{SeedSubject, SeedUser};
use crate::store::{Store, Where};

/// Limit on the recorded requests; older ones are dropped.
const MAX_SEEN: usize = 10_000;
/// Bodies longer than this (bytes of JSON) are not recorded.
pub(super) const LONGEST_BODY: usize = 256 * 1024;
/// The tag that [`SandboxHandle::protect_dataset`] adds.
const PROTECTING_TAG: &str = "sandbox_protected";

/// A request that the sandbox has received.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSeen {
    /// `GET`, `POST` …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: String,
    /// The status of the answer; 0 if a fault cut the connection or left it hanging.
    pub status: u16,
    /// The body, if it was JSON or a form and not too long. The body of a login is never recorded.
    pub body: Option<Value>,
}

impl RequestSeen {
    /// Whether its body contains a text.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.body.as_ref().is_some_and(|body| body.to_string().contains(text))
    }
}

pub(super) struct Shared {
    pub server: Arc<Mutex<Server>>,
    seen: Mutex<(usize, VecDeque<RequestSeen>)>,
    arrived: Notify,
    faults: Mutex<Faults>,
    pub base: OnceLock<String>,
}

/// Inspects and controls a sandbox, before and while it runs. Cheap to clone.
///
/// Methods that write return whether they succeeded.
#[derive(Clone)]
pub struct SandboxHandle {
    pub(super) shared: Arc<Shared>,
}

impl SandboxHandle {
    pub(super) fn new(server: Server) -> SandboxHandle {
        let shared = Shared {
            server: Arc::new(Mutex::new(server)),
            seen: Mutex::default(),
            arrived: Notify::new(),
            faults: Mutex::default(),
            base: OnceLock::new(),
        };
        SandboxHandle { shared: Arc::new(shared) }
    }

    /// The requests since the start or the last [`clear_requests`](Self::clear_requests); the last 10,000 at most.
    pub fn requests(&self) -> Vec<RequestSeen> {
        lock(&self.shared.seen).1.iter().cloned().collect()
    }

    /// The number of requests, including those no longer recorded.
    pub fn count_requests(&self) -> usize {
        lock(&self.shared.seen).0
    }

    /// Drops the recorded requests.
    pub fn clear_requests(&self) {
        *lock(&self.shared.seen) = Default::default();
    }

    /// Waits for a request that passes the test. Recorded requests count.
    ///
    /// The test must not call this `SandboxHandle`: it runs under the lock of the requests.
    pub async fn wait_for(&self, mut test: impl FnMut(&RequestSeen) -> bool) -> RequestSeen {
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the check: otherwise a request in between would be missed.
            arrived.as_mut().enable();
            if let Some(seen) = lock(&self.shared.seen).1.iter().find(|seen| test(seen)) {
                return seen.clone();
            }
            arrived.await;
        }
    }

    pub(super) fn record(&self, seen: RequestSeen) {
        let mut held = lock(&self.shared.seen);
        held.0 += 1;
        held.1.push_back(seen);
        if held.1.len() > MAX_SEEN {
            held.1.pop_front();
        }
        drop(held);
        self.shared.arrived.notify_waiters();
    }

    /// The next request gets this fault.
    pub fn fail_next(&self, fault: Fault) {
        self.add_fault(FaultRule { method: None, path_prefix: String::new(), times: 1, fault });
    }

    /// Requests that match the rule get its fault. If several rules match, the oldest applies.
    pub fn add_fault(&self, rule: FaultRule) {
        lock(&self.shared.faults).add(rule);
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    pub(super) fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        lock(&self.shared.faults).take(method, path)
    }

    /// From now on each page of a list of datasets has another order: Alyx does not sort datasets, and PostgreSQL may return
    /// them in a different order for each page, so that some come twice and others not at all.
    pub fn shuffle_datasets(&self) -> bool {
        self.write(|store| {
            store.shuffled = true;
            Ok(())
        })
    }

    /// Invalidates every token, as if they had expired. The next login makes new ones.
    pub fn invalidate_tokens(&self) -> bool {
        self.write(|store| store.forget_tokens())
    }

    /// Adds a subject of a lab, with `test_user` in charge.
    pub fn add_subject(&self, nickname: &str, lab: &str) -> bool {
        let subject = SeedSubject {
            nickname: nickname.to_owned(),
            lab: lab.to_owned(),
            responsible_user: Some("test_user".to_owned()),
            birth_date: None,
        };
        self.write(|store| store.insert_subject(&subject))
    }

    /// Adds a user, or changes the password of an existing one.
    pub fn add_user(&self, username: &str, password: &str) -> bool {
        let user = SeedUser {
            username: username.to_owned(),
            password: password.to_owned(),
            email: String::new(),
            superuser: false,
            public: false,
            labs: Vec::new(),
        };
        self.write(|store| store.insert_user(&user))
    }

    /// Protects a dataset, by id, with the tag `sandbox_protected`. False if the dataset does not exist.
    pub fn protect_dataset(&self, id: &str) -> bool {
        let known = self.read(|store| store.exists("datasets", id)) == Some(true);
        known
            && self.write(|store| {
                store.insert_member("tags", PROTECTING_TAG, json!({"protected": true}))?;
                store.tag_dataset(id, &[PROTECTING_TAG])
            })
    }

    /// Deletes a session and its datasets, as an admin does on Alyx's pages.
    pub fn delete_session(&self, eid: &str) -> bool {
        self.write(|store| store.delete_session(eid))
    }

    /// Every session in full, in the order of creation, straight from the store.
    pub fn sessions(&self) -> Vec<Value> {
        let base = self.base();
        let all = self.read(|store| {
            let ids = store.session_ids()?;
            ids.iter().map(|id| store.session(id, &base)).collect::<rusqlite::Result<Vec<_>>>()
        });
        all.unwrap_or_default().into_iter().flatten().collect()
    }

    /// Every dataset, sorted by id, in the form of Alyx's list, straight from the store.
    pub fn datasets(&self) -> Vec<Value> {
        let base = self.base();
        let all = (u64::MAX >> 1, 0);
        self.read(|store| store.datasets(&Where::default(), all, &base)).unwrap_or_default()
    }

    fn base(&self) -> String {
        self.shared.base.get().cloned().unwrap_or_else(|| "http://sandbox".to_owned())
    }

    fn read<T>(&self, job: impl FnOnce(&Store) -> rusqlite::Result<T>) -> Option<T> {
        let outcome = job(&lock(&self.shared.server).store);
        outcome.inspect_err(|error| tracing::error!(%error, "the sandbox's store failed")).ok()
    }

    fn write(&self, job: impl FnOnce(&mut Store) -> rusqlite::Result<()>) -> bool {
        let outcome = lock(&self.shared.server).store.work(|store| Ok(job(store)?));
        match outcome {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(?error, "the sandbox's store failed");
                false
            }
        }
    }
}
