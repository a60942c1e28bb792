//! Scan problems: what keeps a flag or a folder from being used.

use std::io;
use std::path::PathBuf;

use crate::daemon::tree::misplaced::Advice;
use alyx_registration::flag::FlagError;

/// Something that keeps a flag or a folder from being used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ScanProblem {
    /// A folder could not be listed.
    #[error("cannot list {folder:?} ({source}): flags in it are not seen; let the service user read it")]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The root exists and is empty.
    #[error(
        "the data root {0:?} is an empty folder: if a disk belongs there, it is not mounted; mount it. With \
         watch.require_marker the daemon treats an empty mount point like a missing root"
    )]
    EmptyRoot(PathBuf),
    /// A link that was not followed.
    #[error("the link {link:?} is not followed: {why}")]
    LinkRefused {
        /// The link.
        link: PathBuf,
        /// The reason.
        why: LinkRefusal,
    },
    /// A flag outside the session folders.
    #[error("{flag:?} has no effect here: {advice}")]
    Misplaced {
        /// The flag.
        flag: PathBuf,
        /// Where it belongs.
        advice: Advice,
    },
    /// A file system entry with a flag's name that cannot be used as a flag.
    #[error(transparent)]
    Flag(#[from] FlagError),
}

/// Why a link was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// It leads to a folder that contains it.
    #[error("it is a loop back to {0:?}; remove the link")]
    Circle(PathBuf),
    /// It leads to a folder that is scanned anyway.
    #[error("it leads to {0:?}, whose sessions are found under that name")]
    InsideRoot(PathBuf),
    /// Another link leads to the same folder.
    #[error(
        "it leads to the same folder as {0:?}, but a session has only one path; remove one of the two links"
    )]
    FollowedElsewhere(PathBuf),
}
