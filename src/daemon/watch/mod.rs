//! The watcher: reports every flag that appears below the data roots, found by events where the kernel provides them,
//! and always by scans.
//!
//! Each root has its own thread, so a dead network drive does not hold up the others. Everything found leaves through
//! one channel; nothing is logged here above `debug`.

mod emitter;
mod events;
mod inotify_pool;
mod mounts;
mod options;
pub mod preflight;
mod problem;
mod root_watch;
mod source;
#[cfg(test)]
mod tests;
mod watch_set;

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::daemon::tree::layout::Layout;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::watch::emitter::EventEmitter;
pub use crate::daemon::watch::events::{ScanReason, ScanSummary, WatchEvent};
pub use crate::daemon::watch::options::{RootOptions, WatchMode, WatchOptions};
pub use crate::daemon::watch::problem::{WatchProblem, suggested_limit, watch_limit};
use crate::daemon::watch::root_watch::{Message, RootWatch};
use crate::daemon::watch::source::MakeWatches;
use alyx_registration::DiskSteps;

/// Watches the roots until `shutdown`. Each message on `rescan` scans all roots at once.
///
/// Returns when the threads of all roots have ended, or after a few seconds without those that hang on a dead drive.
pub async fn watch(
    roots: Vec<RootOptions>,
    options: WatchOptions,
    events: mpsc::UnboundedSender<WatchEvent>,
    rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    resume_watch(Vec::new(), roots, options, Disks::default(), events, rescan, shutdown).await;
}

/// Like [`watch`], after an earlier watcher that reported the flags `known`. Those that no longer exist are reported
/// as gone.
pub(crate) async fn resume_watch(
    known: Vec<PathBuf>,
    roots: Vec<RootOptions>,
    options: WatchOptions,
    disks: Disks,
    events: mpsc::UnboundedSender<WatchEvent>,
    rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    let make = (Arc::new(source::inotify) as MakeWatches, disks);
    watch_with(make, known, roots, options, events, rescan, shutdown).await;
}

/// What the threads of all roots share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disks {
    /// The calls to the file system that have not returned yet.
    pub(crate) steps: Arc<DiskSteps>,
    /// A root is watched once it is locked. `None`: without a lock.
    pub(crate) locks: Option<Weak<RootLocks>>,
}

/// How long the thread of a root may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(3);

async fn watch_with(
    (make, disks): (MakeWatches, Disks),
    known: Vec<PathBuf>,
    roots: Vec<RootOptions>,
    options: WatchOptions,
    events: mpsc::UnboundedSender<WatchEvent>,
    mut rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    let threads: Vec<RootThread> = roots
        .into_iter()
        .map(|root| {
            let make = (make.clone(), disks.clone());
            RootThread::spawn(root, &known, &options, make, events.clone(), shutdown.clone())
        })
        .collect();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(()) = rescan.recv() => {
                for thread in &threads {
                    let _ = thread.inbox.send(Message::Rescan);
                }
            }
        }
    }
    for thread in &threads {
        let _ = thread.inbox.send(Message::Stop);
    }
    let all_ended = async {
        for thread in threads {
            let _ = thread.ended.await;
        }
    };
    if tokio::time::timeout(STOP_WITHIN, all_ended).await.is_err() {
        tracing::debug!("a root's thread hangs in the file system and is left behind");
    }
}

/// The thread of one root, seen from outside.
struct RootThread {
    inbox: Sender<Message>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl RootThread {
    fn spawn(
        root: RootOptions,
        known: &[PathBuf],
        options: &WatchOptions,
        make: (MakeWatches, Disks),
        events: mpsc::UnboundedSender<WatchEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        let (inbox, messages) = std::sync::mpsc::channel();
        let (end_sender, ended) = oneshot::channel::<()>();
        let layout = Layout {
            // `place` compares paths by component; a leading `./` would break that.
            root: root.absolute_path(),
            flags: options.flags.clone(),
            max_depth: options.max_depth,
        };
        let path = root.path.clone();
        let reports = events.clone();
        let known: Vec<PathBuf> =
            known.iter().filter(|flag| flag.starts_with(&layout.root)).cloned().collect();
        let watch = RootWatch::new(
            layout,
            root,
            options,
            make,
            (inbox.clone(), messages),
            EventEmitter::new(events, known),
            shutdown,
        );
        let spawned = std::thread::Builder::new().name("root watch".into()).spawn(move || {
            let _end_sender = end_sender;
            watch.run();
        });
        if let Err(error) = spawned {
            let no_thread = WatchProblem::NoThread { root: path.clone(), error };
            let obstacles = vec![no_thread.to_string()];
            let _ = reports.send(WatchEvent::Problem(no_thread));
            let _ = reports.send(WatchEvent::Obstacles { root: path, obstacles });
        }
        Self { inbox, ended }
    }
}
