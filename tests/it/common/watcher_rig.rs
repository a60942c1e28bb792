//! A world for tests of the watcher: real folders, a running watcher, and waiting for what it tells.

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
/// For tests of what is found by looking again.
pub const OFTEN: Duration = Duration::from_millis(20);

/// Folders that go away with the test.
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

/// Makes a session folder and flags it, with nothing in between.
pub fn flag(session: &Path) -> PathBuf {
    let flag = session.join("create_me.flag");
    fs::create_dir_all(session).unwrap();
    fs::write(&flag, "").unwrap();
    flag
}

/// A watcher that runs until it is dropped.
pub struct Watching {
    sightings: mpsc::UnboundedReceiver<WatchEvent>,
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
        let (told, sightings) = mpsc::unbounded_channel();
        let (rescan, commands) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(watch(vec![root], options, told, commands, shutdown.clone()));
        let _drop = shutdown.clone().drop_guard();
        Self { sightings, rescan, shutdown, task, _drop }
    }

    /// A watcher of a disk that has ended its first scan, and finds things by events alone.
    pub async fn by_events(disk: &Disk) -> Self {
        let mut watching = Self::begin(root_options(disk.root()), options(NEVER, NEVER));
        watching.scanned(ScanReason::Start).await;
        watching
    }

    pub async fn next(&mut self) -> WatchEvent {
        let told = tokio::time::timeout(TOO_LONG, self.sightings.recv()).await;
        told.expect("the watcher tells nothing").expect("the watcher has ended")
    }

    /// Waits for the sighting of a flag.
    pub async fn flag(&mut self, path: &Path) -> FlagFile {
        loop {
            if let WatchEvent::Flag(flag) = self.next().await
                && flag.path == path
            {
                return flag;
            }
        }
    }

    /// Waits for the sighting of a flag in the state in which it is now.
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

    pub async fn trouble(&mut self) -> WatchProblem {
        loop {
            if let WatchEvent::Problem(trouble) = self.next().await {
                return trouble;
            }
        }
    }

    /// Ends the watcher and waits until its threads have ended too; returns what it told and nobody has read.
    pub async fn end(mut self) -> Vec<WatchEvent> {
        self.shutdown.cancel();
        tokio::time::timeout(TOO_LONG, self.task).await.expect("the watcher does not end").unwrap();
        let mut rest = Vec::new();
        // `None` comes when the last thread has dropped its end of the channel.
        while let Some(told) =
            tokio::time::timeout(TOO_LONG, self.sightings.recv()).await.expect("a thread hangs")
        {
            rest.push(told);
        }
        rest
    }
}
