//! What the ledger remembers for the registration: checksums.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use alyx_registration::{ChecksumCache, FileStamp};

use crate::ledger::{FileKey, Ledger};

impl ChecksumCache for Ledger {
    fn find(&self, stamp: &FileStamp) -> Option<String> {
        self.checksum(&key(stamp)?, jiff::Timestamp::now())
    }

    fn keep(&self, stamp: &FileStamp, md5: &str) {
        if let Some(key) = key(stamp) {
            self.set_checksum(&key, md5, jiff::Timestamp::now());
        }
    }
}

/// `None` if the file's times are out of range and so identify nothing.
fn key(stamp: &FileStamp) -> Option<FileKey> {
    let ns = |(seconds, ns): (i64, i64)| seconds.checked_mul(1_000_000_000)?.checked_add(ns);
    Some(FileKey {
        device: stamp.device,
        inode: stamp.inode,
        size: stamp.size,
        mtime_ns: ns(stamp.modified)?,
        ctime_ns: ns(stamp.changed)?,
    })
}
