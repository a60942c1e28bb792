//! A data root: its identity, and whether its file system reports changes.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The identity of a folder, which distinguishes it from another of the same name. A root that was unmounted, mounted or
/// replaced has another identity; the kernel sends no event for any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FolderIdentity {
    /// Device of the file system.
    pub device: u64,
    /// Inode of the folder on that device.
    pub inode: u64,
}

impl FolderIdentity {
    /// The identity of a folder; links are followed.
    ///
    /// # Errors
    /// Those of `stat`; [`io::ErrorKind::NotADirectory`] if it is not a folder.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(folder)?;
        if metadata.is_dir() { Ok(Self::of(&metadata)) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The times of a folder. They change when an entry is made, renamed or removed in it, and when its owner or permissions
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderStamp {
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FolderStamp {
    /// Looks at a folder; `None` if it cannot be seen. Blocks.
    pub fn load(folder: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(folder).ok()?;
        Some(Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Whether a root contains its marker: the file that exists whenever the right disk is mounted. Without a marker an
/// empty mount point looks like a disk without flags.
///
/// # Errors
/// Those of `stat`, except that a missing marker is not an error.
pub fn has_marker(root: &Path, marker: &str) -> io::Result<bool> {
    match std::fs::symlink_metadata(root.join(marker)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file system is mounted read-only (for this unit).
///
/// # Errors
/// Those of `statvfs`.
pub fn is_read_only(folder: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(folder)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// The type of a folder's file system as `mount` shows it, such as `ext4`, if known.
pub fn file_system(folder: &Path) -> Option<String> {
    let real = std::fs::canonicalize(folder).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounted_at(&mounts, &real).map(str::to_owned)
}

/// The type of the last mount on the innermost mount point around a folder. Some file systems give every folder its
/// own device, so the device does not identify the mount.
fn mounted_at<'a>(mountinfo: &'a str, folder: &Path) -> Option<&'a str> {
    let mut innermost: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4).map(unescaped) else { continue };
        let length = point.as_os_str().len();
        if folder.starts_with(&point) && innermost.is_none_or(|(longest, _)| longest <= length) {
            innermost = source.split(' ').next().map(|kind| (length, kind));
        }
    }
    innermost.map(|(_, kind)| kind)
}

/// Decodes a path in which blanks and backslashes are written as `\040` and `\134`.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_file_system_is_that_of_the_innermost_mount() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      23 22 8:2 / /data rw - xfs /dev/sda2 rw\n\
                      24 22 8:2 / /my\\040disk rw - btrfs /dev/sdb rw\n\
                      25 23 0:50 / /data rw shared:1 - nfs4 server:/x rw\n";
        let kind = |folder: &str| mounted_at(mounts, Path::new(folder));
        assert_eq!(
            ["/data", "/data/x", "/database", "/my disk/a"].map(kind).map(Option::unwrap),
            ["nfs4", "nfs4", "ext4", "btrfs"]
        );
        assert_eq!(mounted_at("", Path::new("/data")), None);
    }

    #[test]
    fn a_folder_that_is_replaced_has_another_identity() {
        let root = tempfile::tempdir().unwrap();
        let (folder, other) = (root.path().join("folder"), root.path().join("other"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&other).unwrap();
        let before = FolderIdentity::load(&folder).unwrap();
        assert_eq!(FolderIdentity::load(&folder).unwrap(), before);
        std::fs::rename(&folder, root.path().join("away")).unwrap();
        assert!(FolderIdentity::load(&folder).is_err());
        std::fs::rename(&other, &folder).unwrap();
        assert_ne!(FolderIdentity::load(&folder).unwrap(), before);
    }
}
