//! The copies that were read elsewhere: remembered as what was verified.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use crate::ledger::{Ledger, Verified, VerifiedRow};
use alyx_registration::{EarlierRead, FindingKind, ReadCopies, ReadCopy};

impl ReadCopies for Ledger {
    fn find(&self, path: &Path) -> Option<ReadCopy> {
        let row = self.verified(path).filter(|row| row.result == Verified::Equal)?;
        Some(ReadCopy { stamp: row.read.stamp, md5: row.read.md5, at: SystemTime::from(row.at) })
    }

    fn keep(&self, read: &[(PathBuf, ReadCopy, bool)]) {
        let row = |(path, read, agrees): &(PathBuf, ReadCopy, bool)| {
            let result = if *agrees { Verified::Equal } else { Verified::Not(FindingKind::Differs) };
            let at = Timestamp::try_from(read.at).unwrap_or(Timestamp::UNIX_EPOCH);
            let read = EarlierRead { stamp: read.stamp, md5: read.md5 };
            let earlier = self.verified(path).filter(|row| row.result == Verified::Equal);
            VerifiedRow { path: path.clone(), read, at, result }.after(earlier.as_ref(), |_| true)
        };
        self.keep_verified(&read.iter().map(row).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_registration::{FileStamp, Md5Sum};
    use std::time::Duration;

    #[test]
    fn only_a_copy_that_agreed_counts_as_read() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path());
        let (one, two) = (PathBuf::from("/mnt/a"), PathBuf::from("/mnt/b"));
        let stamp = FileStamp { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };
        let md5 = Md5Sum::parse("900150983cd24fb0d6963f7d28e17f72").unwrap();
        let read = ReadCopy { stamp, md5, at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        ledger.keep(&[(one.clone(), read, true), (two.clone(), read, false)]);
        assert_eq!((ledger.find(&one), ledger.find(&two)), (Some(read), None));
        ledger.keep(&[(one.clone(), read, false)]);
        assert_eq!(ledger.find(&one), None);
    }
}
