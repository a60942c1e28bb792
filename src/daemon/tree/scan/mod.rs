//! The scan: walks a root, down to its sessions and never below, and finds the flags.
//!
//! The scan is authoritative; events are a hint. It takes the kind of each entry from the folder's listing, looks up
//! the flags of a session by name, and lists no session folder, so its cost does not depend on the amount of data in
//! the sessions. It blocks: run it on a blocking thread. Flags inside the folders of a session are searched for
//! separately, in a few sessions at a time: see [`too_deep`](super::too_deep).

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

mod partial_scan;
pub mod problem;
pub mod result;
mod traversal;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::misplaced::advise;
use crate::daemon::tree::root::FolderIdentity;
pub use crate::daemon::tree::scan::partial_scan::PartialScan;
pub use crate::daemon::tree::scan::problem::{LinkRefusal, ScanProblem};
pub use crate::daemon::tree::scan::result::Scan;
pub use crate::daemon::tree::scan::traversal::OnFolder;
use crate::daemon::tree::scan::traversal::{Traversal, Visit};
use crate::daemon::tree::too_deep::TooDeep;

/// How many dates justify another thread.
const DATES_PER_THREAD: usize = 200;

/// Scans one root. Remembers between scans which folders were reached through links, so that each is followed under
/// one name only.
#[derive(Debug)]
pub struct Scanner {
    layout: Layout,
    /// Folders that were reached through a link, and the path of each.
    followed: HashMap<FolderIdentity, PathBuf>,
    too_deep: TooDeep,
}

impl Scanner {
    /// A scanner for one root. Does not touch the disk.
    pub fn new(layout: Layout) -> Self {
        Self { layout, followed: HashMap::new(), too_deep: TooDeep::default() }
    }

    /// The layout that is scanned.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The problem with a flag in a folder of the layout that is not a session, if the flag exists.
    pub fn find_misplaced(&self, flag: &Path) -> Option<ScanProblem> {
        let folder = flag.parent()?;
        let place = self.layout.place(folder)?;
        if !flag.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return None;
        }
        let advice = advise(&self.layout, folder, place);
        Some(ScanProblem::Misplaced { flag: flag.to_owned(), advice })
    }

    /// Scans the whole root. `stop` is polled before each folder.
    pub fn scan(&mut self, on_folder: &mut OnFolder<'_>, stop: &dyn Fn() -> bool) -> Scan {
        self.followed.clear();
        let root = self.layout.root.clone();
        let mut scan = self.scan_below(&root, on_folder, stop);
        scan.problems.extend(self.too_deep.still_there());
        scan
    }

    /// Scans the whole root with several threads, for a caller that waits for the result.
    pub fn scan_parallel(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Scan {
        let mut partial_scan = self.scan_to_dates(&mut |_, _, _| (), stop);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (partial_scan.dates() / DATES_PER_THREAD).clamp(1, processors);
        partial_scan.scan_dates(&self.layout, vec![|_: &Path, _, _| (); threads], stop);
        self.finish(partial_scan, &mut |_, _, _| (), stop)
    }

    /// Searches some of the sessions that a scan found without a flag for flags that are too deep: recent sessions,
    /// and a few others in rotation. What it finds stays among the problems of later scans until the flag is removed.
    pub fn find_too_deep(
        &mut self,
        unflagged: Vec<PathBuf>,
        today: Date,
        stop: &dyn Fn() -> bool,
    ) -> Vec<ScanProblem> {
        self.too_deep.check_sessions(unflagged, today, &self.layout.flags, stop)
    }

    /// Scans one folder of the layout and everything below it. Finds nothing if the folder no longer exists or does
    /// not belong to the layout.
    pub fn scan_below(
        &mut self,
        folder: &Path,
        on_folder: &mut OnFolder<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Scan {
        let mut traversal = Traversal::default();
        self.begin(folder, &mut traversal);
        self.complete(&mut traversal, on_folder, stop);
        traversal.scan
    }

    /// Scans the whole root down to the dates, which several threads can then scan; [`finish`](Self::finish) ends the
    /// scan.
    pub fn scan_to_dates(&mut self, on_folder: &mut OnFolder<'_>, stop: &dyn Fn() -> bool) -> PartialScan {
        self.followed.clear();
        let mut traversal = Traversal { dates: Some(Vec::new()), ..Traversal::default() };
        self.begin(&self.layout.root, &mut traversal);
        traversal.visit_pending(&self.layout, on_folder, stop);
        PartialScan(traversal)
    }

    /// Ends a scan whose dates have been scanned: follows the links.
    pub fn finish(
        &mut self,
        partial_scan: PartialScan,
        on_folder: &mut OnFolder<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Scan {
        let mut traversal = partial_scan.0;
        traversal.folders.extend(traversal.dates.take().unwrap_or_default());
        self.complete(&mut traversal, on_folder, stop);
        traversal.scan.problems.extend(self.too_deep.still_there());
        traversal.scan
    }

    /// Visits everything that is pending, then the links, until nothing is left.
    fn complete(&mut self, traversal: &mut Traversal, on_folder: &mut OnFolder<'_>, stop: &dyn Fn() -> bool) {
        loop {
            traversal.visit_pending(&self.layout, on_folder, stop);
            if traversal.scan.stopped {
                return;
            }
            if let Some(visit) = traversal.through_links.pop() {
                if self.claim(&visit.folder, &mut traversal.scan) {
                    traversal.visit(visit, &self.layout, on_folder);
                }
            } else if let Some((link, place)) = traversal.links.pop_first() {
                self.follow(link, place, traversal);
            } else {
                return;
            }
        }
    }

    fn begin(&self, folder: &Path, traversal: &mut Traversal) {
        let Some(place) = self.layout.place(folder) else { return };
        let is_root = folder == self.layout.root;
        // The root itself may be a link: an operator has configured it.
        let metadata = if is_root { fs::metadata(folder) } else { fs::symlink_metadata(folder) };
        match metadata {
            Ok(metadata) if metadata.is_dir() => traversal.plan(Visit {
                folder: folder.to_owned(),
                place,
                inode: FolderIdentity::of(&metadata).inode,
                through_link: self.followed.values().any(|followed| folder.starts_with(followed)),
            }),
            Ok(metadata) if metadata.is_symlink() => {
                traversal.links.insert(folder.to_owned(), place);
            }
            Ok(_) => {}
            // A missing root is never the same as a root without flags.
            Err(source) if is_root => {
                traversal.scan.problems.push(ScanProblem::Unreadable { folder: folder.to_owned(), source });
            }
            Err(source) => traversal.scan.record_unreadable(folder, source),
        }
    }

    /// Follows a link to a folder, unless its sessions would get a second name.
    fn follow(&mut self, link: PathBuf, place: Place, traversal: &mut Traversal) {
        let target = match fs::canonicalize(&link) {
            Ok(target) => target,
            // A link to itself, or to a link that leads back.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return traversal.scan.refuse(&link, LinkRefusal::Circle(link.clone()));
            }
            Err(source) => {
                if source.kind() == ErrorKind::NotFound && fs::symlink_metadata(&link).is_ok() {
                    traversal.scan.broken_links.push(link.clone());
                }
                return traversal.scan.record_unreadable(&link, source);
            }
        };
        let Ok(metadata) = fs::metadata(&target) else { return };
        if !metadata.is_dir() {
            return;
        }
        let Ok(root) = fs::canonicalize(&self.layout.root) else { return };
        if root.starts_with(&target) {
            return traversal.scan.refuse(&link, LinkRefusal::Circle(target));
        }
        if let Ok(inside) = target.strip_prefix(&root)
            && self.layout.place(&self.layout.root.join(inside)).is_some()
        {
            return traversal.scan.refuse(&link, LinkRefusal::InsideRoot(target));
        }
        let inode = FolderIdentity::of(&metadata).inode;
        traversal.plan(Visit { folder: link, place, inode, through_link: true });
    }

    /// Whether a folder that was reached through a link is visited under this path. The first path keeps the folder,
    /// as long as it leads there.
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
    Scanner::new(layout).scan_parallel(stop)
}
