//! The files of outcomes: their names, sizes and MD5, and what was left out.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::{Ledger, to_i64};
use alyx_registration::{Md5Sum, Trail, TrailFile};

/// The maximum number of files of all outcomes together.
pub(super) const MAX_ROWS: u32 = 1_000_000;

impl Ledger {
    /// The files of an outcome, by its number; datasets first. A ledger of an earlier version has none.
    pub fn trail(&self, outcome: i64) -> Trail {
        let files = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'outcome_file'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let mut query = connection.prepare_cached(
                "SELECT * FROM outcome_file WHERE outcome = ?1 ORDER BY reason IS NOT NULL, path",
            )?;
            query.query_map([outcome], file)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        Trail { files: files.unwrap_or_default() }
    }
}

/// Writes the files of an outcome.
pub(super) fn insert(connection: &Connection, outcome: i64, trail: &Trail) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO outcome_file VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut seen = HashSet::new();
    // A file that is both was registered.
    for file in trail.files.iter().filter(|file| seen.insert(file.path.as_str())) {
        let md5 = file.md5.map(|md5| md5.to_string());
        insert.execute(params![outcome, file.path, file.size.map(to_i64), md5, file.left_out])?;
    }
    Ok(())
}

/// Deletes the files of the oldest outcomes beyond the maximum.
pub(super) fn prune(connection: &Connection, rows: u32) -> rusqlite::Result<()> {
    let oldest = "DELETE FROM outcome_file WHERE outcome <=
        (SELECT outcome FROM outcome_file ORDER BY outcome DESC LIMIT 1 OFFSET ?1)";
    connection.execute(oldest, [rows]).map(drop)
}

fn file(row: &Row<'_>) -> rusqlite::Result<TrailFile> {
    let md5: Option<String> = row.get("md5")?;
    let size: Option<i64> = row.get("size")?;
    Ok(TrailFile {
        path: row.get("path")?,
        size: size.map(|size| u64::from_ne_bytes(size.to_ne_bytes())),
        md5: md5.as_deref().and_then(Md5Sum::parse),
        left_out: row.get("reason")?,
    })
}
