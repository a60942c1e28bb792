//! Cached snapshots for the page: however many readers there are, the daemon is asked once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::daemon::status::Status;
use crate::ledger::{Access, HistoryFilter, Ledger, OutcomeRow};
use crate::web::days;
use crate::web::days::Day;
use crate::web::metrics::Moment;
use crate::web::{Options, Sources};

/// Maximum age of the status that is shown.
const STATUS_KEEPS: Duration = Duration::from_secs(1);
/// Maximum age of the outcomes that are shown.
const PAST_KEEPS: Duration = Duration::from_secs(4);
/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Outcomes that are shown.
pub(super) const OUTCOMES: usize = 100;

/// What the page shows.
#[derive(Debug)]
pub(super) struct SnapshotCache {
    pub(super) options: Options,
    sources: Sources,
    present: Mutex<Option<(Instant, Snapshot)>>,
    past: Mutex<Reading>,
}

/// The present state.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// `None`: the service does not answer.
    pub(super) status: Option<Arc<Status>>,
    /// What is wrong with the daemon itself.
    pub(super) fault: Option<String>,
}

/// The recent past.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The last outcomes, the latest first.
    pub(super) last: Vec<OutcomeRow>,
    /// The last days, today last.
    pub(super) days: Vec<Day>,
    /// Why it cannot be read.
    pub(super) trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Reading {
    latest: Option<(Instant, Arc<History>)>,
    /// A disk that hangs makes it slow. There is never more than one, however many ask.
    under_way: Option<JoinHandle<History>>,
}

impl SnapshotCache {
    pub(super) fn new(options: Options, sources: Sources) -> Self {
        Self { options, sources, present: Mutex::default(), past: Mutex::default() }
    }

    /// The present state.
    pub(super) async fn present(&self) -> Snapshot {
        let mut kept = self.present.lock().await;
        if let Some((at, present)) = &*kept
            && at.elapsed() < STATUS_KEEPS
        {
            return present.clone();
        }
        let status = self.sources.asker.status(PATIENCE).await.map(Arc::new);
        let fault = match status.as_ref().and_then(|status| status.daemon.as_ref()) {
            Some(daemon) => daemon.stuck.clone(),
            None => Some("it does not answer".to_owned()),
        };
        let present = Snapshot { status, fault };
        *kept = Some((Instant::now(), present.clone()));
        present
    }

    /// The recent past.
    pub(super) async fn past(&self) -> Arc<History> {
        let mut reading = self.past.lock().await;
        if let Some((at, past)) = &reading.latest
            && at.elapsed() < PAST_KEEPS
        {
            return Arc::clone(past);
        }
        let options = self.options.clone();
        let under_way = reading
            .under_way
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || read(&options, Timestamp::now())));
        match tokio::time::timeout(PATIENCE, under_way).await {
            Ok(past) => {
                let past = Arc::new(past.unwrap_or_default());
                reading.under_way = None;
                reading.latest = Some((Instant::now(), Arc::clone(&past)));
                past
            }
            Err(_) => match &reading.latest {
                Some((_, past)) => Arc::clone(past),
                None => Arc::new(History {
                    trouble: Some("the state folder does not answer; its disk may hang".to_owned()),
                    ..History::default()
                }),
            },
        }
    }

    /// The metrics, with the present state.
    pub(super) async fn metrics(&self) -> String {
        let present = self.present().await;
        self.sources.metrics.text(&Moment {
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
    match Ledger::existing(&options.state_dir, Access::Read) {
        Ok(Some(ledger)) => {
            let last = ledger.history(&HistoryFilter { limit: OUTCOMES, ..HistoryFilter::default() });
            let rows = ledger.registered_since(days::beginning(now, zone));
            History { last, days: days::by_day(&rows, now, zone), trouble: None }
        }
        Ok(None) => History { days: days::by_day(&[], now, zone), ..History::default() },
        Err(trouble) => History { trouble: Some(trouble), ..History::default() },
    }
}
