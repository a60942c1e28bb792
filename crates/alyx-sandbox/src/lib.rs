//! An embedded Alyx, to try things out, to practise, and to test against.
//!
//! It answers as a real Alyx 3.6.1, including its oddities, for everything that registration needs: login, subjects,
//! sessions, `/register-file` with revisions and protection, water and weight. Its state is an SQLite file, or memory.
//! It knows none of the project's other crates, which reach it over HTTP only.
//!
//! It differs from Alyx as follows:
//!
//! - Of the plain records, users, procedures and water types cannot be created or changed, and none can be renamed, nor
//!   can a subject. Datasets and file records come from `/register-file` only. Deleting a plain record leaves the
//!   records that name it.
//! - `django=` knows the fields and lookups that clients use, not all of the models'. The error about an unknown one
//!   does not list the others. Filters by brain region are ignored.
//! - A subject's name is unique across labs.
//! - The REST API of Alyx lets every user write who is not public, and so does this one.
//! - Lists in a form (as opposed to JSON) are not supported.
//! - There is no `/me`, as in 3.6.1, and no cache of tables, for which an Alyx that has made none answers 500.
//!
//! For practice data only: it stores passwords in clear text and speaks plain HTTP.
//!
//! ```
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use alyx_sandbox::{Sandbox, SandboxOptions};
//! let sandbox = Sandbox::start(SandboxOptions::default()).await?;
//! # rustls::crypto::ring::default_provider().install_default().ok();
//! let page = reqwest::get(format!("{}/api/schema", sandbox.url())).await?;
//! assert_eq!(page.status(), 200);
//! assert_eq!(sandbox.control().requests().len(), 1);
//! sandbox.stop().await;
//! # Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

mod error;
mod faults;
mod handle;
mod http;
mod options;
mod routes;
mod rules;
mod seed;
mod store;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::http::connection::{Abort, AbortableListener};
use crate::http::server::Server;
use crate::http::service::router;
use crate::http::throttle::Throttle;

pub use crate::error::SandboxError;
pub use crate::faults::{Fault, FaultRule, Gate};
pub use crate::handle::{RequestSeen, SandboxHandle};
pub use crate::options::{Database, SandboxOptions};
pub use crate::seed::{
    Seed, SeedFormat, SeedLab, SeedLocation, SeedRepository, SeedSubject, SeedTag, SeedType, SeedUser,
};

/// How long a stopping sandbox waits for its last connections.
const PATIENCE: Duration = Duration::from_secs(2);

/// A sandbox that is open but not yet listening.
pub struct Sandbox {
    control: SandboxHandle,
}

impl Sandbox {
    /// Opens the database, and fills a new one from the seed.
    ///
    /// # Errors
    ///
    /// [`SandboxError::File`] and [`SandboxError::Store`]: the database cannot be opened.
    pub fn open(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
        let mut store = store::Store::open(&options.database, &options.seed)?;
        store.auto_create = options.auto_create;
        let throttle = options.throttle.map(Throttle::new);
        Ok(Sandbox { control: SandboxHandle::new(Server { store, throttle }) })
    }

    /// The handle of this sandbox.
    pub fn control(&self) -> SandboxHandle {
        self.control.clone()
    }

    /// Serves on a listener until `shutdown` is cancelled, then waits up to two seconds for requests in flight.
    ///
    /// # Errors
    ///
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        let base = format!("http://{}", listener.local_addr()?);
        // Used only in the URLs of records that `SandboxHandle` returns, so the first address will do.
        let _ = self.control.shared.base.set(base);
        let router = router(self.control, shutdown.clone());
        let service = router.into_make_service_with_connect_info::<Abort>();
        let stop = shutdown.clone();
        let serving = axum::serve(AbortableListener(listener), service)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::select! {
            outcome = serving => outcome,
            () = async { shutdown.cancelled().await; tokio::time::sleep(PATIENCE).await } => Ok(()),
        }
    }

    /// Opens a sandbox and serves it on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`SandboxError::Listen`].
    pub async fn start(options: SandboxOptions) -> Result<RunningSandbox, SandboxError> {
        let sandbox = Sandbox::open(options)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(SandboxError::Listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(SandboxError::Listen)?);
        let (control, shutdown) = (sandbox.control(), CancellationToken::new());
        let task = tokio::spawn(sandbox.serve(listener, shutdown.clone()));
        Ok(RunningSandbox { url, control, shutdown, task: Some(task) })
    }
}

/// A sandbox that is serving. It stops when it is dropped.
pub struct RunningSandbox {
    url: String,
    control: SandboxHandle,
    shutdown: CancellationToken,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl RunningSandbox {
    /// The address: `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The handle of this sandbox.
    pub fn control(&self) -> &SandboxHandle {
        &self.control
    }

    /// Stops the sandbox and waits until its port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            // How the server ended does not matter any more.
            let _ = task.await;
        }
    }
}

impl Drop for RunningSandbox {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
