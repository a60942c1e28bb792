//! Alerts: a message to a webhook when something is wrong, and when Alyx is back.
//!
//! The daemon is asked for its status every few seconds. What to send follows from its answer and from what was reported
//! before (`decision`). So nothing is queued: what cannot be sent is sent later if it still holds, and nothing waits for
//! it.

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
pub use crate::alerts::message::Reader;
use crate::alerts::webhook::Webhook;
use crate::daemon::StatusClient;

/// How often the daemon is asked for its status.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for events that belong in the same message.
const GATHER: Duration = Duration::from_secs(30);
/// Time between warnings that nothing can be sent.
const WARN_AGAIN: Duration = Duration::from_secs(3600);

/// Reads the address of the webhook from where the configuration says. Blocks. The error is one line and does not hold
/// the address.
pub type LoadAddress = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// What the alerts need to know.
#[derive(Clone)]
pub struct Options {
    /// Where they are sent. It is read for each message, so that it may change.
    pub address: LoadAddress,
    /// What is wrong with that address from the start, as reported already.
    pub wrong: Option<String>,
    /// Who reads them.
    pub reader: Reader,
    /// How long Alyx must have been away.
    pub away_after: Duration,
    /// Least time between two messages.
    pub every: Duration,
    /// Certificates that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("reader", &self.reader).finish_non_exhaustive()
    }
}

/// Sends alerts until `shutdown`.
pub async fn send(options: Options, asker: StatusClient, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = look_and_send(options, asker) => {}
    }
}

/// Does not end.
async fn look_and_send(options: Options, asker: StatusClient) {
    let every = options.every;
    let rules = Rules { away_after: options.away_after, every, gather: GATHER.min(every) };
    let mut decision = AlertDecision::new(rules);
    let mut webhook = Webhook::new(options.address, options.ca_file);
    let mut wrong = options.wrong;
    let mut warned: Option<Instant> = wrong.as_ref().map(|_| Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY.min(every)).await;
        let status = asker.status(PATIENCE).await;
        decision.look(status.as_ref(), Timestamp::now());
        let Some(alert) = decision.due(Instant::now()) else { continue };
        let message = Message::of(&alert, status.as_ref());
        match webhook.send(&message.body(options.reader)).await {
            Ok(()) => {
                decision.sent(&alert);
                if warned.take().is_some() {
                    tracing::info!("alerts can be sent again");
                }
            }
            Err(why) => {
                // That is fixed, and something else is wrong now.
                if wrong.as_ref().is_some_and(|wrong| *wrong != why) {
                    (wrong, warned) = (None, None);
                }
                if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        "an alert cannot be sent: {why}. What is still so is tried again every {every:?}; sessions \
                         are registered all the same"
                    );
                } else {
                    tracing::debug!("an alert still cannot be sent: {why}");
                }
            }
        }
    }
}
