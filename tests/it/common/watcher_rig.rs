//! The environment for tests of the watcher: real folders, a running watcher, and waiting for its events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_registrar::daemon::tree::layout::DEFAULT_MAX_DEPTH;
use alyx_registrar::daemon::watch::{
    RootOptions, ScanReason, ScanSummary, WatchEvent, WatchMode, WatchOptions, WatchProblem, watch,
};
use alyx_registration::flag::FlagFile;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Only ends a test that would hang.
pub const TOO_LONG: Duration = Duration::from_secs(30);
/// Longer than any test: what is found sooner was found by an event.
pub const NEVER: Duration = Duration::from_secs(3600);
/// For tests of what polling finds.
pub const OFTEN: Duration = Duration::from_millis(20);

/// Folders that are removed with the test.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        Self { folder }
    }
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
    /// Below the root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }
    /// On the same disk, outside the root.
    pub fn outside(&self, below: &str) -> PathBuf {
        self.folder.path().join("outside").join(below)
    }
    /// Flags a session below the root.
    pub fn flag(&self, session: &str) -> PathBuf {
        flag(&self.path(session))
    }
}

/// Creates a session folder and its flag, with nothing in between.
pub fn flag(session: &Path) -> PathBuf {
    let flag = session.join("create_me.flag");
    fs::create_dir_all(session).unwrap();
    fs::write(&flag, "").unwrap();
    flag
}

/// A watcher that runs until it is dropped.
pub struct Watching {
    events: mpsc::UnboundedReceiver<WatchEvent>,
    pub rescan: mpsc::UnboundedSender<()>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _drop: DropGuard,
}

pub fn root_options(path: PathBuf) -> RootOptions {
    RootOptions { path, mode: WatchMode::Native, require_marker: None }
}

pub fn options(rescan_interval: Duration, poll_interval: Duration) -> WatchOptions {
    WatchOptions {
        flags: vec!["create_me.flag".into()],
        rescan_interval,
        poll_interval,
        max_depth: DEFAULT_MAX_DEPTH,
    }
}

impl Watching {
    pub fn begin(root: RootOptions, options: WatchOptions) -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (rescan, commands) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(watch(vec![root], options, events_in, commands, shutdown.clone()));
        let _drop = shutdown.clone().drop_guard();
        Self { events, rescan, shutdown, task, _drop }
    }

    /// A watcher that has finished its first scan, and finds further changes by events alone.
    pub async fn by_events(disk: &Disk) -> Self {
        let mut watching = Self::begin(root_options(disk.root()), options(NEVER, NEVER));
        watching.scanned(ScanReason::Start).await;
        watching
    }

    pub async fn next(&mut self) -> WatchEvent {
        let event = tokio::time::timeout(TOO_LONG, self.events.recv()).await;
        event.expect("the watcher reports nothing").expect("the watcher has ended")
    }

    /// Waits until a flag is reported.
    pub async fn flag(&mut self, path: &Path) -> FlagFile {
        loop {
            if let WatchEvent::Flag(flag) = self.next().await
                && flag.path == path
            {
                return flag;
            }
        }
    }

    /// Waits until a flag is reported, and a scan: a disk that was just mounted may be scanned before the flag is on it.
    pub async fn flag_and_scan(&mut self, path: &Path, reason: ScanReason) {
        let (mut found, mut scanned) = (false, false);
        while !(found && scanned) {
            match self.next().await {
                WatchEvent::Flag(flag) => found |= flag.path == path,
                WatchEvent::Scanned(summary) => scanned |= summary.reason == reason,
                _ => {}
            }
        }
    }

    /// Waits until a flag is reported in its current state.
    pub async fn flag_as_it_is(&mut self, path: &Path) {
        let now = FlagFile::load(path).unwrap().unwrap();
        while self.flag(path).await != now {}
    }

    pub async fn gone(&mut self, path: &Path) {
        while !matches!(self.next().await, WatchEvent::Gone(gone) if gone == path) {}
    }

    pub async fn scanned(&mut self, reason: ScanReason) -> ScanSummary {
        loop {
            if let WatchEvent::Scanned(summary) = self.next().await
                && summary.reason == reason
            {
                return summary;
            }
        }
    }

    pub async fn problem(&mut self) -> WatchProblem {
        loop {
            if let WatchEvent::Problem(problem) = self.next().await {
                return problem;
            }
        }
    }

    /// Stops the watcher and its threads; returns the events that were not read.
    pub async fn end(mut self) -> Vec<WatchEvent> {
        self.shutdown.cancel();
        tokio::time::timeout(TOO_LONG, self.task).await.expect("the watcher does not end").unwrap();
        let mut rest = Vec::new();
        // `None` arrives when the last thread has dropped its sender.
        while let Some(event) =
            tokio::time::timeout(TOO_LONG, self.events.recv()).await.expect("a thread hangs")
        {
            rest.push(event);
        }
        rest
    }
}
