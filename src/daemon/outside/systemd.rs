//! systemd: notifications about this daemon, and the watchdog interval (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager that started this program.
#[derive(Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
}

impl Systemd {
    /// The service manager's notification socket, if `NOTIFY_SOCKET` is set.
    pub fn find() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        Some(Self { watchdog: sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) })
    }

    /// The watchdog interval: without a ping within this time systemd restarts the daemon. `None`: no watchdog.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start or a reload is complete.
    pub(crate) fn ready(&self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A line for `systemctl status`.
    pub(crate) fn status(&self, status: &str) {
        self.notify(&[NotifyState::Status(status)]);
    }

    /// The configuration is being reloaded, until [`Systemd::ready`].
    pub(crate) fn reloading(&self) {
        // Newer versions require the start time of the reload; older ones ignore the field.
        match NotifyState::monotonic_usec_now() {
            Ok(since) => self.notify(&[NotifyState::Reloading, since]),
            Err(error) => tracing::debug!("systemd is not notified of the new configuration: {error}"),
        }
    }

    /// The daemon is alive and its queue makes progress.
    pub(crate) fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    /// The daemon is stopping as requested.
    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn notify(&self, what: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(what) {
            // Nothing here depends on it; systemd reports what it misses.
            tracing::debug!(?what, "systemd cannot be notified: {error}");
        }
    }
}
