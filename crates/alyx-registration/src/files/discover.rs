//! Discovery: which files of a session folder are datasets, and why the others are not.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::error::Error;
use crate::file_system::{self, is_network};
use crate::files::copy_signs::CopySign;
use crate::files::quiet::Activity;
use crate::hashing::private_paths::{IS_PRIVATE, PrivatePaths};
use crate::hashing::stamp::FileStamp;
use alf::dataset_path::DatasetPathError;
use alf::dataset_type::NoDatasetType;
use alf::session_path::parse_number_folder;
use alf::{DatasetPath, DatasetTypes, SessionPath};

/// A dataset on disk.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Its path.
    pub path: PathBuf,
    /// Its path in the session.
    pub dataset: DatasetPath,
    /// Its stamp when it was found.
    pub stamp: FileStamp,
    /// In bytes.
    pub size: u64,
}

/// A file that is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the session if it is in one; otherwise as given.
    pub path: PathBuf,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a file is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Hidden, or below a hidden folder (macOS creates `._spikes.times.npy` next to the file itself).
    Hidden,
    /// Not `object.attribute.extension`.
    NotAlf,
    /// Unknown extension, or no unique dataset type.
    NoType(NoDatasetType),
    /// A pattern of the configuration excludes it.
    Excluded,
    /// The flag does not list it.
    NotInFlag,
    /// A link to a folder, which is not followed.
    LinkToFolder,
    /// Neither a file nor a folder.
    NotAFile,
    /// Not inside a session folder (explicit lists only).
    NotInSession(String),
    /// Not below a folder named after the model that files outside a session belong to (explicit lists only).
    NotInObject(String),
    /// A dataset by its name, but in a folder that Alyx cannot store. The folder must be renamed.
    BadFolder(DatasetPathError),
    /// A link whose target does not exist or cannot be reached. The disk must be mounted or the link fixed.
    LeadsNowhere(String),
    /// It leads to one of this program's own files. The link must be removed.
    Private,
    /// It cannot be read. The permissions must be changed.
    Unreadable(String),
}

impl LeftOutReason {
    /// Whether the file is a dataset that cannot be registered as it is, so that the session is not complete.
    pub fn is_problem(&self) -> bool {
        match self {
            Self::BadFolder(_) | Self::LeadsNowhere(_) | Self::Private | Self::Unreadable(_) => true,
            Self::Hidden
            | Self::NotAlf
            | Self::NoType(_)
            | Self::Excluded
            | Self::NotInFlag
            | Self::LinkToFolder
            | Self::NotAFile
            | Self::NotInSession(_)
            | Self::NotInObject(_) => false,
        }
    }

    /// The group in which it is counted.
    fn group(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::NotAlf => "no ALF name",
            Self::NoType(NoDatasetType::UnknownExtension(_)) => "unknown extension",
            Self::NoType(NoDatasetType::None) => "no dataset type",
            Self::NoType(NoDatasetType::Several(_)) => "several dataset types",
            Self::Excluded => "excluded by the configuration",
            Self::NotInFlag => "not listed in the flag",
            Self::LinkToFolder => "link to a folder, not followed",
            Self::NotAFile => "not a regular file",
            Self::NotInSession(_) => "not in a session folder",
            Self::NotInObject(_) => "not in a folder of the content type",
            Self::BadFolder(_) => "in a folder that Alyx cannot store",
            Self::LeadsNowhere(_) => "broken link",
            Self::Private => "this program's own file",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoType(reason) => reason.fmt(f),
            Self::BadFolder(reason) => reason.fmt(f),
            Self::NotInSession(reason) => write!(f, "not in a session folder: {reason}"),
            Self::NotInObject(model) => write!(f, "not in a folder whose name begins with {model:?}"),
            Self::LeadsNowhere(reason) => {
                write!(f, "a broken link ({reason}); mount the disk it leads to, or remove it")
            }
            Self::Private => f.write_str(IS_PRIVATE),
            Self::Unreadable(reason) => {
                write!(f, "cannot be read ({reason}); check that the user who runs this may read it")
            }
            other => f.write_str(other.group()),
        }
    }
}

/// Number of left-out files for each reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOutSummary(pub BTreeMap<&'static str, usize>);

impl LeftOutSummary {
    /// Counts files by reason.
    pub fn of(left_out: &[LeftOut]) -> Self {
        let mut counts = BTreeMap::new();
        for file in left_out {
            *counts.entry(file.reason.group()).or_default() += 1;
        }
        Self(counts)
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for LeftOutSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.0.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        f.write_str(&groups.join(", "))
    }
}

/// What a session folder holds.
#[derive(Debug, Clone, Default)]
pub struct FoundFiles {
    /// Its datasets, sorted by path.
    pub files: Vec<FoundFile>,
    /// The other files, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What changed in it, and when.
    pub activity: Activity,
    /// Whether it is on a network file system, whose times cannot be trusted.
    pub is_remote: bool,
}

/// Files that come and go without a copy: desktops and network file systems make them.
const LEFTOVERS: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// What decides about the files of a session.
pub(crate) struct DiscoverRules<'a> {
    /// The dataset types of the database.
    pub(crate) types: &'a DatasetTypes,
    /// The program's own files.
    pub(crate) private: &'a PrivatePaths,
    /// Signs of a copy in progress.
    pub(crate) copy_signs: &'a [CopySign],
    /// The flag, which is no file of the session.
    pub(crate) flag: Option<&'a Path>,
}

/// Lists a session folder. Blocks.
///
/// Only ALF names count, and neither hidden files nor anything below a hidden folder. Links to files are followed,
/// links to folders are not. `exclude` gives the reason to leave out a file, by its path relative to the session.
///
/// # Errors
/// [`Error::Vanished`] or [`Error::Unreadable`] for the session folder itself; below it, a file that cannot be read is
/// left out with its reason.
pub(crate) fn discover(
    folder: &Path,
    rules: &DiscoverRules<'_>,
    exclude: impl Fn(&str) -> Option<LeftOutReason>,
) -> Result<FoundFiles, Error> {
    let mut found = FoundFiles { is_remote: is_network(folder).unwrap_or(true), ..FoundFiles::default() };
    let mut activity = ActivityLog::new(folder, rules, &exclude);
    if found.is_remote {
        file_system::refresh(folder);
    }
    // A folder's times are read before it is listed: what comes into it meanwhile is seen the next time.
    activity.folder(folder);
    // WalkDir yields nothing for a folder that is gone, and the session would be registered without its files.
    std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))?;
    // The depth of the hidden folder that the walk is in.
    let mut hidden = None;
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                if hidden.is_none() {
                    found.left_out.extend(unlisted(&error, folder));
                }
                continue;
            }
        };
        if found.is_remote {
            file_system::refresh(entry.path());
        }
        let is_folder = entry.file_type().is_dir();
        hidden = hidden.filter(|depth| entry.depth() > *depth);
        let is_below_hidden = hidden.is_some();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = relative(entry.path(), folder);
        if is_folder {
            activity.folder(entry.path());
        }
        if is_hidden || is_below_hidden {
            if is_folder && !is_below_hidden {
                hidden = Some(entry.depth());
            }
            if !is_folder && let Ok(metadata) = std::fs::symlink_metadata(entry.path()) {
                activity.file(&path, entry.path(), &metadata);
            }
            // Of a hidden folder, the folder alone is listed.
            if !is_below_hidden {
                found.left_out.push(LeftOut { path, reason: LeftOutReason::Hidden });
            }
            continue;
        }
        if is_folder {
            continue;
        }
        let dataset = classify(&path, rules.types, &exclude);
        let metadata = match file_metadata(&entry, dataset.is_ok()) {
            Ok(metadata) => metadata,
            Err(reason) => {
                found.left_out.extend(reason.map(|reason| LeftOut { path, reason }));
                continue;
            }
        };
        let stamp = activity.file(&path, entry.path(), &metadata);
        match dataset {
            Ok(_) if rules.private.find_by_path(entry.path(), &metadata).is_some() => {
                found.left_out.push(LeftOut { path, reason: LeftOutReason::Private });
            }
            Ok(dataset) => found.files.push(FoundFile {
                path: entry.path().to_owned(),
                dataset,
                stamp,
                size: metadata.len(),
            }),
            Err(reason) => found.left_out.push(LeftOut { path, reason }),
        }
    }
    found.activity = activity.finish();
    Ok(found)
}

/// An entry that cannot be listed; `None`: it has vanished.
fn unlisted(error: &walkdir::Error, folder: &Path) -> Option<LeftOut> {
    if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return None;
    }
    let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
    let path = relative(error.path().unwrap_or(folder), folder);
    Some(LeftOut { path, reason: LeftOutReason::Unreadable(reason) })
}

/// The metadata of a file, or of the file to which a link leads: a dataset may be on another disk.
///
/// # Errors
/// The reason to leave it out; `None`: it has vanished.
fn file_metadata(entry: &walkdir::DirEntry, is_dataset: bool) -> Result<Metadata, Option<LeftOutReason>> {
    let is_link = entry.file_type().is_symlink();
    match std::fs::metadata(entry.path()) {
        Ok(metadata) if metadata.is_file() => Ok(metadata),
        Ok(metadata) if metadata.is_dir() => Err(Some(LeftOutReason::LinkToFolder)),
        Ok(_) => Err(Some(LeftOutReason::NotAFile)),
        // A broken link: missing data, if it has the name of a dataset or may be a folder.
        Err(error) if is_link && (is_dataset || entry.path().extension().is_none()) => {
            Err(Some(LeftOutReason::LeadsNowhere(error.to_string())))
        }
        Err(_) if is_link => Err(Some(LeftOutReason::NotAFile)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(None),
        Err(error) => Err(Some(LeftOutReason::Unreadable(error.to_string()))),
    }
}

/// Collects the activity of a session while it is listed.
struct ActivityLog<'a, E> {
    session: &'a Path,
    rules: &'a DiscoverRules<'a>,
    exclude: &'a E,
    activity: Activity,
    folders: Vec<(PathBuf, FileStamp)>,
    /// The latest change of a file that does not count, by folder: it may be what moved the folder's times.
    ignored: HashMap<PathBuf, SystemTime>,
}

impl<'a, E: Fn(&str) -> Option<LeftOutReason>> ActivityLog<'a, E> {
    fn new(session: &'a Path, rules: &'a DiscoverRules<'a>, exclude: &'a E) -> Self {
        let (activity, folders, ignored) = Default::default();
        Self { session, rules, exclude, activity, folders, ignored }
    }

    fn folder(&mut self, path: &Path) {
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            self.folders.push((path.to_owned(), FileStamp::of(&metadata)));
        }
    }

    fn file(&mut self, relative: &Path, path: &Path, metadata: &Metadata) -> FileStamp {
        let stamp = FileStamp::of(metadata);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if self.rules.flag == Some(path) {
            self.activity.add_flag(relative, path, &stamp);
        } else if LEFTOVERS.contains(&name) || name.starts_with(".nfs") || self.is_excluded(relative) {
            let folder = path.parent().unwrap_or(path).to_owned();
            let latest = self.ignored.entry(folder).or_insert(SystemTime::UNIX_EPOCH);
            *latest = stamp.latest_change().max(*latest);
        } else {
            self.activity.add_file(relative, path, &stamp);
            let complete = self.rules.copy_signs.iter().filter_map(|sign| sign.complete(relative));
            if complete.into_iter().any(|path| classify(&path, self.rules.types, self.exclude).is_ok()) {
                self.activity.add_copy(path);
            }
        }
        stamp
    }

    fn is_excluded(&self, relative: &Path) -> bool {
        relative.to_str().and_then(self.exclude) == Some(LeftOutReason::Excluded)
    }

    fn finish(mut self) -> Activity {
        for (path, stamp) in &self.folders {
            if self.ignored.get(path).is_none_or(|ignored| *ignored < stamp.latest_change()) {
                self.activity.add_folder(&relative(path, self.session), path, stamp);
            }
        }
        self.activity
    }
}

/// Refuses a session that has a twin: `1` next to `001`. On Alyx both are session 1, and the files of one would replace
/// those of the other. Blocks.
///
/// # Errors
/// [`Error::Invalid`] with both folders.
pub(crate) fn refuse_twin(session: &SessionPath) -> Result<(), Error> {
    let folder = session.folder();
    let Some(day) = folder.parent() else { return Ok(()) };
    let own = folder.file_name().unwrap_or_default();
    let entries = std::fs::read_dir(day).map_err(|e| Error::reading(day, &e))?;
    for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
        if name != own && name.to_str().and_then(parse_number_folder) == Some(session.number()) {
            return Err(Error::Invalid(format!(
                "the folders {own:?} and {name:?} of {day:?} are both session {} to Alyx; rename one of them",
                session.number()
            )));
        }
    }
    Ok(())
}

fn relative(path: &Path, folder: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).to_owned()
}

/// Whether a file of a session is a dataset to register. Pure.
fn classify(
    relative: &Path,
    types: &DatasetTypes,
    exclude: impl Fn(&str) -> Option<LeftOutReason>,
) -> Result<DatasetPath, LeftOutReason> {
    let Some(name) = relative.file_name().and_then(|n| n.to_str()) else { return Err(LeftOutReason::NotAlf) };
    if alf::DatasetName::parse(name).is_err() {
        return Err(LeftOutReason::NotAlf);
    }
    types.find(name).map_err(LeftOutReason::NoType)?;
    if let Some(reason) = relative.to_str().and_then(&exclude) {
        return Err(reason);
    }
    DatasetPath::parse(relative).map_err(LeftOutReason::BadFolder)
}
