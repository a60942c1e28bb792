//! The context of a run: the live state that a client works with, as opposed to its options.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::files::server_errors::ServerErrors;
use crate::flag::LastLooks;
use crate::hashing::checksum_cache::ChecksumCache;
use crate::hashing::progress::Progress;
use crate::listing::quiet::SessionLooks;
use crate::metadata::remarks::Remarks;
use crate::session::created::CreatedSessions;
use crate::session::creation::InFlightCreations;
use crate::session::request_marks::RequestMarks;

/// Live state of a [`RegistrationClient`](crate::RegistrationClient): what its runs report to and share.
///
/// ```
/// use std::sync::Arc;
/// use alyx_registration::{Progress, RunContext};
///
/// let shared = RunContext::default();
/// let run = RunContext { progress: Arc::new(Progress::default()), ..shared.clone() };
/// assert!(Arc::ptr_eq(&run.creations, &shared.creations));
/// ```
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// Updated while files are read.
    pub progress: Arc<Progress>,
    /// Checksums of earlier runs: a file that has not changed since is not read again.
    pub cache: Option<Arc<dyn ChecksumCache>>,
    /// Creations of sessions that are on their way. Clients for one database must share them.
    pub creations: Arc<InFlightCreations>,
    /// Marks of requests on this computer, for other programs.
    pub marks: RequestMarks,
    /// Looks at flagged sessions that were not quiet yet.
    pub looks: Arc<SessionLooks>,
    /// Sessions at whose files the server failed.
    pub server_errors: Arc<ServerErrors>,
    /// Remarks about metadata that were logged already.
    pub remarks: Arc<Remarks>,
    /// Last looks that are pending, from one start of the program to the next.
    pub last_looks: Option<Arc<dyn LastLooks>>,
    /// The sessions that earlier runs of this registrar created; `None`: only those of this process are known.
    pub created: Option<Arc<dyn CreatedSessions>>,
    /// Limits how many flagged sessions talk to Alyx at once; the others read their files meanwhile. `None`: no limit.
    pub at_alyx: Option<Arc<Semaphore>>,
}

impl RunContext {
    /// A context that keeps checksums, pending looks and the sessions that it created in `memory`, from one start of the
    /// program to the next.
    pub fn remembering(memory: Arc<impl ChecksumCache + LastLooks + CreatedSessions + 'static>) -> Self {
        let (cache, last_looks) = (Some(memory.clone() as _), Some(memory.clone() as _));
        Self { cache, last_looks, created: Some(memory), ..Self::default() }
    }

    /// Whether this registrar created the session, in this run or an earlier one.
    pub(crate) async fn has_created(&self, eid: &str) -> bool {
        if self.creations.has_created(eid) {
            return true;
        }
        let Some(created) = self.created.clone() else { return false };
        let eid = eid.to_owned();
        tokio::task::spawn_blocking(move || created.contains(&eid)).await.unwrap_or(false)
    }

    /// Waits until the run may talk to Alyx, and gives its turn back while it uses the disk.
    pub(crate) async fn begin_turn(&self) -> AlyxTurn<'_> {
        AlyxTurn { context: self, permit: Mutex::new(self.enter_alyx().await) }
    }

    /// Waits until the run may talk to Alyx.
    async fn enter_alyx(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(self.at_alyx.as_ref()?).acquire_owned().await.ok()
    }
}

/// The turn of a run to talk to Alyx. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct AlyxTurn<'a> {
    context: &'a RunContext,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl AlyxTurn<'_> {
    /// Does work on the disk, which may hang, without keeping other runs from Alyx meanwhile.
    pub(crate) async fn outside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut permit = self.permit.lock().await;
        let had_turn = permit.take().is_some();
        let done = work.await;
        if had_turn {
            *permit = self.context.enter_alyx().await;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_the_disk_keeps_no_other_run_from_alyx() {
        let at_alyx = Arc::new(Semaphore::new(1));
        let context = RunContext { at_alyx: Some(Arc::clone(&at_alyx)), ..RunContext::default() };
        let turn = context.begin_turn().await;
        assert_eq!(at_alyx.available_permits(), 0);
        turn.outside(async { drop(context.begin_turn().await) }).await;
        assert_eq!(at_alyx.available_permits(), 0);
        drop(turn);
        assert_eq!(at_alyx.available_permits(), 1);
    }
}
