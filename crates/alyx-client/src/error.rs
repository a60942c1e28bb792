//! The error type of the REST client, and the next step for each error.

use std::time::Duration;

use crate::text::some_of;

/// The login request, as errors name it.
pub(super) const LOGIN: &str = "POST /auth-token";

/// What to do about a refused login whose secret is in a file or variable.
pub(super) const CORRECT_SECRET: &str = "correct the password or token that the configuration names";

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The error may be temporary: try again later, and not before `after` if the server named a time.
    TryAgain {
        /// What the server asked for in `Retry-After`.
        after: Option<Duration>,
    },
    /// The error remains until the operator changes something on Alyx, on disk, or in the configuration.
    NeedsAttention,
    /// The login is refused: every request fails until the credentials are corrected.
    NeedsCredentials,
}

/// A dataset that Alyx refuses to overwrite, with the revisions that exist, latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedFile {
    /// The file, relative to its session, as it was sent.
    pub file: String,
    /// Each revision (`""` for the original) and whether it is protected; empty for a file not yet registered.
    pub revisions: Vec<(String, bool)>,
}

/// Why a request to Alyx failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The client cannot be built from its options.
    #[error("{0}")]
    Options(String),
    /// No answer: no connection, a time-out, or a connection cut in between.
    #[error("no answer from {url} ({reason}){}", if *.maybe_done { "; whether Alyx carried it out is not known" } else { "" })]
    Unreachable {
        /// The base URL.
        url: String,
        /// What happened.
        reason: String,
        /// Whether Alyx may have executed the request although its answer was lost. The caller must look up a creation
        /// before it tries again.
        maybe_done: bool,
        /// Whether there was a connection. Without one, every other request would fail as well.
        connected: bool,
    },
    /// The server, or a proxy in front of it, is overloaded or down: 429, 502, 503, 504, 520 to 530; or a login failed
    /// with an internal error of the server.
    #[error("{what}: the server is busy or down (HTTP {status}{})", trimmed(.body))]
    Busy {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// `Retry-After`, if sent.
        retry_after: Option<Duration>,
        /// The body, trimmed.
        body: String,
    },
    /// The server refused the login, or a token that cannot be renewed.
    #[error("{url} refuses the login of {}: {}; {advice}", .username.as_deref().unwrap_or("an unnamed user"), .reason.trim_end_matches('.'))]
    Login {
        /// The base URL.
        url: String,
        /// The user, if known.
        username: Option<String>,
        /// What the server said.
        reason: String,
        /// What to do, which depends on where the login comes from.
        advice: &'static str,
    },
    /// There is no password or token.
    #[error("{0}")]
    NoCredentials(String),
    /// The user is logged in but lacks the permission (403 with another `detail`).
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
        /// The answer for every file sent, in order.
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
    /// The request was understood and refused: 400, or a 500 that is known to be permanent.
    #[error("{what}: Alyx refuses it (HTTP {status}): {detail}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// All reasons: one per field, or the `detail`.
        detail: String,
    },
    /// An internal error of the server that is not known to be permanent.
    #[error("{what}: error inside the server (HTTP {status}{})", trimmed(.body))]
    Server {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// The body, trimmed.
        body: String,
    },
    /// An answer that Alyx never gives: from another web server, or a version with another API.
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
    /// What to do about the error. The match is exhaustive, so that a new error must be classified here.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Unreachable { .. } | Self::Server { .. } => NextStep::TryAgain { after: None },
            Self::Busy { retry_after, .. } => NextStep::TryAgain { after: *retry_after },
            Self::Login { .. } | Self::NoCredentials(_) => NextStep::NeedsCredentials,
            // A proxy's error page with status 200 or 404 looks like "not Alyx" and is temporary.
            Self::NotAlyx { .. } => NextStep::TryAgain { after: None },
            Self::Options(_)
            | Self::Forbidden { .. }
            | Self::Protected { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. } => NextStep::NeedsAttention,
        }
    }

    /// Whether the server as a whole seems down, so that other requests would probably fail as well.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::NotAlyx { .. })
    }

    /// Whether other requests would certainly fail as well: there was no connection, or the login failed for another
    /// reason than wrong credentials.
    pub fn concerns_all(&self) -> bool {
        match self {
            Self::Unreachable { connected, .. } => !connected,
            // A 429 concerns this request only: the rate limit was reached.
            Self::Busy { what, status, .. } => what == LOGIN && *status != 429,
            Self::NotAlyx { what, .. } => what == LOGIN,
            _ => false,
        }
    }

    /// Whether the request was sent, and may have run into a time-out: of this client, of the web server, or of a proxy.
    pub fn was_cut_off(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { maybe_done: true, .. } | Self::Busy { status: 502 | 504 | 524, .. }
        )
    }
}

fn trimmed(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}
