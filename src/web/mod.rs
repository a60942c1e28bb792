//! The page: how it goes, over HTTP. For people at `/`, for Prometheus at `/metrics`, for programs at `/status.json`
//! and for a supervisor at `/healthz`.
//!
//! It is read-only, and shows nothing that is secret. It asks the service as
//! `status` does and reads the ledger; the daemon does not know it and works as well without it.

mod days;
mod metrics;
mod page;
mod plot;
mod server;
mod snapshot;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use crate::daemon::StatusClient;
use alyx_registration::RegistrationClient;

pub use crate::web::metrics::Metrics;
use crate::web::snapshot::SnapshotCache;

/// What the page needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The state folder, whose ledger is read.
    pub state_dir: PathBuf,
    /// The zone in which times are shown.
    pub zone: TimeZone,
}

/// From where the page has what it shows.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Asks the service.
    pub asker: StatusClient,
    /// Knows how much was read.
    pub client: RegistrationClient,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// Serves the page until `shutdown`. An address that cannot be used is reported once, and retried.
pub async fn serve(options: Options, sources: Sources, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        listener = server::listen(options.listen) => {
            server::serve(listener, Arc::new(SnapshotCache::new(options, sources)), shutdown.clone()).await;
        }
    }
}
