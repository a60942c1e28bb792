//! The ledger: an SQLite file in the state folder that remembers attempts, outcomes and checksums.
//!
//! It saves time and answers questions; nothing depends on it. Deleted, corrupt, on a full disk, not writable, or
//! written by a newer version: that is reported once, with the fix, and the work goes on without it.

mod memory;
mod rows;
mod schema;
mod trouble;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

pub use crate::ledger::rows::{Answered, FileKey, HistoryFilter, OutcomeRow, RegisteredRow, WaitingRow};
use crate::ledger::trouble::Trouble;

/// Name of the ledger in the state folder.
pub const FILE_NAME: &str = "ledger.sqlite";

/// How long another process (`status`, `forget`) may keep us waiting.
const BUSY: Duration = Duration::from_secs(2);
/// How soon a ledger that could not be used is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Time between reports of the same problem.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// How often old rows are pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);

/// The ledger of one state folder. Every method blocks for the time of a disk access.
///
/// No method fails: what cannot be remembered is not, and what cannot be looked up is unknown.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// When opening failed, and how.
    failed: Option<(Instant, Trouble)>,
    reported: HashMap<&'static str, Instant>,
    pruned: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Device and number of the file that is open: a deleted file goes on existing for those who have it open.
    identity: (u64, u64),
}

/// How a process other than the daemon opens an existing ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is changed.
    Read,
    /// Rows are changed; no file is made.
    Change,
}

impl State {
    /// Whether a problem of this kind was not reported within the last hour. It then counts as reported.
    fn is_news(&mut self, kind: &'static str) -> bool {
        let now = Instant::now();
        let is_news = self.reported.get(kind).is_none_or(|last| now.duration_since(*last) >= TELL_AGAIN);
        if is_news {
            self.reported.insert(kind, now);
        }
        is_news
    }
}

impl Ledger {
    /// The ledger of a state folder; folder and file are made where they are missing.
    pub fn open(folder: &Path) -> Self {
        let ledger = Self { path: folder.join(FILE_NAME), state: Mutex::default() };
        // A problem is reported at the start, not at the first session.
        ledger.with(|_| Ok(()));
        ledger
    }

    /// Looks at the ledger of a state folder that another process may be using. `None`: there is none yet.
    ///
    /// # Errors
    /// A line with what is wrong and what to do.
    pub fn existing(folder: &Path, access: Access) -> Result<Option<Self>, String> {
        let path = folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::Unusable(error.to_string()).advice(&path)),
        }
        let open = schema::open_existing(&path, access == Access::Change).map_err(|e| e.advice(&path))?;
        let state = State { open: Some(open), pruned: Some(Instant::now()), ..State::default() };
        Ok(Some(Self { path, state: Mutex::new(state) }))
    }

    /// Looks whether the ledger of a state folder could be used; its size in bytes, or `None`: there is none yet.
    /// Nothing is written.
    ///
    /// # Errors
    /// A line with what is wrong and what to do.
    pub fn look(folder: &Path) -> Result<Option<u64>, String> {
        let path = folder.join(FILE_NAME);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::Unusable(error.to_string()).advice(&path)),
        };
        schema::look(&path).map_err(|trouble| trouble.advice(&path))?;
        Ok(Some(size))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing is remembered at present, and what to do; `None`: all is well.
    pub fn trouble(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed.as_ref().map(|(_, trouble)| trouble.advice(&self.path))
    }

    /// Works with the open file; `None` where there is none, or it failed.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_sure_it_is_open(&mut state);
        let open = state.open.as_mut()?;
        match work(&mut open.connection) {
            Ok(value) => {
                if matches!(state.failed, Some((_, Trouble::Full))) {
                    state.failed = None;
                }
                Some(value)
            }
            Err(error) => {
                self.failed(&mut state, Trouble::of(&error));
                None
            }
        }
    }

    /// As [`Ledger::with`], for what is written; old rows go first, now and then.
    fn write<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
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

    fn make_sure_it_is_open(&self, state: &mut State) {
        if let Some(open) = &state.open {
            let there = fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
            if there == Some(open.identity) {
                return;
            }
            state.open = None;
            self.tell(state, &Trouble::Deleted);
        } else if state.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < TRY_AGAIN) {
            return;
        }
        match schema::open(&self.path) {
            Ok(open) => {
                if state.failed.take().is_some() && state.is_news("again") {
                    tracing::info!("the ledger {} is in use again", self.path.display());
                }
                state.open = Some(open);
            }
            Err(trouble) => self.failed(state, trouble),
        }
    }

    fn failed(&self, state: &mut State, trouble: Trouble) {
        self.tell(state, &trouble);
        match trouble {
            Trouble::Corrupt(_) => {
                state.open = None;
                match schema::set_aside(&self.path).and_then(|()| schema::open(&self.path)) {
                    Ok(open) => state.open = Some(open),
                    Err(also) => state.failed = Some((Instant::now(), also)),
                }
            }
            // The disk may have room again at any time, and reading goes on meanwhile.
            Trouble::Full | Trouble::Locked => state.failed = Some((Instant::now(), trouble)),
            Trouble::Deleted => {}
            Trouble::Newer(_) | Trouble::Unusable(_) => {
                state.open = None;
                state.failed = Some((Instant::now(), trouble));
            }
        }
    }

    fn tell(&self, state: &mut State, trouble: &Trouble) {
        if state.is_news(trouble.kind()) {
            tracing::warn!("{}", trouble.advice(&self.path));
        }
    }
}

#[cfg(test)]
mod tests;
