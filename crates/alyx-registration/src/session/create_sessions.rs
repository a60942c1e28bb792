//! `create_sessions`: registers the session of every flag below a folder, one after the other.

use std::path::{Path, PathBuf};

use crate::client::RegistrationClient;
use crate::client::options::{CreateSessionsOptions, FlaggedOptions};
use crate::client::record_outcome::RecordOutcome;
use crate::error::Error;
use crate::flag::FlagFile;
use crate::flagged::{Planned, Registered};
use crate::listing::gap::Gap;
use crate::metadata::known::KnownSession;
use crate::session::register::RegisteredSession;
use alf::SessionPath;

/// The result of one flag.
#[derive(Debug)]
pub struct CreatedSession {
    /// The session folder.
    pub folder: PathBuf,
    /// The session on Alyx; `None` in a dry run.
    pub session: Result<Option<RegisteredSession>, Error>,
    /// Protected files that had changed and were, or in a dry run would be, moved into a revision folder: from where,
    /// to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// What the session lacks, or would lack.
    pub gap: Option<Gap>,
    /// What is known of the session; `None` if no metadata is read, or if it failed.
    pub known: Option<KnownSession>,
    /// The attempt as a whole; `None` in a dry run, or if it failed.
    pub registered: Option<Registered>,
    /// In a dry run, what would be done.
    pub planned: Option<Planned>,
}

impl RegistrationClient {
    /// Creates the session of every flag below a folder and removes the flags (Python: `create_sessions`).
    ///
    /// A session that fails does not stop the others: each has its own result. A flag that another program removes
    /// meanwhile has none. With [`dry`](CreateSessionsOptions::dry)
    /// nothing is changed, and an error is the one with which the session would fail.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::CreateSessionsOptions;
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(&session)?;
    /// std::fs::write(session.join("create_me.flag"), "")?;
    /// let created = client.create_sessions(&root, &CreateSessionsOptions::default()).await?;
    /// assert_eq!(created[0].folder, session);
    /// assert_eq!(created[0].session.as_ref().unwrap().as_ref().unwrap().record.subject, "KS014");
    /// assert!(!session.join("create_me.flag").exists());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid pattern or a missing folder, [`Error::Unreadable`] for the folder.
    pub async fn create_sessions(
        &self,
        root: &Path,
        options: &CreateSessionsOptions,
    ) -> Result<Vec<CreatedSession>, Error> {
        let flags = self.flags_below(root, &options.glob_pattern).await?;
        let mut sessions = Vec::with_capacity(flags.len());
        for path in flags {
            sessions.extend(self.create_session_of_flag(&path, options).await);
        }
        Ok(sessions)
    }

    /// The flags below a folder.
    ///
    /// # Errors
    /// Those of [`create_sessions`](Self::create_sessions).
    pub async fn flags_below(&self, root: &Path, glob_pattern: &str) -> Result<Vec<PathBuf>, Error> {
        drop(tokio::fs::read_dir(root).await.map_err(|e| Error::reading(root, &e).or_no_folder(root))?);
        let escaped = root.to_str().map(glob::Pattern::escape);
        let pattern = escaped
            .map(|root| format!("{root}/{glob_pattern}"))
            .ok_or_else(|| Error::Invalid(format!("{root:?} is not valid UTF-8: rename the folder")))?;
        let flags = tokio::task::spawn_blocking(move || -> Result<Vec<PathBuf>, Error> {
            let found =
                glob::glob(&pattern).map_err(|e| Error::Invalid(format!("pattern {pattern:?}: {e}")))?;
            // A flag in a folder that cannot be listed could not be handled anyway.
            Ok(found.filter_map(Result::ok).collect())
        });
        flags.await.map_err(|e| Error::Internal(format!("looking for flags: {e}")))?
    }

    /// What [`create_sessions`](Self::create_sessions) does with one flag; `None` if another program has removed the flag.
    pub async fn create_session_of_flag(
        &self,
        path: &Path,
        options: &CreateSessionsOptions,
    ) -> Option<CreatedSession> {
        let mut flagged = options.flagged.clone();
        if !self.options().metadata.is_off() {
            flagged.defaults = flagged.defaults.or(&self.options().metadata.defaults);
        }
        let created = match options.dry {
            true => self.plan_creation(path.to_owned(), &flagged).await,
            false => self.create_flagged(path.to_owned(), &flagged).await,
        };
        // Another program has registered the session meanwhile.
        if matches!(&created, Err(Error::Vanished { path: gone }) if gone == path) {
            return None;
        }
        Some(created.unwrap_or_else(|error| CreatedSession {
            folder: path.parent().unwrap_or(path).to_owned(),
            session: Err(error),
            moved: Vec::new(),
            gap: None,
            known: None,
            registered: None,
            planned: None,
        }))
    }

    async fn plan_creation(&self, path: PathBuf, options: &FlaggedOptions) -> Result<CreatedSession, Error> {
        let (flag, session) = load(path)?;
        let planned = self.plan_flagged(&flag, &session, options).await?;
        Ok(CreatedSession {
            folder: flag.session_folder().to_owned(),
            session: Ok(None),
            moved: planned.moved.clone(),
            gap: planned.gap.clone(),
            known: planned.known.clone(),
            registered: None,
            planned: Some(planned),
        })
    }

    async fn create_flagged(&self, path: PathBuf, options: &FlaggedOptions) -> Result<CreatedSession, Error> {
        let (flag, session) = load(path)?;
        let registered = self.register_flagged(flag, &session, options).await?;
        let outcome = RecordOutcome::of(registered.created, registered.record.is_some());
        let record = match &registered.record {
            Some(record) if record.lists_datasets() => record.clone(),
            _ => self.alyx().session(&registered.eid).await?,
        };
        let missing =
            registered.known.as_ref().map(|known| known.metadata.missing.clone()).unwrap_or_default();
        Ok(CreatedSession {
            folder: session.folder().to_owned(),
            session: Ok(Some(RegisteredSession { outcome, record, missing })),
            moved: registered.moved.clone(),
            gap: registered.gap.clone(),
            known: registered.known.clone(),
            registered: Some(registered),
            planned: None,
        })
    }
}

/// A flag, and the session that its folder names.
fn load(path: PathBuf) -> Result<(FlagFile, SessionPath), Error> {
    let flag = FlagFile::load(&path)?.ok_or(Error::Vanished { path })?;
    let session = SessionPath::parse(flag.session_folder())?;
    Ok((flag, session))
}
