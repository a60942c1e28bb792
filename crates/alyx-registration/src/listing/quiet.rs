//! Quiet: whether the files of a session still arrive. One decision, over all files and folders of the session. Pure.
//!
//! A session is quiet when nothing in it has changed for `settle`. Where the times can be trusted, one look decides.
//! Where they cannot (in the future, or on a network file system, which caches attributes for seconds), two equal looks
//! do, that far apart. Two equal looks always suffice, so that no clock holds a session for ever.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::client::options::QuietRules;
use crate::error::Error;
use crate::hashing::stamp::FileStamp;

/// A tick of the kernel's clock, and a little: the next look is not slightly too early.
const TICK: Duration = Duration::from_millis(5);

/// How often to look whether a copy has ended, or the first file has come.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What one look at a session folder saw of it: of every file that counts, hidden and temporary ones too, and of every
/// folder.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// Of the names, sizes and times of the files.
    files: DefaultHasher,
    /// Of the flag, and of the names and times of the folders.
    surroundings: DefaultHasher,
    /// What changed last.
    newest: Option<(SystemTime, PathBuf)>,
    /// A file that is being copied, by the sign in its name.
    copying: Option<PathBuf>,
    /// Whether there is a file that a session is made of: neither the flag, nor hidden, nor a log or marker.
    has_files: bool,
}

impl Activity {
    /// Adds a file that a session is made of.
    pub(crate) fn add_file(&mut self, relative: &Path, path: &Path, stamp: &FileStamp) {
        self.has_files = true;
        self.add_accessory(relative, path, stamp);
    }

    /// Adds a file that counts as activity, but does not end the wait for the first file.
    pub(crate) fn add_accessory(&mut self, relative: &Path, path: &Path, stamp: &FileStamp) {
        // Without device and inode: some network file systems number the same file anew each time.
        (relative, stamp.size, stamp.modified, stamp.changed).hash(&mut self.files);
        self.note(path, stamp);
    }

    /// Adds the flag. It counts as activity, and is no file of the session.
    pub(crate) fn add_flag(&mut self, relative: &Path, path: &Path, stamp: &FileStamp) {
        (relative, stamp.modified, stamp.changed).hash(&mut self.surroundings);
        self.note(path, stamp);
    }

    /// Adds a folder. Its times move when files are created, renamed or removed in it.
    pub(crate) fn add_folder(&mut self, relative: &Path, path: &Path, stamp: &FileStamp) {
        // With a slash at its end, so that messages show that it is a folder.
        self.add_flag(relative, &path.join(""), stamp);
    }

    /// Adds a file that has the name of a copy in progress, of which a dataset will come.
    pub(crate) fn add_copy(&mut self, path: &Path) {
        self.copying.get_or_insert_with(|| path.to_owned());
    }

    /// Whether the files are the same as in another look, whatever became of the flag.
    pub(crate) fn has_same_files(&self, other: &Self) -> bool {
        self.files.finish() == other.files.finish()
    }

    /// A digest of the names, sizes and times of the files.
    pub(crate) fn digest_of_files(&self) -> u64 {
        self.files.finish()
    }

    /// What changed last.
    pub(crate) fn newest(&self) -> Option<&Path> {
        self.newest.as_ref().map(|(_, path)| path.as_path())
    }

    fn digest(&self) -> (u64, u64) {
        (self.files.finish(), self.surroundings.finish())
    }

    fn note(&mut self, path: &Path, stamp: &FileStamp) {
        let changed = stamp.latest_change();
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest < changed) {
            self.newest = Some((changed, path.to_owned()));
        }
    }
}

/// The latest of several equal looks at a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EarlierLook {
    digest: (u64, u64),
    /// When it first looked like this.
    since: Instant,
}

/// The looks at sessions that were not quiet yet, by folder.
#[derive(Debug, Default)]
pub struct SessionLooks(Mutex<HashMap<PathBuf, EarlierLook>>);

impl SessionLooks {
    /// Whether a session is quiet, from this look at it and the ones before. `began`: both clocks at an earlier time, before
    /// its files were written.
    ///
    /// # Errors
    /// [`Error::StillChanging`], [`Error::CopyInProgress`] or [`Error::NoFilesYet`], with the time until the next look.
    pub(crate) fn judge(
        &self,
        session: &Path,
        activity: &Activity,
        rules: &QuietRules,
        is_remote: bool,
        began: (Instant, SystemTime),
        now: (Instant, SystemTime),
    ) -> Result<(), Error> {
        let now = (now.0, not_ahead(began, now));
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let look = remember(activity, looks.get(session).copied(), now.0);
        let verdict = judge(activity, look, rules, is_remote, now);
        match &verdict {
            Ok(()) => looks.remove(session),
            Err(_) => looks.insert(session.to_owned(), look),
        };
        verdict
    }
}

/// The wall clock without what it has run ahead of the other clock: one that is set forward makes no file older.
fn not_ahead(began: (Instant, SystemTime), now: (Instant, SystemTime)) -> SystemTime {
    now.1.min(began.1 + now.0.saturating_duration_since(began.0))
}

/// Whether a session is quiet. `look` is what [`remember`] made of this look and the one before.
fn judge(
    activity: &Activity,
    look: EarlierLook,
    rules: &QuietRules,
    is_remote: bool,
    now: (Instant, SystemTime),
) -> Result<(), Error> {
    let apart = if is_remote { rules.settle_remote } else { rules.settle };
    if let Some(path) = &activity.copying {
        return Err(Error::CopyInProgress { path: path.clone(), wait: apart.max(LOOK_EVERY) });
    }
    let unchanged = now.0.saturating_duration_since(look.since);
    let Some((newest, path)) = &activity.newest else { return Ok(()) };
    // `None`: in the future.
    let age = now.1.duration_since(*newest).ok();
    if !activity.has_files {
        let waited = unchanged.max(age.unwrap_or_default());
        if waited < rules.empty_grace {
            let wait = (rules.empty_grace - waited + TICK).min(LOOK_EVERY);
            return Err(Error::NoFilesYet { wait, grace: rules.empty_grace });
        }
    }
    let rest = match age {
        _ if unchanged >= apart => return Ok(()),
        Some(age) if !is_remote && age >= apart => return Ok(()),
        Some(age) if !is_remote => apart - age.max(unchanged),
        _ => apart - unchanged,
    };
    Err(Error::StillChanging { path: path.clone(), wait: rest + TICK })
}

/// What to remember of a look: the earlier one if nothing has changed since, this one otherwise.
fn remember(activity: &Activity, earlier: Option<EarlierLook>, now: Instant) -> EarlierLook {
    let digest = activity.digest();
    earlier.filter(|earlier| earlier.digest == digest).unwrap_or(EarlierLook { digest, since: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> QuietRules {
        QuietRules {
            settle: 2 * SECOND,
            settle_remote: 30 * SECOND,
            empty_grace: 600 * SECOND,
            ..Default::default()
        }
    }

    /// A time `age` seconds before now; after now if negative.
    fn ago(now: SystemTime, age: i64) -> (i64, i64) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (i64::try_from(since.as_secs()).unwrap() - age, 0)
    }

    fn stamp(size: u64, modified: (i64, i64), changed: (i64, i64)) -> FileStamp {
        FileStamp { device: 1, inode: 1, size, modified, changed }
    }

    /// Of each look the seconds since the first one, and the entries: kind, size, age of the content, age of the change.
    type Look<'a> = (u64, &'a [(&'a str, u64, i64, i64)]);

    /// What is said of the last of several looks: `quiet`, or the kind of error with the seconds to wait.
    fn said(looks: &[Look<'_>], is_remote: bool) -> String {
        said_if_set(looks, is_remote, 0)
    }

    /// The same, by a wall clock that was set forward or back by this many seconds after the files were written.
    fn said_if_set(looks: &[Look<'_>], is_remote: bool, forward: i64) -> String {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + 1_000_000 * SECOND);
        let all = SessionLooks::default();
        let mut said = String::new();
        for (at, entries) in looks {
            let at = Duration::from_secs(*at);
            let mut activity = Activity::default();
            for (name, size, modified, changed) in *entries {
                let path = Path::new(name);
                // Ages are as of the first look: the times of a file do not move by themselves.
                let stamp = stamp(*size, ago(wall, *modified), ago(wall, *changed));
                match *name {
                    "folder" => activity.add_folder(path, path, &stamp),
                    "flag" => activity.add_flag(path, path, &stamp),
                    _ => activity.add_file(path, path, &stamp),
                }
                if *name == "copy" {
                    activity.add_copy(path);
                }
            }
            let by = Duration::from_secs(forward.unsigned_abs());
            let set = if forward < 0 { wall - by } else { wall + by };
            let (began, now) = ((start, wall), (start + at, set + at));
            said = match all.judge(Path::new("session"), &activity, &rules(), is_remote, began, now) {
                Ok(()) => "quiet".to_owned(),
                Err(Error::StillChanging { path, wait }) => {
                    format!("changing {} {}", path.display(), wait.as_secs())
                }
                Err(Error::CopyInProgress { path, .. }) => format!("copying {}", path.display()),
                Err(Error::NoFilesYet { wait, .. }) => format!("empty {}", wait.as_secs()),
                Err(other) => panic!("{other}"),
            };
        }
        said
    }

    #[test]
    fn a_session_is_quiet_when_neither_file_nor_folder_has_changed_for_the_time_to_settle() {
        let old = ("a", 1, 9000, 9000);
        let table: [(&str, &[Look<'_>], &str); 12] = [
            ("a backlog starts at once", &[(0, &[old, ("folder", 0, 9000, 9000)])], "quiet"),
            ("a new file", &[(0, &[("a", 1, 1, 1)])], "changing a 1"),
            ("an old time of a copy that goes on", &[(0, &[("a", 1, 9000, 0)])], "changing a 2"),
            ("a file renamed to its final name", &[(0, &[old, ("folder", 0, 1, 1)])], "changing folder/ 1"),
            ("a recorder's clock that is ahead", &[(0, &[("a", 1, -9000, 9000)])], "changing a 2"),
            (
                "the same, looked at again",
                &[(0, &[("a", 1, -9000, 9000)]), (2, &[("a", 1, -9000, 9000)])],
                "quiet",
            ),
            (
                "the same, and it grows",
                &[(0, &[("a", 1, -9000, 9000)]), (2, &[("a", 2, -9000, 9000)])],
                "changing a 2",
            ),
            ("a new name", &[(0, &[("a", 1, -9000, 9000)]), (2, &[("b", 1, -9000, 9000)])], "changing b 2"),
            (
                "a folder whose time is ahead",
                &[(0, &[old, ("folder", 0, -9000, -9000)])],
                "changing folder/ 2",
            ),
            (
                "a copy, however old",
                &[(0, &[("copy", 1, 9000, 9000)]), (900, &[("copy", 1, 9000, 9000)])],
                "copying copy",
            ),
            ("only the flag", &[(0, &[("flag", 0, 0, 0)])], "empty 30"),
            ("a flag of yesterday", &[(0, &[("flag", 0, 9000, 9000), ("folder", 0, 9000, 9000)])], "quiet"),
        ];
        for (case, looks, expected) in table {
            assert_eq!(said(looks, false), expected, "{case}");
        }
    }

    #[test]
    fn a_session_without_files_waits_for_them_and_then_no_longer() {
        let flag = ("flag", 0, 0, 0);
        assert_eq!(said(&[(0, &[flag]), (590, &[flag])], false), "empty 10");
        assert_eq!(said(&[(0, &[flag]), (601, &[flag])], false), "quiet");
        let ahead = ("flag", 0, -9000, -9000);
        assert_eq!(said(&[(0, &[ahead]), (590, &[ahead])], false), "empty 10");
        assert_eq!(said(&[(0, &[ahead]), (601, &[ahead])], false), "quiet");
        assert_eq!(said(&[(0, &[flag]), (30, &[flag, ("a", 1, -29, -29)])], false), "changing a 1");
    }

    #[test]
    fn a_clock_that_is_set_makes_no_session_quiet_and_two_equal_looks_do() {
        let new = ("a", 1, 0, 0);
        let flag = ("flag", 0, 0, 0);
        for hour in [3600, -3600] {
            let said = |looks: &[Look<'_>]| said_if_set(looks, false, hour);
            assert_eq!(said(&[(0, &[new])]), "changing a 2", "{hour}");
            assert_eq!(said(&[(0, &[new]), (1, &[("a", 2, -1, -1)])]), "changing a 2", "{hour}");
            assert_eq!(said(&[(0, &[new]), (1, &[new])]), "changing a 1", "{hour}");
            assert_eq!(said(&[(0, &[new]), (2, &[new])]), "quiet", "{hour}");
            assert_eq!(said(&[(0, &[flag])]), "empty 30", "{hour}");
            assert_eq!(said(&[(0, &[flag]), (601, &[flag])]), "quiet", "{hour}");
        }
        // A backlog starts at once.
        assert_eq!(said_if_set(&[(0, &[("a", 1, 9000, 9000)])], false, 3600), "quiet");
    }

    #[test]
    fn on_a_network_file_system_two_equal_looks_decide() {
        let old = ("a", 1, 9000, 9000);
        assert_eq!(said(&[(0, &[old])], true), "changing a 30");
        assert_eq!(said(&[(0, &[old]), (10, &[old])], true), "changing a 20");
        assert_eq!(said(&[(0, &[old]), (30, &[old])], true), "quiet");
        assert_eq!(said(&[(0, &[old]), (30, &[("a", 2, 9000, 9000)])], true), "changing a 30");
        assert_eq!(said(&[(0, &[("a", 2, 9000, 9000)]), (20, &[old]), (50, &[old])], true), "quiet");
    }

    #[test]
    fn a_quiet_session_is_forgotten() {
        let looks = SessionLooks::default();
        let now = (Instant::now(), SystemTime::now());
        looks.judge(Path::new("s"), &Activity::default(), &rules(), false, now, now).unwrap();
        assert!(looks.0.lock().unwrap().is_empty());
    }
}
