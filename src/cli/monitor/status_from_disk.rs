//! The status without a daemon: the flags on disk, and their entries in the ledger.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cli::service::wiring;
use crate::config::Config;
use crate::daemon::queue::stale_flags::{flagged_since, is_stale};
use crate::daemon::run_loop::worker::session_name;
use crate::daemon::status::{
    GapStatus, NotLoadableStatus, ObstacleStatus, SessionState, SessionStatus, Status,
};
use crate::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout};
use crate::daemon::tree::scan::scan;
use crate::daemon::watch::{RootOptions, WatchProblem};
use crate::ledger::{Ledger, WaitingRow};
use alf::SessionPath;
use alyx_registration::DiskSteps;
use alyx_registration::flag::FlagFile;

/// For how long a data root may make no progress.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A data root, or what is outside all of them, and what the ledger knows of the flags there.
#[derive(Debug, Clone)]
struct Rows {
    root: Option<RootOptions>,
    rows: Vec<WaitingRow>,
}

/// What is on disk there.
#[derive(Debug, Default)]
struct Seen {
    sessions: Vec<SessionStatus>,
    problems: Vec<WatchProblem>,
}

/// The status without a daemon. Blocks; a data root that hangs is an obstacle, and its sessions are those of the ledger.
pub(super) fn status_from_disk(ledger: Option<&Ledger>, config: Option<&Config>, now: Timestamp) -> Status {
    let roots = config.map(|config| wiring::daemon(config).roots).unwrap_or_default();
    let names = config.map(|config| config.flags.clone()).unwrap_or_default();
    let mut rows = ledger.map(Ledger::waiting).unwrap_or_default();
    let mut by_root: Vec<Rows> = Vec::new();
    for root in roots {
        let own = rows.extract_if(.., |row| row.flag.starts_with(&root.path)).collect();
        by_root.push(Rows { root: Some(root), rows: own });
    }
    by_root.push(Rows { root: None, rows });
    let (mut sessions, mut obstacles): (Vec<SessionStatus>, Vec<ObstacleStatus>) = Default::default();
    let mut known = HashSet::new();
    for (Rows { root, .. }, seen) in by_root.iter().zip(all_seen(&by_root, &names, now)) {
        // A root may contain another one.
        sessions.extend(seen.sessions.into_iter().filter(|session| known.insert(session.flag.clone())));
        let problems = seen.problems.iter().filter(|problem| problem.is_obstacle());
        let path = root.as_ref().map(|root| root.path.to_string_lossy().into_owned()).unwrap_or_default();
        let status = |problem: &WatchProblem| ObstacleStatus {
            root: path.clone(),
            since: None,
            text: problem.to_string(),
        };
        obstacles.extend(problems.map(status));
    }
    let is_skipped = |session: &SessionStatus| {
        let folder = Path::new(&session.flag).parent().and_then(|folder| SessionPath::parse(folder).ok());
        folder.is_some_and(|session| config.is_some_and(|config| config.skips(&session)))
    };
    sessions.retain(|session| !is_skipped(session));
    let warn_after = config.and_then(|config| config.watch.warn_after);
    for session in &mut sessions {
        session.stale = session.flagged_at.is_some_and(|at| is_stale(at, now, warn_after));
    }
    sessions.sort_by(SessionStatus::in_order);
    let gaps = ledger.map(Ledger::gap_book).unwrap_or_default();
    let created_twice = gaps.created_twice().map(GapStatus::from).collect();
    let not_loadable = config.map(wiring::not_loadable).unwrap_or_default();
    Status {
        configured_alyx: config.map(|config| config.alyx.url.as_str().trim_end_matches('/').to_owned()),
        sessions,
        obstacles,
        gaps: gaps.open().map(GapStatus::from).collect(),
        created_twice,
        not_loadable: not_loadable.iter().map(NotLoadableStatus::from).collect(),
        ..Status::default()
    }
}

/// What is on disk, each data root looked at on a thread of its own.
fn all_seen(by_root: &[Rows], names: &[String], now: Timestamp) -> Vec<Seen> {
    let steps: Arc<DiskSteps> = Arc::default();
    let (sender, answers) = channel();
    for (number, rows) in by_root.iter().enumerate() {
        let (rows, names, sender) = (rows.clone(), names.to_vec(), sender.clone());
        let root = rows.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
        let step = steps.begin("scanning", &root);
        let look = move || drop(sender.send((number, rows.look(names, now, &|| step.touch()))));
        // Without a thread, it counts as one that hangs.
        let _ = std::thread::Builder::new().name("root status".into()).spawn(look);
    }
    drop(sender);
    let mut seen: Vec<Option<Seen>> = by_root.iter().map(|_| None).collect();
    loop {
        match answers.recv_timeout(LOOK_EVERY) {
            Ok((number, answer)) => seen[number] = Some(answer),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let open = |patience| steps.without_progress(patience, Instant::now()).len();
                if open(Duration::ZERO) == open(ANSWERS_WITHIN) {
                    break;
                }
            }
        }
    }
    answers.try_iter().for_each(|(number, answer)| seen[number] = Some(answer));
    seen.into_iter().zip(by_root).map(|(seen, rows)| seen.unwrap_or_else(|| rows.hangs())).collect()
}

impl Rows {
    /// Looks at the disk. `progress` is called before each folder.
    fn look(self, flags: Vec<String>, now: Timestamp, progress: &(dyn Fn() + Sync)) -> Seen {
        let mut seen = Seen::default();
        let root_is_there = self.root.as_ref().is_some_and(|root| root.path.exists());
        for row in self.rows {
            progress();
            if !root_is_there || row.flag.exists() {
                let flag = FlagFile::load(&row.flag).ok().flatten();
                let flagged_at = flag.map(|flag| flagged_since(&flag.stamp, now));
                seen.sessions.push(SessionStatus { flagged_at, ..row.into() });
            }
        }
        let Some(root) = self.root else { return seen };
        let layout = Layout { root: root.path.clone(), flags, max_depth: DEFAULT_MAX_DEPTH };
        let found = scan(layout, &|| {
            progress();
            false
        });
        seen.problems = match root.identify() {
            Ok(_) => found.problems.into_iter().map(WatchProblem::from).collect(),
            Err(problem) => vec![problem],
        };
        let known: HashSet<String> = seen.sessions.iter().map(|session| session.flag.clone()).collect();
        let new = found.flags.iter().filter(|flag| !known.contains(flag.path.to_string_lossy().as_ref()));
        seen.sessions.extend(new.map(|flag| unknown(flag, now)));
        seen
    }

    /// What the ledger knows.
    fn hangs(&self) -> Seen {
        let problem = |root: &RootOptions| WatchProblem::NoAnswer { root: root.path.clone() };
        Seen {
            sessions: self.rows.iter().cloned().map(SessionStatus::from).collect(),
            problems: self.root.iter().map(problem).collect(),
        }
    }
}

/// The status of a flag that the ledger does not know.
fn unknown(flag: &FlagFile, now: Timestamp) -> SessionStatus {
    SessionStatus {
        session: session_name(flag.path.parent().unwrap_or(Path::new(""))),
        flag: flag.path.to_string_lossy().into_owned(),
        state: SessionState::Waiting,
        since: i64::try_from(flag.stamp.ctime_ns / 1_000_000)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(now),
        flagged_at: Some(flagged_since(&flag.stamp, now)),
        stale: false,
        failures: 0,
        next: None,
        kind: None,
        error: None,
        next_step: None,
        progress: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_daemon_the_configuration_names_alyx_and_nobody_knows_since_when() {
        let text = "data_roots: [/nowhere/at/all]\nalyx: {url: https://alyx.example.org/, username: rig}\n";
        let config = Config::parse(text, Path::new("c.yaml")).unwrap();
        let status = status_from_disk(None, Some(&config), Timestamp::now());
        assert_eq!(status.alyx(), Some("https://alyx.example.org"));
        let since: Vec<_> = status.obstacles.iter().map(|obstacle| obstacle.since).collect();
        assert_eq!(since, [None]);
    }
}
