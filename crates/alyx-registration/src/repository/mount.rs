//! A mount: a folder of this computer that is a repository on Alyx. Pure.

use std::path::{Path, PathBuf};

/// A folder of this computer that is a repository on Alyx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its absolute path.
    pub path: PathBuf,
    /// The name of the repository.
    pub repository: String,
}

impl Mount {
    /// The innermost mount that holds a folder.
    pub(crate) fn of<'a>(folder: &Path, mounts: &'a [Self]) -> Option<&'a Self> {
        let around = mounts.iter().filter(|mount| folder.starts_with(&mount.path));
        around.max_by_key(|mount| mount.path.components().count())
    }
}
