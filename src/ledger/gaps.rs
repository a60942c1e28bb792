//! The gap book: which sessions were registered with gaps, and what of it was acknowledged. Its decisions are pure.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glob::Pattern;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use alyx_registration::flagged::Registered;
use alyx_registration::{AcceptedGaps, Gap};

/// The maximum number of files that a row names.
const MAX_FILES: usize = 1000;

/// A session that was registered with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    /// `subject/date/number`.
    pub session: String,
    /// When it was registered.
    pub at: Timestamp,
    /// Its folder. A session that is spread over two data roots has two.
    pub folder: PathBuf,
    /// Its UUID on Alyx.
    pub eid: String,
    /// `near_miss`, `no_dataset`, `no_file` or `no_type`.
    pub kind: String,
    /// What it lacks, and what to do.
    pub text: String,
    /// The files concerned, relative to the session.
    pub files: Vec<String>,
    /// Whether a person has acknowledged it.
    pub acknowledged: bool,
}

/// What a person acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledged {
    /// The gaps of one session, `subject/date/number`.
    Session(String),
    /// The gaps of all sessions, now and later, whose files all match this pattern or an earlier one.
    Pattern(String),
    /// This pattern no longer: what it acknowledged alone is open again.
    Withdrawn(String),
}

/// A change of the book, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapChange {
    /// Insert or replace the row of a session.
    Set(GapRow),
    /// The session in this folder has no gaps any more.
    Remove(PathBuf),
    /// A pattern was acknowledged.
    Pattern(String),
    /// A pattern was withdrawn.
    Withdrawn(String),
    /// In this root, files of this kind have no dataset type, which was reported.
    Untyped(PathBuf, String),
}

impl GapChange {
    /// The session whose gaps are acknowledged by it.
    pub fn acknowledged_session(&self) -> Option<&str> {
        match self {
            Self::Set(row) if row.acknowledged => Some(&row.session),
            _ => None,
        }
    }
}

impl GapRow {
    /// Whether it names all files.
    fn is_whole(&self) -> bool {
        self.files.len() < MAX_FILES
    }
}

/// What is known of gaps.
#[derive(Debug, Clone, Default)]
pub struct GapBook {
    rows: BTreeMap<PathBuf, GapRow>,
    /// The patterns that were acknowledged.
    accepted: AcceptedGaps,
    untyped: HashSet<(PathBuf, String)>,
}

impl GapBook {
    /// The gaps that are not acknowledged, by folder.
    pub fn open(&self) -> impl Iterator<Item = &GapRow> {
        self.rows.values().filter(|row| !row.acknowledged)
    }

    /// The gaps that are acknowledged, by folder.
    pub fn acknowledged(&self) -> impl Iterator<Item = &GapRow> {
        self.rows.values().filter(|row| row.acknowledged)
    }

    /// The patterns that were acknowledged.
    pub fn patterns(&self) -> &[Pattern] {
        &self.accepted.patterns
    }

    /// What was acknowledged of the session in this folder.
    pub fn accepted(&self, folder: &Path) -> AcceptedGaps {
        let row = self.rows.get(folder).filter(|row| row.acknowledged && row.is_whole());
        AcceptedGaps { gap: row.map(|row| (row.kind.clone(), row.files.clone())), ..self.accepted.clone() }
    }

    /// What a session lacks that keeps its flag, and the change to remember: it can be acknowledged.
    pub fn keep(&mut self, session: &str, folder: &Path, eid: &str, gap: &Gap, at: Timestamp) -> GapChange {
        let row = GapRow {
            session: session.to_owned(),
            at,
            folder: folder.to_owned(),
            eid: eid.to_owned(),
            kind: gap.kind().to_owned(),
            text: gap.to_string(),
            files: gap.names().into_iter().take(MAX_FILES).collect(),
            acknowledged: self.accepted(folder).accept(gap),
        };
        self.rows.insert(folder.to_owned(), row.clone());
        GapChange::Set(row)
    }

    /// What a registered session lacks, and the changes to remember. `root`: its data root, in which each kind of file
    /// without a dataset type is reported once; `None`: such files are not reported.
    pub fn judge(
        &mut self,
        session: &str,
        folder: &Path,
        registered: &Registered,
        root: Option<&Path>,
        at: Timestamp,
    ) -> (Option<GapRow>, Vec<GapChange>) {
        let mut changes = Vec::new();
        let mut gap = registered.gap.clone();
        let is_settled = gap.as_ref().is_none_or(|gap| self.accepted.cover(&gap.names()));
        // What was acknowledged must not hide a kind of file that was never reported.
        if let Some(root) = root.filter(|_| is_settled) {
            let is_new = |kind: &str| !self.untyped.contains(&(root.to_owned(), kind.to_owned()));
            let new: Vec<_> = registered.untyped.iter().filter(|untyped| is_new(&untyped.kind)).collect();
            for untyped in &new {
                self.untyped.insert((root.to_owned(), untyped.kind.clone()));
                changes.push(GapChange::Untyped(root.to_owned(), untyped.kind.clone()));
            }
            gap = Gap::without_type(new.into_iter()).or(gap);
        }
        let earlier = self.rows.get(folder);
        let Some(gap) = gap else {
            // Files without a dataset type stay open until they are acknowledged, or gone.
            let stays = earlier.is_some_and(|row| row.kind == "no_type") && !registered.untyped.is_empty();
            if earlier.is_some() && !stays {
                self.rows.remove(folder);
                changes.push(GapChange::Remove(folder.to_owned()));
            }
            return (None, changes);
        };
        changes.push(self.keep(session, folder, &registered.eid, &gap, at));
        (self.rows.get(folder).cloned(), changes)
    }

    /// Acknowledges gaps, or withdraws that. Returns the number of sessions that it concerns, and the changes to
    /// remember.
    pub fn acknowledge(&mut self, what: &Acknowledged) -> (usize, Vec<GapChange>) {
        let mut changes = Vec::new();
        if let Acknowledged::Pattern(text) = what
            && let Ok(pattern) = Pattern::new(text)
            && !self.patterns().contains(&pattern)
        {
            self.accepted.patterns.push(pattern);
            changes.push(GapChange::Pattern(text.clone()));
        }
        // Of a row that is cut off, the other files are not known.
        let is_covered = |row: &GapRow| row.is_whole() && self.accepted.cover(&row.files);
        let covered: HashSet<PathBuf> =
            self.rows.values().filter(|row| is_covered(row)).map(|row| row.folder.clone()).collect();
        if let Acknowledged::Withdrawn(text) = what {
            self.accepted.patterns.retain(|pattern| pattern.as_str() != text);
            changes.push(GapChange::Withdrawn(text.clone()));
        }
        let concerned: Vec<PathBuf> = self
            .rows
            .values()
            .filter(|row| row.acknowledged == matches!(what, Acknowledged::Withdrawn(_)))
            .filter(|row| match what {
                Acknowledged::Session(session) => row.session == *session,
                Acknowledged::Pattern(_) => covered.contains(&row.folder),
                Acknowledged::Withdrawn(_) => {
                    covered.contains(&row.folder) && !self.accepted.cover(&row.files)
                }
            })
            .map(|row| row.folder.clone())
            .collect();
        for folder in &concerned {
            if let Some(row) = self.rows.get_mut(folder) {
                row.acknowledged = !row.acknowledged;
                changes.push(GapChange::Set(row.clone()));
            }
        }
        (concerned.len(), changes)
    }

    /// Forgets a session.
    pub fn forget(&mut self, session: &str) {
        self.rows.retain(|_, row| row.session != session);
    }
}

impl Ledger {
    /// What is remembered of gaps. A ledger that was written by 0.1.0 knows none.
    pub fn gap_book(&self) -> GapBook {
        let book = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'gap'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(GapBook::default());
            }
            let mut query = connection.prepare_cached("SELECT * FROM gap")?;
            let rows = query.query_map([], gap_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut query = connection.prepare_cached("SELECT pattern FROM acknowledged ORDER BY pattern")?;
            let patterns =
                query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            let mut query = connection.prepare_cached("SELECT root, kind FROM untyped")?;
            let kind = |row: &Row<'_>| Ok((path(row, "root")?, row.get("kind")?));
            let untyped = query.query_map([], kind)?.collect::<rusqlite::Result<HashSet<_>>>()?;
            Ok(GapBook {
                rows: rows.into_iter().map(|row| (row.folder.clone(), row)).collect(),
                accepted: AcceptedGaps {
                    patterns: patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect(),
                    gap: None,
                },
                untyped,
            })
        });
        book.unwrap_or_default()
    }

    /// Remembers changes of the book. `None` if the ledger cannot be written.
    pub fn change_gaps(&self, changes: &[GapChange]) -> Option<()> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            for change in changes {
                apply(&transaction, change)?;
            }
            transaction.commit()
        })
    }
}

fn apply(connection: &Connection, change: &GapChange) -> rusqlite::Result<()> {
    match change {
        GapChange::Set(row) => connection.execute(
            "INSERT OR REPLACE INTO gap VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                row.folder.as_os_str().as_bytes(),
                row.session,
                row.at.as_millisecond(),
                row.eid,
                row.kind,
                row.text,
                serde_json::to_string(&row.files).unwrap_or_default(),
                row.acknowledged,
            ],
        ),
        GapChange::Remove(folder) => {
            connection.execute("DELETE FROM gap WHERE folder = ?1", [folder.as_os_str().as_bytes()])
        }
        GapChange::Pattern(pattern) => {
            connection.execute("INSERT OR IGNORE INTO acknowledged VALUES (?1)", [pattern])
        }
        GapChange::Withdrawn(pattern) => {
            connection.execute("DELETE FROM acknowledged WHERE pattern = ?1", [pattern])
        }
        GapChange::Untyped(root, kind) => connection.execute(
            "INSERT OR IGNORE INTO untyped VALUES (?1, ?2)",
            params![root.as_os_str().as_bytes(), kind],
        ),
    }
    .map(drop)
}

fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<PathBuf> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn gap_row(row: &Row<'_>) -> rusqlite::Result<GapRow> {
    let files: String = row.get("files")?;
    Ok(GapRow {
        session: row.get("session")?,
        at: Timestamp::from_millisecond(row.get("at")?).unwrap_or(Timestamp::UNIX_EPOCH),
        folder: path(row, "folder")?,
        eid: row.get("eid")?,
        kind: row.get("kind")?,
        text: row.get("text")?,
        files: serde_json::from_str(&files).unwrap_or_default(),
        acknowledged: row.get("acknowledged")?,
    })
}
