//! What keeps a session from being registered, and what it waits for.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::source::on_one_line;
use crate::text::Fault;
use crate::text::locate::quoted;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A file that cannot be read, or that vanished.
    Unreadable,
    /// A file that is larger than any of its kind.
    TooLarge,
    /// A file that is not what its name says: broken YAML or JSON, another encoding.
    Syntax,
    /// An unknown key.
    UnknownKey,
    /// A value of the wrong type, or out of bounds.
    Value,
    /// A time that cannot be read, or that contradicts the folder or another time.
    Time,
    /// The rig's own settings name another animal.
    Subject,
    /// The rig's own settings name another day.
    Date,
    /// The rig's own settings name another session number.
    Number,
    /// Two values that contradict each other.
    Contradiction,
}

/// What keeps the session from being registered: it needs attention. Prints in one line, as
/// `alyx-session.yaml:3: projcts: unknown key; did you mean projects?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// The file, as in [`Source`](crate::Source).
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The key, or empty.
    pub key: String,
    /// What is wrong, and what fixes it; one line.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(
        kind: ProblemKind,
        file: &str,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, file: file.to_owned(), line: None, key: key.into(), message: message.into() }
    }

    pub(crate) fn on_line(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// The fault of a text, as a problem of its file.
    pub(crate) fn syntax(file: &str, fault: Fault) -> Self {
        Self::new(ProblemKind::Syntax, file, fault.key, fault.message).on_line(fault.line)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&on_one_line(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            let separator = if self.file.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}", on_one_line(&self.key))?;
        }
        let separator = if self.file.is_empty() && self.key.is_empty() { "" } else { ": " };
        write!(f, "{separator}{}", on_one_line(&self.message))
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            kind: ProblemKind,
            file: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            line: Option<usize>,
            #[serde(skip_serializing_if = "str::is_empty")]
            key: &'a str,
            message: &'a str,
        }
        let Self { kind, file, line, key, message } = self;
        Shown { kind: *kind, file, line: *line, key, message }.serialize(serializer)
    }
}

/// What the session still waits for: the flag stays, and after a while the session needs attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// The file, folder or pattern.
    pub what: String,
    /// Why it is missed, and who asked for it.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", on_one_line(&self.what), on_one_line(&self.why))
    }
}

/// A value from a file in a form for messages.
pub(crate) fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "nothing".to_owned(),
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(_) => "a list".to_owned(),
        serde_json::Value::Object(_) => "a section".to_owned(),
        other => other.to_string(),
    }
}
