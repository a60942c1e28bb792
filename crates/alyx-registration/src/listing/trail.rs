//! The trail of a registration: its files by name, each with what became of it. Pure.

use crate::hashing::md5_sum::Md5Sum;
use crate::listing::left_out::{LeftOut, LeftOutReason};

/// How many files of one registration are kept by name: a session may have 100,000.
const MAX_FILES: usize = 10_000;

/// The files of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    /// The first of them: datasets, then what was left out.
    pub files: Vec<TrailFile>,
}

/// A file of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailFile {
    /// Relative to the session.
    pub path: String,
    /// In bytes, if it was read.
    pub size: Option<u64>,
    /// Its MD5, if it has one.
    pub md5: Option<Md5Sum>,
    /// Why it was left out; `None`: it is registered.
    pub left_out: Option<String>,
}

impl TrailFile {
    /// A registered file.
    pub fn registered(path: &str, size: u64, md5: Option<Md5Sum>) -> Self {
        Self { path: path.to_owned(), size: Some(size), md5, left_out: None }
    }

    /// A file that was left out.
    pub fn left_out(path: &str, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), size: None, md5: None, left_out: Some(reason.to_string()) }
    }
}

impl Trail {
    /// Of a session whose files were looked at as a whole.
    pub(crate) fn of(files: impl IntoIterator<Item = TrailFile>, left_out: &[LeftOut]) -> Self {
        // A sidecar does its work where it is.
        let others = left_out.iter().filter(|file| file.reason != LeftOutReason::Sidecar);
        let others = others.map(|file| TrailFile::left_out(&file.path.to_string_lossy(), &file.reason));
        files.into_iter().chain(others).collect()
    }
}

impl FromIterator<TrailFile> for Trail {
    fn from_iter<T: IntoIterator<Item = TrailFile>>(files: T) -> Self {
        Self { files: files.into_iter().take(MAX_FILES).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_names_datasets_first_and_not_more_than_it_may() {
        let left_out = |path: &str, reason| LeftOut { path: path.into(), reason };
        let others = [
            left_out(".hidden", LeftOutReason::Hidden),
            left_out("alyx-session.yaml", LeftOutReason::Sidecar),
        ];
        let files = || [TrailFile::registered("alf/a.npy", 3, None)];
        let trail = Trail::of(files(), &others);
        let paths: Vec<&str> = trail.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["alf/a.npy", ".hidden"]);
        assert!(trail.files[0].left_out.is_none() && trail.files[1].left_out.is_some());
        let many = std::iter::repeat_n(files(), MAX_FILES + 1).flatten();
        assert_eq!(Trail::of(many, &others).files.len(), MAX_FILES);
    }
}
