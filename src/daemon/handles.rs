//! DaemonIo: the channels into and out of a running daemon.

use tokio::sync::mpsc;

use crate::daemon::messages::{Command, Question, Report, StatusClient};
use crate::daemon::outside::control::Control;
use crate::daemon::outside::systemd::Systemd;

/// The channels into and out of a running daemon. Each is optional.
#[derive(Debug)]
pub struct DaemonIo {
    /// Receives what happens. It must be read: the channel is unbounded.
    pub reports: Option<mpsc::UnboundedSender<Report>>,
    /// Commands from signals and reloads.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// The socket for `status`, `retry` and `forget`.
    pub control: Option<Control>,
    /// Requests from within this program.
    pub questions: Questions,
    /// The service manager that started the program, if it wants notifications.
    pub systemd: Option<Systemd>,
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

/// The requests that wait for an answer.
#[derive(Debug)]
pub struct Questions {
    pub(crate) client: StatusClient,
    pub(crate) waiting: mpsc::UnboundedReceiver<Question>,
}

impl Default for Questions {
    fn default() -> Self {
        let (sender, waiting) = mpsc::unbounded_channel();
        Self { client: StatusClient::new(sender), waiting }
    }
}

impl Questions {
    /// A handle to send requests with.
    pub fn client(&self) -> StatusClient {
        self.client.clone()
    }
}
