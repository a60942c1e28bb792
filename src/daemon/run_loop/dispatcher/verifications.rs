//! The verification of registered files: when a pass begins, and when it has to stop.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::daemon::clock::Moment;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Effect;
use crate::daemon::status::VerificationStatus;
use crate::daemon::verification::{VerifyEnded, VerifyOptions};
use crate::humanize::bytes;

/// How soon a pass that was stopped, or failed, is followed by another one.
const AGAIN: Duration = Duration::from_secs(60);
/// The least and the longest time between two passes that found nothing left to do.
const REST: [Duration; 2] = [Duration::from_secs(60), Duration::from_hours(24)];
/// The longest sleep until the window is looked at again, in case the wall clock jumps.
const LONGEST: Duration = Duration::from_hours(1);

/// When the next pass is, and what the last one has found.
#[derive(Debug, Default)]
pub(crate) struct Verifications {
    /// When the next pass may begin; `None`: at once.
    next: Option<Instant>,
    running: Option<CancellationToken>,
    /// When to look again.
    wake: Option<Instant>,
    status: VerificationStatus,
}

/// What a moment says.
#[derive(Debug, Clone, Copy)]
struct Now {
    moment: Moment,
    /// A session runs or is due, or Alyx does not answer.
    is_busy: bool,
}

impl Verifications {
    /// Whether a pass begins now. Stops the one that runs if it has to. Pure but for the token.
    fn turn(&mut self, options: Option<&VerifyOptions>, now: Now) -> Option<CancellationToken> {
        let Some(options) = options else {
            self.stop();
            self.wake = None;
            return None;
        };
        let Now { moment, is_busy } = now;
        let window = options.window.as_ref();
        let is_open = window.is_none_or(|window| window.is_open(moment.wall, &options.zone));
        let change = window.map(|window| window.next_check(moment.wall, &options.zone));
        let change = change.map(|at| moment.instant_of(at, LONGEST));
        if is_busy || !is_open {
            self.stop();
            // What is busy ends with an event.
            self.wake = change.filter(|_| !is_open);
            return None;
        }
        if self.running.is_some() {
            self.wake = change;
            return None;
        }
        if let Some(next) = self.next.filter(|next| *next > moment.instant) {
            self.wake = change.map_or(Some(next), |change| Some(change.min(next)));
            return None;
        }
        self.wake = change;
        Some(self.running.insert(CancellationToken::new()).clone())
    }

    /// Stops a pass. It is still running until its end is reported.
    pub(super) fn stop(&mut self) {
        if let Some(running) = &self.running {
            running.cancel();
        }
    }

    fn ended(&mut self, ended: &VerifyEnded, every: Duration, now: Instant) {
        self.running = None;
        let [least, most] = REST;
        let wait = if ended.is_complete { (every / 30).clamp(least, most) } else { AGAIN };
        self.next = Some(now + wait);
        let VerifyEnded { bytes, totals, .. } = ended;
        self.status.bytes += bytes;
        (self.status.files, self.status.differing) = (totals.files, totals.differ);
        self.status.oldest = totals.oldest;
    }
}

impl Dispatcher {
    /// Starts a pass if it is time, or stops the one that runs.
    pub(super) fn start_verification(&mut self, now: Moment) {
        let options = self.config.options.verify.as_ref().filter(|_| self.reporting.has_ledger);
        let is_due = self.next_due().is_some_and(|due| due <= now.instant);
        let is_busy = is_due || !self.runs.is_idle() || self.pauses.is_active();
        let every = options.map(|options| options.every);
        let begins = self.verifications.turn(options, Now { moment: now, is_busy });
        if let (Some(stop), Some(every)) = (begins, every) {
            let since = now.wall.checked_sub(every).unwrap_or(Timestamp::MIN);
            self.effects.push(Effect::Verify(self.config.generation, since, stop));
        }
    }

    pub(super) fn next_verification(&self) -> Option<Instant> {
        self.verifications.wake
    }

    /// A new configuration: what runs with the earlier one stops, and another pass begins.
    pub(super) fn verify_anew(&mut self) {
        self.verifications.stop();
        self.verifications.next = None;
    }

    pub(super) fn on_verified(&mut self, ended: VerifyEnded, is_current: bool, now: Moment) {
        let every = self.config.options.verify.as_ref().map(|options| options.every).unwrap_or_default();
        let before = self.verifications.status.differing;
        self.verifications.ended(&ended, every, now.instant);
        if !is_current {
            self.verifications.next = None;
        }
        let differing = ended.totals.differ;
        if ended.bytes > 0 {
            tracing::info!(
                bytes = ended.bytes,
                differing,
                "verified {} of registered files",
                bytes(ended.bytes)
            );
        }
        if differing > before {
            tracing::warn!(
                differing,
                "{differing} of the verified files are not what Alyx holds; run alyx-registrar verify, and see docs/verify.md"
            );
        }
        if let Some(error) = ended.error {
            tracing::debug!("verifying was cut off, trying again: {error}");
            if error.is_outage() && is_current {
                self.pauses.session_failed(&error, &self.config, &mut self.reporting.throttle, now);
            }
        }
    }

    /// What is known of verified files; `None`: none are verified.
    pub(super) fn verification_status(&self) -> Option<VerificationStatus> {
        let is_running = self.verifications.running.is_some();
        self.config.options.verify.as_ref()?;
        Some(VerificationStatus { running: is_running, ..self.verifications.status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::verification::{VerifyTask, VerifyWork, Window};
    use std::pin::Pin;
    use std::sync::Arc;

    #[derive(Debug)]
    struct NoWork;

    impl VerifyWork for NoWork {
        fn run(&self, _: VerifyTask) -> Pin<Box<dyn Future<Output = VerifyEnded> + Send>> {
            Box::pin(std::future::ready(VerifyEnded::default()))
        }
    }

    #[test]
    fn a_pass_runs_in_its_window_while_no_session_waits() {
        let window = Window { from: jiff::civil::time(22, 0, 0, 0), to: jiff::civil::time(6, 0, 0, 0) };
        let (every, zone) = (Duration::from_hours(30 * 24), jiff::tz::TimeZone::UTC);
        let options = VerifyOptions { every, window: Some(window), zone, work: Arc::new(NoWork) };
        let start = Moment { instant: Instant::now(), wall: "2024-05-01T21:30:00Z".parse().unwrap() };
        let at = |minutes: u64| {
            let instant = start.instant + Duration::from_secs(60 * minutes);
            Moment { instant, wall: start.wall_of(instant) }
        };
        let mut passes = Verifications::default();
        let turn = |passes: &mut Verifications, minutes, is_busy| {
            passes.turn(Some(&options), Now { moment: at(minutes), is_busy })
        };
        assert!(turn(&mut passes, 0, false).is_none(), "closed");
        assert_eq!(passes.wake, Some(at(30).instant));
        assert!(turn(&mut passes, 30, true).is_none(), "a session waits");
        assert_eq!(passes.wake, None, "its end is an event");
        let first = turn(&mut passes, 31, false).unwrap();
        assert!(turn(&mut passes, 32, false).is_none() && !first.is_cancelled());
        // A session arrives.
        assert!(turn(&mut passes, 33, true).is_none() && first.is_cancelled());
        passes.ended(&VerifyEnded { bytes: 5, ..VerifyEnded::default() }, every, at(34).instant);
        assert!(turn(&mut passes, 34, false).is_none());
        assert_eq!(passes.wake, Some(at(35).instant));
        let second = turn(&mut passes, 35, false).unwrap();
        // The window closes.
        assert!(turn(&mut passes, 8 * 60 + 29, false).is_none() && !second.is_cancelled());
        assert!(turn(&mut passes, 8 * 60 + 30, false).is_none() && second.is_cancelled());
        let complete = VerifyEnded { bytes: 7, is_complete: true, ..VerifyEnded::default() };
        passes.ended(&complete, every, at(8 * 60 + 30).instant);
        assert!(turn(&mut passes, 25 * 60, false).is_none(), "nothing is due for a day");
        assert!(turn(&mut passes, 33 * 60, true).is_none());
        assert_eq!(passes.status.bytes, 12);
        // The configuration has no window any more.
        assert!(turn(&mut passes, 49 * 60, false).is_some());
        let running = passes.running.clone().unwrap();
        assert!(
            passes.turn(None, Now { moment: at(49 * 60), is_busy: false }).is_none()
                && running.is_cancelled()
        );
    }
}
