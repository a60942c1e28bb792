//! The reach of a mount's locks: whether a lock taken here is one for other computers too. Pure.
//!
//! Some network file systems grant a lock without asking the server. Then only the second look at Alyx keeps two
//! computers from creating the same session.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// How far the locks of a mount reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockReach {
    /// A local disk: no other computer works on it.
    Local,
    /// All computers that mount it.
    Everywhere,
    /// This computer only, although others may mount it; with the option or program that makes it so.
    ThisComputer(&'static str),
    /// There are none.
    Nowhere(&'static str),
    /// That depends on the program that serves it.
    Unknown,
}

/// How far locks on a file reach, by the kernel's list of mounts (`/proc/self/mountinfo`).
pub fn lock_reach(mountinfo: &str, path: &Path) -> LockReach {
    let mut found: Option<(usize, LockReach)> = None;
    for line in mountinfo.lines() {
        // `36 35 98:0 /root /mount/point rw,noatime master:1 - nfs4 server:/x rw,vers=4.2`
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let Some(point) = head.split(' ').nth(4).map(unescaped) else { continue };
        let depth = point.components().count();
        // Of several mounts at one place, the last one is seen.
        if path.starts_with(&point) && found.is_none_or(|(other, _)| depth >= other) {
            let mut fields = tail.split(' ');
            let kind = fields.next().unwrap_or_default();
            found = Some((depth, reach_of(kind, fields.nth(1).unwrap_or_default())));
        }
    }
    found.map_or(LockReach::Unknown, |(_, reach)| reach)
}

/// By type and options.
fn reach_of(kind: &str, options: &str) -> LockReach {
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    let first = |names: &[&'static str]| names.iter().copied().find(|name| has(name));
    match kind {
        "nfs" | "nfs4" => first(&["nolock", "local_lock=all", "local_lock=flock"])
            .map_or(LockReach::Everywhere, LockReach::ThisComputer),
        "cifs" | "smb3" => first(&["nobrl", "nolock"]).map_or(LockReach::Everywhere, LockReach::ThisComputer),
        "lustre" if has("localflock") => LockReach::ThisComputer("localflock"),
        "lustre" if has("flock") => LockReach::Everywhere,
        "lustre" => LockReach::Nowhere("no option flock"),
        "ceph" | "gfs2" | "ocfs2" | "gpfs" => LockReach::Everywhere,
        "fuse.sshfs" => LockReach::ThisComputer("sshfs"),
        "9p" => LockReach::ThisComputer("9p"),
        "virtiofs" => LockReach::ThisComputer("virtiofs"),
        "afs" | "ncpfs" | "fuse" => LockReach::Unknown,
        // These are disks of this computer.
        "fuseblk" | "fuse.ntfs-3g" | "fuse.exfat" | "fuse.mergerfs" => LockReach::Local,
        other if other.starts_with("fuse.") => LockReach::Unknown,
        _ => LockReach::Local,
    }
}

/// A path in the list: blanks and backslashes are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_of_locks_follows_from_type_and_options() {
        for (kind, options, wanted) in [
            ("ext4", "rw", LockReach::Local),
            ("nfs4", "rw,vers=4.2,local_lock=none", LockReach::Everywhere),
            ("nfs", "rw,vers=3,nolock,local_lock=all", LockReach::ThisComputer("nolock")),
            ("nfs", "rw,vers=3,local_lock=flock", LockReach::ThisComputer("local_lock=flock")),
            ("nfs", "rw,vers=3,local_lock=posix", LockReach::Everywhere),
            ("cifs", "rw,vers=3.1.1,nobrl", LockReach::ThisComputer("nobrl")),
            ("cifs", "rw,vers=3.1.1", LockReach::Everywhere),
            ("fuse.sshfs", "rw,user_id=0", LockReach::ThisComputer("sshfs")),
            ("fuse.rclone", "rw", LockReach::Unknown),
            ("lustre", "rw", LockReach::Nowhere("no option flock")),
            ("lustre", "rw,flock", LockReach::Everywhere),
        ] {
            assert_eq!(reach_of(kind, options), wanted, "{kind} {options}");
        }
    }

    #[test]
    fn the_innermost_and_last_mount_counts() {
        let list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 0:40 / /mnt/lab\\040share rw,relatime - nfs4 server:/x rw,local_lock=none\n\
                    3 1 0:41 / /mnt/twice rw - ext4 /dev/sdb1 rw\n\
                    4 3 0:42 / /mnt/twice rw shared:2 - fuse.sshfs me@rig:/ rw\nnonsense\n";
        let of = |path: &str| lock_reach(list, Path::new(path));
        assert_eq!(of("/data"), LockReach::Local);
        assert_eq!(of("/mnt/lab share/KS014"), LockReach::Everywhere);
        assert_eq!(of("/mnt/lab"), LockReach::Local);
        assert_eq!(of("/mnt/twice/KS014"), LockReach::ThisComputer("sshfs"));
        assert_eq!(lock_reach("", Path::new("/data")), LockReach::Unknown);
    }
}
