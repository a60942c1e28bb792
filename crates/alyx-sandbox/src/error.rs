//! The errors of starting a sandbox.

use std::path::PathBuf;

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The seed cannot be read.
    #[error("the sandbox's seed cannot be used: {0}. Compare it with the built-in seed, or leave it out")]
    Seed(String),
    /// The database file cannot be opened.
    #[error(
        "cannot open the sandbox's database {0}: {1}. Choose a file in a folder that this user can write to"
    )]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite failed.
    #[error("the sandbox's database does not work: {0}. Delete the file to start afresh, or choose another")]
    Store(#[source] rusqlite::Error),
    /// No port is available.
    #[error("the sandbox cannot listen on this computer: {0}. Check whether the port is in use")]
    Listen(#[source] std::io::Error),
}
