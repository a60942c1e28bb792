//! The checksums of the ledger: the MD5 of a file in one exact state.
//!
//! They are written together, with the next transaction or a second after the last, because each transaction waits for
//! the disk. One that a crash loses costs a second reading of its file.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::{Ledger, to_i64};

/// How long an unused checksum is kept.
pub(super) const KEEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);
/// The maximum number of rows, about 100 bytes each.
pub(super) const MAX_ROWS: u32 = 500_000;
/// The last use is recorded to the day, in milliseconds.
const USE_RESOLUTION_MS: i64 = 24 * 3600 * 1000;
/// What is written together at most, and how long it may wait.
const MAX_UNWRITTEN: usize = 1000;
const WRITE_AFTER: Duration = Duration::from_secs(1);

/// Identifies one state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Device of the file system.
    pub device: u64,
    /// Inode of the file on that device.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of any kind, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// The MD5 of a file in one state, and when it was used last.
pub(super) type Checksum = (FileKey, String, Timestamp);

/// Checksums that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// By device and inode: the latest state of a file replaces earlier ones.
    rows: HashMap<(u64, u64), Checksum>,
    /// When the last were written.
    last: Option<Instant>,
}

impl Unwritten {
    /// Takes all, to write them. In the transaction of something else, they cost no wait of their own.
    pub(super) fn take(&mut self) -> Vec<Checksum> {
        self.last = Some(Instant::now());
        self.rows.drain().map(|(_, checksum)| checksum).collect()
    }

    fn is_due(&self) -> bool {
        self.rows.len() >= MAX_UNWRITTEN || self.last.is_none_or(|last| last.elapsed() >= WRITE_AFTER)
    }
}

impl Ledger {
    /// The MD5 of a file in exactly this state, if known.
    pub fn checksum(&self, key: &FileKey, now: Timestamp) -> Option<String> {
        if let Some((of, md5, _)) = self.unwritten().rows.get(&(key.device, key.inode)) {
            return (of == key).then(|| md5.clone());
        }
        let (md5, stored_proof, used) = self.with(|connection| find(connection, key))??;
        if stored_proof != proof(key, &md5) {
            return None;
        }
        if now.as_millisecond().saturating_sub(used) > USE_RESOLUTION_MS {
            self.set_checksum(key, &md5, now);
        }
        Some(md5)
    }

    /// The state of a file, by its inode, in which its MD5 was remembered last, and that MD5.
    pub fn checksum_of_inode(&self, device: u64, inode: u64) -> Option<(FileKey, String)> {
        if let Some((key, md5, _)) = self.unwritten().rows.get(&(device, inode)) {
            return Some((*key, md5.clone()));
        }
        let (key, md5, stored_proof) = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT size, mtime, ctime, md5, proof FROM checksum WHERE device = ?1 AND inode = ?2",
                )?
                .query_row([to_i64(device), to_i64(inode)], |row| {
                    let size = u64::from_ne_bytes(row.get::<_, i64>(0)?.to_ne_bytes());
                    let key = FileKey { device, inode, size, mtime_ns: row.get(1)?, ctime_ns: row.get(2)? };
                    Ok((key, row.get::<_, String>(3)?, row.get::<_, String>(4)?))
                })
                .optional()
        })??;
        (stored_proof == proof(&key, &md5)).then_some((key, md5))
    }

    /// Remembers the MD5 of a file in this state, and forgets that of earlier states.
    pub fn set_checksum(&self, key: &FileKey, md5: &str, now: Timestamp) {
        let is_due = {
            let mut unwritten = self.unwritten();
            unwritten.rows.insert((key.device, key.inode), (*key, md5.to_owned(), now));
            unwritten.is_due()
        };
        if is_due {
            self.write_checksums();
        }
    }

    /// Writes the checksums that are not written yet.
    pub(super) fn write_checksums(&self) {
        if !self.unwritten().rows.is_empty() {
            self.transact(|_| Ok(()));
        }
    }

    pub(super) fn unwritten(&self) -> std::sync::MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A check digest that a damaged or edited row fails: a wrong MD5 on Alyx is worse than none.
fn proof(key: &FileKey, md5: &str) -> String {
    let text = format!("{} {} {} {} {} {md5}", key.device, key.inode, key.size, key.mtime_ns, key.ctime_ns);
    Md5::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn find(connection: &Connection, key: &FileKey) -> rusqlite::Result<Option<(String, String, i64)>> {
    connection
        .prepare_cached(
            "SELECT md5, proof, used FROM checksum
             WHERE device = ?1 AND inode = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5",
        )?
        .query_row(
            params![to_i64(key.device), to_i64(key.inode), to_i64(key.size), key.mtime_ns, key.ctime_ns],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
}

/// Inserts rows; each replaces that of an earlier state of its file.
pub(super) fn insert(connection: &Connection, rows: &[Checksum]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO checksum VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (key, md5, now) in rows {
        insert.execute(params![
            to_i64(key.device),
            to_i64(key.inode),
            to_i64(key.size),
            key.mtime_ns,
            key.ctime_ns,
            md5,
            proof(key, md5),
            now.as_millisecond()
        ])?;
    }
    Ok(())
}
