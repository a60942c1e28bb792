//! One walk under way: what is planned, and what was found. Of links it takes note only, because whether one is
//! followed depends on all the others.

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

/// Told of each folder before it is listed; the place for adding a watch, so that nothing slips between the two.
/// Gets the path, its place, and its inode number.
pub type Entering<'a> = dyn FnMut(&Path, Place, u64) + 'a;

#[derive(Debug, Default)]
pub(crate) struct Traversal {
    pub scan: Scan,
    pub folders: Vec<Visit>,
    /// Folders that were reached through a link: looked into only when their identity has been checked.
    pub through_links: Vec<Visit>,
    /// Sorted, and followed after everything else: which of two links wins does not depend on the listing.
    pub links: BTreeMap<PathBuf, Place>,
    /// `Some`: the dates are put here, and not looked into.
    pub dates: Option<Vec<Visit>>,
}

/// A folder to be looked into.
#[derive(Debug)]
pub(crate) struct Visit {
    pub folder: PathBuf,
    pub place: Place,
    pub inode: u64,
    /// Reached through a link: it may lie anywhere.
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

    /// Looks into all that is planned and was not reached through a link. `stop` is asked before each folder.
    pub fn go_down(&mut self, layout: &Layout, entering: &mut Entering<'_>, stop: &dyn Fn() -> bool) {
        while let Some(visit) = self.folders.pop() {
            if stop() {
                self.scan.stopped = true;
                return;
            }
            self.visit(visit, layout, entering);
        }
    }

    pub fn visit(&mut self, visit: Visit, layout: &Layout, entering: &mut Entering<'_>) {
        if visit.place == Place::NoSuchDate {
            return self.look_into_no_date(&visit.folder, layout);
        }
        self.scan.folders += 1;
        entering(&visit.folder, visit.place, visit.inode);
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
            self.scan.note_unreadable(&visit.folder, source);
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
                    self.note_misplaced(&entry.path(), &Advice::RenameSession(entry.path()), layout);
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

    /// What looks like sessions in a date that does not exist: a flag there would wait for ever.
    fn look_into_no_date(&mut self, folder: &Path, layout: &Layout) {
        let advice = Advice::RenameDate(folder.to_owned());
        self.note_misplaced(folder, &advice, layout);
        // One that cannot be listed holds no session either: nothing is lost.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if layout.child(Place::Date, &entry.file_name()) == Some(Place::Session) {
                self.note_misplaced(&entry.path(), &advice, layout);
            }
        }
    }

    fn note_misplaced(&mut self, folder: &Path, advice: &Advice, layout: &Layout) {
        for flag in &layout.flags {
            if let Ok(Some(flag)) = FlagFile::load(folder.join(flag)) {
                let problem = ScanProblem::Misplaced { flag: flag.path, advice: advice.clone() };
                self.scan.problems.push(problem);
            }
        }
    }
}
