//! What a root's watch has told, so that it tells troubles once and flags as gone only if they were told.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use crate::daemon::tree::scan::{Scan, ScanProblem};
use crate::daemon::watch::events::WatchEvent;
use crate::daemon::watch::trouble::WatchTrouble;
use alyx_registration::flag::FlagFile;

pub(crate) struct EventEmitter {
    sightings: UnboundedSender<WatchEvent>,
    /// Flags that were told and not yet told as gone.
    flags: BTreeSet<PathBuf>,
    /// The troubles that last, by what tells one from another.
    troubles: HashMap<String, Lasting>,
    /// The obstacles among them, as they were told last.
    obstacles: Vec<String>,
}

/// A trouble that lasts.
struct Lasting {
    /// What a scan finds, and finds no longer.
    found: Option<Found>,
    /// It keeps flags from being seen or removed.
    obstacle: Option<String>,
}

/// Where a scan finds a trouble.
struct Found {
    place: PathBuf,
    /// Not every scan looks there.
    is_misplaced: bool,
    /// The root was empty.
    is_empty: bool,
}

impl EventEmitter {
    /// `flags`: those that an earlier watch of the root has told.
    pub(crate) fn new(
        sightings: UnboundedSender<WatchEvent>,
        flags: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        Self {
            sightings,
            flags: flags.into_iter().collect(),
            troubles: HashMap::new(),
            obstacles: Vec::new(),
        }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.sightings.is_closed()
    }

    pub(crate) fn tell(&self, sighted: WatchEvent) {
        let _ = self.sightings.send(sighted);
    }

    pub(crate) fn flag(&mut self, flag: FlagFile) {
        self.flags.insert(flag.path.clone());
        self.tell(WatchEvent::Flag(flag));
    }

    pub(crate) fn gone(&mut self, path: PathBuf) {
        if self.flags.remove(&path) {
            self.tell(WatchEvent::Gone(path));
        }
    }

    /// The flags in a folder and below it that count as being there.
    pub(crate) fn flags_below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.flags.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Tells a trouble, unless it was told and lasts.
    pub(crate) fn trouble(&mut self, trouble: WatchTrouble) {
        let (key, found) = match &trouble {
            WatchTrouble::Problem(problem) => (problem_key(problem), Some(Found::of(problem))),
            other => (other.to_string(), None),
        };
        // One that lasts keeps its words, though the advice may be another one tomorrow: else it would be news each day.
        if let Entry::Vacant(new) = self.troubles.entry(key) {
            let obstacle = trouble.is_obstacle().then(|| trouble.to_string());
            new.insert(Lasting { found, obstacle });
            self.tell(WatchEvent::Trouble(trouble));
        }
    }

    /// The root is not there: so long nothing else is in the way.
    pub(crate) fn away(&mut self, trouble: WatchTrouble) {
        let key = trouble.to_string();
        self.troubles.retain(|known, _| *known == key);
        self.trouble(trouble);
    }

    /// A trouble with the root itself is over.
    pub(crate) fn is_over(&mut self, trouble: &WatchTrouble) {
        self.troubles.remove(&trouble.to_string());
    }

    /// After a look at one place: whatever was in the way there is no more.
    pub(crate) fn is_well(&mut self, place: &Path) {
        self.troubles.retain(|_, trouble| trouble.found.as_ref().is_none_or(|found| found.place != place));
    }

    /// After a scan of a folder and all that is below it: what it found no longer has ended, and is told again if it
    /// comes back.
    pub(crate) fn forget_ended_troubles(&mut self, scan: &Scan, folder: &Path) {
        let still: HashSet<String> = scan.problems.iter().map(problem_key).collect();
        self.troubles.retain(|key, trouble| {
            let Some(found) = &trouble.found else { return true };
            // Where there is a folder, the root is not empty.
            let was_looked_at = found.is_empty || found.place.starts_with(folder);
            !was_looked_at
                || still.contains(key)
                || found.is_misplaced && found.place.symlink_metadata().is_ok()
        });
    }

    /// The root has come or gone: every trouble is news again.
    pub(crate) fn forget_troubles(&mut self) {
        self.troubles.clear();
    }

    /// Tells what is in the way, if that has changed.
    pub(crate) fn tell_obstacles(&mut self, root: &Path) {
        let mut obstacles: Vec<String> =
            self.troubles.values().filter_map(|trouble| trouble.obstacle.clone()).collect();
        obstacles.sort_unstable();
        if obstacles != self.obstacles {
            self.obstacles.clone_from(&obstacles);
            self.tell(WatchEvent::Obstacles { root: root.to_owned(), obstacles });
        }
    }
}

impl Found {
    fn of(problem: &ScanProblem) -> Self {
        let place = match problem {
            ScanProblem::Unreadable { folder, .. } => folder,
            ScanProblem::EmptyRoot(root) => root,
            ScanProblem::LinkRefused { link, .. } => link,
            ScanProblem::Misplaced { flag, .. } => flag,
            ScanProblem::Flag(error) => error.path(),
        };
        Self {
            place: place.clone(),
            is_misplaced: matches!(problem, ScanProblem::Misplaced { .. }),
            is_empty: matches!(problem, ScanProblem::EmptyRoot(_)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tree::misplaced::Advice;

    #[tokio::test]
    async fn a_misplaced_flag_is_one_obstacle_also_when_it_might_be_moved_elsewhere_tomorrow() {
        let (sightings, mut told_of) = tokio::sync::mpsc::unbounded_channel();
        let mut told = EventEmitter::new(sightings, []);
        let misplaced = |session: &str| {
            let (flag, advice) = ("/data/KS014/create_me.flag".into(), Advice::IntoSession(session.into()));
            WatchTrouble::Problem(ScanProblem::Misplaced { flag, advice })
        };
        let mut texts = Vec::new();
        for session in ["/data/KS014/2024-05-01/001", "/data/KS014/2024-05-02/001"] {
            told.trouble(misplaced(session));
            told.tell_obstacles(Path::new("/data"));
        }
        while let Ok(sighted) = told_of.try_recv() {
            if let WatchEvent::Obstacles { obstacles, .. } = sighted {
                texts.push(obstacles);
            }
        }
        assert!(matches!(&texts[..], [only] if only.len() == 1), "{texts:?}");
    }
}
