//! The result of a scan: flags, sessions and problems.

use std::io;
use std::path::{Path, PathBuf};

use crate::daemon::tree::scan::problem::{LinkRefusal, ScanProblem};
use alyx_registration::flag::FlagFile;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The flags in session folders. Whether the path is a valid session is not decided here.
    pub flags: Vec<FlagFile>,
    /// The session folders without a flag.
    pub unflagged: Vec<PathBuf>,
    /// Folders in the place of a session, whose date does not exist or whose number is too long.
    pub misnamed: Vec<PathBuf>,
    /// Links in the place of folders that lead nowhere: flags come later, when their disk is mounted.
    pub broken_links: Vec<PathBuf>,
    /// Problems; everything else was scanned nevertheless.
    pub problems: Vec<ScanProblem>,
    /// How many session folders there are.
    pub sessions: usize,
    /// How many folders belong to the layout: the sessions and everything above them.
    pub folders: usize,
    /// The scan was stopped: what is missing here may still be on disk.
    pub stopped: bool,
}

impl Scan {
    /// Adds what another part of the same scan found.
    pub(crate) fn join(&mut self, part: Self) {
        self.flags.extend(part.flags);
        self.unflagged.extend(part.unflagged);
        self.misnamed.extend(part.misnamed);
        self.broken_links.extend(part.broken_links);
        self.problems.extend(part.problems);
        self.sessions += part.sessions;
        self.folders += part.folders;
        self.stopped |= part.stopped;
    }

    pub(crate) fn refuse(&mut self, link: &Path, why: LinkRefusal) {
        self.problems.push(ScanProblem::LinkRefused { link: link.to_owned(), why });
    }

    /// A folder that vanished since its parent was listed is not a problem: it contains nothing.
    pub(crate) fn record_unreadable(&mut self, folder: &Path, source: io::Error) {
        if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            self.problems.push(ScanProblem::Unreadable { folder: folder.to_owned(), source });
        }
    }
}
