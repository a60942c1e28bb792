//! The mark of a clean stop: a file in the state folder, which exists only while no process that uses the folder runs.
//!
//! Alyx carries out a request whose client is gone. A process that was killed while it created a session leaves a
//! request that may arrive at any moment, and nothing can be relied on to remember it: the disk may be full, the folder
//! deleted, the clock set. So only the presence of the mark counts, and its absence means "wait".

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the mark in the state folder.
pub const FILE_NAME: &str = "stopped-cleanly";

/// The mark of one state folder, taken away by this process.
#[derive(Debug)]
pub struct CleanStop {
    path: PathBuf,
    was_clean: bool,
}

impl CleanStop {
    /// Takes the mark of the last stop away. Blocks.
    pub fn take(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE_NAME);
        // A mark that stays on disk would speak for the next start, however this process ends.
        let was_clean = fs::remove_file(&path).and_then(|()| sync(state_dir)).is_ok();
        Self { path, was_clean }
    }

    /// Whether the last process that used the folder stopped cleanly.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Marks a clean stop: everything that was sent is answered. Blocks.
    pub fn put(self) {
        let put = File::create(&self.path).and_then(|file| file.sync_all());
        let put = put.and_then(|()| sync(self.path.parent().unwrap_or(Path::new(""))));
        if let Err(error) = put {
            tracing::debug!("the clean stop cannot be recorded in {}: {error}", self.path.display());
        }
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_clean_only_if_it_was_marked_since_the_last_start() {
        let state = tempfile::tempdir().unwrap();
        let first = CleanStop::take(state.path());
        assert!(!first.was_clean());
        first.put();
        assert!(CleanStop::take(state.path()).was_clean());
        // That one was killed.
        assert!(!CleanStop::take(state.path()).was_clean());
    }

    #[test]
    fn without_a_state_folder_no_stop_is_clean() {
        let folder = tempfile::tempdir().unwrap();
        let mark = CleanStop::take(&folder.path().join("none"));
        assert!(!mark.was_clean());
        mark.put();
        assert!(!folder.path().join("none").exists());
    }
}
