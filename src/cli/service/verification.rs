//! How the daemon verifies files, by its configuration.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::cli::verify::nightly::Nightly;
use crate::config::Config;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::verification::{VerifyOptions, Window};

/// The options of the verification, which holds these locks; `None`: nothing is verified.
pub(super) fn verification(config: &Config, locks: &Arc<RootLocks>) -> Option<VerifyOptions> {
    Some(VerifyOptions {
        every: config.verify.every?,
        window: config.verify.window.map(|(from, to)| Window { from, to }),
        zone: config.timezone.clone().unwrap_or_else(TimeZone::system),
        work: Arc::new(Nightly { config: config.clone(), locks: Arc::clone(locks) }),
    })
}
