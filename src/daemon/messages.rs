//! Messages to and from a running daemon: requests and commands in, answers and reports out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::daemon::options::Options;
use crate::daemon::queue::Outcome;
use crate::daemon::run_loop::worker::Attempt;
use crate::daemon::status::Status;
use crate::daemon::watch::ScanSummary;
use crate::ledger::{Acknowledged, GapChange, GapRow};
use alyx_registration::RegistrationClient;

/// A request to the daemon over the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The state of the daemon and its sessions.
    Status,
    /// Try a session at once, or all that wait.
    Retry {
        /// `subject/date/number`, or the folder.
        session: Option<String>,
    },
    /// Forget what the ledger remembers of a session. Its flag stays.
    Forget {
        /// `subject/date/number`, or the folder.
        session: String,
    },
    /// Report gaps no longer.
    Acknowledge(Acknowledged),
    /// Take in what a command has found of gaps, and of sessions that were created twice.
    Gaps(Vec<GapChange>),
}

/// The daemon's answer to a [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The state of the daemon and its sessions.
    Status(Box<Status>),
    /// Done; the number of sessions or ledger rows.
    Done(usize),
    /// Refused, with the reason.
    Refused(String),
}

/// A request, and the channel for its answer.
pub type PendingRequest = (Request, oneshot::Sender<Answer>);

/// Sends requests from within this program.
#[derive(Debug, Clone)]
pub struct StatusClient(mpsc::UnboundedSender<PendingRequest>);

impl StatusClient {
    pub(crate) fn new(requests: mpsc::UnboundedSender<PendingRequest>) -> Self {
        Self(requests)
    }

    /// The status of the daemon. `None`: no answer within this time.
    pub async fn status(&self, within: Duration) -> Option<Status> {
        match tokio::time::timeout(within, self.ask(Request::Status)).await {
            Ok(Some(Answer::Status(status))) => Some(*status),
            _ => None,
        }
    }

    /// `None`: the daemon has stopped.
    pub(crate) async fn ask(&self, request: Request) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((request, sender)).ok()?;
        answer.await.ok()
    }
}

/// A command to a running daemon.
#[derive(Debug)]
pub enum Command {
    /// Scan all data roots now.
    Rescan,
    /// The configuration is being read again; [`Command::Change`] or [`Command::Refused`] follows.
    Reloading,
    /// Use a new configuration.
    Change(Box<Change>),
    /// Keep the current configuration: the new one is invalid, which has been logged.
    Refused,
}

/// A new configuration for a running daemon.
#[derive(Debug)]
pub struct Change {
    /// Made with [`RegistrationClient::in_place_of`] the one in use.
    pub client: RegistrationClient,
    /// All options; the daemon keeps its current ledger.
    pub options: Options,
    /// What has changed, in words.
    pub what: String,
}

/// What the daemon reports to the program that embeds it.
#[derive(Debug)]
pub enum Report {
    /// A root has been scanned; its flags are in the queue.
    Scanned(ScanSummary),
    /// A run of a session ended.
    Attempt {
        /// The result of the run.
        attempt: Attempt,
        /// What it means for its flag.
        outcome: Outcome,
        /// What the session lacks, if it was registered with gaps.
        gap: Option<Box<GapRow>>,
        /// The wait before the next run, if there is one.
        again_in: Option<Duration>,
    },
}
