//! A dataset path: where a file lies inside its session.
use std::path::Path;

use super::DatasetName;

/// The path of a file relative to its session: `[collection/][#revision#/]file`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetPath {
    path: String,
    name: Option<DatasetName>,
}

/// Why a relative path cannot be sent to Alyx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatasetPathError {
    /// Placeholder.
    #[error("{0:?}")]
    Invalid(String),
}

impl DatasetPath {
    /// Parses a path relative to the session folder.
    ///
    /// # Errors
    /// [`DatasetPathError`] says which component is wrong.
    pub fn parse(relative: &Path) -> Result<Self, DatasetPathError> {
        Ok(Self { path: relative.to_string_lossy().into_owned(), name: None })
    }
    /// As sent in `filenames`: relative to the session, with `/`.
    pub fn as_str(&self) -> &str {
        &self.path
    }
    /// The file name alone.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
    /// The collection, if any.
    pub fn collection(&self) -> Option<&str> {
        None
    }
    /// The revision, if any, without `#`.
    pub fn revision(&self) -> Option<&str> {
        None
    }
    /// The parsed ALF name, or `None` where the file name is not ALF.
    pub fn name(&self) -> Option<&DatasetName> {
        self.name.as_ref()
    }
}
