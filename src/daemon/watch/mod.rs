//! The watcher: tells of every flag that appears below the data roots, from events where the kernel gives them and
//! from scans in any case.
//!
//! Each root has a thread of its own, so a dead network drive does not hold up the others. Everything that is found
//! leaves through one channel as a value; nothing is logged here above `debug`.

mod emitter;
mod inotify_pool;
mod mounts;
pub mod preflight;
mod root_watch;
mod source;
#[cfg(test)]
mod tests;
mod trouble;
mod watch_set;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::daemon::tree::layout::Layout;
use crate::daemon::tree::root::{FolderIdentity, has_marker, is_network};
use crate::daemon::watch::emitter::EventEmitter;
use crate::daemon::watch::root_watch::{Message, RootWatch};
use crate::daemon::watch::source::MakeWatches;
pub use crate::daemon::watch::trouble::{WatchTrouble, suggested_limit, watch_limit};
use alyx_registration::flag::FlagFile;

/// How a root is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// By events, or by polling where the file system lies on another machine.
    #[default]
    Auto,
    /// By events, whatever the file system.
    Native,
    /// By polling.
    Poll,
}

/// One root to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOptions {
    /// The folder. It need not exist yet.
    pub path: PathBuf,
    /// How it is watched.
    pub mode: WatchMode,
    /// The name of a file that is in the root whenever the right disk is mounted there. Without that file the root
    /// counts as missing, so an empty mount point is told from an empty disk.
    pub require_marker: Option<String>,
}

impl RootOptions {
    /// Whether it is watched by events, not by polling.
    pub fn wants_events(&self) -> bool {
        match self.mode {
            WatchMode::Native => true,
            WatchMode::Poll => false,
            WatchMode::Auto => !is_network(&self.path).unwrap_or(true),
        }
    }

    /// The path with which the paths of its flags begin.
    pub(crate) fn whole_path(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// What the root is now; why it cannot be watched, where it is not there as it should be.
    ///
    /// # Errors
    /// [`WatchTrouble`] of a root that is missing, unusable or without its marker.
    pub fn identify(&self) -> Result<FolderIdentity, WatchTrouble> {
        let root = self.path.clone();
        let identity = match FolderIdentity::load(&root) {
            Ok(identity) => identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WatchTrouble::RootMissing { root });
            }
            Err(source) => return Err(WatchTrouble::RootUnusable { root, source }),
        };
        match self.require_marker.as_ref().map(|marker| (marker, has_marker(&root, marker))) {
            None | Some((_, Ok(true))) => Ok(identity),
            Some((marker, Ok(false))) => Err(WatchTrouble::MarkerMissing { root, marker: marker.clone() }),
            Some((_, Err(source))) => Err(WatchTrouble::RootUnusable { root, source }),
        }
    }
}

/// How all roots are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// File names that are flags, such as `create_me.flag`.
    pub flags: Vec<String>,
    /// A flag is found within this time, whatever events were lost.
    pub rescan_interval: Duration,
    /// The time between two scans of what gives no events, and between two looks at whether each root is there and
    /// still the same folder.
    pub poll_interval: Duration,
    /// Levels of folders above the dates that are looked through.
    pub max_depth: u8,
}

/// What the watcher tells. The same flag may be told many times.
#[derive(Debug)]
pub enum WatchEvent {
    /// A flag is there.
    Flag(FlagFile),
    /// A flag that was told before is there no longer: removed, moved, or its root is away.
    Gone(PathBuf),
    /// A root was scanned whole; all its flags have been told before this.
    Scanned(ScanSummary),
    /// Something needs attention, or is worth a line in the log. Each trouble is told once while it lasts.
    Trouble(WatchTrouble),
    /// Everything that keeps flags of a root from being seen or removed now, in words; told whenever it changes.
    Obstacles {
        /// The root.
        root: PathBuf,
        /// The text of each trouble.
        obstacles: Vec<String>,
    },
}

/// One scan of a whole root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSummary {
    /// The root.
    pub root: PathBuf,
    /// Why it was scanned.
    pub reason: ScanReason,
    /// How many flags were found.
    pub flags: usize,
    /// How many session folders there are.
    pub sessions: usize,
    /// How many folders belong to the layout.
    pub folders: usize,
    /// How many of them have a watch. 0 where the root is polled.
    pub watched: usize,
    /// How long it took, with the setting of watches.
    pub took: Duration,
}

/// Why a root was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanReason {
    /// The watcher started.
    Start,
    /// The root was missing and has appeared, or was replaced by another folder.
    NewRoot,
    /// Events were lost.
    EventsLost,
    /// The rescan interval has passed.
    Timer,
    /// The poll interval has passed, and some part of the root gives no events.
    Poll,
    /// Somebody asked for it.
    Command,
}

/// Watches the roots until `shutdown`. Each message on `rescan` scans every root at once.
///
/// Returns when every root's thread has ended, or after a few seconds without those that hang on a dead drive.
pub async fn watch(
    roots: Vec<RootOptions>,
    options: WatchOptions,
    sightings: mpsc::UnboundedSender<WatchEvent>,
    rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    watch_anew(Vec::new(), roots, options, sightings, rescan, shutdown).await;
}

/// As [`watch`], after an earlier watcher that has told these flags: of those, the ones that are gone are told as such.
pub(crate) async fn watch_anew(
    known: Vec<PathBuf>,
    roots: Vec<RootOptions>,
    options: WatchOptions,
    sightings: mpsc::UnboundedSender<WatchEvent>,
    rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    watch_with(Arc::new(source::inotify), known, roots, options, sightings, rescan, shutdown).await;
}

/// How long a root's thread may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(3);

async fn watch_with(
    make: MakeWatches,
    known: Vec<PathBuf>,
    roots: Vec<RootOptions>,
    options: WatchOptions,
    sightings: mpsc::UnboundedSender<WatchEvent>,
    mut rescan: mpsc::UnboundedReceiver<()>,
    shutdown: CancellationToken,
) {
    let threads: Vec<RootThread> = roots
        .into_iter()
        .map(|root| RootThread::spawn(root, &known, &options, &make, sightings.clone(), shutdown.clone()))
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
        make: &MakeWatches,
        sightings: mpsc::UnboundedSender<WatchEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        let (inbox, messages) = std::sync::mpsc::channel();
        let (ending, ended) = oneshot::channel::<()>();
        let layout = Layout {
            // `place` compares paths by their components, which a leading `./` would upset.
            root: root.whole_path(),
            flags: options.flags.clone(),
            max_depth: options.max_depth,
        };
        let path = root.path.clone();
        let trouble = sightings.clone();
        let known: Vec<PathBuf> =
            known.iter().filter(|flag| flag.starts_with(&layout.root)).cloned().collect();
        let watch = RootWatch::new(
            layout,
            root,
            options,
            make.clone(),
            (inbox.clone(), messages),
            EventEmitter::new(sightings, known),
            shutdown,
        );
        let spawned = std::thread::Builder::new().name("root watch".into()).spawn(move || {
            let _ending = ending;
            watch.run();
        });
        if let Err(error) = spawned {
            let no_thread = WatchTrouble::NoThread { root: path.clone(), error };
            let obstacles = vec![no_thread.to_string()];
            let _ = trouble.send(WatchEvent::Trouble(no_thread));
            let _ = trouble.send(WatchEvent::Obstacles { root: path, obstacles });
        }
        Self { inbox, ended }
    }
}
