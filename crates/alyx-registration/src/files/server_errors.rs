//! Server errors: at the files of which sessions the server failed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Sessions, by folder, whose last attempt ended with an error inside the server.
#[derive(Debug, Default)]
pub struct ServerErrors(Mutex<HashSet<PathBuf>>);

impl ServerErrors {
    pub(crate) fn contains(&self, session: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(session)
    }

    pub(crate) fn remember(&self, session: &Path, failed: bool) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            sessions.insert(session.to_owned());
        } else {
            sessions.remove(session);
        }
    }
}
