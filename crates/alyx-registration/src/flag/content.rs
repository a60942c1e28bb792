//! The content of a flag: which of its session's files it asks for. Pure.
//!
//! A list may have tens of thousands of lines, and so may a session have files. So a file is looked up in the list by
//! what could select it, and never compared with each line.

use std::collections::{BTreeSet, HashSet};

/// Which of a session's files a flag asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagContent {
    /// An empty flag: every dataset of the session.
    Everything,
    /// Only the files that one of these entries selects.
    Only(FileList),
}

/// The entries of a flag. At least one, without repeats, in the order of the flag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileList {
    entries: Vec<String>,
    index: HashSet<String>,
    /// Of the entries that may be a part of a file's name, in bytes.
    lengths: BTreeSet<usize>,
}

/// The line that is not UTF-8, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not valid UTF-8")]
pub struct NotUtf8(pub usize);

impl FlagContent {
    /// Reads the content of a flag: one entry a line. Blank lines and repeats are ignored, as are blanks around an
    /// entry, a leading `./`, and what Windows editors add (byte order mark, `\r`, `\` between folders).
    ///
    /// ```
    /// use alyx_registration::flag::FlagContent;
    ///
    /// assert_eq!(FlagContent::parse(b" \r\n\n"), Ok(FlagContent::Everything));
    /// let content = FlagContent::parse(b"alf/spikes.times.npy\n\nwheel\n").unwrap();
    /// assert!(content.selects("alf/spikes.times.npy"));
    /// assert!(content.selects("alf/_ibl_wheel.position.npy"));
    /// assert!(!content.selects("raw/alf/spikes.times.npy"));
    /// ```
    ///
    /// # Errors
    /// The first line that is not UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotUtf8> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            NotUtf8(1 + valid.iter().filter(|byte| **byte == b'\n').count())
        })?;
        let mut list = FileList::default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let entry = line.trim().replace('\\', "/");
            list.add(entry.trim_start_matches("./").trim_end_matches('/'));
        }
        Ok(if list.entries.is_empty() { Self::Everything } else { Self::Only(list) })
    }

    /// Whether the flag asks for a file, given by its path relative to the session, with `/`.
    ///
    /// An entry selects the file of that relative path, the files below the folder of that relative path, and
    /// every file whose name contains the entry.
    pub fn selects(&self, relative_path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(list) => list.selecting(relative_path).next().is_some(),
        }
    }

    /// The entries that select none of these files: most likely mistyped, so tell somebody.
    pub fn without_match(&self, files: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<&str> {
        let Self::Only(list) = self else { return Vec::new() };
        let mut matched: HashSet<&str> = HashSet::new();
        for file in files {
            matched.extend(list.selecting(file.as_ref()));
        }
        list.entries().filter(|entry| !matched.contains(entry)).collect()
    }
}

impl FileList {
    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    fn add(&mut self, entry: &str) {
        if !entry.is_empty() && self.index.insert(entry.to_owned()) {
            self.entries.push(entry.to_owned());
            // No file has a `/` in its name.
            if !entry.contains('/') {
                self.lengths.insert(entry.len());
            }
        }
    }

    /// The entries that select a file, some of them more than once.
    fn selecting<'a>(&'a self, relative_path: &str) -> impl Iterator<Item = &'a str> {
        let folders = relative_path.match_indices('/').filter_map(|(at, _)| relative_path.get(..at));
        let name = relative_path.rsplit('/').next().unwrap_or(relative_path);
        let parts = self.lengths.range(..=name.len()).flat_map(move |length| {
            (0..=name.len() - length).filter_map(move |start| name.get(start..start + length))
        });
        let could = folders.chain([relative_path]).chain(parts);
        could.filter_map(|text| self.index.get(text)).map(String::as_str)
    }
}
