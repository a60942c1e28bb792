//! Why a session or its files could not be registered, and what to do about it.

pub mod advice;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::listing::gap::Gap;
use crate::listing::name_patterns::in_yaml;
use alf::session_path::SessionPathError;
use alyx_client::text::some_of;
use alyx_client::{self, Endpoint, NextStep};
use session_metadata::sidecar;

/// A name that Alyx does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MissingName {
    /// The endpoint that was searched.
    pub endpoint: Endpoint,
    /// The name.
    pub name: String,
    /// Names on Alyx that were probably meant: they differ in letter case, or else in one letter.
    pub near: Vec<String>,
    /// The file of the session in which it was read; `None`: the folder, the caller or the configuration.
    pub from: Option<String>,
}

/// Why a session or its files could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Alyx, or the connection to it.
    #[error(transparent)]
    Alyx(#[from] alyx_client::Error),
    /// The folder is not a session.
    #[error("not a session folder: {0}")]
    NotASession(#[from] SessionPathError),
    /// All names that Alyx does not know (Python: `AlyxSubjectNotFound`, `ALFError`).
    #[error("Alyx does not know {}", missing(.0))]
    Missing(Vec<MissingName>),
    /// Several sessions of the same subject, day and number. None of them is chosen.
    #[error("Alyx has {} sessions {session} ({}); delete or renumber all but one on Alyx", .eids.len(), some_of(.eids, ", "))]
    Ambiguous {
        /// `subject/date/number`.
        session: String,
        /// Their ids.
        eids: Vec<String>,
    },
    /// This program and another one created the session at the same time.
    #[error("session {session} was created twice at the same time, as {ours} by this program and as {} by another; {}", some_of(.others, ", "),
        if *.is_empty { "nothing is registered in ours: delete ours on Alyx, or the other one if it is empty too" }
        else { "our datasets are registered in ours: delete the other one on Alyx if it is empty" })]
    CreatedTwice {
        /// `subject/date/number`.
        session: String,
        /// The id of the one that this program created.
        ours: String,
        /// The ids of the others.
        others: Vec<String>,
        /// Whether no dataset was registered in ours.
        is_empty: bool,
    },
    /// The arguments contradict the path or themselves.
    #[error("{0}")]
    Invalid(String),
    /// A file that describes the session is broken, or contradicts the folder.
    #[error("{}", some_of(.0, "; "))]
    Metadata(Vec<String>),
    /// The session lacks files that it should have, one line each.
    #[error("the session waits for {}", some_of(.missing, "; "))]
    Incomplete {
        /// What it lacks, and who asks for it.
        missing: Vec<String>,
        /// How long until the next look.
        wait: Duration,
    },
    /// A session has lacked files for longer than is normal.
    #[error("the session has waited {} min for {}", .since.as_secs() / 60, some_of(.missing, "; "))]
    NeverComplete {
        /// What it lacks, and who asks for it.
        missing: Vec<String>,
        /// For how long.
        since: Duration,
    },
    /// The day of a session is in the future, or too long ago.
    #[error(
        "session {session} is {reason}; is the recorder's clock right? Correct it, and rename the folder of the day"
    )]
    Clock {
        /// `subject/date/number`.
        session: String,
        /// Which of the two.
        reason: String,
    },
    /// A measurement that seems to be in another unit.
    #[error("{0} If the value is right, record it with --force")]
    Implausible(String),
    /// A file or folder cannot be read.
    #[error("{path:?} cannot be read ({reason}); check that the user who runs this may read it")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file or folder has disappeared.
    #[error("{path:?} has vanished")]
    Vanished {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file is still being written.
    #[error("{path:?} is still changing; the session waits until its files stop changing")]
    StillChanging {
        /// The file.
        path: PathBuf,
        /// How long to wait before the next attempt.
        wait: Duration,
    },
    /// A file has the name that a copying program gives it until it is complete.
    #[error(
        "a copy is in progress: {path:?}; the session waits until the file has its final name. If it is a leftover, remove it, \
         or list it in datasets.exclude"
    )]
    CopyInProgress {
        /// The file.
        path: PathBuf,
        /// How long until the next look.
        wait: Duration,
    },
    /// The session has no file yet.
    #[error("the session has no file yet; after {} it is registered without files", minutes(*.grace))]
    NoFilesYet {
        /// How long until the next look.
        wait: Duration,
        /// How long a session without files waits.
        grace: Duration,
    },
    /// The files of a session keep arriving for longer than is normal.
    #[error(
        "the files of the session have been changing for {} min; the last change was in {path:?}{}", .since.as_secs() / 60,
        .exclude.as_ref().map_or_else(String::new, |line| format!(
            ". If it does not belong to the session, add this line to datasets.exclude: {line}"))
    )]
    NeverQuiet {
        /// The file or folder that changed last, or the one that is being copied.
        path: PathBuf,
        /// The line of `datasets.exclude` that would ignore it; none for the flag, a sidecar and the session folder itself.
        exclude: Option<String>,
        /// For how long.
        since: Duration,
    },
    /// Datasets that cannot be registered as they are on disk, although they look like datasets.
    #[error(
        "{} of the session's {} datasets cannot be registered: {}",
        .refused.len(), .refused.len() + .registered, some_of(.refused, "; ")
    )]
    FilesRefused {
        /// How many others were registered.
        registered: usize,
        /// One line for each file.
        refused: Vec<String>,
    },
    /// The session is registered, apart from what it lacks; its flag is kept on purpose.
    #[error("the session has gaps: {0}")]
    Gaps(Gap),
    /// A file cannot be moved into its revision folder. It is where it was.
    #[error(
        "{from:?} cannot be moved to {to:?} ({reason}); allow the user who runs this to write there, or move it yourself"
    )]
    CannotMove {
        /// The file.
        from: PathBuf,
        /// Where it should go.
        to: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A folder cannot be created.
    #[error("{path:?} cannot be created ({reason}); check that the user who runs this may write there")]
    CannotMake {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The folder of a new session was created, but its session could not be registered.
    #[error(
        "the folder {folder:?} was created, but its session is not registered: {source}; register that folder once this is fixed"
    )]
    NewSession {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: Box<Error>,
    },
    /// A water administration or weighing that may or may not be on Alyx.
    #[error(
        "{what} was sent twice without an answer ({source}), and Alyx does not show it; check on Alyx before you enter it again"
    )]
    Unsure {
        /// The measurement.
        what: String,
        /// Why there was no answer.
        source: alyx_client::Error,
    },
    /// Alyx shows other datasets than were sent.
    #[error("Alyx does not show what was registered: {}; the next attempt sends it again", some_of(.0, "; "))]
    NotConfirmed(Vec<String>),
    /// Another program or computer holds the flag, and registers its session.
    #[error("another program{} holds {path:?} and registers its session; wait until it is done",
        .holder.map_or_else(|| " or computer".to_owned(), |pid| format!(" (process {pid})")))]
    RegisteredElsewhere {
        /// The flag.
        path: PathBuf,
        /// The process, if it is on this computer and can be found.
        holder: Option<u32>,
    },
    /// Another program on this computer is sending the same request, or ended before it was answered.
    #[error(
        "another program on this computer is {doing}, or its request may still arrive; wait until it is done. Other \
         sessions go on meanwhile"
    )]
    SentElsewhere {
        /// What the request does.
        doing: String,
        /// How long that program is waited for from now on, at most. Zero: no more.
        left: Duration,
    },
    /// The flag cannot be used.
    #[error("{reason}")]
    Flag {
        /// The flag.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The flag cannot be removed.
    #[error(
        "everything is registered, but {path:?} cannot be removed ({reason}); allow the user who runs this to write in that folder"
    )]
    FlagStays {
        /// The flag.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A bug in this program.
    #[error("internal fault: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// How to handle it. One exhaustive match: a new kind of error must be added here.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Alyx(error) => error.next_step(),
            Self::NewSession { source, .. } => source.next_step(),
            Self::StillChanging { wait, .. }
            | Self::CopyInProgress { wait, .. }
            | Self::Incomplete { wait, .. }
            | Self::NoFilesYet { wait, .. } => NextStep::TryAgain { after: Some(*wait) },
            Self::Vanished { .. }
            | Self::RegisteredElsewhere { .. }
            | Self::SentElsewhere { .. }
            | Self::NotConfirmed(_)
            | Self::Internal(_) => NextStep::TryAgain { after: None },
            Self::NotASession(_)
            | Self::Missing(_)
            | Self::Ambiguous { .. }
            | Self::CreatedTwice { .. }
            | Self::Invalid(_)
            | Self::Metadata(_)
            | Self::NeverComplete { .. }
            | Self::Clock { .. }
            | Self::Implausible(_)
            | Self::Unreadable { .. }
            | Self::NeverQuiet { .. }
            | Self::FilesRefused { .. }
            | Self::Gaps(_)
            | Self::CannotMove { .. }
            | Self::CannotMake { .. }
            | Self::Unsure { .. }
            | Self::Flag { .. }
            | Self::FlagStays { .. } => NextStep::NeedsAttention,
        }
    }

    /// How long to wait before the next look at a session whose files may still arrive. No failure.
    pub fn wait_to_settle(&self) -> Option<Duration> {
        match self {
            Self::StillChanging { wait, .. }
            | Self::CopyInProgress { wait, .. }
            | Self::Incomplete { wait, .. }
            | Self::NoFilesYet { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether another program registers the session, or sends a request of it. No failure.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::RegisteredElsewhere { .. } | Self::SentElsewhere { .. })
    }

    /// How long another program's request is waited for from now on, at most.
    pub fn waits_for_request(&self) -> Option<Duration> {
        match self {
            Self::SentElsewhere { left, .. } => Some(*left).filter(|left| !left.is_zero()),
            _ => None,
        }
    }

    /// The error of the session of this flag, which has not been quiet `since` that long.
    /// `None`: it only waits for its first file.
    pub fn never_quiet(&self, flag: &Path, since: Duration) -> Option<Self> {
        if let Self::Incomplete { missing, .. } = self {
            return Some(Self::NeverComplete { missing: missing.clone(), since });
        }
        let (Self::StillChanging { path, .. } | Self::CopyInProgress { path, .. }) = self else {
            return None;
        };
        let relative = flag.parent().and_then(|session| path.strip_prefix(session).ok()).unwrap_or(path);
        let pattern = glob::Pattern::escape(&relative.to_string_lossy());
        let exclude = match path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            // Sidecars are written by people, and say what the session is.
            _ if path == flag
                || pattern.is_empty()
                || sidecar::NAMES.contains(&&*relative.to_string_lossy()) =>
            {
                None
            }
            true => Some(in_yaml(&format!("{}/**", pattern.trim_end_matches('/')))),
            false => Some(in_yaml(&pattern)),
        };
        Some(Self::NeverQuiet { path: path.clone(), exclude, since })
    }

    /// The file or folder that it concerns.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::Vanished { path }
            | Self::StillChanging { path, .. }
            | Self::CopyInProgress { path, .. }
            | Self::NeverQuiet { path, .. }
            | Self::CannotMove { from: path, .. }
            | Self::CannotMake { path, .. }
            | Self::NewSession { folder: path, .. }
            | Self::RegisteredElsewhere { path, .. }
            | Self::Flag { path, .. }
            | Self::FlagStays { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The session that it names, `subject/date/number`.
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Ambiguous { session, .. }
            | Self::CreatedTwice { session, .. }
            | Self::Clock { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Whether the server cannot be reached, so that other sessions would fail as well.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Alyx(error) => error.is_outage(),
            Self::NewSession { source, .. } => source.is_outage(),
            _ => false,
        }
    }

    /// The error of a call that names this folder: if it is not there, it has not vanished, but never was.
    pub fn or_no_folder(self, folder: &Path) -> Self {
        match self {
            Self::Vanished { path } if path == folder => Self::no_folder(folder),
            other => other,
        }
    }

    /// The error of a call that names a folder that does not exist.
    pub fn no_folder(folder: &Path) -> Self {
        Self::Invalid(format!("there is no folder {folder:?}; check its name, and that its disk is mounted"))
    }

    /// A failed read of `path`.
    pub(crate) fn reading(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            // NFS: another computer replaced the file between look-up and opening.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::StaleNetworkFileHandle => {
                Self::Vanished { path }
            }
            _ => Self::Unreadable { path, reason: error.to_string() },
        }
    }
}

/// Where a name is written that no file of the session gives. A command names its option instead.
pub const ELSEWHERE: &str = "in the folder or the configuration";

/// A time as a person says it.
fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// The missing names, those that were probably meant, and what to do. Creating a subject whose name was misspelt would
/// make a second animal of one.
fn missing(missing: &[MissingName]) -> String {
    let name = |missing: &MissingName| {
        let from = missing.from.as_ref().map(|from| format!(" ({from})")).unwrap_or_default();
        let near: Vec<String> = missing.near.iter().map(|near| format!("{near:?}")).collect();
        let near = match near.is_empty() {
            true => String::new(),
            false => format!(" (did you mean {}?)", near.join(" or ")),
        };
        format!("{} {:?}{from}{near}", missing.endpoint.member(), missing.name)
    };
    let (of_files, others): (Vec<_>, Vec<_>) = missing.iter().partition(|missing| missing.from.is_some());
    let is_user = |missing: &&MissingName| missing.endpoint == Endpoint::Users;
    let in_file = match of_files.iter().any(is_user) {
        true => "in its file, or translate it with metadata.users_map",
        false => "in its file",
    };
    let place = match (of_files.is_empty(), others.is_empty()) {
        (true, _) => ELSEWHERE.to_owned(),
        (false, true) => in_file.to_owned(),
        (false, false) => format!("{in_file}, or {ELSEWHERE}"),
    };
    let all: Vec<String> = missing.iter().map(name).collect();
    let (all, it) = (all.join(", "), if missing.len() == 1 { "it" } else { "them" });
    if missing.iter().all(|missing| missing.near.is_empty()) {
        return format!("{all}; create {it} on Alyx, or correct the name {place}");
    }
    let second = match missing.iter().any(|m| m.endpoint == Endpoint::Subjects && !m.near.is_empty()) {
        true => "only if it is a different animal: no animal may be on Alyx twice",
        false => "only if that is another one",
    };
    format!("{all}; correct the name {place}; create {it} on Alyx {second}")
}
