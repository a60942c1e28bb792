//! Alerts: a message to a webhook when something is wrong, and when Alyx is back.
//!
//! Every few seconds the daemon is queried for its status. What to send follows from the answer and from what was
//! reported before (`decision`). So nothing is queued: what cannot be sent is sent later if it still holds, and
//! nothing waits for it.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod decision;
mod message;
mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::alerts::decision::{AlertDecision, Rules};
use crate::alerts::message::Message;
pub use crate::alerts::message::MessageFormat;
use crate::alerts::webhook::Webhook;
use crate::daemon::StatusClient;

/// How often to query the daemon's status.
const POLL_EVERY: Duration = Duration::from_secs(10);
/// How long the daemon may take to answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for events that belong in the same message.
const GATHER: Duration = Duration::from_secs(30);
/// The time between warnings that alerts cannot be sent.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// Loads the address of the webhook from its configured source. Blocks. The error is one line and does not contain the
/// address.
pub type LoadAddress = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// The options of the alerts.
#[derive(Clone)]
pub struct Options {
    /// The address of the webhook. Loaded for each message, so that it may change.
    pub address: LoadAddress,
    /// A problem with that address at the start, which has already been reported.
    pub known_problem: Option<String>,
    /// The format of the messages.
    pub format: MessageFormat,
    /// How long Alyx must be away before an alert.
    pub away_after: Duration,
    /// The shortest time between two messages.
    pub every: Duration,
    /// Certificates that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Sends alerts until `shutdown`.
pub async fn send(options: Options, status_client: StatusClient, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = poll_and_send(options, status_client) => {}
    }
}

/// Never returns.
async fn poll_and_send(options: Options, status_client: StatusClient) {
    let every = options.every;
    let rules = Rules { away_after: options.away_after, every, gather: GATHER.min(every) };
    let mut decision = AlertDecision::new(rules);
    let mut webhook = Webhook::new(options.address, options.ca_file);
    let mut known_problem = options.known_problem;
    let mut warned: Option<Instant> = known_problem.as_ref().map(|_| Instant::now());
    loop {
        tokio::time::sleep(POLL_EVERY.min(every)).await;
        let status = status_client.status(STATUS_TIMEOUT).await;
        decision.update(status.as_ref(), Timestamp::now());
        let Some(alert) = decision.due(Instant::now()) else { continue };
        let message = Message::of(&alert, status.as_ref());
        match webhook.send(&message.body(options.format)).await {
            Ok(()) => {
                decision.sent(&alert);
                if warned.take().is_some() {
                    tracing::info!("alerts can be sent again");
                }
            }
            Err(why) => {
                // The known problem is fixed, and another one has occurred.
                if known_problem.as_ref().is_some_and(|known_problem| *known_problem != why) {
                    (known_problem, warned) = (None, None);
                }
                if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        "an alert cannot be sent: {why}. The daemon tries again every {every:?} for as long as the problem \
                         lasts; registration continues"
                    );
                } else {
                    tracing::debug!("an alert still cannot be sent: {why}");
                }
            }
        }
    }
}
