//! The files of a session folder, as the readers of metadata see them: opened only where data may lie.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::error::Error;
use crate::flag::FlagFile;
use crate::hashing::stamp::FileStamp;
use crate::listing::discover::{SeenEntry, is_link_to};
use crate::listing::file_system;
use crate::opener::data_folders::{DataFolders, OpenError};
use session_metadata::{Entry, Selection, SessionFiles, SidecarFile, Unusable, sidecar};

/// What is wrong with a link to a file that does not exist.
const LEADS_NOWHERE: &str = "it is a link to a file that does not exist; bring the file, or remove the link";

/// The files that describe a session, as they were when they were listed or opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceStamps {
    /// Those that a reader reads.
    rig_files: Vec<(PathBuf, FileStamp)>,
    /// The places of sidecars, in the session and above it. `None`: there was none.
    sidecars: Vec<(PathBuf, Option<FileStamp>)>,
}

impl SourceStamps {
    /// Any of them that is not as it was. Blocks.
    pub(crate) fn changed(&self) -> Option<&Path> {
        let rig_file = self.rig_files.iter().find(|(path, before)| !is_same(path, Some(before)));
        rig_file.map(|(path, _)| path.as_path()).or_else(|| self.changed_sidecar())
    }

    /// A sidecar that is not as it was, or is new or gone. Blocks.
    pub(crate) fn changed_sidecar(&self) -> Option<&Path> {
        let changed = self.sidecars.iter().find(|(path, before)| !is_same(path, before.as_ref()));
        changed.map(|(path, _)| path.as_path())
    }

    /// A file that a reader reads and that was not there before. Pure.
    pub(crate) fn new_since<'a>(&'a self, before: &Self) -> Option<&'a Path> {
        let mut paths = self.rig_files.iter().map(|(path, _)| path.as_path());
        paths.find(|path| !before.rig_files.iter().any(|(other, _)| other == path))
    }

    /// Forgets what leads to the flag: it ends, or changes, with the flag.
    pub(crate) fn without_links_to(mut self, flag: &FlagFile) -> Self {
        let of_flag = (flag.stamp.device, flag.stamp.inode);
        let is_flag = |before: &FileStamp| (before.device, before.inode) == of_flag;
        self.sidecars
            .retain(|(path, before)| !before.as_ref().is_some_and(is_flag) && !is_link_to(path, &flag.path));
        self
    }
}

/// Whether a file is as it was. Blocks.
fn is_same(path: &Path, before: Option<&FileStamp>) -> bool {
    // A network file system may show what it remembers.
    file_system::refresh(path);
    match (std::fs::metadata(path), before) {
        (Ok(now), Some(before)) => before.has_same_content(&FileStamp::of(&now)),
        (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
        (Ok(_), None) | (Err(_), Some(_)) => false,
    }
}

/// A session folder.
pub(crate) struct SessionFolder {
    /// The data root.
    root: PathBuf,
    /// The session folder, relative to the root.
    session: PathBuf,
    /// The session folder.
    folder: PathBuf,
    stamps: SourceStamps,
    data: Arc<DataFolders>,
}

impl SessionFolder {
    /// A session folder in a data root.
    pub(crate) fn new(folder: &Path, root: &Path, data: Arc<DataFolders>) -> Self {
        let root = if folder.starts_with(root) { root } else { folder }.to_owned();
        let session = folder.strip_prefix(&root).unwrap_or(Path::new("")).to_owned();
        Self { root, session, folder: folder.to_owned(), stamps: SourceStamps::default(), data }
    }

    /// Takes in what a listing has come to, by its path relative to the session folder.
    pub(crate) fn see(&mut self, path: &Path, entry: SeenEntry<'_>, selection: &mut Selection) {
        let Some(path) = path.to_str() else { return };
        match entry {
            SeenEntry::Folder => selection.add_folder(path),
            SeenEntry::Other(Ok(metadata)) if metadata.is_file() => {
                selection.add_file(path, metadata.len());
                if selection.is_read(path) {
                    self.stamps.rig_files.push((self.folder.join(path), FileStamp::of(metadata)));
                }
            }
            SeenEntry::Other(Ok(_)) => {
                selection.add_unusable(path, || "this is not a file; remove it".to_owned())
            }
            SeenEntry::Other(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                selection.add_unusable(path, || LEADS_NOWHERE.to_owned());
            }
            SeenEntry::Other(Err(error)) => {
                selection.add_unusable(path, || {
                    format!("the file cannot be read ({error}); check its permissions and the disk")
                });
            }
        }
    }

    /// Lists the session folder; one that `is_planned` need not be there. Blocks.
    ///
    /// # Errors
    /// Those of the session folder itself.
    pub(crate) fn list(&mut self, selection: &mut Selection, is_planned: bool) -> Result<(), Error> {
        if let Err(error) = std::fs::read_dir(&self.folder) {
            let is_fine = is_planned && error.kind() == io::ErrorKind::NotFound;
            return if is_fine { Ok(()) } else { Err(Error::reading(&self.folder, &error)) };
        }
        // What cannot be listed is reported with the datasets.
        for entry in WalkDir::new(&self.folder).min_depth(1).sort_by_file_name().into_iter().flatten() {
            let Ok(path) = entry.path().strip_prefix(&self.folder) else { continue };
            let path = path.to_owned();
            if entry.file_type().is_dir() {
                self.see(&path, SeenEntry::Folder, selection);
            } else {
                self.see(&path, SeenEntry::Other(&std::fs::metadata(entry.path())), selection);
            }
        }
        Ok(())
    }

    /// What tells whether it still says the same.
    pub(crate) fn into_stamps(self) -> SourceStamps {
        self.stamps
    }

    /// The folder with what was selected of it.
    pub(crate) fn with(self, selection: Selection) -> ListedFolder {
        let (entries, unusable) = selection.finish();
        ListedFolder { folder: self, entries, unusable }
    }

    /// The sidecars, the nearest first. One that cannot be read has no content, but its problem.
    pub(crate) fn sidecars(&mut self) -> (Vec<SidecarFile>, Vec<String>) {
        let (mut found, mut faults, mut stamps) = (Vec::new(), Vec::new(), Vec::new());
        let real_root = std::fs::canonicalize(&self.root).ok();
        // A subject's folder may be a link to another disk: then what lies there beside the session is not read.
        let is_inside = |folder: &&Path| {
            let real = std::fs::canonicalize(self.root.join(folder)).ok();
            *folder == self.session
                || real.zip(real_root.as_ref()).is_some_and(|(real, root)| real.starts_with(root))
        };
        for folder in self.session.ancestors().filter(is_inside) {
            for name in sidecar::NAMES {
                let relative = folder.join(name);
                let shown = self.shown(&relative);
                let mut content = Vec::new();
                let read = self.open_below_root(&relative).and_then(|file| {
                    // Of the open file, and before it is read: a change from now on is seen.
                    let stamp = FileStamp::of(&file.metadata()?);
                    file.take(sidecar::MAX_BYTES + 1).read_to_end(&mut content)?;
                    Ok(stamp)
                });
                match read {
                    Ok(stamp) => {
                        stamps.push((self.root.join(&relative), Some(stamp)));
                        found.push(SidecarFile { name: shown, content });
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        let place = self.root.join(&relative);
                        if place.is_symlink() {
                            faults.push(format!("{shown}: {LEADS_NOWHERE}"));
                        }
                        stamps.push((place, None));
                    }
                    Err(error) => {
                        faults.push(format!("{shown}: the file cannot be read ({})", advised(&error)))
                    }
                }
            }
        }
        self.stamps.sidecars = stamps;
        (found, faults)
    }

    /// A path for messages: in the session relative to it, above it in full.
    fn shown(&self, relative: &Path) -> String {
        let path = match relative.strip_prefix(&self.session) {
            Ok(inside) => inside.to_owned(),
            Err(_) => {
                let above = self.session.components().count();
                let root = self.folder.ancestors().nth(above).unwrap_or(&self.folder);
                root.join(relative)
            }
        };
        path.to_string_lossy().into_owned()
    }

    /// Opens a file, by its path relative to the data root.
    fn open_below_root(&self, relative: &Path) -> io::Result<File> {
        match self.data.open(&self.root.join(relative)) {
            Ok((file, _)) => Ok(file),
            Err(OpenError::Io(error)) => Err(error),
            Err(OpenError::NotAFile) => Err(io::Error::other("this is not a file")),
            Err(OpenError::Changing) => Err(io::Error::other("another program is replacing the file")),
            Err(OpenError::Refused(refusal)) => Err(io::Error::other(format!("it {refusal}"))),
        }
    }
}

/// Whether a session folder is not there any more. Blocks.
pub(crate) fn is_gone(folder: &Path) -> bool {
    !folder.exists()
}

/// An error of opening a file. Those of the system say nothing of what to do.
fn advised(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("{error}; check its permissions and the disk"),
        None => error.to_string(),
    }
}

/// A session folder that is listed.
pub(crate) struct ListedFolder {
    folder: SessionFolder,
    entries: Vec<Entry>,
    unusable: Vec<Unusable>,
}

impl ListedFolder {
    /// What tells whether it still says the same.
    pub(crate) fn into_stamps(self) -> SourceStamps {
        self.folder.into_stamps()
    }
}

impl SessionFiles for ListedFolder {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.folder.open_below_root(&self.folder.session.join(path))?))
    }
}
