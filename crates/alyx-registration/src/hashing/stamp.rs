//! The stamp of a file: identity and times, by which a change is noticed without reading the file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// How long a file must have been unchanged before it is read, for its checksum to be remembered.
///
/// The change time is as fine as the file system's clock: 4 ms on ext4, 1 s on some network drives, 2 s on FAT. A
/// second write within that time leaves the stamp as it was. So a file that has just changed is read again next time.
const MIN_AGE: Duration = Duration::from_secs(2);

/// Identity and times of a file: equal stamps mean that it was not written to in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Time of the last change of the content: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Time of the last change of content or metadata: seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

impl FileStamp {
    /// The stamp in the result of `stat`.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether size and times are the same. Some network file systems number the same file anew each time.
    pub(crate) fn has_same_content(&self, other: &Self) -> bool {
        let of = |stamp: &Self| (stamp.size, stamp.modified, stamp.changed);
        of(self) == of(other)
    }

    /// When the file changed last, in content or metadata. A time before 1970 counts as 1970.
    pub(crate) fn latest_change(&self) -> SystemTime {
        let (seconds, ns) = self.modified.max(self.changed);
        let since_1970 = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(ns).unwrap_or(0));
        // Times beyond what the system can express do not exist on its file systems.
        SystemTime::UNIX_EPOCH.checked_add(since_1970).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The stamp of the same file after a move, which changes nothing but the change time. `None` if the file was
    /// written to as well.
    pub(crate) fn after_move(self, metadata: &Metadata) -> Option<Self> {
        let now = Self::of(metadata);
        (Self { changed: self.changed, ..now } == self).then_some(now)
    }

    /// Whether an equal stamp later on proves that the file was not written to since `reading`. Pure.
    pub(crate) fn is_conclusive(&self, reading: SystemTime) -> bool {
        // A change time in the future comes from another machine's clock and proves nothing.
        self.age(reading).is_some_and(|age| age >= MIN_AGE)
    }

    /// How long before this time the file changed last; `None`: later. Pure.
    pub(crate) fn age(&self, time: SystemTime) -> Option<Duration> {
        let (seconds, ns) = self.changed;
        let changed = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(ns).ok()?);
        time.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_of_a_file_that_has_just_changed_is_not_conclusive() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let stamp = FileStamp::of(&metadata);
        let changed =
            SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
        assert!(!stamp.is_conclusive(changed));
        assert!(!stamp.is_conclusive(changed + Duration::from_millis(1999)));
        assert!(stamp.is_conclusive(changed + Duration::from_secs(2)));
        assert!(!stamp.is_conclusive(changed - Duration::from_secs(3600)), "a clock that is ahead");
    }
}
