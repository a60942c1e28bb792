//! Names on Alyx that a request mentions, checked before it is sent.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Error, MissingName};
use alyx_client::{Endpoint, SessionRequest};

/// Cache of names that Alyx has. Only presence is cached: a missing name may be created at any time.
#[derive(Debug)]
pub(crate) struct KnownNames {
    kept_for: Duration,
    seen: Mutex<HashMap<(Endpoint, String), Instant>>,
}

impl KnownNames {
    pub(crate) fn new(kept_for: Duration) -> Self {
        Self { kept_for, seen: Mutex::default() }
    }

    fn contains(&self, name: &(Endpoint, String), now: Instant) -> bool {
        self.seen.lock().is_ok_and(|seen| {
            seen.get(name).is_some_and(|at| now.saturating_duration_since(*at) < self.kept_for)
        })
    }

    fn insert(&self, name: (Endpoint, String), now: Instant) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.insert(name, now);
        }
    }

    /// The record of a name on Alyx.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none; those of the request.
    pub(crate) async fn assert_exists(
        &self,
        alyx: &alyx_client::Client,
        endpoint: Endpoint,
        name: &str,
    ) -> Result<Value, Error> {
        match alyx.find_member(endpoint, name).await? {
            Some(record) => {
                self.insert((endpoint, name.to_owned()), Instant::now());
                Ok(record)
            }
            None => Err(Error::Missing(vec![MissingName { endpoint, name: name.to_owned() }])),
        }
    }

    /// The records of several names, in order.
    ///
    /// # Errors
    /// [`Error::Missing`] with all names that are missing, not only the first.
    pub(crate) async fn assert_all_exist(
        &self,
        alyx: &alyx_client::Client,
        names: impl IntoIterator<Item = (Endpoint, String)>,
    ) -> Result<Vec<Value>, Error> {
        let (mut records, mut missing) = (Vec::new(), Vec::new());
        for (endpoint, name) in names {
            match self.assert_exists(alyx, endpoint, &name).await {
                Ok(record) => records.push(record),
                Err(Error::Missing(more)) => missing.extend(more),
                Err(other) => return Err(other),
            }
        }
        if missing.is_empty() { Ok(records) } else { Err(Error::Missing(missing)) }
    }

    /// Checks the names that are not cached.
    ///
    /// # Errors
    /// As [`assert_all_exist`](Self::assert_all_exist).
    pub(crate) async fn check(
        &self,
        alyx: &alyx_client::Client,
        names: Vec<(Endpoint, String)>,
    ) -> Result<(), Error> {
        // Lazily: a name that is mentioned twice is asked for once.
        let unknown = names.into_iter().filter(|name| !self.contains(name, Instant::now()));
        self.assert_all_exist(alyx, unknown).await.map(drop)
    }

    /// After a refusal: a cached name may have been deleted on Alyx.
    pub(crate) fn forget_all(&self) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.clear();
        }
    }
}

/// Every name that a session request mentions. Pure.
pub(crate) fn mentioned(request: &SessionRequest) -> Vec<(Endpoint, String)> {
    let one =
        |endpoint, name: &Option<String>| name.iter().map(move |n| (endpoint, n.clone())).collect::<Vec<_>>();
    let many = |endpoint, names: &Option<Vec<String>>| {
        names.iter().flatten().map(move |n| (endpoint, n.clone())).collect::<Vec<_>>()
    };
    [
        one(Endpoint::Subjects, &request.subject),
        many(Endpoint::Users, &request.users),
        one(Endpoint::Labs, &request.lab),
        many(Endpoint::Projects, &request.projects),
        many(Endpoint::Procedures, &request.procedures),
        one(Endpoint::Locations, &request.location),
    ]
    .concat()
}
