//! A dataset name: the file name of an ALF dataset and its parts.

/// The file name of an ALF dataset: `[_namespace_]object.attribute[_timescale][.extra…].extension`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetName {
    name: String,
}

/// Not an ALF file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ALF name (object.attribute.extension)")]
pub struct DatasetNameError(pub String);

impl DatasetName {
    /// Parses a file name.
    ///
    /// # Errors
    /// The name, where it is not ALF.
    pub fn parse(name: &str) -> Result<Self, DatasetNameError> {
        Ok(Self { name: name.to_owned() })
    }

    /// The whole file name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}
