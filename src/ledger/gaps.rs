//! Gaps: which sessions were registered with gaps, or created twice, and which of these are acknowledged. The decisions
//! are pure.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glob::Pattern;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, LookRow, path};
use alyx_registration::flagged::Registered;
use alyx_registration::{AcceptedGaps, Error, Gap, LATE_FILES, Untyped};

/// The maximum number of files that a row names.
const MAX_FILES: usize = 1000;

/// The kind of a session that another program created at the same time.
pub const CREATED_TWICE: &str = "created_twice";

/// A session that was registered with gaps, or created twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRow {
    /// `subject/date/number`.
    pub session: String,
    /// When it was registered or created.
    pub at: Timestamp,
    /// Its folder. A session that is spread over two data roots has two.
    pub folder: PathBuf,
    /// Its UUID on Alyx. Of a session that was created twice: that of this program.
    pub eid: String,
    /// `near_miss`, `no_dataset`, `no_file`, `no_type` or `late_files`; [`CREATED_TWICE`].
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
    /// The gaps of one session, `subject/date/number`.
    Session(String),
    /// The gaps of all sessions, now and later, whose files all match this pattern or an earlier one.
    Pattern(String),
    /// This pattern no longer: what it acknowledged alone is open again.
    Withdrawn(String),
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "session {session}"),
            Self::Pattern(pattern) => write!(f, "pattern {pattern}"),
            Self::Withdrawn(pattern) => write!(f, "no longer pattern {pattern}"),
        }
    }
}

/// What a row is about. A session may have one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// What it lacked when it was registered.
    Registration,
    /// Files that came later.
    LateFiles,
    /// Its two records on Alyx.
    TwoRecords,
}

/// A change of the book, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapChange {
    /// Insert or replace the row of a session: the one with its gaps, or the one that says that it was created twice.
    Set(GapRow),
    /// The session in this folder has no gaps any more, or, if so, no late files.
    Remove(PathBuf, About),
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
    /// The row of an error that says that the session was created twice.
    fn of_created_twice(folder: &Path, error: &Error, at: Timestamp) -> Option<Self> {
        let Error::CreatedTwice { session, ours, .. } = error else { return None };
        Some(Self {
            session: session.clone(),
            at,
            folder: folder.to_owned(),
            eid: ours.clone(),
            kind: CREATED_TWICE.to_owned(),
            text: error.to_string(),
            files: Vec::new(),
            acknowledged: false,
        })
    }

    fn about(&self) -> About {
        match self.kind.as_str() {
            LATE_FILES => About::LateFiles,
            CREATED_TWICE => About::TwoRecords,
            _ => About::Registration,
        }
    }

    fn key(&self) -> (PathBuf, About) {
        (self.folder.clone(), self.about())
    }

    /// Whether it names all files.
    fn is_whole(&self) -> bool {
        self.files.len() < MAX_FILES
    }
}

/// What is known of gaps, and of sessions that were created twice.
#[derive(Debug, Clone, Default)]
pub struct GapBook {
    rows: BTreeMap<(PathBuf, About), GapRow>,
    /// The patterns that were acknowledged.
    accepted: AcceptedGaps,
    untyped: HashSet<(PathBuf, String)>,
}

impl GapBook {
    /// The gaps that are not acknowledged, by folder.
    pub fn open(&self) -> impl Iterator<Item = &GapRow> {
        self.rows.values().filter(|row| !row.acknowledged && row.about() != About::TwoRecords)
    }

    /// The sessions that were created twice, and are not acknowledged, by folder. Nothing but a person ends that.
    pub fn created_twice(&self) -> impl Iterator<Item = &GapRow> {
        self.rows.values().filter(|row| !row.acknowledged && row.about() == About::TwoRecords)
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
        self.accepted_in(&(folder.to_owned(), About::Registration))
    }

    fn accepted_in(&self, key: &(PathBuf, About)) -> AcceptedGaps {
        let row = self.rows.get(key).filter(|row| row.acknowledged && row.is_whole());
        AcceptedGaps { gap: row.map(|row| (row.kind.clone(), row.files.clone())), ..self.accepted.clone() }
    }

    /// Adds or replaces what a session lacks, and returns the change to remember: it can be acknowledged. It stays
    /// acknowledged if it says the same as before.
    pub fn keep(&mut self, session: &str, folder: &Path, eid: &str, gap: &Gap, at: Timestamp) -> GapChange {
        let mut row = GapRow {
            session: session.to_owned(),
            at,
            folder: folder.to_owned(),
            eid: eid.to_owned(),
            kind: gap.kind().to_owned(),
            text: gap.to_string(),
            files: gap.names().into_iter().take(MAX_FILES).collect(),
            acknowledged: false,
        };
        row.acknowledged = self.accepted_in(&row.key()).accept(gap);
        self.rows.insert(row.key(), row.clone());
        GapChange::Set(row)
    }

    /// Remembers an error if it says that the session was created twice. The other computer may remove the flag, and
    /// nothing else would tell of it. Returns the changes to remember.
    pub fn add_created_twice(&mut self, folder: &Path, error: &Error, at: Timestamp) -> Vec<GapChange> {
        GapRow::of_created_twice(folder, error, at).map(|row| self.add(row)).into_iter().collect()
    }

    fn add(&mut self, row: GapRow) -> GapChange {
        self.rows.insert(row.key(), row.clone());
        GapChange::Set(row)
    }

    /// Takes in a change that another process has made with its own book.
    pub fn apply(&mut self, change: &GapChange) {
        match change {
            GapChange::Set(row) => drop(self.add(row.clone())),
            GapChange::Remove(folder, about) => drop(self.rows.remove(&(folder.clone(), *about))),
            GapChange::Pattern(text) => self.accepted.patterns.extend(Pattern::new(text)),
            GapChange::Withdrawn(text) => self.accepted.patterns.retain(|pattern| pattern.as_str() != text),
            GapChange::Untyped(root, kind) => drop(self.untyped.insert((root.clone(), kind.clone()))),
        }
    }

    /// The kinds of files without a dataset type that were not reported in a data root yet.
    fn new_untyped<'a>(&self, root: &Path, untyped: &'a [Untyped]) -> Vec<&'a Untyped> {
        let is_new = |kind: &str| !self.untyped.contains(&(root.to_owned(), kind.to_owned()));
        untyped.iter().filter(|untyped| is_new(&untyped.kind)).collect()
    }

    /// What [`judge`](Self::judge) would report of such files, beside what else the session lacks.
    pub fn untyped_gap(&self, root: &Path, gap: Option<&Gap>, untyped: &[Untyped]) -> Option<Gap> {
        let is_settled = gap.is_none_or(|gap| self.accepted.cover(&gap.names()));
        Gap::without_type(self.new_untyped(root, untyped).into_iter()).filter(|_| is_settled)
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
        // The late files were registered too.
        self.remove(folder, About::LateFiles, &mut changes);
        let mut gap = registered.gap.clone();
        let is_settled = gap.as_ref().is_none_or(|gap| self.accepted.cover(&gap.names()));
        // What was acknowledged must not hide a kind of file that was never reported.
        if let Some(root) = root.filter(|_| is_settled) {
            let new = self.new_untyped(root, &registered.untyped);
            for untyped in &new {
                self.untyped.insert((root.to_owned(), untyped.kind.clone()));
                changes.push(GapChange::Untyped(root.to_owned(), untyped.kind.clone()));
            }
            gap = Gap::without_type(new.into_iter()).or(gap);
        }
        let earlier = self.rows.get(&(folder.to_owned(), About::Registration));
        let Some(gap) = gap else {
            // Files without a dataset type stay open until they are acknowledged, or gone.
            let stays = earlier.is_some_and(|row| row.kind == "no_type") && !registered.untyped.is_empty();
            if !stays {
                self.remove(folder, About::Registration, &mut changes);
            }
            return (None, changes);
        };
        changes.push(self.keep(session, folder, &registered.eid, &gap, at));
        (self.rows.get(&(folder.to_owned(), About::Registration)).cloned(), changes)
    }

    /// The late files that a look at a registered session found, and the changes to remember. `None`: there are none any
    /// more.
    pub fn judge_late(
        &mut self,
        look: &LookRow,
        late: Option<&Gap>,
        at: Timestamp,
    ) -> (Option<GapRow>, Vec<GapChange>) {
        let mut changes = Vec::new();
        match late {
            Some(late) => changes.push(self.keep(&look.session, &look.folder, &look.eid, late, at)),
            None => self.remove(&look.folder, About::LateFiles, &mut changes),
        }
        (self.rows.get(&(look.folder.clone(), About::LateFiles)).cloned(), changes)
    }

    fn remove(&mut self, folder: &Path, about: About, changes: &mut Vec<GapChange>) {
        if self.rows.remove(&(folder.to_owned(), about)).is_some() {
            changes.push(GapChange::Remove(folder.to_owned(), about));
        }
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
        let covered: HashSet<(PathBuf, About)> =
            self.rows.values().filter(|row| is_covered(row)).map(GapRow::key).collect();
        if let Acknowledged::Withdrawn(text) = what {
            self.accepted.patterns.retain(|pattern| pattern.as_str() != text);
            changes.push(GapChange::Withdrawn(text.clone()));
        }
        let concerned: Vec<(PathBuf, About)> = self
            .rows
            .values()
            .filter(|row| row.acknowledged == matches!(what, Acknowledged::Withdrawn(_)))
            .filter(|row| match what {
                Acknowledged::Session(session) => row.session == *session,
                Acknowledged::Pattern(_) => covered.contains(&row.key()),
                Acknowledged::Withdrawn(_) => {
                    covered.contains(&row.key()) && !self.accepted.cover(&row.files)
                }
            })
            .map(GapRow::key)
            .collect();
        for key in &concerned {
            if let Some(row) = self.rows.get_mut(key) {
                row.acknowledged = !row.acknowledged;
                changes.push(GapChange::Set(row.clone()));
            }
        }
        let sessions: HashSet<&Path> = concerned.iter().map(|(folder, _)| folder.as_path()).collect();
        (sessions.len(), changes)
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
                rows: rows.into_iter().map(|row| (row.key(), row)).collect(),
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
        GapChange::Set(row) => {
            remove(connection, &row.folder, row.about())?;
            connection.execute(
                "INSERT INTO gap VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
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
        GapChange::Remove(folder, about) => remove(connection, folder, *about),
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

/// Removes what a folder's row says about this.
fn remove(connection: &Connection, folder: &Path, about: About) -> rusqlite::Result<usize> {
    let kind = match about {
        About::Registration => "",
        About::LateFiles => LATE_FILES,
        About::TwoRecords => CREATED_TWICE,
    };
    connection.execute(
        "DELETE FROM gap WHERE folder = ?1 AND (CASE WHEN kind IN (?2, ?3) THEN kind ELSE '' END) = ?4",
        params![folder.as_os_str().as_bytes(), LATE_FILES, CREATED_TWICE, kind],
    )
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
