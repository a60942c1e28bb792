//! What a client needs to know: the address, the login, how long to wait, how often to ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Credentials;
use crate::observer::Observer;
use crate::retry::RetryPolicy;

/// How long to wait for the server.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For a whole request, from the connection to the last byte of the answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(60) }
    }
}

/// What a [`Client`](super::Client) needs to know.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Address of the database, such as `https://alyx.example.org`; a path after the host is kept.
    pub url: String,
    /// How to log in.
    pub credentials: Credentials,
    /// A file with certificates of authorities (PEM) that are believed beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How often to send.
    pub retry: RetryPolicy,
    /// The most requests a minute; `None`: no limit of our own.
    pub max_requests_per_minute: Option<u32>,
    /// Folder in which the token that a password buys is kept for the next start, readable by its owner only.
    /// `None`: each start logs in.
    pub token_folder: Option<PathBuf>,
    /// Hears of every request.
    pub observer: Option<Arc<dyn Observer>>,
}

impl ClientOptions {
    /// Default time-outs and patience.
    pub fn new(url: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            url: url.into(),
            credentials,
            ca_file: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            max_requests_per_minute: None,
            token_folder: None,
            observer: None,
        }
    }
}
