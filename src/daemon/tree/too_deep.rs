//! Flags that are too deep: in a folder inside a session, as in `001/alf/create_me.flag`.
//!
//! A scan never goes below the sessions, because a raw data folder may hold 100,000 files, and no watch is set there.
//! So these flags are found only here, by checking a bounded number of places after each scan of the whole root (not
//! after the scans that replace events):
//!
//! - **Which sessions.** Those without a flag of their own. Of these, the sessions of the last [`RECENT_DAYS`] days by
//!   the name of their date folder, at most the newest [`MAX_RECENT`]; and [`MAX_OTHERS`] of the others, in rotation by
//!   path. With a scan every five minutes, 12,000 sessions are checked in a day.
//! - **Where in a session.** In its folders and in their children (`alf`, `alf/probe00`), at most [`MAX_FOLDERS`] per
//!   session, those directly in the session first. To find them, at most [`MAX_ENTRIES`] entries of a folder are read.
//!   The flag itself is looked up by name, so the number of files beside it does not matter.
//!
//! Not found: a flag three levels down, one in a hidden folder or behind a link, and one in a folder beyond the
//! entries that are read. A flag that was found is checked again in every later scan.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::ToSpan;
use jiff::civil::Date;

use crate::daemon::tree::misplaced::Advice;
use crate::daemon::tree::scan::problem::ScanProblem;

/// How many days a session counts as recent.
pub const RECENT_DAYS: i32 = 14;
/// The maximum number of recent sessions that are checked after a scan.
pub const MAX_RECENT: usize = 300;
/// The maximum number of other sessions that are checked after a scan.
pub const MAX_OTHERS: usize = 50;
/// The maximum number of folders of a session that are checked.
pub const MAX_FOLDERS: usize = 100;
/// The maximum number of entries of a folder that are read in search of its folders.
pub const MAX_ENTRIES: usize = 1000;

/// The state of the search for flags too deep below one root.
#[derive(Debug, Default)]
pub(crate) struct TooDeep {
    /// The flags that were found, with their sessions.
    found: BTreeSet<(PathBuf, PathBuf)>,
    /// The last session in the rotation that was checked.
    last: Option<PathBuf>,
}

impl TooDeep {
    /// The flags that were found and still exist.
    pub(crate) fn still_there(&mut self) -> Vec<ScanProblem> {
        self.found.retain(|(flag, _)| is_file(flag));
        self.found.iter().map(problem).collect()
    }

    /// Checks the sessions whose turn it is. Returns only new problems.
    pub(crate) fn check_sessions(
        &mut self,
        sessions: Vec<PathBuf>,
        today: Date,
        flags: &[String],
        stop: &dyn Fn() -> bool,
    ) -> Vec<ScanProblem> {
        let since = today.checked_sub(RECENT_DAYS.days()).unwrap_or(Date::MIN);
        let chosen = choose(sessions, since, self.last.as_deref());
        self.last = chosen.last;
        let mut new = Vec::new();
        for session in chosen.sessions {
            if stop() {
                break;
            }
            for flag in find_flags_inside(&session, flags) {
                let found = (flag, session.clone());
                if !self.found.contains(&found) {
                    new.push(problem(&found));
                    self.found.insert(found);
                }
            }
        }
        new
    }
}

fn problem((flag, session): &(PathBuf, PathBuf)) -> ScanProblem {
    ScanProblem::Misplaced { flag: flag.clone(), advice: Advice::IntoThisSession(session.clone()) }
}

/// The sessions to check after one scan.
#[derive(Debug, Default, PartialEq)]
struct Chosen {
    sessions: Vec<PathBuf>,
    /// The last of those that were chosen by rotation.
    last: Option<PathBuf>,
}

/// Chooses the recent sessions, and those that follow `last`, starting over at the end. Pure.
fn choose(sessions: Vec<PathBuf>, since: Date, last: Option<&Path>) -> Chosen {
    let since = since.to_string();
    let is_recent = |session: &PathBuf| date_of(session) >= since.as_bytes();
    let (mut chosen, mut others): (Vec<PathBuf>, Vec<PathBuf>) = sessions.into_iter().partition(is_recent);
    if chosen.len() > MAX_RECENT {
        chosen.select_nth_unstable_by(MAX_RECENT, |a, b| date_of(b).cmp(date_of(a)));
        others.extend(chosen.drain(MAX_RECENT..));
    }
    let is_next = |session: &PathBuf| last.is_none_or(|last| session.as_os_str() > last.as_os_str());
    let (next, passed): (Vec<PathBuf>, Vec<PathBuf>) = others.into_iter().partition(is_next);
    let mut in_turn = first_of(next, MAX_OTHERS);
    let more = MAX_OTHERS - in_turn.len();
    in_turn.extend(first_of(passed, more));
    let last = in_turn.last().cloned();
    chosen.extend(in_turn);
    Chosen { sessions: chosen, last }
}

/// The name of the date folder of a session. These names sort by day.
fn date_of(session: &Path) -> &[u8] {
    session.as_os_str().as_encoded_bytes().rsplit(|byte| *byte == b'/').nth(1).unwrap_or_default()
}

/// The first `count` paths, in order. There may be a hundred times as many: the rest is not sorted, and paths are
/// compared as bytes, because comparing components takes ten times as long.
fn first_of(mut paths: Vec<PathBuf>, count: usize) -> Vec<PathBuf> {
    let order = |a: &PathBuf, b: &PathBuf| a.as_os_str().cmp(b.as_os_str());
    if count > 0 && count < paths.len() {
        paths.select_nth_unstable_by(count, order);
    }
    paths.truncate(count);
    paths.sort_unstable_by(order);
    paths
}

/// The flags in the folders of a session and in their children.
fn find_flags_inside(session: &Path, flags: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = folders_of(session, MAX_FOLDERS);
    let outer = folders.len();
    for at in 0..outer {
        let left = MAX_FOLDERS - folders.len();
        let Some(folder) = folders.get(at).filter(|_| left > 0) else { break };
        folders.extend(folders_of(folder, left));
    }
    for folder in folders {
        found.extend(flags.iter().map(|flag| folder.join(flag)).filter(|flag| is_file(flag)));
    }
    found
}

/// The folders in a folder that are not hidden, at most `most`, among its first entries. Empty if the folder is
/// unreadable; the session's own run reports that.
fn folders_of(folder: &Path, most: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES).flatten();
    let is_folder = |entry: &fs::DirEntry| {
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    entries.filter(is_folder).take(most).map(|entry| entry.path()).collect()
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn session(subject: usize, day: &str) -> PathBuf {
        PathBuf::from(format!("/data/S{subject:05}/{day}/001"))
    }

    #[test]
    fn recent_sessions_are_checked_each_time_and_the_others_in_rotation() {
        let since = date(2024, 5, 1);
        let recent = session(7, "2024-05-01");
        let old: Vec<PathBuf> = (0..125).map(|subject| session(subject, "2024-04-30")).collect();
        let all = || old.iter().rev().cloned().chain([recent.clone()]).collect::<Vec<_>>();
        let (mut last, mut seen) = (None, Vec::new());
        for _ in 0..3 {
            let chosen = choose(all(), since, last.as_deref());
            assert_eq!((chosen.sessions.len(), &chosen.sessions[0]), (1 + MAX_OTHERS, &recent));
            seen.extend(chosen.sessions.into_iter().skip(1));
            last = chosen.last;
        }
        // The third time it starts over at the first.
        assert_eq!(seen[..125], old);
        assert_eq!(seen[125..], old[..25]);
    }

    #[test]
    fn a_flood_of_recent_sessions_is_capped_and_the_oldest_join_the_rotation() {
        let mut sessions: Vec<PathBuf> = (0..MAX_RECENT).map(|s| session(s, "2024-05-02")).collect();
        sessions.insert(3, session(9, "2024-05-01"));
        let chosen = choose(sessions, date(2024, 5, 1), None);
        assert_eq!(chosen.sessions.len(), MAX_RECENT + 1);
        assert_eq!(chosen.last, Some(session(9, "2024-05-01")));
    }

    #[test]
    fn without_sessions_none_is_chosen() {
        assert_eq!(choose(Vec::new(), Date::MIN, None), Chosen::default());
    }

    #[test]
    fn the_number_of_folders_checked_per_session_is_limited() {
        let session = tempfile::tempdir().unwrap();
        for outer in 0..60 {
            for inner in 0..3 {
                fs::create_dir_all(session.path().join(format!("a{outer:02}/b{inner}"))).unwrap();
                fs::write(session.path().join(format!("a{outer:02}/b{inner}/f.flag")), "").unwrap();
            }
            fs::write(session.path().join(format!("a{outer:02}/f.flag")), "").unwrap();
        }
        let found = find_flags_inside(session.path(), &["f.flag".into()]);
        assert_eq!(found.len(), MAX_FOLDERS);
        let in_session = |flag: &&PathBuf| flag.parent().and_then(Path::parent) == Some(session.path());
        assert_eq!(found.iter().filter(in_session).count(), 60, "those directly in the session come first");
    }
}
