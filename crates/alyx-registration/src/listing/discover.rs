//! Discovery: which files of a session folder are datasets, and why the others are not.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::error::Error;
use crate::flag::FlagStamp;
use crate::hashing::stamp::FileStamp;
use crate::listing::copy_signs::CopySign;
use crate::listing::file_system::{self, is_network};
use crate::listing::left_out::{LeftOut, LeftOutReason, withdraw_renames};
use crate::listing::other_software::{is_accessory, is_raw_recording};
use crate::listing::quiet::Activity;
use crate::listing::snapshot::SessionSnapshot;
use crate::opener::data_folders::DataFolders;
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
    /// What later looks compare it with.
    pub snapshot: SessionSnapshot,
}

impl FoundFiles {
    /// Leaves a file out. `size`: that of a dataset by its name, which is known from now on and not late.
    fn leave_out(&mut self, path: PathBuf, reason: LeftOutReason, size: Option<u64>) {
        if let (Some(size), Some(path)) = (size, path.to_str()) {
            self.snapshot.add_dataset(path, size);
            self.snapshot.add_unregistered(path, size);
        }
        self.left_out.push(LeftOut { path, reason });
    }
}

/// How many links the kernel follows on the way to a file.
const MAX_LINKS: u32 = 40;

/// Files that come and go without a copy: desktops and network file systems make them.
const LEFTOVERS: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// What decides about the files of a session.
pub(crate) struct DiscoverRules<'a> {
    /// The dataset types of the database.
    pub(crate) types: &'a DatasetTypes,
    /// Where files are opened as data.
    pub(crate) data: &'a DataFolders,
    /// Signs of a copy in progress.
    pub(crate) copy_signs: &'a [CopySign],
    /// The flag, which is no file of the session.
    pub(crate) flag: Option<&'a Path>,
    /// The stamp of the flag, which also finds its other names once it is removed. `None`: not known.
    pub(crate) flag_stamp: Option<FlagStamp>,
}

/// What a listing hands on while it goes through a session folder.
pub(crate) trait Visitor {
    /// Takes a dataset; they come sorted by path.
    fn dataset(&mut self, found: FoundFile);

    /// Sees any file or folder, hidden ones too, by its path relative to the session.
    fn entry(&mut self, _path: &Path, _entry: SeenEntry<'_>) {}
}

/// A file or folder that a listing has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SeenEntry<'a> {
    Folder,
    /// Anything else: what it is, or, of a link, what it leads to.
    Other(&'a io::Result<Metadata>),
}

impl Visitor for () {
    fn dataset(&mut self, _: FoundFile) {}
}

impl Visitor for Vec<FoundFile> {
    fn dataset(&mut self, found: FoundFile) {
        self.push(found);
    }
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
    let mut files = Vec::new();
    let found = visit(folder, rules, exclude, &mut files)?;
    Ok(FoundFiles { files, ..found })
}

/// As [`discover`], but the datasets go to a visitor one by one.
///
/// # Errors
/// Those of [`discover`].
pub(crate) fn visit(
    folder: &Path,
    rules: &DiscoverRules<'_>,
    exclude: impl Fn(&str) -> Option<LeftOutReason>,
    visitor: &mut impl Visitor,
) -> Result<FoundFiles, Error> {
    let mut found = FoundFiles { is_remote: is_network(folder).unwrap_or(true), ..FoundFiles::default() };
    let mut activity = ActivityLog::new(folder, rules, &exclude);
    if found.is_remote {
        file_system::refresh(folder);
    }
    // A folder's times are read before it is listed: what comes into it meanwhile is seen the next time.
    activity.folder(folder);
    if let Ok(metadata) = std::fs::metadata(folder) {
        found.snapshot.add_folder(Path::new(""), &FileStamp::of(&metadata));
    }
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
            visitor.entry(&path, SeenEntry::Folder);
        }
        if is_hidden || is_below_hidden {
            if is_folder && !is_below_hidden {
                hidden = Some(entry.depth());
            }
            if !is_folder {
                let own = std::fs::symlink_metadata(entry.path());
                let target = entry.path_is_symlink().then(|| std::fs::metadata(entry.path()));
                let target = target.as_ref().unwrap_or(&own);
                if let Ok(own) = &own
                    && !leads_to_flag(&entry, target, rules)
                {
                    activity.file(&path, entry.path(), own);
                }
                visitor.entry(&path, SeenEntry::Other(target));
            }
            // Of a hidden folder, the folder alone is listed.
            if !is_below_hidden {
                found.left_out.push(LeftOut { path, reason: LeftOutReason::Hidden });
            }
            continue;
        }
        if is_folder {
            if let Ok(metadata) = std::fs::symlink_metadata(entry.path()) {
                found.snapshot.add_folder(&path, &FileStamp::of(&metadata));
            }
            continue;
        }
        let dataset = classify(&path, rules.types, &exclude);
        // Of the file to which a link leads: a dataset may be on another disk.
        let metadata = std::fs::metadata(entry.path());
        visitor.entry(&path, SeenEntry::Other(&metadata));
        // It ends, or changes, with the removal of the flag: if that counted, the session would be registered without end.
        if leads_to_flag(&entry, &metadata, rules) {
            let size = dataset.is_ok().then(|| metadata.map_or(0, |metadata| metadata.len()));
            let reason = dataset.err().unwrap_or(LeftOutReason::LeadsToFlag);
            found.leave_out(path, reason, size);
            continue;
        }
        let metadata = match of_file(metadata, &entry, dataset.is_ok()) {
            Ok(metadata) => metadata,
            Err(reason) => {
                let size = dataset.is_ok().then_some(0);
                reason.into_iter().for_each(|reason| found.leave_out(path.clone(), reason, size));
                continue;
            }
        };
        // Before its times count: this program writes to its own files all the time.
        if dataset.is_ok()
            && let Some(refusal) = rules.data.refusal(entry.path(), &metadata)
        {
            found.leave_out(path, refusal.into(), Some(metadata.len()));
            continue;
        }
        let stamp = activity.file(&path, entry.path(), &metadata);
        match dataset {
            Ok(dataset) => {
                found.snapshot.add_dataset(dataset.as_str(), metadata.len());
                visitor.dataset(FoundFile {
                    path: entry.path().to_owned(),
                    dataset,
                    stamp,
                    size: metadata.len(),
                });
            }
            Err(reason) => {
                let size = (reason == LeftOutReason::NotInFlag).then_some(metadata.len());
                found.leave_out(path, reason, size);
            }
        }
    }
    let folders = activity.folders.iter().map(|(path, _)| relative(path, folder)).collect();
    found.activity = activity.finish();
    find_near_misses(folder, &mut found, &folders, rules.types, &exclude);
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

/// The metadata of an entry, if that is a file. Pure.
///
/// # Errors
/// The reason to leave it out; `None`: it has vanished.
fn of_file(
    metadata: io::Result<Metadata>,
    entry: &walkdir::DirEntry,
    is_dataset: bool,
) -> Result<Metadata, Option<LeftOutReason>> {
    let is_link = entry.file_type().is_symlink();
    match metadata {
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

/// Whether a file is the flag of its session under another name, or a link to a flag of that name, be it gone.
/// `target`: the metadata of the file or, of a link, of what it leads to.
fn leads_to_flag(
    entry: &walkdir::DirEntry,
    target: &io::Result<Metadata>,
    rules: &DiscoverRules<'_>,
) -> bool {
    let Some(flag) = rules.flag.filter(|flag| *flag != entry.path()) else { return false };
    let is_flag = |metadata: &Metadata| rules.flag_stamp.is_some_and(|stamp| stamp.is_of(metadata));
    target.as_ref().is_ok_and(is_flag) || (entry.path_is_symlink() && is_link_to(entry.path(), flag))
}

/// Whether a link leads to a flag of this name, be it gone.
pub(crate) fn is_link_to(path: &Path, flag: &Path) -> bool {
    let mut link = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = std::fs::read_link(&link) else { return false };
        if target.file_name() == flag.file_name() {
            return true;
        }
        link = link.parent().unwrap_or(Path::new("")).join(target);
    }
    false
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
        } else if LEFTOVERS.contains(&name)
            || name.starts_with(".nfs")
            || is_sidecar(relative)
            || self.is_excluded(relative)
        {
            let folder = path.parent().unwrap_or(path).to_owned();
            let latest = self.ignored.entry(folder).or_insert(SystemTime::UNIX_EPOCH);
            *latest = stamp.latest_change().max(*latest);
        } else {
            let is_hidden = relative.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
            if is_hidden || is_accessory(name) {
                self.activity.add_accessory(relative, path, &stamp);
            } else {
                self.activity.add_file(relative, path, &stamp);
            }
            let is_copy = |sign: &CopySign| match sign.complete(relative) {
                Some(path) => classify(&path, self.rules.types, self.exclude).is_ok(),
                None => sign.hides_name(relative),
            };
            if self.rules.copy_signs.iter().any(is_copy) {
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
            let folder = relative(path, self.session);
            // `folder/**` excludes the folder, too: a name of which no other pattern knows.
            let is_ignored = self.ignored.get(path).is_some_and(|ignored| *ignored >= stamp.latest_change())
                || self.is_excluded(&folder.join("*"));
            if !is_ignored {
                self.activity.add_folder(&folder, path, stamp);
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

/// Whether a path within a session is that of its sidecar.
fn is_sidecar(relative: &Path) -> bool {
    session_metadata::sidecar::NAMES.iter().any(|name| relative == Path::new(name))
}

/// Whether a file of a session is a dataset to register. Pure.
pub(crate) fn classify(
    relative: &Path,
    types: &DatasetTypes,
    exclude: impl Fn(&str) -> Option<LeftOutReason>,
) -> Result<DatasetPath, LeftOutReason> {
    let excluded = relative.to_str().and_then(&exclude);
    if excluded == Some(LeftOutReason::Excluded) {
        return Err(LeftOutReason::Excluded);
    }
    let Some(name) = relative.file_name().and_then(|n| n.to_str()) else { return Err(LeftOutReason::NotAlf) };
    let is_alf = alf::DatasetName::parse(name).is_ok();
    match types.find(name) {
        Ok(_) if is_alf => {}
        _ if is_sidecar(relative) => return Err(LeftOutReason::Sidecar),
        _ if is_accessory(name) => return Err(LeftOutReason::Accessory),
        Err(_) if is_alf && is_raw_recording(name) => return Err(LeftOutReason::RawRecording),
        Err(reason) if is_alf => return Err(LeftOutReason::NoType(reason)),
        _ => return Err(LeftOutReason::NotAlf),
    }
    if let Some(reason) = excluded {
        return Err(reason);
    }
    DatasetPath::parse(relative).map_err(LeftOutReason::BadFolder)
}

/// Finds the files that would be datasets under a slightly different name, which no other file has.
fn find_near_misses(
    folder: &Path,
    found: &mut FoundFiles,
    folders: &HashSet<PathBuf>,
    types: &DatasetTypes,
    exclude: impl Fn(&str) -> Option<LeftOutReason>,
) {
    let rename_of = |file: &LeftOut| -> Option<PathBuf> {
        let may_be = matches!(
            &file.reason,
            LeftOutReason::NotAlf
                | LeftOutReason::NoType(NoDatasetType::UnknownExtension(_) | NoDatasetType::None)
        );
        if !may_be {
            return None;
        }
        let renamed = file.path.with_file_name(types.near_miss(file.path.file_name()?.to_str()?)?.rename);
        // A flag that lists neither name does not ask for it.
        let is_wanted = match (exclude(file.path.to_str()?), exclude(renamed.to_str()?)) {
            (_, Some(LeftOutReason::Excluded)) => false,
            (as_it_is, as_renamed) => as_it_is.is_none() || as_renamed.is_none(),
        };
        (is_wanted && DatasetPath::parse(&renamed).is_ok()).then_some(renamed)
    };
    let renames: Vec<(usize, PathBuf)> =
        found.left_out.iter().enumerate().filter_map(|(i, file)| Some((i, rename_of(file)?))).collect();
    if renames.is_empty() {
        return;
    }
    let is_present =
        |path: &Path| std::fs::symlink_metadata(folder.join(path)).is_ok_and(|metadata| !metadata.is_dir());
    for (index, renamed) in renames.into_iter().filter(|(_, renamed)| !is_present(renamed)) {
        if let (Some(file), Some(name)) = (found.left_out.get_mut(index), renamed.file_name()) {
            file.reason = LeftOutReason::NearMiss(name.to_string_lossy().into_owned());
        }
    }
    withdraw_renames(&mut found.left_out, |path| folders.contains(path));
}
