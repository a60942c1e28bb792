//! The files of a session folder, as the readers of metadata see them: listed once, opened only inside the data root.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use walkdir::WalkDir;

use crate::error::Error;
use crate::hashing::private_paths::{IS_PRIVATE, PrivatePaths};
use session_metadata::{Entry, SessionFiles, SidecarFile, sidecar};

/// Most files and folders that are listed: a session with more keeps the others to itself.
const MAX_ENTRIES: usize = 500_000;

/// A session folder.
pub(crate) struct SessionFolder {
    /// The data root, opened: a link that leads out of it is not followed.
    root: OwnedFd,
    /// The session folder, relative to the root.
    session: PathBuf,
    /// The session folder.
    folder: PathBuf,
    entries: Vec<Entry>,
    private: Arc<PrivatePaths>,
}

impl SessionFolder {
    /// Lists a session folder in a data root. Blocks.
    ///
    /// # Errors
    /// Those of the two folders themselves.
    pub(crate) fn list(folder: &Path, root: &Path, private: Arc<PrivatePaths>) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| {
            let opened = rustix::fs::open(path, flags, Mode::empty());
            opened.map_err(|error| Error::reading(path, &error.into()))
        };
        let mut session = folder.strip_prefix(root).unwrap_or(Path::new("")).to_owned();
        let mut root = open(if folder.starts_with(root) { root } else { folder })?;
        // A subject's folder may be a link to another disk: then only the session folder itself is read.
        let inside = rustix::fs::openat2(&root, &session, flags, Mode::empty(), ResolveFlags::BENEATH);
        if !session.as_os_str().is_empty() && matches!(inside, Err(rustix::io::Errno::XDEV)) {
            root = open(folder)?;
            session.clear();
        }
        let mut entries = Vec::new();
        for entry in WalkDir::new(folder).min_depth(1).into_iter().take(MAX_ENTRIES) {
            // What cannot be listed is reported with the datasets.
            let Ok(entry) = entry else { continue };
            let Some(path) = entry.path().strip_prefix(folder).ok().and_then(Path::to_str) else { continue };
            let is_folder = entry.file_type().is_dir();
            let size = match is_folder {
                true => None,
                false => match std::fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_file() => Some(metadata.len()),
                    // Pipes, sockets, and links to folders or to nowhere.
                    Ok(_) | Err(_) => continue,
                },
            };
            entries.push(Entry { path: path.to_owned(), size });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root, session, folder: folder.to_owned(), entries, private })
    }

    /// The sidecars, the nearest first. One that cannot be read has no content, but its problem.
    pub(crate) fn sidecars(&self) -> (Vec<SidecarFile>, Vec<String>) {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for folder in self.session.ancestors() {
            for name in sidecar::NAMES {
                let relative = folder.join(name);
                let shown = self.shown(&relative);
                let mut content = Vec::new();
                let read = self.open_below_root(&relative);
                match read.and_then(|file| file.take(sidecar::MAX_BYTES + 1).read_to_end(&mut content)) {
                    Ok(_) => found.push(SidecarFile { name: shown, content }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
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
        // Non-blocking: a pipe must not hold the session up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(self.root.as_fd(), relative, flags, Mode::empty(), resolve) {
            Ok(file) => File::from(file),
            // A kernel before 5.6, or a sandbox that does not know the call: then a file that is a link is refused.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                let flags = flags | OFlags::NOFOLLOW;
                File::from(rustix::fs::openat(self.root.as_fd(), relative, flags, Mode::empty())?)
            }
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
                return Err(io::Error::other(
                    "it is a link that leads out of the data root; put the file itself here",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if self.private.find_open(&file, &metadata).is_some() {
            return Err(io::Error::other(format!("it {IS_PRIVATE}")));
        }
        Ok(file)
    }
}

impl SessionFiles for SessionFolder {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.open_below_root(&self.session.join(path))?))
    }
}
