//! Remembers which events were emitted, so that each problem is reported once and only known flags are reported as
//! gone.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use crate::daemon::tree::scan::{Scan, ScanProblem};
use crate::daemon::watch::events::WatchEvent;
use crate::daemon::watch::problem::WatchProblem;
use alyx_registration::flag::FlagFile;

/// How many obstacles of a root are named.
const MAX_OBSTACLES: usize = 100;

pub(crate) struct EventEmitter {
    events: UnboundedSender<WatchEvent>,
    /// Flags that were reported, and not yet reported as gone.
    flags: BTreeSet<PathBuf>,
    /// Ongoing problems, by a key that distinguishes them.
    problems: HashMap<String, OngoingProblem>,
    /// The obstacles among them, as last reported.
    obstacles: Vec<String>,
}

/// An ongoing problem.
struct OngoingProblem {
    /// Set if a scan finds the problem, and its end.
    origin: Option<ScanOrigin>,
    /// The text, if it keeps flags from being seen or removed.
    obstacle: Option<String>,
}

/// Where a scan finds a problem.
struct ScanOrigin {
    path: PathBuf,
    /// Not every scan checks this path.
    is_misplaced: bool,
    /// The root was empty.
    is_empty: bool,
}

impl EventEmitter {
    /// `flags`: those that an earlier watcher reported.
    pub(crate) fn new(events: UnboundedSender<WatchEvent>, flags: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { events, flags: flags.into_iter().collect(), problems: HashMap::new(), obstacles: Vec::new() }
    }

    /// Whether the receiver is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    pub(crate) fn emit(&self, event: WatchEvent) {
        let _ = self.events.send(event);
    }

    pub(crate) fn emit_flag(&mut self, flag: FlagFile) {
        self.flags.insert(flag.path.clone());
        self.emit(WatchEvent::Flag(flag));
    }

    pub(crate) fn emit_gone(&mut self, path: PathBuf) {
        if self.flags.remove(&path) {
            self.emit(WatchEvent::Gone(path));
        }
    }

    /// The reported flags in a folder and below it.
    pub(crate) fn flags_below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.flags.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Reports a problem, unless it was reported and is ongoing.
    pub(crate) fn report(&mut self, problem: WatchProblem) {
        let (key, origin) = match &problem {
            WatchProblem::Scan(problem) => (problem_key(problem), Some(ScanOrigin::of(problem))),
            other => (other.to_string(), None),
        };
        // An ongoing problem keeps its first wording: the advice may differ tomorrow, and must not be reported each
        // day.
        if let Entry::Vacant(new) = self.problems.entry(key) {
            let obstacle = problem.is_obstacle().then(|| problem.to_string());
            new.insert(OngoingProblem { origin, obstacle });
            self.emit(WatchEvent::Problem(problem));
        }
    }

    /// The root is unavailable: its other problems no longer apply.
    pub(crate) fn root_unavailable(&mut self, problem: WatchProblem) {
        let key = problem.to_string();
        self.problems.retain(|known, _| *known == key);
        self.report(problem);
    }

    /// A problem with the root itself has ended.
    pub(crate) fn resolve(&mut self, problem: &WatchProblem) {
        self.problems.remove(&problem.to_string());
    }

    /// A path was checked and is fine: its problems have ended.
    pub(crate) fn resolve_at(&mut self, path: &Path) {
        self.problems.retain(|_, problem| problem.origin.as_ref().is_none_or(|origin| origin.path != path));
    }

    /// After a scan of a folder and everything below it: problems that the scan did not find have ended, and are
    /// reported again if they recur.
    pub(crate) fn resolve_after_scan(&mut self, scan: &Scan, folder: &Path) {
        let still: HashSet<String> = scan.problems.iter().map(problem_key).collect();
        self.problems.retain(|key, problem| {
            let Some(origin) = &problem.origin else { return true };
            // A root that contains a folder is not empty.
            let was_scanned = origin.is_empty || origin.path.starts_with(folder);
            !was_scanned
                || still.contains(key)
                || origin.is_misplaced && origin.path.symlink_metadata().is_ok()
        });
    }

    /// The root has appeared or vanished: every problem may be reported again.
    pub(crate) fn forget_problems(&mut self) {
        self.problems.clear();
    }

    /// Reports the obstacles if they have changed: the first of them, and whether there are others.
    pub(crate) fn emit_obstacles(&mut self, root: &Path) {
        let mut found: Vec<&String> =
            self.problems.values().filter_map(|problem| problem.obstacle.as_ref()).collect();
        let is_cut = found.len() > MAX_OBSTACLES;
        if is_cut {
            found.select_nth_unstable(MAX_OBSTACLES);
            found.truncate(MAX_OBSTACLES);
        }
        found.sort_unstable();
        let mut obstacles: Vec<String> = found.into_iter().cloned().collect();
        if is_cut {
            // Without their number: an alert is sent for each new text.
            obstacles.push(format!("and others; only {MAX_OBSTACLES} are named"));
        }
        if obstacles != self.obstacles {
            self.obstacles.clone_from(&obstacles);
            self.emit(WatchEvent::Obstacles { root: root.to_owned(), obstacles });
        }
    }
}

impl ScanOrigin {
    fn of(problem: &ScanProblem) -> Self {
        let path = match problem {
            ScanProblem::Unreadable { folder, .. } => folder,
            ScanProblem::EmptyRoot(root) => root,
            ScanProblem::LinkRefused { link, .. } => link,
            ScanProblem::Misplaced { flag, .. } => flag,
            ScanProblem::Flag(error) => error.path(),
        };
        Self {
            path: path.clone(),
            is_misplaced: matches!(problem, ScanProblem::Misplaced { .. }),
            is_empty: matches!(problem, ScanProblem::EmptyRoot(_)),
        }
    }
}

/// The key that distinguishes problems. A misplaced flag is one problem, even if the session suggested for it changes
/// from day to day.
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
    async fn a_hundred_obstacles_are_named_and_that_there_are_others() {
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        let mut emitter = EventEmitter::new(events, []);
        for number in 0..20_000 {
            let (flag, advice) =
                (format!("/data/{number:05}/create_me.flag").into(), Advice::IntoSession("/s".into()));
            emitter.report(WatchProblem::Scan(ScanProblem::Misplaced { flag, advice }));
        }
        emitter.emit_obstacles(Path::new("/data"));
        let mut texts = Vec::new();
        while let Ok(event) = received.try_recv() {
            if let WatchEvent::Obstacles { obstacles, .. } = event {
                texts = obstacles;
            }
        }
        assert_eq!((texts.len(), texts[100].as_str()), (101, "and others; only 100 are named"));
        assert!(texts[0].contains("/00000/") && texts[99].contains("/00099/"), "{texts:?}");
    }

    #[tokio::test]
    async fn a_misplaced_flag_stays_one_obstacle_when_the_suggested_session_changes() {
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        let mut emitter = EventEmitter::new(events, []);
        let misplaced = |session: &str| {
            let (flag, advice) = ("/data/KS014/create_me.flag".into(), Advice::IntoSession(session.into()));
            WatchProblem::Scan(ScanProblem::Misplaced { flag, advice })
        };
        let mut texts = Vec::new();
        for session in ["/data/KS014/2024-05-01/001", "/data/KS014/2024-05-02/001"] {
            emitter.report(misplaced(session));
            emitter.emit_obstacles(Path::new("/data"));
        }
        while let Ok(event) = received.try_recv() {
            if let WatchEvent::Obstacles { obstacles, .. } = event {
                texts.push(obstacles);
            }
        }
        assert!(matches!(&texts[..], [only] if only.len() == 1), "{texts:?}");
    }
}
