//! A traversal in progress: what is pending, and what was found. Links are only collected, because whether one is
//! followed depends on all the others.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::misplaced::{Advice, advise};
use crate::daemon::tree::scan::problem::ScanProblem;
use crate::daemon::tree::scan::result::Scan;
use alyx_registration::flag::FlagFile;

/// Called with each folder before it is listed, with its path, place and inode. Watches are added here, so that
/// nothing is missed between watching and listing.
pub type OnFolder<'a> = dyn FnMut(&Path, Place, u64) + 'a;

#[derive(Debug, Default)]
pub(crate) struct Traversal {
    pub scan: Scan,
    pub folders: Vec<Visit>,
    /// Folders that were reached through a link; visited only after their identity was checked.
    pub through_links: Vec<Visit>,
    /// Sorted, and followed last, so that which of two links wins does not depend on the order of a listing.
    pub links: BTreeMap<PathBuf, Place>,
    /// `Some`: dates are collected here rather than visited.
    pub dates: Option<Vec<Visit>>,
}

/// A folder to visit.
#[derive(Debug)]
pub(crate) struct Visit {
    pub folder: PathBuf,
    pub place: Place,
    pub inode: u64,
    /// Reached through a link; it may be anywhere.
    pub through_link: bool,
}

impl Traversal {
    pub fn plan(&mut self, visit: Visit) {
        match &mut self.dates {
            _ if visit.through_link && visit.place != Place::NoSuchDate => self.through_links.push(visit),
            Some(dates) if visit.place == Place::Date => dates.push(visit),
            _ => self.folders.push(visit),
        }
    }

    /// Visits everything pending that was not reached through a link. `stop` is polled before each folder.
    pub fn visit_pending(&mut self, layout: &Layout, on_folder: &mut OnFolder<'_>, stop: &dyn Fn() -> bool) {
        while let Some(visit) = self.folders.pop() {
            if stop() {
                self.scan.stopped = true;
                return;
            }
            self.visit(visit, layout, on_folder);
        }
    }

    pub fn visit(&mut self, visit: Visit, layout: &Layout, on_folder: &mut OnFolder<'_>) {
        if visit.place == Place::NoSuchDate {
            return self.check_invalid_date(&visit.folder, layout);
        }
        self.scan.folders += 1;
        on_folder(&visit.folder, visit.place, visit.inode);
        if visit.place == Place::Session {
            self.scan.sessions += 1;
            let before = (self.scan.flags.len(), self.scan.problems.len());
            for flag in &layout.flags {
                match FlagFile::load(visit.folder.join(flag)) {
                    Ok(Some(flag)) => self.scan.flags.push(flag),
                    Ok(None) => {}
                    Err(problem) => self.scan.problems.push(problem.into()),
                }
            }
            if before == (self.scan.flags.len(), self.scan.problems.len()) {
                self.scan.unflagged.push(visit.folder);
            }
        } else if let Err(source) = self.list(&visit, layout) {
            self.scan.record_unreadable(&visit.folder, source);
        }
    }

    fn list(&mut self, visit: &Visit, layout: &Layout) -> io::Result<()> {
        let mut misplaced = Vec::new();
        let mut is_empty = true;
        for entry in fs::read_dir(&visit.folder)? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            is_empty = false;
            match layout.child(visit.place, &name) {
                _ if kind.is_file() && layout.is_flag(&name) => misplaced.push(entry.path()),
                Some(place) if kind.is_dir() => self.plan(Visit {
                    folder: entry.path(),
                    place,
                    inode: entry.ino(),
                    through_link: visit.through_link,
                }),
                Some(place) if kind.is_symlink() => {
                    self.links.insert(entry.path(), place);
                }
                None if kind.is_dir() && visit.place == Place::Date => {
                    self.record_misplaced(&entry.path(), &Advice::RenameSession(entry.path()), layout);
                    if name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                        self.scan.misnamed.push(entry.path());
                    }
                }
                _ => {}
            }
        }
        for flag in misplaced {
            let advice = advise(layout, &visit.folder, visit.place);
            self.scan.problems.push(ScanProblem::Misplaced { flag, advice });
        }
        if is_empty && visit.folder == layout.root {
            self.scan.problems.push(ScanProblem::EmptyRoot(visit.folder.clone()));
        }
        Ok(())
    }

    /// Reports flags in what looks like sessions of a nonexistent date: they would wait forever.
    fn check_invalid_date(&mut self, folder: &Path, layout: &Layout) {
        let advice = Advice::RenameDate(folder.to_owned());
        self.record_misplaced(folder, &advice, layout);
        // If the folder is unreadable, nothing is lost: it contains no sessions.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if layout.child(Place::Date, &entry.file_name()) == Some(Place::Session) {
                self.record_misplaced(&entry.path(), &advice, layout);
                self.scan.misnamed.push(entry.path());
            }
        }
    }

    fn record_misplaced(&mut self, folder: &Path, advice: &Advice, layout: &Layout) {
        for flag in &layout.flags {
            if let Ok(Some(flag)) = FlagFile::load(folder.join(flag)) {
                let problem = ScanProblem::Misplaced { flag: flag.path, advice: advice.clone() };
                self.scan.problems.push(problem);
            }
        }
    }
}
