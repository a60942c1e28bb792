//! What the ledger remembers for the registration: checksums, sessions whose last look is pending, and sessions that were
//! created.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use alyx_registration::{ChecksumCache, CreatedSessions, FileStamp, LastLook, LastLooks, Md5Sum};
use md5::{Digest, Md5};

use crate::ledger::rows::CREATED;
use crate::ledger::{FileKey, Ledger};

impl ChecksumCache for Ledger {
    fn find(&self, stamp: &FileStamp) -> Option<Md5Sum> {
        Md5Sum::parse(&self.checksum(&key(stamp)?, jiff::Timestamp::now())?)
    }

    fn keep(&self, stamp: &FileStamp, md5: Md5Sum) {
        if let Some(key) = key(stamp) {
            self.set_checksum(&key, &md5.to_string(), jiff::Timestamp::now());
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

impl LastLooks for Ledger {
    fn begin(&self, look: &LastLook) {
        if let Ok(text) = serde_json::to_string(look) {
            self.set_fact(&look_fact(look.flag()), &text);
        }
    }

    fn end(&self, flag: &Path) {
        self.forget_fact(&look_fact(flag));
    }

    fn pending(&self) -> Vec<LastLook> {
        self.facts(LAST_LOOK).iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }
}

impl CreatedSessions for Ledger {
    fn add(&self, eid: &str) {
        self.set_fact(&format!("{CREATED}{eid}"), &jiff::Timestamp::now().to_string());
    }

    fn contains(&self, eid: &str) -> bool {
        self.fact(&format!("{CREATED}{eid}")).is_some()
    }
}

/// The beginning of the names of facts that are last looks.
const LAST_LOOK: &str = "last look ";

/// By a digest: a path may be no text.
fn look_fact(flag: &Path) -> String {
    let digest = Md5::digest(flag.as_os_str().as_bytes());
    digest.iter().fold(LAST_LOOK.to_owned(), |name, byte| name + &format!("{byte:02x}"))
}
