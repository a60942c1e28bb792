//! The options of the daemon.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::run_loop::credentials::CredentialSource;
use crate::daemon::tree::layout::DEFAULT_MAX_DEPTH;
use crate::daemon::tree::lock::RootLock;
use crate::daemon::watch::{RootOptions, WatchOptions};
use crate::ledger::Ledger;
use alyx_client::backoff::Backoff;
use alyx_registration::FlaggedOptions;

/// What the daemon needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data roots.
    pub roots: Vec<RootOptions>,
    /// How they are watched.
    pub watch: WatchOptions,
    /// How long a flag, and the files of its session, must have been quiet.
    pub settle: Duration,
    /// Waits after a failure that may go away by itself.
    pub retry: Backoff,
    /// How soon a session that needs attention, and refused credentials, are looked at again.
    pub permanent: Duration,
    /// Sessions that are busy at Alyx at once. While one reads its files, others go on.
    pub workers: usize,
    /// How sessions are registered.
    pub flagged: FlaggedOptions,
    /// Where attempts, outcomes and checksums are remembered.
    pub ledger: Option<Arc<Ledger>>,
    /// Stands for the configuration: under another one, what needed a person is tried at once after a restart.
    pub configuration: String,
    /// Where the secret comes from, to read it again.
    pub credentials: Option<CredentialSource>,
    /// Keep other registrars off the roots, as long as a session of these may run.
    pub locks: Arc<Vec<RootLock>>,
    /// How often Alyx is asked whether it knows by now the names that were missing.
    pub look_for_names: Duration,
    /// A flag that is older is told once a day. `None`: never.
    pub warn_after: Option<Duration>,
}

impl Default for Options {
    /// No roots, no ledger, and the times of the sample configuration.
    fn default() -> Self {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        Self {
            roots: Vec::new(),
            watch: WatchOptions {
                flags: vec!["create_me.flag".to_owned()],
                rescan_interval: 5 * minute,
                poll_interval: minute,
                max_depth: DEFAULT_MAX_DEPTH,
            },
            settle: Duration::from_secs(2),
            retry: Backoff { initial: Duration::from_secs(30), factor: 2.0, max: hour },
            permanent: hour,
            workers: 2,
            flagged: FlaggedOptions::default(),
            ledger: None,
            configuration: String::new(),
            credentials: None,
            locks: Arc::default(),
            look_for_names: 5 * minute,
            warn_after: Some(24 * hour),
        }
    }
}
