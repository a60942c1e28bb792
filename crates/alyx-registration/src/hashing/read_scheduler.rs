//! The read scheduler: the threads that read and hash the files of one data root. A session of 200 GB must not hold up one
//! of 20 MB.
//!
//! Memory in use: for each thread the pieces that it hashes together or a piece that it reads, and as many pieces that are
//! ready as one thread hashes together; see [`ReadScheduler::memory_limit`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::options::ReadingOptions;
use crate::hashing::lanes::{Hasher, Lanes};
use crate::hashing::progress::Progress;
use crate::hashing::read_rate::ReadRate;
use crate::hashing::schedule::{ALONE, Entry, Schedule, Step, TOGETHER};
use crate::hashing::yielding::Latency;

/// A file on its way to its checksum.
pub(crate) trait Stream: Send {
    /// Reads the next piece. Blocks; is called by one thread after the other.
    fn read(&mut self, buffer: &mut [u8]) -> Read;
    /// Whether its caller has given up. Then the next read ends it.
    fn is_given_up(&self) -> bool;
    /// What its pieces are added to; there is one once a piece was read.
    fn hasher(&mut self) -> Option<&mut Hasher>;
}

/// The result of reading a piece.
pub(crate) enum Read {
    /// The bytes that were read, and how long that took.
    Piece(usize, Duration),
    /// There are no more, and the caller has been answered.
    End,
}

/// Threads that read and hash files, fairly to the sessions. The threads are those of tokio for blocking work, and exist
/// while there is something to do.
pub struct ReadScheduler {
    state: Mutex<State>,
    lanes: Arc<Lanes>,
    rate: Arc<ReadRate>,
    read: AtomicU64,
}

struct State {
    schedule: Schedule<File>,
    /// Unused buffers, all of the same length.
    free: Vec<Buffer>,
    /// How many buffers there have been.
    buffers: u64,
    /// The length of all that there are.
    memory: usize,
    latency: Latency,
}

/// A file, and the buffer of its piece that is read or hashed.
struct File {
    stream: Box<dyn Stream>,
    piece: Option<Buffer>,
}

/// A piece of a file. Buffers begin at different offsets in their pages: bytes at the same offset compete for the same
/// places in the nearest cache.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    filled: usize,
}

const PAGE: usize = 4096;
const CACHE_LINE: usize = 64;

impl Buffer {
    fn new(length: usize, number: u64) -> Self {
        let memory = vec![0; length + PAGE];
        let wanted = number as usize * CACHE_LINE % PAGE;
        let start = (wanted + PAGE - memory.as_ptr().addr() % PAGE) % PAGE;
        Self { memory, start, length, filled: 0 }
    }

    fn all(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }

    fn filled(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.filled).unwrap_or_default()
    }
}

impl State {
    /// A buffer of this length.
    fn buffer(&mut self, length: usize) -> Buffer {
        if self.free.last().is_some_and(|free| free.length != length) {
            self.drop_free();
        }
        self.free.pop().unwrap_or_else(|| {
            self.buffers += 1;
            self.memory += length;
            Buffer::new(length, self.buffers)
        })
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.free.push(buffer);
        if self.schedule.is_empty() {
            self.drop_free();
        }
    }

    fn drop_free(&mut self) {
        self.memory -= self.free.drain(..).map(|buffer| buffer.length).sum::<usize>();
    }
}

impl ReadScheduler {
    /// A scheduler with this number of threads, at least one.
    pub fn new(threads: usize, reading: &ReadingOptions) -> Arc<Self> {
        let rate = ReadRate::default();
        rate.set(reading);
        Self::build(threads, Lanes::shared(), Arc::new(rate))
    }

    pub(crate) fn build(threads: usize, lanes: Arc<Lanes>, rate: Arc<ReadRate>) -> Arc<Self> {
        let schedule = Schedule::new(lanes.count(), threads);
        let state = State { schedule, free: Vec::new(), buffers: 0, memory: 0, latency: Latency::default() };
        Arc::new(Self { state: Mutex::new(state), lanes, rate, read: AtomicU64::new(0) })
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.state().schedule.threads()
    }

    /// Changes the number of threads. When lowered, surplus threads end after their step.
    pub fn set_count(self: &Arc<Self>, threads: usize) {
        self.state().schedule.set_threads(threads);
        self.begin_thread();
    }

    /// At most so much memory is in use for pieces, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.count() * ALONE.max(TOGETHER) + TOGETHER
    }

    /// Counts bytes that were read.
    pub(crate) fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes have been read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Adds a file of a session. Must be called within a tokio runtime. Dropping what is returned gives the file
    /// up.
    pub(crate) fn add(self: &Arc<Self>, session: &Arc<Progress>, stream: Box<dyn Stream>) -> UnderWay {
        let arrival = self.state().schedule.add(session, File { stream, piece: None });
        self.begin_thread();
        UnderWay { scheduler: Arc::clone(self), session: Arc::clone(session), arrival }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a thread if it would find something to do. It begins the next one.
    fn begin_thread(self: &Arc<Self>) {
        if self.state().schedule.begin_thread() {
            self.spawn_thread();
        }
    }

    fn spawn_thread(self: &Arc<Self>) {
        let worker = Worker { scheduler: Arc::clone(self), is_working: true };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(|| worker.work())),
            Err(_) => drop(worker),
        }
    }

    /// Reads a piece of a file into its buffer. Returns how many bytes were read, and how many times longer than at best
    /// the latest reads took, if that is known.
    fn read(&self, entry: Entry<File>) -> (usize, Option<f64>) {
        let mut in_hand = InHand { scheduler: self, entries: vec![entry] };
        let read = in_hand.entries.first_mut().and_then(|entry| {
            let File { stream, piece } = &mut entry.file;
            Some(stream.read(piece.as_mut()?.all()))
        });
        let Some(Read::Piece(filled, took)) = read else { return (0, None) };
        let (mut state, mut slowdown) = (self.state(), None);
        for mut entry in in_hand.keep() {
            if let Some(buffer) = &mut entry.file.piece {
                buffer.filled = filled;
            }
            // Threads that read from the same disk at the same time slow each other down.
            let threads = u32::try_from(state.schedule.working()).unwrap_or(u32::MAX).max(1);
            slowdown = state.latency.add(filled, took / threads);
            state.schedule.read(entry, filled, took);
        }
        (filled, slowdown)
    }

    fn hash(&self, entries: Vec<Entry<File>>) {
        let mut in_hand = InHand { scheduler: self, entries };
        self.lanes.update(in_hand.entries.iter_mut().filter_map(|Entry { file, .. }| {
            let piece = file.piece.as_ref()?;
            Some((file.stream.hasher()?, piece.filled()))
        }));
        let mut state = self.state();
        for mut entry in in_hand.keep() {
            if let Some(buffer) = entry.file.piece.take() {
                state.give_back(buffer);
            }
            let is_given_up = entry.file.stream.is_given_up();
            state.schedule.hashed(entry, is_given_up);
        }
    }
}

/// The files that a thread has in hand. Those that it drops have ended, also by a panic.
struct InHand<'a> {
    scheduler: &'a ReadScheduler,
    entries: Vec<Entry<File>>,
}

impl InHand<'_> {
    /// Takes them back: they go on.
    fn keep(&mut self) -> Vec<Entry<File>> {
        std::mem::take(&mut self.entries)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut entries = self.keep();
        if entries.is_empty() {
            return;
        }
        let mut state = self.scheduler.state();
        for entry in &mut entries {
            state.schedule.end(entry.progress());
            if let Some(buffer) = entry.file.piece.take() {
                state.give_back(buffer);
            }
        }
        // Closing them may hang.
        drop(state);
    }
}

/// A file that was added.
#[must_use]
pub(crate) struct UnderWay {
    scheduler: Arc<ReadScheduler>,
    session: Arc<Progress>,
    arrival: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.scheduler.state().schedule.give_up(&self.session, self.arrival);
        // A thread closes it: that may hang.
        self.scheduler.begin_thread();
    }
}

/// What a thread does next.
enum Work {
    Read(Entry<File>),
    Hash(Vec<Entry<File>>),
}

/// A thread at work.
struct Worker {
    scheduler: Arc<ReadScheduler>,
    is_working: bool,
}

impl Worker {
    fn work(mut self) {
        let rate = Arc::clone(&self.scheduler.rate);
        loop {
            let step = rate.begin();
            let Some(work) = self.next() else { break };
            // A panic ends the files that the thread has in hand, not the thread, on which others rely.
            let read = catch_unwind(AssertUnwindSafe(|| match work {
                Work::Read(entry) => self.scheduler.read(entry),
                Work::Hash(entries) => {
                    self.scheduler.hash(entries);
                    (0, None)
                }
            }));
            drop(step);
            if let Some((bytes, slowdown)) = read.ok().filter(|(bytes, _)| *bytes > 0) {
                rate.wait(bytes as u64, slowdown);
            }
        }
        self.is_working = false;
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.scheduler.state();
        let work = match state.schedule.next()? {
            Step::Read(mut entry, length) => {
                entry.file.piece = Some(state.buffer(length));
                Work::Read(entry)
            }
            Step::Hash(entries) => Work::Hash(entries),
        };
        // Before this thread does what may hang.
        let begins_another = state.schedule.begin_thread();
        drop(state);
        if begins_another {
            self.scheduler.spawn_thread();
        }
        Some(work)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A runtime that has ended.
        if self.is_working {
            self.scheduler.state().schedule.end_thread();
        }
    }
}

impl fmt::Debug for ReadScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (threads, memory) = (state.schedule.threads(), state.memory);
        f.debug_struct("ReadScheduler")
            .field("threads", &threads)
            .field("memory", &memory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest, Md5};
    use md5_lanes::Md5State;
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::{mpsc, watch};

    use crate::hashing::md5_sum::Md5Sum;

    /// A file's name, and its sum.
    type Named = (&'static str, Option<Md5Sum>);

    /// A file in memory.
    struct Fake {
        left: Vec<u8>,
        hasher: Option<Hasher>,
        sums: mpsc::UnboundedSender<Named>,
        name: &'static str,
        /// Its reads hang until it is set.
        answers: Option<watch::Receiver<bool>>,
        /// The kernel panics when it comes to this file.
        panics: bool,
        hanging: Arc<AtomicUsize>,
        scheduler: Arc<ReadScheduler>,
        most_memory: Arc<AtomicUsize>,
    }

    impl Stream for Fake {
        fn read(&mut self, buffer: &mut [u8]) -> Read {
            self.most_memory.fetch_max(self.scheduler.state().memory, Ordering::Relaxed);
            if let Some(answers) = &mut self.answers {
                self.hanging.fetch_add(1, Ordering::Relaxed);
                tokio::runtime::Handle::current().block_on(answers.wait_for(|answers| *answers)).unwrap();
                self.hanging.fetch_sub(1, Ordering::Relaxed);
            }
            let lanes = &self.scheduler.lanes;
            self.hasher.get_or_insert_with(|| lanes.hasher());
            if self.left.is_empty() {
                let hasher = self.hasher.take().unwrap();
                self.sums.send((self.name, lanes.finish(hasher, Path::new(self.name)))).unwrap();
                return Read::End;
            }
            let count = self.left.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.left[..count]);
            self.left.drain(..count);
            Read::Piece(count, Duration::from_nanos(1))
        }

        fn is_given_up(&self) -> bool {
            false
        }

        fn hasher(&mut self) -> Option<&mut Hasher> {
            assert!(!self.panics, "the kernel panics");
            self.hasher.as_mut()
        }
    }

    impl Drop for Fake {
        /// A file that ends without its sum.
        fn drop(&mut self) {
            if self.hasher.take().is_some() {
                let _ = self.sums.send((self.name, None));
            }
        }
    }

    struct World {
        scheduler: Arc<ReadScheduler>,
        sums: (mpsc::UnboundedSender<Named>, mpsc::UnboundedReceiver<Named>),
        answers: watch::Sender<bool>,
        hanging: Arc<AtomicUsize>,
        most_memory: Arc<AtomicUsize>,
        session: Arc<Progress>,
    }

    impl World {
        fn new(threads: usize) -> Self {
            Self {
                scheduler: ReadScheduler::build(
                    threads,
                    Arc::new(Lanes::new(Md5State::new())),
                    Arc::default(),
                ),
                sums: mpsc::unbounded_channel(),
                answers: watch::channel(false).0,
                hanging: Arc::default(),
                most_memory: Arc::default(),
                session: Arc::default(),
            }
        }

        fn add(&self, name: &'static str, content: Vec<u8>, hangs: bool) {
            self.add_file(name, content, hangs, false);
        }

        fn add_file(&self, name: &'static str, content: Vec<u8>, hangs: bool, panics: bool) {
            let fake = Fake {
                left: content,
                hasher: None,
                sums: self.sums.0.clone(),
                name,
                answers: hangs.then(|| self.answers.subscribe()),
                panics,
                hanging: Arc::clone(&self.hanging),
                scheduler: Arc::clone(&self.scheduler),
                most_memory: Arc::clone(&self.most_memory),
            };
            // It is waited for until the end.
            std::mem::forget(self.scheduler.add(&self.session, Box::new(fake)));
        }

        async fn sum(&mut self) -> Named {
            self.sums.1.recv().await.unwrap()
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
    }

    fn md5(content: &[u8]) -> Option<Md5Sum> {
        Some(Md5Sum::of(Md5::new_with_prefix(content)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_whose_reads_hang_stalls_no_other_file_of_its_lanes() {
        let mut world = World::new(2);
        world.add("before", noise(5 << 20), false);
        world.add("hangs", noise(1 << 20), true);
        for _ in 0..100 {
            world.add("after", noise(3 << 20), false);
        }
        let (before, after) = (md5(&noise(5 << 20)), md5(&noise(3 << 20)));
        for _ in 0..101 {
            let (name, sum) = world.sum().await;
            assert_eq!(sum, if name == "before" { before } else { after }, "{name}");
        }
        assert_eq!(world.hanging.load(Ordering::Relaxed), 1);
        world.answers.send(true).unwrap();
        assert_eq!(world.sum().await, ("hangs", md5(&noise(1 << 20))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_ends_in_a_panic_stops_no_other() {
        let mut world = World::new(1);
        world.add("panics", Vec::new(), true);
        // No answer will come.
        world.answers = watch::channel(false).0;
        world.add("other", noise(100), false);
        assert_eq!(world.sum().await, ("other", md5(&noise(100))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_of_the_kernel_ends_the_files_that_it_hashes_and_no_thread() {
        let mut world = World::new(2);
        // More than may be open.
        for _ in 0..150 {
            world.add_file("panics", noise(100), false, true);
        }
        for _ in 0..150 {
            assert_eq!(world.sum().await, ("panics", None));
        }
        while !world.scheduler.state().schedule.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.scheduler.state().memory, 0);
        for _ in 0..150 {
            world.add("other", noise(100), false);
        }
        for _ in 0..150 {
            assert_eq!(world.sum().await, ("other", md5(&noise(100))));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn buffers_take_no_more_memory_than_the_limit_however_many_files_there_are_and_none_afterwards() {
        for threads in [1, 2, 4] {
            let mut world = World::new(threads);
            let limit = world.scheduler.memory_limit();
            for _ in 0..40 {
                world.add("large", noise(2 << 20), false);
            }
            (0..500).for_each(|number| world.add("small", noise(number * 97), false));
            for _ in 0..540 {
                world.sum().await;
            }
            while !world.scheduler.state().schedule.is_empty() {
                tokio::task::yield_now().await;
            }
            let most = world.most_memory.load(Ordering::Relaxed);
            assert!(0 < most && most <= limit, "{most} of {limit}");
            assert_eq!(world.scheduler.state().memory, 0);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_is_read_each_second_than_the_limit_allows() {
        let mut world = World::new(2);
        let max_rate = Some(4_000_000);
        world.scheduler.rate.set(&ReadingOptions { max_rate, yields: false, ..ReadingOptions::default() });
        let began = std::time::Instant::now();
        (0..4).for_each(|_| world.add("x", noise(500_000), false));
        for _ in 0..4 {
            world.sum().await;
        }
        // Half a second, without what is read at once at the start, and after the last piece.
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    }

    #[test]
    fn buffers_begin_at_different_offsets_in_their_pages() {
        let offset = |number| Buffer::new(16 << 10, number).all().as_ptr().addr() % PAGE;
        assert_eq!([0, 1, 2, 63].map(offset), [0, 64, 128, 63 * 64]);
    }
}
