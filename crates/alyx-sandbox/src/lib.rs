//! An Alyx that runs inside this program: to try things out, to practise, and to test against.
//!
//! It answers as a real Alyx 3.6.1 does, its oddities included, for everything that registration needs: login,
//! subjects, sessions, `/register-file` with revisions and protection, water and weight. Its state is an SQLite
//! file, or memory. It knows nothing of the rest of this crate: it is spoken to over HTTP only.
//!
//! Where it differs: of the plain records only tags and dataset types can be created, and none can be changed; nor can
//! subjects, weighings and water administrations; datasets come from `/register-file` only; `django=` knows few fields
//! and lookups; a subject's name is unique altogether, not in a lab only; everyone who can log in may write; a list in
//! a form (not in JSON) is not understood; there is no `/me`, as in 3.6.1, and no cache of tables (404).
//!
//! For practice data only: passwords are kept in clear, and only plain HTTP is spoken.
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

mod connection;
mod error;
mod faults;
mod fields;
mod filters;
mod handle;
mod kinds;
mod message;
mod names;
mod options;
mod pagination;
mod qc;
mod routes;
mod seed;
mod server;
mod service;
mod store;
mod throttle;
mod time;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::error::SandboxError;
pub use crate::faults::{Fault, FaultRule, Gate};
pub use crate::handle::{RequestSeen, SandboxHandle};
pub use crate::options::{Database, SandboxOptions};
pub use crate::seed::{
    Seed, SeedFormat, SeedLab, SeedLocation, SeedRepository, SeedSubject, SeedTag, SeedType, SeedUser,
};

/// After this time a stopping sandbox leaves its last connections behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// An open store and its rules, not yet listening.
pub struct Sandbox {
    control: SandboxHandle,
}

impl Sandbox {
    /// Opens the database and, if it is new, fills it from the seed.
    ///
    /// # Errors
    ///
    /// [`SandboxError::File`] and [`SandboxError::Store`]: the database cannot be opened.
    pub fn open(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
        let mut store = store::Store::open(&options.database, &options.seed)?;
        store.auto_create = options.auto_create;
        let throttle = options.throttle.map(throttle::Throttle::new);
        Ok(Sandbox { control: SandboxHandle::new(server::Server { store, throttle }) })
    }

    /// The strings of this sandbox.
    pub fn control(&self) -> SandboxHandle {
        self.control.clone()
    }

    /// Answers on a listener until told to stop. Requests under way are answered first, for two seconds at most.
    ///
    /// # Errors
    ///
    /// The listener broke.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        let base = format!("http://{}", listener.local_addr()?);
        // Only names the records that `SandboxHandle` shows; the first address is as good as any.
        let _ = self.control.shared.base.set(base);
        let router = service::router(self.control, shutdown.clone());
        let service = router.into_make_service_with_connect_info::<connection::Abort>();
        let stop = shutdown.clone();
        let serving = axum::serve(connection::AbortableListener(listener), service)
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
    /// Where it listens: `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its strings.
    pub fn control(&self) -> &SandboxHandle {
        &self.control
    }

    /// Stops it and waits until its port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            // The task ends with the server's own outcome, which is of no more use here.
            let _ = task.await;
        }
    }
}

impl Drop for RunningSandbox {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
