//! The schedule: which file is read next, and which pieces are hashed together. Pure.
//!
//! Reading and hashing are steps of the same work: a thread reads a piece of one file after the other until enough pieces are
//! ready to fill its lanes, then hashes them side by side. Pieces that are ready belong to no thread, so a read that hangs
//! holds its own file only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::hashing::progress::Progress;

/// What a session reads before those that have read less are served, in bytes.
const SLICE: u64 = 16 << 20;
/// The pieces that are hashed together, in bytes. With half a MiB they would stay in the nearest caches of a core, but a small
/// file would be read in eight pieces, whose calls cost more than the caches gain.
pub(crate) const TOGETHER: usize = 2 << 20;
/// The longest of these pieces, in bytes.
const LONGEST_TOGETHER: usize = TOGETHER / 2;
/// The piece of a file on a disk that is slower than hashing, in bytes.
pub(crate) const ALONE: usize = 1 << 20;
/// The most files that are open, besides one of each session.
const MAX_OPEN: usize = 128;

/// The files of one data root that are on their way to their checksums.
#[derive(Debug)]
pub(crate) struct Schedule<F> {
    lanes: usize,
    threads: usize,
    /// The threads that work now.
    working: usize,
    /// The files, whatever happens to them.
    files: usize,
    /// Of these, the open ones.
    open: usize,
    arrivals: u64,
    sessions: Vec<Session<F>>,
    /// What was read and waits for its lane.
    ready: Vec<Entry<F>>,
    /// The files that were given up. They are handed out to be read, which ends them.
    given_up: Vec<Entry<F>>,
    pace: Pace,
}

/// The files of one session.
#[derive(Debug)]
struct Session<F> {
    progress: Arc<Progress>,
    files: usize,
    open: usize,
    /// In order of arrival: the open files of which more is to be read, and the files that are not open yet.
    unread: BTreeMap<u64, Entry<F>>,
    unopened: BTreeMap<u64, Entry<F>>,
}

/// A file and its place.
#[derive(Debug)]
pub(crate) struct Entry<F> {
    pub(crate) file: F,
    progress: Arc<Progress>,
    arrival: u64,
}

/// What a thread does next.
#[derive(Debug)]
pub(crate) enum Step<F> {
    /// Read a piece of this length, then [`Schedule::read`] or [`Schedule::end`].
    Read(Entry<F>, usize),
    /// Hash the pieces of these files, then [`Schedule::hashed`].
    Hash(Vec<Entry<F>>),
}

/// How fast the latest pieces were read.
#[derive(Debug, Default)]
struct Pace {
    bytes: u64,
    ns: u64,
}

impl Pace {
    fn add(&mut self, bytes: usize, took: Duration) {
        let bytes = bytes as u64;
        // A thread that had to wait for a processor in one piece must not look like a slow disk, which is slow in each.
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(bytes.saturating_mul(4));
        self.bytes = self.bytes / 8 * 7 + bytes;
        self.ns = self.ns / 8 * 7 + ns;
    }

    /// Whether one file is read more slowly than it is hashed: below 1 GB/s. Then more files at the same time would gain
    /// nothing, and a spinning disk would have to move its head between them.
    fn is_slow(&self) -> bool {
        self.ns > self.bytes
    }
}

impl<F> Schedule<F> {
    pub(crate) fn new(lanes: usize, threads: usize) -> Self {
        Self {
            lanes,
            threads: threads.max(1),
            working: 0,
            files: 0,
            open: 0,
            arrivals: 0,
            sessions: Vec::new(),
            ready: Vec::new(),
            given_up: Vec::new(),
            pace: Pace::default(),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The threads that work now.
    pub(crate) fn working(&self) -> usize {
        self.working
    }

    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// Adds a file of a session. Returns its number.
    pub(crate) fn add(&mut self, progress: &Arc<Progress>, file: F) -> u64 {
        self.files += 1;
        self.arrivals += 1;
        let entry = Entry { file, progress: Arc::clone(progress), arrival: self.arrivals };
        let session = match self.sessions.iter().position(|session| Arc::ptr_eq(&session.progress, progress))
        {
            Some(place) => self.sessions.get_mut(place),
            None => {
                self.sessions.push(Session {
                    progress: Arc::clone(progress),
                    files: 0,
                    open: 0,
                    unread: BTreeMap::new(),
                    unopened: BTreeMap::new(),
                });
                self.sessions.last_mut()
            }
        };
        if let Some(session) = session {
            session.files += 1;
            session.unopened.insert(entry.arrival, entry);
        }
        self.arrivals
    }

    /// Gives a file up. Without effect if it has ended, or is being read or hashed.
    pub(crate) fn give_up(&mut self, progress: &Arc<Progress>, arrival: u64) {
        let Some(session) = self.session(progress) else { return };
        let unopened = session.unopened.remove(&arrival);
        session.open += usize::from(unopened.is_some());
        let given_up = session.unread.remove(&arrival);
        self.open += usize::from(unopened.is_some());
        self.given_up.extend(unopened.or(given_up));
    }

    /// Whether another thread would find something to do; it counts as working from now on.
    pub(crate) fn begin_thread(&mut self) -> bool {
        let finds = !self.ready.is_empty() || !self.given_up.is_empty() || self.next_session().is_some();
        let begins = finds && self.working < self.threads;
        self.working += usize::from(begins);
        begins
    }

    /// A thread has ended without being told so.
    pub(crate) fn end_thread(&mut self) {
        self.working = self.working.saturating_sub(1);
    }

    /// What a thread does next. `None`: it ends.
    pub(crate) fn next(&mut self) -> Option<Step<F>> {
        let width = self.width();
        let step = match () {
            () if self.working > self.threads => None,
            () if self.ready.len() >= width => self.hash(width),
            () => self
                .next_to_read()
                .map(|entry| Step::Read(entry, self.piece(width)))
                .or_else(|| self.hash(width)),
        };
        if step.is_none() {
            self.end_thread();
        }
        step
    }

    /// A piece of a file was read: it waits for its lane.
    pub(crate) fn read(&mut self, entry: Entry<F>, bytes: usize, took: Duration) {
        self.pace.add(bytes, took);
        self.ready.push(entry);
    }

    /// The piece of a file was hashed: more of it is to be read, unless it was given up.
    pub(crate) fn hashed(&mut self, entry: Entry<F>, is_given_up: bool) {
        if is_given_up {
            self.given_up.push(entry);
        } else if let Some(session) = self.session(&entry.progress) {
            session.unread.insert(entry.arrival, entry);
        }
    }

    /// A file that was handed out to be read has ended, or was given up.
    pub(crate) fn end(&mut self, progress: &Arc<Progress>) {
        self.files = self.files.saturating_sub(1);
        self.open = self.open.saturating_sub(1);
        if let Some(session) = self.session(progress) {
            session.files = session.files.saturating_sub(1);
            session.open = session.open.saturating_sub(1);
        }
        self.sessions.retain(|session| session.files > 0);
    }

    /// How many pieces a thread hashes together: its share of the files, at most one in each lane.
    fn width(&self) -> usize {
        match self.pace.is_slow() {
            true => 1,
            false => self.files.div_ceil(self.threads).clamp(1, self.lanes),
        }
    }

    fn piece(&self, width: usize) -> usize {
        match self.pace.is_slow() {
            true => ALONE,
            false => (TOGETHER / width.next_power_of_two()).min(LONGEST_TOGETHER),
        }
    }

    fn hash(&mut self, width: usize) -> Option<Step<F>> {
        let count = self.ready.len().min(width);
        (count > 0).then(|| Step::Hash(self.ready.drain(..count).collect()))
    }

    /// The session that has read least, of those with something to read; of several, the one that came first.
    fn next_session(&self) -> Option<usize> {
        let may_open = self.open < MAX_OPEN;
        let readable = self.sessions.iter().enumerate().filter(|(_, session)| {
            let opens = !session.unopened.is_empty() && (may_open || session.open == 0);
            !session.unread.is_empty() || opens
        });
        let read = |session: &Session<F>| session.progress.bytes_done.load(Ordering::Relaxed) / SLICE;
        readable.min_by_key(|(_, session)| read(session)).map(|(place, _)| place)
    }

    fn next_to_read(&mut self) -> Option<Entry<F>> {
        if let Some(entry) = self.given_up.pop() {
            return Some(entry);
        }
        let place = self.next_session()?;
        let session = self.sessions.get_mut(place)?;
        if let Some((_, entry)) = session.unread.pop_first() {
            return Some(entry);
        }
        let (_, entry) = session.unopened.pop_first()?;
        session.open += 1;
        self.open += 1;
        Some(entry)
    }

    fn session(&mut self, progress: &Arc<Progress>) -> Option<&mut Session<F>> {
        self.sessions.iter_mut().find(|session| Arc::ptr_eq(&session.progress, progress))
    }
}

impl<F> Entry<F> {
    /// The session.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 lanes.
    fn schedule(threads: usize) -> Schedule<&'static str> {
        Schedule::new(16, threads)
    }

    fn session(read: u64) -> Arc<Progress> {
        let progress = Progress::default();
        progress.bytes_done.store(read, Ordering::Relaxed);
        Arc::new(progress)
    }

    fn add_all<F>(schedule: &mut Schedule<F>, session: &Arc<Progress>, files: impl IntoIterator<Item = F>) {
        for file in files {
            schedule.add(session, file);
        }
    }

    const FAST: Duration = Duration::from_nanos(1);
    const SLOW: Duration = Duration::from_secs(1);

    /// A thread that begins, and reads.
    #[track_caller]
    fn reading<F: std::fmt::Debug>(schedule: &mut Schedule<F>) -> (Entry<F>, usize) {
        match schedule.next() {
            Some(Step::Read(entry, length)) => (entry, length),
            step => panic!("{step:?}"),
        }
    }

    #[track_caller]
    fn hashing<F: std::fmt::Debug>(schedule: &mut Schedule<F>) -> Vec<Entry<F>> {
        match schedule.next() {
            Some(Step::Hash(entries)) => entries,
            step => panic!("{step:?}"),
        }
    }

    fn files(entries: &[Entry<&'static str>]) -> Vec<&'static str> {
        entries.iter().map(|entry| entry.file).collect()
    }

    #[test]
    fn the_session_that_has_read_least_is_next_regardless_of_arrival() {
        let mut schedule = schedule(1);
        schedule.add(&session(200 << 30), "large");
        schedule.add(&session(20), "small");
        assert!(schedule.begin_thread());
        assert_eq!(reading(&mut schedule).0.file, "small");
        assert_eq!(reading(&mut schedule).0.file, "large");
    }

    #[test]
    fn pieces_of_all_sessions_are_hashed_together_and_those_that_are_begun_first() {
        let mut schedule = schedule(1);
        for (name, session) in [("a", session(0)), ("b", session(0)), ("c", session(0))] {
            schedule.add(&session, name);
        }
        assert!(schedule.begin_thread());
        for _ in 0..3 {
            let (entry, length) = reading(&mut schedule);
            assert_eq!(length, TOGETHER / 4);
            schedule.read(entry, length, FAST);
        }
        let hashed = hashing(&mut schedule);
        assert_eq!(files(&hashed), ["a", "b", "c"]);
        hashed.into_iter().for_each(|entry| schedule.hashed(entry, false));
        assert_eq!(reading(&mut schedule).0.file, "a");
    }

    #[test]
    fn several_threads_share_the_files() {
        let mut schedule = schedule(2);
        let session = session(0);
        add_all(&mut schedule, &session, ["a", "b", "c", "d"]);
        assert!(schedule.begin_thread() && schedule.begin_thread() && !schedule.begin_thread());
        for _ in 0..2 {
            let (entry, length) = reading(&mut schedule);
            schedule.read(entry, length, FAST);
        }
        assert_eq!(files(&hashing(&mut schedule)), ["a", "b"]);
        for _ in 0..2 {
            let (entry, length) = reading(&mut schedule);
            schedule.read(entry, length, FAST);
        }
        assert_eq!(files(&hashing(&mut schedule)), ["c", "d"]);
        assert!(schedule.next().is_none());
    }

    #[test]
    fn a_read_that_hangs_holds_its_own_file_only() {
        let mut schedule = schedule(2);
        let session = session(0);
        add_all(&mut schedule, &session, ["a", "hangs", "b"]);
        assert!(schedule.begin_thread());
        let (entry, length) = reading(&mut schedule);
        schedule.read(entry, length, FAST);
        let (hangs, _) = reading(&mut schedule);
        assert_eq!(hangs.file, "hangs");
        // Another thread goes on, with what the first had ready too.
        assert!(schedule.begin_thread());
        let (entry, length) = reading(&mut schedule);
        schedule.read(entry, length, FAST);
        for _ in 0..10 {
            let hashed = hashing(&mut schedule);
            assert_eq!(files(&hashed), ["a", "b"]);
            hashed.into_iter().for_each(|entry| schedule.hashed(entry, false));
            for _ in 0..2 {
                let (entry, length) = reading(&mut schedule);
                schedule.read(entry, length, FAST);
            }
        }
    }

    #[test]
    fn a_slow_disk_reads_one_long_piece_after_the_other_of_as_few_files_as_there_are_threads() {
        let mut schedule = schedule(1);
        let session = session(0);
        add_all(&mut schedule, &session, ["a", "b", "c"]);
        assert!(schedule.begin_thread());
        let (entry, length) = reading(&mut schedule);
        schedule.read(entry, length, SLOW);
        for _ in 0..3 {
            let hashed = hashing(&mut schedule);
            assert_eq!(files(&hashed), ["a"]);
            hashed.into_iter().for_each(|entry| schedule.hashed(entry, false));
            let (entry, length) = reading(&mut schedule);
            assert_eq!((entry.file, length), ("a", ALONE));
            schedule.read(entry, length, SLOW);
        }
    }

    #[test]
    fn one_slow_piece_is_no_slow_disk_but_two_are() {
        let mut pace = Pace::default();
        (0..8).for_each(|_| pace.add(100_000, FAST));
        pace.add(100_000, SLOW);
        assert!(!pace.is_slow());
        pace.add(100_000, SLOW);
        assert!(pace.is_slow());
        (0..12).for_each(|_| pace.add(100_000, FAST));
        assert!(!pace.is_slow());
    }

    #[test]
    fn few_files_are_open_at_a_time_but_one_of_each_session() {
        let mut schedule = Schedule::new(1000, 1);
        let (large, small) = (session(0), session(0));
        add_all(&mut schedule, &large, 0..1000);
        assert!(schedule.begin_thread());
        for _ in 0..MAX_OPEN {
            let (entry, length) = reading(&mut schedule);
            schedule.read(entry, length, FAST);
        }
        schedule.add(&small, 2000);
        schedule.add(&small, 2001);
        let (entry, length) = reading(&mut schedule);
        assert_eq!(entry.file, 2000);
        schedule.read(entry, length, FAST);
        assert_eq!(hashing(&mut schedule).len(), MAX_OPEN + 1);
    }

    #[test]
    fn files_for_which_nobody_waits_any_more_end_before_anything_else_is_read() {
        let mut schedule = schedule(1);
        let (large, small) = (session(200 << 30), session(0));
        let numbers = ["hashed", "open", "unopened"].map(|name| schedule.add(&large, name));
        assert!(schedule.begin_thread());
        for _ in 0..2 {
            let (entry, length) = reading(&mut schedule);
            schedule.read(entry, length, FAST);
        }
        schedule.add(&small, "small");
        let (small, _) = reading(&mut schedule);
        // It takes long. Meanwhile another thread hashes the others, and they are given up.
        schedule.set_threads(2);
        assert!(schedule.begin_thread());
        schedule.ready.drain(..).collect::<Vec<_>>().into_iter().for_each(|entry| {
            let is_given_up = entry.file == "hashed";
            schedule.hashed(entry, is_given_up);
        });
        numbers.into_iter().for_each(|number| schedule.give_up(&large, number));
        for _ in 0..3 {
            let (entry, _) = reading(&mut schedule);
            schedule.end(entry.progress());
        }
        assert_eq!((schedule.files, schedule.open, schedule.sessions.len()), (1, 1, 1));
        schedule.end(small.progress());
        assert!(schedule.is_empty() && schedule.open == 0);
    }

    #[test]
    fn the_number_of_threads_can_be_raised_and_lowered() {
        let mut schedule = schedule(2);
        let session = session(0);
        add_all(&mut schedule, &session, ["a", "b", "c", "d"]);
        assert!(schedule.begin_thread() && schedule.begin_thread() && !schedule.begin_thread());
        schedule.set_threads(3);
        assert!(schedule.begin_thread() && !schedule.begin_thread());
        schedule.set_threads(1);
        assert!(schedule.next().is_none() && schedule.next().is_none());
        assert_eq!(reading(&mut schedule).0.file, "a");
        assert!(!schedule.begin_thread());
        schedule.set_threads(2);
        assert!(schedule.begin_thread() && !schedule.begin_thread());
    }

    #[test]
    fn a_schedule_of_which_all_files_have_ended_is_empty() {
        let mut schedule = schedule(1);
        let session = session(0);
        schedule.add(&session, "a");
        assert!(schedule.begin_thread());
        let (entry, _) = reading(&mut schedule);
        assert!(!schedule.is_empty());
        schedule.end(entry.progress());
        assert!(schedule.is_empty() && schedule.sessions.is_empty());
        assert!(schedule.next().is_none() && !schedule.begin_thread());
    }
}
