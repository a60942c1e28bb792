//! The scan: a walk over a root, down to its sessions and never below, that finds the flags.
//!
//! The scan is the news, events are a rumour. It takes the kind of each entry from the folder's listing, asks for
//! the flags of a session by name, and lists no session folder, so its cost does not depend on how much data the
//! sessions hold. It blocks: run it on a blocking thread. Flags that were put into a folder inside a session are
//! looked for apart from the walk, in a few sessions at a time: see [`too_deep`](super::too_deep).

mod at_dates;
pub mod problem;
pub mod result;
mod traversal;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::misplaced::advise;
use crate::daemon::tree::root::FolderIdentity;
pub use crate::daemon::tree::scan::at_dates::AtDates;
pub use crate::daemon::tree::scan::problem::{LinkRefusal, ScanProblem};
pub use crate::daemon::tree::scan::result::Scan;
pub use crate::daemon::tree::scan::traversal::Entering;
use crate::daemon::tree::scan::traversal::{Traversal, Visit};
use crate::daemon::tree::too_deep::TooDeep;

/// How many dates are worth a thread of their own.
const DATES_A_THREAD: usize = 200;

/// Walks one root. It remembers between walks which folders were reached through links, so that each is followed
/// under one name only.
#[derive(Debug)]
pub struct Scanner {
    layout: Layout,
    /// Folders that were reached through a link, and by which path.
    followed: HashMap<FolderIdentity, PathBuf>,
    too_deep: TooDeep,
}

impl Scanner {
    /// For one root. The disk is not touched.
    pub fn new(layout: Layout) -> Self {
        Self { layout, followed: HashMap::new(), too_deep: TooDeep::default() }
    }

    /// The layout that is scanned.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What is wrong with a flag that appeared in a folder of the layout that is no session, if it is there.
    pub fn find_misplaced(&self, flag: &Path) -> Option<ScanProblem> {
        let folder = flag.parent()?;
        let place = self.layout.place(folder)?;
        if !flag.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return None;
        }
        let advice = advise(&self.layout, folder, place);
        Some(ScanProblem::Misplaced { flag: flag.to_owned(), advice })
    }

    /// Scans the whole root. `stop` is asked before each folder.
    pub fn scan(&mut self, entering: &mut Entering<'_>, stop: &dyn Fn() -> bool) -> Scan {
        self.followed.clear();
        let root = self.layout.root.clone();
        let mut scan = self.scan_below(&root, entering, stop);
        scan.problems.extend(self.too_deep.still_there());
        scan
    }

    /// Scans the whole root with several threads, for somebody who waits for it.
    pub fn scan_at_once(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Scan {
        let mut at_dates = self.scan_to_dates(&mut |_, _, _| (), stop);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (at_dates.dates() / DATES_A_THREAD).clamp(1, processors);
        at_dates.look_through(&self.layout, vec![|_: &Path, _, _| (); threads], stop);
        self.finish(at_dates, &mut |_, _, _| (), stop)
    }

    /// Looks into some of the sessions that a scan found without a flag, for flags that were put too deep: those of
    /// the last days, and of the others a few that are next in turn. What it finds stays among the problems of
    /// every further scan until it is gone.
    pub fn find_too_deep(
        &mut self,
        unflagged: Vec<PathBuf>,
        today: Date,
        stop: &dyn Fn() -> bool,
    ) -> Vec<ScanProblem> {
        self.too_deep.look(unflagged, today, &self.layout.flags, stop)
    }

    /// Scans one folder of the layout and what is below it. Finds nothing where the folder is gone or does not
    /// belong to the layout.
    pub fn scan_below(
        &mut self,
        folder: &Path,
        entering: &mut Entering<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Scan {
        let mut walk = Traversal::default();
        self.begin(folder, &mut walk);
        self.go_on(&mut walk, entering, stop);
        walk.scan
    }

    /// Scans the whole root down to the dates. Many can look through these; [`finish`](Self::finish) ends the scan.
    pub fn scan_to_dates(&mut self, entering: &mut Entering<'_>, stop: &dyn Fn() -> bool) -> AtDates {
        self.followed.clear();
        let mut walk = Traversal { dates: Some(Vec::new()), ..Traversal::default() };
        self.begin(&self.layout.root, &mut walk);
        walk.go_down(&self.layout, entering, stop);
        AtDates(walk)
    }

    /// Ends a scan whose dates have been looked through: follows the links.
    pub fn finish(
        &mut self,
        at_dates: AtDates,
        entering: &mut Entering<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Scan {
        let mut walk = at_dates.0;
        walk.folders.extend(walk.dates.take().unwrap_or_default());
        self.go_on(&mut walk, entering, stop);
        walk.scan.problems.extend(self.too_deep.still_there());
        walk.scan
    }

    /// Walks until nothing is left.
    fn go_on(&mut self, walk: &mut Traversal, entering: &mut Entering<'_>, stop: &dyn Fn() -> bool) {
        loop {
            walk.go_down(&self.layout, entering, stop);
            if walk.scan.stopped {
                return;
            }
            if let Some(visit) = walk.through_links.pop() {
                if self.claim(&visit.folder, &mut walk.scan) {
                    walk.visit(visit, &self.layout, entering);
                }
            } else if let Some((link, place)) = walk.links.pop_first() {
                self.follow(link, place, walk);
            } else {
                return;
            }
        }
    }

    fn begin(&self, folder: &Path, walk: &mut Traversal) {
        let Some(place) = self.layout.place(folder) else { return };
        let is_root = folder == self.layout.root;
        // The root itself may be a link: it was named by a person.
        let metadata = if is_root { fs::metadata(folder) } else { fs::symlink_metadata(folder) };
        match metadata {
            Ok(metadata) if metadata.is_dir() => walk.plan(Visit {
                folder: folder.to_owned(),
                place,
                inode: FolderIdentity::of(&metadata).inode,
                through_link: self.followed.values().any(|followed| folder.starts_with(followed)),
            }),
            Ok(metadata) if metadata.is_symlink() => {
                walk.links.insert(folder.to_owned(), place);
            }
            Ok(_) => {}
            // A root that is missing is never the same as a root with nothing to do.
            Err(source) if is_root => {
                walk.scan.problems.push(ScanProblem::Unreadable { folder: folder.to_owned(), source });
            }
            Err(source) => walk.scan.note_unreadable(folder, source),
        }
    }

    /// Follows a link to a folder, unless its sessions would get a second name.
    fn follow(&mut self, link: PathBuf, place: Place, walk: &mut Traversal) {
        let target = match fs::canonicalize(&link) {
            Ok(target) => target,
            // To itself, or to a link that leads back.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return walk.scan.refuse(&link, LinkRefusal::Circle(link.clone()));
            }
            Err(source) => return walk.scan.note_unreadable(&link, source),
        };
        let Ok(metadata) = fs::metadata(&target) else { return };
        if !metadata.is_dir() {
            return;
        }
        let Ok(root) = fs::canonicalize(&self.layout.root) else { return };
        if root.starts_with(&target) {
            return walk.scan.refuse(&link, LinkRefusal::Circle(target));
        }
        if let Ok(inside) = target.strip_prefix(&root)
            && self.layout.place(&self.layout.root.join(inside)).is_some()
        {
            return walk.scan.refuse(&link, LinkRefusal::InsideRoot(target));
        }
        let inode = FolderIdentity::of(&metadata).inode;
        walk.plan(Visit { folder: link, place, inode, through_link: true });
    }

    /// Whether a folder that was reached through a link goes by this path. The first path to claim it keeps it,
    /// for as long as that path leads there.
    fn claim(&mut self, folder: &Path, scan: &mut Scan) -> bool {
        let Ok(identity) = FolderIdentity::load(folder) else { return false };
        if let Some(first) = self.followed.get(&identity)
            && first != folder
            && FolderIdentity::load(first).is_ok_and(|same| same == identity)
        {
            let why = match folder.starts_with(first) {
                true => LinkRefusal::Circle(first.clone()),
                false => LinkRefusal::FollowedElsewhere(first.clone()),
            };
            scan.refuse(folder, why);
            return false;
        }
        self.followed.insert(identity, folder.to_owned());
        true
    }
}

/// Scans a root once, without watching it.
pub fn scan(layout: Layout, stop: &(dyn Fn() -> bool + Sync)) -> Scan {
    Scanner::new(layout).scan_at_once(stop)
}
