//! Why a session or its files could not be registered, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use alf::session_path::SessionPathError;
use alyx_client::text::some_of;
use alyx_client::{self, Endpoint, NextStep};

/// A name that Alyx does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MissingName {
    /// Where it was looked for.
    pub endpoint: Endpoint,
    /// The name.
    pub name: String,
}

/// Why a session or its files could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Alyx, or the way to it.
    #[error(transparent)]
    Alyx(#[from] alyx_client::Error),
    /// The folder is not a session.
    #[error("not a session folder: {0}")]
    NotASession(#[from] SessionPathError),
    /// Names that Alyx does not know, all of them (Python: `AlyxSubjectNotFound`, `ALFError`).
    #[error("Alyx does not know {}; create {} on Alyx, or correct the name in the folder or the configuration",
        names(.0), if .0.len() == 1 { "it" } else { "them" })]
    Missing(Vec<MissingName>),
    /// Several sessions of the same subject, day and number. None is guessed at.
    #[error("Alyx has {} sessions {session} ({}); delete or renumber all but one on Alyx", .eids.len(), .eids.join(", "))]
    Ambiguous {
        /// `subject/date/number`.
        session: String,
        /// Their ids.
        eids: Vec<String>,
    },
    /// What the caller gave contradicts the path or itself.
    #[error("{0}")]
    Invalid(String),
    /// A file or folder cannot be read.
    #[error("{path:?} cannot be read ({reason}); check that the user of this program may read it")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file or folder was there a moment ago.
    #[error("{path:?} has vanished")]
    Vanished {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file is still being written.
    #[error("{path:?} is still changing; the session is left until its files are quiet")]
    StillChanging {
        /// The file.
        path: PathBuf,
        /// How long until it may be quiet.
        wait: Duration,
    },
    /// Datasets that cannot be registered as they lie on disk, although they look like datasets.
    #[error("{} of the session's datasets cannot be registered ({} registered): {}", .refused.len(), .registered, some_of(.refused, "; "))]
    FilesRefused {
        /// How many others were registered.
        registered: usize,
        /// One line a file.
        refused: Vec<String>,
    },
    /// A file that should move into a revision folder cannot. It is where it was.
    #[error(
        "{from:?} cannot be moved to {to:?} ({reason}); allow the user of this program to write there, or move it yourself"
    )]
    CannotMove {
        /// The file.
        from: PathBuf,
        /// Where it should go.
        to: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A folder cannot be made.
    #[error("{path:?} cannot be made ({reason}); check that the user of this program may write there")]
    CannotMake {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The folder of a new session was made, and its session could not be registered.
    #[error(
        "the folder {folder:?} was made, but its session is not registered: {source}; register that folder as soon as this is mended"
    )]
    NewSession {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: Box<Error>,
    },
    /// A water administration or weighing whose fate is not known.
    #[error(
        "{what} was sent twice without an answer ({source}), and Alyx does not show it; look on Alyx before it is entered again"
    )]
    Unsure {
        /// What was to be recorded.
        what: String,
        /// What happened.
        source: alyx_client::Error,
    },
    /// Alyx holds other datasets than were sent.
    #[error("Alyx does not show what was registered: {}; it is registered again", some_of(.0, "; "))]
    NotConfirmed(Vec<String>),
    /// The flag's content cannot be understood.
    #[error("{reason}")]
    Flag {
        /// The flag.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The flag cannot be removed.
    #[error(
        "everything is registered, but {path:?} cannot be removed ({reason}); allow the user of this program to write in that folder"
    )]
    FlagStays {
        /// The flag.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A fault in this program.
    #[error("internal fault: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// What to do about it. One exhaustive match: a new kind of error has to be given its place here.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Alyx(error) => error.next_step(),
            Self::NewSession { source, .. } => source.next_step(),
            Self::StillChanging { wait, .. } => NextStep::TryAgain { after: Some(*wait) },
            Self::Vanished { .. } | Self::NotConfirmed(_) | Self::Internal(_) => {
                NextStep::TryAgain { after: None }
            }
            Self::NotASession(_)
            | Self::Missing(_)
            | Self::Ambiguous { .. }
            | Self::Invalid(_)
            | Self::Unreadable { .. }
            | Self::FilesRefused { .. }
            | Self::CannotMove { .. }
            | Self::CannotMake { .. }
            | Self::Unsure { .. }
            | Self::Flag { .. }
            | Self::FlagStays { .. } => NextStep::NeedsAttention,
        }
    }

    /// Whether the whole server is away, so that other sessions would fail as well.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Alyx(error) => error.is_outage(),
            Self::NewSession { source, .. } => source.is_outage(),
            _ => false,
        }
    }

    /// A failed read of `path`.
    pub(crate) fn reading(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            // NFS: the file was replaced by another computer between the look-up of its name and its opening.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::StaleNetworkFileHandle => Self::Vanished { path },
            _ => Self::Unreadable { path, reason: error.to_string() },
        }
    }
}

fn names(missing: &[MissingName]) -> String {
    missing.iter().map(|m| format!("{} {:?}", m.endpoint.member(), m.name)).collect::<Vec<_>>().join(", ")
}
