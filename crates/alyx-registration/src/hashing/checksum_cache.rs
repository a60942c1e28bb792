//! Known checksums: a file that has not changed since it was read is not read again.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use crate::hashing::checksum::FileStamp;

/// How long before the reading a file must have been left alone for its checksum to be remembered.
///
/// The change time is as fine as the file system's clock: 4 ms on ext4, 1 s on some network drives, 2 s on FAT. A
/// write within that time after another leaves the stamp as it was. So a file that has just been changed is read
/// again next time.
const LEFT_ALONE: Duration = Duration::from_secs(2);

/// Remembers checksums from one run to the next.
pub trait ChecksumCache: Debug + Send + Sync {
    /// The MD5 of a file in this very state. Blocks.
    fn find(&self, stamp: &FileStamp) -> Option<String>;
    /// Remembers the MD5 of a file. Blocks.
    fn keep(&self, stamp: &FileStamp, md5: &str);
}

impl FileStamp {
    /// Whether an equal stamp later on will mean that nobody has written since `reading`. Pure.
    pub(crate) fn will_tell(&self, reading: SystemTime) -> bool {
        let Ok(now) = reading.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let (seconds, ns) = self.changed;
        let (Ok(seconds), Ok(ns)) = (u64::try_from(seconds), u32::try_from(ns)) else { return false };
        // A change in the future (another machine's clock) is no more than a number.
        now.checked_sub(Duration::new(seconds, ns)).is_some_and(|alone| alone >= LEFT_ALONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_was_changed_a_moment_ago_is_not_remembered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let stamp = FileStamp::of(&metadata);
        let changed =
            SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
        assert!(!stamp.will_tell(changed));
        assert!(!stamp.will_tell(changed + Duration::from_millis(1999)));
        assert!(stamp.will_tell(changed + Duration::from_secs(2)));
        assert!(!stamp.will_tell(changed - Duration::from_secs(3600)), "a clock that is ahead");
    }
}
