//! The files of a session folder, as the readers of metadata see them: listed once, opened only where data may lie.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::error::Error;
use crate::opener::data_folders::{DataFolders, OpenError};
use session_metadata::{Entry, SessionFiles, SidecarFile, Unusable, sidecar};

/// Most files and folders that are listed: a session with more keeps the others to itself.
const MAX_ENTRIES: usize = 500_000;

/// What is wrong with a link to a file that does not exist.
const LEADS_NOWHERE: &str = "it is a link to a file that does not exist; bring the file, or remove the link";

/// A session folder.
pub(crate) struct SessionFolder {
    /// The data root.
    root: PathBuf,
    /// The session folder, relative to the root.
    session: PathBuf,
    /// The session folder.
    folder: PathBuf,
    entries: Vec<Entry>,
    unusable: Vec<Unusable>,
    data: Arc<DataFolders>,
}

impl SessionFolder {
    /// Lists a session folder in a data root. Blocks.
    ///
    /// # Errors
    /// Those of the session folder itself.
    pub(crate) fn list(folder: &Path, root: &Path, data: Arc<DataFolders>) -> Result<Self, Error> {
        std::fs::read_dir(folder).map_err(|error| Error::reading(folder, &error))?;
        let root = if folder.starts_with(root) { root } else { folder }.to_owned();
        let session = folder.strip_prefix(&root).unwrap_or(Path::new("")).to_owned();
        let (mut entries, mut unusable) = (Vec::new(), Vec::new());
        for entry in WalkDir::new(folder).min_depth(1).into_iter().take(MAX_ENTRIES) {
            // What cannot be listed is reported with the datasets.
            let Ok(entry) = entry else { continue };
            let Some(path) = entry.path().strip_prefix(folder).ok().and_then(Path::to_str) else { continue };
            let is_folder = entry.file_type().is_dir();
            let size = match is_folder {
                true => None,
                false => match std::fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_file() => Some(metadata.len()),
                    other => {
                        let why = match other {
                            Ok(_) => "this is not a file; remove it".to_owned(),
                            Err(error) if error.kind() == io::ErrorKind::NotFound => LEADS_NOWHERE.to_owned(),
                            Err(error) => format!("the file cannot be read ({error})"),
                        };
                        unusable.push(Unusable { path: path.to_owned(), why });
                        continue;
                    }
                },
            };
            entries.push(Entry { path: path.to_owned(), size });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        unusable.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root, session, folder: folder.to_owned(), entries, unusable, data })
    }

    /// The sidecars, the nearest first. One that cannot be read has no content, but its problem.
    pub(crate) fn sidecars(&self) -> (Vec<SidecarFile>, Vec<String>) {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
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
                let read = self.open_below_root(&relative);
                match read.and_then(|file| file.take(sidecar::MAX_BYTES + 1).read_to_end(&mut content)) {
                    Ok(_) => found.push(SidecarFile { name: shown, content }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if self.root.join(&relative).is_symlink() {
                            faults.push(format!("{shown}: {LEADS_NOWHERE}"));
                        }
                    }
                    Err(error) => faults.push(format!("{shown}: the file cannot be read ({error})")),
                }
            }
        }
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

impl SessionFiles for SessionFolder {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.open_below_root(&self.session.join(path))?))
    }
}
