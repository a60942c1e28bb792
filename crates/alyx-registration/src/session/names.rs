//! Names on Alyx that a request mentions, checked before it is sent.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::{BTreeSet, HashMap, HashSet};
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
    /// Repositories of a lab, or of the lab of a subject.
    links: Mutex<HashMap<(Endpoint, String, String), Instant>>,
    /// Complete lists, for suggestions. The daemon meets the same missing name again and again.
    lists: Mutex<HashMap<Endpoint, Listed>>,
}

/// The names of an endpoint, and when they were listed.
type Listed = (Instant, Arc<Vec<String>>);

/// Most names that are suggested.
const MAX_NEAR: usize = 3;
/// How many names of an endpoint are asked for one by one. If there are more, the endpoint is listed once: with a
/// request for each name, a long list would use up the requests of all other sessions.
const MAX_ASKED: usize = 8;
/// Most names of an endpoint that a request may mention. More are a mistake, such as a column of numbers.
const MAX_NAMES: usize = 300;

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
        Self { kept_for, seen: Mutex::default(), links: Mutex::default(), lists: Mutex::default() }
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

    /// Whether a repository is known to be one of this lab, or of the lab of this subject.
    pub(crate) fn is_linked(&self, (owner, name): (Endpoint, &str), repository: &str) -> bool {
        let link = (owner, name.to_owned(), repository.to_owned());
        self.links.lock().is_ok_and(|links| links.get(&link).is_some_and(|at| at.elapsed() < self.kept_for))
    }

    /// Remembers that a repository is one of this lab, or of the lab of this subject.
    pub(crate) fn link(&self, (owner, name): (Endpoint, &str), repository: &str) {
        if let Ok(mut links) = self.links.lock() {
            links.insert((owner, name.to_owned(), repository.to_owned()), Instant::now());
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
                let Ok(names) = self.list(alyx, endpoint).await else { return Vec::new() };
                names
            }
        };
        near(name, &list)
    }

    /// The names of an endpoint, as Alyx has them now.
    async fn list(&self, alyx: &alyx_client::Client, endpoint: Endpoint) -> Result<Arc<Vec<String>>, Error> {
        let names = Arc::new(alyx.member_names(endpoint).await?);
        if let Ok(mut lists) = self.lists.lock() {
            lists.insert(endpoint, (Instant::now(), Arc::clone(&names)));
        }
        Ok(names)
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
    /// As [`assert_all_exist`](Self::assert_all_exist); [`Error::Invalid`] for more names than any session has.
    pub(crate) async fn check(
        &self,
        alyx: &alyx_client::Client,
        names: Vec<(Endpoint, String)>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut names: Vec<_> = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
        let endpoints: BTreeSet<Endpoint> = names.iter().map(|(endpoint, _)| *endpoint).collect();
        let count = |names: &[(Endpoint, String)], endpoint| names.iter().filter(|n| n.0 == endpoint).count();
        if let Some(endpoint) = endpoints.iter().find(|endpoint| count(&names, **endpoint) > MAX_NAMES) {
            return Err(Error::Invalid(format!(
                "{} {} names for one session; at most {MAX_NAMES} are allowed: correct the file or setting that lists them",
                count(&names, *endpoint),
                endpoint.member()
            )));
        }
        let now = Instant::now();
        names.retain(|name| !self.contains(name, now));
        let mut missing = Vec::new();
        for endpoint in endpoints {
            if count(&names, endpoint) <= MAX_ASKED {
                continue;
            }
            let all = self.list(alyx, endpoint).await?;
            let at_alyx: HashSet<&str> = all.iter().map(String::as_str).collect();
            let (listed, others) = names.into_iter().partition(|name| name.0 == endpoint);
            names = others;
            for (endpoint, name) in listed {
                if at_alyx.contains(&*name) {
                    self.insert((endpoint, name), now);
                } else {
                    missing.push(MissingName { endpoint, near: near(&name, &all), name, from: None });
                }
            }
        }
        match self.assert_all_exist(alyx, names).await {
            Err(Error::Missing(more)) => missing.extend(more),
            asked => drop(asked?),
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
    }

    /// After a refusal: a cached name may have been deleted on Alyx.
    pub(crate) fn forget_all(&self) {
        if let (Ok(mut seen), Ok(mut links)) = (self.seen.lock(), self.links.lock()) {
            seen.clear();
            links.clear();
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
    /// A client of a sandbox that has these users.
    async fn with_users(names: &[String]) -> (alyx_sandbox::RunningSandbox, alyx_client::Client) {
        let sandbox = alyx_sandbox::Sandbox::start(alyx_sandbox::SandboxOptions::default()).await.unwrap();
        for name in names {
            assert!(sandbox.control().add_user(name, "secret"));
        }
        let (username, password) = ("test_user".into(), "TapetesBloc18".into());
        let credentials = alyx_client::Credentials::Password { username, password };
        let options = alyx_client::ClientOptions::new(sandbox.url(), credentials);
        let alyx = alyx_client::Client::new(options).unwrap();
        // Logs in.
        alyx.find_member(Endpoint::Users, "test_user").await.unwrap();
        sandbox.control().clear_requests();
        (sandbox, alyx)
    }

    fn users(names: &[String]) -> Vec<(Endpoint, String)> {
        names.iter().map(|name| (Endpoint::Users, name.clone())).collect()
    }

    #[tokio::test]
    async fn many_names_are_looked_up_in_one_list_and_not_with_a_request_each() {
        let mut names: Vec<String> = (0..40).map(|n| format!("person{n}")).collect();
        let (sandbox, alyx) = with_users(&names).await;
        let known = KnownNames::new(Duration::from_secs(60));
        known.check(&alyx, users(&names)).await.unwrap();
        known.check(&alyx, users(&names)).await.unwrap();
        assert_eq!(sandbox.control().count_requests(), 1);
        names.extend((0..20).map(|n| format!("Person{n}")));
        let Err(Error::Missing(missing)) = known.check(&alyx, users(&names)).await else { panic!("found") };
        assert_eq!(missing.len(), 20);
        assert!(missing.iter().all(|m| m.near == [m.name.to_lowercase()]), "{missing:?}");
        assert_eq!(sandbox.control().count_requests(), 2);
    }

    #[tokio::test]
    async fn more_names_than_any_session_has_are_refused_without_a_request() {
        let (sandbox, alyx) = with_users(&[]).await;
        let names: Vec<String> = (0..10_000).map(|n| format!("person{n}")).collect();
        let known = KnownNames::new(Duration::from_secs(60));
        let error = known.check(&alyx, users(&names)).await.unwrap_err();
        assert!(error.to_string().contains("10000 user names"), "{error}");
        assert_eq!(error.next_step(), alyx_client::NextStep::NeedsAttention);
        assert_eq!(sandbox.control().count_requests(), 0);
    }
}
