//! The options of a client: address, login, time-outs, retries, rate limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CORRECT_SECRET;
use crate::login::credentials::Credentials;
use crate::transport::observer::Observer;
use crate::transport::retry::RetryPolicy;

/// How long to wait for the server.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the connection, including TLS.
    pub connect: Duration,
    /// For a whole request, from the connection to the last byte of the answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(60) }
    }
}

/// The options of a [`Client`](super::Client).
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Address of the database, such as `https://alyx.example.org`; a path after the host is kept.
    pub url: String,
    /// How to log in.
    pub credentials: Credentials,
    /// A PEM file with certificate authorities that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// When to repeat a request.
    pub retry: RetryPolicy,
    /// The largest number of requests per minute; `None` for no limit on our side.
    pub max_requests_per_minute: Option<u32>,
    /// Folder that keeps the token of a login for the next start, readable only by its owner. `None`: each start
    /// logs in.
    pub token_folder: Option<PathBuf>,
    /// What to do if the login is refused, which depends on where it comes from.
    pub login_advice: &'static str,
    /// Receives every request.
    pub observer: Option<Arc<dyn Observer>>,
}

/// What to do about a refused login that ONE has stored.
pub const LOG_IN_WITH_ONE: &str = "ONE has stored this login on this computer, and it is no longer valid: log in again with ONE \
     (`one.alyx.authenticate(force=True)` in Python), or give the login another way";

impl ClientOptions {
    /// Options with the default time-outs and retries.
    pub fn new(url: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            url: url.into(),
            credentials,
            ca_file: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            max_requests_per_minute: None,
            token_folder: None,
            login_advice: CORRECT_SECRET,
            observer: None,
        }
    }
}
