//! Names on Alyx that a request mentions, checked before it is sent.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Error, MissingName};
use alyx_client::{Endpoint, SessionRequest};

/// Cache of names that Alyx has. Only presence is cached: a missing name may be created at any time.
#[derive(Debug)]
pub(crate) struct KnownNames {
    kept_for: Duration,
    seen: Mutex<HashMap<(Endpoint, String), Instant>>,
    /// Complete lists, for suggestions. The daemon meets the same missing name again and again.
    lists: Mutex<HashMap<Endpoint, Listed>>,
}

/// The names of an endpoint, and when they were listed.
type Listed = (Instant, Arc<Vec<String>>);

/// Most names that are suggested.
const MAX_NEAR: usize = 3;

/// The names that a missing one was probably meant to be: those that differ in letter case, or else in one letter. Pure.
fn near(name: &str, all: &[String]) -> Vec<String> {
    let folded = name.to_lowercase();
    let same = |other: &&String| other.to_lowercase() == folded;
    let close = |other: &&String| strsim::osa_distance(&other.to_lowercase(), &folded) == 1;
    let mut found: Vec<String> = all.iter().filter(same).cloned().collect();
    if found.is_empty() {
        found = all.iter().filter(close).cloned().collect();
    }
    found.sort();
    found.dedup();
    found.truncate(MAX_NEAR);
    found
}

impl KnownNames {
    pub(crate) fn new(kept_for: Duration) -> Self {
        Self { kept_for, seen: Mutex::default(), lists: Mutex::default() }
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
            None => {
                let near = self.near(alyx, endpoint, name).await;
                Err(Error::Missing(vec![MissingName { endpoint, name: name.to_owned(), near, from: None }]))
            }
        }
    }

    /// The names on Alyx that a missing one was probably meant to be. Empty if Alyx cannot be asked: that it is missing
    /// is what counts.
    pub(crate) async fn near(
        &self,
        alyx: &alyx_client::Client,
        endpoint: Endpoint,
        name: &str,
    ) -> Vec<String> {
        let now = Instant::now();
        let kept = self.lists.lock().ok().and_then(|lists| lists.get(&endpoint).cloned());
        let list = match kept {
            Some((at, list)) if now.saturating_duration_since(at) < self.kept_for => list,
            _ => {
                let Ok(names) = alyx.member_names(endpoint).await else { return Vec::new() };
                let names = Arc::new(names);
                if let Ok(mut lists) = self.lists.lock() {
                    lists.insert(endpoint, (now, Arc::clone(&names)));
                }
                names
            }
        };
        near(name, &list)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_is_looked_at_before_a_typing_error() {
        let all = ["odd_00", "odd_01", "KS014", "KS014a", "Ana", "ana"].map(str::to_owned);
        for (name, expected) in [
            ("ODD_00", &["odd_00"][..]),
            ("ODD_000", &["odd_00"]),
            ("odd_02", &["odd_00", "odd_01"]),
            ("KS041", &["KS014"]),
            ("ks014", &["KS014"]),
            ("ANA", &["Ana", "ana"]),
            ("nobody", &[]),
            ("", &[]),
        ] {
            assert_eq!(near(name, &all), expected, "{name}");
        }
    }
}
