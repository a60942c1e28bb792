//! Reporting: the state behind log lines, ledger entries and systemd notifications.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::daemon::clock::Moment;
use crate::daemon::log_throttle::LogThrottle;
use crate::daemon::outside::obstacles::Obstacles;
use crate::daemon::queue::Counts;
use crate::daemon::run_loop::dispatcher::config::Config;
use crate::daemon::run_loop::dispatcher::events::Notification;
use crate::daemon::run_loop::dispatcher::pauses::Pauses;
use crate::daemon::run_loop::dispatcher::watchdog::Watchdog;
use crate::daemon::watch::RootOptions;
use crate::humanize::count;

/// How soon a line with the same cause is logged again.
pub(crate) const REPORT_AGAIN: Duration = Duration::from_secs(3600);
/// The watchdog interval when systemd wants no pings.
const PING_WITHIN: Duration = Duration::from_secs(120);
/// How long the start waits for the first scan of every root; a network drive may never answer.
const SCANNED_WITHIN: Duration = Duration::from_secs(60);
/// The shortest time between two changes of the status line.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// What was reported, and what to report next.
#[derive(Debug)]
pub(crate) struct Reporting {
    /// Whether events are written to a ledger.
    pub(crate) has_ledger: bool,
    pub(crate) throttle: LogThrottle,
    pub(crate) obstacles: Obstacles,
    /// The number of data roots whose disks do not answer.
    pub(crate) hanging: usize,
    pub(crate) started: Timestamp,
    /// Why the queue makes no progress.
    pub(crate) stuck: Option<&'static str>,
    watchdog: Watchdog,
    /// `None` without systemd.
    status: Option<StatusLine>,
    /// Whether systemd expects pings.
    wants_pings: bool,
}

/// The status line of `systemctl status`.
#[derive(Debug)]
struct StatusLine {
    /// `Some` until the start is over.
    starting: Option<Starting>,
    /// The line last sent to systemd.
    sent: String,
    is_dirty: bool,
    /// The earliest time of the next change.
    send_at: Instant,
}

#[derive(Debug)]
struct Starting {
    /// Roots that are neither scanned nor found unavailable yet.
    roots: HashSet<PathBuf>,
    until: Instant,
}

impl Reporting {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            has_ledger: false,
            throttle: LogThrottle::new(REPORT_AGAIN),
            obstacles: Obstacles::default(),
            hanging: 0,
            started: now.wall,
            stuck: None,
            watchdog: Watchdog::new(PING_WITHIN, now.instant),
            status: None,
            wants_pings: false,
        }
    }

    /// systemd started the program. With a watchdog, it restarts the program without a ping within `watchdog`.
    pub(crate) fn notify_systemd(
        &mut self,
        watchdog: Option<Duration>,
        roots: impl IntoIterator<Item = PathBuf>,
        now: Instant,
    ) {
        self.wants_pings = watchdog.is_some();
        if let Some(within) = watchdog {
            self.watchdog = Watchdog::new(within, now);
        }
        self.status = Some(StatusLine {
            starting: Some(Starting { roots: roots.into_iter().collect(), until: now + SCANNED_WITHIN }),
            sent: String::new(),
            is_dirty: true,
            send_at: now,
        });
    }

    /// When there is something to report or to check.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let status = self.status.as_ref().and_then(|status| match &status.starting {
            Some(starting) => Some(starting.until),
            None => status.is_dirty.then_some(status.send_at),
        });
        [Some(self.watchdog.next()), status].into_iter().flatten().min()
    }

    /// An event may change the status line.
    pub(crate) fn mark_status_dirty(&mut self) {
        if let Some(status) = &mut self.status {
            status.is_dirty = true;
        }
    }

    /// Whether systemd has been notified that the start is over.
    pub(crate) fn has_started(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.starting.is_none())
    }

    /// A root was scanned for the first time, or found unavailable.
    pub(crate) fn root_seen(&mut self, root: &Path) {
        if let Some(starting) = self.status.as_mut().and_then(|status| status.starting.as_mut()) {
            starting.roots.remove(root);
        }
    }

    /// The roots have changed: the start no longer waits for those that were removed.
    pub(crate) fn roots_changed(&mut self, roots: &[RootOptions]) {
        if let Some(starting) = self.status.as_mut().and_then(|status| status.starting.as_mut()) {
            starting.roots.retain(|waited| roots.iter().any(|root| root.path == *waited));
        }
    }

    /// The end of the start, or a changed status line.
    pub(crate) fn status_notification(
        &mut self,
        line: impl Fn(&Self) -> String,
        now: Instant,
    ) -> Option<Notification> {
        let status = self.status.as_ref()?;
        if let Some(starting) = &status.starting {
            if !starting.roots.is_empty() && starting.until > now {
                return None;
            }
            for root in &starting.roots {
                tracing::warn!(root = %root.display(), "still scanning this data root; the others are in service");
            }
            return self.ready_notification(line, true);
        }
        if !status.is_dirty || status.send_at > now {
            return None;
        }
        let line = line(self);
        let status = self.status.as_mut()?;
        (status.is_dirty, status.send_at) = (false, now + STATUS_EVERY);
        if line == status.sent {
            return None;
        }
        status.sent.clone_from(&line);
        Some(Notification::Status(line))
    }

    /// The end of a reload, or of the start.
    pub(crate) fn ready_notification(
        &mut self,
        line: impl Fn(&Self) -> String,
        is_start: bool,
    ) -> Option<Notification> {
        let line = line(self);
        let status = self.status.as_mut()?;
        if is_start {
            (status.starting, status.is_dirty) = (None, false);
        }
        status.sent.clone_from(&line);
        Some(Notification::Ready(line))
    }

    /// Whether a progress check is due.
    pub(crate) fn is_check_due(&self, now: Instant) -> bool {
        self.watchdog.next() <= now
    }

    /// Checks that what is due starts. Returns a ping if it does.
    pub(crate) fn check_progress(&mut self, due_but_not_started: bool, now: Instant) -> Option<Notification> {
        let turns = self.watchdog.check(due_but_not_started, now);
        if !turns && self.stuck.is_none() && self.throttle.should_log("stuck", now) {
            if self.wants_pings {
                tracing::error!(
                    "the queue is stuck: due work does not start. systemd will restart this program; nothing is lost"
                );
            } else {
                tracing::error!(
                    "the queue is stuck: due work does not start. Restart this program; nothing is lost"
                );
            }
        }
        self.stuck = (!turns).then_some("due work does not start");
        (turns && self.wants_pings).then_some(Notification::Alive)
    }

    /// The line of `systemctl status`.
    pub(crate) fn status_line(
        &self,
        counts: Counts,
        gaps: usize,
        pauses: &Pauses,
        config: &Config,
    ) -> String {
        let local = |time: Timestamp| time.to_zoned(TimeZone::system()).strftime("%F %H:%M").to_string();
        let mut line = in_words(counts);
        match (pauses.login_refused, pauses.away_since) {
            (Some(refused), _) => {
                let lacks = config.client.alyx().lacks_credentials().is_some();
                let what = if lacks { "no password or token" } else { "login refused" };
                line += &format!("; all wait: {what} since {}", local(refused.since));
            }
            (None, Some(since)) => {
                line += &format!("; all wait: Alyx has not answered since {}", local(since))
            }
            (None, None) => {}
        }
        if gaps > 0 {
            line += &format!("; {} registered with gaps", count(gaps as u64, "session"));
        }
        match self.obstacles.count() + self.hanging {
            0 => {}
            1 => line += "; 1 obstacle on disk, see alyx-registrar status",
            n => line += &format!("; {n} obstacles on disk, see alyx-registrar status"),
        }
        if let Some(since) = config.refused_since {
            line +=
                &format!("; the configuration of {} is refused, the previous one is in effect", local(since));
        }
        line
    }
}

/// The prefix of all causes of a flag's failures in the log throttle.
pub(crate) fn cause_prefix(path: &Path) -> String {
    format!("{}\n", path.display())
}

/// The number of sessions in each state, in words.
fn in_words(counts: Counts) -> String {
    let waiting = counts.waiting - counts.needs_attention.min(counts.waiting);
    let need = if counts.needs_attention == 1 { "needs" } else { "need" };
    format!("{waiting} waiting, {} running, {} {need} attention", counts.running, counts.needs_attention)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_counts_no_session_twice() {
        let counts = Counts { waiting: 5, retrying: 1, needs_attention: 2, running: 1 };
        assert_eq!(in_words(counts), "3 waiting, 1 running, 2 need attention");
        assert_eq!(in_words(Counts::default()), "0 waiting, 0 running, 0 need attention");
        let one = Counts { waiting: 1, needs_attention: 1, ..Counts::default() };
        assert_eq!(in_words(one), "0 waiting, 0 running, 1 needs attention");
    }
}
