//! A checksum: the MD5 and size of a file, read in pieces and without pushing other programs out of the page cache.

use std::fs::{File, Metadata};
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use md5::{Digest, Md5};
use rustix::fs::{Advice, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::Error;

/// How much is read between two looks at the stop sign, in bytes.
const PIECE: usize = 1 << 20;
/// How far the reading runs ahead of the dropping of pages, in bytes.
const DROP_EVERY: u64 = 16 << 20;
/// How often a file that changes while it is read is read again before it is put off.
const READINGS: u32 = 3;
/// How long a session is put off when one of its files would not stay still.
pub(super) const PUT_OFF: Duration = Duration::from_secs(5);

/// Identity and times of a file: equal stamps mean that nobody has written in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// From what `stat` says.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The stamp of the same file after it was moved: a move changes nothing but the change time. `None` where it
    /// has been written to as well.
    pub(super) fn after_move(self, metadata: &Metadata) -> Option<Self> {
        let now = Self::of(metadata);
        (Self { changed: self.changed, ..now } == self).then_some(now)
    }
}

/// MD5 and size of a file, and the state in which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// In hexadecimal; `None` where the file is larger than `max_md5_size`.
    pub md5: Option<String>,
    /// In bytes.
    pub size: u64,
    /// The file as it was read.
    pub stamp: FileStamp,
}

/// How far the reading of a session's files has come. Shared and updated while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files to read.
    pub files: AtomicU64,
    /// Files read.
    pub files_done: AtomicU64,
    /// Bytes to read.
    pub bytes: AtomicU64,
    /// Bytes read.
    pub bytes_done: AtomicU64,
}

/// Why there is no checksum.
enum Stopped {
    Cancelled,
    Failed(Error),
}

/// Reads one file. Blocks; looks at `cancel` after each piece.
fn read_once(
    path: &Path,
    max_md5_size: Option<u64>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(Checksum, bool), Stopped> {
    let failed = |e: &std::io::Error| Stopped::Failed(Error::reading(path, e));
    // Non-blocking, so that opening a FIFO that took the file's place does not hang.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|e| failed(&e))?;
    let before = file.metadata().map_err(|e| failed(&e))?;
    if !before.is_file() {
        let reason = "not a regular file".to_owned();
        return Err(Stopped::Failed(Error::Unreadable { path: path.to_owned(), reason }));
    }
    // As in ONE: a file of exactly the limit is not hashed any more.
    let md5 = match max_md5_size.is_none_or(|limit| before.size() < limit) {
        true => Some(digest(&file, path, progress, cancel)?),
        false => None,
    };
    // The path again, not the open file: another file may have taken its name meanwhile.
    let after = std::fs::metadata(path).map_err(|e| failed(&e))?;
    let stamp = FileStamp::of(&before);
    let quiet = stamp == FileStamp::of(&after) && md5.as_ref().is_none_or(|(_, read)| *read == before.size());
    Ok((Checksum { md5: md5.map(|(hex, _)| hex), size: before.size(), stamp }, quiet))
}

/// MD5 of an open file in hexadecimal, and how many bytes were read.
fn digest(
    file: &File,
    path: &Path,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(String, u64), Stopped> {
    let mut hasher = Md5::new();
    let size = file.metadata().map(|m| m.size()).unwrap_or(PIECE as u64);
    let mut buffer = vec![0; usize::try_from(size + 1).unwrap_or(PIECE).clamp(1, PIECE)];
    let mut reader = QuietReader::new(file);
    loop {
        if cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                progress.bytes_done.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(Stopped::Failed(Error::reading(path, &error.into()))),
        }
    }
    let hex = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hex, reader.offset))
}

/// Reads a file from start to end and leaves the page cache to others.
///
/// `RWF_DONTCACHE` (Linux 6.14) drops just the pages that the read itself brought in. Where it is missing,
/// `fadvise(DONTNEED)` behind the cursor does: that also drops pages of this file which another process uses.
struct QuietReader<'a> {
    file: &'a File,
    offset: u64,
    dropped: u64,
    uncached: bool,
}

impl<'a> QuietReader<'a> {
    /// `RWF_DONTCACHE` of `linux/fs.h`.
    const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    fn new(file: &'a File) -> Self {
        // Failure to advise changes speed only.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
        Self { file, offset: 0, dropped: 0, uncached: true }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n = if self.uncached {
            match rustix::io::preadv2(self.file, &mut [IoSliceMut::new(buffer)], self.offset, Self::DONTCACHE)
            {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.uncached = false;
                    return self.read(buffer);
                }
                other => other?,
            }
        } else {
            rustix::io::pread(self.file, buffer, self.offset)?
        };
        self.offset += n as u64;
        if !self.uncached && (self.offset - self.dropped >= DROP_EVERY || n == 0) {
            if let Some(length) = NonZeroU64::new(self.offset - self.dropped) {
                let _ = rustix::fs::fadvise(self.file, self.dropped, Some(length), Advice::DontNeed);
            }
            self.dropped = self.offset;
        }
        Ok(n)
    }
}

/// Reads one file as often as it takes to meet it unchanged.
fn checksum(
    path: &Path,
    max_md5_size: Option<u64>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Checksum, Stopped> {
    for _ in 0..READINGS {
        let (checksum, quiet) = read_once(path, max_md5_size, progress, cancel)?;
        if quiet {
            progress.files_done.fetch_add(1, Ordering::Relaxed);
            return Ok(checksum);
        }
        tracing::debug!(file = ?path, "the file changed while it was read; reading it again");
    }
    Err(Stopped::Failed(Error::StillChanging { path: path.to_owned(), wait: PUT_OFF }))
}

/// Checksums of many files, in order, several at once on blocking threads.
///
/// Dropping the future stops the reading within one piece a thread. All files are tried; the answer holds one
/// result a file.
pub async fn checksums(
    paths: Vec<PathBuf>,
    max_md5_size: Option<u64>,
    threads: &Arc<Semaphore>,
    progress: &Arc<Progress>,
) -> Vec<Result<Checksum, Error>> {
    let cancel = CancellationToken::new();
    let _stop_when_dropped = cancel.clone().drop_guard();
    let mut readings = Vec::with_capacity(paths.len());
    for path in paths {
        let (threads, progress, cancel) = (Arc::clone(threads), Arc::clone(progress), cancel.clone());
        readings.push(async move {
            let permit = threads.acquire_owned().await.ok();
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                checksum(&path, max_md5_size, &progress, &cancel)
            });
            match read.await {
                Ok(Ok(checksum)) => Ok(checksum),
                Ok(Err(Stopped::Failed(error))) => Err(error),
                Ok(Err(Stopped::Cancelled)) => Err(Error::Internal("the reading was cancelled".into())),
                Err(panic) => Err(Error::Internal(format!("reading a file: {panic}"))),
            }
        });
    }
    futures_util::future::join_all(readings).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(path: &Path, limit: Option<u64>) -> Result<Checksum, Error> {
        checksum(path, limit, &Progress::default(), &CancellationToken::new()).map_err(
            |stopped| match stopped {
                Stopped::Failed(error) => error,
                Stopped::Cancelled => Error::Internal("cancelled".into()),
            },
        )
    }

    #[test]
    fn known_digests_come_out() {
        let folder = tempfile::tempdir().unwrap();
        for (content, md5) in
            [("", "d41d8cd98f00b204e9800998ecf8427e"), ("a", "0cc175b9c0f1b6a831c399e269772661")]
        {
            let path = folder.path().join("x");
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path, None).unwrap().md5.as_deref(), Some(md5));
        }
    }

    #[test]
    fn a_file_of_several_pieces_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let content: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i % 251) as u8).collect();
        std::fs::File::create(&path).unwrap().write_all(&content).unwrap();
        let whole: String = Md5::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
        let read = read(&path, None).unwrap();
        assert_eq!((read.md5.as_deref(), read.size), (Some(whole.as_str()), content.len() as u64));
    }

    #[test]
    fn a_file_of_the_limit_has_a_size_and_no_md5() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, Some(3)).unwrap().md5, None);
        assert!(read(&path, Some(4)).unwrap().md5.is_some());
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_fifo_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), None), Err(Error::Unreadable { .. })));
        assert!(matches!(read(&folder.path().join("none"), None), Err(Error::Vanished { .. })));
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&fifo, None), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let before = FileStamp::of(&std::fs::metadata(&path).unwrap());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"d").unwrap();
        assert_ne!(before, FileStamp::of(&std::fs::metadata(&path).unwrap()));
    }

    #[test]
    fn a_stop_is_seen_before_the_next_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, vec![0; 2 * PIECE]).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let progress = Progress::default();
        assert!(matches!(checksum(&path, None, &progress, &cancel), Err(Stopped::Cancelled)));
        assert_eq!(progress.bytes_done.load(Ordering::Relaxed), 0);
    }
}
