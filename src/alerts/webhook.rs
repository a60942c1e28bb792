//! The webhook: sends one message, with a few retries. The address is a secret and appears in no error.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::alerts::LoadAddress;
use alyx_client::{self, Timeouts};

/// How long the receiver may take.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(10) };
/// The waits before the second and third try.
const RETRY_WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// If the receiver asks for a longer wait, the message is left to the next alert.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Sends messages to one address.
pub(super) struct Webhook {
    address: LoadAddress,
    ca_file: Option<PathBuf>,
    /// Created when first needed: the certificate file may be fixed by then.
    http: Option<reqwest::Client>,
}

/// Why a message did not arrive.
#[derive(Debug)]
enum Failure {
    /// A retry may succeed; after this time if the receiver named one.
    Transient(String, Option<Duration>),
    /// A retry will not succeed.
    Permanent(String),
}

impl Webhook {
    pub(super) fn new(address: LoadAddress, ca_file: Option<PathBuf>) -> Self {
        Self { address, ca_file, http: None }
    }

    /// Sends a message, with at most three tries.
    ///
    /// # Errors
    /// The reason, without the address.
    pub(super) async fn send(&mut self, body: &Value) -> Result<(), String> {
        let load = self.address.clone();
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let address = loaded.map_err(|error| error.to_string())??;
        let http = match &self.http {
            Some(http) => http.clone(),
            None => {
                let ca_file = self.ca_file.clone();
                let made = tokio::task::spawn_blocking(move || {
                    alyx_client::http_client(ca_file.as_deref(), TIMEOUTS)
                });
                let http =
                    made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                self.http.insert(http).clone()
            }
        };
        let mut waits = RETRY_WAITS.into_iter();
        loop {
            let (reason, retry_after) = match once(&http, &address, body).await {
                Ok(()) => return Ok(()),
                Err(Failure::Permanent(reason)) => return Err(reason),
                Err(Failure::Transient(reason, retry_after)) => (reason, retry_after.unwrap_or_default()),
            };
            let Some(wait) = waits.next().filter(|_| retry_after <= MAX_WAIT) else { return Err(reason) };
            tracing::debug!("an alert is sent again: {reason}");
            tokio::time::sleep(wait.max(retry_after)).await;
        }
    }
}

async fn once(http: &reqwest::Client, address: &SecretString, body: &Value) -> Result<(), Failure> {
    let answer = match http.post(address.expose_secret()).json(body).send().await {
        Ok(answer) => answer,
        // The address itself is invalid; the error would show it.
        Err(error) if error.is_builder() => {
            return Err(Failure::Permanent("the address of the webhook is not a URL".to_owned()));
        }
        Err(error) if error.is_timeout() => {
            return Err(Failure::Transient("the webhook does not answer in time".to_owned(), None));
        }
        Err(error) => {
            let cause = alyx_client::error_chain(&error.without_url());
            return Err(Failure::Transient(format!("the webhook cannot be reached: {cause}"), None));
        }
    };
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    // The response body is not repeated: it may contain the address.
    let seconds =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Failure::Transient(format!("the webhook answers {status}"), seconds.map(Duration::from_secs))
        }
        status if status.is_server_error() => {
            Failure::Transient(format!("the webhook answers {status}"), seconds.map(Duration::from_secs))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            Failure::Permanent(format!(
                "the webhook answers {status}: it is no longer valid; create a new one, and replace the old address with the \
                 new one"
            ))
        }
        status if status.is_redirection() => Failure::Permanent(format!(
            "the webhook answers {status} and redirects to another address, which the daemon does not follow; correct the address"
        )),
        _ => Failure::Permanent(format!(
            "the webhook answers {status}; correct alerts.kind if another service receives the alerts"
        )),
    })
}
