//! Files: from paths to records on Alyx, in batches, in the order in which they were given.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::files::discover::LeftOut;
use crate::files::send::RemoteScope;
use crate::files::upload::{FileToRegister, Owner, Upload, group};
use crate::hashing::checksum::{Checksum, HashContext, checksums};
use crate::options::RegisterFilesOptions;
use crate::session::handle::SessionHandle;
use alf::SessionPath;
use alyx_client::{self, RegisterFileRequest, RegisteredFileRecord};

/// What came of registering files.
#[derive(Debug, Clone, Default)]
pub struct RegisteredFiles {
    /// One record a file, in the order of the files; a gap for a file that was left out.
    pub records: Vec<Option<RegisteredFileRecord>>,
    /// The files that were left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Protected files that had changed and were moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// How many files were not posted because Alyx holds just them already. Their records are among the others.
    pub n_unchanged: usize,
}

/// What registering files would do.
#[derive(Debug, Clone, Default)]
pub struct PlannedFiles {
    /// The requests that would be sent first. Files that Alyx holds already are in none.
    pub requests: Vec<RegisterFileRequest>,
    /// The files that would be left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Protected files that have changed and would be moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

impl RegistrationClient {
    /// Registers files with their sessions, which must be on Alyx (Python: `register_files`).
    ///
    /// Files are grouped by session and sent in batches. A file may have any name that is of exactly one dataset
    /// type; what is no dataset is left out with its reason. Registering a file again updates its record; what Alyx
    /// already holds with the same size and MD5 is not posted (unless [`force`](RegisterFilesOptions::force) is
    /// set), and is never an error, protected or not.
    ///
    /// A changed file whose dataset is protected is moved into a revision folder (see [`ProtectedPolicy`]): look at
    /// [`RegisteredFiles::moved`].
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
    /// let record = registered.records[1].as_ref().unwrap();
    /// assert_eq!((record.relative_path().as_str(), record.file_size), ("alf/spikes.times.npy", Some(7)));
    /// assert_eq!(registered.left_out[0].path, files[0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Unreadable`], [`Error::Vanished`] or [`Error::StillChanging`] for the first file that cannot be
    ///   read, before anything of its session is sent;
    /// - [`Error::Missing`] for a user, lab or repository, [`Error::Invalid`] for a session that is not on Alyx and
    ///   for options that contradict themselves, [`Error::Ambiguous`];
    /// - [`Error::FilesRefused`] for files that Alyx does not accept, after the other files of the session;
    /// - [`alyx_client::Error::Protected`] with [`ProtectedPolicy::Refuse`], after the other files of the session;
    /// - [`Error::CannotMove`], and those of any request.
    pub async fn register_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<RegisteredFiles, Error> {
        self.register_files_of(paths, options, None).await
    }

    /// As [`register_files`](Self::register_files); `handle` spares the look-up of that session.
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
            let held = match handle {
                Some((path, handle)) if owner == Owner::Session(path.clone()) => RemoteScope::of(handle),
                _ => self.held(&owner).await?.ok_or_else(|| not_there(&owner))?,
            };
            let uploads = self.read_all(files, options).await?;
            let sent = self.send_files(&owner, &held, uploads, options).await?;
            let (not_accepted, protected) = (sent.not_accepted(), sent.protected());
            if !not_accepted.is_empty() {
                let registered = sent.registered().count();
                return Err(Error::FilesRefused { registered, refused: not_accepted });
            }
            if !protected.is_empty() {
                let details = protected.clone();
                return Err(alyx_client::Error::Protected { details, files: protected }.into());
            }
            for upload in &sent.uploads {
                if let Some(place) = registered.records.get_mut(upload.file.index) {
                    *place = upload.record().cloned();
                }
            }
            registered.moved.extend(sent.moved());
            registered.n_unchanged += sent.n_unchanged();
        }
        Ok(registered)
    }

    /// What [`RegistrationClient::register_files`] would do (Python: `register_files(dry=True)`): the requests that
    /// it would send first, and the moves of protected files that it would make.
    ///
    /// Files are read and Alyx is asked, nothing is changed. A session that is not on Alyx yet counts as just created.
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
    /// Those of reading the files and of asking Alyx; [`alyx_client::Error::Protected`] with [`ProtectedPolicy::Refuse`].
    pub async fn plan_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<PlannedFiles, Error> {
        options.check()?;
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, options);
        let mut planned = PlannedFiles { left_out, ..PlannedFiles::default() };
        for (owner, files) in groups {
            let held = self.held(&owner).await?.unwrap_or(RemoteScope::Nothing);
            let uploads = self.read_all(files, options).await?;
            let (requests, moved) = self.plan_sending(&owner, &held, &uploads, options).await?;
            planned.requests.extend(requests);
            planned.moved.extend(moved);
        }
        Ok(planned)
    }

    /// Reads files of one session; one result a file.
    pub(crate) async fn checksums_of(
        &self,
        files: &[FileToRegister],
        options: &RegisterFilesOptions,
    ) -> Vec<Result<Checksum, Error>> {
        let paths: Vec<PathBuf> = files.iter().map(|f| f.path.clone()).collect();
        self.context().progress.files.fetch_add(paths.len() as u64, Ordering::Relaxed);
        checksums(paths, &self.hash_context(options.max_md5_size)).await
    }

    /// Reads files of one session; the first that cannot be read is the error.
    async fn read_all(
        &self,
        files: Vec<FileToRegister>,
        options: &RegisterFilesOptions,
    ) -> Result<Vec<Upload>, Error> {
        let sums = self.checksums_of(&files, options).await;
        files.into_iter().zip(sums).map(|(file, sum)| Ok(Upload::new(file, sum?))).collect()
    }

    /// How files are read and hashed.
    pub(crate) fn hash_context(&self, max_md5_size: Option<u64>) -> HashContext {
        HashContext {
            max_md5_size,
            scheduler: Arc::clone(self.scheduler()),
            progress: Arc::clone(&self.context().progress),
            cache: self.context().cache.clone(),
            private: Arc::clone(&self.options().private),
        }
    }
}

fn not_there(owner: &Owner) -> Error {
    match owner {
        Owner::Session(session) => Error::Invalid(format!(
            "session {session} is not on Alyx; create it first, then register its files"
        )),
        Owner::Object { relation, .. } => Error::Invalid(format!("no {} on Alyx", relation.content_type)),
    }
}
