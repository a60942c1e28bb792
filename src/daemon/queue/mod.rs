//! The queue: which flags are known, in which order their sessions run, and when the next one is due.
//!
//! Pure: no clock, no tokio, no disk. The flags on disk are the durable queue; this is its index in memory, and
//! losing it costs one scan. One task owns it; everything else sends that task messages.
//!
//! A job is one flag, known by its path. Jobs of one session folder (two flags of different names) never run at
//! the same time.

pub(crate) mod folder_locks;
pub(crate) mod outage;
pub mod stale_flags;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_client::text::printable;
use alyx_registration::flag::{FlagFile, FlagStamp};

/// The known flags and their jobs, each with a `T` for the owner's own data.
///
/// - No flag is in it twice, and none runs twice at the same time.
/// - A job leaves only as [`Outcome::Done`] or [`Outcome::Gone`], or because its flag is removed.
/// - Seeing a known flag again changes nothing. A flag whose stamp has changed starts over: its failures are
///   forgotten, and if it is running it runs again.
/// - In a data root that has room, the earliest due runs first; of those due at the same time, the one that came first.
#[derive(Debug)]
pub struct Queue<T> {
    jobs: HashMap<PathBuf, Entry<T>>,
    /// The data roots. A flag below none of them counts as in the root of the empty path.
    roots: Vec<PathBuf>,
    /// Waiting jobs by data root, then by due time, then by order of arrival.
    order: BTreeMap<PathBuf, BTreeMap<(Instant, u64), PathBuf>>,
    /// Session folders of running jobs.
    busy: HashSet<PathBuf>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<T> {
    stamp: FlagStamp,
    /// Parsed once, when the flag is first seen.
    session: Result<SessionPath, SessionPathError>,
    failures: u32,
    /// The last run ended with [`Outcome::NeedsAttention`].
    needs_attention: bool,
    /// Its session is too large for the place that is kept for small ones.
    is_large: bool,
    state: State,
    data: T,
}

/// Which sessions of a data root may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// None.
    Full,
    /// Those that are not known to be large.
    ForSmall,
    /// All.
    Free,
}

#[derive(Debug)]
enum State {
    Waiting(Instant, u64),
    Running(DuringRun),
}

/// What happened to a flag while its session runs.
#[derive(Debug, Clone, Copy)]
enum DuringRun {
    Nothing,
    /// A newer flag was seen; it is due at this instant.
    Touched(FlagStamp, Instant),
    Removed,
}

/// One run of one flag's session, to hand to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The flag as last seen. Load it again before the run starts: it may have been touched since.
    pub flag: FlagFile,
    /// The session that its folder names.
    pub session: Result<SessionPath, SessionPathError>,
    /// Number of this attempt, from 1 since the flag appeared or changed.
    pub attempt: u32,
}

impl Job {
    /// The session's name in logs: `subject/date/number`, or the folder.
    pub fn session_name(&self) -> String {
        session_name(&self.session, self.flag.session_folder())
    }
}

/// The session's name in logs: `subject/date/number` if the folder is a session, the folder otherwise.
pub fn session_name(session: &Result<SessionPath, SessionPathError>, folder: &Path) -> String {
    session.as_ref().map_or_else(|_| printable(&folder.to_string_lossy()), ToString::to_string)
}

/// The result of [`Queue::enqueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// Not known before; due after the settle time.
    New,
    /// Known and unchanged; its back-off continues.
    Known,
    /// Waiting, but touched since: due as a new flag, its failures forgotten.
    Touched,
    /// Running, and touched since the run began: it runs once more.
    RunsAgain,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is confirmed, and the flag is removed.
    Done,
    /// The flag changed during the run: run again. No failure.
    RunAgain {
        /// When to run again.
        at: Instant,
    },
    /// Failed; may succeed later without help.
    Retry {
        /// When to try again.
        at: Instant,
    },
    /// Failed, and needs attention. Touching the flag makes it run at once.
    NeedsAttention {
        /// When to try again nevertheless.
        at: Instant,
    },
    /// Could not be tried: the server is down, or refuses the login. Its failures stay as they were.
    PutOff {
        /// When to try it.
        at: Instant,
    },
    /// The flag no longer existed when the run started.
    Gone,
}

/// How many jobs there are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time or for a worker. Includes the two below.
    pub waiting: usize,
    /// Waiting after a failure that may resolve itself.
    pub retrying: usize,
    /// Waiting after a failure that needs attention.
    pub needs_attention: usize,
    /// Being run by a worker.
    pub running: usize,
}

/// The current state of one job.
#[derive(Debug)]
pub struct JobStatus<'a, T> {
    /// The flag.
    pub path: &'a Path,
    /// The stamp of the flag as last seen, or as at the start of the run.
    pub stamp: &'a FlagStamp,
    /// The session that its folder names.
    pub session: &'a Result<SessionPath, SessionPathError>,
    /// When it runs next; `None` while it runs.
    pub due: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the last failure needs attention.
    pub needs_attention: bool,
    /// The owner's data.
    pub data: &'a T,
}

impl<T> JobStatus<'_, T> {
    /// Whether a worker runs it.
    pub fn is_running(&self) -> bool {
        self.due.is_none()
    }

    /// The name of its session in logs.
    pub fn session_name(&self) -> String {
        session_name(self.session, self.path.parent().unwrap_or(Path::new("")))
    }
}

impl<T> Default for Queue<T> {
    /// An empty queue.
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            roots: Vec::new(),
            order: BTreeMap::new(),
            busy: HashSet::new(),
            arrivals: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Sets the data roots, in which jobs start independently of each other.
    pub fn set_roots(&mut self, roots: Vec<PathBuf>) {
        self.roots = roots;
        for (key, path) in std::mem::take(&mut self.order).into_values().flatten() {
            self.order.entry(self.root_of(&path).to_owned()).or_default().insert(key, path);
        }
    }

    /// The data root of a flag.
    pub fn root_of(&self, path: &Path) -> &Path {
        self.roots.iter().find(|root| path.starts_with(root)).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Adds a flag that was seen on disk, or updates it. `due` is when it may run if it is new or changed: usually now
    /// plus the settle time. `data` makes the owner's data for a new flag.
    pub fn enqueue(&mut self, flag: FlagFile, due: Instant, data: impl FnOnce() -> T) -> Enqueued {
        let Some(entry) = self.jobs.get_mut(&flag.path) else {
            let session = SessionPath::parse(flag.session_folder());
            let FlagFile { path, stamp } = flag;
            self.jobs.insert(path.clone(), Entry::new(stamp, session, data()));
            self.make_due(&path, due);
            return Enqueued::New;
        };
        let FlagFile { path, stamp } = flag;
        match &mut entry.state {
            // A stale event with the old stamp must not cancel a newer one.
            State::Running(during) if entry.stamp == stamp => {
                if matches!(during, DuringRun::Removed) {
                    *during = DuringRun::Nothing;
                }
                Enqueued::Known
            }
            State::Running(DuringRun::Touched(seen, _)) if *seen == stamp => Enqueued::Known,
            State::Running(during) => {
                *during = DuringRun::Touched(stamp, due);
                Enqueued::RunsAgain
            }
            State::Waiting(..) if entry.stamp == stamp => Enqueued::Known,
            State::Waiting(..) => {
                entry.start_over(stamp);
                self.make_due(&path, due);
                Enqueued::Touched
            }
        }
    }

    /// Removes a flag that is no longer on disk, and returns its data. A running job stays with its worker and leaves
    /// when it ends, whatever the outcome.
    pub fn remove(&mut self, path: &Path) -> Option<T> {
        let entry = self.jobs.get_mut(path)?;
        match &mut entry.state {
            State::Running(during) => {
                *during = DuringRun::Removed;
                None
            }
            State::Waiting(due, arrival) => {
                let key = (*due, *arrival);
                self.leave(path, key);
                self.jobs.remove(path).map(|entry| entry.data)
            }
        }
    }

    /// Whether a job is running whose flag is no longer on disk.
    pub fn is_removed(&self, path: &Path) -> bool {
        let entry = self.jobs.get(path);
        entry.is_some_and(|entry| matches!(entry.state, State::Running(DuringRun::Removed)))
    }

    /// When the next job is due, possibly in the past: then take it. `None` if nothing waits, or if what waits cannot
    /// run before a running job ends. `room`: which sessions of a data root may start.
    pub fn next_due(&self, room: impl Fn(&Path) -> Room) -> Option<Instant> {
        self.first_free(room).map(|((due, _), _)| due)
    }

    /// Takes the next job that is due. It runs until [`Queue::finish`].
    pub fn take_due(&mut self, room: impl Fn(&Path) -> Room, now: Instant) -> Option<Job> {
        let (key, root) = self.first_free(room).filter(|((due, _), _)| *due <= now)?;
        let root = root.to_owned();
        let path = self.order.get_mut(&root)?.remove(&key)?;
        let entry = self.jobs.get_mut(&path)?;
        entry.state = State::Running(DuringRun::Nothing);
        let job = Job {
            attempt: entry.failures.saturating_add(1),
            session: entry.session.clone(),
            flag: FlagFile { path, stamp: entry.stamp },
        };
        self.busy.insert(job.flag.session_folder().to_owned());
        Some(job)
    }

    /// Ends the run of a job. A flag that was seen with a new stamp during the run stays, whatever the outcome, and
    /// starts over. Returns the data of a job that leaves. Does nothing for a job that is not running.
    pub fn finish(&mut self, path: &Path, outcome: Outcome) -> Option<T> {
        let entry = self.jobs.get_mut(path)?;
        let State::Running(during) = entry.state else { return None };
        self.busy.remove(path.parent().unwrap_or(Path::new("")));
        let due = match (during, outcome) {
            (DuringRun::Touched(stamp, due), _) => {
                entry.start_over(stamp);
                due
            }
            (DuringRun::Removed, _) | (DuringRun::Nothing, Outcome::Done | Outcome::Gone) => {
                return self.jobs.remove(path).map(|entry| entry.data);
            }
            (DuringRun::Nothing, Outcome::PutOff { at }) => at,
            (DuringRun::Nothing, Outcome::RunAgain { at }) => {
                (entry.failures, entry.needs_attention) = (0, false);
                at
            }
            (DuringRun::Nothing, Outcome::Retry { at }) => {
                (entry.failures, entry.needs_attention) = (entry.failures.saturating_add(1), false);
                at
            }
            (DuringRun::Nothing, Outcome::NeedsAttention { at }) => {
                (entry.failures, entry.needs_attention) = (entry.failures.saturating_add(1), true);
                at
            }
        };
        self.make_due(path, due);
        None
    }

    /// Makes every job that waits after a failure due now: the cause may have been fixed. Its failures still count.
    pub fn retry_now(&mut self, now: Instant) {
        let of_all_roots = self.order.values().flatten();
        let mut waiting: Vec<_> = of_all_roots.map(|(key, path)| (*key, path.clone())).collect();
        // In the order of the queue, which the new arrivals keep.
        waiting.sort_unstable_by_key(|(key, _)| *key);
        waiting.retain(|((due, _), path)| {
            *due > now && self.jobs.get(path).is_some_and(|entry| entry.failures > 0)
        });
        for (_, path) in waiting {
            self.make_due(&path, now);
        }
    }

    /// Makes a waiting job due now. Its failures still count. Returns whether it was waiting.
    pub fn make_due_now(&mut self, path: &Path, now: Instant) -> bool {
        let waits = self.jobs.get(path).is_some_and(|entry| matches!(entry.state, State::Waiting(..)));
        if waits {
            self.make_due(path, now);
        }
        waits
    }

    /// Restores the failures and the due time that a waiting job had before a restart.
    pub fn restore(&mut self, path: &Path, failures: u32, needs_attention: bool, due: Instant) {
        if let Some(entry) = self.jobs.get_mut(path)
            && let State::Waiting(settled, _) = entry.state
        {
            (entry.failures, entry.needs_attention) = (failures, needs_attention);
            self.make_due(path, due.max(settled));
        }
    }

    /// How many jobs there are, by state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in self.jobs.values() {
            match entry.state {
                State::Running(_) => counts.running += 1,
                State::Waiting(..) => {
                    counts.waiting += 1;
                    counts.needs_attention += usize::from(entry.needs_attention);
                    counts.retrying += usize::from(entry.failures > 0 && !entry.needs_attention);
                }
            }
        }
        counts
    }

    /// All jobs, in no particular order.
    pub fn jobs(&self) -> impl Iterator<Item = JobStatus<'_, T>> {
        self.jobs.iter().map(|(path, entry)| status(path, entry))
    }

    /// The session folders of running jobs.
    pub fn busy_folders(&self) -> impl Iterator<Item = &Path> {
        self.busy.iter().map(PathBuf::as_path)
    }

    /// One job.
    pub fn job(&self, path: &Path) -> Option<JobStatus<'_, T>> {
        let (path, entry) = self.jobs.get_key_value(path)?;
        Some(status(path, entry))
    }

    /// The owner's data of a job.
    pub fn data_mut(&mut self, path: &Path) -> Option<&mut T> {
        self.jobs.get_mut(path).map(|entry| &mut entry.data)
    }

    /// The owner's data of each job, in no particular order.
    pub fn all_data_mut(&mut self) -> impl Iterator<Item = (&Path, &mut T)> {
        self.jobs.iter_mut().map(|(path, entry)| (path.as_path(), &mut entry.data))
    }

    /// Forgets the failures of a job. Its due time does not change.
    pub fn forget_failures(&mut self, path: &Path) {
        if let Some(entry) = self.jobs.get_mut(path) {
            (entry.failures, entry.needs_attention) = (0, false);
        }
    }

    /// The session of a job is too large for the place that is kept for small ones, until its flag is touched.
    pub fn set_large(&mut self, path: &Path) {
        if let Some(entry) = self.jobs.get_mut(path) {
            entry.is_large = true;
        }
    }

    /// The first waiting job that may start and whose session folder is not busy, and its data root. In a root with free
    /// room, skips at most as many as are running.
    fn first_free(&self, room: impl Fn(&Path) -> Room) -> Option<((Instant, u64), &Path)> {
        let is_large = |path: &Path| self.jobs.get(path).is_some_and(|entry| entry.is_large);
        let free = |path: &Path| path.parent().is_none_or(|folder| !self.busy.contains(folder));
        let first = |(root, waiting): (&PathBuf, &BTreeMap<_, PathBuf>)| match room(root) {
            Room::Full => None,
            Room::Free => waiting.iter().find(|(_, path)| free(path)).map(|(key, _)| *key),
            Room::ForSmall => {
                waiting.iter().find(|(_, path)| free(path) && !is_large(path)).map(|(key, _)| *key)
            }
        };
        let firsts = self.order.iter().filter_map(|lane| Some((first(lane)?, lane.0.as_path())));
        firsts.min_by_key(|(key, _)| *key)
    }

    /// Takes a job out of the order.
    fn leave(&mut self, path: &Path, key: (Instant, u64)) {
        let root = self.root_of(path).to_owned();
        if let Some(waiting) = self.order.get_mut(&root) {
            waiting.remove(&key);
        }
    }

    /// Schedules a job at `due`, behind those of the same time.
    fn make_due(&mut self, path: &Path, due: Instant) {
        let Some(entry) = self.jobs.get_mut(path) else { return };
        self.arrivals += 1;
        let key = (due, self.arrivals);
        let earlier = std::mem::replace(&mut entry.state, State::Waiting(key.0, key.1));
        if let State::Waiting(due, arrival) = earlier {
            self.leave(path, (due, arrival));
        }
        let root = self.root_of(path).to_owned();
        self.order.entry(root).or_default().insert(key, path.to_owned());
    }
}

fn status<'a, T>(path: &'a Path, entry: &'a Entry<T>) -> JobStatus<'a, T> {
    JobStatus {
        path,
        stamp: &entry.stamp,
        session: &entry.session,
        due: match entry.state {
            State::Waiting(due, _) => Some(due),
            State::Running(_) => None,
        },
        failures: entry.failures,
        needs_attention: entry.needs_attention,
        data: &entry.data,
    }
}

impl<T> Entry<T> {
    /// [`Queue::make_due`] sets its state.
    fn new(stamp: FlagStamp, session: Result<SessionPath, SessionPathError>, data: T) -> Self {
        Self {
            stamp,
            session,
            failures: 0,
            needs_attention: false,
            is_large: false,
            state: State::Running(DuringRun::Nothing),
            data,
        }
    }

    /// Its flag was touched.
    fn start_over(&mut self, stamp: FlagStamp) {
        (self.stamp, self.failures) = (stamp, 0);
        (self.needs_attention, self.is_large) = (false, false);
    }
}

#[cfg(test)]
mod tests;
