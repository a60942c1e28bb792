//! The flag: the file `create_me.flag` in a session folder, which means that the session is complete.
//!
//! The flag on disk is the queue. It is removed when Alyx has confirmed everything, and only if it is unchanged since
//! the attempt began.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata};
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::opener::file_handle::FileHandle;

mod content;
mod held;
pub(crate) mod last_look;
mod lock;
mod pending;

pub use crate::flag::content::{FileList, FlagContent, NotUtf8};
pub use crate::flag::held::HeldFlag;
pub(crate) use crate::flag::lock::lock;
pub use crate::flag::pending::{LastLook, LastLooks};

/// The longest flag that is read, in bytes. A list of a session's files is a few kilobytes.
pub const MAX_CONTENT: u64 = 1024 * 1024;

/// A flag as it was found on disk. It does not keep the file open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FlagFile {
    /// Its path.
    pub path: PathBuf,
    /// Its stamp when it was loaded.
    pub stamp: FlagStamp,
}

/// The state of a flag: a touch, a rewrite and a replacement each change the stamp.
///
/// The change time is set by the kernel and cannot be set back. It is as fine as the file system's clock: about 4 ms on
/// kernels before 6.13, 1 s on some network file systems. A touch within that time after the flag was loaded may not
/// change the stamp. The daemon waits for a flag to settle before it starts, which is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlagStamp {
    /// Device of the file system.
    pub device: u64,
    /// Number of the file on that device.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write or touch, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of the last change of any kind, in nanoseconds since 1970.
    pub ctime_ns: i128,
}

impl FlagStamp {
    fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The present state of the file at a path in a folder, links not followed. `None`: there is none.
    ///
    /// A network file system is made to ask its server: the run may have the file open since hours.
    fn at(folder: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Self>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        let found = match rustix::fs::statx(folder, path, flags, StatxFlags::BASIC_STATS) {
            // A kernel, or a filter of system calls, without statx.
            Err(Errno::NOSYS | Errno::PERM) => {
                FileHandle::in_folder(folder, path).map(|found| Self::of(&found.metadata))
            }
            found => found.map(|found| Self::of_statx(&found)).map_err(io::Error::from),
        };
        match found {
            Ok(stamp) => Ok(Some(stamp)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of_statx(found: &Statx) -> Self {
        let ns = |time: &rustix::fs::StatxTimestamp| {
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        Self {
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            size: found.stx_size,
            mtime_ns: ns(&found.stx_mtime),
            ctime_ns: ns(&found.stx_ctime),
        }
    }

    /// Whether a file is this flag under another name. Its change time moves when the flag is removed.
    pub(crate) fn is_of(&self, metadata: &Metadata) -> bool {
        let other = Self::of(metadata);
        Self { ctime_ns: self.ctime_ns, ..other } == *self
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Why a flag could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Something else has the name of the flag.
    #[error("{path:?} is {what}, not a file: remove it, then flag the session with `touch`")]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// `a folder`, `a symbolic link`, …
        what: &'static str,
    },
    /// A hard link to a file that is never opened as data, such as this program's password.
    #[error(
        "{path:?} is another name of one of this program's own files: remove it, then flag the session with `touch`"
    )]
    Private {
        /// Its path.
        path: PathBuf,
    },
    /// Another program or computer holds it, and registers its session.
    #[error("another program holds {path:?}")]
    Elsewhere {
        /// Its path.
        path: PathBuf,
        /// The process, if it is on this computer and can be found.
        holder: Option<u32>,
    },
    /// It no longer exists.
    #[error("{path:?} has vanished")]
    Gone {
        /// Its path.
        path: PathBuf,
    },
    /// Longer than [`MAX_CONTENT`].
    #[error("{path:?} holds {size} bytes: a flag is empty or a short list of files, write it again")]
    TooLong {
        /// Its path.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The list of files is not text.
    #[error("{path:?}, line {line}: not valid UTF-8: save the list of files as UTF-8, or empty the flag")]
    NotUtf8 {
        /// Its path.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The flag or its session changed at the moment of its removal, and the flag could not be restored.
    #[error(
        "{path:?} or its session changed while the flag was being removed, and the flag could not be put back ({source}): touch it again"
    )]
    NotPutBack {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {doing} {path:?} ({source}): check that the service user may read and write the folder")]
    Io {
        /// `look at`, `read` or `remove`.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl FlagError {
    /// The flag.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::NotAFile { path, .. }
            | Self::Private { path }
            | Self::Elsewhere { path, .. }
            | Self::Gone { path }
            | Self::TooLong { path, .. }
            | Self::NotUtf8 { path, .. }
            | Self::NotPutBack { path, .. }
            | Self::Io { path, .. } => path,
        }
    }
}

/// The result of removing a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the session of a flag that has changed has to run again"]
pub enum Removal {
    /// It was unchanged, and is removed.
    Removed,
    /// It was touched, rewritten or replaced: it is still there, and its session has to run again.
    Changed,
    /// It was removed by others.
    AlreadyGone,
}

impl FlagFile {
    /// Loads the state of a flag. `None` if there is none.
    ///
    /// A flag is a regular file. A symbolic link is refused: a touch changes the target and not the link, so that a
    /// change of the flag could not be noticed.
    ///
    /// # Errors
    /// [`FlagError::NotAFile`], or [`FlagError::Io`] if the folder cannot be searched.
    pub fn load(path: impl Into<PathBuf>) -> Result<Option<Self>, FlagError> {
        let path = path.into();
        let Some(metadata) = metadata_if_present(&path)? else {
            return Ok(None);
        };
        match what_it_is(&metadata) {
            None => Ok(Some(Self { path, stamp: FlagStamp::of(&metadata) })),
            Some(what) => Err(FlagError::NotAFile { path, what }),
        }
    }

    /// The session folder, which contains the flag.
    pub fn session_folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Reads the list of files in the flag.
    ///
    /// # Errors
    /// [`FlagError`] if it cannot be read, is longer than [`MAX_CONTENT`], or is not UTF-8.
    pub fn content(&self) -> Result<FlagContent, FlagError> {
        self.content_unless(|_, _| false)
    }

    /// As [`content`](Self::content), but refuses a file that `is_private` recognises.
    ///
    /// Messages quote the lines of a flag: a flag that is a hard link to a password file would show the password.
    pub(crate) fn content_unless(
        &self,
        is_private: impl FnOnce(&File, &Metadata) -> bool,
    ) -> Result<FlagContent, FlagError> {
        self.parse(&self.open(is_private, false)?)
    }

    /// Opens the flag, to write if that is wanted and allowed. Nothing is ever written.
    fn open(
        &self,
        is_private: impl FnOnce(&File, &Metadata) -> bool,
        to_write: bool,
    ) -> Result<File, FlagError> {
        let failed = |source: io::Error| match is_absent(&source) {
            true => FlagError::Gone { path: self.path.clone() },
            false => self.io_error("read", source),
        };
        let handle = FileHandle::of_link(&self.path).map_err(failed)?;
        if is_private(&handle.file, &handle.metadata) {
            return Err(FlagError::Private { path: self.path.clone() });
        }
        if let Some(what) = what_it_is(&handle.metadata) {
            return Err(FlagError::NotAFile { path: self.path.clone(), what });
        }
        if to_write && let Ok(file) = handle.open_to_write(&self.path) {
            return Ok(file);
        }
        handle.open(&self.path).map_err(failed)
    }

    /// The content of the open flag.
    fn parse(&self, file: &File) -> Result<FlagContent, FlagError> {
        let bytes = read_at_most(file, MAX_CONTENT + 1).map_err(|source| self.io_error("read", source))?;
        if bytes.len() as u64 > MAX_CONTENT {
            return Err(FlagError::TooLong { path: self.path.clone(), size: self.stamp.size });
        }
        FlagContent::parse(&bytes)
            .map_err(|line| FlagError::NotUtf8 { path: self.path.clone(), line: line.0 })
    }

    /// Creates a flag where there is none. It appears with its whole content. Blocks.
    ///
    /// ```
    /// use alyx_registration::flag::FlagFile;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let flag = folder.path().join("create_me.flag");
    /// assert!(FlagFile::create(&flag, b"alf/spikes.times.npy\n").unwrap());
    /// assert!(!FlagFile::create(&flag, b"").unwrap(), "there is one");
    /// assert_eq!(std::fs::read(&flag).unwrap(), b"alf/spikes.times.npy\n");
    /// ```
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(Path::new).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        create_with(folder.as_fd(), name, content, 0o664)
    }

    fn io_error(&self, doing: &'static str, source: io::Error) -> FlagError {
        FlagError::Io { doing, path: self.path.clone(), source }
    }
}

/// The file does not exist, or a part of its path is not a folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What has the name of a flag; `None`: a file.
fn what_it_is(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else {
        Some("a special file")
    }
}

fn metadata_if_present(path: &Path) -> Result<Option<Metadata>, FlagError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(FlagError::Io { doing: "look at", path: path.to_owned(), source }),
    }
}

fn read_at_most(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a flag at a path in a folder. Returns `false` if there is one, which stays.
///
/// An empty flag means all files of its session. So one that lists some must not lose its content if the disk is full or the
/// program is killed: it gets its name when it is complete.
fn create_with(folder: BorrowedFd<'_>, path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    match link_complete(folder, path, content, mode) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // The disk is full, or the file system has no files without a name: NFS, FAT.
        Err(_) => create_complete(folder, path, mode, |file| file.write_all(content)),
    }
}

/// Writes a file without a name, and gives it the name.
fn link_complete(folder: BorrowedFd<'_>, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, beside, flags, Mode::from_raw_mode(mode & 0o777))?);
    file.write_all(content)?;
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, open, folder, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Creates a file, and removes it again if it cannot be written. Returns `false` if there is one, which stays.
fn create_complete(
    folder: BorrowedFd<'_>,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, path, flags, Mode::from_raw_mode(mode & 0o777)) {
        Ok(file) => write(&mut File::from(file)).map(|()| true).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(folder, path, AtFlags::empty());
        }),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
