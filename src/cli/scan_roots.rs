//! The data roots looked through once, for the commands that end.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, DataRoot};
use crate::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout};
use crate::daemon::tree::root::has_marker;
use crate::daemon::tree::scan::{Scan, Scanner};
use crate::daemon::watch::WatchProblem;
use alyx_registration::flag::FlagFile;

/// What was found below all roots.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) flags: Vec<FlagFile>,
    /// The session folders without a flag.
    pub(super) unflagged: Vec<PathBuf>,
    /// Roots, folders and flags that could not be used. Each is reported.
    pub(super) missed: usize,
}

/// Looks through all data roots.
pub(super) async fn walk(config: &Config, shutdown: &CancellationToken) -> Walked {
    let mut walked = Walked::default();
    for root in &config.data_roots {
        let Some(scan) = walk_root(config, root, shutdown).await else {
            walked.missed += 1;
            continue;
        };
        walked.missed += scan.problems.len();
        for problem in &scan.problems {
            tracing::warn!("{problem}");
        }
        walked.flags.extend(scan.flags);
        walked.unflagged.extend(scan.unflagged);
    }
    walked
}

/// Looks for the flags below one root, also for those in a wrong place. `None`: the root cannot be used,
/// which is reported.
async fn walk_root(config: &Config, root: &DataRoot, shutdown: &CancellationToken) -> Option<Scan> {
    let path = root.path.clone();
    let layout = Layout { root: path.clone(), flags: config.flags.clone(), max_depth: DEFAULT_MAX_DEPTH };
    let (stop, marker) = (shutdown.clone(), root.require_marker.clone());
    let walk = tokio::task::spawn_blocking(move || {
        is_there(&path, marker.as_deref())?;
        let (mut scanner, stop) = (Scanner::new(layout), || stop.is_cancelled());
        let mut scan = scanner.scan_parallel(&stop);
        let today = jiff::Zoned::now().date();
        scan.problems.extend(scanner.find_too_deep(scan.unflagged.clone(), today, &stop));
        Ok(scan)
    });
    let scan =
        walk.await.unwrap_or_else(|e| Err(format!("internal fault while scanning: {e}; please report it")));
    scan.map_err(|reason| tracing::error!("{reason}")).ok()
}

/// An empty mount point is no data root without flags.
fn is_there(root: &Path, marker: Option<&str>) -> Result<(), String> {
    let unreadable = |error| {
        format!("the data root {root:?} cannot be read ({error}); mount the disk, or correct data_roots")
    };
    std::fs::read_dir(root).map_err(unreadable)?;
    match marker.map(|marker| (marker, has_marker(root, marker))) {
        None | Some((_, Ok(true))) => Ok(()),
        Some((marker, Ok(false))) => {
            Err(WatchProblem::MarkerMissing { root: root.to_owned(), marker: marker.to_owned() }.to_string())
        }
        Some((_, Err(error))) => Err(unreadable(error)),
    }
}
