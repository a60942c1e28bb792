//! An Alyx that runs inside this program: to try things out, to practise, and to test against.
//!
//! It answers as a real Alyx 3.6.1 does, its oddities included, for everything that registration needs: login,
//! subjects, sessions, `/register-file` with revisions and protection, water and weight. Its state is an SQLite
//! file, or memory. It knows nothing of the rest of this crate: it is spoken to over HTTP only.
//!
//! Where it differs: records cannot be renamed; a subject's name is unique altogether, not in a lab only; everyone
//! who can log in may write; a list in a form (not in JSON) is not understood; there is no `/me`, as in 3.6.1, and
//! no cache of tables (404).
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
mod faults;
mod fields;
mod filters;
mod handle;
mod kinds;
mod message;
mod names;
mod page;
mod routes;
mod seed;
mod service;
mod store;
mod throttle;
mod time;

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::faults::{Fault, FaultRule, Gate};
pub use crate::handle::{RequestSeen, SandboxHandle};
pub use crate::seed::{
    Seed, SeedFormat, SeedLab, SeedLocation, SeedRepository, SeedSubject, SeedTag, SeedType, SeedUser,
};

/// After this time a stopping sandbox leaves its last connections behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a sandbox keeps its state.
#[derive(Clone, Debug, PartialEq)]
pub enum Database {
    /// In memory: gone when the sandbox is.
    Memory,
    /// In an SQLite file, readable by its owner only. A file that exists keeps its records.
    File(PathBuf),
}

/// What a sandbox is started with.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where the state is.
    pub database: Database,
    /// The first records of a new database; without effect on one that has been used.
    pub seed: Seed,
    /// So many requests a minute for each user, then 429 with `Retry-After`; `None`: no limit. Alyx ships with 550.
    pub throttle: Option<u32>,
    /// Labs and subjects come to be when they are first asked for, for people who try the program on a folder of
    /// their own: nobody has entered their animals. A real Alyx does nothing of the kind.
    pub auto_create: bool,
}

impl Default for SandboxOptions {
    /// In memory, with the shipped seed, without a limit.
    fn default() -> Self {
        SandboxOptions {
            database: Database::Memory,
            seed: Seed::default(),
            throttle: None,
            auto_create: false,
        }
    }
}

/// Why a sandbox cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The seed cannot be read.
    #[error("the sandbox's seed is not right: {0}. Compare it with the shipped seed, or leave it out")]
    Seed(String),
    /// The database file cannot be opened.
    #[error(
        "cannot open the sandbox's database {0}: {1}. Choose a file in a folder that this user may write"
    )]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite refused.
    #[error("the sandbox's database does not work: {0}. Delete the file to begin anew, or choose another")]
    Store(#[source] rusqlite::Error),
    /// No port could be had.
    #[error("the sandbox cannot listen on this computer: {0}. Check whether the port is taken")]
    Listen(#[source] std::io::Error),
}

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
        Ok(Sandbox { control: SandboxHandle::new(routes::Server { store, throttle }) })
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
        let service = router.into_make_service_with_connect_info::<connection::Cut>();
        let stop = shutdown.clone();
        let serving = axum::serve(connection::Cuttable(listener), service)
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
