//! One look for late files, on a task of its own.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::daemon::queue::folder_locks::FolderLocks;
use crate::daemon::tree::root::FolderIdentity;
use crate::ledger::{Ledger, LookRow};
use alf::SessionPath;
use alyx_registration::flagged::Registered;
use alyx_registration::{
    Error, FlaggedOptions, Gap, LateOptions, LookRules, OnLate, Pace, RegistrationClient, SessionSnapshot,
    StatRate,
};

/// A look to make.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) row: LookRow,
    /// Every file counts.
    pub(crate) is_last: bool,
    /// Ends it, because a session of its data root begins.
    pub(crate) stop: CancellationToken,
}

/// A look that has ended.
#[derive(Debug)]
pub(crate) struct EndedLook {
    pub(crate) row: LookRow,
    pub(crate) is_last: bool,
    pub(crate) result: LookResult,
}

/// How a look ended.
#[derive(Debug)]
pub(crate) enum LookResult {
    /// A session of its data root began, or a reload replaced the configuration before the root was locked.
    Stopped,
    /// The ledger no longer has it.
    Unknown,
    /// The session was seen.
    Seen {
        /// What the next look compares it with.
        snapshot: SessionSnapshot,
        /// Its late files.
        late: Option<Gap>,
        /// What became of them, if they were to be registered.
        registered: Option<Result<Box<Registered>, Error>>,
    },
    /// Its data root is not there, such as a disk that is not mounted.
    NoRoot(Error),
    /// It was not seen, or Alyx could not be asked.
    Failed(Error),
}

/// What a look works with.
pub(crate) struct LookContext {
    pub(crate) client: RegistrationClient,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) flagged: FlaggedOptions,
    pub(crate) late: LateOptions,
    pub(crate) rate: Arc<StatRate>,
    pub(crate) folders: Arc<FolderLocks>,
    /// The data roots.
    pub(crate) roots: Vec<PathBuf>,
}

impl LookContext {
    /// Looks at a session.
    pub(crate) async fn look(self, look: Look) -> EndedLook {
        let result = match self.result(&look).await {
            Ok(result) => result,
            Err(error @ Error::Alyx(_)) => LookResult::Failed(error),
            Err(error) => {
                let (folder, roots) = (look.row.folder.clone(), self.roots.clone());
                let steps = Arc::clone(&self.client.context().progress.steps);
                let is_there = move || {
                    let _step = steps.begin("looking at", &folder);
                    is_root_there(&folder, &roots)
                };
                let is_there = blocking(is_there).await.unwrap_or(true);
                if is_there { LookResult::Failed(error) } else { LookResult::NoRoot(error) }
            }
        };
        EndedLook { row: look.row, is_last: look.is_last, result }
    }

    async fn result(&self, look: &Look) -> Result<LookResult, Error> {
        let (ledger, folder) = (Arc::clone(&self.ledger), look.row.folder.clone());
        let Some(before) = blocking(move || ledger.snapshot(&folder)).await? else {
            return Ok(LookResult::Unknown);
        };
        let (folder, steps) = (look.row.folder.clone(), Arc::clone(&self.client.context().progress.steps));
        let identify = move || {
            let _step = steps.begin("looking at", &folder);
            identity(&folder)
        };
        let identity = blocking(identify).await??;
        let _inside = self.folders.lock(identity).await;
        let session = SessionPath::parse(&look.row.folder)?;
        let rules =
            LookRules { every_file: look.is_last, flagged: &self.flagged, late_exclude: &self.late.exclude };
        let pace = Pace { rate: Arc::clone(&self.rate), stop: look.stop.clone() };
        let found = self.client.find_late_files(&session, &look.row.eid, &before, &rules, pace).await?;
        let Some(found) = found else { return Ok(LookResult::Stopped) };
        let registered = match &found.late {
            Some(late) if self.late.on_late == OnLate::Register && !late.is_of_deleted_session() => {
                Some(self.client.register_late(&session, late, &self.flagged).await.map(Box::new))
            }
            _ => None,
        };
        Ok(LookResult::Seen { snapshot: found.snapshot, late: found.late, registered })
    }
}

/// Whether a session's disk is there: its data root holds something, and what can be seen of the session's path is not an
/// error of the disk. A session that was moved or deleted leaves the others. Blocks.
fn is_root_there(folder: &Path, roots: &[PathBuf]) -> bool {
    let Some(root) = roots.iter().find(|root| folder.starts_with(root)) else { return true };
    let mut entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(_) => return false,
    };
    let is_gone = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    entries.next().is_some_and(|first| first.is_ok()) && std::fs::metadata(folder).err().is_none_or(is_gone)
}

/// Identifies a folder, of which there may be several paths. Blocks.
fn identity(folder: &Path) -> Result<FolderIdentity, Error> {
    FolderIdentity::load(folder)
        .map_err(|error| Error::Unreadable { path: folder.to_owned(), reason: error.to_string() })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::Internal(format!("looking for late files: {e}")))
}
