//! An error as JSON: its kind, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::json::path_text::PathText;
use alyx_registration::Error;
use alyx_registration::advice::{FOLLOW_MESSAGE, Handling, Kind};

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The name of its kind, as in `docs/errors.md`.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub next_step: String,
    /// Whether the same command may succeed later although nothing is changed.
    pub retryable: bool,
    /// The session that it concerns: `subject/date/number`, or the folder.
    pub session: Option<String>,
    /// The file or folder that it concerns.
    pub path: Option<PathText>,
}

/// The kinds of errors that only commands have; those of sessions and files are [`Kind`].
macro_rules! command_kinds {
    ($($kind:ident, $retryable:literal, $means:literal, $next:literal;)*) => {
        /// A kind of error that only commands have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CommandKind {
            $(#[doc = $means] $kind,)*
        }

        impl CommandKind {
            /// All of them.
            pub const ALL: &[CommandKind] = &[$(CommandKind::$kind,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            /// What it means.
            pub fn means(self) -> &'static str {
                match self { $(Self::$kind => $means,)* }
            }

            /// What to do about it.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$kind => $next,)* }
            }

            fn is_retryable(self) -> bool {
                match self { $(Self::$kind => $retryable,)* }
            }
        }
    };
}

command_kinds! {
    Usage, false, "the command line is invalid", "see the command's `--help`";
    Configuration, false, "the configuration is invalid", "correct the file as the message says";
    Program, false, "a folder or file of this program cannot be used", "do what the message says";
    Interrupted, true, "a signal stopped the command before it was done", "run it again";
    Unanswered, true, "a signal stopped the command while Alyx had not answered the creation of a record", "run it again: it waits until no second record can result";
    NothingToDo, false, "no session matches", "see `alyx-registrar status`";
    Disk, false, "a data root, folder or flag cannot be used", "do what the message says";
    Setup, false, "`check` found a problem", "do what the message says, then run `alyx-registrar check` again";
}

/// Whether an error of this kind goes away by itself.
fn is_retryable(kind: Kind) -> bool {
    matches!(kind.handling(), Handling::TryAgain | Handling::Settle | Handling::Elsewhere)
}

impl ErrorReport {
    /// An error of a command.
    pub fn command(kind: CommandKind, message: impl ToString) -> Self {
        Self {
            kind: kind.name().to_owned(),
            message: message.to_string(),
            next_step: kind.next_step().to_owned(),
            retryable: kind.is_retryable(),
            session: None,
            path: None,
        }
    }

    /// An error of a kind that sessions and files have.
    pub fn of_kind(kind: Kind, message: impl ToString) -> Self {
        Self {
            kind: kind.name().to_owned(),
            message: message.to_string(),
            next_step: kind.next_step().to_owned(),
            retryable: is_retryable(kind),
            session: None,
            path: None,
        }
    }

    /// An error that was stored as text. The kind of an entry of an earlier version is unknown: `Unknown`.
    pub fn stored(kind: Option<&str>, message: &str, next_step: Option<&str>) -> Self {
        Self {
            kind: kind.unwrap_or("Unknown").to_owned(),
            message: message.to_owned(),
            next_step: next_step.unwrap_or(FOLLOW_MESSAGE).to_owned(),
            retryable: kind.and_then(Kind::named).is_some_and(is_retryable),
            session: None,
            path: None,
        }
    }

    /// The same error, of this session.
    #[must_use]
    pub fn of_session(self, session: impl ToString) -> Self {
        Self { session: Some(session.to_string()), ..self }
    }

    /// The same error, at this file or folder.
    #[must_use]
    pub fn at(self, path: impl Into<PathText>) -> Self {
        Self { path: Some(path.into()), ..self }
    }
}

impl From<&Error> for ErrorReport {
    fn from(error: &Error) -> Self {
        Self {
            session: error.session().map(str::to_owned),
            path: error.path().map(PathText::from),
            ..Self::of_kind(error.kind(), error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_and_is_explained_in_the_manual() {
        let manual = include_str!("../../docs/errors.md");
        for kind in CommandKind::ALL {
            assert_eq!(Kind::named(kind.name()), None, "{kind:?} is also a kind of sessions");
            let line = format!("- `{}`: {}; {}", kind.name(), kind.means(), kind.next_step());
            assert!(manual.lines().any(|written| written == line), "docs/errors.md lacks this line:\n{line}");
        }
    }

    #[test]
    fn only_errors_that_go_away_by_themselves_are_retryable() {
        let retryable = |kind: Kind| ErrorReport::of_kind(kind, "x").retryable;
        assert!(retryable(Kind::Unreachable) && retryable(Kind::StillChanging));
        assert!(!retryable(Kind::Login) && !retryable(Kind::Missing));
    }
}
