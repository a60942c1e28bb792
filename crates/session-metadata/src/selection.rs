//! The selection: of the files of a session those that matter for its metadata. Pure.

use std::collections::HashSet;

use glob::Pattern;

use crate::completeness::is_unfinished;
use crate::files::{Entry, Unusable};
use crate::options::Options;
use crate::readers::{READERS, spikeglx};

/// Most files and folders that are kept.
const MAX_ENTRIES: usize = 500_000;

/// Collects, while a session is listed, what [`describe`](crate::describe) looks at: all folders, one file of each, and
/// the files that are read, awaited or expected. A session may have 100,000 others.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    readers: Vec<fn(&str) -> bool>,
    wait_for: Vec<Pattern>,
    /// The patterns that no kept file with content matches so far.
    expected: Vec<Pattern>,
    entries: Vec<Entry>,
    unusable: Vec<Unusable>,
    /// The folders of which a file is kept.
    with_file: HashSet<String>,
}

impl Selection {
    /// Nothing so far.
    pub fn new(options: &Options) -> Self {
        let is_on = |name: &str| options.readers.iter().any(|on| on == name);
        Self {
            readers: READERS
                .iter()
                .filter(|reader| is_on(reader.name))
                .map(|reader| reader.is_read)
                .collect(),
            wait_for: options.wait_for.clone(),
            expected: options.expect.iter().flat_map(|expectation| expectation.files.clone()).collect(),
            ..Self::default()
        }
    }

    /// Whether a reader reads files of this path.
    pub fn is_read(&self, path: &str) -> bool {
        self.readers.iter().any(|is_read| is_read(path))
    }

    /// Adds a folder, by its path relative to the session.
    pub fn add_folder(&mut self, path: &str) {
        self.keep(path, None);
    }

    /// Adds a file with its size, unless nothing asks for it.
    pub fn add_file(&mut self, path: &str, size: u64) {
        let expected = self.expected.len();
        if size > 0 {
            self.expected.retain(|pattern| !pattern.matches(path));
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_first = !self.with_file.contains(folder) && self.with_file.insert(folder.to_owned());
        if is_first
            || self.expected.len() < expected
            || is_unfinished(path, size)
            || spikeglx::is_recording(path)
            || self.is_read(path)
            || self.wait_for.iter().any(|pattern| pattern.matches(path))
        {
            self.keep(path, Some(size));
        }
    }

    /// Adds what is neither a folder nor a file that can be read.
    pub fn add_unusable(&mut self, path: &str, why: impl FnOnce() -> String) {
        if self.is_read(path) && self.unusable.len() < MAX_ENTRIES {
            self.unusable.push(Unusable { path: path.to_owned(), why: why() });
        }
    }

    /// What is kept, sorted by path.
    pub fn finish(self) -> (Vec<Entry>, Vec<Unusable>) {
        let Self { mut entries, mut unusable, .. } = self;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        unusable.sort_by(|a, b| a.path.cmp(&b.path));
        (entries, unusable)
    }

    fn keep(&mut self, path: &str, size: Option<u64>) {
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(Entry { path: path.to_owned(), size });
        }
    }
}
