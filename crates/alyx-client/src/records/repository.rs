//! Where the files of a lab are: its data repositories. Types only.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A data repository, of `GET /data-repository`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    /// Its name, such as `flatiron_cortexlab`.
    pub name: String,
    /// The address of its files; none if they are not served. Alyx appends the path of a file to it as it is.
    #[serde(default)]
    pub data_url: Option<String>,
    /// Whether it is a personal Globus endpoint; `false` for a server, and may be unset.
    #[serde(default)]
    pub globus_is_personal: Option<bool>,
    /// Its folder on its host, such as `/mnt/cortexlab/Subjects`.
    #[serde(default)]
    pub globus_path: Option<String>,
    /// The host that it is on.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A lab, of `GET /labs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabRecord {
    /// Its name.
    pub name: String,
    /// Names of its repositories. Every file of the lab gets a record in each.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl RepositoryRecord {
    /// Whether it is a server: the repositories of `server_only`, and the only ones whose files the record of a session
    /// lists once Alyx has any.
    pub fn is_server(&self) -> bool {
        self.globus_is_personal == Some(false)
    }

    /// The address of its files.
    pub fn address(&self) -> Option<&str> {
        self.data_url.as_deref().filter(|url| !url.is_empty())
    }
}
