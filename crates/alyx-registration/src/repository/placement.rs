//! The placement of files: which file records Alyx creates for them, and which of these say that the file exists. Pure.

use crate::client::options::RegisterFilesOptions;
use alyx_client::{LabRecord, RepositoryRecord};

/// Where files are, in the fields of `POST /register-file`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Placement {
    /// The repository that holds them, if one is named.
    pub repository: Option<String>,
    /// Only servers get file records, and all of them say that the files exist.
    pub server_only: bool,
    /// Whether the files exist there.
    pub exists: bool,
}

impl Placement {
    /// Whether Alyx would store every file as `exists: false`, whatever `exists` says.
    pub fn is_nowhere(&self) -> bool {
        self.repository.is_none() && !self.server_only
    }

    /// The repositories whose file records would say that the files exist, if `exists` is true.
    ///
    /// Alyx takes the repository that is named, whether it is the lab's or not; with `server_only` also those of the
    /// lab that are servers.
    pub(crate) fn repositories<'a>(
        &self,
        lab: Option<&LabRecord>,
        known: &'a [RepositoryRecord],
    ) -> Vec<&'a RepositoryRecord> {
        let of_lab = |r: &RepositoryRecord| lab.is_none_or(|lab| lab.repositories.contains(&r.name));
        let is_named = |r: &RepositoryRecord| self.repository.as_ref() == Some(&r.name);
        let has_files = |r: &RepositoryRecord| is_named(r) || self.server_only && r.is_server() && of_lab(r);
        known.iter().filter(|r| has_files(r)).collect()
    }
}

impl From<&RegisterFilesOptions> for Placement {
    fn from(options: &RegisterFilesOptions) -> Self {
        Self {
            repository: options.repository.clone(),
            server_only: options.server_only,
            exists: options.exists,
        }
    }
}
