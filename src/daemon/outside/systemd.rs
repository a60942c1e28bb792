//! systemd: what it is told of this daemon, and how often it wants to hear that the daemon makes progress
//! (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

/// The systemd that started this program.
#[derive(Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Whoever started this program, if he wants to be told (`NOTIFY_SOCKET`).
    pub fn find() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        Some(Self { watchdog: sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) })
    }

    /// Without a sign of life within this time it starts the daemon anew. `None`: it waits for none.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start, or the reading of a new configuration, is over.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A line for `systemctl status`.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// The configuration is being read again, until [`Systemd::ready`].
    pub(crate) fn reloading(&self) {
        // Newer versions want to know when it began; those that do not know the field pass over it.
        match NotifyState::monotonic_usec_now() {
            Ok(since) => self.tell(&[NotifyState::Reloading, since]),
            Err(error) => tracing::debug!("systemd is not told of the new configuration: {error}"),
        }
    }

    /// The daemon is alive and its queue makes progress.
    pub(crate) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The daemon ends because it was asked to.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn tell(&self, what: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(what) {
            // Nothing depends on it here; systemd itself says what it misses.
            tracing::debug!(?what, "systemd cannot be told: {error}");
        }
    }
}
