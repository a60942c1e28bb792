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
}

impl Credentials {
    /// The user name, where it is known without asking the server.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::Token { username, .. } => username.as_deref(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Password { .. } => "password",
            Self::Token { .. } => "token",
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
