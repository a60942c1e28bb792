//! What systemd is told of the service: that it has started, what it is doing, and that its queue makes progress.
//! Whoever asks for the status hears of the last as well.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::daemon::clock::Moment;
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::queue::Counts;
use crate::daemon::run_loop::watchdog::ProgressSample;
use crate::daemon::run_loop::{LONGEST_STEP, Service};

/// So long the start waits for the first scan of every root; a network drive may never answer.
const SCANNED_WITHIN: Duration = Duration::from_secs(60);
/// How soon the line of `systemctl status` may change again.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// What systemd knows.
#[derive(Debug)]
pub(crate) struct StatusReporter {
    systemd: Systemd,
    /// While it starts: the roots that have not been on_credentials_checked at.
    starting: Option<Starting>,
    /// The line that was told last.
    said: String,
    /// Something has happened since.
    mark_status_dirty: bool,
    /// When the line may change again.
    say_at: Instant,
}

#[derive(Debug)]
struct Starting {
    roots: HashSet<PathBuf>,
    until: Instant,
}

impl StatusReporter {
    pub(crate) fn new(systemd: Systemd, roots: impl IntoIterator<Item = PathBuf>, now: Instant) -> Self {
        Self {
            systemd,
            starting: Some(Starting { roots: roots.into_iter().collect(), until: now + SCANNED_WITHIN }),
            said: String::new(),
            mark_status_dirty: true,
            say_at: now,
        }
    }

    /// When there is something to tell if nothing happens before.
    pub(crate) fn next(&self) -> Option<Instant> {
        let start = self.starting.as_ref().map(|starting| starting.until);
        let say = (self.starting.is_none() && self.mark_status_dirty).then_some(self.say_at);
        [start, say].into_iter().flatten().min()
    }

    pub(crate) fn stopping(&self) {
        self.systemd.stopping();
    }
}

impl Service {
    /// Something has happened that may change what is told.
    pub(crate) fn mark_status_dirty(&mut self) {
        if let Some(status_reporter) = &mut self.status_reporter {
            status_reporter.mark_status_dirty = true;
        }
    }

    /// A root has been on_credentials_checked at for the first time: scanned, or found away.
    pub(crate) fn root_seen(&mut self, root: &std::path::Path) {
        if let Some(starting) =
            self.status_reporter.as_mut().and_then(|status_reporter| status_reporter.starting.as_mut())
        {
            starting.roots.remove(root);
        }
    }

    /// Other roots are watched: the start does not wait for those that are no longer among them.
    pub(crate) fn roots_changed(&mut self) {
        let roots = &self.options.roots;
        if let Some(starting) =
            self.status_reporter.as_mut().and_then(|status_reporter| status_reporter.starting.as_mut())
        {
            starting.roots.retain(|waited| roots.iter().any(|root| root.path == *waited));
        }
    }

    /// Tells systemd what it does not know. The last step of each turn of the loop.
    pub(crate) fn tell_systemd(&mut self, now: Moment) {
        let Some(mut status_reporter) = self.status_reporter.take() else { return };
        if let Some(starting) = &status_reporter.starting
            && (starting.roots.is_empty() || starting.until <= now.instant)
        {
            for root in &starting.roots {
                tracing::warn!(root = %root.display(), "still looking through this data root; the others are served");
            }
            status_reporter.starting = None;
            status_reporter.said = self.summary();
            status_reporter.mark_status_dirty = false;
            status_reporter.systemd.ready(&status_reporter.said);
        }
        if status_reporter.starting.is_none()
            && status_reporter.mark_status_dirty
            && status_reporter.say_at <= now.instant
        {
            let summary = self.summary();
            if summary != status_reporter.said {
                status_reporter.systemd.status(&summary);
                status_reporter.said = summary;
            }
            (status_reporter.mark_status_dirty, status_reporter.say_at) = (false, now.instant + STATUS_EVERY);
        }
        self.status_reporter = Some(status_reporter);
    }

    /// Looks now and then whether the queue makes progress. The very last step of each turn of the loop.
    pub(crate) fn check_progress(&mut self, now: Moment) {
        if self.watchdog.next() > now.instant {
            return;
        }
        let patience = LONGEST_STEP + 2 * self.client.alyx().request_timeout();
        let verdict = self.watchdog.look(self.sight(now.instant), patience, now.instant);
        let watchdog = self
            .status_reporter
            .as_ref()
            .map(|status_reporter| &status_reporter.systemd)
            .filter(|s| s.watchdog().is_some());
        if let (Ok(()), Some(systemd)) = (verdict, watchdog) {
            systemd.alive();
        }
        if let Err(stuck) = verdict
            && self.stuck.is_none()
            && self.log_throttle.is_new("stuck", now.instant)
        {
            let why = stuck.text();
            if watchdog.is_some() {
                tracing::error!(
                    "the queue is stuck: {why}. systemd will start this program anew; nothing is lost by it"
                );
            } else {
                tracing::error!("the queue is stuck: {why}. Restart this program; nothing is lost by it");
            }
        }
        self.stuck = verdict.err();
    }

    /// The configuration is being read again.
    pub(crate) fn tell_reloading(&mut self) {
        if let Some(status_reporter) =
            self.status_reporter.as_ref().filter(|status_reporter| status_reporter.starting.is_none())
        {
            status_reporter.systemd.reloading();
        }
    }

    /// It has been read.
    pub(crate) fn tell_reloaded(&mut self) {
        let summary = self.summary();
        // During the start, the start tells.
        if let Some(status_reporter) =
            self.status_reporter.as_mut().filter(|status_reporter| status_reporter.starting.is_none())
        {
            status_reporter.systemd.ready(&summary);
            status_reporter.said = summary;
        }
    }

    /// What the queue looks like right after everything was started that could be.
    fn sight(&self, now: Instant) -> ProgressSample {
        let (mut bytes, mut files) = (0, 0);
        for job in self.queue.jobs().filter(|job| job.is_running()) {
            bytes += job.data.progress.bytes_done.load(Ordering::Relaxed);
            files += job.data.progress.files_done.load(Ordering::Relaxed);
        }
        let nobody_asks = self.asking == 0
            && (self.outage.is_on() && self.probe_at.is_none()
                || self.login_refused.is_some_and(|refused| refused.look_at.is_none()));
        let due = self.may_start() && self.queue.next_due().is_some_and(|due| due <= now);
        ProgressSample {
            done: [bytes, files, self.client.alyx().requests_ended(), self.begun_and_ended],
            under_way: self.running > 0 || self.asking > 0,
            due_but_not_started: due || nobody_asks,
        }
    }

    /// The line of `systemctl status`.
    fn summary(&self) -> String {
        let counts = in_words(self.queue.counts());
        let local = |time: Timestamp| time.to_zoned(TimeZone::system()).strftime("%F %H:%M").to_string();
        let mut told = counts;
        match (self.login_refused, self.away_since) {
            (Some(refused), _) => {
                let lacks = self.client.alyx().lacks_credentials().is_some();
                let what = if lacks { "no password or token" } else { "login refused" };
                told += &format!("; all wait: {what} since {}", local(refused.since));
            }
            (None, Some(since)) => told += &format!("; all wait: Alyx is away since {}", local(since)),
            (None, None) => {}
        }
        match self.obstacles.count() {
            0 => {}
            1 => told += "; 1 obstacle on disk, see alyx-registrar status",
            n => told += &format!("; {n} obstacles on disk, see alyx-registrar status"),
        }
        if let Some(since) = self.refused_since {
            told += &format!("; the configuration of {} is refused, the one before counts", local(since));
        }
        told
    }
}

/// How many sessions there are, in words.
fn in_words(counts: Counts) -> String {
    let waiting = counts.waiting - counts.needs_attention.min(counts.waiting);
    let need = if counts.needs_attention == 1 { "needs" } else { "need" };
    format!("{waiting} waiting, {} running, {} {need} attention", counts.running, counts.needs_attention)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::run_loop::FlagState;
    use alyx_registration::flag::FlagFile;

    #[tokio::test]
    async fn a_session_that_is_due_and_not_started_is_seen_to_be_left_lying() {
        let (mut service, now) = (Service::example(), Moment::read());
        let folder = tempfile::tempdir().unwrap();
        let flag = folder.path().join("create_me.flag");
        std::fs::write(&flag, "").unwrap();
        assert!(!service.sight(now.instant).due_but_not_started);
        let flag = FlagFile::load(&flag).unwrap().unwrap();
        service.queue.enqueue(flag, now.instant, || FlagState::new(now.wall, now));
        assert!(service.sight(now.instant).due_but_not_started);
        let before = service.sight(now.instant).done;
        service.start_due(now);
        let sight = service.sight(now.instant);
        assert!(!sight.due_but_not_started && sight.under_way && sight.done != before, "{sight:?}");
    }

    #[tokio::test]
    async fn an_outage_at_whose_end_nobody_looks_is_seen_to_be_left_lying() {
        let (mut service, now) = (Service::example(), Moment::read());
        service.outage.failed(now.instant, true, None, 0.5);
        assert!(service.sight(now.instant).due_but_not_started);
        service.probe_at = Some(now.instant);
        assert!(!service.sight(now.instant).due_but_not_started);
        service.ask_what_is_due(now);
        let sight = service.sight(now.instant);
        assert!(!sight.due_but_not_started && sight.under_way, "{sight:?}");
    }

    #[test]
    fn the_numbers_are_told_in_words_and_nobody_is_counted_twice() {
        let counts = Counts { waiting: 5, retrying: 1, needs_attention: 2, running: 1 };
        assert_eq!(in_words(counts), "3 waiting, 1 running, 2 need attention");
        assert_eq!(in_words(Counts::default()), "0 waiting, 0 running, 0 need attention");
        let one = Counts { waiting: 1, needs_attention: 1, ..Counts::default() };
        assert_eq!(in_words(one), "0 waiting, 0 running, 1 needs attention");
    }
}
