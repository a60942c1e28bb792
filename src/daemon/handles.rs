//! DaemonIo: by what the running daemon is reached, and whom it tells what happens.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::daemon::options::Options;
use crate::daemon::outside::control::{Answer, Control, Question, Request};
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::run_loop::Report;
use crate::daemon::status::Status;
use alyx_registration::RegistrationClient;

/// By what the running daemon is reached. Each is open or not; none is needed.
#[derive(Debug)]
pub struct DaemonIo {
    /// Hears what happens. It must be read: what is not read is kept.
    pub reports: Option<mpsc::UnboundedSender<Report>>,
    /// What it is told to do.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// The socket for `status`, `retry` and `forget`.
    pub control: Option<Control>,
    /// Questions from within this program.
    pub questions: Questions,
    /// Who started the program, and wants to be told how it is.
    pub systemd: Option<Systemd>,
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
    /// To go on as before: the new configuration cannot be used, and that has been told.
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

impl Default for DaemonIo {
    /// All closed.
    fn default() -> Self {
        Self {
            reports: None,
            commands: mpsc::unbounded_channel().1,
            control: None,
            questions: Questions::default(),
            systemd: None,
        }
    }
}

/// The questions that wait for the service.
#[derive(Debug)]
pub struct Questions {
    pub(crate) asker: StatusClient,
    pub(crate) waiting: mpsc::UnboundedReceiver<Question>,
}

impl Default for Questions {
    fn default() -> Self {
        let (sender, waiting) = mpsc::unbounded_channel();
        Self { asker: StatusClient(sender), waiting }
    }
}

impl Questions {
    /// For somebody who wants to ask.
    pub fn asker(&self) -> StatusClient {
        self.asker.clone()
    }
}

/// Asks the service from within this program.
#[derive(Debug, Clone)]
pub struct StatusClient(mpsc::UnboundedSender<Question>);

impl StatusClient {
    /// What the daemon is doing. `None`: it does not answer within this time.
    pub async fn status(&self, within: Duration) -> Option<Status> {
        match tokio::time::timeout(within, self.ask(Request::Status)).await {
            Ok(Some(Answer::Status(status))) => Some(*status),
            _ => None,
        }
    }

    /// `None`: the service is gone.
    pub(crate) async fn ask(&self, request: Request) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((request, sender)).ok()?;
        answer.await.ok()
    }
}
