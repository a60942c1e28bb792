//! The progress of a run, shared with whatever displays it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::hashing::disk_steps::DiskSteps;

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
    /// The calls to the file system that have not returned yet.
    pub steps: Arc<DiskSteps>,
    listed: Notify,
}

impl Progress {
    /// The progress of a run whose calls to the file system are among `steps`.
    pub fn with_steps(steps: Arc<DiskSteps>) -> Self {
        Self { steps, ..Self::default() }
    }

    /// The session is listed: this is its size.
    pub(crate) fn set_listed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.listed.notify_one();
    }

    /// Waits until the size of the session is known. For one caller.
    pub async fn listed(&self) -> u64 {
        self.listed.notified().await;
        self.bytes.load(Ordering::Relaxed)
    }
}
