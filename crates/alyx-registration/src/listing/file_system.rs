//! The file system under a folder: whether it is on another machine.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

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

/// Whether this process can write to a folder, and otherwise only its user and root can.
pub fn is_private_folder(folder: &Path) -> bool {
    let me = rustix::process::geteuid();
    let is_ours = std::fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && (me.is_root() || m.uid() == me.as_raw()) && m.mode() & 0o022 == 0);
    is_ours && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the times of files can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileTimes {
    /// They show every change.
    Exact,
    /// They may have been cached before the file was opened.
    Cached,
    /// Stores into mapped pages never show in them.
    Unreliable,
}

/// Makes stores into mapped pages of a file show in its change time, which they do only in a page that is not dirty yet.
pub(crate) fn sync_mapped_pages(file: &File, may_be_dirty: bool) -> FileTimes {
    match rustix::fs::fstatfs(file).map(|found| found.f_type as u32) {
        Ok(0x0102_1994 /* tmpfs */ | 0x8584_58F6 /* ramfs */) => FileTimes::Unreliable,
        // A network drive may take long, and has other computers that write.
        Ok(magic) if FileSystem::of(magic) == FileSystem::Local => {
            if may_be_dirty {
                // Where it fails, or a file cannot be synced, the times are as good as they were.
                let _ = rustix::fs::fsync(file);
            }
            FileTimes::Exact
        }
        _ => FileTimes::Cached,
    }
}

/// Makes a network file system ask its server for the size and times of a file, which it may have cached for seconds.
pub(crate) fn refresh(path: &Path) {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    // Where that is not possible, the next look shows what has changed.
    let _ = statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
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
    fn a_temporary_folder_is_local() {
        assert!(!is_network(tempfile::tempdir().unwrap().path()).unwrap());
    }
}
