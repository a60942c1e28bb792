//! DaemonIo: the channels into and out of a running daemon.

use tokio::sync::mpsc;

use crate::daemon::messages::{Command, PendingRequest, Report, StatusClient};
use crate::daemon::outside::control::Control;
use crate::daemon::outside::systemd::Systemd;

/// The channels into and out of a running daemon. Each is optional.
#[derive(Debug)]
pub struct DaemonIo {
    /// Reports of the daemon. Must be drained: the channel is unbounded.
    pub reports: Option<mpsc::UnboundedSender<Report>>,
    /// Commands from signals and reloads.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// The socket for `status`, `retry` and `forget`.
    pub control: Option<Control>,
    /// Requests from within this program.
    pub requests: Requests,
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
            requests: Requests::default(),
            systemd: None,
        }
    }
}

/// The channel for requests from within this program.
#[derive(Debug)]
pub struct Requests {
    pub(crate) client: StatusClient,
    pub(crate) waiting: mpsc::UnboundedReceiver<PendingRequest>,
}

impl Default for Requests {
    fn default() -> Self {
        let (sender, waiting) = mpsc::unbounded_channel();
        Self { client: StatusClient::new(sender), waiting }
    }
}

impl Requests {
    /// A handle for sending requests.
    pub fn client(&self) -> StatusClient {
        self.client.clone()
    }
}
