//! The places of a scan's workers, and waiting without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use alf::SessionPath;
use alyx_registration::Error;

/// Attempts at a session whose files are still changing.
const MAX_ATTEMPTS: u32 = 5;

/// A worker's place, of which each data root has as many as there are workers.
pub(in crate::cli) struct Place {
    places: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(super) async fn enter(places: Arc<Semaphore>) -> Self {
        // Never closed.
        let permit = Arc::clone(&places).acquire_owned().await.ok();
        Self { places, permit }
    }

    /// Lets the other sessions go first, for at least that long.
    async fn leave_for(&mut self, wait: Duration) {
        self.permit = None;
        tokio::time::sleep(wait).await;
        self.permit = Arc::clone(&self.places).acquire_owned().await.ok();
    }
}

/// Plans or registers a session, and tries again a few times if its files are still changing. A dry run waits for files
/// to settle, once, and for nothing else. `place`: where others wait for their turn.
pub(in crate::cli) async fn until_quiet<T>(
    session: &SessionPath,
    dry: bool,
    mut place: Option<&mut Place>,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut logged = None;
    let max_attempts = if dry { 2 } else { MAX_ATTEMPTS };
    for _ in 1..max_attempts {
        let result = attempt().await;
        let error = result.as_ref().err().filter(|e| !dry || matches!(e, Error::StillChanging { .. }));
        let waits = error.and_then(|error| Some((error, wait_to_settle(error)?)));
        let Some((error, wait)) = waits else { return result };
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
    attempt().await
}

/// How long to wait for the files of a session. What is missing may take hours, and is not waited for.
pub(in crate::cli) fn wait_to_settle(error: &Error) -> Option<Duration> {
    error.wait_to_settle().filter(|_| !matches!(error, Error::Incomplete { .. }))
}
