//! A scan of a whole root that has come to the dates. From here on many can share the work: most folders are dates
//! and sessions, and none of them is in another's way.

use std::path::Path;
use std::sync::Mutex;

use crate::daemon::tree::layout::{Layout, Place};
use crate::daemon::tree::scan::traversal::{Traversal, Visit};

/// So many dates are taken at a time: few enough that all end together.
const DATES_AT_A_TIME: usize = 8;

/// A scan between [`Scanner::scan_to_dates`](super::Scanner::scan_to_dates) and
/// [`Scanner::finish`](super::Scanner::finish).
#[derive(Debug)]
pub struct AtDates(pub(crate) Traversal);

impl AtDates {
    /// How many dates are to be looked through.
    pub fn dates(&self) -> usize {
        self.0.dates.as_ref().map_or(0, Vec::len)
    }

    /// Looks through all dates, with a thread for each of `entering`, which are told of the folders that their thread
    /// looks into. The first one works on the thread of the caller.
    pub fn look_through<E>(&mut self, layout: &Layout, entering: Vec<E>, stop: &(dyn Fn() -> bool + Sync))
    where
        E: FnMut(&Path, Place, u64) + Send,
    {
        let dates = Mutex::new(self.0.dates.take().unwrap_or_default().into_iter());
        let take = || -> Vec<Visit> {
            // Nobody panics while holding it.
            let mut dates = dates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            dates.by_ref().take(DATES_AT_A_TIME).collect()
        };
        let look = |mut entering: E| {
            let mut walk = Traversal::default();
            loop {
                walk.folders = take();
                if walk.folders.is_empty() || walk.scan.stopped {
                    return walk;
                }
                walk.go_down(layout, &mut entering, stop);
            }
        };
        let mut entering = entering.into_iter();
        let own = entering.next();
        let walks: Vec<Traversal> = std::thread::scope(|scope| {
            let look = &look;
            // Where the system gives no thread, the others do its work.
            let threads: Vec<_> = entering
                .filter_map(|entering| {
                    let thread = std::thread::Builder::new().name("root walk".into());
                    thread.spawn_scoped(scope, move || look(entering)).ok()
                })
                .collect();
            let own = own.map(look);
            let joined = threads.into_iter().map(|thread| thread.join());
            own.into_iter()
                .chain(joined.map(|walk| walk.unwrap_or_else(|e| std::panic::resume_unwind(e))))
                .collect()
        });
        for walk in walks {
            self.0.scan.join(walk.scan);
            self.0.links.extend(walk.links);
        }
    }
}
