//! Looks for late files: which registered sessions are looked at next, one at a time in each data root.

mod results;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::daemon::clock::Moment;
use crate::daemon::run_loop::late_look::Look;
use crate::ledger::LookRow;
use alyx_registration::LookPlan;

/// How soon a look is tried again whose session is flagged.
const WHILE_FLAGGED: Duration = Duration::from_secs(600);

/// The looks of all data roots. What a look compares the session with is in the ledger alone.
#[derive(Debug, Default)]
pub(crate) struct LateLooks {
    /// By folder of the session.
    planned: HashMap<PathBuf, Planned>,
    /// By data root, those that wait, by due time and order of arrival.
    waiting: HashMap<PathBuf, BTreeMap<(Instant, u64), PathBuf>>,
    /// The look that runs in each data root: its session, and what stops it.
    running: HashMap<PathBuf, (PathBuf, CancellationToken)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Planned {
    session: String,
    eid: String,
    done: usize,
    root: PathBuf,
    /// `None` while it runs.
    due: Option<(Instant, u64)>,
}

impl LateLooks {
    /// Plans the look after `row.done` others of a session, and completes the row. One that is planned or runs is
    /// replaced: the result of a look that was replaced is void.
    pub(crate) fn plan(&mut self, root: &Path, row: &mut LookRow, wait: Duration, now: Moment) {
        self.forget(&row.folder);
        self.arrivals += 1;
        let key = (now.instant + wait, self.arrivals);
        row.due = now.wall_of(key.0);
        self.waiting.entry(root.to_owned()).or_default().insert(key, row.folder.clone());
        let (session, eid, done) = (row.session.clone(), row.eid.clone(), row.done);
        let planned = Planned { session, eid, done, root: root.to_owned(), due: Some(key) };
        self.planned.insert(row.folder.clone(), planned);
    }

    /// Takes the looks that begin now. `is_busy`: a session of this data root runs. `is_flagged`: the session waits for
    /// its next registration, after which it is planned anew.
    pub(crate) fn take_due(
        &mut self,
        plan: &LookPlan,
        is_busy: impl Fn(&Path) -> bool,
        is_flagged: impl Fn(&Path) -> bool,
        now: Moment,
    ) -> Vec<Look> {
        let mut looks = Vec::new();
        let roots: Vec<PathBuf> = self.free_roots(&is_busy).map(Path::to_owned).collect();
        for root in roots {
            let Some(waiting) = self.waiting.get_mut(&root) else { continue };
            while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now.instant) {
                let folder = first.remove();
                let Some(planned) = self.planned.get_mut(&folder) else { continue };
                if is_flagged(&folder) {
                    self.arrivals += 1;
                    let key = (now.instant + WHILE_FLAGGED, self.arrivals);
                    planned.due = Some(key);
                    waiting.insert(key, folder);
                    continue;
                }
                planned.due = None;
                let (session, eid, done) = (planned.session.clone(), planned.eid.clone(), planned.done);
                let stop = CancellationToken::new();
                self.running.insert(root, (folder.clone(), stop.clone()));
                let row = LookRow { folder, session, eid, done, due: now.wall };
                looks.push(Look { row, is_last: plan.is_last(done), stop });
                break;
            }
        }
        looks
    }

    /// When the next look begins, if nothing happens before.
    pub(crate) fn next_wake(&self, is_busy: impl Fn(&Path) -> bool) -> Option<Instant> {
        let first = |root: &Path| Some(self.waiting.get(root)?.first_key_value()?.0.0);
        self.free_roots(&is_busy).filter_map(first).min()
    }

    fn free_roots(&self, is_busy: &impl Fn(&Path) -> bool) -> impl Iterator<Item = &Path> {
        let roots = self.waiting.keys().filter(|root| !self.running.contains_key(*root) && !is_busy(root));
        roots.map(PathBuf::as_path)
    }

    /// A look has ended. Returns its data root, unless the session was planned anew or forgotten meanwhile.
    pub(crate) fn ended(&mut self, folder: &Path) -> Option<PathBuf> {
        self.running.retain(|_, (running, _)| running != folder);
        Some(self.planned.remove(folder).filter(|planned| planned.due.is_none())?.root)
    }

    /// A session of this data root begins: the look that runs there ends.
    pub(crate) fn stop_in(&self, is_in: impl Fn(&Path) -> bool) {
        self.running.iter().filter(|(root, _)| is_in(root)).for_each(|(_, (_, stop))| stop.cancel());
    }

    /// Forgets a folder. A look that runs there ends without a result.
    fn forget(&mut self, folder: &Path) {
        let Some(planned) = self.planned.remove(folder) else { return };
        if let (Some(key), Some(waiting)) = (planned.due, self.waiting.get_mut(&planned.root)) {
            waiting.remove(&key);
        }
    }

    /// Forgets the sessions of this name, and those outside these data roots.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Path, &str) -> bool) {
        let gone = self.planned.iter().filter(|(_, planned)| !stays(&planned.root, &planned.session));
        let gone: Vec<PathBuf> = gone.map(|(folder, _)| folder.clone()).collect();
        gone.iter().for_each(|folder| self.forget(folder));
    }
}
