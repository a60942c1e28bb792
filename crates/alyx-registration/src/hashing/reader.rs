//! The file reader: reads a file once, from start to end, without displacing other files in the page cache.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

/// How many bytes are read before their pages are dropped.
const DROP_EVERY: u64 = 16 << 20;

/// The kernel reads as much ahead without being advised to, in bytes.
const SMALL: u64 = 128 << 10;

/// Reads a file from start to end and keeps it out of the page cache.
///
/// `RWF_DONTCACHE` (Linux 6.14) drops only the pages that the read itself brought in. Without it, `fadvise(DONTNEED)`
/// drops the pages behind the cursor, including those that another process uses.
pub(crate) struct QuietReader {
    file: File,
    offset: u64,
    dropped: u64,
    uncached: bool,
}

/// Drops the pages of a file from the page cache, after what is dirty was written: the next read asks the disk. Pages that
/// another program has mapped stay.
pub(crate) fn forget_pages(file: &File) {
    // Where either fails, the next read is only less independent.
    let _ = rustix::fs::fsync(file);
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

impl QuietReader {
    /// `RWF_DONTCACHE` of `linux/fs.h`.
    const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    pub(crate) fn new(file: File, size: u64) -> Self {
        // A small file is read at once. Without the advice, reading is only slower.
        if size > SMALL {
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        Self { file, offset: 0, dropped: 0, uncached: true }
    }

    /// How many bytes have been read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next bytes; 0 at the end of the file.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n = if self.uncached {
            let pieces = &mut [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.file, pieces, self.offset, Self::DONTCACHE) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.uncached = false;
                    return self.read(buffer);
                }
                other => other?,
            }
        } else {
            rustix::io::pread(&self.file, buffer, self.offset)?
        };
        self.offset += n as u64;
        if !self.uncached && (self.offset - self.dropped >= DROP_EVERY || n == 0) {
            if let Some(length) = NonZeroU64::new(self.offset - self.dropped) {
                let _ = rustix::fs::fadvise(&self.file, self.dropped, Some(length), Advice::DontNeed);
            }
            self.dropped = self.offset;
        }
        Ok(n)
    }
}
