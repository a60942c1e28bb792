//! A data root looked through once, for the commands that end.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, DataRoot};
use crate::daemon::root::has_marker;
use crate::daemon::scan::{Scan, Scanner};
use crate::daemon::watch_plan::{DEFAULT_MAX_DEPTH, Layout};
use crate::daemon::watcher::WatchTrouble;

/// Looks for the flags below one root, also for those in a wrong place. `None`: the root is not there as it should
/// be, which is told.
pub(super) async fn walk(config: &Config, root: &DataRoot, shutdown: &CancellationToken) -> Option<Scan> {
    let path = root.path.clone();
    let layout = Layout { root: path.clone(), flags: config.flags.clone(), max_depth: DEFAULT_MAX_DEPTH };
    let (stop, marker) = (shutdown.clone(), root.require_marker.clone());
    let walk = tokio::task::spawn_blocking(move || {
        is_there(&path, marker.as_deref())?;
        let (mut scanner, stop) = (Scanner::new(layout), || stop.is_cancelled());
        let mut scan = scanner.scan(&mut |_, _, _| (), &stop);
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
            Err(WatchTrouble::MarkerMissing { root: root.to_owned(), marker: marker.to_owned() }.to_string())
        }
        Some((_, Err(error))) => Err(unreadable(error)),
    }
}
