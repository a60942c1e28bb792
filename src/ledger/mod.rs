//! The ledger: an SQLite file in the state folder that remembers attempts, outcomes and checksums.
//!
//! It saves time and answers questions; nothing depends on it. If it is deleted, corrupt, on a full disk, not
//! writable, or written by a newer version, that is reported once, with the fix, and work continues without it.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

mod checksums;
mod copies;
mod follows;
mod gaps;
mod looks;
mod memory;
mod problem;
mod rows;
mod schema;
mod sightings;
mod trails;
mod verified;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior};

pub use crate::ledger::checksums::FileKey;
use crate::ledger::checksums::Unwritten;
pub use crate::ledger::follows::{FollowCounts, FollowRow, FollowState};
pub use crate::ledger::gaps::{About, Acknowledged, CREATED_TWICE, GapBook, GapChange, GapRow};
pub use crate::ledger::looks::{LookChange, LookRow};
use crate::ledger::problem::Problem;
pub use crate::ledger::rows::{
    HistoryFilter, NamedFile, OutcomeRow, RegisteredRow, WaitingChange, WaitingRow,
};
pub use crate::ledger::sightings::SightingRow;
pub use crate::ledger::verified::{Verified, VerifiedRow, VerifiedTotals};

/// Name of the ledger in the state folder.
pub const FILE_NAME: &str = "ledger.sqlite";

/// How long to wait for another process (`status`, `forget`).
const BUSY: Duration = Duration::from_secs(2);
/// How soon a ledger that cannot be used is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The time between reports of the same problem.
const LOG_EVERY: Duration = Duration::from_secs(3600);
/// How long an outcome is kept, unless the configuration says otherwise.
pub const KEEP_OUTCOMES: Duration = Duration::from_hours(180 * 24);
/// How often old rows are pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);

/// The ledger of one state folder. Every method blocks on disk access.
///
/// No method fails: what cannot be remembered is dropped, and what cannot be looked up is unknown.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    state: Mutex<State>,
    unwritten: Mutex<Unwritten>,
    /// The problem after the last work that ended: to be read while other work waits for the disk.
    problem: Mutex<Option<Problem>>,
    /// Whether this process may replace a damaged file.
    is_owner: bool,
    /// Whether nothing is remembered.
    is_read_only: bool,
    /// How long an outcome is kept.
    keep: Duration,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// When opening failed, and why.
    failed: Option<(Instant, Problem)>,
    reported: HashMap<&'static str, Instant>,
    pruned: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Device and inode of the open file: a deleted file persists for processes that have it open.
    identity: (u64, u64),
}

/// How a process other than the daemon opens an existing ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Change rows; never create a file.
    Change,
}

impl State {
    /// Whether to log a problem of this kind: not logged within the last hour. If so, it counts as logged.
    fn should_log(&mut self, kind: &'static str) -> bool {
        let now = Instant::now();
        let should_log = self.reported.get(kind).is_none_or(|last| now.duration_since(*last) >= LOG_EVERY);
        if should_log {
            self.reported.insert(kind, now);
        }
        should_log
    }
}

impl Ledger {
    /// Opens the ledger of a state folder; creates folder and file if they are missing.
    pub fn open(folder: &Path) -> Self {
        let ledger = Self {
            path: folder.join(FILE_NAME),
            state: Mutex::default(),
            unwritten: Mutex::default(),
            problem: Mutex::default(),
            is_owner: true,
            is_read_only: false,
            keep: KEEP_OUTCOMES,
        };
        // Report a problem at the start, not at the first session.
        ledger.with(|_| Ok(()));
        ledger
    }

    /// Opens the ledger of a state folder that another process may be using. `None`: there is none yet.
    ///
    /// # Errors
    /// One line with the problem and what to do.
    pub fn open_existing(folder: &Path, access: Access) -> Result<Option<Self>, String> {
        let path = folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::Unusable(error.to_string()).advice(&path)),
        }
        let open = schema::open_existing(&path, access == Access::Change).map_err(|e| e.advice(&path))?;
        if open.is_none() {
            return Ok(None);
        }
        let state = State { open, pruned: Some(Instant::now()), ..State::default() };
        Ok(Some(Self {
            path,
            state: Mutex::new(state),
            unwritten: Mutex::default(),
            problem: Mutex::default(),
            is_owner: false,
            is_read_only: access == Access::Read,
            keep: KEEP_OUTCOMES,
        }))
    }

    /// Checks whether the ledger of a state folder can be used. Returns its size in bytes; `None`: there is none yet.
    /// Writes nothing.
    ///
    /// # Errors
    /// One line with the problem and what to do.
    pub fn check(folder: &Path) -> Result<Option<u64>, String> {
        let path = folder.join(FILE_NAME);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::Unusable(error.to_string()).advice(&path)),
        };
        schema::check(&path).map_err(|problem| problem.advice(&path))?;
        Ok(Some(size))
    }

    /// Sets how long an outcome is kept.
    #[must_use]
    pub fn keeping(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the ledger is not in use, and what to do; `None` if it works. Never waits for the disk.
    pub fn problem(&self) -> Option<String> {
        self.last_problem().as_ref().map(|problem| problem.advice(&self.path))
    }

    fn last_problem(&self) -> MutexGuard<'_, Option<Problem>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the open file; `None` if the file cannot be opened or the work fails.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.ensure_open(&mut state);
        let done = state.open.as_mut().map(|open| work(&mut open.connection));
        let value = match done {
            None => None,
            Some(Ok(value)) => {
                if matches!(state.failed, Some((_, Problem::Full | Problem::Locked))) {
                    state.failed = None;
                }
                Some(value)
            }
            Some(Err(error)) => {
                self.on_failure(&mut state, Problem::of(&error));
                None
            }
        };
        *self.last_problem() = state.failed.as_ref().map(|(_, problem)| problem.clone());
        value
    }

    /// Like [`Ledger::with`], for writes; prunes old rows from time to time.
    fn write<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        if self.is_read_only {
            return None;
        }
        let due = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let due = state.pruned.is_none_or(|last| last.elapsed() >= PRUNE_EVERY);
            if due {
                state.pruned = Some(Instant::now());
            }
            due
        };
        if due {
            self.prune(jiff::Timestamp::now());
        }
        self.with(work)
    }

    /// Runs `work` in a transaction, which is on disk on return, with the checksums that are not written yet.
    fn transact<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let checksums = self.unwritten().take();
        self.write(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            checksums::insert(&transaction, &checksums)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    /// Device and inode of the file that is there now.
    fn identity(&self) -> Option<(u64, u64)> {
        fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino()))
    }

    fn ensure_open(&self, state: &mut State) {
        if let Some(open) = &state.open {
            if self.identity() == Some(open.identity) {
                return;
            }
            state.open = None;
            if self.is_read_only {
                return;
            }
            self.log(state, &Problem::Deleted);
        } else if self.is_read_only || state.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < RETRY_AFTER)
        {
            return;
        }
        match schema::open(&self.path) {
            Ok(open) => {
                if state.failed.take().is_some() && state.should_log("again") {
                    tracing::info!("the ledger {} is in use again", self.path.display());
                }
                state.open = Some(open);
            }
            Err(problem) => self.on_failure(state, problem),
        }
    }

    fn on_failure(&self, state: &mut State, problem: Problem) {
        // Without its folder, no journal can be created; that is not what a person has to know.
        let is_deleted = state.open.as_ref().is_some_and(|open| self.identity() != Some(open.identity));
        let problem = if is_deleted { Problem::Deleted } else { problem };
        self.log(state, &problem);
        match problem {
            Problem::Corrupt(_) if self.is_owner => {
                state.open = None;
                match schema::set_aside(&self.path).and_then(|()| schema::open(&self.path)) {
                    Ok(open) => state.open = Some(open),
                    Err(also) => state.failed = Some((Instant::now(), also)),
                }
            }
            // The disk may have room again at any time, and reads still work.
            Problem::Full | Problem::Locked => state.failed = Some((Instant::now(), problem)),
            Problem::Deleted => state.open = None,
            Problem::Newer(_) | Problem::Unusable(_) | Problem::NotAFile(_) | Problem::Corrupt(_) => {
                state.open = None;
                state.failed = Some((Instant::now(), problem));
            }
        }
    }

    fn log(&self, state: &mut State, problem: &Problem) {
        if state.should_log(problem.kind()) {
            tracing::warn!("{}", problem.advice(&self.path));
        }
    }
}

/// Numbers beyond `i64` do not occur on disk; if one did, the row would be useless, not wrong.
fn to_i64(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

/// A path, which is stored as bytes.
fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<PathBuf> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.write_checksums();
    }
}

#[cfg(test)]
mod tests;
