//! A checksum: the MD5 and size of a file, read in pieces and without displacing other files in the page cache.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::hashing::checksum_cache::ChecksumCache;
use crate::hashing::lanes::Hasher;
use crate::hashing::md5_sum::Md5Sum;
use crate::hashing::progress::Progress;
use crate::hashing::read_scheduler::{Read, ReadScheduler, Stream};
use crate::hashing::reader::QuietReader;
use crate::hashing::stamp::FileStamp;
use crate::listing::file_system::{FileTimes, sync_mapped_pages};
use crate::opener::data_folders::{DataFolders, OpenError};

/// For how long after its last change a file may have pages in memory that are not on disk.
const MAY_BE_DIRTY: Duration = Duration::from_secs(300);
/// How many files of a session are under way at the same time, few of them open: enough to fill the lanes of several threads,
/// also while the task that adds files waits for its turn on a busy machine.
const UNDER_WAY: usize = 256;
/// While more files than these are under way, their results are collected for a moment: each would wake the task that waits for
/// them, which costs as much as reading a small file.
const MANY_UNDER_WAY: usize = 64;
const MOMENT: Duration = Duration::from_millis(1);
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
    /// Decides what is read next, of which session, and how many threads read and hash.
    pub scheduler: Arc<ReadScheduler>,
    /// Updated while files are read.
    pub progress: Arc<Progress>,
    /// Checksums of earlier runs.
    pub cache: Option<Arc<dyn ChecksumCache>>,
    /// Where files are opened.
    pub data: Arc<DataFolders>,
}

/// A file on its way to its checksum. Without `result`, the caller has been answered.
struct HashedFile {
    path: PathBuf,
    context: HashContext,
    open: Option<Box<OpenFile>>,
    result: Waiting,
}

/// The caller who waits for a file, until its result is known.
type Waiting = Option<oneshot::Sender<Result<Attempt, Error>>>;

fn is_given_up(waiting: &Waiting) -> bool {
    waiting.as_ref().is_none_or(oneshot::Sender::is_closed)
}

/// A file that is being read.
struct OpenFile {
    stamp: FileStamp,
    started: SystemTime,
    /// Whether every change of the file shows in its stamp.
    has_times: bool,
    /// Whether the file system's word for its size is enough to know that there is no more to read.
    ends_at_size: bool,
    reader: QuietReader,
    is_at_end: bool,
    hasher: Hasher,
}

/// A file was read.
enum Attempt {
    Unchanged(Checksum),
    /// It changed meanwhile.
    Changed,
    /// Its MD5 cannot be trusted.
    Distrusted,
}

/// A file that was opened.
enum Opened {
    ToRead(Box<OpenFile>),
    Known(Attempt),
}

impl Stream for HashedFile {
    fn read(&mut self, buffer: &mut [u8]) -> Read {
        if self.is_given_up() {
            return Read::End;
        }
        let _step = self.context.progress.steps.begin("reading", &self.path);
        let result = match self.read_or_finish(buffer) {
            Ok(ControlFlow::Continue(piece)) => return piece,
            Ok(ControlFlow::Break(attempt)) => Ok(attempt),
            Err(error) => Err(error),
        };
        if let Some(waiting) = self.result.take() {
            let _ = waiting.send(result);
        }
        Read::End
    }

    fn is_given_up(&self) -> bool {
        is_given_up(&self.result)
    }

    fn hasher(&mut self) -> Option<&mut Hasher> {
        self.open.as_mut().map(|open| &mut open.hasher)
    }
}

impl HashedFile {
    /// Opens the file, reads its next piece, or finishes it.
    fn read_or_finish(&mut self, buffer: &mut [u8]) -> Result<ControlFlow<Attempt, Read>, Error> {
        let open = match &mut self.open {
            Some(open) => open,
            None => match open(&self.path, &self.context)? {
                Opened::ToRead(open) => self.open.insert(open),
                Opened::Known(attempt) => return Ok(ControlFlow::Break(attempt)),
            },
        };
        let began = Instant::now();
        let mut filled = 0;
        while !open.is_at_end && filled < buffer.len() {
            if is_given_up(&self.result) {
                return Ok(ControlFlow::Continue(Read::End));
            }
            match open.reader.read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => open.is_at_end = true,
                Ok(n) => {
                    filled += n;
                    open.is_at_end = open.ends_at_size && open.reader.offset() == open.stamp.size;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::reading(&self.path, &error.into())),
            }
        }
        self.context.progress.bytes_done.fetch_add(filled as u64, Ordering::Relaxed);
        self.context.scheduler.count_read(filled as u64);
        // A file that grows faster than it is read has no end.
        if open.reader.offset() > open.stamp.size {
            return Ok(ControlFlow::Break(Attempt::Changed));
        }
        if filled > 0 {
            return Ok(ControlFlow::Continue(Read::Piece(filled, began.elapsed())));
        }
        self.finish().map(ControlFlow::Break)
    }

    fn finish(&mut self) -> Result<Attempt, Error> {
        let Some(open) = self.open.take() else { return Ok(Attempt::Changed) };
        let OpenFile { stamp, started, has_times, reader, hasher, .. } = *open;
        let Some(md5) = self.context.scheduler.lanes().finish(hasher, &self.path) else {
            return Ok(Attempt::Distrusted);
        };
        if !is_unchanged(&self.path, &stamp)? || reader.offset() != stamp.size {
            return Ok(Attempt::Changed);
        }
        if let Some(cache) = self.context.cache.as_ref().filter(|_| has_times && stamp.is_conclusive(started))
        {
            cache.keep(&stamp, md5);
        }
        Ok(Attempt::Unchanged(Checksum { md5: Some(md5), size: stamp.size, stamp }))
    }
}

/// Opens a file. Blocks.
fn open(path: &Path, context: &HashContext) -> Result<Opened, Error> {
    let started = SystemTime::now();
    let (file, before) = context.data.open(path).map_err(|error| match error {
        OpenError::Refused(refusal) => unreadable(path, refusal.to_string()),
        OpenError::NotAFile => unreadable(path, "not a regular file".to_owned()),
        OpenError::Changing => Error::StillChanging { path: path.to_owned(), wait: CHANGING_RETRY },
        OpenError::Io(error) => Error::reading(path, &error),
    })?;
    let may_be_dirty = FileStamp::of(&before).age(started).is_none_or(|age| age < MAY_BE_DIRTY);
    let times = sync_mapped_pages(&file, may_be_dirty);
    let has_times = times != FileTimes::Unreliable;
    let metadata = match times {
        FileTimes::Exact => before,
        // After opening, NFS asks its server.
        _ => file.metadata().map_err(|e| Error::reading(path, &e))?,
    };
    let (stamp, size) = (FileStamp::of(&metadata), metadata.len());
    let known = |md5| -> Result<Opened, Error> {
        Ok(Opened::Known(match is_unchanged(path, &stamp)? {
            true => Attempt::Unchanged(Checksum { md5, size, stamp }),
            false => Attempt::Changed,
        }))
    };
    // As in ONE: a file of exactly the limit is not hashed.
    if context.max_md5_size.is_some_and(|limit| size >= limit) {
        return known(None);
    }
    if let Some(md5) = context.cache.as_ref().filter(|_| has_times).and_then(|cache| cache.find(&stamp)) {
        context.progress.bytes_done.fetch_add(size, Ordering::Relaxed);
        context.progress.bytes_known.fetch_add(size, Ordering::Relaxed);
        return known(Some(md5));
    }
    let (reader, hasher) = (QuietReader::new(file, size), context.scheduler.lanes().hasher());
    // A file that grows meanwhile is noticed at its end, by its stamp.
    let ends_at_size = times == FileTimes::Exact;
    Ok(Opened::ToRead(Box::new(OpenFile {
        stamp,
        started,
        has_times,
        ends_at_size,
        reader,
        is_at_end: false,
        hasher,
    })))
}

fn unreadable(path: &Path, reason: String) -> Error {
    Error::Unreadable { path: path.to_owned(), reason }
}

/// Whether the file is as it was. By its path, not the open file: another file may have taken its name.
fn is_unchanged(path: &Path, stamp: &FileStamp) -> Result<bool, Error> {
    let now = std::fs::metadata(path).map_err(|e| Error::reading(path, &e))?;
    Ok(*stamp == FileStamp::of(&now))
}

/// Reads one file, again if it changes meanwhile.
async fn checksum(path: &Path, context: &HashContext) -> Result<Checksum, Error> {
    let mut changes = 0;
    while changes < MAX_READS {
        let (result, waiting) = oneshot::channel();
        let file =
            HashedFile { path: path.to_owned(), context: context.clone(), open: None, result: Some(result) };
        let _under_way = context.scheduler.add(&context.progress, Box::new(file));
        // When this future is dropped, so is first what waits.
        match waiting.await {
            Ok(Ok(Attempt::Unchanged(checksum))) => {
                context.progress.files_done.fetch_add(1, Ordering::Relaxed);
                return Ok(checksum);
            }
            Ok(Ok(Attempt::Changed)) => changes += 1,
            // From now on without what gave the wrong sum.
            Ok(Ok(Attempt::Distrusted)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Error::Internal(format!("reading {path:?} failed within the program"))),
        }
        tracing::debug!(file = ?path, "the file changed while it was read; reading it again");
    }
    Err(Error::StillChanging { path: path.to_owned(), wait: CHANGING_RETRY })
}

/// Checksums of the files of one session, in order, many at once, on the threads of the scheduler.
///
/// Requires a tokio runtime with time. Dropping the future stops each thread within one piece. All files are tried, each with its own result. Memory in
/// use: see [`ReadScheduler::memory_limit`], regardless of the number and size of the files.
pub async fn checksums(paths: Vec<PathBuf>, context: &HashContext) -> Vec<Result<Checksum, Error>> {
    with_checksums(paths.into_iter(), PathBuf::clone, context).map(|(_, sum)| sum).collect().await
}

/// As [`checksums`], each with its file, in order.
pub(crate) fn with_checksums<'a, T: 'a>(
    files: impl Iterator<Item = T> + 'a,
    path: impl Fn(&T) -> PathBuf + Copy + 'a,
    context: &'a HashContext,
) -> impl futures_util::Stream<Item = (T, Result<Checksum, Error>)> + 'a {
    // A large file must not keep those behind it waiting: they are read meanwhile, and handed on after it.
    let (mut next, mut early) = (0, BTreeMap::new());
    let under_way = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&under_way);
    futures_util::stream::iter(files.enumerate())
        .map(move |(place, file)| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let sum = checksum(&path(&file), context).await;
                (place, (file, sum))
            }
        })
        .buffer_unordered(UNDER_WAY)
        .ready_chunks(UNDER_WAY)
        .then(move |some| {
            let left = under_way.fetch_sub(some.len(), Ordering::Relaxed) - some.len();
            async move {
                if left > MANY_UNDER_WAY {
                    tokio::time::sleep(MOMENT).await;
                }
                some
            }
        })
        .flat_map(move |some| {
            early.extend(some);
            let mut in_order = Vec::new();
            while let Some(read) = early.remove(&next) {
                in_order.push(read);
                next += 1;
            }
            futures_util::stream::iter(in_order)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    use md5::{Digest, Md5};

    use crate::client::options::ReadingOptions;
    use crate::hashing::schedule::ALONE;

    fn context(limit: Option<u64>) -> HashContext {
        HashContext {
            max_md5_size: limit,
            scheduler: ReadScheduler::new(1, &ReadingOptions::default()),
            progress: Arc::default(),
            cache: None,
            data: Arc::default(),
        }
    }

    fn read(path: &Path, limit: Option<u64>) -> Result<Checksum, Error> {
        read_as(path, &context(limit))
    }

    fn read_as(path: &Path, context: &HashContext) -> Result<Checksum, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
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
        let content: Vec<u8> = (0..3 * ALONE + 17).map(|i| (i % 251) as u8).collect();
        std::fs::File::create(&path).unwrap().write_all(&content).unwrap();
        let whole = Md5Sum::of(Md5::new_with_prefix(&content));
        let read = read(&path, None).unwrap();
        assert_eq!((read.md5, read.size), (Some(whole), content.len() as u64));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_given_up_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [0; 10]).unwrap();
        let (result, mut waiting) = oneshot::channel();
        let mut file =
            HashedFile { path: path.clone(), context: context(None), open: None, result: Some(result) };
        let mut pieces = 0;
        while !matches!(file.read(&mut [0; 4]), Read::End) {
            pieces += 1;
            let mut end = std::fs::File::options().append(true).open(&path).unwrap();
            end.write_all(&[0; 8]).unwrap();
            assert!(pieces < 10, "it is read without end");
        }
        assert_eq!(pieces, 2);
        assert!(matches!(waiting.try_recv(), Ok(Ok(Attempt::Changed))));
    }

    /// Files of these lengths in a folder, and their MD5 sums by the `md-5` crate.
    fn files(folder: &Path, lengths: impl Iterator<Item = usize>) -> (Vec<PathBuf>, Vec<Option<Md5Sum>>) {
        let file = |(number, length): (usize, usize)| {
            let content: Vec<u8> = (0..length).map(|i| (i * 31 + i / 251 + number) as u8).collect();
            let path = folder.join(number.to_string());
            std::fs::write(&path, &content).unwrap();
            (path, Some(Md5Sum::of(Md5::new_with_prefix(&content))))
        };
        lengths.enumerate().map(file).unzip()
    }

    fn md5s(sums: Vec<Result<Checksum, Error>>) -> Vec<Option<Md5Sum>> {
        sums.into_iter().map(|sum| sum.unwrap().md5).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sessions_of_files_of_all_sizes_that_are_hashed_at_the_same_time_get_the_sums_of_the_md_5_crate()
    {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let around = |length: usize| [length - 1, length, length + 1];
        let edges = [64, 16 << 10, 256 << 10, 512 << 10, 1 << 20].into_iter().flat_map(around);
        let (paths, expected) = files(one.path(), edges.chain(0..130).chain([5 << 20]));
        // As many as it takes to fill the lanes several times.
        let (others, others_expected) = files(other.path(), (0..300).map(|number| number * 613));
        for threads in [1, 2, 5] {
            let first = HashContext {
                scheduler: ReadScheduler::new(threads, &ReadingOptions::default()),
                ..context(None)
            };
            let second = HashContext { progress: Arc::default(), ..first.clone() };
            let (sums, other_sums) =
                tokio::join!(checksums(paths.clone(), &first), checksums(others.clone(), &second));
            assert_eq!(md5s(sums), expected, "{threads} threads");
            assert_eq!(md5s(other_sums), others_expected, "{threads} threads");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wrong_sum_is_noticed_and_all_files_get_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        let (paths, expected) = files(folder.path(), (0..100).map(|number| number * 1000));
        let mut first = md5_lanes::Md5State::new();
        first.update(b"wrong");
        let lanes = Arc::new(crate::hashing::lanes::Lanes::new(first));
        let context = HashContext {
            scheduler: ReadScheduler::build(2, Arc::clone(&lanes), Arc::default()),
            ..context(None)
        };
        // The first file is checked before anything else.
        assert_eq!(md5s(checksums(paths[..1].to_vec(), &context).await), expected[..1]);
        assert!(lanes.difference().unwrap().to_string().contains("gave different results"));
        assert_eq!(md5s(checksums(paths, &context).await), expected);
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
        std::fs::write(&path, vec![0; 2 * ALONE]).unwrap();
        let (result, waiting) = oneshot::channel();
        let mut file = HashedFile { path, context: context(None), open: None, result: Some(result) };
        let mut buffer = vec![0; ALONE];
        assert!(matches!(file.read(&mut buffer), Read::Piece(ALONE, _)));
        drop(waiting);
        assert!(matches!(file.read(&mut buffer), Read::End));
        assert_eq!(file.context.progress.bytes_done.load(Ordering::Relaxed), ALONE as u64);
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
