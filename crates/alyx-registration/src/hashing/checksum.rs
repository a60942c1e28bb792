//! A checksum: the MD5 and size of a file, read in slices and without displacing other files in the page cache.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt};
use md5::{Digest, Md5};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::hashing::checksum_cache::ChecksumCache;
use crate::hashing::md5_sum::Md5Sum;
use crate::hashing::progress::Progress;
use crate::hashing::read_scheduler::ReadScheduler;
use crate::hashing::reader::QuietReader;
use crate::hashing::stamp::FileStamp;
use crate::listing::file_system::sync_mapped_pages;
use crate::opener::data_folders::{DataFolders, OpenError};

/// How much is read between two checks for cancellation, in bytes.
const BUFFER: usize = 1 << 20;
/// How much is read with one permit, in bytes.
const SLICE: u64 = 16 << 20;
/// For how long after its last change a file may have pages in memory that are not on disk.
const MAY_BE_DIRTY: Duration = Duration::from_secs(300);
/// How often a file is read that changes meanwhile, before its session is postponed.
const MAX_READS: u32 = 3;
/// How long a session is postponed if one of its files keeps changing.
pub(crate) const CHANGING_RETRY: Duration = Duration::from_secs(5);

/// MD5 and size of a file, and its stamp when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// `None` if the file is `max_md5_size` or larger.
    pub md5: Option<Md5Sum>,
    /// In bytes.
    pub size: u64,
    /// The stamp of the file when it was read.
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
    /// Where files are opened.
    pub data: Arc<DataFolders>,
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
    /// Whether every change of the file shows in its stamp.
    has_times: bool,
    reader: QuietReader,
    hasher: Md5,
}

/// The result of reading a slice.
enum Slice {
    /// The file has more slices.
    More(Box<OpenFile>),
    /// The file is read. `true`: it did not change meanwhile.
    Last(Checksum, bool),
}

/// Opens a file and reads its first slice. Blocks.
fn start(path: PathBuf, context: &HashContext, cancel: &CancellationToken) -> Result<Slice, Stopped> {
    let started = SystemTime::now();
    let failed = |e: &std::io::Error| Stopped::Failed(Error::reading(&path, e));
    let (file, before) = context.data.open(&path).map_err(|error| match error {
        OpenError::Refused(refusal) => unreadable(&path, refusal.to_string()),
        OpenError::NotAFile => unreadable(&path, "not a regular file".to_owned()),
        OpenError::Changing => Error::StillChanging { path: path.clone(), wait: CHANGING_RETRY },
        OpenError::Io(error) => Error::reading(&path, &error),
    })?;
    let may_be_dirty = FileStamp::of(&before).age(started).is_none_or(|age| age < MAY_BE_DIRTY);
    let has_times = sync_mapped_pages(&file, may_be_dirty);
    // Read after opening: NFS may return cached attributes before.
    let metadata = file.metadata().map_err(|e| failed(&e))?;
    let (stamp, size) = (FileStamp::of(&metadata), metadata.len());
    // As in ONE: a file of exactly the limit is not hashed.
    if context.max_md5_size.is_some_and(|limit| size >= limit) {
        return Ok(Slice::Last(Checksum { md5: None, size, stamp }, is_unchanged(&path, &stamp)?));
    }
    if let Some(md5) = context.cache.as_ref().filter(|_| has_times).and_then(|cache| cache.find(&stamp)) {
        context.progress.bytes_done.fetch_add(size, Ordering::Relaxed);
        context.progress.bytes_known.fetch_add(size, Ordering::Relaxed);
        return Ok(Slice::Last(Checksum { md5: Some(md5), size, stamp }, is_unchanged(&path, &stamp)?));
    }
    let reader = QuietReader::new(file);
    read_slice(
        Box::new(OpenFile { path, stamp, started, has_times, reader, hasher: Md5::new() }),
        context,
        cancel,
    )
}

fn unreadable(path: &Path, reason: String) -> Error {
    Error::Unreadable { path: path.to_owned(), reason }
}

/// Reads the next slice. Blocks; checks `cancel` after each buffer.
fn read_slice(
    mut open: Box<OpenFile>,
    context: &HashContext,
    cancel: &CancellationToken,
) -> Result<Slice, Stopped> {
    let left = open.stamp.size.saturating_sub(open.reader.offset());
    let mut buffer = vec![0; usize::try_from(left + 1).unwrap_or(BUFFER).clamp(1, BUFFER)];
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
    Ok(Slice::More(open))
}

fn finish(open: OpenFile, context: &HashContext) -> Result<Slice, Error> {
    let OpenFile { path, stamp, started, has_times, reader, hasher } = open;
    let md5 = Md5Sum::of(hasher);
    let unchanged = is_unchanged(&path, &stamp)? && reader.offset() == stamp.size;
    if let Some(cache) =
        context.cache.as_ref().filter(|_| unchanged && has_times && stamp.is_conclusive(started))
    {
        cache.keep(&stamp, md5);
    }
    Ok(Slice::Last(Checksum { md5: Some(md5), size: stamp.size, stamp }, unchanged))
}

/// Whether the file is as it was. By its path, not the open file: another file may have taken its name.
fn is_unchanged(path: &Path, stamp: &FileStamp) -> Result<bool, Error> {
    let now = std::fs::metadata(path).map_err(|e| Error::reading(path, &e))?;
    Ok(*stamp == FileStamp::of(&now))
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads one file, slice by slice, again if it changes meanwhile.
async fn checksum(path: &Path, context: &HashContext, cancel: &CancellationToken) -> Result<Checksum, Error> {
    for _ in 0..MAX_READS {
        let mut next = None;
        let (checksum, unchanged) = loop {
            let permit = context.scheduler.take(context.progress.bytes_done.load(Ordering::Relaxed)).await;
            let (path, context, cancel) = (path.to_owned(), context.clone(), cancel.clone());
            let slice = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let _step = context.progress.steps.begin("reading", &path);
                match next {
                    None => start(path, &context, &cancel),
                    Some(open) => read_slice(open, &context, &cancel),
                }
            });
            match slice.await {
                Ok(Ok(Slice::More(open))) => next = Some(open),
                Ok(Ok(Slice::Last(checksum, unchanged))) => break (checksum, unchanged),
                Ok(Err(Stopped::Failed(error))) => return Err(error),
                Ok(Err(Stopped::Cancelled)) => {
                    return Err(Error::Internal("reading was cancelled".into()));
                }
                Err(panic) => return Err(Error::Internal(format!("reading a file: {panic}"))),
            }
        };
        if unchanged {
            context.progress.files_done.fetch_add(1, Ordering::Relaxed);
            return Ok(checksum);
        }
        tracing::debug!(file = ?path, "the file changed while it was read; reading it again");
    }
    Err(Error::StillChanging { path: path.to_owned(), wait: CHANGING_RETRY })
}

/// Checksums of the files of one session, in order, several at once on blocking threads.
///
/// Dropping the future stops each thread within one buffer. All files are tried, each with its own result. Memory in
/// use: one buffer for each permit, regardless of the number and size of the files.
pub async fn checksums(paths: Vec<PathBuf>, context: &HashContext) -> Vec<Result<Checksum, Error>> {
    let cancel = CancellationToken::new();
    let _stop_when_dropped = cancel.clone().drop_guard();
    with_checksums(paths.into_iter(), PathBuf::clone, context, &cancel).map(|(_, sum)| sum).collect().await
}

/// As [`checksums`], each with its file, as they are read. Cancelling stops each thread within one buffer.
pub(crate) fn with_checksums<'a, T: 'a>(
    files: impl Iterator<Item = T> + 'a,
    path: impl Fn(&T) -> PathBuf + Copy + 'a,
    context: &'a HashContext,
    cancel: &'a CancellationToken,
) -> impl Stream<Item = (T, Result<Checksum, Error>)> + 'a {
    futures_util::stream::iter(files)
        .map(move |file| async move {
            let sum = checksum(&path(&file), context, cancel).await;
            (file, sum)
        })
        .buffered(context.scheduler.count())
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
            data: Arc::default(),
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
    fn digests_agree_with_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        for (content, md5) in
            [("", "d41d8cd98f00b204e9800998ecf8427e"), ("a", "0cc175b9c0f1b6a831c399e269772661")]
        {
            let path = folder.path().join("x");
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path, None).unwrap().md5, Md5Sum::parse(md5));
        }
    }

    #[test]
    fn a_file_of_several_buffers_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let content: Vec<u8> = (0..3 * BUFFER + 17).map(|i| (i % 251) as u8).collect();
        std::fs::File::create(&path).unwrap().write_all(&content).unwrap();
        let whole = Md5Sum::of(Md5::new_with_prefix(&content));
        let read = read(&path, None).unwrap();
        assert_eq!((read.md5, read.size), (Some(whole), content.len() as u64));
    }

    #[test]
    fn a_file_of_the_limit_has_a_size_and_no_md5() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, Some(3)).unwrap().md5, None);
        assert!(read(&path, Some(4)).unwrap().md5.is_some());
    }

    /// Closing any descriptor of a file drops the POSIX locks of the process on it, on which SQLite relies.
    #[test]
    fn a_private_file_keeps_its_locks_when_a_link_to_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, link) = (folder.path().join("ledger"), folder.path().join("link.npy"));
        let locked = File::create(&ledger).unwrap();
        rustix::fs::fcntl_lock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let own = std::process::id().to_string();
        // The kernel hands the list out in pieces; while other locks come and go, an entry may fall between two of them.
        let is_locked = || {
            (0..20).any(|_| {
                let locks = std::fs::read_to_string("/proc/locks").unwrap();
                let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                words.into_iter().any(|words| words.contains(&"POSIX") && words.contains(&own.as_str()))
            })
        };
        assert!(is_locked());
        std::os::unix::fs::symlink(&ledger, &link).unwrap();
        let private = [ledger].into_iter().collect();
        let data = Arc::new(DataFolders { private, ..DataFolders::default() });
        let error = read_as(&link, &HashContext { data, ..context(None) }).unwrap_err();
        assert!(error.to_string().contains("own configuration, secrets or state"), "{error}");
        assert!(is_locked());
    }

    #[test]
    fn only_regular_files_are_read_and_a_fifo_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), None), Err(Error::Unreadable { .. })));
        assert!(matches!(read(&folder.path().join("none"), None), Err(Error::Vanished { .. })));
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&fifo, None), Err(Error::Unreadable { .. })));
    }

    /// A cache whose look-up writes into the file: after its stamp was taken, and before it is read.
    #[derive(Debug)]
    struct Interference {
        path: PathBuf,
        contents: std::sync::Mutex<Vec<&'static str>>,
    }

    impl ChecksumCache for Interference {
        fn find(&self, _: &FileStamp) -> Option<Md5Sum> {
            let mut contents = self.contents.lock().unwrap();
            if let Some(content) = contents.pop() {
                std::fs::write(&self.path, content).unwrap();
                // A time that no clock gives, so that the test does not depend on the clock's resolution.
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(7 + contents.len() as u64);
                File::options().write(true).open(&self.path).unwrap().set_modified(time).unwrap();
            }
            None
        }

        fn keep(&self, _: &FileStamp, _: Md5Sum) {}
    }

    fn read_while_written(contents: &[&'static str]) -> (Result<Checksum, Error>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "old").unwrap();
        let contents = std::sync::Mutex::new(contents.iter().rev().copied().collect());
        let interference = Arc::new(Interference { path: path.clone(), contents });
        let context = HashContext { cache: Some(interference.clone()), ..context(None) };
        let read = read_as(&path, &context);
        let left = interference.contents.lock().unwrap().len();
        (read, left)
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_read_again() {
        // Longer, shorter, and of the same length: then only the times differ.
        for content in ["longer", "a", "abc"] {
            let md5 = Md5Sum::of(Md5::new_with_prefix(content));
            let read = read_while_written(&[content]).0.unwrap();
            assert_eq!((read.md5, read.size), (Some(md5), content.len() as u64));
        }
    }

    #[test]
    fn a_session_whose_file_changes_at_every_read_is_postponed() {
        let (read, left) = read_while_written(&["a", "bb", "ccc", "dddd"]);
        assert!(matches!(read, Err(Error::StillChanging { .. })), "{read:?}");
        assert_eq!(left, 1, "it was read {MAX_READS} times");
    }

    #[test]
    fn a_cancellation_is_noticed_before_the_next_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, vec![0; 2 * BUFFER]).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let context = context(None);
        assert!(matches!(start(path, &context, &cancel), Err(Stopped::Cancelled)));
        assert_eq!(context.progress.bytes_done.load(Ordering::Relaxed), 0);
    }

    /// A cache in memory.
    #[derive(Debug, Default)]
    struct Memory(std::sync::Mutex<std::collections::HashMap<FileStamp, Md5Sum>>);

    impl ChecksumCache for Memory {
        fn find(&self, stamp: &FileStamp) -> Option<Md5Sum> {
            self.0.lock().unwrap().get(stamp).copied()
        }

        fn keep(&self, stamp: &FileStamp, md5: Md5Sum) {
            self.0.lock().unwrap().insert(*stamp, md5);
        }
    }

    #[test]
    fn a_cached_file_is_not_read_and_a_fresh_one_is_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let memory = Arc::new(Memory::default());
        let context = HashContext { cache: Some(memory.clone()), ..context(None) };
        read_as(&path, &context).unwrap();
        assert!(memory.0.lock().unwrap().is_empty(), "just written");
        // The cache has this very stamp, so the file is not read.
        let remembered = Md5Sum::of(Md5::new_with_prefix("remembered"));
        memory.keep(&FileStamp::of(&std::fs::metadata(&path).unwrap()), remembered);
        assert_eq!(read_as(&path, &context).unwrap().md5, Some(remembered));
        assert_eq!(context.progress.bytes_known.load(Ordering::Relaxed), 3);
        std::fs::write(&path, "abd").unwrap();
        assert_eq!(read_as(&path, &context).unwrap().md5, Md5Sum::parse("4911e516e5aa21d327512e0c8b197616"));
        // Two of three times.
        assert_eq!(context.scheduler.bytes_read(), 6);
    }

    #[test]
    fn a_file_that_has_not_changed_lately_is_cached() {
        // A file of the system, which has not changed for a while.
        let path = std::fs::canonicalize("/etc/hostname").ok().filter(|path| {
            let stamp = std::fs::metadata(path).map(|m| FileStamp::of(&m));
            stamp.is_ok_and(|stamp| stamp.is_conclusive(SystemTime::now()))
        });
        let path = path.unwrap_or_else(|| std::env::current_exe().unwrap());
        let memory = Arc::new(Memory::default());
        let context = HashContext { cache: Some(memory.clone()), ..context(None) };
        let sum = read_as(&path, &context).unwrap();
        let is_old = sum.stamp.is_conclusive(SystemTime::now());
        assert_eq!(memory.find(&sum.stamp).is_some(), is_old);
    }

    #[tokio::test]
    async fn a_small_session_does_not_wait_for_a_large_one() {
        let folder = tempfile::tempdir().unwrap();
        let (large, small) = (folder.path().join("large"), folder.path().join("small"));
        // Reading a sparse terabyte takes half an hour.
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

    /// A file of one byte, mapped into memory.
    struct Mapped(*mut u8);

    impl Mapped {
        #[expect(unsafe_code, reason = "there is no safe way to map a file")]
        fn new(file: &File) -> Self {
            use std::os::fd::AsRawFd;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping, known only here; the file is as long as what is stored into it.
            let page =
                unsafe { libc::mmap(std::ptr::null_mut(), 1, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
            assert_ne!(page, libc::MAP_FAILED);
            Self(page.cast())
        }

        #[expect(unsafe_code, reason = "there is no safe way to store into a mapped file")]
        fn store(&self, byte: u8) {
            // SAFETY: the mapping lasts until the end of the process.
            unsafe { self.0.write_volatile(byte) }
        }
    }

    #[test]
    fn a_store_into_a_mapped_page_that_is_dirty_already_is_noticed() {
        for folder in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
            let Ok(folder) = tempfile::tempdir_in(&folder) else { continue };
            let path = folder.path().join("x");
            std::fs::write(&path, "-").unwrap();
            let mapped = Mapped::new(&File::options().read(true).write(true).open(&path).unwrap());
            let memory = Arc::new(Memory::default());
            let context = HashContext { cache: Some(memory.clone()), ..context(None) };
            mapped.store(b'b');
            // A younger change time is not remembered.
            std::thread::sleep(Duration::from_millis(2100));
            let md5 = |text: &str| Md5Sum::of(Md5::new_with_prefix(text));
            assert_eq!(read_as(&path, &context).unwrap().md5, Some(md5("b")));
            mapped.store(b'a');
            assert_eq!(read_as(&path, &context).unwrap().md5, Some(md5("a")), "{folder:?}");
            let is_tmpfs = rustix::fs::statfs(folder.path()).unwrap().f_type as u32 == 0x0102_1994;
            assert_eq!(memory.0.lock().unwrap().len(), usize::from(!is_tmpfs));
        }
    }
}
