//! Where a value comes from.

use std::fmt;

use serde::{Serialize, Serializer};

/// A kind of source, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The command line of a verb.
    CommandLine,
    /// `alyx-session.yaml`, or a flag that is one.
    Sidecar,
    /// A file that the rig wrote.
    RigFile,
    /// The configuration.
    Configuration,
}

impl Origin {
    /// Whether it is a file of the session: not the command line or the configuration.
    pub fn is_file(self) -> bool {
        matches!(self, Self::Sidecar | Self::RigFile)
    }
}

/// Where a value comes from; prints as `alyx-session.yaml:3: projects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The kind of source.
    pub origin: Origin,
    /// The file: rig files by their path in the session, sidecars as they were handed in. Without a file: empty.
    pub file: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The key, or a few words where the value was computed.
    pub key: String,
}

impl Source {
    /// A key of a file.
    pub fn of(origin: Origin, file: &str, key: impl Into<String>) -> Self {
        Self { origin, file: file.to_owned(), line: None, key: key.into() }
    }

    /// A key of a file of the rig.
    pub(crate) fn rig(file: &str, key: impl Into<String>) -> Self {
        Self::of(Origin::RigFile, file, key)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.origin {
            _ if !self.file.is_empty() => on_one_line(&self.file),
            Origin::CommandLine => "command line".to_owned(),
            Origin::Configuration => "configuration".to_owned(),
            Origin::Sidecar | Origin::RigFile => String::new(),
        };
        f.write_str(&place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", on_one_line(&self.key))?;
        }
        Ok(())
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value with its source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
}

impl<T> Sourced<T> {
    /// A value with its source.
    pub fn new(value: T, source: Source) -> Self {
        Self { value, source }
    }
}

/// A text in which nothing breaks the line: a name from a disk may hold anything.
pub(crate) fn on_one_line(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
