//! The options of a sandbox.

use std::path::PathBuf;

use crate::seed::Seed;

/// Where a sandbox keeps its state.
#[derive(Clone, Debug, PartialEq)]
pub enum Database {
    /// In memory: lost when the sandbox is dropped.
    Memory,
    /// In an SQLite file that only its owner can read. An existing file keeps its records.
    File(PathBuf),
}

/// The options of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where the state is kept.
    pub database: Database,
    /// The first records of a new database; ignored for a database that has been used.
    pub seed: Seed,
    /// Requests allowed per user and minute, then 429 with `Retry-After`; `None`: no limit. Alyx ships with 550.
    pub throttle: Option<u32>,
    /// Creates labs and subjects when they are first read, so that a user can try the program on his own data without
    /// entering the animals first. A real Alyx does not do this.
    pub auto_create: bool,
}

impl Default for SandboxOptions {
    /// In memory, with the shipped seed, without a limit.
    fn default() -> Self {
        SandboxOptions {
            database: Database::Memory,
            seed: Seed::default(),
            throttle: None,
            auto_create: false,
        }
    }
}
