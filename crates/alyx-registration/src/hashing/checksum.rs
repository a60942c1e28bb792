//! A checksum: the MD5 and size of a file, read in pieces and without pushing other programs out of the page cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use md5::{Digest, Md5};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::file_handle::FileHandle;
use crate::hashing::checksum_cache::ChecksumCache;
use crate::hashing::private_paths::{IS_PRIVATE, PrivatePaths};
use crate::hashing::progress::Progress;
use crate::hashing::read_scheduler::ReadScheduler;
use crate::hashing::reader::QuietReader;
use crate::hashing::stamp::FileStamp;

/// How much is read between two looks at the stop sign, in bytes.
const PIECE: usize = 1 << 20;
/// How much is read in one turn, in bytes.
const SLICE: u64 = 16 << 20;
/// How often a file that changes while it is read is read again before it is put off.
const READINGS: u32 = 3;
/// How long a session is put off when one of its files would not stay still.
pub(crate) const PUT_OFF: Duration = Duration::from_secs(5);

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

/// How files are read and hashed.
#[derive(Debug, Clone)]
pub struct HashContext {
    /// Files of this size in bytes or more get no MD5.
    pub max_md5_size: Option<u64>,
    /// Decides how many slices are read at the same time, and of which session.
    pub scheduler: Arc<ReadScheduler>,
    /// Updated while files are read.
    pub progress: Arc<Progress>,
    /// Checksums of earlier runs.
    pub cache: Option<Arc<dyn ChecksumCache>>,
    /// Files that are never opened as data.
    pub private: Arc<PrivatePaths>,
}

/// Why there is no checksum.
enum Stopped {
    Cancelled,
    Failed(Error),
}

/// A file that is being read.
struct OpenFile {
    path: PathBuf,
    stamp: FileStamp,
    started: SystemTime,
    reader: QuietReader,
    hasher: Md5,
}

/// How far a file has come after a slice.
enum Step {
    More(Box<OpenFile>),
    /// With whether the file has stayed as it was.
    Read(Checksum, bool),
}

/// Opens a file and reads its first slice. Blocks.
fn begin(path: PathBuf, context: &HashContext, cancel: &CancellationToken) -> Result<Step, Stopped> {
    let started = SystemTime::now();
    let failed = |e: &std::io::Error| Stopped::Failed(Error::reading(&path, e));
    let handle = FileHandle::of(&path).map_err(|e| failed(&e))?;
    if !handle.metadata.is_file() {
        let reason = "not a regular file".to_owned();
        return Err(Stopped::Failed(Error::Unreadable { path, reason }));
    }
    if context.private.holding(&handle.file, &handle.metadata).is_some() {
        return Err(Stopped::Failed(Error::Unreadable { path, reason: IS_PRIVATE.to_owned() }));
    }
    let file = handle.open(&path).map_err(|e| failed(&e))?;
    // Read after opening: NFS may return cached attributes before.
    let metadata = file.metadata().map_err(|e| failed(&e))?;
    let (stamp, size) = (FileStamp::of(&metadata), metadata.len());
    // As in ONE: a file of exactly the limit is not hashed any more.
    if context.max_md5_size.is_some_and(|limit| size >= limit) {
        return Ok(Step::Read(Checksum { md5: None, size, stamp }, stays(&path, &stamp)?));
    }
    if let Some(md5) = context.cache.as_ref().and_then(|cache| cache.find(&stamp)) {
        context.progress.bytes_done.fetch_add(size, Ordering::Relaxed);
        context.progress.bytes_known.fetch_add(size, Ordering::Relaxed);
        return Ok(Step::Read(Checksum { md5: Some(md5), size, stamp }, stays(&path, &stamp)?));
    }
    let reader = QuietReader::new(file);
    go_on(Box::new(OpenFile { path, stamp, started, reader, hasher: Md5::new() }), context, cancel)
}

/// Reads the next slice. Blocks; looks at `cancel` after each piece.
fn go_on(
    mut open: Box<OpenFile>,
    context: &HashContext,
    cancel: &CancellationToken,
) -> Result<Step, Stopped> {
    let left = open.stamp.size.saturating_sub(open.reader.offset());
    let mut buffer = vec![0; usize::try_from(left + 1).unwrap_or(PIECE).clamp(1, PIECE)];
    let end = open.reader.offset().saturating_add(SLICE);
    while open.reader.offset() < end {
        if cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        match open.reader.read(&mut buffer) {
            Ok(0) => return finish(*open, context).map_err(Stopped::Failed),
            Ok(n) => {
                open.hasher.update(buffer.get(..n).unwrap_or_default());
                context.progress.bytes_done.fetch_add(n as u64, Ordering::Relaxed);
                context.scheduler.count_read(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(Stopped::Failed(Error::reading(&open.path, &error.into()))),
        }
    }
    Ok(Step::More(open))
}

fn finish(open: OpenFile, context: &HashContext) -> Result<Step, Error> {
    let OpenFile { path, stamp, started, reader, hasher } = open;
    let md5: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let quiet = stays(&path, &stamp)? && reader.offset() == stamp.size;
    if let Some(cache) = context.cache.as_ref().filter(|_| quiet && stamp.is_conclusive(started)) {
        cache.keep(&stamp, &md5);
    }
    Ok(Step::Read(Checksum { md5: Some(md5), size: stamp.size, stamp }, quiet))
}

/// The path again, not the open file: another file may have taken its name meanwhile.
fn stays(path: &Path, stamp: &FileStamp) -> Result<bool, Error> {
    let now = std::fs::metadata(path).map_err(|e| Error::reading(path, &e))?;
    Ok(*stamp == FileStamp::of(&now))
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads one file as often as it takes to meet it unchanged, slice by slice.
async fn checksum(path: &Path, context: &HashContext, cancel: &CancellationToken) -> Result<Checksum, Error> {
    for _ in 0..READINGS {
        let mut next = None;
        let (checksum, quiet) = loop {
            let turn = context.scheduler.take(context.progress.bytes_done.load(Ordering::Relaxed)).await;
            let (path, context, cancel) = (path.to_owned(), context.clone(), cancel.clone());
            let slice = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                match next {
                    None => begin(path, &context, &cancel),
                    Some(open) => go_on(open, &context, &cancel),
                }
            });
            match slice.await {
                Ok(Ok(Step::More(open))) => next = Some(open),
                Ok(Ok(Step::Read(checksum, quiet))) => break (checksum, quiet),
                Ok(Err(Stopped::Failed(error))) => return Err(error),
                Ok(Err(Stopped::Cancelled)) => {
                    return Err(Error::Internal("the reading was cancelled".into()));
                }
                Err(panic) => return Err(Error::Internal(format!("reading a file: {panic}"))),
            }
        };
        if quiet {
            context.progress.files_done.fetch_add(1, Ordering::Relaxed);
            return Ok(checksum);
        }
        tracing::debug!(file = ?path, "the file changed while it was read; reading it again");
    }
    Err(Error::StillChanging { path: path.to_owned(), wait: PUT_OFF })
}

/// Checksums of the files of one session, in order, several at once on blocking threads.
///
/// Dropping the future stops the reading within one piece a thread. All files are tried; the answer holds one
/// result a file. Memory in use: one piece for each turn that is taken, whatever the number and size of the files.
pub async fn checksums(paths: Vec<PathBuf>, context: &HashContext) -> Vec<Result<Checksum, Error>> {
    let cancel = CancellationToken::new();
    let _stop_when_dropped = cancel.clone().drop_guard();
    let cancel = &cancel;
    futures_util::stream::iter(paths)
        .map(|path| async move { checksum(&path, context, cancel).await })
        .buffered(context.scheduler.count())
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    fn context(limit: Option<u64>) -> HashContext {
        HashContext {
            max_md5_size: limit,
            scheduler: ReadScheduler::new(1),
            progress: Arc::default(),
            cache: None,
            private: Arc::default(),
        }
    }

    fn read(path: &Path, limit: Option<u64>) -> Result<Checksum, Error> {
        read_as(path, &context(limit))
    }

    fn read_as(path: &Path, context: &HashContext) -> Result<Checksum, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(checksums(vec![path.to_owned()], context)).pop().unwrap()
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

    /// To close any descriptor of a file drops the POSIX locks that the process has on it, and SQLite relies on them.
    #[test]
    fn a_private_file_keeps_its_locks_when_a_link_to_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, link) = (folder.path().join("ledger"), folder.path().join("link.npy"));
        let locked = File::create(&ledger).unwrap();
        rustix::fs::fcntl_lock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let own = std::process::id().to_string();
        let is_locked = || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            words.into_iter().any(|words| words.contains(&"POSIX") && words.contains(&own.as_str()))
        };
        assert!(is_locked());
        std::os::unix::fs::symlink(&ledger, &link).unwrap();
        let private = Arc::new([ledger].into_iter().collect());
        let error = read_as(&link, &HashContext { private, ..context(None) }).unwrap_err();
        assert!(error.to_string().contains(IS_PRIVATE), "{error}");
        assert!(is_locked());
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

    /// Writes into the file after its state was noted and before it is read, so many times.
    #[derive(Debug)]
    struct Meddler {
        path: PathBuf,
        contents: std::sync::Mutex<Vec<&'static str>>,
    }

    impl ChecksumCache for Meddler {
        fn find(&self, _: &FileStamp) -> Option<String> {
            let mut contents = self.contents.lock().unwrap();
            if let Some(content) = contents.pop() {
                std::fs::write(&self.path, content).unwrap();
                // A time that no clock gives: the test does not depend on the clock's grain.
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(7 + contents.len() as u64);
                File::options().write(true).open(&self.path).unwrap().set_modified(time).unwrap();
            }
            None
        }

        fn keep(&self, _: &FileStamp, _: &str) {}
    }

    fn read_while_written(contents: &[&'static str]) -> (Result<Checksum, Error>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "old").unwrap();
        let contents = std::sync::Mutex::new(contents.iter().rev().copied().collect());
        let meddler = Arc::new(Meddler { path: path.clone(), contents });
        let context = HashContext { cache: Some(meddler.clone()), ..context(None) };
        let read = read_as(&path, &context);
        let left = meddler.contents.lock().unwrap().len();
        (read, left)
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_read_again() {
        // Longer, shorter, and as long as it was: then only the times tell.
        for content in ["longer", "a", "abc"] {
            let md5: String = Md5::digest(content).iter().map(|b| format!("{b:02x}")).collect();
            let read = read_while_written(&[content]).0.unwrap();
            assert_eq!((read.md5, read.size), (Some(md5), content.len() as u64));
        }
    }

    #[test]
    fn a_file_that_is_written_each_time_it_is_read_is_put_off() {
        let (read, left) = read_while_written(&["a", "bb", "ccc", "dddd"]);
        assert!(matches!(read, Err(Error::StillChanging { .. })), "{read:?}");
        assert_eq!(left, 1, "it was read {READINGS} times");
    }

    #[test]
    fn a_stop_is_seen_before_the_next_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, vec![0; 2 * PIECE]).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let context = context(None);
        assert!(matches!(begin(path, &context, &cancel), Err(Stopped::Cancelled)));
        assert_eq!(context.progress.bytes_done.load(Ordering::Relaxed), 0);
    }

    /// Knows what it is told, whatever the state of the file.
    #[derive(Debug, Default)]
    struct Memory(std::sync::Mutex<std::collections::HashMap<FileStamp, String>>);

    impl ChecksumCache for Memory {
        fn find(&self, stamp: &FileStamp) -> Option<String> {
            self.0.lock().unwrap().get(stamp).cloned()
        }

        fn keep(&self, stamp: &FileStamp, md5: &str) {
            self.0.lock().unwrap().insert(*stamp, md5.to_owned());
        }
    }

    #[test]
    fn a_file_that_is_known_is_not_read_and_a_fresh_one_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let memory = Arc::new(Memory::default());
        let context = HashContext { cache: Some(memory.clone()), ..context(None) };
        read_as(&path, &context).unwrap();
        assert!(memory.0.lock().unwrap().is_empty(), "written a moment ago");
        // What it says of the very state of the file is believed: the file is not read.
        memory.keep(&FileStamp::of(&std::fs::metadata(&path).unwrap()), "remembered");
        assert_eq!(read_as(&path, &context).unwrap().md5.as_deref(), Some("remembered"));
        assert_eq!(context.progress.bytes_known.load(Ordering::Relaxed), 3);
        std::fs::write(&path, "abd").unwrap();
        assert_eq!(
            read_as(&path, &context).unwrap().md5.as_deref(),
            Some("4911e516e5aa21d327512e0c8b197616")
        );
        // Twice, of three times.
        assert_eq!(context.scheduler.bytes_read(), 6);
    }

    #[test]
    fn a_file_that_was_left_alone_is_remembered() {
        // A file of the system: nobody has touched it for long.
        let path = std::fs::canonicalize("/etc/hostname").ok().filter(|path| {
            let stamp = std::fs::metadata(path).map(|m| FileStamp::of(&m));
            stamp.is_ok_and(|stamp| stamp.is_conclusive(SystemTime::now()))
        });
        let path = path.unwrap_or_else(|| std::env::current_exe().unwrap());
        let memory = Arc::new(Memory::default());
        let context = HashContext { cache: Some(memory.clone()), ..context(None) };
        let sum = read_as(&path, &context).unwrap();
        let left_alone = sum.stamp.is_conclusive(SystemTime::now());
        assert_eq!(memory.find(&sum.stamp).is_some(), left_alone);
    }

    #[tokio::test]
    async fn a_small_session_does_not_wait_for_a_large_one() {
        let folder = tempfile::tempdir().unwrap();
        let (large, small) = (folder.path().join("large"), folder.path().join("small"));
        // A terabyte of nothing takes half an hour.
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        std::fs::write(&small, "abc").unwrap();
        let large_one = context(None);
        let reading = {
            let (context, path) = (large_one.clone(), large.clone());
            tokio::spawn(async move { checksums(vec![path.clone(), path.clone(), path], &context).await })
        };
        while large_one.progress.bytes_done.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let small_one = HashContext { progress: Arc::default(), ..large_one.clone() };
        let sums = checksums(vec![small], &small_one).await;
        assert!(sums[0].is_ok());
        assert!(large_one.progress.bytes_done.load(Ordering::Relaxed) < 1 << 40);
        reading.abort();
    }
}
