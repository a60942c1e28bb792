//! Registering files: from paths to records on Alyx, in batches, in the given order.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::client::record_outcome::RecordOutcome;
use crate::error::Error;
use crate::files::send::RemoteScope;
use crate::files::upload::{FileToRegister, Owner, Upload, group};
use crate::hashing::checksum::{Checksum, HashContext, with_checksums};
use crate::hashing::md5_sum::Md5Sum;
use crate::listing::left_out::LeftOut;
use crate::listing::trail::TrailFile;
use crate::opener::data_folders::DataFolders;
use crate::session::handle::SessionHandle;
use alf::SessionPath;
use alyx_client::{self, RegisterFileRequest, RegisteredFileRecord};

/// The result of registering files.
#[derive(Debug, Clone, Default)]
pub struct RegisteredFiles {
    /// Each file in the caller's order; `None` for a file that was left out.
    pub records: Vec<Option<RegisteredFile>>,
    /// The files that were left out, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Protected files that had changed and were moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// How many files were up to date on Alyx and not posted. Their records are among the others.
    pub n_unchanged: usize,
}

impl RegisteredFile {
    /// It, for the history.
    pub fn trail(&self) -> TrailFile {
        TrailFile::registered(&self.record.relative_path(), self.size, self.md5)
    }
}

/// A file whose dataset is on Alyx.
#[derive(Debug, Clone)]
pub struct RegisteredFile {
    /// What registering did to the record.
    pub outcome: RecordOutcome,
    /// The record of the dataset.
    pub record: RegisteredFileRecord,
    /// Its size in bytes.
    pub size: u64,
    /// Its MD5, if it has one.
    pub md5: Option<Md5Sum>,
}

/// What registering files would do.
#[derive(Debug, Clone, Default)]
pub struct PlannedFiles {
    /// The requests that would be sent first. They do not contain files that are up to date on Alyx.
    pub requests: Vec<RegisterFileRequest>,
    /// The files that would be left out, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Protected files that have changed and would be moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// Sessions that are not on Alyx: [`RegistrationClient::register_files`] would refuse their files.
    pub absent: Vec<SessionPath>,
}

impl PlannedFiles {
    /// Refuses files of sessions that are not on Alyx, as [`RegistrationClient::register_files`] does.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check_sessions(&self) -> Result<(), Error> {
        self.absent.first().map_or(Ok(()), |session| Err(session_missing(session)))
    }
}

impl RegistrationClient {
    /// Registers files with their sessions, which must be on Alyx (Python: `register_files`).
    ///
    /// Files are grouped by session and sent in batches. A file may have any name that matches exactly one dataset
    /// type; other files are left out with the reason, as are links that [`DataFolders`] refuses. Registering a file again updates its record. A file that Alyx
    /// already holds with the same size and MD5 is not posted (unless [`force`](RegisterFilesOptions::force) is set),
    /// and is never an error, protected or not.
    ///
    /// A changed file whose dataset is protected is moved into a revision folder (see
    /// [`ProtectedPolicy`](crate::ProtectedPolicy)) and listed in [`RegisteredFiles::moved`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::{RegisterFilesOptions, SessionDetails};
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(session.join("alf"))?;
    /// std::fs::write(session.join("alf/spikes.times.npy"), "0.1 0.2")?;
    /// std::fs::write(session.join("notes.txt"), "a good day")?;
    /// client.create_session(&session, &SessionDetails::default()).await?;
    ///
    /// let files = [session.join("notes.txt"), session.join("alf/spikes.times.npy")];
    /// let registered = client.register_files(&files, &RegisterFilesOptions::default()).await?;
    /// assert!(registered.records[0].is_none());
    /// let record = registered.records[1].as_ref().map(|file| &file.record).unwrap();
    /// assert_eq!((record.relative_path().as_str(), record.file_size), ("alf/spikes.times.npy", Some(7)));
    /// assert_eq!(registered.left_out[0].path, files[0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Unreadable`], [`Error::Vanished`] or [`Error::StillChanging`] for the first file that cannot be
    ///   read, before anything of its session is sent;
    /// - [`Error::Missing`] for a user, lab or repository, [`Error::Invalid`] for a session that is not on Alyx and
    ///   for options that contradict each other, [`Error::Ambiguous`];
    /// - [`Error::FilesRefused`] for files that Alyx does not accept, after the other files of the session;
    /// - [`alyx_client::Error::Protected`] with [`ProtectedPolicy::Refuse`](crate::ProtectedPolicy::Refuse), after the
    ///   other files of the session;
    /// - [`Error::CannotMove`], [`Error::NotConfirmed`] if Alyx does not show afterwards what it accepted, and those of
    ///   any request.
    pub async fn register_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<RegisteredFiles, Error> {
        self.register_files_of(paths, options, None).await
    }

    /// As [`register_files`](Self::register_files); `handle` saves the look-up of that session.
    pub(crate) async fn register_files_of(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
        handle: Option<(&SessionPath, &SessionHandle)>,
    ) -> Result<RegisteredFiles, Error> {
        options.check()?;
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, options);
        if !groups.is_empty() {
            self.check_names(options.names()).await?;
        }
        let mut registered =
            RegisteredFiles { records: vec![None; paths.len()], left_out, ..Default::default() };
        for (owner, files) in groups {
            let scope = match handle {
                Some((path, handle)) if owner == Owner::Session(path.clone()) => RemoteScope::of(handle),
                _ => self.remote_scope(&owner).await?.ok_or_else(|| owner_missing(&owner))?,
            };
            let uploads = self.hash_all(&owner, files, options, &mut registered.left_out).await?;
            let turn = self.context().begin_turn().await;
            let mut sent = self.send_files(&owner, &scope, uploads, options, true, &turn).await?;
            let scope = match (scope, handle) {
                (RemoteScope::Nothing, Some((_, handle))) => RemoteScope::Session(handle.eid.clone()),
                (scope, _) => scope,
            };
            self.confirm(&owner, &scope, &sent, options).await?;
            let (not_accepted, protected) = (sent.not_accepted(), sent.protected());
            if !not_accepted.is_empty() {
                let registered = sent.registered().count();
                return Err(Error::FilesRefused { registered, refused: not_accepted });
            }
            if !protected.is_empty() {
                let details = protected.clone();
                return Err(alyx_client::Error::Protected { details, files: protected }.into());
            }
            for upload in &mut sent.uploads {
                let outcome = RecordOutcome::of(upload.remote.records == 0, upload.is_posted());
                if let Some(place) = registered.records.get_mut(upload.file.index) {
                    let Checksum { size, md5, .. } = upload.sum;
                    let file = |record: &mut RegisteredFileRecord| RegisteredFile {
                        outcome,
                        record: record.clone(),
                        size,
                        md5,
                    };
                    *place = upload.record_mut().map(file);
                }
            }
            registered.moved.extend(sent.moved(&owner));
            registered.n_unchanged += sent.n_unchanged();
        }
        Ok(registered)
    }

    /// What [`RegistrationClient::register_files`] would do (Python: `register_files(dry=True)`): its first requests,
    /// and the moves of protected files.
    ///
    /// Reads the files and asks Alyx, but changes nothing. A session that is not on Alyx is treated as just created, and is
    /// in [`absent`](PlannedFiles::absent).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::RegisterFilesOptions;
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(&session)?;
    /// let file = session.join("wheel.position.npy");
    /// std::fs::write(&file, "a")?;
    /// let planned = client.plan_files(&[file], &RegisterFilesOptions::default()).await?;
    /// assert_eq!(planned.requests[0].path, "KS014/2024-05-01/001");
    /// assert_eq!(planned.requests[0].hashes[0].as_deref(), Some("0cc175b9c0f1b6a831c399e269772661"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of reading the files and of the requests; [`Error::Missing`]; [`alyx_client::Error::Protected`] with
    /// [`ProtectedPolicy::Refuse`](crate::ProtectedPolicy::Refuse).
    pub async fn plan_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<PlannedFiles, Error> {
        options.check()?;
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, options);
        let mut planned = PlannedFiles { left_out, ..PlannedFiles::default() };
        if !groups.is_empty() {
            self.check_names(options.names()).await?;
        }
        for (owner, files) in groups {
            let scope = self.remote_scope(&owner).await?;
            if let (None, Owner::Session(session)) = (&scope, &owner) {
                planned.absent.push(session.clone());
            }
            let scope = scope.unwrap_or(RemoteScope::Nothing);
            let uploads = self.hash_all(&owner, files, options, &mut planned.left_out).await?;
            let (requests, moved) = self.plan_sending(&owner, &scope, uploads, options).await?;
            planned.requests.extend(requests);
            planned.moved.extend(moved);
        }
        Ok(planned)
    }

    /// Hashes files of one session; hands each on with its result, in order.
    pub(crate) async fn hash_each(
        &self,
        owner: &Owner,
        files: impl ExactSizeIterator<Item = FileToRegister>,
        options: &RegisterFilesOptions,
        mut take: impl FnMut(FileToRegister, Result<Checksum, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.context().progress.files.fetch_add(files.len() as u64, Ordering::Relaxed);
        let mut files = files.peekable();
        let first = files.peek().map(|file| owner.path_of(&file.dataset)).unwrap_or_default();
        let context = self.hash_context(&first, options.max_md5_size);
        let mut first_error = None;
        let path = |file: &FileToRegister| owner.path_of(&file.dataset);
        let mut sums = std::pin::pin!(with_checksums(files, path, &context));
        while let Some((file, sum)) = sums.next().await {
            // All files are tried: a cache remembers those that could be read.
            if let Err(error) = take(file, sum) {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Hashes files of one session; fails at the first that cannot be read. A link that is not followed is no failure: it
    /// is left out.
    async fn hash_all(
        &self,
        owner: &Owner,
        files: Vec<FileToRegister>,
        options: &RegisterFilesOptions,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<Upload>, Error> {
        let (mut uploads, mut unreadable) = (Vec::with_capacity(files.len()), Vec::new());
        let take = |file, sum| {
            match sum {
                Ok(sum) => uploads.push(Upload::new(file, sum)),
                Err(Error::Unreadable { path, reason }) => unreadable.push((path, reason)),
                Err(error) => return Err(error),
            }
            Ok(())
        };
        self.hash_each(owner, files.into_iter(), options, take).await?;
        if unreadable.is_empty() {
            return Ok(uploads);
        }
        let data = Arc::clone(&self.options().data);
        let judge =
            move || unreadable.into_iter().map(|(path, reason)| refused(&data, path, reason)).collect();
        let judged: Result<Vec<LeftOut>, Error> = tokio::task::spawn_blocking(judge)
            .await
            .map_err(|e| Error::Internal(format!("judging links: {e}")))?;
        left_out.extend(judged?);
        Ok(uploads)
    }

    /// How the files of one data root are read and hashed.
    pub(crate) fn hash_context(&self, file: &Path, max_md5_size: Option<u64>) -> HashContext {
        HashContext {
            max_md5_size,
            scheduler: self.scheduler(file),
            progress: Arc::clone(&self.context().progress),
            cache: self.context().cache.clone(),
            data: Arc::clone(&self.options().data),
        }
    }
}

/// A file that was not opened because of the rule for links.
///
/// # Errors
/// Any other file that cannot be read.
fn refused(data: &DataFolders, path: PathBuf, reason: String) -> Result<LeftOut, Error> {
    match std::fs::metadata(&path).ok().and_then(|metadata| data.refusal(&path, &metadata)) {
        Some(refusal) => Ok(LeftOut { path, reason: refusal.into() }),
        None => Err(Error::Unreadable { path, reason }),
    }
}

fn session_missing(session: &SessionPath) -> Error {
    Error::Invalid(format!("session {session} is not on Alyx; create it first, then register its files"))
}

fn owner_missing(owner: &Owner) -> Error {
    match owner {
        Owner::Session(session) => session_missing(session),
        Owner::Object { relation, .. } => Error::Invalid(format!("no {} on Alyx", relation.content_type)),
    }
}
