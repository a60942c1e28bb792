//! A finding: one difference between Alyx and the disk. Pure.

use std::fmt;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// Alyx says that the file exists here, and there is none.
    Missing,
    /// A dataset by its name that Alyx does not know.
    UnknownToAlyx,
    /// The file has another size than its dataset, or than its copy in another folder of the session.
    SizeDiffers,
    /// The file or folder is here under another spelling: letter case, Unicode form, session number, revision.
    PathDiffers,
    /// Alyx holds no hash, or no size, of the dataset.
    NoHash,
    /// The file is here, and no file record of this repository says so.
    ExistsFalse,
    /// Two records of one file, or two sessions of one folder.
    TwiceOnAlyx,
    /// The session has no dataset on Alyx.
    SessionWithoutDatasets,
    /// A session folder whose session is not on Alyx.
    FolderWithoutSession,
    /// A session whose datasets exist here according to Alyx, and that has no folder.
    SessionWithoutFolder,
    /// The disk does not say whether the file is there, or what is in it.
    Unreadable,
    /// The content is not what Alyx holds, and neither are the times of the file those of an earlier reading.
    Changed,
    /// The content is not what Alyx holds, and the times of the file are those of an earlier reading.
    Rotten,
    /// The content is not what Alyx holds, and no earlier reading is known.
    Differs,
}

impl FindingKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::Missing,
        Self::SessionWithoutFolder,
        Self::SizeDiffers,
        Self::Rotten,
        Self::Changed,
        Self::Differs,
        Self::Unreadable,
        Self::PathDiffers,
        Self::TwiceOnAlyx,
        Self::UnknownToAlyx,
        Self::FolderWithoutSession,
        Self::SessionWithoutDatasets,
        Self::ExistsFalse,
        Self::NoHash,
    ];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownToAlyx => "unknown_to_alyx",
            Self::SizeDiffers => "size_differs",
            Self::PathDiffers => "path_differs",
            Self::NoHash => "no_hash",
            Self::ExistsFalse => "exists_false",
            Self::TwiceOnAlyx => "twice_on_alyx",
            Self::SessionWithoutDatasets => "session_without_datasets",
            Self::FolderWithoutSession => "folder_without_session",
            Self::SessionWithoutFolder => "session_without_folder",
            Self::Unreadable => "unreadable",
            Self::Changed => "changed",
            Self::Rotten => "rotten",
            Self::Differs => "differs",
        }
    }

    /// Whether registering the session ends it. While its flag is there, it is no finding yet.
    pub const fn ends_with_registration(self) -> bool {
        match self {
            Self::UnknownToAlyx
            | Self::ExistsFalse
            | Self::NoHash
            | Self::SessionWithoutDatasets
            | Self::FolderWithoutSession => true,
            Self::Missing
            | Self::SizeDiffers
            | Self::PathDiffers
            | Self::TwiceOnAlyx
            | Self::SessionWithoutFolder
            | Self::Unreadable
            | Self::Changed
            | Self::Rotten
            | Self::Differs => false,
        }
    }

    /// Whether only reading a file shows it.
    pub const fn needs_reading(self) -> bool {
        matches!(self, Self::Changed | Self::Rotten | Self::Differs)
    }

    /// Whether it says that a copy is not, or may not be, what Alyx holds: what a verification reports.
    pub const fn doubts_copy(self) -> bool {
        self.needs_reading()
            || matches!(
                self,
                Self::Missing
                    | Self::SessionWithoutFolder
                    | Self::SizeDiffers
                    | Self::Unreadable
                    | Self::NoHash
            )
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " ").replace("alyx", "Alyx"))
    }
}

/// A value on one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seen {
    /// A size in bytes.
    Bytes(u64),
    /// Anything else, in words or as a path.
    Text(String),
}

impl From<&str> for Seen {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// What differs.
    pub kind: FindingKind,
    /// The file, relative to the session; `None`: the session itself.
    pub path: Option<String>,
    /// The repository whose copy it is, if it has a name.
    pub repository: Option<String>,
    /// What Alyx says.
    pub expected: Option<Seen>,
    /// What the disk says.
    pub found: Option<Seen>,
}

impl Finding {
    /// A finding about the session itself.
    pub(crate) fn of_session(kind: FindingKind) -> Self {
        Self { kind, path: None, repository: None, expected: None, found: None }
    }

    /// A finding about a file.
    pub fn of_file(kind: FindingKind, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..Self::of_session(kind) }
    }

    /// The same, with what Alyx says.
    #[must_use]
    pub fn expected(self, expected: Seen) -> Self {
        Self { expected: Some(expected), ..self }
    }

    /// The same, with what the disk says.
    #[must_use]
    pub fn found(self, found: Seen) -> Self {
        Self { found: Some(found), ..self }
    }

    /// The same, of a copy in this repository.
    #[must_use]
    pub fn within(self, repository: Option<&str>) -> Self {
        Self { repository: repository.map(str::to_owned), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_reported_once_under_its_own_name() {
        let names: std::collections::BTreeSet<&str> = FindingKind::ALL.map(FindingKind::name).into();
        assert_eq!(names.len(), FindingKind::ALL.len());
    }
}
