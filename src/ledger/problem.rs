//! Why the ledger cannot be used, and the fix.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the ledger cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// Written by a newer version of this program, with this version of the schema.
    Newer(u32),
    /// Damaged, or not a ledger.
    Corrupt(String),
    /// A folder, a pipe or another entry that is not a file, at this path.
    NotAFile(PathBuf),
    /// Deleted while in use.
    Deleted,
    /// The disk is full.
    Full,
    /// Another process keeps it locked.
    Locked,
    /// Permissions, a read-only disk, a failing disk.
    Unusable(String),
}

impl Problem {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // `Unknown` is a missing table: not our file, or one that was cut short.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Corrupt(error.to_string())
            }
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(_) => Self::Unusable(error.to_string()),
            // A value of another type: not our file.
            None => Self::Corrupt(error.to_string()),
        }
    }

    /// A key for each kind, so that each is logged once.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Newer(_) => "newer",
            Self::Corrupt(_) => "corrupt",
            Self::NotAFile(_) => "not_a_file",
            Self::Deleted => "deleted",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Unusable(_) => "unusable",
        }
    }

    /// The problem and what to do.
    pub(super) fn advice(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Newer(version) => format!(
                "{path} was written by a newer version of this program (schema {version}) and is not changed; \
                 sessions are still registered, but outcomes are not recorded. Install the newer version, or move \
                 the file away"
            ),
            Self::Corrupt(why) => format!(
                "{path} is damaged ({why}); the daemon renames it to ledger.sqlite.damaged and creates a new one. Only the \
                 record of earlier attempts is lost. If it happens again, check the disk"
            ),
            Self::NotAFile(at) => format!(
                "{} is not a file; sessions are still registered, but outcomes are not recorded. Remove it, or rename it",
                at.display()
            ),
            Self::Deleted => format!(
                "{path} was deleted while in use; a new one is created. Only the record of earlier attempts is lost"
            ),
            Self::Full => format!(
                "{path} cannot grow: the disk is full. Sessions are still registered, but outcomes are not recorded \
                 until there is space"
            ),
            Self::Locked => format!(
                "{path} is locked by another program; outcomes are not recorded until it is released. Close the \
                 program that has the file open"
            ),
            Self::Unusable(why) => format!(
                "{path} cannot be used ({why}); sessions are still registered, but outcomes are not recorded. Give \
                 the folder to the service user (chown, chmod 750), or set state_dir"
            ),
        }
    }
}
