//! Locking a flag for a run, and reading it.

use std::fs::File;
use std::sync::Arc;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::flag::{FlagContent, FlagError, FlagFile, HeldFlag, lock};
use alf::SessionPath;

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Self {
        let text = error.to_string();
        let path = match error {
            FlagError::Io { doing: "remove", path, source } => {
                return Self::FlagStays { path, reason: source.to_string() };
            }
            FlagError::Elsewhere { path, holder } => return Self::RegisteredElsewhere { path, holder },
            FlagError::Gone { path } => return Self::Vanished { path },
            FlagError::NotAFile { path, .. }
            | FlagError::Private { path }
            | FlagError::TooLong { path, .. }
            | FlagError::NotUtf8 { path, .. }
            | FlagError::NotPutBack { path, .. }
            | FlagError::Io { path, .. } => path,
        };
        Self::Flag { path, reason: text }
    }
}

impl RegistrationClient {
    /// Locks the flags of a session that is registered by name: a daemon, here or on another computer, does not begin with
    /// it. A flag that cannot be used locks nothing.
    pub(crate) async fn hold_flags(&self, session: &SessionPath) -> Result<Vec<HeldFlag>, Error> {
        let mut held = Vec::new();
        for name in &self.options().flags {
            let path = session.folder().join(name);
            let load = tokio::task::spawn_blocking(move || FlagFile::load(path));
            let Ok(Ok(Some(flag))) = load.await else { continue };
            match self.hold_flag(flag).await {
                Ok((_, flag, _)) => held.push(flag),
                Err(error @ Error::RegisteredElsewhere { .. }) => return Err(error),
                Err(error) => tracing::debug!("a flag is not locked: {error}"),
            }
        }
        Ok(held)
    }

    /// Locks a flag for this run and reads it, unless it is a hard link to a private file.
    pub(crate) async fn hold_flag(&self, flag: FlagFile) -> Result<(FlagFile, HeldFlag, FlagContent), Error> {
        let data = Arc::clone(&self.options().data);
        let steps = Arc::clone(&self.context().progress.steps);
        let is_list_only = !self.options().metadata.sidecars;
        let hold = move || {
            let _step = steps.begin("opening", &flag.path);
            let is_private = |file: &File, metadata: &_| data.private.find_open(file, metadata).is_some();
            let held = flag.clone().hold_with(is_private, lock)?;
            let content = held.content()?.without_sidecar(is_list_only);
            Ok((flag, held, content))
        };
        // A network file system may take its time.
        tokio::task::spawn_blocking(hold)
            .await
            .map_err(|e| Error::Internal(format!("locking a flag: {e}")))?
            .map_err(|e: FlagError| e.into())
    }

    /// The content of a flag, unless it is a hard link to a private file.
    pub(crate) fn flag_content(&self, flag: &FlagFile) -> Result<FlagContent, FlagError> {
        let private = &self.options().data.private;
        let content = flag.content_unless(|file, metadata| private.find_open(file, metadata).is_some())?;
        Ok(content.without_sidecar(!self.options().metadata.sidecars))
    }
}
