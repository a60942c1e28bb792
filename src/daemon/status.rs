//! Status: what waits, what runs, and what needs attention and why. Shown by `status`, the page and the alerts.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::humanize::{bytes, count, elapsed, until};
use crate::ledger::{FollowRow, FollowState, GapRow, WaitingRow};
use alyx_registration::advice::FOLLOW_MESSAGE;
use alyx_registration::{NotLoadable, YieldCause, YieldState};

pub mod json;
pub mod sentence;

/// The number of past outcomes that a status shows.
pub const LAST_OUTCOMES: usize = 10;

/// The status of a running daemon, or of the state that a stopped one left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon; `None` if none is running.
    pub daemon: Option<DaemonStatus>,
    /// Who uses the state folder, if that process cannot be asked.
    #[serde(default)]
    pub unreachable: Option<String>,
    /// Without a daemon: why the ledger cannot be read, and what to do.
    #[serde(default)]
    pub unreadable_ledger: Option<String>,
    /// Without a daemon: the address of Alyx in the configuration.
    #[serde(skip)]
    pub configured_alyx: Option<String>,
    /// Every flag that is known, those that need attention first.
    pub sessions: Vec<SessionStatus>,
    /// What keeps flags from being seen or removed.
    #[serde(default)]
    pub obstacles: Vec<ObstacleStatus>,
    /// Sessions that were registered with gaps, until they are acknowledged.
    #[serde(default)]
    pub gaps: Vec<GapStatus>,
    /// Sessions that this and another program created at the same time, until they are acknowledged.
    #[serde(default)]
    pub created_twice: Vec<GapStatus>,
    /// What was verified; `None`: the daemon verifies nothing.
    #[serde(default)]
    pub verification: Option<VerificationStatus>,
    /// The copies in other repositories; `None`: they are not looked for.
    #[serde(default)]
    pub copies: Option<CopiesStatus>,
    /// Why ONE does not load what is registered, or not yet.
    #[serde(default)]
    pub not_loadable: Vec<NotLoadableStatus>,
}

impl Status {
    /// The address of Alyx, if known.
    pub fn alyx(&self) -> Option<&str> {
        self.daemon.as_ref().map(|daemon| daemon.alyx.as_str()).or(self.configured_alyx.as_deref())
    }

    /// Whether a daemon runs, and an operator has nothing to do.
    pub fn is_well(&self) -> bool {
        let is_left_alone =
            |session: &SessionStatus| !session.stale && session.state != SessionState::NeedsAttention;
        self.daemon
            .as_ref()
            .is_some_and(|daemon| daemon.login_refused_since.is_none() && daemon.md5.is_none())
            && self.sessions.iter().all(is_left_alone)
            && self.obstacles.is_empty()
            && self.gaps.is_empty()
            && self.created_twice.is_empty()
            && self.verification.is_none_or(|verification| verification.differing == 0)
            && self.copies.as_ref().is_none_or(CopiesStatus::is_well)
            && self.not_loadable.iter().all(NotLoadableStatus::is_intended)
    }
}

/// A running daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub since: Timestamp,
    /// The address of Alyx.
    pub alyx: String,
    /// Since when Alyx has not answered.
    pub away_since: Option<Timestamp>,
    /// Since when Alyx has refused the login.
    pub login_refused_since: Option<Timestamp>,
    /// From when on sessions that Alyx does not have are created; `None`: already.
    #[serde(default)]
    pub creations_from: Option<Timestamp>,
    /// Why the ledger is not in use, and what to do.
    pub ledger: Option<String>,
    /// Why the queue makes no progress. An outage of Alyx does not count as stuck.
    #[serde(default)]
    pub stuck: Option<String>,
    /// Why MD5 sums are computed in the slower way, and what to do.
    #[serde(default)]
    pub md5: Option<String>,
    /// The most bytes to read each second.
    #[serde(default)]
    pub max_read_rate: Option<u64>,
    /// How reading yields to other programs, while it does.
    #[serde(default)]
    pub yielding: Option<YieldState>,
    /// For how long it has yielded since the start, in seconds.
    #[serde(default)]
    pub yielded: u64,
}

impl DaemonStatus {
    /// The limit to what is read, in words.
    pub fn read_limit(&self) -> Option<String> {
        let yielding =
            self.yielding.filter(|yielding| self.max_read_rate.is_none_or(|max| yielding.rate < max));
        let rate = yielding.map(|yielding| yielding.rate).or(self.max_read_rate).map(bytes)?;
        let why = match yielding.map(|yielding| yielding.cause) {
            None => return Some(format!("At most {rate} of files are read each second (reading.max_rate).")),
            Some(YieldCause::Disk) => "other programs wait for the disk",
            Some(YieldCause::Processor) => "other programs wait for a processor",
            Some(YieldCause::SlowReads) => "the disk answers slowly",
        };
        Some(format!("At most {rate} of files are read each second, because {why} (reading.yield)."))
    }

    /// The most bytes to read each second, for whatever reason.
    pub fn read_rate_limit(&self) -> Option<u64> {
        self.yielding.map(|yielding| yielding.rate).into_iter().chain(self.max_read_rate).min()
    }
}

/// A problem on disk that keeps flags from being seen or removed until an operator fixes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObstacleStatus {
    /// The data root, as the configuration names it.
    pub root: String,
    /// When it was first seen; `None`: not known without a daemon.
    pub since: Option<Timestamp>,
    /// What it is and what to do.
    pub text: String,
}

/// A session that was registered with gaps, or created twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapStatus {
    /// `subject/date/number`.
    pub session: String,
    /// When it was registered or created.
    pub at: Timestamp,
    /// Its folder.
    pub folder: String,
    /// Its UUID on Alyx.
    pub eid: String,
    /// `near_miss`, `no_dataset`, `no_file`, `no_type` or `late_files`; `created_twice`.
    pub kind: String,
    /// What it lacks or which sessions there are, and what to do.
    pub text: String,
    /// The files concerned, relative to the session.
    pub files: Vec<String>,
}

impl GapStatus {
    /// The command that ends the report.
    pub fn acknowledge(&self) -> String {
        format!("alyx-registrar acknowledge {}", self.session)
    }
}

impl From<&GapRow> for GapStatus {
    fn from(row: &GapRow) -> Self {
        Self {
            session: row.session.clone(),
            at: row.at,
            folder: row.folder.to_string_lossy().into_owned(),
            eid: row.eid.clone(),
            kind: row.kind.clone(),
            text: row.text.clone(),
            files: row.files.clone(),
        }
    }
}

/// What the daemon has verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationStatus {
    /// Whether files are read now.
    pub running: bool,
    /// Files that were verified, also by `verify`.
    pub files: u64,
    /// Those of them that are not what Alyx holds.
    pub differing: u64,
    /// What was read since the start.
    pub bytes: u64,
    /// When the file was read that was verified longest ago.
    pub oldest: Option<Timestamp>,
}

/// The copies in other repositories that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesStatus {
    /// Sessions whose copies are not complete yet.
    pub waiting: u64,
    /// Sessions of which a copy differs, or cannot be compared.
    pub differing: u64,
    /// Sessions whose copies could not be looked at.
    pub failed: u64,
    /// Copies that Alyx was told of since the daemon started.
    pub confirmed: u64,
    /// What is wrong, the latest first.
    pub problems: Vec<CopyProblem>,
    /// Repositories whose disks cannot be looked at, with the reason.
    pub unavailable: Vec<String>,
}

impl CopiesStatus {
    /// Whether an operator has nothing to do.
    pub fn is_well(&self) -> bool {
        self.differing + self.failed == 0 && self.unavailable.is_empty()
    }
}

/// What is wrong with the copies of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProblem {
    /// `subject/date/number`.
    pub session: String,
    /// Its UUID on Alyx.
    pub eid: String,
    /// `differs` or `failed`.
    pub state: FollowState,
    /// What it is.
    pub text: String,
    /// Since when its copies are waited for.
    pub since: Timestamp,
}

impl From<FollowRow> for CopyProblem {
    fn from(row: FollowRow) -> Self {
        let FollowRow { session, eid, state, text, since, .. } = row;
        Self { session, eid, state, text, since }
    }
}

/// A reason why ONE does not load what is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotLoadableStatus {
    /// `no_repository`, `until_copied`, `no_address`, …
    pub reason: String,
    /// What it is.
    pub text: String,
    /// What to do.
    pub what_to_do: String,
}

impl NotLoadableStatus {
    /// Whether the configuration wants it so: other software copies the files later.
    pub fn is_intended(&self) -> bool {
        self.reason == "until_copied"
    }
}

impl From<&NotLoadable> for NotLoadableStatus {
    fn from(reason: &NotLoadable) -> Self {
        Self { reason: reason.kind().to_owned(), text: reason.to_string(), what_to_do: reason.advice() }
    }
}

/// The command that tries a session at once.
pub fn retry_command(session: &str) -> String {
    match session.contains(char::is_whitespace) {
        true => format!("alyx-registrar retry '{session}'"),
        false => format!("alyx-registrar retry {session}"),
    }
}

/// The name of this computer.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It needs an operator.
    NeedsAttention,
    /// It is being registered.
    Running,
    /// It failed and is tried again.
    Retrying,
    /// It waits for its first attempt.
    Waiting,
}

impl SessionState {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::NeedsAttention => "needs attention",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
        }
    }
}

/// One flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// `subject/date/number`, or the folder.
    pub session: String,
    /// The path of the flag; bytes that are not UTF-8 are replaced.
    pub flag: String,
    /// What it is doing.
    pub state: SessionState,
    /// When the flag was first seen.
    pub since: Timestamp,
    /// The flag's own time; `None` where it cannot be read.
    #[serde(default, rename = "put")]
    pub flagged_at: Option<Timestamp>,
    /// It is older than `watch.warn_after`.
    #[serde(default, rename = "old")]
    pub stale: bool,
    /// Failures in a row.
    pub failures: u32,
    /// When the next attempt starts.
    pub next: Option<Timestamp>,
    /// The kind of the last error.
    #[serde(default)]
    pub kind: Option<String>,
    /// The last error.
    pub error: Option<String>,
    /// What to do about it.
    pub next_step: Option<String>,
    /// How far the current run is.
    pub progress: Option<ProgressStatus>,
}

impl SessionStatus {
    /// What to do about the error, unless its message says so itself.
    pub fn advice(&self) -> Option<&str> {
        self.next_step.as_deref().filter(|next_step| *next_step != FOLLOW_MESSAGE)
    }

    /// The command that tries a session at once that needs attention.
    pub fn retry(&self) -> Option<String> {
        (self.state == SessionState::NeedsAttention).then(|| retry_command(&self.session))
    }

    /// The flag's own time, or else when it was first seen.
    pub fn known_at(&self) -> Timestamp {
        self.flagged_at.unwrap_or(self.since)
    }

    /// How long the session has waited, its failures, and when it is tried next.
    pub fn about(&self, now: Timestamp) -> Vec<String> {
        let mut about = vec![format!("for {}", elapsed(self.since, now))];
        if let Some(flagged_at) = self.flagged_at.filter(|_| self.stale) {
            about.push(format!("flagged {} ago", elapsed(flagged_at, now)));
        }
        if self.failures > 0 {
            about.push(count(self.failures.into(), "failure"));
        }
        match self.next {
            Some(next) if next <= now && self.state == SessionState::Waiting => {
                about.push("waits for its turn".to_owned());
            }
            Some(next) if self.failures == 0 && self.error.is_some() => {
                about.push(format!("next check {}", until(next, now)));
            }
            Some(next) if self.failures == 0 => about.push(format!("begins {}", until(next, now))),
            Some(next) => about.push(format!("next attempt {}", until(next, now))),
            None => {}
        }
        about
    }

    /// Order: those that need attention first; within each state the oldest flag first.
    pub fn in_order(a: &Self, b: &Self) -> Ordering {
        let key = |s: &Self| (s.state, s.known_at(), s.since);
        key(a).cmp(&key(b)).then_with(|| a.session.cmp(&b.session))
    }
}

/// How far a session's files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressStatus {
    /// Files to read.
    pub files: u64,
    /// Files read.
    pub files_done: u64,
    /// Bytes to read.
    pub bytes: u64,
    /// Bytes read.
    pub bytes_done: u64,
    /// Until when the session is not created, because an earlier request may still create it.
    #[serde(default)]
    pub creation_waits_until: Option<Timestamp>,
}

impl ProgressStatus {
    /// In words.
    pub fn text(&self, now: Timestamp) -> String {
        if let Some(then) = self.creation_waits_until {
            return format!(
                "waits, because an earlier request may still create this session; creates the session {} at the latest",
                until(then, now)
            );
        }
        match self.files {
            0 => "listing its files".to_owned(),
            files if self.files_done >= files => {
                format!("{} read, {}; registering on Alyx", count(files, "file"), bytes(self.bytes_done))
            }
            files => {
                let (done, all) = (bytes(self.bytes_done), bytes(self.bytes));
                format!("{} of {files} files read, {done} of {all}", self.files_done)
            }
        }
    }
}

impl From<WaitingRow> for SessionStatus {
    fn from(row: WaitingRow) -> Self {
        Self {
            session: row.session,
            flag: row.flag.to_string_lossy().into_owned(),
            state: if row.needs_attention { SessionState::NeedsAttention } else { SessionState::Retrying },
            since: row.since,
            flagged_at: None,
            stale: false,
            failures: row.failures,
            next: Some(row.next),
            kind: row.kind,
            error: Some(row.error),
            next_step: Some(row.next_step),
            progress: None,
        }
    }
}

/// Example statuses for the tests of the terminal, the page and the alerts.
#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// A time, in seconds after the start of the daemon.
    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    pub(crate) fn daemon() -> DaemonStatus {
        DaemonStatus {
            pid: 7,
            version: "0.1.0".into(),
            since: at(0),
            alyx: "https://alyx.example.org".into(),
            ..DaemonStatus::default()
        }
    }

    /// A session that failed because its subject is missing, or one whose files are being read.
    pub(crate) fn session(state: SessionState) -> SessionStatus {
        let failed = matches!(state, SessionState::NeedsAttention | SessionState::Retrying);
        let progress = ProgressStatus {
            files: 300,
            files_done: 12,
            bytes: 200_000_000_000,
            bytes_done: 5_000_000,
            creation_waits_until: None,
        };
        SessionStatus {
            session: "KS014/2024-05-01/001".into(),
            flag: "/data/KS014/2024-05-01/001/create_me.flag".into(),
            state,
            since: at(0),
            flagged_at: Some(at(0)),
            stale: false,
            failures: if failed { 3 } else { 0 },
            next: (state != SessionState::Running).then(|| at(7260)),
            kind: failed.then(|| "Missing".into()),
            error: failed.then(|| "Alyx does not know subject \"KS014\"".into()),
            next_step: failed.then(|| "create it on Alyx".into()),
            progress: (state == SessionState::Running).then_some(progress),
        }
    }
}
