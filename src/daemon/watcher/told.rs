//! What a root's watch has told, so that it tells troubles once and flags as gone only if they were told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use super::{Sighted, WatchTrouble};
use crate::daemon::scan::{Scan, ScanProblem};
use crate::flag::FlagFile;

pub(super) struct Told {
    sightings: UnboundedSender<Sighted>,
    /// Flags that were told and not yet told as gone.
    flags: BTreeSet<PathBuf>,
    /// The troubles that last, by what tells one from another, and whether a scan finds them.
    troubles: HashMap<String, bool>,
}

impl Told {
    /// `flags`: those that an earlier watch of the root has told.
    pub(super) fn new(sightings: UnboundedSender<Sighted>, flags: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { sightings, flags: flags.into_iter().collect(), troubles: HashMap::new() }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_in_vain(&self) -> bool {
        self.sightings.is_closed()
    }

    pub(super) fn tell(&self, sighted: Sighted) {
        let _ = self.sightings.send(sighted);
    }

    pub(super) fn flag(&mut self, flag: FlagFile) {
        self.flags.insert(flag.path.clone());
        self.tell(Sighted::Flag(flag));
    }

    pub(super) fn gone(&mut self, path: PathBuf) {
        if self.flags.remove(&path) {
            self.tell(Sighted::Gone(path));
        }
    }

    /// The flags in a folder and below it that count as being there.
    pub(super) fn flags_below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.flags.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Tells a trouble, unless it was told and lasts.
    pub(super) fn trouble(&mut self, trouble: WatchTrouble) {
        let is_found_by_scan = matches!(trouble, WatchTrouble::Problem(_));
        let key = match &trouble {
            WatchTrouble::Problem(problem) => problem_key(problem),
            other => other.to_string(),
        };
        if self.troubles.insert(key, is_found_by_scan).is_none() {
            self.tell(Sighted::Trouble(trouble));
        }
    }

    /// After a scan of the whole root: what it found no longer has ended, and is told again if it comes back.
    pub(super) fn forget_ended_troubles(&mut self, scan: &Scan) {
        let still: HashSet<String> = scan.problems.iter().map(problem_key).collect();
        self.troubles.retain(|key, is_found_by_scan| !*is_found_by_scan || still.contains(key));
    }

    /// The root has come or gone: every trouble is news again.
    pub(super) fn forget_troubles(&mut self) {
        self.troubles.clear();
    }
}

/// What tells one problem from another. A misplaced flag is one problem, although the session into which it might
/// be moved may be another one tomorrow.
fn problem_key(problem: &ScanProblem) -> String {
    match problem {
        ScanProblem::Misplaced { flag, .. } => format!("misplaced {flag:?}"),
        other => other.to_string(),
    }
}
