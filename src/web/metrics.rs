//! Metrics: counters and gauges, in Prometheus' text format.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::daemon::Report;
use crate::daemon::queue::Outcome;
use crate::daemon::run_loop::worker::AttemptResult;
use crate::daemon::status::{DaemonStatus, SessionState, SessionStatus, Status};
use alyx_client::{Exchange, Observer};
use alyx_registration::LATE_FILES;

/// Buckets for the duration of a request, in seconds.
const REQUEST_SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets for the duration of an attempt, in seconds: from a few files to a night of video.
const ATTEMPT_SECONDS: [f64; 11] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4.0 * 3600.0, 12.0 * 3600.0];
/// Buckets for the size of a session, in bytes.
const SESSION_BYTES: [f64; 8] = [1e6, 1e7, 1e8, 1e9, 1e10, 5e10, 1e11, 1e12];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Label,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: Label,
}

/// A label with few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label(&'static str);

impl EncodeLabelValue for Label {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    endpoint: String,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    method: String,
    endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// All metrics since the start.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    attempts: Family<OutcomeLabels, Counter>,
    attempt_seconds: Family<OutcomeLabels, Histogram>,
    datasets: Counter,
    registered_bytes: Counter,
    session_bytes: Histogram,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<EndpointLabels, Histogram>,
    gauges: Gauges,
    /// Held while the gauges are set and encoded.
    encoding: Mutex<()>,
}

/// Values that are set on each scrape.
#[derive(Debug, Default)]
struct Gauges {
    hashed_bytes: Counter,
    read_rate_limit: Gauge,
    yielding: Counter,
    queue: Family<StateLabels, Gauge>,
    oldest: Gauge<f64, AtomicU64>,
    stale: Gauge,
    gaps: Gauge,
    late_files: Gauge,
    created_twice: Gauge,
    not_loadable: Gauge,
    verified_bytes: Counter,
    verify_differing: Gauge,
    verify_oldest: Gauge<f64, AtomicU64>,
    obstacles: Gauge,
    away: Gauge,
    away_seconds: Gauge<f64, AtomicU64>,
    login_refused: Gauge,
    healthy: Gauge,
}

/// The input of a scrape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scrape<'a> {
    pub(super) status: Option<&'a Status>,
    pub(super) bytes_read: u64,
    pub(super) healthy: bool,
    pub(super) now: Timestamp,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Timestamp::now())
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new(started: Timestamp) -> Self {
        let mut registry = Registry::with_prefix("alyx_registrar");
        let request_histogram: fn() -> Histogram = || Histogram::new(REQUEST_SECONDS);
        let attempt_histogram: fn() -> Histogram = || Histogram::new(ATTEMPT_SECONDS);
        let attempts = Family::<OutcomeLabels, Counter>::default();
        // Outcomes that have not happened are exported as 0, so that the first one is visible as a rise.
        for outcome in ["registered", "gaps", "retry", "needs_attention", "put_off"] {
            drop(attempts.get_or_create(&OutcomeLabels { outcome: Label(outcome) }));
        }
        let attempt_seconds = Family::new_with_constructor(attempt_histogram);
        let (datasets, registered_bytes) = (Counter::default(), Counter::default());
        let session_bytes = Histogram::new(SESSION_BYTES);
        let requests = Family::<RequestLabels, Counter>::default();
        let request_seconds = Family::new_with_constructor(request_histogram);
        let gauges = Gauges::default();
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(started.as_millisecond() as f64 / 1000.0);
        let build = Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") });

        registry.register("attempts", "Runs of sessions, by how they ended", attempts.clone());
        registry.register(
            "attempt_duration_seconds",
            "How long runs of sessions took",
            attempt_seconds.clone(),
        );
        registry.register("registered_datasets", "Datasets that Alyx has confirmed", datasets.clone());
        registry.register(
            "registered_bytes",
            "Size of the datasets that Alyx has confirmed",
            registered_bytes.clone(),
        );
        registry.register(
            "session_bytes",
            "Size of the sessions that were registered",
            session_bytes.clone(),
        );
        registry.register(
            "hashed_bytes",
            "Bytes that were read for their checksum",
            gauges.hashed_bytes.clone(),
        );
        registry.register(
            "read_rate_limit_bytes",
            "The most bytes of files to read each second now; 0 without a limit",
            gauges.read_rate_limit.clone(),
        );
        registry.register(
            "yielding_seconds",
            "For how long files were read more slowly because other programs waited",
            gauges.yielding.clone(),
        );
        registry.register("requests", "Requests to Alyx; status none: there was no answer", requests.clone());
        registry.register(
            "request_duration_seconds",
            "How long Alyx took to answer",
            request_seconds.clone(),
        );
        registry.register("queue_sessions", "Flagged sessions, by what they are doing", gauges.queue.clone());
        registry.register(
            "oldest_flag_age_seconds",
            "Age of the oldest flag; 0 if there is none",
            gauges.oldest.clone(),
        );
        registry.register(
            "obstacles",
            "Problems on disk that keep flags from being found or removed",
            gauges.obstacles.clone(),
        );
        registry.register("old_flags", "Flags older than watch.warn_after", gauges.stale.clone());
        registry.register(
            "gaps",
            "Sessions registered with gaps that are not acknowledged",
            gauges.gaps.clone(),
        );
        registry.register(
            "late_files",
            "Of these, sessions with files that came after the registration",
            gauges.late_files.clone(),
        );
        registry.register(
            "created_twice",
            "Sessions that another program created at the same time, and that are not acknowledged",
            gauges.created_twice.clone(),
        );
        registry.register(
            "not_loadable",
            "Reasons why ONE does not load what is registered, other than that it is copied later",
            gauges.not_loadable.clone(),
        );
        registry.register(
            "verified_bytes",
            "Bytes of registered files read again and compared with Alyx, see verify",
            gauges.verified_bytes.clone(),
        );
        registry.register(
            "verify_differing",
            "Verified files that are not what Alyx holds",
            gauges.verify_differing.clone(),
        );
        registry.register(
            "verify_oldest_seconds",
            "How long ago the file was read that was verified longest ago",
            gauges.verify_oldest.clone(),
        );
        registry.register("alyx_away", "1: Alyx does not answer", gauges.away.clone());
        registry.register(
            "alyx_away_seconds",
            "For how long Alyx has not answered",
            gauges.away_seconds.clone(),
        );
        registry.register("login_refused", "1: Alyx refuses the login", gauges.login_refused.clone());
        registry.register("healthy", "0: the daemon is stuck, as /healthz says", gauges.healthy.clone());
        registry.register("start_time_seconds", "When the daemon started, in seconds since 1970", start);
        registry.register("build", "The version that runs", build);
        Self {
            registry,
            attempts,
            attempt_seconds,
            datasets,
            registered_bytes,
            session_bytes,
            requests,
            request_seconds,
            gauges,
            encoding: Mutex::default(),
        }
    }

    /// Counts the daemon's reports until the channel closes.
    pub async fn count(self: Arc<Self>, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            self.count_report(&report);
        }
    }

    fn count_report(&self, report: &Report) {
        let Report::Attempt { attempt, outcome, gap, .. } = report else { return };
        let outcome = match (&attempt.result, outcome) {
            (AttemptResult::Registered(_), _) if gap.is_some() => "gaps",
            (AttemptResult::Registered(_), _) => "registered",
            (_, Outcome::Retry { .. }) => "retry",
            (_, Outcome::NeedsAttention { .. }) => "needs_attention",
            // Nothing was tried, or the files were still changing.
            (_, Outcome::PutOff { .. } | Outcome::RunAgain { .. }) => "put_off",
            (_, Outcome::Gone | Outcome::Done) => return,
        };
        let labels = OutcomeLabels { outcome: Label(outcome) };
        self.attempts.get_or_create(&labels).inc();
        self.attempt_seconds.get_or_create(&labels).observe(attempt.took.as_secs_f64());
        if let AttemptResult::Registered(registered) = &attempt.result {
            self.datasets.inc_by(registered.n_files as u64);
            self.registered_bytes.inc_by(registered.bytes);
            self.session_bytes.observe(registered.bytes as f64);
        }
    }

    /// All metrics in Prometheus' text format.
    pub(super) fn text(&self, scrape: &Scrape<'_>) -> String {
        let _one_at_a_time = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.set(scrape);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Gauges {
    fn set(&self, scrape: &Scrape<'_>) {
        let new = scrape.bytes_read.saturating_sub(self.hashed_bytes.get());
        self.hashed_bytes.inc_by(new);
        self.healthy.set(scrape.healthy.into());
        // Without an answer the values stay as they were, and `healthy` is 0.
        let Some(status) = scrape.status else { return };
        let seconds = |since| scrape.now.duration_since(since).as_secs_f64().max(0.0);
        for state in [
            SessionState::NeedsAttention,
            SessionState::Running,
            SessionState::Retrying,
            SessionState::Waiting,
        ] {
            let count = status.sessions.iter().filter(|session| session.state == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.queue.get_or_create(&StateLabels { state: Label(label(state)) }).set(count);
        }
        let oldest = status.sessions.iter().map(SessionStatus::known_at).min();
        let stale = status.sessions.iter().filter(|session| session.stale).count();
        self.obstacles.set(i64::try_from(status.obstacles.len()).unwrap_or(i64::MAX));
        self.gaps.set(i64::try_from(status.gaps.len()).unwrap_or(i64::MAX));
        let late = status.gaps.iter().filter(|gap| gap.kind == LATE_FILES).count();
        self.late_files.set(i64::try_from(late).unwrap_or(i64::MAX));
        self.created_twice.set(i64::try_from(status.created_twice.len()).unwrap_or(i64::MAX));
        let not_loadable = status.not_loadable.iter().filter(|reason| !reason.is_intended()).count();
        self.not_loadable.set(i64::try_from(not_loadable).unwrap_or(i64::MAX));
        let verification = status.verification.unwrap_or_default();
        self.verified_bytes.inc_by(verification.bytes.saturating_sub(self.verified_bytes.get()));
        self.verify_differing.set(i64::try_from(verification.differing).unwrap_or(i64::MAX));
        self.verify_oldest.set(verification.oldest.map_or(0.0, seconds));
        self.stale.set(i64::try_from(stale).unwrap_or(i64::MAX));
        self.oldest.set(oldest.map_or(0.0, seconds));
        let daemon = status.daemon.as_ref();
        let limit = daemon.and_then(DaemonStatus::read_rate_limit).unwrap_or_default();
        self.read_rate_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        let yielded = daemon.map_or(0, |daemon| daemon.yielded);
        self.yielding.inc_by(yielded.saturating_sub(self.yielding.get()));
        let away = daemon.and_then(|daemon| daemon.away_since);
        self.away.set(away.is_some().into());
        self.away_seconds.set(away.map_or(0.0, seconds));
        self.login_refused.set(daemon.is_some_and(|daemon| daemon.login_refused_since.is_some()).into());
    }
}

fn label(state: SessionState) -> &'static str {
    match state {
        SessionState::NeedsAttention => "needs_attention",
        SessionState::Running => "running",
        SessionState::Retrying => "retrying",
        SessionState::Waiting => "waiting",
    }
}

impl Observer for Metrics {
    fn exchanged(&self, exchange: &Exchange<'_>) {
        let (method, endpoint) = (exchange.method.to_owned(), exchange.endpoint.to_owned());
        let status = exchange.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let labels = EndpointLabels { method: method.clone(), endpoint: endpoint.clone() };
        self.request_seconds.get_or_create(&labels).observe(exchange.took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { method, endpoint, status }).inc();
    }
}
