//! The status page over HTTP: for people at `/`, for Prometheus at `/metrics`, for programs at `/status.json` and for
//! a supervisor at `/healthz`.
//!
//! It is read-only and shows no secrets. It queries the daemon like `status`, and reads the ledger; the daemon does
//! not depend on it.

mod days;
mod host_names;
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

/// The options of the page.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Names under which the page answers, in addition to those of loopback.
    pub names: Vec<String>,
    /// The state folder, which contains the ledger.
    pub state_dir: PathBuf,
    /// The time zone for display.
    pub zone: TimeZone,
}

/// Where the page gets its data.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Queries the daemon.
    pub status_client: StatusClient,
    /// Counts the bytes read.
    pub client: RegistrationClient,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Serves the page until `shutdown`. An address that cannot be used is reported once and retried.
pub async fn serve(options: Options, sources: Sources, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        listener = server::listen(options.listen) => {
            server::serve(listener, Arc::new(SnapshotCache::new(options, sources)), shutdown.clone()).await;
        }
    }
}
