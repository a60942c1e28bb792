//! A data root: its identity, and whether its file system reports changes.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The identity of a folder, which tells it from another one of the same name. A root that was unmounted, mounted or
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

/// Whether the file system of a folder is on another machine, which may change it without an event here.
///
/// Decided by the magic number of `statfs`. FUSE has one number for all its file systems; there the type in
/// `/proc/self/mountinfo` decides.
///
/// # Errors
/// Those of `statfs`.
pub fn is_network(folder: &Path) -> io::Result<bool> {
    // The type is a signed or an unsigned word, depending on the architecture; the magic numbers fill 32 bits.
    let magic = rustix::fs::statfs(folder)?.f_type as u32;
    Ok(match FileSystem::of(magic) {
        FileSystem::Local => false,
        FileSystem::Network => true,
        FileSystem::Fuse => {
            let device = std::fs::metadata(folder)?.dev();
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            fuse_is_network(mount_type(&mounts, device))
        }
    })
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Local,
    Network,
    Fuse,
}

impl FileSystem {
    /// Numbers from `linux/magic.h` and statfs(2); those of file systems outside the kernel from their own sources.
    fn of(magic: u32) -> Self {
        match magic {
            0x6573_5546 => Self::Fuse,
            0x0000_6969 // nfs
            | 0xFF53_4D42 // cifs
            | 0xFE53_4D42 // smb2, smb3
            | 0x0000_517B // smb
            | 0x0000_564C // ncp
            | 0x0102_1997 // 9p
            | 0x00C3_6400 // ceph
            | 0x0BD0_0BD0 // lustre
            | 0x5346_414F // afs
            | 0x6B41_4653 // afs, other implementation
            | 0x7375_7245 // coda
            | 0x7461_636F // ocfs2
            | 0x0116_1970 // gfs2
            | 0x4750_4653 // gpfs
            | 0x1983_0326 // beegfs
            | 0x2003_0528 // orangefs
            | 0xAAD7_AAEA // panfs
            | 0x786F_4256 // vboxsf: a folder of the host
            | 0xBACB_ACBC // vmhgfs: a folder of the host
            => Self::Network,
            _ => Self::Local,
        }
    }
}

/// A FUSE file system of unknown type counts as network: polling finds every flag, events may not.
fn fuse_is_network(mount_type: Option<&str>) -> bool {
    const LOCAL: [&str; 6] =
        ["fuseblk", "fuse.mergerfs", "fuse.bindfs", "fuse.gocryptfs", "fuse.encfs", "fuse.ntfs-3g"];
    mount_type.is_none_or(|name| !LOCAL.contains(&name))
}

/// The type of a mounted device: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
fn mount_type(mountinfo: &str, device: u64) -> Option<&str> {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        (mount.split(' ').nth(2)? == number).then(|| source.split(' ').next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_distinguished_from_local_ones() {
        for network in [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997, 0x00C3_6400] {
            assert_eq!(FileSystem::of(network), FileSystem::Network, "{network:x}");
        }
        for local in [0xEF53, 0x0102_1994, 0x5846_5342, 0x9123_683E, 0x794C_7630] {
            assert_eq!(FileSystem::of(local), FileSystem::Local, "{local:x}");
        }
    }

    #[test]
    fn fuse_is_classified_by_mount_type_and_counts_as_network_when_unknown() {
        let mounts = "36 35 0:52 / /mnt/a rw - fuse.sshfs rig@server:/data rw\n\
                      37 35 8:17 / /mnt/b rw shared:3 - fuseblk /dev/sdb1 rw\n";
        let device = |major, minor| rustix::fs::makedev(major, minor);
        assert!(fuse_is_network(mount_type(mounts, device(0, 52))));
        assert!(!fuse_is_network(mount_type(mounts, device(8, 17))));
        assert!(fuse_is_network(mount_type(mounts, device(0, 99))));
    }

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

    #[test]
    fn a_temporary_folder_is_local() {
        assert!(!is_network(tempfile::tempdir().unwrap().path()).unwrap());
    }
}
