//! What was verified: when each file was read last, and whether it was what Alyx holds.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::{Ledger, path, to_i64};
use alyx_registration::{EarlierRead, FileStamp, FindingKind, Md5Sum};

const NS: i64 = 1_000_000_000;

/// What reading a file has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is what Alyx holds.
    Equal,
    /// It is not.
    Not(FindingKind),
}

impl Verified {
    fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Not(kind) => kind.name(),
        }
    }

    fn of(name: &str) -> Self {
        let kind = FindingKind::ALL.into_iter().find(|kind| kind.name() == name);
        match name {
            "equal" => Self::Equal,
            _ => Self::Not(kind.unwrap_or(FindingKind::Differs)),
        }
    }
}

/// The latest reading of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRow {
    /// The file.
    pub path: PathBuf,
    /// The file, and its content, when it was last what Alyx holds; if it never was, at the latest reading.
    pub read: EarlierRead,
    /// When it was read last.
    pub at: Timestamp,
    /// What that has shown.
    pub result: Verified,
}

/// All that was verified, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifiedTotals {
    /// Files that were read.
    pub files: u64,
    /// Those of them that were not what Alyx holds.
    pub differ: u64,
    /// When the file was read that was verified longest ago.
    pub oldest: Option<Timestamp>,
}

impl Ledger {
    /// Whether a file was read since this time, was what Alyx holds, and has not changed since.
    pub fn was_verified_since(&self, file: &Path, since: Timestamp, stamp: &FileStamp) -> bool {
        self.verified(file).is_some_and(|row| row.is_good(since, stamp))
    }

    /// The latest reading of a file.
    pub fn verified(&self, file: &Path) -> Option<VerifiedRow> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT * FROM verified WHERE path = ?1")?
                .query_row([file.as_os_str().as_bytes()], verified_row)
                .optional()
        })?
    }

    /// The latest readings of the files below a folder.
    pub fn verified_below(&self, folder: &Path) -> HashMap<PathBuf, VerifiedRow> {
        let (from, to) = below(folder);
        let rows = self.with(|connection| {
            let mut query =
                connection.prepare_cached("SELECT * FROM verified WHERE path >= ?1 AND path < ?2")?;
            query.query_map([from, to], verified_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default().into_iter().map(|row| (row.path.clone(), row)).collect()
    }

    /// The session folders that were read completely, with the time of the file that was verified longest ago. Those that
    /// are not among them come first.
    pub fn verified_sessions(&self) -> HashMap<PathBuf, Timestamp> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT folder, verified_at FROM verified_session")?;
            let row = |row: &Row<'_>| Ok((path(row, "folder")?, time(row)?));
            query.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default().into_iter().collect()
    }

    /// Remembers readings. They are on disk on return.
    pub fn keep_verified(&self, rows: &[VerifiedRow]) {
        self.transact(|connection| rows.iter().try_for_each(|row| insert(connection, row)));
    }

    /// A session folder was read, `all` of it or until a limit: these are its files. It is as old as the one that was read
    /// longest ago, once all were read, be it in several runs. What is remembered of other files is forgotten.
    pub fn keep_verified_session(&self, folder: &Path, files: &[PathBuf], all: bool, at: Timestamp) {
        let known = self.verified_below(folder);
        if !all && !files.iter().all(|file| known.contains_key(file)) {
            return;
        }
        let gone: Vec<&PathBuf> = known.keys().filter(|file| !files.contains(file)).collect();
        let oldest = files.iter().filter_map(|file| known.get(file)).map(|row| row.at).min();
        self.transact(|connection| {
            for file in gone {
                let mut delete = connection.prepare_cached("DELETE FROM verified WHERE path = ?1")?;
                delete.execute([file.as_os_str().as_bytes()])?;
            }
            connection
                .prepare_cached("INSERT OR REPLACE INTO verified_session VALUES (?1, ?2)")?
                .execute(params![folder.as_os_str().as_bytes(), oldest.unwrap_or(at).as_millisecond()])
                .map(drop)
        });
    }

    /// What is known of earlier readings of a file: by its path, and by its inode from its registration.
    pub fn earlier_reads(&self, file: &Path, now: &FileStamp) -> Vec<EarlierRead> {
        let by_path = self.verified(file).map(|row| row.read);
        let by_inode = self.checksum_of_inode(now.device, now.inode).and_then(|(key, md5)| {
            let parts = |ns: i64| (ns.div_euclid(NS), ns.rem_euclid(NS));
            let stamp = FileStamp {
                device: key.device,
                inode: key.inode,
                size: key.size,
                modified: parts(key.mtime_ns),
                changed: parts(key.ctime_ns),
            };
            Some(EarlierRead { stamp, md5: Md5Sum::parse(&md5)? })
        });
        by_path.into_iter().chain(by_inode).collect()
    }

    /// What was verified, in numbers. A ledger of an earlier version knows nothing of that.
    pub fn verified_totals(&self) -> VerifiedTotals {
        let totals = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'verified'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(VerifiedTotals::default());
            }
            let count =
                "SELECT count(*), count(*) FILTER (WHERE result <> 'equal'), min(verified_at) FROM verified";
            connection.query_row(count, [], |row| {
                let number = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or_default());
                let oldest = row.get::<_, Option<i64>>(2)?;
                let oldest = oldest.and_then(|ms| Timestamp::from_millisecond(ms).ok());
                Ok(VerifiedTotals { files: number(0)?, differ: number(1)?, oldest })
            })
        });
        totals.unwrap_or_default()
    }
}

impl VerifiedRow {
    /// Whether the file was what Alyx holds at this time or later, and has not changed since. Pure.
    pub fn is_good(&self, since: Timestamp, stamp: &FileStamp) -> bool {
        self.result == Verified::Equal && self.at >= since && self.read.stamp == *stamp
    }

    /// The row of a reading; `earlier`: that of the reading before. What was once as Alyx holds it stays known: later
    /// readings that differ are compared with that. Pure.
    #[must_use]
    pub fn after(self, earlier: Option<&Self>, is_content: impl Fn(Md5Sum) -> bool) -> Self {
        match earlier.filter(|earlier| self.result != Verified::Equal && is_content(earlier.read.md5)) {
            Some(earlier) => Self { read: earlier.read, ..self },
            None => self,
        }
    }
}

/// The first path below a folder, and the first one behind all of them.
fn below(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let with = |end: u8| [folder.as_os_str().as_bytes(), &[end]].concat();
    (with(b'/'), with(b'/' + 1))
}

fn insert(connection: &Connection, row: &VerifiedRow) -> rusqlite::Result<()> {
    let FileStamp { device, inode, size, modified, changed } = row.read.stamp;
    let ns = |(seconds, ns): (i64, i64)| seconds.saturating_mul(NS).saturating_add(ns);
    connection
        .prepare_cached("INSERT OR REPLACE INTO verified VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            row.path.as_os_str().as_bytes(),
            to_i64(device),
            to_i64(inode),
            to_i64(size),
            ns(modified),
            ns(changed),
            row.read.md5.to_string(),
            row.at.as_millisecond(),
            row.result.name(),
        ])
        .map(drop)
}

fn verified_row(row: &Row<'_>) -> rusqlite::Result<VerifiedRow> {
    let file: Vec<u8> = row.get("path")?;
    let number = |column| row.get::<_, i64>(column).map(|n| u64::from_ne_bytes(n.to_ne_bytes()));
    let parts = |column| row.get::<_, i64>(column).map(|ns| (ns.div_euclid(NS), ns.rem_euclid(NS)));
    let stamp = FileStamp {
        device: number("device")?,
        inode: number("inode")?,
        size: number("size")?,
        modified: parts("mtime")?,
        changed: parts("ctime")?,
    };
    // An edited row agrees with no dataset.
    let md5 = Md5Sum::parse(&row.get::<_, String>("md5")?).unwrap_or_else(|| Md5Sum::from([0; 16]));
    Ok(VerifiedRow {
        path: PathBuf::from(OsStr::from_bytes(&file)),
        read: EarlierRead { stamp, md5 },
        at: time(row)?,
        result: Verified::of(&row.get::<_, String>("result")?),
    })
}

fn time(row: &Row<'_>) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(row.get("verified_at")?).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stamp(mtime: i64) -> FileStamp {
        FileStamp { device: 1, inode: 2, size: 3, modified: (mtime, 5), changed: (-1, 7) }
    }

    fn row(path: &str, seconds: i64, result: Verified) -> VerifiedRow {
        let read = EarlierRead { stamp: stamp(9), md5: Md5Sum::from([1; 16]) };
        VerifiedRow { path: path.into(), read, at: at(seconds), result }
    }

    #[test]
    fn a_file_counts_as_verified_since_a_time_while_it_is_equal_and_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path());
        let (file, other) = (Path::new("/d/s/a"), Path::new("/d/s/b"));
        assert!(!ledger.was_verified_since(file, at(0), &stamp(9)));
        let rows =
            [row("/d/s/a", 10, Verified::Equal), row("/d/s/b", 10, Verified::Not(FindingKind::Rotten))];
        ledger.keep_verified(&rows);
        drop(ledger);
        let ledger = Ledger::open(folder.path());
        assert_eq!(ledger.verified(other), Some(rows[1].clone()));
        for (path, since, mtime, expected) in
            [(file, 10, 9, true), (file, 11, 9, false), (file, 10, 8, false), (other, 0, 9, false)]
        {
            assert_eq!(
                ledger.was_verified_since(path, at(since), &stamp(mtime)),
                expected,
                "{path:?} {since}"
            );
        }
        let totals = VerifiedTotals { files: 2, differ: 1, oldest: Some(at(10)) };
        assert_eq!(ledger.verified_totals(), totals);
    }

    #[test]
    fn a_session_is_as_old_as_its_oldest_reading_and_forgets_files_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path());
        let equal = |path: &str, at| row(path, at, Verified::Equal);
        ledger.keep_verified(&[
            equal("/d/s/a", 30),
            equal("/d/s/x/b", 20),
            equal("/d/s/c", 10),
            equal("/d/s2/a", 5),
        ]);
        assert_eq!(ledger.verified_below(Path::new("/d/s")).len(), 3);
        assert_eq!(ledger.verified_sessions().len(), 0, "not read completely");
        ledger.keep_verified_session(Path::new("/d/s"), &["/d/s/a".into(), "/d/s/x/b".into()], false, at(40));
        ledger.keep_verified_session(Path::new("/d/empty"), &[], true, at(40));
        ledger.keep_verified_session(
            Path::new("/d/s2"),
            &["/d/s2/a".into(), "/d/s2/b".into()],
            false,
            at(40),
        );
        let sessions = ledger.verified_sessions();
        assert_eq!((sessions[Path::new("/d/s")], sessions[Path::new("/d/empty")]), (at(20), at(40)));
        assert!(!sessions.contains_key(Path::new("/d/s2")), "a file was not read yet");
        assert_eq!(ledger.verified(Path::new("/d/s/c")), None);
        assert!(ledger.verified(Path::new("/d/s2/a")).is_some());
    }

    #[test]
    fn the_last_reading_that_agreed_stays_the_measure() {
        let (good, bad) = (Md5Sum::from([1; 16]), Md5Sum::from([2; 16]));
        let first = row("/a", 1, Verified::Equal);
        let read = EarlierRead { stamp: stamp(20), md5: bad };
        let second =
            VerifiedRow { read, at: at(2), result: Verified::Not(FindingKind::Changed), ..first.clone() };
        let kept = second.clone().after(Some(&first), |md5| md5 == good);
        assert_eq!((kept.read, kept.at, kept.result), (first.read, at(2), second.result));
        // Alyx holds another content since: the earlier one says nothing any more.
        assert_eq!(second.clone().after(Some(&first), |md5| md5 == bad).read, second.read);
        assert_eq!(second.clone().after(None, |md5| md5 == good), second);
    }

    #[test]
    fn what_a_registration_has_read_is_known_by_its_inode() {
        use alyx_registration::ChecksumCache;
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path());
        let md5 = Md5Sum::from([1; 16]);
        ledger.keep(&stamp(9), md5);
        let moved = stamp(20);
        assert_eq!(ledger.earlier_reads(Path::new("/a"), &moved), [EarlierRead { stamp: stamp(9), md5 }]);
        let other = FileStamp { inode: 99, ..moved };
        assert_eq!(ledger.earlier_reads(Path::new("/a"), &other), []);
    }
}
