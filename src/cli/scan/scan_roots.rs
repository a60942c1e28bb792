//! One scan of all data roots, for one-shot commands.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, DataRoot};
use crate::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout};
use crate::daemon::tree::root::has_marker;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::tree::scan::{Scan, ScanProblem, Scanner};
use crate::daemon::watch::WatchProblem;
use crate::json::error_report::{CommandKind, ErrorReport};
use alyx_registration::DiskSteps;
use alyx_registration::flag::FlagFile;

/// For how long a call to the file system may make no progress before its file or folder is logged.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(60);
/// The same before it is named as progress: a person who waits wants to know for what.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(5);
/// For how long the scan of a data root may make no progress. The others are registered then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often that is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The result of scanning all roots.
#[derive(Debug, Default)]
pub(crate) struct ScannedRoots {
    pub(crate) flags: Vec<FlagFile>,
    /// The session folders without a flag.
    pub(crate) unflagged: Vec<PathBuf>,
    /// Roots, folders and flags that could not be used. Each has been logged.
    pub(crate) missed: Vec<ErrorReport>,
    /// The session folders whose flag cannot be used.
    pub(crate) with_bad_flag: Vec<PathBuf>,
    /// Links in the place of folders that lead nowhere.
    pub(crate) broken_links: Vec<PathBuf>,
    /// Whether session folders may exist that are not listed here.
    pub(crate) is_partial: bool,
}

/// Scans all data roots at once. Each is locked before, unless it is.
pub(crate) async fn scan_roots(
    config: &Config,
    locks: &Arc<RootLocks>,
    shutdown: &CancellationToken,
) -> ScannedRoots {
    let mut found = ScannedRoots::default();
    let scans = config.data_roots.iter().map(|root| scan_root(config, root, Arc::clone(locks), shutdown));
    let scans = futures_util::future::join_all(scans).await;
    for (root, scan) in config.data_roots.iter().zip(scans) {
        let report = |problem: &dyn Display| ErrorReport::command(CommandKind::Disk, problem).at(&root.path);
        let scan = match scan {
            Ok(scan) => scan,
            Err(reason) => {
                tracing::error!("{reason}");
                found.missed.push(report(&reason));
                found.is_partial = true;
                continue;
            }
        };
        for problem in &scan.problems {
            tracing::warn!("{problem}");
            found.missed.push(report(problem));
            if let ScanProblem::Flag(error) = problem {
                found.with_bad_flag.extend(error.path().parent().map(Path::to_owned));
            }
            found.is_partial |= matches!(problem, ScanProblem::Unreadable { .. } | ScanProblem::EmptyRoot(_));
        }
        found.flags.extend(scan.flags);
        found.unflagged.extend(scan.unflagged);
        found.broken_links.extend(scan.broken_links);
    }
    found
}

/// Scans one root for flags, including misplaced ones. Fails if the root cannot be used.
async fn scan_root(
    config: &Config,
    root: &DataRoot,
    locks: Arc<RootLocks>,
    shutdown: &CancellationToken,
) -> Result<Scan, String> {
    let path = root.path.clone();
    let layout = Layout { root: path.clone(), flags: config.flags.clone(), max_depth: DEFAULT_MAX_DEPTH };
    let (stop, marker) = (shutdown.clone(), root.require_marker.clone());
    let steps: Arc<DiskSteps> = Arc::default();
    let step = steps.begin("scanning", &root.path);
    let mut task = tokio::task::spawn_blocking(move || {
        locks.lock(&path).map_err(|error| error.to_string())?;
        is_there(&path, marker.as_deref())?;
        let stop = || {
            step.touch();
            stop.is_cancelled()
        };
        let mut scanner = Scanner::new(layout);
        let mut scan = scanner.scan_parallel(&stop);
        let today = jiff::Zoned::now().date();
        scan.problems.extend(scanner.find_too_deep(scan.unflagged.clone(), today, &stop));
        Ok(scan)
    });
    loop {
        if let Ok(scan) = tokio::time::timeout(LOOK_EVERY, &mut task).await {
            return scan
                .unwrap_or_else(|e| Err(format!("internal fault while scanning: {e}; please report it")));
        }
        let hangs = !steps.without_progress(ANSWERS_WITHIN, Instant::now()).is_empty();
        if hangs || shutdown.is_cancelled() {
            return Err(WatchProblem::NoAnswer { root: root.path.clone() }.to_string());
        }
    }
}

/// Checks that a root is mounted: an empty mount point must not count as a root without flags.
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
