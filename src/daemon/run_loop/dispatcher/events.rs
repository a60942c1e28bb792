//! Events of the run loop, and their effects.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::daemon::messages::{Answer, Command, Report, Request};
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::Job;
use crate::daemon::run_loop::credentials::{CredentialCheck, CredentialSource};
use crate::daemon::run_loop::follow_pass::{EndedPass, FollowPass};
use crate::daemon::run_loop::late_look::{EndedLook, Look};
use crate::daemon::run_loop::loadability::Place;
use crate::daemon::run_loop::worker::Attempt;
use crate::daemon::tree::root::FolderStamp;
use crate::daemon::verification::VerifyEnded;
use crate::daemon::watch::WatchEvent;
use alyx_registration::{AcceptedGaps, MissingName, NotLoadable, Progress};
use std::path::PathBuf;

/// Something that happened to the daemon.
#[derive(Debug)]
pub(crate) enum Event {
    /// An event of the watcher.
    Watch(WatchEvent),
    /// A task ended.
    TaskDone(Completed),
    /// A request; answer it under this number.
    Request(u64, Request),
    /// A command.
    Command(Command),
    /// The time of [`Dispatcher::next_wake`](super::Dispatcher::next_wake) has come.
    Tick,
}

/// The result of a task, and the generation of the configuration under which it began.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) generation: u64,
    pub(crate) result: TaskResult,
}

/// The result of a task.
#[derive(Debug)]
pub(crate) enum TaskResult {
    /// A run of a session ended.
    Attempt(Box<Attempt>),
    /// [`Query::Probe`] was answered.
    Probed(Result<(), alyx_client::Error>),
    /// [`Query::CheckCredentials`] was answered.
    CredentialsChecked(Box<CredentialSource>, CredentialCheck),
    /// [`Query::FindNames`] was answered: Alyx now knows these.
    NamesFound(Vec<MissingName>),
    /// [`Query::Loadability`] was answered, or not.
    Loadability(Option<Vec<NotLoadable>>),
    /// [`Effect::CheckFolders`] ended in this data root: the session folders of these flags have changed.
    FoldersChanged(PathBuf, Vec<PathBuf>),
    /// [`Effect::Look`] ended.
    Looked(Box<EndedLook>),
    /// [`Effect::Verify`] ended.
    Verified(Box<VerifyEnded>),
    /// [`Effect::Follow`] ended.
    Followed(Box<EndedPass>),
}

/// Something for the shell of the run loop to do. Effects are carried out in order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Run a job on a task of its own.
    Start {
        /// The generation to report with the result.
        generation: u64,
        job: Job,
        progress: Arc<Progress>,
        accepted_gaps: AcceptedGaps,
        /// The size in bytes from which the session is to wait for another place.
        at_most: Option<u64>,
    },
    /// Query Alyx on a task of its own.
    Query(u64, Query),
    /// Look on a task of its own whether these folders of a data root, given by flag, have changed.
    CheckFolders(u64, PathBuf, Vec<(PathBuf, FolderStamp)>),
    /// Look for late files on a task of its own.
    Look(u64, Look),
    /// Verify what was not verified since then, on a task of its own, until the token is cancelled.
    Verify(u64, Timestamp, CancellationToken),
    /// Look for copies in other repositories on a task of its own.
    Follow(u64, FollowPass),
    /// Write to the ledger.
    Write(LedgerEntry),
    /// Forget a session in the ledger, and answer this request with the number of rows.
    Forget(u64, String),
    /// Send a report.
    Report(Report),
    /// Notify systemd.
    Notify(Notification),
    /// Answer the request of this number.
    Answer(u64, Answer),
    /// Apply the new configuration to tasks that start from now on.
    Reconfigure {
        /// The previous worker limit.
        earlier_workers: usize,
    },
    /// Replace the watcher by one with the new options. These flags are known.
    Rewatch(Vec<PathBuf>),
    /// Scan all roots.
    Rescan,
}

/// A query to Alyx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Does the server answer?
    Probe,
    /// Is the login accepted? Checked if the secret has changed, or in any case.
    CheckCredentials {
        /// Whether to try the login even if the secret is unchanged.
        force: bool,
    },
    /// Which of these names does Alyx know?
    FindNames(Vec<MissingName>),
    /// Why does ONE not load files of these labs, each in its place?
    Loadability(Vec<Place>),
}

/// A notification for systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    /// The start or a reload is over; with the status line.
    Ready(String),
    /// The status line.
    Status(String),
    /// A reload begins.
    Reloading,
    /// The queue makes progress.
    Alive,
}
