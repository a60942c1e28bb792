//! Messages: what a running daemon is asked and ordered, and what it answers and reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::daemon::options::Options;
use crate::daemon::queue::Outcome;
use crate::daemon::run_loop::worker::Attempt;
use crate::daemon::status::Status;
use crate::daemon::watch::ScanSummary;
use alyx_registration::RegistrationClient;

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What it is doing.
    Status,
    /// Sessions are to be tried at once: this one, or all that wait.
    Retry {
        /// `subject/date/number`, or the folder.
        session: Option<String>,
    },
    /// What is remembered of a session is to be forgotten. Its flag stays.
    Forget {
        /// `subject/date/number`, or the folder.
        session: String,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it is doing.
    Status(Box<Status>),
    /// Done, for so many sessions or lines.
    Done(usize),
    /// It cannot be done, and why.
    Refused(String),
}

/// A question, and where the answer goes.
pub type Question = (Request, oneshot::Sender<Answer>);

/// Sends requests from within this program.
#[derive(Debug, Clone)]
pub struct StatusClient(mpsc::UnboundedSender<Question>);

impl StatusClient {
    pub(crate) fn new(requests: mpsc::UnboundedSender<Question>) -> Self {
        Self(requests)
    }

    /// What the daemon is doing. `None`: it does not answer within this time.
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

/// What a running daemon is told to do.
#[derive(Debug)]
pub enum Command {
    /// To scan all data roots now.
    Rescan,
    /// Nothing yet: the configuration is being read again. [`Command::Change`] or [`Command::Refused`] follows.
    Reloading,
    /// To go by a new configuration.
    Change(Box<Change>),
    /// To go on as before: the new configuration cannot be used, and that has been logged.
    Refused,
}

/// A new configuration for a running daemon.
#[derive(Debug)]
pub struct Change {
    /// Made with [`RegistrationClient::in_place_of`] the one in use.
    pub client: RegistrationClient,
    /// All of them; the ledger alone stays what it is.
    pub options: Options,
    /// What is different, in words.
    pub what: String,
}

/// What the daemon tells whoever runs it inside another program.
#[derive(Debug)]
pub enum Report {
    /// A root has been scanned; its flags are in the queue.
    Scanned(ScanSummary),
    /// A run of a session ended.
    Attempt {
        /// How.
        attempt: Attempt,
        /// What it means for its flag.
        outcome: Outcome,
        /// When it runs again, if it does.
        again_in: Option<Duration>,
    },
}
