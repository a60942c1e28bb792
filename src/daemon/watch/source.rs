//! A source of events: what sets watches on single folders and tells what happens in them. The real one is inotify.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How long is waited for a source to close. It has to give back its watches one by one.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// Sets watches on single folders.
pub(crate) trait Watches: Send {
    /// Adds a watch, or renews it.
    fn add(&mut self, folder: &Path) -> Result<(), WatchError>;
    /// Ends the watch that was added under this path. Without effect where there is none any more.
    fn remove(&mut self, folder: &Path);
}

/// Takes what the source of events has to say. It may be called from another thread, and must not block.
pub(crate) type EventSink = Box<dyn Fn(notify::Result<notify::Event>) + Send>;

/// Opens a source of events. Dropping what it returns ends all its watches.
pub(crate) type MakeWatches = Arc<dyn Fn(EventSink) -> notify::Result<Box<dyn Watches>> + Send + Sync>;

/// Why a folder got no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchError {
    /// The kernel's limit is reached.
    Limit,
    /// The folder is gone or may not be read. The listing that follows tells which.
    Folder,
    /// The source of events has ended.
    Ended,
}

/// Watches by inotify. Never recursive: that would watch the raw data, and it loses flags that are made right after
/// their folders.
pub(crate) fn inotify(sink: EventSink) -> notify::Result<Box<dyn Watches>> {
    let (alive, ended) = channel();
    let watcher = notify::recommended_watcher(Handler { sink, _alive: alive })?;
    Ok(Box::new(Inotify { watcher: Some(watcher), ended }))
}

/// Lives in notify's thread. It only hands over: setting a watch from inside it would lock up.
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
    /// `None` only while it is dropped.
    watcher: Option<RecommendedWatcher>,
    ended: Receiver<()>,
}

impl Watches for Inotify {
    fn add(&mut self, folder: &Path) -> Result<(), WatchError> {
        let Some(watcher) = &mut self.watcher else { return Err(WatchError::Ended) };
        // notify panics in its caller when its own thread has ended.
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
            // Not there any more, or the thread has ended: then there is nothing to remove.
            let _ = catch_unwind(AssertUnwindSafe(|| watcher.unwatch(folder)));
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watcher = self.watcher.take();
        // notify panics here too when its own thread has ended.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
        // Until its thread has closed it, its watches count towards the kernel's limit.
        let _ = self.ended.recv_timeout(CLOSES_WITHIN);
    }
}
