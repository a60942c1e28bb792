//! The watcher at work, seen from the service: what it tells, and how it is exchanged for another one.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::daemon::options::Options;
use crate::daemon::watch::{WatchEvent, watch_anew};

pub(crate) struct WatcherHandle {
    events: mpsc::UnboundedReceiver<WatchEvent>,
    rescan: mpsc::UnboundedSender<()>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl WatcherHandle {
    /// Watches what the options say until `shutdown`.
    pub(crate) fn start(options: &Options, shutdown: &CancellationToken) -> Self {
        Self::start_after(None, Vec::new(), options, shutdown)
    }

    /// Watches what the options say in place of what was watched so far. `known`: the flags that were told.
    pub(crate) fn exchange(&mut self, known: Vec<PathBuf>, options: &Options) {
        self.stop.cancel();
        let earlier = std::mem::replace(&mut self.task, tokio::spawn(std::future::ready(())));
        // What the earlier one still says comes too late: its channel goes with it.
        *self = Self::start_after(Some(earlier), known, options, &self.shutdown);
    }

    fn start_after(
        earlier: Option<JoinHandle<()>>,
        known: Vec<PathBuf>,
        options: &Options,
        shutdown: &CancellationToken,
    ) -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (rescan, rescans) = mpsc::unbounded_channel();
        let stop = shutdown.child_token();
        let (roots, watch, stopped) = (options.roots.clone(), options.watch.clone(), stop.clone());
        let task = tokio::spawn(async move {
            // Its watches count towards the kernel's limit.
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
            watch_anew(known, roots, watch, events_in, rescans, stopped).await;
        });
        Self { events, rescan, stop, task, shutdown: shutdown.clone() }
    }

    /// What it tells next.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }

    /// Scans all roots.
    pub(crate) fn rescan(&self) {
        let _ = self.rescan.send(());
    }

    /// Waits for its end, after the shutdown.
    pub(crate) async fn stopped(self) {
        let _ = self.task.await;
    }
}
