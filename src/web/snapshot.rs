//! Cached snapshots for the page: the daemon is queried once, regardless of the number of readers.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::daemon::status::Status;
use crate::ledger::{Access, HistoryFilter, Ledger, OutcomeRow};
use crate::web::days;
use crate::web::days::Day;
use crate::web::metrics::Scrape;
use crate::web::{Options, Sources};

/// Maximum age of the status.
const STATUS_MAX_AGE: Duration = Duration::from_secs(1);
/// Maximum age of the history.
const HISTORY_MAX_AGE: Duration = Duration::from_secs(4);
/// How long the daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The number of outcomes shown.
pub(super) const MAX_OUTCOMES: usize = 100;

/// The cached data of the page.
#[derive(Debug)]
pub(super) struct SnapshotCache {
    pub(super) options: Options,
    sources: Sources,
    present: Mutex<Option<(Instant, Snapshot)>>,
    history: Mutex<CachedHistory>,
}

/// The present state.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// `None`: the daemon does not answer.
    pub(super) status: Option<Arc<Status>>,
    /// The problem of the daemon itself.
    pub(super) fault: Option<String>,
}

/// The recent history.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The last outcomes, the latest first.
    pub(super) last: Vec<OutcomeRow>,
    /// The last days, today last.
    pub(super) days: Vec<Day>,
    /// Why the ledger cannot be read.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Default)]
struct CachedHistory {
    latest: Option<(Instant, Arc<History>)>,
    /// A read of the ledger, which a hanging disk may delay. There is at most one, regardless of the number of
    /// readers.
    running: Option<JoinHandle<History>>,
}

impl SnapshotCache {
    pub(super) fn new(options: Options, sources: Sources) -> Self {
        Self { options, sources, present: Mutex::default(), history: Mutex::default() }
    }

    /// The current state.
    pub(super) async fn present(&self) -> Snapshot {
        let mut kept = self.present.lock().await;
        if let Some((at, present)) = &*kept
            && at.elapsed() < STATUS_MAX_AGE
        {
            return present.clone();
        }
        let status = self.sources.status_client.status(TIMEOUT).await.map(Arc::new);
        let fault = match status.as_ref().and_then(|status| status.daemon.as_ref()) {
            Some(daemon) => daemon.stuck.clone(),
            None => Some("it does not answer".to_owned()),
        };
        let present = Snapshot { status, fault };
        *kept = Some((Instant::now(), present.clone()));
        present
    }

    /// The recent history.
    pub(super) async fn history(&self) -> Arc<History> {
        let mut cached = self.history.lock().await;
        if let Some((at, history)) = &cached.latest
            && at.elapsed() < HISTORY_MAX_AGE
        {
            return Arc::clone(history);
        }
        let options = self.options.clone();
        let running = cached
            .running
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || read(&options, Timestamp::now())));
        match tokio::time::timeout(TIMEOUT, running).await {
            Ok(history) => {
                let history = Arc::new(history.unwrap_or_default());
                cached.running = None;
                cached.latest = Some((Instant::now(), Arc::clone(&history)));
                history
            }
            Err(_) => match &cached.latest {
                Some((_, history)) => Arc::clone(history),
                None => Arc::new(History {
                    problem: Some("the state folder does not answer; its disk may hang".to_owned()),
                    ..History::default()
                }),
            },
        }
    }

    /// The metrics, with the current state.
    pub(super) async fn metrics(&self) -> String {
        let present = self.present().await;
        self.sources.metrics.text(&Scrape {
            status: present.status.as_deref(),
            bytes_read: self.sources.client.bytes_read(),
            healthy: present.fault.is_none(),
            now: Timestamp::now(),
        })
    }
}

/// Reads the ledger. Blocks.
fn read(options: &Options, now: Timestamp) -> History {
    let zone = &options.zone;
    match Ledger::open_existing(&options.state_dir, Access::Read) {
        Ok(Some(ledger)) => {
            let last = ledger.history(&HistoryFilter { limit: MAX_OUTCOMES, ..HistoryFilter::default() });
            let rows = ledger.registered_since(days::beginning(now, zone));
            History { last, days: days::by_day(&rows, now, zone), problem: None }
        }
        Ok(None) => History { days: days::by_day(&[], now, zone), ..History::default() },
        Err(problem) => History { problem: Some(problem), ..History::default() },
    }
}
