//! The names in the configuration that must exist on Alyx.

use crate::config::Config;
use alyx_client::Endpoint;

/// Names of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// The key, such as `session.projects`.
    pub key: &'static str,
    /// The endpoint of these names.
    pub endpoint: Endpoint,
    /// The names; at least one.
    pub names: Vec<&'a str>,
}

fn several(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

impl Config {
    /// All names that sessions and files refer to, by key; only keys with at least one name.
    pub fn names(&self) -> Vec<Names<'_>> {
        let (session, datasets) = (&self.session, &self.datasets);
        let repository = datasets.repository.as_ref().filter(|_| datasets.register);
        let mounted = self.repositories.iter().map(|mount| mount.repository.as_str()).collect();
        let keys = [
            ("session.users", Endpoint::Users, several(&session.users)),
            ("session.lab", Endpoint::Labs, several(session.lab.as_slice())),
            ("session.projects", Endpoint::Projects, several(&session.projects)),
            ("session.procedures", Endpoint::Procedures, several(&session.procedures)),
            ("session.location", Endpoint::Locations, several(session.location.as_slice())),
            ("datasets.repository", Endpoint::Repositories, Vec::from_iter(repository.map(String::as_str))),
            ("repositories", Endpoint::Repositories, mounted),
        ];
        let names = keys.into_iter().map(|(key, endpoint, names)| Names { key, endpoint, names });
        names.filter(|names| !names.names.is_empty()).collect()
    }
}
