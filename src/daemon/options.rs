//! The options of the daemon.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::run_loop::credentials::CredentialSource;
use crate::daemon::tree::layout::DEFAULT_MAX_DEPTH;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::verification::VerifyOptions;
use crate::daemon::watch::{RootOptions, WatchOptions};
use crate::ledger::Ledger;
use alyx_client::backoff::Backoff;
use alyx_registration::{FlaggedOptions, FollowRules, LateOptions};

/// The options of the daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data roots.
    pub roots: Vec<RootOptions>,
    /// How the roots are watched.
    pub watch: WatchOptions,
    /// Back-off after a failure that may resolve itself.
    pub retry: Backoff,
    /// How soon a session that needs attention, and refused credentials, are tried again.
    pub permanent: Duration,
    /// How many sessions talk to Alyx at the same time. Sessions that read files do not count.
    pub workers: usize,
    /// How sessions are registered.
    pub flagged: FlaggedOptions,
    /// Subjects whose flags are left alone.
    pub skip_subjects: Vec<String>,
    /// How registered sessions are looked at again, for late files.
    pub late: LateOptions,
    /// When registered files are verified; `None`: never.
    pub verify: Option<VerifyOptions>,
    /// How copies in other repositories are looked for; `None`: not at all.
    pub follow: Option<FollowRules>,
    /// The ledger: attempts, outcomes and checksums.
    pub ledger: Option<Arc<Ledger>>,
    /// A fingerprint of the configuration: after a restart with another one, sessions that needed attention are tried
    /// at once.
    pub configuration: String,
    /// Where the secret comes from, to read it again.
    pub credentials: Option<CredentialSource>,
    /// Locks that keep other daemons off the roots while a session of theirs may run. A root without its lock is not
    /// watched.
    pub locks: Arc<RootLocks>,
    /// How often Alyx is queried for names that were missing.
    pub names_interval: Duration,
    /// A flag that waits longer is reported once a day. `None`: never.
    pub warn_after: Option<Duration>,
    /// For how long a call to the file system may make no progress before its data root is reported.
    pub hangs_after: Duration,
}

const RETRY: Backoff = Backoff::constant(Duration::from_secs(30), 2.0, Duration::from_secs(3600));

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
            retry: RETRY,
            permanent: hour,
            workers: 2,
            flagged: FlaggedOptions::default(),
            skip_subjects: Vec::new(),
            late: LateOptions::default(),
            verify: None,
            follow: None,
            ledger: None,
            configuration: String::new(),
            credentials: None,
            locks: Arc::default(),
            names_interval: 5 * minute,
            warn_after: Some(24 * hour),
            hangs_after: minute,
        }
    }
}
