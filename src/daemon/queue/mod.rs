//! The queue: which flags are known, in which order their sessions run, and when the next one is due.
//!
//! Pure: no clock, no tokio, no disk. The flags on disk are the durable queue; this is its index in memory, and
//! losing it costs one scan. One task owns it, and everybody else sends that task messages.
//!
//! A job is one flag, known by its path. Jobs of one session folder (two flags of different names) never run at
//! the same time.

pub(crate) mod folder_locks;
pub mod old_flags;
pub(crate) mod outage;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use alyx_registration::flag::{FlagFile, FlagStamp};

/// The jobs of the daemon.
///
/// - No flag is in it twice, and none runs twice at the same time.
/// - A job leaves only as [`Outcome::Done`], [`Outcome::Gone`] or withdrawn.
/// - Seeing a known flag again changes nothing. A flag whose stamp has changed starts anew: its failures are
///   forgotten, and if it is running it runs again.
/// - The earliest due runs first; of those due at the same time, the one that came first.
#[derive(Debug, Default)]
pub struct Queue {
    jobs: HashMap<PathBuf, Entry>,
    /// Waiting jobs by due time; the number keeps the order of arrival.
    order: BTreeMap<(Instant, u64), PathBuf>,
    /// Session folders of running jobs.
    busy: HashSet<PathBuf>,
    hold: Option<Instant>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry {
    stamp: FlagStamp,
    since: Instant,
    failures: u32,
    /// The last run ended with [`Outcome::NeedsAttention`].
    needs_attention: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Instant, u64),
    Running(DuringRun),
}

/// What was told of a flag while its session runs.
#[derive(Debug, Clone, Copy)]
enum DuringRun {
    Nothing,
    /// A newer flag was sighted, which is due then.
    Touched(FlagStamp, Instant),
    Withdrawn,
}

/// One run of one flag's session, to be given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The flag as it was last sighted. Load it again before the run begins: it may have been touched since.
    pub flag: FlagFile,
    /// Number of this attempt; 1 for the first since the flag appeared or changed.
    pub attempt: u32,
}

/// What the sighting of a flag meant.
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
    /// Failed, and only a person can mend it. Touching the flag makes it run at once.
    NeedsAttention {
        /// When to look again all the same.
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
    /// Waiting after a failure that a person has to mend.
    pub needs_attention: usize,
    /// In the hands of a worker.
    pub running: usize,
}

/// One job as `status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobStatus<'a> {
    /// The flag.
    pub path: &'a Path,
    /// When it was first sighted.
    pub since: Instant,
    /// When it runs next; `None` while it is running.
    pub due: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the last failure needs attention.
    pub needs_attention: bool,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a flag that was seen on disk. `due` is when it may run if it is new or changed: usually now,
    /// plus the time for which a session must be quiet.
    pub fn sighted(&mut self, flag: FlagFile, now: Instant, due: Instant) -> Enqueued {
        let FlagFile { path, stamp } = flag;
        let Some(entry) = self.jobs.get_mut(&path) else {
            self.insert_waiting(path, Entry::new(stamp, now), due);
            return Enqueued::New;
        };
        match &mut entry.state {
            // A late rumour of the flag with which the run began takes back no newer one.
            State::Running(meanwhile) if entry.stamp == stamp => {
                if matches!(meanwhile, DuringRun::Withdrawn) {
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

    /// Takes note that a flag is no longer on disk. A waiting job is dropped. A running one is left to its worker, and
    /// dropped when it ends, however it ends. Returns whether the flag was known.
    pub fn withdrawn(&mut self, path: &Path) -> bool {
        let Some(entry) = self.jobs.get_mut(path) else {
            return false;
        };
        match &mut entry.state {
            State::Running(meanwhile) => *meanwhile = DuringRun::Withdrawn,
            State::Waiting(due, arrival) => {
                self.order.remove(&(*due, *arrival));
                self.jobs.remove(path);
            }
        }
        true
    }

    /// Whether a job runs of which the flag is no longer on disk.
    pub fn is_withdrawn(&self, path: &Path) -> bool {
        let entry = self.jobs.get(path);
        entry.is_some_and(|entry| matches!(entry.state, State::Running(DuringRun::Withdrawn)))
    }

    /// When the next job is due. It may lie in the past: then take it. `None` if nothing waits, or what waits
    /// cannot run before a running job ends.
    pub fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.first_free()?;
        Some(self.hold.map_or(due, |hold| hold.max(due)))
    }

    /// Takes the next job that is due, if there is one. It runs until [`Queue::finished`].
    pub fn take_due(&mut self, now: Instant) -> Option<Job> {
        if self.next_due()? > now {
            return None;
        }
        let key = self.first_free()?;
        let path = self.order.remove(&key)?;
        let entry = self.jobs.get_mut(&path)?;
        entry.state = State::Running(DuringRun::Nothing);
        let job =
            Job { attempt: entry.failures.saturating_add(1), flag: FlagFile { path, stamp: entry.stamp } };
        self.busy.insert(job.flag.session_folder().to_owned());
        Some(job)
    }

    /// Takes note of how the run of a job ended. A flag that was sighted with a new stamp during the run stays,
    /// whatever the outcome, and starts anew. Does nothing for a job that is not running.
    pub fn finished(&mut self, path: &Path, outcome: Outcome) {
        let Some(entry) = self.jobs.get_mut(path) else { return };
        let State::Running(meanwhile) = entry.state else { return };
        self.busy.remove(path.parent().unwrap_or(Path::new("")));
        let due = match (meanwhile, outcome) {
            (DuringRun::Touched(stamp, due), _) => {
                (entry.stamp, entry.failures, entry.needs_attention) = (stamp, 0, false);
                due
            }
            (DuringRun::Withdrawn, _) | (DuringRun::Nothing, Outcome::Done | Outcome::Gone) => {
                self.jobs.remove(path);
                return;
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
    }

    /// Holds every waiting job until a time: the server is away, and asking once for each session helps nobody.
    /// The later of two holds counts. Running jobs go on.
    pub fn hold_until(&mut self, until: Instant) {
        self.hold = Some(self.hold.map_or(until, |hold| hold.max(until)));
    }

    /// Ends a hold: the server has answered.
    pub fn release(&mut self) {
        self.hold = None;
    }

    /// Until when the jobs are held. It may lie in the past.
    pub fn held_until(&self) -> Option<Instant> {
        self.hold
    }

    /// Makes every job that waits after a failure due now: somebody mended something. Failures stay counted.
    pub fn retry_now(&mut self, now: Instant) {
        let mut waiting: Vec<_> = self.order.iter().map(|(key, path)| (*key, path.clone())).collect();
        waiting.retain(|((due, _), path)| {
            *due > now && self.jobs.get(path).is_some_and(|entry| entry.failures > 0)
        });
        for (_, path) in waiting {
            self.make_due(&path, now);
        }
    }

    /// Makes a waiting job due now: somebody asks for it. Its failures stay counted. Returns whether it was waiting.
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
    pub fn jobs(&self) -> impl Iterator<Item = JobStatus<'_>> {
        self.jobs.iter().map(|(path, entry)| status(path, entry))
    }

    /// One job.
    pub fn job(&self, path: &Path) -> Option<JobStatus<'_>> {
        let (path, entry) = self.jobs.get_key_value(path)?;
        Some(status(path, entry))
    }

    /// A waiting job starts anew, at the time at which it is due anyway.
    pub fn forget_failures(&mut self, path: &Path) {
        if let Some(entry) = self.jobs.get_mut(path) {
            (entry.failures, entry.needs_attention) = (0, false);
        }
    }

    /// The first waiting job whose session folder is not busy. At most as many are passed over as are running.
    fn first_free(&self) -> Option<(Instant, u64)> {
        let free = |path: &Path| path.parent().is_none_or(|folder| !self.busy.contains(folder));
        self.order.iter().find(|(_, path)| free(path)).map(|(key, _)| *key)
    }

    fn insert_waiting(&mut self, path: PathBuf, entry: Entry, due: Instant) {
        self.jobs.insert(path.clone(), entry);
        self.make_due(&path, due);
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

fn status<'a>(path: &'a Path, entry: &Entry) -> JobStatus<'a> {
    JobStatus {
        path,
        since: entry.since,
        due: match entry.state {
            State::Waiting(due, _) => Some(due),
            State::Running(_) => None,
        },
        failures: entry.failures,
        needs_attention: entry.needs_attention,
    }
}

impl Entry {
    /// Its state is set by [`Queue::make_due`].
    fn new(stamp: FlagStamp, now: Instant) -> Self {
        Self {
            stamp,
            since: now,
            failures: 0,
            needs_attention: false,
            state: State::Running(DuringRun::Nothing),
        }
    }
}

#[cfg(test)]
mod tests;
