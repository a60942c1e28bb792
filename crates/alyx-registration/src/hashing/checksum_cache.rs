//! The checksum cache: a file that has not changed since it was read is not read again.

use std::fmt::Debug;

use crate::hashing::md5_sum::Md5Sum;
use crate::hashing::stamp::FileStamp;

/// Keeps checksums from one run to the next.
pub trait ChecksumCache: Debug + Send + Sync {
    /// The MD5 of a file with exactly this stamp. Blocks.
    fn find(&self, stamp: &FileStamp) -> Option<Md5Sum>;
    /// Stores the MD5 of a file. Blocks.
    fn keep(&self, stamp: &FileStamp, md5: Md5Sum);
}
