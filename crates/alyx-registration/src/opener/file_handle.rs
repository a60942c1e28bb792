//! A file handle: a file that is examined before it is opened for reading.
//!
//! When a process closes any descriptor of a file that was opened for reading, it loses all POSIX locks that it holds
//! on that file. SQLite locks its database in this way, so this program must not open its own ledger as data, not even
//! to find out what it is: a session folder may hold a link to it.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags};

/// A file that is held, but not opened for reading.
#[derive(Debug)]
pub(crate) struct FileHandle {
    /// Opened with `O_PATH`.
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
}

impl FileHandle {
    /// Holds the file to which a path leads.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::with(CWD, path, OFlags::empty())
    }

    /// Holds the file at a path; if it is a symbolic link, the link itself.
    pub(crate) fn of_link(path: &Path) -> io::Result<Self> {
        Self::in_folder(CWD, path)
    }

    /// Holds a folder, whatever takes its name later.
    pub(crate) fn of_folder(path: &Path) -> io::Result<Self> {
        Self::with(CWD, path, OFlags::DIRECTORY)
    }

    /// Holds what has a name in this folder; if that is a symbolic link, the link itself.
    pub(crate) fn in_folder(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Self> {
        Self::with(folder, name, OFlags::NOFOLLOW)
    }

    fn with(folder: impl AsFd, path: impl rustix::path::Arg, flags: OFlags) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
        Self::holding(File::from(rustix::fs::openat(folder, path, flags, rustix::fs::Mode::empty())?))
    }

    /// Of a file that was opened with `O_PATH`.
    pub(crate) fn holding(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file, metadata })
    }

    /// Opens this very file for reading, whatever is at its path by now. Without `/proc` it is opened by its path.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if another file is at the path.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, File::options().read(true))
    }

    /// Opens this very file for reading and writing. Otherwise as [`open`](Self::open).
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_to_write(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, File::options().read(true).write(true))
    }

    fn open_with(&self, path: &Path, options: &mut OpenOptions) -> io::Result<File> {
        // Non-blocking, so that opening a FIFO that replaced the file does not hang.
        let options = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let open = |path: &Path| options.open(path);
        match open(Path::new(&format!("/proc/self/fd/{}", self.file.as_raw_fd()))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let file = open(path)?;
        let opened = file.metadata()?;
        let is_same = (opened.dev(), opened.ino()) == (self.metadata.dev(), self.metadata.ino());
        if is_same { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_file_that_was_examined_is_opened_although_another_took_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&path, "examined").unwrap();
        std::fs::write(&other, "other").unwrap();
        let handle = FileHandle::of(&path).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let mut text = String::new();
        handle.open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "examined");
    }

    #[test]
    fn a_link_is_followed_or_held_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(FileHandle::of(&link).unwrap().metadata.is_file());
        assert!(FileHandle::of_link(&link).unwrap().metadata.is_symlink());
    }
}
