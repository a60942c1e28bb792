//! A partial scan: a scan of a whole root down to the dates. From there several threads share the work: most folders
//! are dates and sessions, which are independent of each other.

use std::path::Path;
use std::sync::Mutex;

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::scan::traversal::{Traversal, Visit};

/// Dates per batch: few enough that all threads end at about the same time.
const DATES_PER_BATCH: usize = 8;

/// A scan between [`Scanner::scan_to_dates`](super::Scanner::scan_to_dates) and
/// [`Scanner::finish`](super::Scanner::finish).
#[derive(Debug)]
pub struct PartialScan(pub(crate) Traversal);

impl PartialScan {
    /// How many dates remain to be scanned.
    pub fn dates(&self) -> usize {
        self.0.dates.as_ref().map_or(0, Vec::len)
    }

    /// Scans all dates, with one thread per callback in `on_folder`; each is called with the folders that its thread
    /// visits. The first runs on the caller's thread.
    pub fn scan_dates<E>(&mut self, layout: &Layout, on_folder: Vec<E>, stop: &(dyn Fn() -> bool + Sync))
    where
        E: FnMut(&Path, Place, u64) + Send,
    {
        let dates = Mutex::new(self.0.dates.take().unwrap_or_default().into_iter());
        let take = || -> Vec<Visit> {
            // No code panics while holding the lock.
            let mut dates = dates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            dates.by_ref().take(DATES_PER_BATCH).collect()
        };
        let scan_batches = |mut on_folder: E| {
            let mut traversal = Traversal::default();
            loop {
                traversal.folders = take();
                if traversal.folders.is_empty() || traversal.scan.stopped {
                    return traversal;
                }
                traversal.visit_pending(layout, &mut on_folder, stop);
            }
        };
        let mut on_folder = on_folder.into_iter();
        let own = on_folder.next();
        let traversals: Vec<Traversal> = std::thread::scope(|scope| {
            let scan_batches = &scan_batches;
            // If a thread cannot be started, the others do its work.
            let threads: Vec<_> = on_folder
                .filter_map(|on_folder| {
                    let thread = std::thread::Builder::new().name("root scan".into());
                    thread.spawn_scoped(scope, move || scan_batches(on_folder)).ok()
                })
                .collect();
            let own = own.map(scan_batches);
            let joined = threads.into_iter().map(|thread| thread.join());
            own.into_iter()
                .chain(joined.map(|traversal| traversal.unwrap_or_else(|e| std::panic::resume_unwind(e))))
                .collect()
        });
        for traversal in traversals {
            self.0.scan.join(traversal.scan);
            self.0.links.extend(traversal.links);
        }
    }
}
