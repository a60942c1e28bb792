//! The position of an audit, kept in the state folder: where an interrupted one goes on.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::cli::audit::tally::Tally;

/// The name of its file.
const FILE: &str = "audit.json";
/// More than it ever has.
const MAX_LENGTH: u64 = 1 << 20;
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
        let path = self.path.clone();
        let bytes = tokio::task::spawn_blocking(move || read(&path)).await.ok()?.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Whether it was not written a moment ago.
    pub(super) fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= EVERY)
    }

    /// Writes the position.
    pub(super) async fn write(&mut self, position: &Position) {
        self.written = Some(Instant::now());
        let outcome = match serde_json::to_vec(position) {
            Ok(bytes) => {
                let path = self.path.clone();
                let replaced = tokio::task::spawn_blocking(move || replace(&path, &bytes)).await;
                replaced.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
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

/// Reads a regular file, and no link: the folder belongs to the service user, and root may run this. Blocks.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file or link, so that it is always complete. The name of the new file cannot be guessed. Blocks.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut new = tempfile::Builder::new().prefix(".audit.").tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.persist(path)?;
    Ok(())
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

    #[tokio::test]
    async fn no_link_in_the_state_folder_is_followed() {
        let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = other.path().join("target");
        let position = Position { scope: "all".into(), ..Position::default() };
        std::fs::write(&target, serde_json::to_vec(&position).unwrap()).unwrap();
        std::os::unix::fs::symlink(&target, state.path().join(FILE)).unwrap();
        let mut file = PositionFile::of(state.path());
        assert_eq!(file.load().await, None);
        let own = Position { scope: "own".into(), ..Position::default() };
        file.write(&own).await;
        assert_eq!(file.load().await, Some(own));
        assert_eq!(std::fs::read(&target).unwrap(), serde_json::to_vec(&position).unwrap());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    }
}
