//! The rows of the ledger: waiting flags, outcomes of attempts, and facts.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, checksums, path, sightings, to_i64, trails};
use alyx_registration::{Gap, LeftOut, Trail};

/// How long what belongs to an outcome is kept, such as an acknowledged gap.
const KEEP_FACTS: jiff::SignedDuration = jiff::SignedDuration::from_hours(180 * 24);
/// The maximum number of outcomes.
const MAX_OUTCOMES: u32 = 100_000;
/// How many looks that are due are kept.
const MAX_LOOKS: u32 = 20_000;
/// The beginning of the names of facts that are sessions that were created; the value is when.
pub(super) const CREATED: &str = "created ";
/// Files of one outcome that are kept by name.
const MAX_NAMED: usize = 20;
/// A flag whose session waits after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// The flag.
    pub flag: PathBuf,
    /// Its state, in the writer's own format. A flag in another state was touched and starts over.
    pub stamp: String,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// When the flag was first seen.
    pub since: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// When the next attempt starts.
    pub next: Timestamp,
    /// Whether it needs attention.
    pub needs_attention: bool,
    /// The kind of the last error; `None` in an entry of an earlier version.
    pub kind: Option<String>,
    /// The last error.
    pub error: String,
    /// What to do about it.
    pub next_step: String,
    /// Names that Alyx did not know, each as kind and name.
    pub missing: Vec<(String, String)>,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFile {
    /// Relative to the session.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl From<&LeftOut> for NamedFile {
    fn from(file: &LeftOut) -> Self {
        Self { path: file.path.to_string_lossy().into_owned(), reason: file.reason.to_string() }
    }
}

impl NamedFile {
    /// The files of a gap.
    pub fn of(gap: &Gap) -> Vec<Self> {
        let file = |path: &Path| Self {
            path: path.to_string_lossy().into_owned(),
            reason: gap.kind().replace('_', " "),
        };
        gap.files().into_iter().take(MAX_NAMED).map(file).collect()
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// When.
    pub at: Timestamp,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// Subject of the session, if the folder is a session.
    pub subject: Option<String>,
    /// Day of the session, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// The flag.
    pub flag: PathBuf,
    /// Number of the attempt, counted from 1.
    pub attempt: u32,
    /// `registered`, `gaps`, `retry`, `needs_attention`, or `recorded` for what is of no session, such as a measurement.
    pub outcome: String,
    /// The session's UUID on Alyx.
    pub eid: Option<String>,
    /// Datasets registered.
    pub n_files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How long the attempt took.
    pub took: Duration,
    /// Files that are not datasets, counted by reason.
    pub left_out: String,
    /// The first of them by name, without those that are only counted.
    pub files: Vec<NamedFile>,
    /// What the session's files say of it, and which say it; `None` also in an entry of an earlier version.
    pub described: Option<String>,
    /// The kind of the error; `None` also in an entry of an earlier version.
    pub kind: Option<String>,
    /// The error, if it failed.
    pub error: Option<String>,
    /// What to do about it.
    pub next_step: Option<String>,
    /// When the next attempt starts.
    pub next: Option<Timestamp>,
    /// The command that a person gave, such as `register-session`; `None` for a flag.
    pub by: Option<String>,
    /// Its files by name, to be written; what is read has none, see [`Ledger::trail`].
    #[serde(skip)]
    pub trail: Arc<Trail>,
}

impl OutcomeRow {
    /// Whether the session was registered, with or without gaps.
    pub fn is_registered(&self) -> bool {
        ["registered", "gaps"].contains(&self.outcome.as_str())
    }
}

/// The registration of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredRow {
    /// When.
    pub at: Timestamp,
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// Size of its datasets in bytes.
    pub bytes: u64,
}

/// The change to a flag's row in the table of waiting flags.
#[derive(Debug, Clone, Copy)]
pub enum WaitingChange<'a> {
    /// The flag waits: insert or replace its row.
    Set(&'a WaitingRow),
    /// The flag no longer waits: delete its row.
    Remove(&'a Path),
    /// Leave the row as it is.
    Keep,
}

/// Which outcomes to return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only those of this subject.
    pub subject: Option<String>,
    /// Only those of sessions of this day, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Only this outcome.
    pub outcome: Option<String>,
    /// Only those of this session, `subject/date/number`.
    pub session: Option<String>,
    /// Only those with files that were left out by name.
    pub left_out: bool,
    /// Also what was recorded of no session, such as a measurement.
    pub measurements: bool,
    /// At most this number, the latest. 0: all.
    pub limit: usize,
}

fn get_u64(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::from_ne_bytes(n.to_ne_bytes()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(row.get(column)?).unwrap_or(Timestamp::UNIX_EPOCH))
}

impl Ledger {
    /// Records the outcome of an attempt, and whether its flag waits now. On disk on return.
    pub fn record(&self, outcome: &OutcomeRow, change: WaitingChange<'_>) {
        self.transact(|transaction| {
            insert_outcome(transaction, outcome)?;
            apply_change(transaction, change)
        });
    }

    /// Records whether a flag waits. On disk on return.
    pub fn update_waiting(&self, change: WaitingChange<'_>) {
        self.transact(|transaction| apply_change(transaction, change));
    }

    /// The waiting flags as last written, by next attempt.
    pub fn waiting(&self) -> Vec<WaitingRow> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT * FROM waiting ORDER BY next, flag")?;
            query.query_map([], waiting_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Outcomes, the latest first.
    pub fn history(&self, filter: &HistoryFilter) -> Vec<OutcomeRow> {
        self.history_with_ids(filter).into_iter().map(|(_, row)| row).collect()
    }

    /// As [`history`](Self::history), each with its number in the ledger.
    pub fn history_with_ids(&self, filter: &HistoryFilter) -> Vec<(i64, OutcomeRow)> {
        let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
        let tail = format!("ORDER BY at DESC, id DESC LIMIT {limit}");
        self.filtered(filter, "*", &tail, |row| Ok((row.get("id")?, outcome_row(row)?)))
    }

    /// How many outcomes there are, whatever the limit.
    pub fn count_history(&self, filter: &HistoryFilter) -> usize {
        let count = |row: &Row<'_>| row.get::<_, i64>(0);
        let found = self.filtered(filter, "COUNT(*)", "", count).into_iter().next();
        found.and_then(|n| usize::try_from(n).ok()).unwrap_or_default()
    }

    fn filtered<T>(
        &self,
        filter: &HistoryFilter,
        columns: &str,
        tail: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let rows = self.with(|connection| {
            // A ledger of 0.1.0 that no daemon has migrated yet names no files.
            let has_files = "SELECT 1 FROM pragma_table_info('outcome') WHERE name = 'files'";
            if filter.left_out && connection.query_row(has_files, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let left_out = if filter.left_out { "AND files <> '[]'" } else { "" };
            let of_sessions = if filter.measurements { "" } else { "AND outcome <> 'recorded'" };
            let mut query = connection.prepare_cached(&format!(
                "SELECT {columns} FROM outcome
                 WHERE (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR date = ?2)
                   AND (?3 IS NULL OR outcome = ?3) AND (?4 IS NULL OR session = ?4) {left_out} {of_sessions} {tail}",
            ))?;
            let outcome = filter.outcome.as_deref().map(stored_outcome);
            let filled = params![filter.subject, filter.date, outcome, filter.session];
            query.query_map(filled, read)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// The sessions registered since a time, the earliest first.
    pub fn registered_since(&self, since: Timestamp) -> Vec<RegisteredRow> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, session, bytes FROM outcome WHERE at >= ?1 AND outcome IN ('registered', 'gaps')
                 ORDER BY at, id",
            )?;
            let row = |row: &Row<'_>| {
                Ok(RegisteredRow {
                    at: time(row, "at")?,
                    session: row.get("session")?,
                    bytes: get_u64(row, "bytes")?,
                })
            };
            query.query_map([since.as_millisecond()], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Makes one session due now, or all that wait. Returns the number; `None` if the ledger cannot be written.
    pub fn make_due(&self, session: Option<&str>, now: Timestamp) -> Option<usize> {
        self.write(|connection| {
            connection.execute(
                "UPDATE waiting SET next = ?2 WHERE ?1 IS NULL OR session = ?1",
                params![session, now.as_millisecond()],
            )
        })
    }

    /// Forgets the attempts and outcomes of a session. Does not touch its flag. Returns the number of rows; `None` if
    /// the ledger cannot be written.
    pub fn forget(&self, session: &str) -> Option<usize> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            let waiting = transaction.execute("DELETE FROM waiting WHERE session = ?1", [session])?;
            let outcomes = transaction.execute("DELETE FROM outcome WHERE session = ?1", [session])?;
            let gaps = transaction.execute("DELETE FROM gap WHERE session = ?1", [session])?;
            let looks = transaction.execute("DELETE FROM look WHERE session = ?1", [session])?;
            let sightings = transaction.execute("DELETE FROM sighting WHERE session = ?1", [session])?;
            let follows = transaction.execute("DELETE FROM follow WHERE session = ?1", [session])?;
            transaction.commit()?;
            Ok(waiting + outcomes + gaps + looks + sightings + follows)
        })
    }

    /// A fact by name, such as the configuration of the last run.
    pub fn fact(&self, name: &str) -> Option<String> {
        let query = "SELECT value FROM fact WHERE name = ?1";
        self.with(|connection| connection.query_row(query, [name], |row| row.get(0)).optional())?
    }

    /// The values of the facts whose names begin so.
    pub(super) fn facts(&self, beginning: &str) -> Vec<String> {
        let rows = self.with(|connection| {
            let mut query =
                connection.prepare("SELECT value FROM fact WHERE substr(name, 1, length(?1)) = ?1")?;
            query.query_map([beginning], |row| row.get(0))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Forgets a fact.
    pub fn forget_fact(&self, name: &str) {
        self.with(|connection| connection.execute("DELETE FROM fact WHERE name = ?", [name]).map(drop));
    }

    /// Remembers a fact. On disk on return.
    pub fn set_fact(&self, name: &str, value: &str) {
        self.transact(|transaction| {
            transaction.execute("INSERT OR REPLACE INTO fact VALUES (?1, ?2)", [name, value]).map(drop)
        });
    }

    /// Deletes old rows, and rows beyond the maximum. Also done by writes from time to time.
    pub fn prune(&self, now: Timestamp) {
        self.prune_to(now, checksums::MAX_ROWS, MAX_OUTCOMES);
    }

    pub(super) fn prune_to(&self, now: Timestamp, checksums: u32, outcomes: u32) {
        let before = |age| now.checked_sub(age).map_or(0, |time: Timestamp| time.as_millisecond());
        let (used, old) = (before(checksums::KEEP), before(KEEP_FACTS));
        let keep = jiff::SignedDuration::try_from(self.keep).unwrap_or(jiff::SignedDuration::MAX);
        let ended = before(keep);
        self.with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM checksum WHERE used < ?1", [used])?;
            transaction.execute("DELETE FROM outcome WHERE at < ?1", [ended])?;
            transaction.execute("DELETE FROM gap WHERE at < ?1 AND acknowledged", [old])?;
            // Of data roots that are watched no longer. Not by their age: a clock that jumps ahead would end all looks.
            transaction.execute(
                "DELETE FROM look WHERE due < (SELECT due FROM look ORDER BY due DESC LIMIT 1 OFFSET ?1)",
                [MAX_LOOKS],
            )?;
            trails::prune(&transaction, trails::MAX_ROWS)?;
            // A year between two audits is usual.
            sightings::prune(&transaction, now)?;
            // Version 0.1.0 remembered creations without an answer.
            transaction.execute("DELETE FROM fact WHERE name LIKE 'creating %'", [])?;
            // Its users are known by then, or never will be.
            let created = now.checked_sub(KEEP_FACTS).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
            transaction.execute(
                "DELETE FROM fact WHERE substr(name, 1, length(?1)) = ?1 AND value < ?2",
                [CREATED, &created],
            )?;
            // A waiting flag is tried at least hourly: a row of that age belongs to a removed flag.
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

fn insert_outcome(connection: &Connection, row: &OutcomeRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outcome VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            row.at.as_millisecond(),
            row.session,
            row.subject,
            row.date,
            row.flag.as_os_str().as_bytes(),
            row.attempt,
            stored_outcome(&row.outcome),
            row.eid,
            to_i64(row.n_files),
            to_i64(row.bytes),
            millis(row.took),
            row.left_out,
            row.error,
            row.next_step,
            row.next.map(Timestamp::as_millisecond),
            serde_json::to_string(&row.files).unwrap_or_else(|_| "[]".to_owned()),
            row.kind,
            row.described,
            row.by,
        ])?;
    trails::insert(connection, connection.last_insert_rowid(), &row.trail)
}

fn apply_change(connection: &Connection, change: WaitingChange<'_>) -> rusqlite::Result<()> {
    match change {
        WaitingChange::Keep => Ok(()),
        WaitingChange::Remove(flag) => connection
            .prepare_cached("DELETE FROM waiting WHERE flag = ?1")?
            .execute([flag.as_os_str().as_bytes()])
            .map(drop),
        WaitingChange::Set(row) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO waiting VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
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
                row.kind,
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
        // An older ledger, opened to be read, has no such column.
        kind: row.get("kind").unwrap_or_default(),
        error: row.get("error")?,
        next_step: row.get("next_step")?,
        missing: serde_json::from_str(&missing).unwrap_or_default(),
    })
}

/// The stored word for `needs_attention`, as 0.1.0 wrote it: both versions can read the ledger.
const STORED_NEEDS_ATTENTION: &str = "needs_person";

fn stored_outcome(outcome: &str) -> &str {
    if outcome == "needs_attention" { STORED_NEEDS_ATTENTION } else { outcome }
}

fn outcome_of(stored: String) -> String {
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
        outcome: outcome_of(row.get("outcome")?),
        eid: row.get("eid")?,
        n_files: get_u64(row, "n_files")?,
        bytes: get_u64(row, "bytes")?,
        took: Duration::from_millis(get_u64(row, "took")?),
        left_out: row.get("left_out")?,
        // A ledger of 0.1.0 has no such column.
        files: serde_json::from_str(&row.get::<_, String>("files").unwrap_or_default()).unwrap_or_default(),
        // An older ledger, opened to be read, has no such column.
        kind: row.get("kind").unwrap_or_default(),
        described: row.get("described").unwrap_or_default(),
        by: row.get("command").unwrap_or_default(),
        trail: Arc::default(),
        error: row.get("error")?,
        next_step: row.get("next_step")?,
        next: row.get::<_, Option<i64>>("next")?.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    })
}
