//! The lock on a flag: while one program registers a session, no other program or computer begins with it.
//!
//! The lock saves work; it proves nothing. Some file systems have no locks, and some grant them without asking the
//! other computers. So a session that a run creates is looked up again, whatever was locked.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::flag::FlagStamp;

/// Where the kernel lists the locks of this computer.
const LOCK_LIST: &str = "/proc/locks";
/// How often the list is read to find an entry.
const READS: u32 = 20;

/// The result of locking a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It is ours until the file is closed.
    Ours,
    /// This file system has no locks, or none for this file.
    Unavailable,
    /// Another program or computer holds it.
    Elsewhere,
}

/// Locks a file without waiting.
pub(crate) fn lock(file: &File) -> Lock {
    lock_with(|| flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Releases the lock of a file, if there is one.
pub(crate) fn unlock(file: &File) {
    // Closing it releases it too.
    let _ = flock(file, FlockOperation::Unlock);
}

/// As [`lock`], with the system call passed in.
///
/// Only the explicit answer that another process holds it counts. Every other error means that there is no lock: NFS refuses one on a file
/// that is open for reading (EBADF) or whose lock daemon is away (ENOLCK), SMB and FUSE have their own.
pub(crate) fn lock_with(mut attempt: impl FnMut() -> rustix::io::Result<()>) -> Lock {
    loop {
        match attempt() {
            Ok(()) => return Lock::Ours,
            Err(Errno::WOULDBLOCK) => return Lock::Elsewhere,
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::debug!("the flag cannot be locked: {}", io::Error::from(error));
                return Lock::Unavailable;
            }
        }
    }
}

/// The process on this computer that holds the lock of a file.
pub(crate) fn holder(stamp: &FlagStamp) -> Option<u32> {
    // The kernel hands the list out in pieces; while other locks come and go, an entry may fall between two of them.
    (0..READS).find_map(|_| find_holder(&std::fs::read_to_string(LOCK_LIST).ok()?, stamp))
}

/// The process that holds the lock of a file, in the kernel's list. Pure.
///
/// A line reads `1: FLOCK  ADVISORY  WRITE 812 08:01:131090 0 EOF`; one that begins with `1: ->` waits. A process of
/// another container is shown as 0.
fn find_holder(list: &str, stamp: &FlagStamp) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(stamp.device), rustix::fs::minor(stamp.device));
    let file = format!("{major:02x}:{minor:02x}:{}", stamp.inode);
    let pid = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let is_lock = words.next().is_some_and(|kind| matches!(kind, "FLOCK" | "POSIX" | "OFDLCK"));
        let pid = words.nth(2)?.parse().ok();
        pid.filter(|pid| is_lock && *pid > 0 && words.next() == Some(file.as_str()))
    };
    list.lines().find_map(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_held_lock_holds_a_session_up() {
        for (errno, wanted) in [
            (Errno::WOULDBLOCK, Lock::Elsewhere),
            (Errno::BADF, Lock::Unavailable),
            (Errno::ACCESS, Lock::Unavailable),
            (Errno::NOLCK, Lock::Unavailable),
            (Errno::OPNOTSUPP, Lock::Unavailable),
            (Errno::NOSYS, Lock::Unavailable),
            (Errno::INVAL, Lock::Unavailable),
            (Errno::IO, Lock::Unavailable),
        ] {
            assert_eq!(lock_with(|| Err(errno)), wanted, "{errno:?}");
        }
        let mut times = 0;
        let interrupted = || {
            times += 1;
            if times < 3 { Err(Errno::INTR) } else { Ok(()) }
        };
        assert_eq!(lock_with(interrupted), Lock::Ours);
    }

    #[test]
    fn the_holder_of_a_lock_is_found_by_device_and_inode() {
        let list = "1: POSIX  ADVISORY  READ 700 00:19:131 128 128\n2: -> FLOCK  ADVISORY  WRITE 701 08:01:131 0 EOF\n\
                    3: FLOCK  ADVISORY  WRITE 812 08:01:131 0 EOF\n4: FLOCK  ADVISORY  WRITE 0 08:01:132 0 EOF\nnonsense\n";
        let stamp = |minor, inode| FlagStamp {
            device: rustix::fs::makedev(8, minor),
            inode,
            size: 0,
            mtime_ns: 0,
            ctime_ns: 0,
        };
        assert_eq!(find_holder(list, &stamp(1, 131)), Some(812));
        assert_eq!(find_holder(list, &stamp(2, 131)), None);
        assert_eq!(find_holder(list, &stamp(1, 132)), None);
    }
}
