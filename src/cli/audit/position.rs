//! The position of an audit, kept in the state folder: where an interrupted one goes on.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cli::audit::tally::Tally;

/// The name of its file.
const FILE: &str = "audit.json";
/// How often it is written.
const EVERY: Duration = Duration::from_secs(5);

/// Where an audit is, and what it has found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The arguments and the server: another audit does not continue this one.
    pub(super) scope: String,
    /// The subject and the name of the last session that is done.
    pub(super) subject: String,
    pub(super) session: String,
    /// What was found up to there.
    pub(super) tally: Tally,
    /// The flags to put, with their content.
    pub(super) flags: BTreeMap<PathBuf, String>,
}

impl Position {
    /// Whether a session was done before the interruption.
    pub(super) fn is_done(&self, subject: &str, session: &str) -> bool {
        (subject, session) <= (self.subject.as_str(), self.session.as_str())
    }
}

/// Writes positions into the state folder, if that exists.
pub(super) struct PositionFile {
    path: PathBuf,
    written: Option<Instant>,
    /// The first error was reported.
    has_failed: bool,
}

impl PositionFile {
    pub(super) fn of(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), written: None, has_failed: false }
    }

    /// The position of an interrupted audit.
    pub(super) async fn load(&self) -> Option<Position> {
        serde_json::from_slice(&tokio::fs::read(&self.path).await.ok()?).ok()
    }

    /// Whether it was not written a moment ago.
    pub(super) fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= EVERY)
    }

    /// Writes the position.
    pub(super) async fn write(&mut self, position: &Position) {
        self.written = Some(Instant::now());
        let outcome = match serde_json::to_vec(position) {
            Ok(bytes) => replace(&self.path, &bytes).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = outcome
            && !std::mem::replace(&mut self.has_failed, true)
        {
            let path = &self.path;
            tracing::info!(
                "this audit cannot be resumed if it is interrupted: {path:?} cannot be written ({error})"
            );
        }
    }

    /// Deletes it: the audit is complete.
    pub(super) async fn remove(&self) {
        // It may never have been written.
        let _ = tokio::fs::remove_file(&self.path).await;
    }
}

/// Replaces a file, so that it is always complete.
async fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("json.{}", std::process::id()));
    tokio::fs::write(&new, bytes).await?;
    let renamed = tokio::fs::rename(&new, path).await;
    if renamed.is_err() {
        let _ = tokio::fs::remove_file(&new).await;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_position_is_done() {
        let position =
            Position { subject: "B".into(), session: "B/2024-05-02/001".into(), ..Position::default() };
        for (subject, session, expected) in [
            ("A", "A/2024-05-09/001", true),
            ("B", "B/2024-05-02/001", true),
            ("B", "B/2024-05-02/002", false),
            ("C", "C/2024-05-01/001", false),
        ] {
            assert_eq!(position.is_done(subject, session), expected, "{session}");
        }
        assert!(!Position::default().is_done("A", "A/2024-05-01/001"));
    }
}
