//! The rows of the ledger: what waits, what became of earlier attempts, and checksums.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// How long an unused checksum is kept.
const KEEP_CHECKSUMS: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);
/// Outcomes older than this are forgotten.
const KEEP_OUTCOMES: jiff::SignedDuration = jiff::SignedDuration::from_hours(180 * 24);
/// The most rows of each kind, about 100 bytes each.
const MOST_CHECKSUMS: u32 = 500_000;
const MOST_OUTCOMES: u32 = 100_000;
/// How exactly the last use of a checksum is known, in milliseconds: a day.
const USE_IS_NOTED_AFTER: i64 = 24 * 3600 * 1000;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Device of the file system.
    pub device: u64,
    /// Number of the file on that device.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of any kind, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// A flag whose session waits after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// The flag.
    pub flag: PathBuf,
    /// Its state, as text that the writer chooses. A flag in another state was touched and starts afresh.
    pub stamp: String,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// Since when the flag is known.
    pub since: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried next.
    pub next: Timestamp,
    /// Whether it needs attention.
    pub needs_attention: bool,
    /// Why it failed.
    pub error: String,
    /// What to do about it.
    pub next_step: String,
    /// Names that Alyx did not know, each as kind and name.
    pub missing: Vec<(String, String)>,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// When.
    pub at: Timestamp,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// Subject of the session, where the folder is one.
    pub subject: Option<String>,
    /// Day of the session, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// The flag.
    pub flag: PathBuf,
    /// Number of the attempt, counted from 1.
    pub attempt: u32,
    /// `registered`, `retry`, `needs_attention` …
    pub outcome: String,
    /// The session's UUID on Alyx.
    pub eid: Option<String>,
    /// Datasets registered.
    pub n_files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How long the attempt took.
    pub took: Duration,
    /// Files that are no datasets, counted by reason.
    pub left_out: String,
    /// Why it failed.
    pub error: Option<String>,
    /// What to do about it.
    pub next_step: Option<String>,
    /// When it is tried next.
    pub next: Option<Timestamp>,
}

/// That a session was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredRow {
    /// When.
    pub at: Timestamp,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// Size of its datasets in bytes.
    pub bytes: u64,
}

/// What [`Ledger::record`] does about the row of a flag that waits.
#[derive(Debug, Clone, Copy)]
pub enum Answered<'a> {
    /// The flag waits.
    Waits(&'a WaitingRow),
    /// It does not wait any more.
    Over(&'a Path),
    /// The row stays as it is.
    AsBefore,
}

/// Which outcomes are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Of this subject only.
    pub subject: Option<String>,
    /// Of sessions of this day only, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// With this outcome only.
    pub outcome: Option<String>,
    /// Of this session only, `subject/date/number`.
    pub session: Option<String>,
    /// At most N, the latest. 0: all.
    pub limit: usize,
}

/// Times before 1970 and numbers beyond `i64` do not happen on disk; where they do, the row is useless, not wrong.
fn number(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::from_ne_bytes(n.to_ne_bytes()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(row.get(column)?).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<PathBuf> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

/// A few letters that a damaged or mistyped row does not have right: a wrong MD5 on Alyx is worse than none.
fn proof(key: &FileKey, md5: &str) -> String {
    let text = format!("{} {} {} {} {} {md5}", key.device, key.inode, key.size, key.mtime_ns, key.ctime_ns);
    Md5::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl Ledger {
    /// The MD5 of a file in this very state, if it is known.
    pub fn checksum(&self, key: &FileKey, now: Timestamp) -> Option<String> {
        let found = self.with(|connection| find_checksum(connection, key))??;
        let (md5, given, used) = found;
        if given != proof(key, &md5) {
            return None;
        }
        if now.as_millisecond().saturating_sub(used) > USE_IS_NOTED_AFTER {
            self.write(|connection| {
                connection
                    .prepare_cached("UPDATE checksum SET used = ?3 WHERE device = ?1 AND inode = ?2")?
                    .execute(params![number(key.device), number(key.inode), now.as_millisecond()])
            });
        }
        Some(md5)
    }

    /// Remembers the MD5 of a file in this state; an earlier state is forgotten.
    pub fn keep_checksum(&self, key: &FileKey, md5: &str, now: Timestamp) {
        self.write(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO checksum VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute(params![
                    number(key.device),
                    number(key.inode),
                    number(key.size),
                    key.mtime_ns,
                    key.ctime_ns,
                    md5,
                    proof(key, md5),
                    now.as_millisecond()
                ])
        });
    }

    /// Remembers how an attempt ended, and whether its flag waits now. On disk when it returns.
    pub fn record(&self, outcome: &OutcomeRow, waiting: Answered<'_>) {
        self.durably(|transaction| {
            insert_outcome(transaction, outcome)?;
            answer(transaction, waiting)
        });
    }

    /// Remembers whether a flag waits. On disk when it returns.
    pub fn note(&self, waiting: Answered<'_>) {
        self.durably(|transaction| answer(transaction, waiting));
    }

    fn durably(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Option<()> {
        self.write(|connection| {
            connection.execute_batch("PRAGMA synchronous = FULL")?;
            let outcome = (|| {
                let transaction = connection.transaction()?;
                work(&transaction)?;
                transaction.commit()
            })();
            connection.execute_batch("PRAGMA synchronous = NORMAL")?;
            outcome
        })
    }

    /// The flags that waited when this was last written, by next attempt.
    pub fn waiting(&self) -> Vec<WaitingRow> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT * FROM waiting ORDER BY next, flag")?;
            query.query_map([], waiting_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Earlier outcomes, the latest first.
    pub fn history(&self, filter: &HistoryFilter) -> Vec<OutcomeRow> {
        let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT * FROM outcome
                 WHERE (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR date = ?2)
                   AND (?3 IS NULL OR outcome = ?3) AND (?4 IS NULL OR session = ?4)
                 ORDER BY at DESC, id DESC LIMIT ?5",
            )?;
            let filled = params![
                filter.subject,
                filter.date,
                filter.outcome.as_deref().map(stored_word),
                filter.session,
                limit
            ];
            query.query_map(filled, outcome_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// The sessions that were registered since a time, the earliest first.
    pub fn registered_since(&self, since: Timestamp) -> Vec<RegisteredRow> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, session, bytes FROM outcome WHERE at >= ?1 AND outcome = 'registered' ORDER BY at, id",
            )?;
            let row = |row: &Row<'_>| {
                Ok(RegisteredRow {
                    at: time(row, "at")?,
                    session: row.get("session")?,
                    bytes: unsigned(row, "bytes")?,
                })
            };
            query.query_map([since.as_millisecond()], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Makes sessions due at once: one, or all that wait. Returns how many; `None` where it cannot be written.
    pub fn make_due(&self, session: Option<&str>, now: Timestamp) -> Option<usize> {
        self.write(|connection| {
            connection.execute(
                "UPDATE waiting SET next = ?2 WHERE ?1 IS NULL OR session = ?1",
                params![session, now.as_millisecond()],
            )
        })
    }

    /// Forgets the attempts and outcomes of a session. Its flag is not touched. Returns how many rows there were;
    /// `None` where it cannot be written.
    pub fn forget(&self, session: &str) -> Option<usize> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            let waiting = transaction.execute("DELETE FROM waiting WHERE session = ?1", [session])?;
            let outcomes = transaction.execute("DELETE FROM outcome WHERE session = ?1", [session])?;
            transaction.commit()?;
            Ok(waiting + outcomes)
        })
    }

    /// A fact, such as under which configuration the last failures happened.
    pub fn fact(&self, name: &str) -> Option<String> {
        let query = "SELECT value FROM fact WHERE name = ?1";
        self.with(|connection| connection.query_row(query, [name], |row| row.get(0)).optional())?
    }

    /// Forgets a fact.
    pub fn forget_fact(&self, name: &str) {
        self.with(|connection| connection.execute("DELETE FROM fact WHERE name = ?", [name]).map(drop));
    }

    /// Remembers a fact.
    pub fn keep_fact(&self, name: &str, value: &str) {
        self.write(|connection| {
            connection.execute("INSERT OR REPLACE INTO fact VALUES (?1, ?2)", [name, value])
        });
    }

    /// Forgets what is old, and what is too much. Done by itself now and then.
    pub fn prune(&self, now: Timestamp) {
        self.prune_to(now, MOST_CHECKSUMS, MOST_OUTCOMES);
    }

    pub(super) fn prune_to(&self, now: Timestamp, checksums: u32, outcomes: u32) {
        let before = |age| now.checked_sub(age).map_or(0, |time: Timestamp| time.as_millisecond());
        let (used, ended) = (before(KEEP_CHECKSUMS), before(KEEP_OUTCOMES));
        self.with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM checksum WHERE used < ?1", [used])?;
            transaction.execute("DELETE FROM outcome WHERE at < ?1", [ended])?;
            let stale = "DELETE FROM fact WHERE name LIKE 'creating %' AND CAST(value AS INTEGER) < ?1";
            transaction.execute(stale, [used])?;
            // A flag that waits is tried hourly at least: a row of that age belongs to a flag that is gone.
            transaction.execute("DELETE FROM waiting WHERE next < ?1", [used])?;
            transaction.execute(
                "DELETE FROM checksum WHERE used < (SELECT used FROM checksum ORDER BY used DESC LIMIT 1 OFFSET ?1)",
                [checksums],
            )?;
            transaction.execute(
                "DELETE FROM outcome WHERE id <= (SELECT id FROM outcome ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                [outcomes],
            )?;
            transaction.commit()
        });
    }
}

fn find_checksum(connection: &Connection, key: &FileKey) -> rusqlite::Result<Option<(String, String, i64)>> {
    connection
        .prepare_cached(
            "SELECT md5, proof, used FROM checksum
             WHERE device = ?1 AND inode = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5",
        )?
        .query_row(
            params![number(key.device), number(key.inode), number(key.size), key.mtime_ns, key.ctime_ns],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
}

fn insert_outcome(connection: &Connection, row: &OutcomeRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outcome VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            row.at.as_millisecond(),
            row.session,
            row.subject,
            row.date,
            row.flag.as_os_str().as_bytes(),
            row.attempt,
            stored_word(&row.outcome),
            row.eid,
            number(row.n_files),
            number(row.bytes),
            millis(row.took),
            row.left_out,
            row.error,
            row.next_step,
            row.next.map(Timestamp::as_millisecond),
        ])
        .map(drop)
}

fn answer(connection: &Connection, waiting: Answered<'_>) -> rusqlite::Result<()> {
    match waiting {
        Answered::AsBefore => Ok(()),
        Answered::Over(flag) => connection
            .prepare_cached("DELETE FROM waiting WHERE flag = ?1")?
            .execute([flag.as_os_str().as_bytes()])
            .map(drop),
        Answered::Waits(row) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO waiting VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                row.flag.as_os_str().as_bytes(),
                row.stamp,
                row.session,
                row.since.as_millisecond(),
                row.failures,
                row.next.as_millisecond(),
                row.needs_attention,
                row.error,
                row.next_step,
                serde_json::to_string(&row.missing).unwrap_or_default(),
            ])
            .map(drop),
    }
}

fn waiting_row(row: &Row<'_>) -> rusqlite::Result<WaitingRow> {
    let missing: String = row.get("missing")?;
    Ok(WaitingRow {
        flag: path(row, "flag")?,
        stamp: row.get("stamp")?,
        session: row.get("session")?,
        since: time(row, "since")?,
        failures: row.get("failures")?,
        next: time(row, "next")?,
        needs_attention: row.get("needs_person")?,
        error: row.get("error")?,
        next_step: row.get("next_step")?,
        missing: serde_json::from_str(&missing).unwrap_or_default(),
    })
}

/// The word for `needs_attention` in the file, as 0.1.0 wrote it: a ledger can be read by either version.
const STORED_NEEDS_ATTENTION: &str = "needs_person";

fn stored_word(outcome: &str) -> &str {
    if outcome == "needs_attention" { STORED_NEEDS_ATTENTION } else { outcome }
}

fn word_of(stored: String) -> String {
    if stored == STORED_NEEDS_ATTENTION { "needs_attention".to_owned() } else { stored }
}

fn outcome_row(row: &Row<'_>) -> rusqlite::Result<OutcomeRow> {
    Ok(OutcomeRow {
        at: time(row, "at")?,
        session: row.get("session")?,
        subject: row.get("subject")?,
        date: row.get("date")?,
        flag: path(row, "flag")?,
        attempt: row.get("attempt")?,
        outcome: word_of(row.get("outcome")?),
        eid: row.get("eid")?,
        n_files: unsigned(row, "n_files")?,
        bytes: unsigned(row, "bytes")?,
        took: Duration::from_millis(unsigned(row, "took")?),
        left_out: row.get("left_out")?,
        error: row.get("error")?,
        next_step: row.get("next_step")?,
        next: row.get::<_, Option<i64>>("next")?.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    })
}
