//! Credentials, and the token that a login returns for them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// How to log in to Alyx.
///
/// `Debug` shows the user name and never the secret.
#[derive(Clone)]
pub enum Credentials {
    /// A user name and password, exchanged for a token at `POST /auth-token`; an expired token is renewed.
    Password {
        /// The Alyx user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A token made on the server. The client cannot renew it: when it expires, the operator must replace it.
    Token {
        /// The Alyx user whom the token belongs to; if `None`, the client asks `/me`, which not every server has.
        username: Option<String>,
        /// The token.
        token: SecretString,
    },
    /// None yet. Every request fails before it is sent, until
    /// [`Client::replace_credentials`](super::Client::replace_credentials) supplies credentials.
    Absent {
        /// The Alyx user, if known.
        username: Option<String>,
        /// Why the credentials are missing, and what to do.
        reason: String,
    },
}

impl Credentials {
    /// The user name, if it is known without asking the server.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::Token { username, .. } | Self::Absent { username, .. } => username.as_deref(),
        }
    }

    /// The password or token, if any.
    pub(crate) fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::Password { password: secret, .. } | Self::Token { token: secret, .. } => Some(secret),
            Self::Absent { .. } => None,
        }
    }

    /// Whether both are equal, including their secrets.
    pub fn is_same(&self, other: &Self) -> bool {
        let secret =
            |credentials: &Self| credentials.secret().map(|secret| secret.expose_secret().to_owned());
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.username() == other.username()
            && secret(self) == secret(other)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Password { .. } => "password",
            Self::Token { .. } => "token",
            Self::Absent { .. } => "nothing",
        };
        write!(f, "Credentials({kind} of {:?})", self.username())
    }
}

/// Limit on the length of a token, in bytes: web servers refuse headers of 8 KB. One of Alyx has 40.
const MAX_TOKEN: usize = 4096;

/// The token in use, and how often it has been replaced.
///
/// With the generation, several requests whose token expires at the same time renew it only once: each asks for a
/// token newer than the one that was refused.
#[derive(Default)]
pub(crate) struct TokenState {
    pub(crate) token: Option<SecretString>,
    pub(crate) generation: u64,
    /// The credentials were replaced, so the token on disk may belong to the old ones.
    pub(crate) ignores_stored: bool,
}

impl TokenState {
    /// Installs a new token.
    pub(crate) fn replace(&mut self, token: SecretString) {
        self.token = Some(token);
        self.generation += 1;
    }

    /// Drops the token; the next request logs in.
    pub(crate) fn forget(&mut self) {
        self.token = None;
        self.ignores_stored = true;
        self.generation += 1;
    }

    /// The value of the `Authorization` header, marked sensitive so that no log shows it. `None` for what is no token.
    pub(crate) fn header(token: &SecretString) -> Option<reqwest::header::HeaderValue> {
        if token.expose_secret().len() > MAX_TOKEN {
            return None;
        }
        let mut value =
            reqwest::header::HeaderValue::from_str(&format!("Token {}", token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
