//! The content of a flag: which of its session's files to register. Pure.
//!
//! Both the list and the session may have tens of thousands of files. So the list is indexed, and a file is looked up
//! by everything that could select it instead of being compared with each line.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

/// Which of a session's files to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagContent {
    /// An empty flag: every dataset of the session.
    Everything,
    /// Only the files that one of these entries selects.
    Only(FileList),
    /// A flag that describes its session, as `alyx-session.yaml` does: every dataset.
    Sidecar(Vec<u8>),
}

/// The entries of a flag: at least one, without duplicates, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileList {
    entries: Vec<String>,
    index: HashSet<String>,
    /// The lengths, in bytes, of entries that may be a part of a file name.
    lengths: BTreeSet<usize>,
}

/// The line that is not UTF-8, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not valid UTF-8")]
pub struct NotUtf8(pub usize);

impl FlagContent {
    /// Parses the content of a flag: one entry for each line. Blank lines and duplicates are ignored, as are blanks
    /// around an entry, a leading `./`, and the additions of Windows editors (byte order mark, `\r`, `\` between
    /// folders). With a byte order mark of UTF-16, as PowerShell writes it, it is read as UTF-16.
    ///
    /// A flag that is a [sidecar](session_metadata::sidecar::is_sidecar) is no list.
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
        if session_metadata::sidecar::is_sidecar(bytes) {
            return Ok(Self::Sidecar(bytes.to_owned()));
        }
        Self::parse_list(bytes)
    }

    /// Parses a list of files.
    ///
    /// # Errors
    /// The first line that is not UTF-8.
    pub fn parse_list(bytes: &[u8]) -> Result<Self, NotUtf8> {
        let text = decoded(bytes)?;
        let mut list = FileList::default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let entry = line.trim_matches(|c: char| c.is_whitespace() || c == '\0').replace('\\', "/");
            list.add(entry.trim_start_matches("./").trim_end_matches('/'));
        }
        Ok(if list.entries.is_empty() { Self::Everything } else { Self::Only(list) })
    }

    /// The content where no flag is a sidecar: then it is a list.
    pub(crate) fn without_sidecar(self, is_list_only: bool) -> Self {
        match self {
            // What was read as a sidecar is UTF-8.
            Self::Sidecar(bytes) if is_list_only => Self::parse_list(&bytes).unwrap_or(Self::Everything),
            other => other,
        }
    }

    /// Whether the flag selects a file, by its path relative to the session, with `/`.
    ///
    /// An entry selects the file with that relative path, the files below the folder with that relative path, and every
    /// file whose name contains the entry.
    pub fn selects(&self, relative_path: &str) -> bool {
        match self {
            Self::Everything | Self::Sidecar(_) => true,
            Self::Only(list) => list.selecting(relative_path).next().is_some(),
        }
    }

    /// The entries that select a file, possibly with duplicates.
    pub(crate) fn selecting(&self, relative_path: &str) -> Vec<&str> {
        match self {
            Self::Everything | Self::Sidecar(_) => Vec::new(),
            Self::Only(list) => list.selecting(relative_path).collect(),
        }
    }

    /// The entries that select none of these files, probably because of a typing error.
    pub fn without_match(&self, files: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<&str> {
        let Self::Only(list) = self else { return Vec::new() };
        let mut matched: HashSet<&str> = HashSet::new();
        for file in files {
            matched.extend(list.selecting(file.as_ref()));
        }
        list.entries().filter(|entry| !matched.contains(entry)).collect()
    }
}

/// The text, by its byte order mark; UTF-8 without one.
fn decoded(bytes: &[u8]) -> Result<Cow<'_, str>, NotUtf8> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                NotUtf8(1 + valid.iter().filter(|byte| **byte == b'\n').count())
            });
        }
    };
    // A last byte alone is no character.
    let units = bytes.chunks(2).map(|pair| match pair {
        [a, b] => unit([*a, *b]),
        _ => 0xdc00,
    });
    let mut text = String::new();
    for c in char::decode_utf16(units) {
        text.push(c.map_err(|_| NotUtf8(1 + text.matches('\n').count()))?);
    }
    Ok(Cow::Owned(text))
}

impl FileList {
    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    fn add(&mut self, entry: &str) {
        if !entry.is_empty() && self.index.insert(entry.to_owned()) {
            self.entries.push(entry.to_owned());
            // File names do not contain `/`.
            if !entry.contains('/') {
                self.lengths.insert(entry.len());
            }
        }
    }

    /// The entries that select a file, possibly with duplicates.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_by_its_byte_order_mark() {
        let utf16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
        };
        for (text, expected) in [
            ("", None),
            ("\r\n", None),
            (" \r\n\r\n", None),
            ("alf\\é.times.npy\r\nwheel\r\n", Some("alf/é.times.npy")),
        ] {
            let utf8 = format!("\u{feff}{text}").into_bytes();
            for bytes in [utf8, utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes)] {
                let content = FlagContent::parse(&bytes).unwrap();
                match expected {
                    None => assert_eq!(content, FlagContent::Everything, "{bytes:?}"),
                    Some(file) => {
                        assert!(content.selects(file) && !content.selects("alf/other.times.npy"), "{bytes:?}")
                    }
                }
            }
        }
        assert_eq!(FlagContent::parse(b"\xff\xfe"), Ok(FlagContent::Everything));
        assert_eq!(FlagContent::parse(b"\xff\xfe\r\0\n\0"), Ok(FlagContent::Everything));
        assert_eq!(FlagContent::parse(b"\xff\xfe\0\0"), Ok(FlagContent::Everything));
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        assert_eq!(FlagContent::parse(b"a\n\xe9\n"), Err(NotUtf8(2)));
        assert_eq!(FlagContent::parse(b"\xff\xfea\0\n\0b"), Err(NotUtf8(2)));
        assert_eq!(FlagContent::parse(b"\xff\xfe\0\xd8a\0"), Err(NotUtf8(1)));
    }
}
