//! The files of a session, as the readers see them.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::problem::{Problem, ProblemKind};
use crate::text;

/// A file or folder of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path relative to the session folder, with `/`.
    pub path: String,
    /// The size in bytes; `None` for a folder.
    pub size: Option<u64>,
}

/// A name in a session that is neither a folder nor a file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The path relative to the session folder, with `/`.
    pub path: String,
    /// What it is, and what to do about it, such as `this is not a file; remove it`.
    pub why: String,
}

/// The files of a session: a listing that was made once, and their content, read only on demand.
pub trait SessionFiles {
    /// The files and folders below the session folder, sorted by path: all, or those of a
    /// [`Selection`](crate::Selection).
    fn list(&self) -> &[Entry];

    /// What has a name but is no file that could be read: pipes, sockets, devices, links that lead to no file.
    fn unusable(&self) -> &[Unusable] {
        &[]
    }

    /// Opens a file by its relative path.
    ///
    /// # Errors
    /// Those of the disk; a file of the listing may have vanished.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>>;

    /// Reads a whole file of at most `limit` bytes. No more than one byte above the limit is read.
    ///
    /// # Errors
    /// A [`Problem`] if the file cannot be read or is larger.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let opened = self.open(path);
        let read = opened.and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
        read.map_err(|error| unreadable(path, &error))?;
        if bytes.len() as u64 > limit { Err(too_large(path, limit)) } else { Ok(bytes) }
    }
}

/// The problems of all that a reader would read, by its name, if it were a file.
pub(crate) fn unusable(files: &dyn SessionFiles, is_read: fn(&str) -> bool) -> Vec<Problem> {
    let folders = files.list().iter().filter(|entry| entry.size.is_none());
    let folders =
        folders.map(|entry| (entry.path.as_str(), "it is a folder, not a file; remove or rename it"));
    let others = files.unusable().iter().map(|other| (other.path.as_str(), other.why.as_str()));
    let found = folders.chain(others).filter(|(path, _)| is_read(path));
    found.map(|(path, why)| Problem::new(ProblemKind::Unreadable, path, "", why)).collect()
}

/// The problem of a file that cannot be read.
pub(crate) fn unreadable(path: &str, error: &io::Error) -> Problem {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "the file vanished while the session was read; put it back".to_owned(),
        _ => format!("the file cannot be read ({error}); check its permissions and the disk"),
    };
    Problem::new(ProblemKind::Unreadable, path, "", message)
}

/// The problem of a file that is larger than any of its kind.
pub(crate) fn too_large(path: &str, limit: u64) -> Problem {
    let message = format!("the file is larger than {limit} bytes; is it the right file?");
    Problem::new(ProblemKind::TooLarge, path, "", message)
}

/// Reads a whole text of at most `limit` bytes.
pub(crate) fn read_text(files: &dyn SessionFiles, path: &str, limit: u64) -> Result<String, Problem> {
    let bytes = files.read(path, limit)?;
    text::decode(&bytes).map(str::to_owned).map_err(|fault| Problem::syntax(path, fault))
}

/// The files in a folder (`""`: the session folder) whose names begin and end so, sorted.
pub(crate) fn named<'a>(
    files: &'a dyn SessionFiles,
    folder: &str,
    begin: &str,
    end: &str,
) -> impl Iterator<Item = &'a str> {
    files.list().iter().filter(|entry| entry.size.is_some()).map(|entry| entry.path.as_str()).filter(
        move |path| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            parent == folder
                && name.len() >= begin.len() + end.len()
                && name.starts_with(begin)
                && name.ends_with(end)
        },
    )
}

/// Files in memory.
#[derive(Debug, Clone, Default)]
pub struct MapFiles {
    entries: Vec<Entry>,
    content: BTreeMap<String, Vec<u8>>,
}

impl<P: Into<String>, B: Into<Vec<u8>>> FromIterator<(P, B)> for MapFiles {
    /// From relative paths and contents. A path that ends in `/` is an empty folder.
    fn from_iter<I: IntoIterator<Item = (P, B)>>(files: I) -> Self {
        let mut all = Self::default();
        let mut sizes: BTreeMap<String, Option<u64>> = BTreeMap::new();
        for (path, content) in files {
            let (path, content) = (path.into(), content.into());
            let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
            sizes.extend(folders.map(|folder| (folder.to_owned(), None)));
            if !path.ends_with('/') {
                sizes.insert(path.clone(), Some(content.len() as u64));
                all.content.insert(path, content);
            }
        }
        all.entries = sizes.into_iter().map(|(path, size)| Entry { path, size }).collect();
        all
    }
}

impl SessionFiles for MapFiles {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        match self.content.get(path) {
            Some(content) => Ok(Box::new(content.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
