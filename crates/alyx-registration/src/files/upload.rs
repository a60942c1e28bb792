//! An upload: a local file, the record that it belongs to, and the requests that register it. Pure.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::client::options::{RegisterFilesOptions, Relation};
use crate::files::remote_diff::RemoteState;
use crate::hashing::checksum::Checksum;
use crate::listing::left_out::{LeftOut, LeftOutReason, withdraw_renames};
use crate::listing::trail::TrailFile;
use alf::{DatasetPath, DatasetTypes, SessionPath};
use alyx_client::{CheckProtectedRequest, ProtectedFile, RegisterFileRequest, RegisteredFileRecord};

/// A file to register. A session may have 100,000, so it keeps only what nothing else says: [`Owner::path_of`] makes its
/// path, and the options its version.
#[derive(Debug, Clone)]
pub(crate) struct FileToRegister {
    /// Its index in the caller's list.
    pub(crate) index: usize,
    /// Its path in its [`Owner`].
    pub(crate) dataset: DatasetPath,
}

/// A file that was read, and its state on Alyx.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) file: FileToRegister,
    pub(crate) sum: Checksum,
    pub(crate) state: UploadState,
    /// What Alyx held of it before.
    pub(crate) remote: RemoteState,
    /// What it was before it was moved into a revision folder.
    pub(crate) moved_from: Option<Box<DatasetPath>>,
    /// Whether another revision of its dataset is posted as well, or a later one is on Alyx.
    pub(crate) has_other_revision: bool,
}

/// The state of a file on Alyx.
#[derive(Debug, Clone)]
pub(crate) enum UploadState {
    /// Not posted yet.
    Pending,
    /// It was up to date. The record is kept only for a caller who wants it: a session may have 100,000.
    Unchanged(Option<Box<RegisteredFileRecord>>),
    /// The same.
    Posted(Option<Box<RegisteredFileRecord>>),
    /// It has changed, its dataset is protected, and it was not moved.
    Protected(Box<ProtectedFile>),
    /// Alyx does not accept it, for this reason.
    NotAccepted(String),
}

impl Upload {
    pub(crate) fn new(file: FileToRegister, sum: Checksum) -> Self {
        let remote = RemoteState::default();
        Self { file, sum, state: UploadState::Pending, remote, moved_from: None, has_other_revision: false }
    }

    /// Whether its record is on Alyx.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.state, UploadState::Unchanged(_) | UploadState::Posted(_))
    }

    /// What became of it, for the history.
    pub(crate) fn trail(&self) -> TrailFile {
        let path = self.file.dataset.as_str();
        let left_out = match &self.state {
            UploadState::Unchanged(_) | UploadState::Posted(_) => None,
            UploadState::Pending => Some("not posted".to_owned()),
            UploadState::Protected(_) => Some("protected on Alyx".to_owned()),
            UploadState::NotAccepted(why) => Some(why.clone()),
        };
        TrailFile { left_out, ..TrailFile::registered(path, self.sum.size, self.sum.md5) }
    }

    /// Its record on Alyx, if it was kept.
    pub(crate) fn record_mut(&mut self) -> Option<&mut RegisteredFileRecord> {
        match &mut self.state {
            UploadState::Unchanged(record) | UploadState::Posted(record) => record.as_deref_mut(),
            UploadState::Pending | UploadState::Protected(_) | UploadState::NotAccepted(_) => None,
        }
    }

    /// Whether this run has sent it.
    pub(crate) fn is_posted(&self) -> bool {
        matches!(self.state, UploadState::Posted(_))
    }

    /// Its protection, with its path in the session.
    pub(crate) fn protected(&self, protection: &ProtectedFile) -> ProtectedFile {
        ProtectedFile { file: self.file.dataset.as_str().to_owned(), ..protection.clone() }
    }
}

impl AsRef<DatasetPath> for Upload {
    fn as_ref(&self) -> &DatasetPath {
        &self.file.dataset
    }
}

/// The record on Alyx that files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(SessionPath),
    /// A record other than a session, such as a subject or a tag.
    Object {
        relation: Relation,
        /// The folder to which the paths of the files are relative.
        root: PathBuf,
    },
}

impl Owner {
    /// The folder to which the paths of its files are relative.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Session(session) => session.folder(),
            Self::Object { root, .. } => root,
        }
    }

    /// The path of one of its files.
    pub(crate) fn path_of(&self, dataset: &DatasetPath) -> PathBuf {
        self.folder().join(dataset)
    }

    fn lab(&self) -> Option<&str> {
        match self {
            Self::Session(session) => session.lab(),
            Self::Object { .. } => None,
        }
    }

    /// `path` and `filenames` of a request. Outside a session, `path` is the deepest folder that contains all files.
    fn path_and_names(&self, files: &[&FileToRegister]) -> (String, Vec<String>) {
        let names = || files.iter().map(|f| f.dataset.as_str());
        match self {
            Self::Session(session) => (session.relative(), names().map(str::to_owned).collect()),
            Self::Object { .. } => {
                let common = common_folder(names());
                let below = |name: &str| {
                    name.strip_prefix(&common).unwrap_or(name).trim_start_matches('/').to_owned()
                };
                let below = names().map(below).collect();
                (common, below)
            }
        }
    }

    /// The path of a file in a repository, as Alyx derives it from [`request`](Self::request).
    pub(crate) fn repository_path(&self, dataset: &DatasetPath) -> String {
        match self {
            Self::Session(session) => format!("{}/{}", session.relative(), dataset.as_str()),
            Self::Object { .. } => dataset.as_str().to_owned(),
        }
    }

    fn content_type(&self) -> Option<String> {
        match self {
            Self::Session(_) => None,
            Self::Object { relation, .. } => Some(relation.content_type.clone()),
        }
    }

    fn object_id(&self) -> Option<String> {
        match self {
            Self::Session(_) => None,
            Self::Object { relation, .. } => Some(relation.object_id.clone()),
        }
    }

    /// The request for one batch.
    pub(crate) fn request(
        &self,
        uploads: &[&Upload],
        options: &RegisterFilesOptions,
        username: &str,
    ) -> RegisterFileRequest {
        let files: Vec<&FileToRegister> = uploads.iter().map(|upload| &upload.file).collect();
        let (path, filenames) = self.path_and_names(&files);
        RegisterFileRequest {
            created_by: options.created_by.clone().unwrap_or_else(|| username.to_owned()),
            path,
            filenames,
            hashes: uploads.iter().map(|upload| upload.sum.md5.map(|md5| md5.to_string())).collect(),
            filesizes: uploads.iter().map(|upload| upload.sum.size).collect(),
            versions: files.iter().map(|f| options.versions.of(f.index).map(str::to_owned)).collect(),
            name: options.repository.clone(),
            exists: options.exists,
            server_only: options.server_only,
            default: options.default,
            check_protected: true,
            labs: options.labs.clone().or_else(|| self.lab().map(str::to_owned)),
            qc: options.qc.clone(),
            content_type: self.content_type(),
            object_id: self.object_id(),
        }
    }

    /// The request that asks whether files are protected.
    pub(crate) fn protection_request(
        &self,
        files: &[&FileToRegister],
        username: &str,
    ) -> CheckProtectedRequest {
        let (path, filenames) = self.path_and_names(files);
        CheckProtectedRequest {
            created_by: username.to_owned(),
            path,
            filenames,
            content_type: self.content_type(),
            object_id: self.object_id(),
        }
    }
}

/// The deepest folder that contains all these paths, with `/`.
fn common_folder<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut common: Option<Vec<&str>> = None;
    for path in paths {
        let folders = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folders: Vec<&str> = folders.split('/').filter(|f| !f.is_empty()).collect();
        common = Some(match common {
            None => folders,
            Some(before) => {
                before.into_iter().zip(folders).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    common.unwrap_or_default().join("/")
}

/// Groups files by their owner.
pub(crate) fn group(
    paths: &[PathBuf],
    types: &DatasetTypes,
    options: &RegisterFilesOptions,
) -> (Vec<(Owner, Vec<FileToRegister>)>, Vec<LeftOut>) {
    let mut groups: Vec<(Owner, Vec<FileToRegister>)> = Vec::new();
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    let mut left_out = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let prepared = match &options.relation {
            None => in_session(path, types),
            Some(relation) => in_object(path, types, relation),
        };
        match prepared {
            Ok((owner, dataset)) => {
                let file = FileToRegister { index, dataset };
                let place = *places.entry(owner.folder().to_owned()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some((_, files)) => files.push(file),
                    None => groups.push((owner, vec![file])),
                }
            }
            Err(reason) => left_out.push(LeftOut { path: path.clone(), reason }),
        }
    }
    withdraw_renames(&mut left_out, |target| paths.iter().any(|path| path == target));
    (groups, left_out)
}

/// Checks a file of an explicit list: it may have any name that matches exactly one dataset type.
fn check_type(path: &Path, types: &DatasetTypes) -> Result<(), LeftOutReason> {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Err(LeftOutReason::NotAlf) };
    let near_miss = || types.near_miss(name).map(|near| LeftOutReason::NearMiss(near.rename));
    types.find(name).map_err(|reason| near_miss().unwrap_or(LeftOutReason::NoType(reason))).map(drop)
}

fn in_session(path: &Path, types: &DatasetTypes) -> Result<(Owner, DatasetPath), LeftOutReason> {
    let (session, relative) =
        SessionPath::containing(path).map_err(|e| LeftOutReason::NotInSession(e.to_string()))?;
    check_type(path, types)?;
    let dataset = DatasetPath::parse(&relative).map_err(LeftOutReason::BadFolder)?;
    Ok((Owner::Session(session), dataset))
}

/// A file outside a session. As in ONE, its path starts at the first folder named after the relation (`Subject`), or
/// else at the first whose name begins with it, in any case (`Subjects`).
fn in_object(
    path: &Path,
    types: &DatasetTypes,
    relation: &Relation,
) -> Result<(Owner, DatasetPath), LeftOutReason> {
    let parts: Vec<Component> = path.components().collect();
    let names = |part: &Component| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    let model = relation.content_type.rsplit('.').next().unwrap_or_default().to_lowercase();
    let mut folders = parts.iter().map(names).take(parts.len().saturating_sub(1));
    let capitalised = capitalised(&model);
    let exact = folders.clone().position(|name| name.as_deref() == Some(capitalised.as_str()));
    let begins = |name: Option<String>| name.is_some_and(|n| n.to_lowercase().starts_with(&model));
    let Some(first) = exact.or_else(|| folders.position(begins)) else {
        return Err(LeftOutReason::NotInObject(relation.content_type.clone()));
    };
    check_type(path, types)?;
    let root: PathBuf = parts.iter().take(first).collect();
    let relative: PathBuf = parts.iter().skip(first).collect();
    let dataset = DatasetPath::parse(&relative).map_err(LeftOutReason::BadFolder)?;
    Ok((Owner::Object { relation: relation.clone(), root }, dataset))
}

/// Python's `str.capitalize`, for a lower-case name.
fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Versions;
    use alf::DatasetType;

    fn types() -> DatasetTypes {
        let of = |name: &str| DatasetType { name: name.into(), filename_pattern: format!("*{name}*") };
        DatasetTypes::new(vec![of("wheel.position"), of("obj.attr")], vec![".npy".into(), ".ssv".into()])
    }

    fn subject_options() -> RegisterFilesOptions {
        let relation = Relation { content_type: "subject".into(), object_id: "7".into() };
        RegisterFilesOptions { relation: Some(relation), ..Default::default() }
    }

    fn sum() -> Checksum {
        let stamp = crate::FileStamp::of(&std::fs::metadata("/").unwrap());
        Checksum { md5: crate::Md5Sum::parse(&"ab".repeat(16)), size: 3, stamp }
    }

    #[test]
    fn files_are_grouped_by_session_and_keep_their_versions() {
        let paths = [
            "a/2020-01-01/001/wheel.position.npy",
            "a/2020-01-01/001/wheel.position.ssv",
            "a/2020-01-01/002/wheel.position.npy",
        ];
        let options = RegisterFilesOptions {
            versions: Versions::Cycle(vec!["1".into(), "2".into(), "3".into()]),
            ..Default::default()
        };
        let (groups, left_out) = group(&paths.map(PathBuf::from), &types(), &options);
        assert!(left_out.is_empty());
        let versions: Vec<Vec<&str>> = groups
            .iter()
            .map(|(_, files)| files.iter().filter_map(|f| options.versions.of(f.index)).collect())
            .collect();
        assert_eq!(versions, [vec!["1", "2"], vec!["3"]]);
    }

    #[test]
    fn the_path_of_a_subjects_file_starts_at_the_folder_of_the_relation() {
        for (path, folder, name) in [
            (
                "/data/cortexlab/Subjects/SP044/#2020-01-01#/obj.attr.npy",
                "Subjects/SP044/#2020-01-01#",
                "obj.attr.npy",
            ),
            ("/data/subjects/Subject/SP044/obj.attr.npy", "Subject/SP044", "obj.attr.npy"),
        ] {
            let (groups, _) = group(&[path.into()], &types(), &subject_options());
            let (owner, files) = &groups[0];
            let request = owner.request(&[&Upload::new(files[0].clone(), sum())], &subject_options(), "me");
            assert_eq!((request.path.as_str(), request.filenames[0].as_str()), (folder, name), "{path}");
            assert_eq!(
                (request.content_type.as_deref(), request.object_id.as_deref()),
                (Some("subject"), Some("7"))
            );
            assert_eq!(request.labs, None);
        }
    }

    #[test]
    fn files_outside_a_session_are_relative_to_their_deepest_common_folder() {
        let paths = ["/d/Subjects/a/x/obj.attr.npy", "/d/Subjects/a/y/z/obj.attr.npy"].map(PathBuf::from);
        let (groups, _) = group(&paths, &types(), &subject_options());
        let (owner, files) = &groups[0];
        let (folder, names) = owner.path_and_names(&files.iter().collect::<Vec<_>>());
        assert_eq!(
            (folder.as_str(), names),
            ("Subjects/a", vec!["x/obj.attr.npy".into(), "y/z/obj.attr.npy".into()])
        );
        assert_eq!(owner.folder(), Path::new("/d"));
    }

    #[test]
    fn a_file_that_is_not_below_the_relation_is_left_out_with_the_reason() {
        let (groups, left_out) = group(&["/data/mice/a/obj.attr.npy".into()], &types(), &subject_options());
        assert!(groups.is_empty());
        assert_eq!(left_out[0].reason, LeftOutReason::NotInObject("subject".into()));
        // The name of the file itself does not count.
        let (groups, _) = group(&["/data/subject.obj.attr.npy".into()], &types(), &subject_options());
        assert!(groups.is_empty());
    }
}
