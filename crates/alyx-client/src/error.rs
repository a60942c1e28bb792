//! The one error of the REST client, and the next step that fits it.

use std::time::Duration;

use crate::text::some_of;

/// The request by which a password becomes a token, as errors name it.
pub(super) const LOGIN: &str = "POST /auth-token";

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// It may pass by itself: try again later, not before `after` where the server named a time.
    TryAgain {
        /// What the server asked for in `Retry-After`.
        after: Option<Duration>,
    },
    /// It stays as it is until a person changes something: on Alyx, on disk, or in the configuration.
    NeedsAttention,
    /// The login is refused: nothing at all can be done until the credentials are mended.
    NeedsCredentials,
}

/// A dataset that Alyx refuses to overwrite, with the revisions that exist, latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedFile {
    /// The file, relative to its session, as it was sent.
    pub file: String,
    /// Revision (empty for the original) and whether that one is protected; empty for a file not yet registered.
    pub revisions: Vec<(String, bool)>,
}

/// Why a request to Alyx did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The client cannot be built from its options.
    #[error("{0}")]
    Options(String),
    /// No answer: no connection, a time-out, or a connection cut in between.
    #[error("no answer from {url} ({reason}){}", unanswered(*.connected, *.maybe_done))]
    Unreachable {
        /// The base URL.
        url: String,
        /// What happened.
        reason: String,
        /// Whether the request may have been carried out although its answer was lost. A creation must be looked
        /// up before it is tried again.
        maybe_done: bool,
        /// Whether there was a connection at all. Without one, every other request would fail as well.
        connected: bool,
    },
    /// The server, or a proxy before it, is overloaded or down: 429, 502, 503, 504, 520 to 530; or the login fails with
    /// an error inside the server.
    #[error("{what}: the server is busy or down (HTTP {status}{})", trimmed(.body))]
    Busy {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// `Retry-After`, where it was sent.
        retry_after: Option<Duration>,
        /// The body, trimmed.
        body: String,
    },
    /// The login was refused, or the token was and cannot be renewed.
    #[error("{url} refuses the login of {}: {}; correct the password or token that the configuration names", .username.as_deref().unwrap_or("an unnamed user"), .reason.trim_end_matches('.'))]
    Login {
        /// The base URL.
        url: String,
        /// The user, where known.
        username: Option<String>,
        /// What the server said.
        reason: String,
    },
    /// There is no password or token.
    #[error("{0}")]
    NoCredentials(String),
    /// The user is known but may not do this (403 with another `detail`).
    #[error("{what}: not allowed ({detail}); ask the Alyx administrator for the permission")]
    Forbidden {
        /// Method and path.
        what: String,
        /// What the server said.
        detail: String,
    },
    /// Files that would overwrite protected datasets.
    #[error("{} protected on Alyx: {}; allow the registrar to move the new version into a revision folder (datasets.protected: revise, or --protected revise on the command line), move it there yourself (#YYYY-MM-DD#), or ask for the protection to be lifted",
        if .files.len() == 1 { "a dataset is".into() } else { format!("{} datasets are", .files.len()) },
        some_of(.files.iter().map(|f| f.file.as_str()), ", "))]
    Protected {
        /// The protected ones among the files sent.
        files: Vec<ProtectedFile>,
        /// What was said of every file sent, in order.
        details: Vec<ProtectedFile>,
    },
    /// 404.
    #[error("{what}: not found on Alyx ({detail})")]
    NotFound {
        /// Method and path.
        what: String,
        /// What the server said.
        detail: String,
    },
    /// The request was understood and refused: 400, or a 500 that is known never to get better.
    #[error("{what}: Alyx refuses it (HTTP {status}): {detail}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// Every reason: one a field, or the `detail`.
        detail: String,
    },
    /// An error inside the server whose reason is not known to be permanent.
    #[error("{what}: error inside the server (HTTP {status}{})", trimmed(.body))]
    Server {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// The body, trimmed.
        body: String,
    },
    /// An answer that no Alyx gives: another web server, or a version with another interface.
    #[error(
        "{what}: this does not answer like Alyx ({reason}); check that alyx.url is the address of an Alyx database"
    )]
    NotAlyx {
        /// Method and path.
        what: String,
        /// What was wrong with the answer.
        reason: String,
    },
}

impl Error {
    /// What to do about it. One exhaustive match: a new kind of error has to be given its place here.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Unreachable { .. } | Self::Server { .. } => NextStep::TryAgain { after: None },
            Self::Busy { retry_after, .. } => NextStep::TryAgain { after: *retry_after },
            Self::Login { .. } | Self::NoCredentials(_) => NextStep::NeedsCredentials,
            // A proxy's error page with status 200 or 404 looks like "not Alyx" and passes by itself.
            Self::NotAlyx { .. } => NextStep::TryAgain { after: None },
            Self::Options(_)
            | Self::Forbidden { .. }
            | Self::Protected { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. } => NextStep::NeedsAttention,
        }
    }

    /// Whether the whole server is away, so that other requests would fail as well.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::NotAlyx { .. })
    }

    /// Whether it is beyond doubt that other requests would fail as well: there was no connection at all, or the login
    /// failed otherwise than by being refused.
    pub fn concerns_all(&self) -> bool {
        match self {
            Self::Unreachable { connected, .. } => !connected,
            // 429: this request was one too many.
            Self::Busy { what, status, .. } => what == LOGIN && *status != 429,
            Self::NotAlyx { what, .. } => what == LOGIN,
            _ => false,
        }
    }

    /// Whether the request was sent, and may have taken the server longer than somebody would wait: its client, the
    /// web server, or a proxy.
    pub fn was_cut_off(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { maybe_done: true, .. } | Self::Busy { status: 502 | 504 | 524, .. }
        )
    }
}

fn unanswered(connected: bool, maybe_done: bool) -> &'static str {
    match (connected, maybe_done) {
        (_, true) => "; whether Alyx carried it out is not known",
        (false, _) => "; check the network, and that alyx.url is right, http or https included",
        (true, false) => "",
    }
}

fn trimmed(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}
