//! The queue: which flags are known, in which order their sessions run, and when the next one is due.
//!
//! Pure: no clock, no tokio, no disk. The flags on disk are the durable queue; this is its index in memory, and
//! losing it costs one scan. One task owns it; everything else sends that task messages.
//!
//! A job is one flag, known by its path. Jobs of one session folder (two flags of different names) never run at
//! the same time.

pub(crate) mod folder_locks;
pub mod old_flags;
pub(crate) mod outage;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_client::text::printable;
use alyx_registration::flag::{FlagFile, FlagStamp};

/// The known flags and their jobs, each with a `T` that its owner keeps beside it.
///
/// - No flag is in it twice, and none runs twice at the same time.
/// - A job leaves only as [`Outcome::Done`] or [`Outcome::Gone`], or because its flag is removed.
/// - Seeing a known flag again changes nothing. A flag whose stamp has changed starts over: its failures are
///   forgotten, and if it is running it runs again.
/// - The earliest due runs first; of those due at the same time, the one that came first.
#[derive(Debug)]
pub struct Queue<T> {
    jobs: HashMap<PathBuf, Entry<T>>,
    /// Waiting jobs by due time; the number keeps the order of arrival.
    order: BTreeMap<(Instant, u64), PathBuf>,
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
    state: State,
    data: T,
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
    /// A newer flag was seen, which is due then.
    Touched(FlagStamp, Instant),
    Removed,
}

/// One run of one flag's session, to be given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The flag as it was last seen. Load it again before the run begins: it may have been touched since.
    pub flag: FlagFile,
    /// The session that its folder names.
    pub session: Result<SessionPath, SessionPathError>,
    /// Number of this attempt; 1 for the first since the flag appeared or changed.
    pub attempt: u32,
}

impl Job {
    /// The name of its session in logs: `subject/date/number`, or the folder.
    pub fn session_name(&self) -> String {
        session_name(&self.session, self.flag.session_folder())
    }
}

/// The name of a session in logs: `subject/date/number` where the folder is one of a session, the folder otherwise.
pub fn session_name(session: &Result<SessionPath, SessionPathError>, folder: &Path) -> String {
    session.as_ref().map_or_else(|_| printable(&folder.to_string_lossy()), ToString::to_string)
}

/// What [`Queue::enqueue`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// Not known before: queued.
    New,
    /// Known, and as it was: nothing changed. Its back-off goes on.
    Known,
    /// Waiting, but touched since: due as a new one, its failures forgotten.
    Touched,
    /// Running, and touched since the run began: it runs once more.
    RunsAgain,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is confirmed, and the flag is removed.
    Done,
    /// The flag changed during the run: run again. No failure.
    RunAgain {
        /// When.
        at: Instant,
    },
    /// Failed, and may go away by itself.
    Retry {
        /// When to try again.
        at: Instant,
    },
    /// Failed, and does not go away by itself. Touching the flag makes it run at once.
    NeedsAttention {
        /// When to try again all the same.
        at: Instant,
    },
    /// It could not be tried: the server is away, or refuses the login. Its failures stay as they were.
    PutOff {
        /// When to try it.
        at: Instant,
    },
    /// The flag was gone before anything was done.
    Gone,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time or for a worker. Includes the two below.
    pub waiting: usize,
    /// Waiting after a failure that may go away by itself.
    pub retrying: usize,
    /// Waiting after a failure that needs attention.
    pub needs_attention: usize,
    /// Being run by a worker.
    pub running: usize,
}

/// One job as it is now.
#[derive(Debug)]
pub struct JobStatus<'a, T> {
    /// The flag.
    pub path: &'a Path,
    /// The flag as it was last seen, or as it was when the run began.
    pub stamp: &'a FlagStamp,
    /// The session that its folder names.
    pub session: &'a Result<SessionPath, SessionPathError>,
    /// When it runs next; `None` while it is running.
    pub due: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the last failure needs attention.
    pub needs_attention: bool,
    /// What the owner of the queue keeps of it.
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
        Self { jobs: HashMap::new(), order: BTreeMap::new(), busy: HashSet::new(), arrivals: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds a flag that was seen on disk, or updates it. `due` is when it may run if it is new or changed: usually
    /// now, plus the time for which a session must be quiet. `data` is kept with a new one.
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
            State::Running(meanwhile) if entry.stamp == stamp => {
                if matches!(meanwhile, DuringRun::Removed) {
                    *meanwhile = DuringRun::Nothing;
                }
                Enqueued::Known
            }
            State::Running(DuringRun::Touched(seen, _)) if *seen == stamp => Enqueued::Known,
            State::Running(meanwhile) => {
                *meanwhile = DuringRun::Touched(stamp, due);
                Enqueued::RunsAgain
            }
            State::Waiting(..) if entry.stamp == stamp => Enqueued::Known,
            State::Waiting(..) => {
                (entry.stamp, entry.failures, entry.needs_attention) = (stamp, 0, false);
                self.make_due(&path, due);
                Enqueued::Touched
            }
        }
    }

    /// Removes a flag that is no longer on disk, and returns what was kept with it. A running job is left to its
    /// worker and leaves when it ends, however it ends.
    pub fn remove(&mut self, path: &Path) -> Option<T> {
        let entry = self.jobs.get_mut(path)?;
        match &mut entry.state {
            State::Running(meanwhile) => {
                *meanwhile = DuringRun::Removed;
                None
            }
            State::Waiting(due, arrival) => {
                self.order.remove(&(*due, *arrival));
                self.jobs.remove(path).map(|entry| entry.data)
            }
        }
    }

    /// Whether a job runs of which the flag is no longer on disk.
    pub fn is_removed(&self, path: &Path) -> bool {
        let entry = self.jobs.get(path);
        entry.is_some_and(|entry| matches!(entry.state, State::Running(DuringRun::Removed)))
    }

    /// When the next job is due. It may be in the past: then take it. `None` if nothing waits, or what waits
    /// cannot run before a running job ends.
    pub fn next_due(&self) -> Option<Instant> {
        self.first_free().map(|(due, _)| due)
    }

    /// Takes the next job that is due, if there is one. It runs until [`Queue::finish`].
    pub fn take_due(&mut self, now: Instant) -> Option<Job> {
        let key = self.first_free().filter(|(due, _)| *due <= now)?;
        let path = self.order.remove(&key)?;
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
    /// starts over. Returns what was kept with a job that leaves. Does nothing for a job that is not running.
    pub fn finish(&mut self, path: &Path, outcome: Outcome) -> Option<T> {
        let entry = self.jobs.get_mut(path)?;
        let State::Running(meanwhile) = entry.state else { return None };
        self.busy.remove(path.parent().unwrap_or(Path::new("")));
        let due = match (meanwhile, outcome) {
            (DuringRun::Touched(stamp, due), _) => {
                (entry.stamp, entry.failures, entry.needs_attention) = (stamp, 0, false);
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

    /// Makes every job that waits after a failure due now: the cause may have been fixed. Failures stay counted.
    pub fn retry_now(&mut self, now: Instant) {
        let mut waiting: Vec<_> = self.order.iter().map(|(key, path)| (*key, path.clone())).collect();
        waiting.retain(|((due, _), path)| {
            *due > now && self.jobs.get(path).is_some_and(|entry| entry.failures > 0)
        });
        for (_, path) in waiting {
            self.make_due(&path, now);
        }
    }

    /// Makes a waiting job due now. Its failures stay counted. Returns whether it was waiting.
    pub fn make_due_now(&mut self, path: &Path, now: Instant) -> bool {
        let waits = self.jobs.get(path).is_some_and(|entry| matches!(entry.state, State::Waiting(..)));
        if waits {
            self.make_due(path, now);
        }
        waits
    }

    /// Gives a waiting job the failures that it had before a restart, and the time for which it waited then.
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

    /// Every job, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = JobStatus<'_, T>> {
        self.jobs.iter().map(|(path, entry)| status(path, entry))
    }

    /// One job.
    pub fn job(&self, path: &Path) -> Option<JobStatus<'_, T>> {
        let (path, entry) = self.jobs.get_key_value(path)?;
        Some(status(path, entry))
    }

    /// What is kept with a job.
    pub fn data_mut(&mut self, path: &Path) -> Option<&mut T> {
        self.jobs.get_mut(path).map(|entry| &mut entry.data)
    }

    /// What is kept with each job, in no order.
    pub fn all_data_mut(&mut self) -> impl Iterator<Item = (&Path, &mut T)> {
        self.jobs.iter_mut().map(|(path, entry)| (path.as_path(), &mut entry.data))
    }

    /// Forgets the failures of a job. It stays due when it is.
    pub fn forget_failures(&mut self, path: &Path) {
        if let Some(entry) = self.jobs.get_mut(path) {
            (entry.failures, entry.needs_attention) = (0, false);
        }
    }

    /// The first waiting job whose session folder is not busy. At most as many are skipped as are running.
    fn first_free(&self) -> Option<(Instant, u64)> {
        let free = |path: &Path| path.parent().is_none_or(|folder| !self.busy.contains(folder));
        self.order.iter().find(|(_, path)| free(path)).map(|(key, _)| *key)
    }

    /// Puts a job in the order at `due`, behind those of the same time.
    fn make_due(&mut self, path: &Path, due: Instant) {
        let Some(entry) = self.jobs.get_mut(path) else { return };
        if let State::Waiting(old_due, old_arrival) = entry.state {
            self.order.remove(&(old_due, old_arrival));
        }
        self.arrivals += 1;
        entry.state = State::Waiting(due, self.arrivals);
        self.order.insert((due, self.arrivals), path.to_owned());
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
    /// Its state is set by [`Queue::make_due`].
    fn new(stamp: FlagStamp, session: Result<SessionPath, SessionPathError>, data: T) -> Self {
        Self {
            stamp,
            session,
            failures: 0,
            needs_attention: false,
            state: State::Running(DuringRun::Nothing),
            data,
        }
    }
}

#[cfg(test)]
mod tests;
