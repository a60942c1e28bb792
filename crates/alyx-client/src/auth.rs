//! Credentials and the token they buy.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// How to log in to Alyx.
///
/// Neither variant prints its secret: `Debug` shows the user name alone.
#[derive(Clone)]
pub enum Credentials {
    /// A user name and password, exchanged for a token at `POST /auth-token`; the token is renewed when it dies.
    Password {
        /// The Alyx user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A token made on the server. It cannot be renewed here: when it dies a person has to replace it.
    Token {
        /// The Alyx user whom the token belongs to; asked of `/me` where it is missing and the server has that.
        username: Option<String>,
        /// The token.
        token: SecretString,
    },
    /// None so far. Every request fails before it is sent, until there are others:
    /// [`Client::replace_credentials`](super::Client::replace_credentials).
    Absent {
        /// The Alyx user, where he is known.
        username: Option<String>,
        /// Why there are none, and what to do.
        reason: String,
    },
}

impl Credentials {
    /// The user name, where it is known without asking the server.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::Token { username, .. } | Self::Absent { username, .. } => username.as_deref(),
        }
    }

    /// The secret itself, where there is one.
    pub(super) fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::Password { password: secret, .. } | Self::Token { token: secret, .. } => Some(secret),
            Self::Absent { .. } => None,
        }
    }

    /// Whether they are the same, secret and all.
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

/// The token in use, and how often it has been replaced.
///
/// The generation lets several requests that meet a dead token at once renew it only once: a request asks for a
/// token newer than the one it was refused with.
#[derive(Default)]
pub(super) struct TokenState {
    pub(super) token: Option<SecretString>,
    pub(super) generation: u64,
    /// The credentials were replaced: what an earlier run kept is not believed any more.
    pub(super) forgotten: bool,
}

impl TokenState {
    /// Puts a new token in place.
    pub(super) fn replace(&mut self, token: SecretString) {
        self.token = Some(token);
        self.generation += 1;
    }

    /// The next request logs in.
    pub(super) fn forget(&mut self) {
        self.token = None;
        self.forgotten = true;
        self.generation += 1;
    }

    /// The value of the `Authorization` header, marked sensitive so that no log shows it.
    pub(super) fn header(token: &SecretString) -> Option<reqwest::header::HeaderValue> {
        let mut value =
            reqwest::header::HeaderValue::from_str(&format!("Token {}", token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
