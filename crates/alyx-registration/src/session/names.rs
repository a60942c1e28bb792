//! Names: the members of Alyx that a request mentions, checked before it is sent.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::error::{Error, MissingName};
use alyx_client::{Endpoint, SessionRequest};

/// Names that Alyx is known to have. Only presence is remembered: what is missing may be created any time.
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

    /// After a refusal: what was known may be wrong by now.
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

impl RegistrationClient {
    /// The record of a member of Alyx (Python: `assert_exists`).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_client::Endpoint;
    /// use alyx_registration::Error;
    ///
    /// let record = client.assert_exists(Endpoint::Subjects, "KS014").await?;
    /// assert_eq!(record["lab"], "cortexlab");
    /// let error = client.assert_exists(Endpoint::Repositories, "nowhere").await.unwrap_err();
    /// assert!(matches!(error, Error::Missing(_)));
    /// assert!(error.to_string().contains("nowhere"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] where Alyx has no such member; other errors of the request stay what they are.
    pub async fn assert_exists(&self, endpoint: Endpoint, name: &str) -> Result<Value, Error> {
        match self.alyx().find_member(endpoint, name).await? {
            Some(record) => {
                self.known_names().insert((endpoint, name.to_owned()), Instant::now());
                Ok(record)
            }
            None => Err(Error::Missing(vec![MissingName { endpoint, name: name.to_owned() }])),
        }
    }

    /// The records of several members, in order (Python: `assert_exists` with a list).
    ///
    /// # Errors
    /// [`Error::Missing`] names all that are missing, not only the first.
    pub async fn assert_all_exist(&self, endpoint: Endpoint, names: &[&str]) -> Result<Vec<Value>, Error> {
        let mut records = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        for name in names {
            match self.assert_exists(endpoint, name).await {
                Ok(record) => records.push(record),
                Err(Error::Missing(more)) => missing.extend(more),
                Err(other) => return Err(other),
            }
        }
        if missing.is_empty() { Ok(records) } else { Err(Error::Missing(missing)) }
    }

    /// Checks names that are not known yet; all that is missing comes in one error.
    pub(crate) async fn check_names(&self, names: Vec<(Endpoint, String)>) -> Result<(), Error> {
        let mut missing = Vec::new();
        for name in names {
            if self.known_names().contains(&name, Instant::now()) {
                continue;
            }
            match self.assert_exists(name.0, &name.1).await {
                Ok(_) => {}
                Err(Error::Missing(more)) => missing.extend(more),
                Err(other) => return Err(other),
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
    }
}
