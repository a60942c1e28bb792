//! A held flag: one open file through which a run locks, reads, compares and removes its flag.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::flag::content::FlagContent;
use crate::flag::lock::{self, Lock};
use crate::flag::{
    FlagError, FlagFile, FlagStamp, MAX_CONTENT, Removal, create_with, is_absent, read_at_most,
};
use crate::opener::file_handle::FileHandle;

/// How often a flag that is replaced at the moment of locking is opened again.
const MAX_REPLACED: usize = 10;

/// A flag that a run holds. Dropping it releases its lock.
///
/// It is never opened a second time: locks of SMB shares are mandatory, so a second handle could not read it.
#[derive(Debug)]
pub struct HeldFlag {
    flag: FlagFile,
    /// The session folder: another may have its name by the time the flag is removed.
    folder: File,
    file: LockedFile,
}

/// What is needed to put a removed flag back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlagCopy {
    pub(crate) path: PathBuf,
    content: Vec<u8>,
    mode: u32,
}

impl FlagCopy {
    /// The list of files in it.
    pub(crate) fn content(&self) -> Result<FlagContent, FlagError> {
        FlagContent::parse(&self.content)
            .map_err(|line| FlagError::NotUtf8 { path: self.path.clone(), line: line.0 })
    }

    /// Puts it back, unless there is a new one.
    pub(crate) fn put_back(&self) -> Result<(), FlagError> {
        self.put_back_in(CWD, &self.path)
    }

    fn put_back_in(&self, folder: BorrowedFd<'_>, path: &Path) -> Result<(), FlagError> {
        create_with(folder, path, &self.content, self.mode)
            .map(drop)
            .map_err(|source| FlagError::NotPutBack { path: self.path.clone(), source })
    }
}

/// An open flag, unlocked when it is dropped.
///
/// Closing it would not be enough: a process that another thread is just starting holds a copy until it runs.
#[derive(Debug)]
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        lock::unlock(&self.0);
    }
}

impl FlagFile {
    /// Opens the flag and locks it, where the file system has locks.
    ///
    /// # Errors
    /// [`FlagError::Elsewhere`] if another program or computer holds it, [`FlagError::Gone`] if it does not exist, and
    /// those of [`FlagFile::content`].
    pub fn hold(self) -> Result<HeldFlag, FlagError> {
        self.hold_with(|_, _| false, lock::lock)
    }

    /// As [`hold`](Self::hold), but refuses a file that `is_private` recognises, and locks with `lock`.
    pub(crate) fn hold_with(
        self,
        is_private: impl Fn(&File, &std::fs::Metadata) -> bool,
        lock: impl Fn(&File) -> Lock,
    ) -> Result<HeldFlag, FlagError> {
        let folder = match FileHandle::of_folder(&Path::new(".").join(self.session_folder())) {
            Ok(folder) => folder.file,
            Err(error) if is_absent(&error) => return Err(FlagError::Gone { path: self.path }),
            Err(source) => return Err(self.io_error("look at", source)),
        };
        for _ in 0..MAX_REPLACED {
            let mut file = self.open(&is_private, false)?;
            let mut locked = lock(&file);
            if locked == Lock::Unavailable {
                // NFS locks only a file that is open for writing. Elsewhere it is opened to read: otherwise
                // its closing would look like a change to programs that watch the folder, and keep a disk from being made read-only.
                drop(file);
                file = self.open(&is_private, true)?;
                locked = lock(&file);
            }
            let opened = file.metadata().map_err(|source| self.io_error("look at", source))?;
            let opened = FlagStamp::of(&opened);
            // Another program may have removed or replaced it between opening and locking; then this is the lock of a
            // file that has no name any more.
            match self.stamp_in(&folder)? {
                None => return Err(FlagError::Gone { path: self.path }),
                Some(now) if !now.is_same_file(&opened) => {}
                Some(_) if locked == Lock::Elsewhere => {
                    return Err(FlagError::Elsewhere { path: self.path, holder: lock::holder(&opened) });
                }
                Some(_) => return Ok(HeldFlag { flag: self, folder, file: LockedFile(file) }),
            }
        }
        Err(FlagError::Elsewhere { path: self.path, holder: None })
    }

    /// Its name in the session folder.
    fn name(&self) -> &Path {
        Path::new(self.path.file_name().unwrap_or_default())
    }

    /// The present state of what has its name in this folder. `None`: there is nothing.
    fn stamp_in(&self, folder: &File) -> Result<Option<FlagStamp>, FlagError> {
        FlagStamp::at(folder.as_fd(), self.name()).map_err(|source| self.io_error("look at", source))
    }
}

impl HeldFlag {
    #[cfg(test)]
    pub(super) fn descriptor(&self) -> File {
        self.file.0.try_clone().unwrap()
    }

    /// A copy of it, from which it can be put back.
    pub(crate) fn copy(&self) -> Result<FlagCopy, FlagError> {
        let failed = |source| self.flag.io_error("read", source);
        let mut file = &self.file.0;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let content = read_at_most(file, MAX_CONTENT + 1).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        Ok(FlagCopy { path: self.flag.path.clone(), content, mode })
    }

    /// Reads the list of files in the flag.
    ///
    /// # Errors
    /// [`FlagError`] if it cannot be read, is longer than [`MAX_CONTENT`], or is not UTF-8.
    pub fn content(&self) -> Result<FlagContent, FlagError> {
        self.flag.parse(&self.file.0)
    }

    /// Removes the flag if it is unchanged since it was loaded. This is the commit of a session: the last step, after
    /// Alyx has confirmed everything. The lock is released at once.
    ///
    /// The flag is open during the removal. So a touch or a rewrite between the last check and the removal is noticed
    /// afterwards, and the flag is restored with its content. Only a flag that is replaced by another file (renamed over
    /// it) within those few microseconds is not noticed: Unix has no "remove if unchanged".
    ///
    /// The folder is not synced: after a power cut the flag may reappear, and its session runs again, which changes
    /// nothing on Alyx.
    ///
    /// # Errors
    /// [`FlagError`]; the flag is still there, except with [`FlagError::NotPutBack`].
    pub fn remove_if_unchanged(self) -> Result<Removal, FlagError> {
        self.remove_with(|| ())
    }

    /// `between` runs between the last check and the removal.
    pub(super) fn remove_with(self, between: impl FnOnce()) -> Result<Removal, FlagError> {
        let Self { flag, folder, file: LockedFile(file) } = &self;
        // By its path too: the flag of a session that was moved stays.
        let by_path = FlagStamp::at(CWD, &flag.path).map_err(|source| flag.io_error("look at", source))?;
        for now in [by_path, flag.stamp_in(folder)?] {
            match now {
                None => return Ok(Removal::AlreadyGone),
                Some(now) if now != flag.stamp => return Ok(Removal::Changed),
                Some(_) => {}
            }
        }
        // A file that was replaced and came back is not the one that is open.
        let before = file.metadata().map_err(|source| flag.io_error("look at", source))?;
        if (before.dev(), before.ino()) != (flag.stamp.device, flag.stamp.inode) {
            return Ok(Removal::Changed);
        }
        between();
        match rustix::fs::unlinkat(folder, flag.name(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Removal::AlreadyGone),
            Err(Errno::ISDIR) => return Ok(Removal::Changed),
            Err(error) => return Err(flag.io_error("remove", error.into())),
        }
        // The removal itself changes the change time, so only size and modification time show a change by others.
        let after = match file.metadata() {
            Ok(metadata) => FlagStamp::of(&metadata),
            // The file is gone on the server (ESTALE), so it cannot have been touched since.
            Err(_) => return Ok(Removal::Removed),
        };
        if (after.size, after.mtime_ns) == (flag.stamp.size, flag.stamp.mtime_ns) {
            return Ok(Removal::Removed);
        }
        self.copy()?.put_back_in(folder.as_fd(), flag.name())?;
        Ok(Removal::Changed)
    }
}
