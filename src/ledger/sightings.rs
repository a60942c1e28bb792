//! What audits have seen: differences that may be marked on Alyx once they are seen again, some time later.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::Ledger;

/// How long a sighting is kept that no audit repeats.
const KEEP: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);
/// The maximum number of sightings.
const MAX_ROWS: u32 = 100_000;

/// One copy that was seen to be missing or bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightingRow {
    /// The session on Alyx.
    pub eid: String,
    /// The repository whose copy it is.
    pub repository: String,
    /// The file, relative to the session.
    pub path: String,
    /// The name of the mark that it may get.
    pub mark: String,
    /// `subject/date/number`.
    pub session: String,
    /// The disk on which it was seen.
    pub evidence: String,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

impl Ledger {
    /// The sessions of which a sighting with this mark is known. A ledger of an earlier version has none.
    pub fn sighted(&self, mark: &str) -> BTreeSet<String> {
        let rows = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'sighting'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(BTreeSet::new());
            }
            let mut query = connection.prepare("SELECT DISTINCT eid FROM sighting WHERE mark = ?1")?;
            query.query_map([mark], |row| row.get(0))?.collect()
        });
        rows.unwrap_or_default()
    }

    /// The sightings of a session with this mark. `None` if the ledger cannot be read.
    pub fn sightings(&self, eid: &str, mark: &str) -> Option<Vec<SightingRow>> {
        self.with(|connection| {
            let mut query = connection
                .prepare_cached("SELECT * FROM sighting WHERE eid = ?1 AND mark = ?2 ORDER BY path")?;
            query.query_map([eid, mark], sighting)?.collect()
        })
    }

    /// Replaces the sightings of a session with this mark: what is seen no longer is forgotten. On disk on return; `None`
    /// if the ledger cannot be written.
    pub fn set_sightings(&self, eid: &str, mark: &str, rows: &[SightingRow]) -> Option<()> {
        self.transact(|transaction| {
            transaction
                .prepare_cached("DELETE FROM sighting WHERE eid = ?1 AND mark = ?2")?
                .execute([eid, mark])?;
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO sighting VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
            for row in rows {
                insert.execute(params![
                    row.eid,
                    row.repository,
                    row.path,
                    row.mark,
                    row.session,
                    row.evidence,
                    row.first.as_millisecond(),
                    row.last.as_millisecond(),
                ])?;
            }
            Ok(())
        })
    }
}

/// Deletes old sightings, and those beyond the maximum.
pub(super) fn prune(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.checked_sub(KEEP).map_or(0, |time: Timestamp| time.as_millisecond());
    connection.execute("DELETE FROM sighting WHERE last < ?1", [before])?;
    connection.execute(
        "DELETE FROM sighting WHERE last < (SELECT last FROM sighting ORDER BY last DESC LIMIT 1 OFFSET ?1)",
        [MAX_ROWS],
    )?;
    Ok(())
}

fn sighting(row: &Row<'_>) -> rusqlite::Result<SightingRow> {
    let time = |column: &str| {
        let millis = row.get(column)?;
        Ok::<_, rusqlite::Error>(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    Ok(SightingRow {
        eid: row.get("eid")?,
        repository: row.get("repository")?,
        path: row.get("path")?,
        mark: row.get("mark")?,
        session: row.get("session")?,
        evidence: row.get("evidence")?,
        first: time("first")?,
        last: time("last")?,
    })
}
