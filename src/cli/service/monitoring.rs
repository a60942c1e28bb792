//! Monitoring: the status page and the alerts. The daemon does not depend on either.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alerts;
use crate::alerts::MessageFormat;
use crate::config::{Config, WebhookKind};
use crate::daemon::{Report, StatusClient};
use crate::web;
use crate::web::Metrics;
use alyx_client::Observer;
use alyx_registration::RegistrationClient;

/// The monitoring tasks.
#[derive(Debug)]
pub(crate) struct Monitoring {
    /// `None` without a status page to show them.
    metrics: Option<Arc<Metrics>>,
    tasks: TaskTracker,
}

impl Monitoring {
    /// The monitoring that the configuration enables. Starts nothing.
    pub(crate) fn new(config: &Config) -> Self {
        Self { metrics: config.http.listen.map(|_| Arc::default()), tasks: TaskTracker::new() }
    }

    /// The observer that counts requests, if any.
    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.metrics.clone().map(|metrics| -> Arc<dyn Observer> { metrics })
    }

    /// Starts the page and the alerts. Returns the sink for the daemon's reports.
    pub(crate) fn start(
        &self,
        config: &Config,
        client: &RegistrationClient,
        status_client: StatusClient,
        shutdown: CancellationToken,
    ) -> Option<mpsc::UnboundedSender<Report>> {
        if let Some(options) = alerts(config) {
            self.tasks.spawn(alerts::send(options, status_client.clone(), shutdown.clone()));
        }
        let (listen, metrics) = (config.http.listen?, self.metrics.clone()?);
        let options = web::Options {
            listen,
            names: config.http.names.clone(),
            state_dir: config.state_dir.clone(),
            zone: config.timezone.clone().unwrap_or_else(TimeZone::system),
        };
        let (reports_in, reports) = mpsc::unbounded_channel();
        self.tasks.spawn(Arc::clone(&metrics).count(reports));
        let sources = web::Sources { status_client, client: client.clone(), metrics };
        self.tasks.spawn(web::serve(options, sources, shutdown));
        Some(reports_in)
    }

    /// Waits for the tasks to end, after the daemon has ended.
    pub(crate) async fn join(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The options of the alerts, if configured. A wrong address is reported now, not with the first alert.
fn alerts(config: &Config) -> Option<alerts::Options> {
    let webhook = config.alerts.webhook.clone()?;
    let known_problem = match webhook.load() {
        Ok(loaded) => {
            for warning in loaded.warnings {
                tracing::warn!("{warning}");
            }
            None
        }
        Err(error) => {
            tracing::error!("no alert can be sent: {error}");
            Some(error.to_string())
        }
    };
    Some(alerts::Options {
        known_problem,
        address: Arc::new(move || match webhook.load() {
            Ok(loaded) => Ok(loaded.address),
            Err(error) => Err(error.to_string()),
        }),
        format: match config.alerts.kind {
            WebhookKind::Slack => MessageFormat::Slack,
            WebhookKind::Teams => MessageFormat::Teams,
            WebhookKind::Json => MessageFormat::Json,
        },
        away_after: config.alerts.away_after,
        every: config.alerts.every,
        ca_file: config.alyx.ca_file.clone(),
    })
}
