//! The watcher's handle in the run loop: receives its events, and replaces it by another one.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::daemon::options::Options;
use crate::daemon::watch::{Disks, WatchEvent, resume_watch};
use alyx_registration::DiskSteps;

pub(crate) struct WatcherHandle {
    events: mpsc::UnboundedReceiver<WatchEvent>,
    rescan: mpsc::UnboundedSender<()>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    steps: Arc<DiskSteps>,
}

impl WatcherHandle {
    /// Watches the configured roots until `shutdown`.
    pub(crate) fn start(options: &Options, steps: &Arc<DiskSteps>, shutdown: &CancellationToken) -> Self {
        Self::start_after(None, Vec::new(), options, steps, shutdown)
    }

    /// Replaces the watcher by one with these options. `known`: the flags reported so far.
    pub(crate) fn exchange(&mut self, known: Vec<PathBuf>, options: &Options) {
        self.stop.cancel();
        let earlier = std::mem::replace(&mut self.task, tokio::spawn(std::future::ready(())));
        // Later events of the earlier watcher are void: its channel is dropped.
        *self = Self::start_after(Some(earlier), known, options, &self.steps, &self.shutdown);
    }

    fn start_after(
        earlier: Option<JoinHandle<()>>,
        known: Vec<PathBuf>,
        options: &Options,
        steps: &Arc<DiskSteps>,
        shutdown: &CancellationToken,
    ) -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (rescan, rescans) = mpsc::unbounded_channel();
        let stop = shutdown.child_token();
        let (roots, watch, stopped) = (options.roots.clone(), options.watch.clone(), stop.clone());
        let disks = Disks { steps: Arc::clone(steps), locks: Some(Arc::downgrade(&options.locks)) };
        let task = tokio::spawn(async move {
            // Its watches count towards the kernel's limit.
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
            resume_watch(known, roots, watch, disks, events_in, rescans, stopped).await;
        });
        Self { events, rescan, stop, task, shutdown: shutdown.clone(), steps: Arc::clone(steps) }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }

    /// Scans all roots.
    pub(crate) fn rescan(&self) {
        let _ = self.rescan.send(());
    }

    /// Waits until the watcher has stopped, after shutdown.
    pub(crate) async fn stopped(self) {
        let _ = self.task.await;
    }
}
