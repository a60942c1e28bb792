//! Credentials of a running daemon: after Alyx refused them, they are checked again when their file changes.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alyx_client::{self, Credentials, NextStep};
use alyx_registration::FileStamp;

/// Reads the secret again from its configured source. Blocks. The error is one line for display.
pub type LoadCredentials = Arc<dyn Fn() -> Result<Credentials, String> + Send + Sync>;

/// Where the secret comes from.
#[derive(Clone)]
pub struct CredentialSource {
    /// The file of the secret, if it has one; a change is noticed.
    file: Option<PathBuf>,
    load: LoadCredentials,
    /// How often the file is checked while the login is refused.
    pub check_every: Duration,
    /// The state of the file before the secret was last read.
    seen: Option<FileStamp>,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource").field("file", &self.file).finish_non_exhaustive()
    }
}

impl CredentialSource {
    /// Create it before the secret is first read, so that a change in between is noticed.
    pub fn new(file: Option<PathBuf>, load: LoadCredentials) -> Self {
        let mut source = Self { file, load, check_every: Duration::from_secs(3), seen: None };
        source.seen = source.stamp();
        source
    }

    /// Whether a change is noticed without a restart.
    pub fn is_watched(&self) -> bool {
        self.file.is_some()
    }

    fn stamp(&self) -> Option<FileStamp> {
        std::fs::metadata(self.file.as_ref()?).ok().map(|metadata| FileStamp::of(&metadata))
    }

    /// Reads the secret again if its file has changed, or in any case. `None`: unchanged. Blocks.
    fn read_again(&mut self, force: bool) -> Option<Result<Credentials, String>> {
        let now = self.stamp();
        if !force && now == self.seen {
            return None;
        }
        self.seen = now;
        Some((self.load)())
    }

    /// Reads the secret once, and tries to log in with it.
    pub(crate) async fn check(mut self, alyx: alyx_client::Client, force: bool) -> (Self, CredentialCheck) {
        let fallback = self.clone();
        let read = tokio::task::spawn_blocking(move || (self.read_again(force), self)).await;
        let Ok((found, source)) = read else { return (fallback, CredentialCheck::Same) };
        let check = match found {
            None => CredentialCheck::Same,
            Some(Err(reason)) => CredentialCheck::Refused(reason),
            Some(Ok(credentials)) => {
                alyx.replace_credentials(credentials).await;
                match alyx.ping().await {
                    Err(error) if error.next_step() == NextStep::NeedsCredentials => {
                        CredentialCheck::Refused(error.to_string())
                    }
                    // Other errors of the server do not concern the login.
                    _ => CredentialCheck::Accepted,
                }
            }
        };
        (source, check)
    }
}

/// The result of checking refused credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CredentialCheck {
    /// Unchanged.
    Same,
    /// Changed, but still refused or unreadable.
    Refused(String),
    /// Alyx accepts them.
    Accepted,
}
