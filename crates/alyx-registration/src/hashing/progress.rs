//! The progress of a run, shared with whatever displays it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// How much of a session has been read. Shared, and updated during the run.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files to read.
    pub files: AtomicU64,
    /// Files read.
    pub files_done: AtomicU64,
    /// Bytes to read.
    pub bytes: AtomicU64,
    /// Bytes read.
    pub bytes_done: AtomicU64,
    /// Of these, the bytes of files whose checksum was in the cache, and that were not read again.
    pub bytes_known: AtomicU64,
    /// UUID of the session once it is known, even if the run fails later.
    pub eid: OnceLock<String>,
    /// Everything is confirmed, and the flag is being removed. What follows is short, and is better not cut off.
    pub is_ending: AtomicBool,
}
