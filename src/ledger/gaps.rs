//! Findings: which sessions were registered with gaps, or created twice, and what of it was acknowledged. The decisions
//! are pure.

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
use alyx_registration::{Error, Gap};

/// The maximum number of files that a row names.
const MAX_FILES: usize = 1000;

/// The kind of a session that another program created at the same time.
pub const CREATED_TWICE: &str = "created_twice";

/// A session that was registered with gaps, or created twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    /// `subject/date/number`.
    pub session: String,
    /// When it was registered or created.
    pub at: Timestamp,
    /// Its folder. A session that is spread over two data roots has two.
    pub folder: PathBuf,
    /// Its UUID on Alyx. Of a session that was created twice: that of this program.
    pub eid: String,
    /// `near_miss`, `no_dataset`, `no_file` or `no_type`; [`CREATED_TWICE`].
    pub kind: String,
    /// What it lacks or which sessions there are, and what to do.
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
    /// The findings of one session, `subject/date/number`.
    Session(String),
    /// The gaps of all sessions, now and later, whose files all match this pattern or an earlier one.
    Pattern(String),
}

/// A change of the book, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapChange {
    /// Insert or replace the row of a session: the one with its gaps, or the one that says that it was created twice.
    Set(GapRow),
    /// The session in this folder has no gaps any more.
    Remove(PathBuf),
    /// A pattern was acknowledged.
    Pattern(String),
    /// In this root, files of this kind have no dataset type, which was reported.
    Untyped(PathBuf, String),
}

impl GapRow {
    /// Whether it names all files.
    fn is_whole(&self) -> bool {
        self.files.len() < MAX_FILES
    }
}

/// The files of a gap, by name.
fn names(gap: &Gap) -> Vec<String> {
    gap.files().into_iter().map(|file| file.to_string_lossy().into_owned()).collect()
}

/// What is known of gaps, and of sessions that were created twice.
#[derive(Debug, Clone, Default)]
pub struct GapBook {
    rows: BTreeMap<PathBuf, GapRow>,
    /// Sessions that were created twice. Nothing but a person ends that.
    twice: BTreeMap<PathBuf, GapRow>,
    patterns: Vec<Pattern>,
    untyped: HashSet<(PathBuf, String)>,
}

impl GapBook {
    /// The gaps that are not acknowledged, by folder.
    pub fn open(&self) -> impl Iterator<Item = &GapRow> {
        self.rows.values().filter(|row| !row.acknowledged)
    }

    /// The sessions that were created twice, and are not acknowledged, by folder.
    pub fn created_twice(&self) -> impl Iterator<Item = &GapRow> {
        self.twice.values().filter(|row| !row.acknowledged)
    }

    /// Remembers an error if it says that the session was created twice. The other computer may remove the flag, and
    /// nothing else would tell of it. Returns the changes to remember.
    pub fn add_created_twice(&mut self, folder: &Path, error: &Error, at: Timestamp) -> Vec<GapChange> {
        let Error::CreatedTwice { session, ours, .. } = error else { return Vec::new() };
        let row = GapRow {
            session: session.clone(),
            at,
            folder: folder.to_owned(),
            eid: ours.clone(),
            kind: CREATED_TWICE.to_owned(),
            text: error.to_string(),
            files: Vec::new(),
            acknowledged: false,
        };
        self.twice.insert(folder.to_owned(), row.clone());
        vec![GapChange::Set(row)]
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
        let is_settled = gap.as_ref().is_none_or(|gap| self.covers(&names(gap)));
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
        let files = names(&gap);
        let is_covered = self.covers(&files);
        let mut row = GapRow {
            session: session.to_owned(),
            at,
            folder: folder.to_owned(),
            eid: registered.eid.clone(),
            kind: gap.kind().to_owned(),
            text: gap.to_string(),
            files: files.into_iter().take(MAX_FILES).collect(),
            acknowledged: is_covered,
        };
        let is_same =
            |earlier: &GapRow| row.is_whole() && (&earlier.kind, &earlier.files) == (&row.kind, &row.files);
        let was_acknowledged = earlier.is_some_and(|earlier| earlier.acknowledged && is_same(earlier));
        row.acknowledged |= was_acknowledged;
        self.rows.insert(folder.to_owned(), row.clone());
        changes.push(GapChange::Set(row.clone()));
        (Some(row), changes)
    }

    /// Whether all files of a gap match acknowledged patterns.
    fn covers(&self, files: &[String]) -> bool {
        let matches = |file: &String| self.patterns.iter().any(|pattern| pattern.matches(file));
        !files.is_empty() && files.iter().all(matches)
    }

    /// Acknowledges gaps. Returns the number of sessions that are open no longer, and the changes to remember.
    pub fn acknowledge(&mut self, what: &Acknowledged) -> (usize, Vec<GapChange>) {
        let mut changes = Vec::new();
        if let Acknowledged::Pattern(text) = what
            && let Ok(pattern) = Pattern::new(text)
            && !self.patterns.contains(&pattern)
        {
            self.patterns.push(pattern);
            changes.push(GapChange::Pattern(text.clone()));
        }
        let is_concerned = |row: &&GapRow| match what {
            Acknowledged::Session(session) => row.session == *session,
            // Of a row that is cut off, the other files are not known.
            Acknowledged::Pattern(_) => row.is_whole() && self.covers(&row.files),
        };
        let concerned = self.open().chain(self.created_twice()).filter(is_concerned);
        let concerned: Vec<GapRow> =
            concerned.map(|row| GapRow { acknowledged: true, ..row.clone() }).collect();
        let sessions: HashSet<&Path> = concerned.iter().map(|row| row.folder.as_path()).collect();
        let count = sessions.len();
        for row in concerned {
            self.set(row.clone());
            changes.push(GapChange::Set(row));
        }
        (count, changes)
    }

    fn set(&mut self, row: GapRow) {
        let rows = if row.kind == CREATED_TWICE { &mut self.twice } else { &mut self.rows };
        rows.insert(row.folder.clone(), row);
    }

    /// Forgets a session.
    pub fn forget(&mut self, session: &str) {
        self.rows.retain(|_, row| row.session != session);
        self.twice.retain(|_, row| row.session != session);
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
            let patterns = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect();
            let mut book = GapBook { patterns, untyped, ..GapBook::default() };
            rows.into_iter().for_each(|row| book.set(row));
            Ok(book)
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
        GapChange::Set(row) => {
            if row.kind != CREATED_TWICE {
                remove_gaps(connection, &row.folder)?;
            }
            connection.execute(
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
            )
        }
        GapChange::Remove(folder) => remove_gaps(connection, folder),
        GapChange::Pattern(pattern) => {
            connection.execute("INSERT OR IGNORE INTO acknowledged VALUES (?1)", [pattern])
        }
        GapChange::Untyped(root, kind) => connection.execute(
            "INSERT OR IGNORE INTO untyped VALUES (?1, ?2)",
            params![root.as_os_str().as_bytes(), kind],
        ),
    }
    .map(drop)
}

fn remove_gaps(connection: &Connection, folder: &Path) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM gap WHERE folder = ?1 AND kind != ?2";
    connection.execute(delete, params![folder.as_os_str().as_bytes(), CREATED_TWICE])
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
