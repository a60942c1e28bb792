//! The places of a scan's workers, and waiting without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use alf::SessionPath;
use alyx_client::backoff::Backoff;
use alyx_registration::Error;

/// Attempts at a session whose files are still changing.
const MAX_ATTEMPTS: u32 = 5;

/// A worker's place, of which each data root has as many as there are workers.
pub(in crate::cli) struct Place {
    places: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// When a session that waits for another program is tried again.
    retry: Backoff,
}

impl Place {
    pub(in crate::cli) async fn enter(places: Arc<Semaphore>, retry: Backoff) -> Self {
        // Never closed.
        let permit = Arc::clone(&places).acquire_owned().await.ok();
        Self { places, permit, retry }
    }

    /// Lets the other sessions go first, for at least that long.
    async fn leave_for(&mut self, wait: Duration) {
        self.permit = None;
        tokio::time::sleep(wait).await;
        self.permit = Arc::clone(&self.places).acquire_owned().await.ok();
    }
}

/// Plans or registers a session, and tries again: a few times if its files are still changing, and as long as it waits for
/// the request of another program. A dry run waits for files to settle, once, and for nothing else. `place`: where others
/// wait for their turn.
pub(in crate::cli) async fn until_quiet<T>(
    session: &SessionPath,
    dry: bool,
    mut place: Option<&mut Place>,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut logged, mut n_quiet, mut n_held) = (None, 1, 0);
    let max_attempts = if dry { 2 } else { MAX_ATTEMPTS };
    loop {
        let result = attempt().await;
        let error = result.as_ref().err().filter(|e| !dry || matches!(e, Error::StillChanging { .. }));
        let Some(error) = error else { return result };
        let wait = match (&place, error.waits_for_request(), wait_to_settle(error)) {
            (Some(place), Some(left), _) => {
                n_held += 1;
                place.retry.delay(n_held, alyx_client::jitter()).min(left)
            }
            (_, None, Some(wait)) if n_quiet < max_attempts => {
                n_quiet += 1;
                wait
            }
            _ => return result,
        };
        let reason = error.to_string();
        if logged.as_ref() != Some(&reason) {
            let meanwhile = if place.is_some() { ", and the other sessions go first" } else { "" };
            tracing::info!(session = %session, "{session} waits{meanwhile}: {reason}");
            logged = Some(reason);
        }
        match &mut place {
            Some(place) => place.leave_for(wait).await,
            None => tokio::time::sleep(wait).await,
        }
    }
}

/// How long to wait for the files of a session. What is missing may take hours, and is not waited for.
pub(in crate::cli) fn wait_to_settle(error: &Error) -> Option<Duration> {
    error.wait_to_settle().filter(|_| !matches!(error, Error::Incomplete { .. }))
}
