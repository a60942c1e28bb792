//! The looks for late files that are due, one row for each registered session until its last look.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use crate::ledger::Ledger;
use alyx_registration::SessionSnapshot;

/// The next look at a registered session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookRow {
    /// Its folder.
    pub folder: PathBuf,
    /// `subject/date/number`.
    pub session: String,
    /// Its UUID on Alyx.
    pub eid: String,
    /// How many looks were made.
    pub done: usize,
    /// When the next one is due.
    pub due: Timestamp,
}

/// A change of the table of looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookChange {
    /// The session is to be looked at, and compared with this snapshot; `None`: with the same as before.
    Set(LookRow, Option<SessionSnapshot>),
    /// There is no look any more.
    Remove(PathBuf),
}

impl Ledger {
    /// The looks that are due, by time. A ledger of an earlier version has none.
    pub fn looks(&self) -> Vec<LookRow> {
        let rows = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'look'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let mut query = connection
                .prepare_cached("SELECT folder, session, eid, done, due FROM look ORDER BY due, folder")?;
            query.query_map([], look_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// What the look at a session compares it with; `None` if that is not known.
    pub fn snapshot(&self, folder: &Path) -> Option<SessionSnapshot> {
        let query = "SELECT snapshot FROM look WHERE folder = ?1";
        let folder = folder.as_os_str().as_bytes();
        let text: String =
            self.with(|connection| connection.query_row(query, [folder], |row| row.get(0)).optional())??;
        serde_json::from_str(&text).ok()
    }

    /// Remembers a change. `None` if the ledger cannot be written.
    pub fn change_look(&self, change: &LookChange) -> Option<()> {
        self.write(|connection| match change {
            LookChange::Remove(folder) => connection
                .prepare_cached("DELETE FROM look WHERE folder = ?1")?
                .execute([folder.as_os_str().as_bytes()])
                .map(drop),
            LookChange::Set(row, snapshot) => {
                let snapshot = snapshot.as_ref().and_then(|s| serde_json::to_string(s).ok());
                connection
                    .prepare_cached(
                        "INSERT INTO look VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, ''))
                         ON CONFLICT (folder) DO UPDATE SET session = ?2, eid = ?3, done = ?4, due = ?5,
                         snapshot = coalesce(?6, snapshot)",
                    )?
                    .execute(params![
                        row.folder.as_os_str().as_bytes(),
                        row.session,
                        row.eid,
                        row.done as i64,
                        row.due.as_millisecond(),
                        snapshot,
                    ])
                    .map(drop)
            }
        })
    }
}

fn look_row(row: &Row<'_>) -> rusqlite::Result<LookRow> {
    let folder: Vec<u8> = row.get("folder")?;
    Ok(LookRow {
        folder: PathBuf::from(OsStr::from_bytes(&folder)),
        session: row.get("session")?,
        eid: row.get("eid")?,
        done: usize::try_from(row.get::<_, i64>("done")?).unwrap_or(0),
        due: Timestamp::from_millisecond(row.get("due")?).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}
