//! The checks of folders: data roots, watches, and the state folder.

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;

use crate::cli::exit::Exit;
use crate::cli::setup::check::row::Row;
use crate::daemon::tree::lock_reach::LockReach;
use crate::daemon::tree::scan::ScanProblem;
use crate::daemon::watch::preflight::{RootPreflight, StatePreflight};
use crate::daemon::watch::{RootOptions, WatchMode, WatchOptions, WatchProblem, suggested_limit};
use crate::humanize;

/// Free space below which the ledger may soon fail, in bytes.
const LOW_SPACE: u64 = 100_000_000;
/// Limit on the problems shown for a data root.
const MAX_SHOWN: usize = 3;

/// The row of a data root that was not traversed.
pub(super) fn glance(root: &RootOptions, found: &RootPreflight) -> Row {
    if let Some(unlisted) = unlisted(&root.path, found) {
        return unlisted;
    }
    if found.read_only {
        return contents(&root.path, found);
    }
    Row::ok("data root", format!("{} is there", root.path.display()))
}

/// The rows of one data root.
pub(super) fn root(root: &RootOptions, watch: &WatchOptions, found: &RootPreflight) -> Vec<Row> {
    if let Some(unlisted) = unlisted(&root.path, found) {
        return vec![unlisted];
    }
    let mut rows = vec![contents(&root.path, found), watching(root, watch, found)];
    rows.extend(locks(&root.path, found.locks));
    let (unseen, others): (Vec<_>, Vec<_>) =
        found.problems.iter().partition(|problem| matches!(problem, ScanProblem::Unreadable { .. }));
    rows.extend(unseen.iter().map(|problem| cannot_list(problem)).take(MAX_SHOWN));
    let left = MAX_SHOWN - unseen.len().min(MAX_SHOWN);
    rows.extend(others.iter().take(left).map(|problem| Row::warning("data root", problem, "")));
    if found.problems.len() > MAX_SHOWN {
        let more = found.problems.len() - MAX_SHOWN;
        let what_to_do = "see all of them with: alyx-registrar scan --dry-run";
        rows.push(Row::warning(
            "data root",
            format!("{}: {more} more like these", root.path.display()),
            what_to_do,
        ));
    }
    rows
}

/// The row of a data root that cannot be listed.
fn unlisted(root: &Path, found: &RootPreflight) -> Option<Row> {
    let is_root =
        |problem: &&ScanProblem| matches!(problem, ScanProblem::Unreadable { folder, .. } if folder == root);
    found.problems.iter().find(is_root).map(cannot_list)
}

/// The row of a folder that cannot be listed, where a flag would never be found.
fn cannot_list(problem: &ScanProblem) -> Row {
    let what_to_do = "for example through its group (chmod g+rx, and usermod -aG for the user), or move the folder out of the data root";
    Row::problem("data root", Exit::Incomplete, problem, what_to_do)
}

/// The row of a root's contents, and whether this user may read the files and remove flags.
fn contents(root: &Path, found: &RootPreflight) -> Row {
    const CHECK: &str = "data root";
    let path = root.display();
    if found.read_only {
        let problem = WatchProblem::ReadOnly { root: root.to_owned() };
        return Row::problem(CHECK, Exit::Incomplete, problem, "");
    }
    let counts = format!(
        "{path}: {}, {}",
        humanize::count(found.sessions as u64, "session"),
        humanize::count(found.flags as u64, "flag")
    );
    let closed = found.closed.len();
    if closed > 0 {
        let example = found.closed_with_flag.first().or(found.closed.first());
        let example = example.map(|folder| folder.display().to_string()).unwrap_or_default();
        let reason = found.reason.as_deref().unwrap_or_default();
        let text = format!(
            "{counts}; in {closed} of them this user cannot read the files or remove a flag, such as {example} \
             ({reason})"
        );
        return if found.closed_with_flag.is_empty() && closed < found.sessions {
            Row::warning(
                CHECK,
                text,
                "nothing, if these sessions will not be flagged again; otherwise let this user write there",
            )
        } else {
            Row::problem(
                CHECK,
                Exit::Incomplete,
                text,
                "let this user write there, for example through its group",
            )
        };
    }
    if found.stopped {
        return Row::warning(
            CHECK,
            format!("{counts} so far; the disk is too slow to count all in time"),
            "check that disk",
        );
    }
    Row::ok(CHECK, counts)
}

/// The row of the locks of a root that other computers may use; `None` for a local disk.
fn locks(root: &Path, reach: LockReach) -> Option<Row> {
    const CHECK: &str = "locks";
    let path = root.display();
    let what_to_do = "let only one computer register this folder";
    match reach {
        LockReach::Local => None,
        LockReach::Everywhere => {
            Some(Row::ok(CHECK, format!("{path}: flags are locked for other computers too")))
        }
        LockReach::ThisComputer(why) => Some(Row::warning(
            CHECK,
            format!("{path}: flags are locked on this computer only ({why})"),
            what_to_do,
        )),
        LockReach::Nowhere(why) => {
            Some(Row::warning(CHECK, format!("{path}: flags cannot be locked ({why})"), what_to_do))
        }
        LockReach::Unknown => Some(Row::warning(
            CHECK,
            format!("{path}: whether flags are locked for other computers is unknown"),
            what_to_do,
        )),
    }
}

fn watching(root: &RootOptions, watch: &WatchOptions, found: &RootPreflight) -> Row {
    const CHECK: &str = "watching";
    let kind = found.file_system.as_deref().unwrap_or("file system of an unknown type");
    let place = if found.network { ", on another machine" } else { "" };
    let about = format!("{}: {kind}{place}", root.path.display());
    let every =
        |time: Duration| humanize::length(SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX));
    match (found.events, found.network) {
        (true, true) => Row::warning(
            CHECK,
            format!(
                "{about}, by events, which do not report flags from other machines: the scan every {} finds those",
                every(watch.rescan_interval)
            ),
            "set watch: auto for this root",
        ),
        (true, false) => Row::ok(
            CHECK,
            format!("{about}, by events, and by a scan every {}", every(watch.rescan_interval)),
        ),
        (false, _) => {
            let wish = if root.mode == WatchMode::Poll { " (watch: poll)" } else { "" };
            Row::ok(CHECK, format!("{about}, by a scan every {}{wish}", every(watch.poll_interval)))
        }
    }
}

/// Whether the limit allows a watch for every folder that is watched by events. Pure.
pub(super) fn watches(folders: usize, limit: Option<u64>) -> Row {
    const CHECK: &str = "watches";
    let Some(limit) = limit else { return Row::skipped(CHECK, "the limit of the system is unknown") };
    if folders == 0 {
        return Row::skipped(CHECK, "no data root is watched by events");
    }
    let needed = u64::try_from(folders).unwrap_or(u64::MAX);
    let found = format!("{}, {limit} watches allowed", humanize::count(folders as u64, "folder"));
    let raise = |limit: u64| {
        format!(
            "sudo sysctl -w fs.inotify.max_user_watches={limit}, and write fs.inotify.max_user_watches={limit} to a \
             file in /etc/sysctl.d"
        )
    };
    if needed > limit {
        let missing = usize::try_from(needed - limit).unwrap_or(usize::MAX);
        let text = format!("{found}: flags in the others are found by polling");
        Row::warning(CHECK, text, raise(suggested_limit(Some(limit), missing)))
    } else if needed > limit / 4 * 3 {
        let text = format!("{found}, which other programs of this user share");
        Row::warning(CHECK, text, raise(suggested_limit(Some(limit), 0)))
    } else {
        Row::ok(CHECK, found)
    }
}

/// The row of the state folder. Pure.
pub(super) fn state(state_dir: &Path, found: &StatePreflight) -> Row {
    const CHECK: &str = "state folder";
    let path = state_dir.display();
    if let Some((folder, reason)) = &found.closed {
        return Row::problem(
            CHECK,
            Exit::Io,
            format!("this user cannot write in {} ({reason})", folder.display()),
            format!("give {path} to the service user (chown, chmod 750), or set state_dir"),
        );
    }
    let free = found.free.map(|bytes| format!("{} free", humanize::bytes(bytes))).unwrap_or_default();
    if found.network {
        return Row::warning(
            CHECK,
            format!("{path} is on a network file system, which may damage the ledger"),
            "set state_dir to a folder on a disk of this computer",
        );
    }
    if found.free.is_some_and(|bytes| bytes < LOW_SPACE) {
        return Row::warning(
            CHECK,
            format!("{path}: only {free}"),
            "free some space, or set state_dir to another disk",
        );
    }
    let made = if found.exists { "" } else { " will be created at the first start" };
    Row::ok(CHECK, format!("{path}{made}, {free}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::check::row::State;

    fn preflight() -> RootPreflight {
        RootPreflight {
            file_system: Some("ext4".into()),
            network: false,
            locks: LockReach::Local,
            events: true,
            read_only: false,
            folders: 20,
            sessions: 10,
            session_folders: Vec::new(),
            flags: 1,
            closed: Default::default(),
            closed_with_flag: Vec::new(),
            reason: None,
            problems: Vec::new(),
            stopped: false,
        }
    }

    #[test]
    fn folders_in_which_no_flag_could_be_removed_are_a_problem_when_it_matters() {
        let text = |closed: usize, flagged: usize| {
            let folders: Vec<_> = (0..closed).map(|n| format!("/d/{n:03}").into()).collect();
            let found = RootPreflight {
                closed_with_flag: folders.iter().take(flagged).cloned().collect(),
                closed: folders.into_iter().collect(),
                reason: Some("Permission denied".into()),
                ..preflight()
            };
            contents(Path::new("/d"), &found)
        };
        assert_eq!(text(0, 0).state, State::Ok);
        assert_eq!(text(3, 0).state, State::Warning);
        assert_eq!(text(3, 1).state, State::Problem(Exit::Incomplete));
        assert_eq!(text(10, 0).state, State::Problem(Exit::Incomplete));
        let found = text(3, 1).found;
        assert!(found.contains("in 3 of them") && found.contains("/d/000 (Permission denied)"), "{found}");
    }

    #[test]
    fn a_read_only_root_is_a_problem_even_without_a_traversal() {
        let root = RootOptions { path: "/d".into(), mode: WatchMode::Auto, require_marker: None };
        assert_eq!(glance(&root, &preflight()).state, State::Ok);
        let found = RootPreflight { read_only: true, ..preflight() };
        assert!(glance(&root, &found).found.contains("ReadWritePaths="));
        assert_eq!(glance(&root, &found).state, State::Problem(Exit::Incomplete));
    }

    #[test]
    fn a_limit_that_is_too_low_comes_with_the_line_that_raises_it() {
        assert_eq!(watches(100, Some(8192)).state, State::Ok);
        assert_eq!(watches(0, Some(8192)).state, State::Skipped);
        let near = watches(7000, Some(8192));
        assert!(near.state == State::Warning && near.advice.contains("max_user_watches=16384"), "{near:?}");
        let over = watches(10_000, Some(8192));
        assert!(over.state == State::Warning && over.advice.contains("max_user_watches=32768"), "{over:?}");
    }

    #[test]
    fn the_way_a_root_is_watched_is_shown_with_its_file_system() {
        let options = WatchOptions {
            flags: Vec::new(),
            rescan_interval: Duration::from_secs(300),
            poll_interval: Duration::from_secs(60),
            max_depth: 8,
        };
        let text = |mode, found: RootPreflight| {
            let root = RootOptions { path: "/d".into(), mode, require_marker: None };
            watching(&root, &options, &found)
        };
        let local = text(WatchMode::Auto, preflight());
        assert_eq!(
            (local.state, local.found.as_str()),
            (State::Ok, "/d: ext4, by events, and by a scan every 5 min")
        );
        assert_eq!(locks(Path::new("/d"), LockReach::Local), None);
        let row = locks(Path::new("/d"), LockReach::ThisComputer("nobrl")).unwrap();
        assert!(row.state == State::Warning && row.found.contains("this computer only (nobrl)"), "{row:?}");
        let nfs = || RootPreflight { file_system: Some("nfs4".into()), network: true, ..preflight() };
        let auto = text(WatchMode::Auto, RootPreflight { events: false, ..nfs() });
        assert_eq!(auto.found, "/d: nfs4, on another machine, by a scan every 1 min");
        assert_eq!(text(WatchMode::Native, nfs()).state, State::Warning);
    }

    #[test]
    fn a_full_remote_or_unwritable_state_folder_is_reported() {
        let good = StatePreflight { exists: true, closed: None, free: Some(5_000_000_000), network: false };
        let text = |found: &StatePreflight| state(Path::new("/s"), found);
        assert_eq!(text(&good).found, "/s, 5.0 GB free");
        assert!(text(&StatePreflight { exists: false, ..good.clone() }).found.contains("will be created"));
        assert_eq!(text(&StatePreflight { free: Some(5_000_000), ..good.clone() }).state, State::Warning);
        assert_eq!(text(&StatePreflight { network: true, ..good.clone() }).state, State::Warning);
        let closed = StatePreflight { closed: Some(("/".into(), "Permission denied".into())), ..good };
        assert_eq!(text(&closed).state, State::Problem(Exit::Io));
    }
}
