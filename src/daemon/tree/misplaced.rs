//! Misplaced flags: flags that have no effect where they are, and the folder where each belongs.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::daemon::tree::layout::{Layout, Place};
use alf::session_path::{date_fault, parse_number_folder};

/// How to fix a misplaced flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Advice {
    /// The flag is above the dates, and nothing shows which session it belongs to.
    #[error("move it into the folder of its session, <subject>/<YYYY-MM-DD>/<number>, below {0:?}")]
    IntoSessionBelow(PathBuf),
    /// The flag is in the folder of a date or of a subject.
    #[error("move it into the folder of its session, such as {0:?}")]
    IntoSession(PathBuf),
    /// The flag is in a date folder that holds only misnumbered session folders.
    #[error(
        "{0:?} is not a session number (1 to 3 digits, such as 001); rename that folder, and move it in there"
    )]
    RenameSessionFirst(PathBuf),
    /// The flag is in a date folder without sessions.
    #[error("{0:?} has no session folder (such as 001) yet; create it and move the flag there")]
    NoSessionYet(PathBuf),
    /// The flag is in a folder inside this session.
    #[error("move it into the folder of its session, {0:?}")]
    IntoThisSession(PathBuf),
    /// The flag is in what looks like a session, but the date does not exist.
    #[error("the date folder {0:?} is {fault}", fault = date_fault(&.0.file_name().unwrap_or_default().to_string_lossy()))]
    RenameDate(PathBuf),
    /// The flag is in a folder inside a date that is not a session.
    #[error("{0:?} is not a session number (1 to 3 digits, such as 001); rename that folder")]
    RenameSession(PathBuf),
}

/// How to fix a flag in this folder of the layout. Reads the folder to see what else it contains.
pub(crate) fn advise(layout: &Layout, folder: &Path, place: Place) -> Advice {
    match place {
        Place::NoSuchDate => Advice::RenameDate(folder.to_owned()),
        Place::Session => Advice::IntoThisSession(folder.to_owned()),
        Place::Date => {
            if let Some(session) = last_child(layout, folder, place, Place::Session) {
                return Advice::IntoSession(session);
            }
            match misnumbered(folder) {
                Some(session) => Advice::RenameSessionFirst(session),
                None => Advice::NoSessionYet(folder.to_owned()),
            }
        }
        Place::Above(_) => {
            if let Some(date) = last_child(layout, folder, place, Place::Date) {
                return advise(layout, &date, Place::Date);
            }
            match misspelt_date(folder) {
                Some(date) => Advice::RenameDate(date.to_owned()),
                None => Advice::IntoSessionBelow(folder.to_owned()),
            }
        }
    }
}

/// The last child by name that is a session, or a date.
fn last_child(layout: &Layout, folder: &Path, place: Place, wanted: Place) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let last = names.filter(|name| layout.child(place, name) == Some(wanted)).max()?;
    Some(folder.join(last))
}

/// The last child of a date that was meant to be a session: a number of more than three digits.
fn misnumbered(date: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(date).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.map(|entry| entry.file_name());
    let last = names.filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit)).max()?;
    Some(date.join(last))
}

/// The folder that was meant to be a date (`20240501`): this folder, or its parent if this one is a number.
fn misspelt_date(folder: &Path) -> Option<&Path> {
    let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let is_date_like = |path: &&Path| name(path).is_some_and(|name| is_like_a_date(&name));
    let is_number = name(folder).is_some_and(|name| parse_number_folder(&name).is_some());
    let above = folder.parent().filter(|_| is_number);
    Some(folder).filter(is_date_like).or(above.filter(is_date_like))
}

/// `20240501`, `2024_05_01`, `2024-5-1`, `1.5.2024`: six to eight digits and common separators.
fn is_like_a_date(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    (6..=8).contains(&digits) && name.bytes().all(|b| b.is_ascii_digit() || b"-_. ".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_dates_are_recognised_and_subjects_are_not() {
        for date in ["20240501", "2024_05_01", "2024-5-1", "1.5.2024", "240501"] {
            assert!(is_like_a_date(date), "{date}");
        }
        for other in ["KS014", "001", "4581", "2024-05-01_a", "123456789", "Subjects", ""] {
            assert!(!is_like_a_date(other), "{other}");
        }
    }
}
