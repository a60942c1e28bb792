//! Files: from paths to records on Alyx, in batches, in the order in which they were given.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checksum::{Checksum, Progress, checksums};
use super::client::RegistrationClient;
use super::discover::{LeftOut, Reason};
use super::error::Error;
use crate::alf::{DatasetPath, DatasetTypes, SessionPath};
use crate::alyx::{Endpoint, RegisterFileRequest, RegisteredFileRecord};

/// Version tags of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Versions {
    /// None.
    #[default]
    None,
    /// The same for every file.
    One(String),
    /// One after the other, beginning again at the end of the list.
    Cycle(Vec<String>),
}

impl Versions {
    pub(super) fn of(&self, index: usize) -> Option<String> {
        match self {
            Self::None => None,
            Self::One(version) => Some(version.clone()),
            Self::Cycle(versions) => versions.get(index.checked_rem(versions.len())?).cloned(),
        }
    }
}

/// How files are registered (Python: the arguments of `register_files`).
#[derive(Debug, Clone)]
pub struct RegisterFilesOptions {
    /// Version tags.
    pub versions: Versions,
    /// Whether this becomes the default revision.
    pub default: bool,
    /// The user who registers; the one who is logged in where this is open.
    pub created_by: Option<String>,
    /// Only records in online repositories.
    pub server_only: bool,
    /// Name of the repository that holds the files.
    pub repository: Option<String>,
    /// Whether the files exist in the repository.
    pub exists: bool,
    /// Files of this size in bytes or more get no MD5.
    pub max_md5_size: Option<u64>,
    /// Labs, comma-separated; the one of the path where this is open.
    pub labs: Option<String>,
    /// QC outcome of the datasets.
    pub qc: Option<String>,
    /// Updated while files are read.
    pub progress: Arc<Progress>,
}

impl Default for RegisterFilesOptions {
    fn default() -> Self {
        Self {
            versions: Versions::None,
            default: true,
            created_by: None,
            server_only: false,
            repository: None,
            exists: true,
            max_md5_size: None,
            labs: None,
            qc: None,
            progress: Arc::default(),
        }
    }
}

/// What came of registering files.
#[derive(Debug, Clone, Default)]
pub struct RegisteredFiles {
    /// One record a file, in the order of the files; a gap for a file that was left out.
    pub records: Vec<Option<RegisteredFileRecord>>,
    /// The files that were left out, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A file on its way to Alyx.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// Its place in the caller's list.
    pub(super) index: usize,
    pub(super) path: PathBuf,
    pub(super) dataset: DatasetPath,
    pub(super) version: Option<String>,
}

/// Sorts files by session. Pure.
fn group(
    paths: &[PathBuf],
    types: &DatasetTypes,
    versions: &Versions,
) -> (Vec<(SessionPath, Vec<Outgoing>)>, Vec<LeftOut>) {
    let mut groups: Vec<(SessionPath, Vec<Outgoing>)> = Vec::new();
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    let mut left_out = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match prepare(path, types) {
            Ok((session, dataset)) => {
                let version = versions.of(index);
                let file = Outgoing { index, path: path.clone(), dataset, version };
                let place = *places.entry(session.folder().to_owned()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some((_, files)) => files.push(file),
                    None => groups.push((session, vec![file])),
                }
            }
            Err(reason) => left_out.push(LeftOut { path: path.clone(), reason }),
        }
    }
    (groups, left_out)
}

/// A file of an explicit list: it may have any name that is of exactly one dataset type.
fn prepare(path: &Path, types: &DatasetTypes) -> Result<(SessionPath, DatasetPath), Reason> {
    let (session, relative) =
        SessionPath::containing(path).map_err(|e| Reason::NotInSession(e.to_string()))?;
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Err(Reason::NotAlf) };
    types.find(name).map_err(Reason::NoType)?;
    let dataset = DatasetPath::parse(&relative).map_err(Reason::BadFolder)?;
    Ok((session, dataset))
}

/// The request for one batch. Pure.
fn request(
    session: &SessionPath,
    files: &[Outgoing],
    sums: &[Checksum],
    options: &RegisterFilesOptions,
    username: &str,
) -> RegisterFileRequest {
    RegisterFileRequest {
        created_by: options.created_by.clone().unwrap_or_else(|| username.to_owned()),
        path: session.relative(),
        filenames: files.iter().map(|f| f.dataset.as_str().to_owned()).collect(),
        hashes: sums.iter().map(|s| s.md5.clone()).collect(),
        filesizes: sums.iter().map(|s| s.size).collect(),
        versions: files.iter().map(|f| f.version.clone()).collect(),
        name: options.repository.clone(),
        exists: options.exists,
        server_only: options.server_only,
        default: options.default,
        check_protected: true,
        labs: options.labs.clone().or_else(|| session.lab().map(str::to_owned)),
        qc: options.qc.clone(),
    }
}

impl RegistrationClient {
    /// Registers files with their sessions, which must be on Alyx (Python: `register_files`).
    ///
    /// Files are grouped by session and sent in batches; what is no dataset is left out with its reason.
    /// Registering a file again updates its record.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Vanished`] or [`Error::StillChanging`] for the first file that cannot be
    /// read, before anything of its session is sent; a protected dataset is an [`alyx::Error::Protected`]
    /// (crate::alyx::Error::Protected).
    pub async fn register_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<RegisteredFiles, Error> {
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, &options.versions);
        self.check_names(Self::names_of(options)).await?;
        let mut records = vec![None; paths.len()];
        for (session, files) in groups {
            let sums = self.checksums_of(&files, options).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            for (file, record) in files.iter().zip(self.send_files(&session, &files, &sums, options).await?) {
                if let Some(place) = records.get_mut(file.index) {
                    *place = Some(record);
                }
            }
        }
        Ok(RegisteredFiles { records, left_out })
    }

    /// The requests that [`RegistrationClient::register_files`] would send (Python: `register_files(dry=True)`).
    /// Files are read, nothing is sent.
    ///
    /// # Errors
    /// Those of reading the files and of asking for the dataset types.
    pub async fn plan_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<(Vec<RegisterFileRequest>, Vec<LeftOut>), Error> {
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, &options.versions);
        let username = self.alyx().username().await?;
        let mut requests = Vec::new();
        for (session, files) in groups {
            let sums = self.checksums_of(&files, options).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            for (files, sums) in files.chunks(self.batch_size()).zip(sums.chunks(self.batch_size())) {
                requests.push(request(&session, files, sums, options, username));
            }
        }
        Ok((requests, left_out))
    }

    fn batch_size(&self) -> usize {
        self.options().batch_size.max(1)
    }

    /// The names of Alyx that the options mention.
    pub(super) fn names_of(options: &RegisterFilesOptions) -> Vec<(Endpoint, String)> {
        let labs = options
            .labs
            .iter()
            .flat_map(|labs| labs.split(','))
            .map(|lab| (Endpoint::Labs, lab.trim().to_owned()));
        let repository = options.repository.iter().map(|name| (Endpoint::Repositories, name.clone()));
        let user = options.created_by.iter().map(|name| (Endpoint::Users, name.clone()));
        labs.chain(repository).chain(user).collect()
    }

    /// Reads files of one session; one result a file.
    pub(super) async fn checksums_of(
        &self,
        files: &[Outgoing],
        options: &RegisterFilesOptions,
    ) -> Vec<Result<Checksum, Error>> {
        let paths: Vec<PathBuf> = files.iter().map(|f| f.path.clone()).collect();
        options.progress.files.fetch_add(paths.len() as u64, Ordering::Relaxed);
        checksums(paths, options.max_md5_size, self.threads(), &options.progress).await
    }

    /// Sends files of one session, batch by batch; one record a file.
    pub(super) async fn send_files(
        &self,
        session: &SessionPath,
        files: &[Outgoing],
        sums: &[Checksum],
        options: &RegisterFilesOptions,
    ) -> Result<Vec<RegisteredFileRecord>, Error> {
        let username = self.alyx().username().await?;
        let mut records = Vec::with_capacity(files.len());
        for (files, sums) in files.chunks(self.batch_size()).zip(sums.chunks(self.batch_size())) {
            let request = request(session, files, sums, options, username);
            records.extend(self.alyx().register_files(&request).await?);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_versions_begins_again_at_its_end() {
        let versions = Versions::Cycle(vec!["a".into(), "b".into()]);
        assert_eq!(
            (0..3).map(|i| versions.of(i)).collect::<Vec<_>>(),
            [Some("a".into()), Some("b".into()), Some("a".into())]
        );
        assert_eq!(Versions::Cycle(Vec::new()).of(0), None);
        assert_eq!(Versions::None.of(0), None);
    }
}
