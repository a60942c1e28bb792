//! Sources of events: add watches to single folders and report what happens in them. The real source is inotify.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How long to wait for a source to close; it removes its watches one by one.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// Adds and removes watches on single folders.
pub(crate) trait Watches: Send {
    /// Adds a watch, or renews it.
    fn add(&mut self, folder: &Path) -> Result<(), WatchError>;
    /// Removes the watch that was added under this path, if there is one.
    fn remove(&mut self, folder: &Path);
}

/// Receives events. Called from another thread; must not block.
pub(crate) type EventSink = Box<dyn Fn(notify::Result<notify::Event>) + Send>;

/// Opens a source of events. Dropping the source removes all its watches.
pub(crate) type MakeWatches = Arc<dyn Fn(EventSink) -> notify::Result<Box<dyn Watches>> + Send + Sync>;

/// Why a folder got no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchError {
    /// The kernel's limit is reached.
    Limit,
    /// The folder no longer exists or is unreadable. The listing that follows shows which.
    Folder,
    /// The source of events has ended.
    Ended,
}

/// Watches with inotify, never recursively: a recursive watch would include the raw data, and would miss flags created
/// right after their folders.
pub(crate) fn inotify(sink: EventSink) -> notify::Result<Box<dyn Watches>> {
    let (alive, ended) = channel();
    let watcher = notify::recommended_watcher(Handler { sink, _alive: alive })?;
    Ok(Box::new(Inotify { watcher: Some(watcher), ended }))
}

/// Runs in notify's thread and only forwards events: adding a watch from this thread would deadlock.
struct Handler {
    sink: EventSink,
    /// Dropped with the thread.
    _alive: Sender<()>,
}

impl notify::EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        (self.sink)(event);
    }
}

struct Inotify {
    /// `None` only during drop.
    watcher: Option<RecommendedWatcher>,
    ended: Receiver<()>,
}

impl Watches for Inotify {
    fn add(&mut self, folder: &Path) -> Result<(), WatchError> {
        let Some(watcher) = &mut self.watcher else { return Err(WatchError::Ended) };
        // notify panics in the caller if its own thread has ended.
        let added = catch_unwind(AssertUnwindSafe(|| watcher.watch(folder, RecursiveMode::NonRecursive)));
        match added {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                Err(WatchError::Limit)
            }
            Ok(Err(_)) => Err(WatchError::Folder),
            Err(_) => Err(WatchError::Ended),
        }
    }

    fn remove(&mut self, folder: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // An unknown path, or an ended thread: there is nothing to remove.
            let _ = catch_unwind(AssertUnwindSafe(|| watcher.unwatch(folder)));
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watcher = self.watcher.take();
        // notify panics here, too, if its own thread has ended.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
        // The watches count towards the kernel's limit until the thread has closed the descriptor.
        let _ = self.ended.recv_timeout(CLOSES_WITHIN);
    }
}
