//! The copies in other repositories: when they are looked for, and what a pass has found.

use std::time::{Duration, Instant};

use crate::daemon::clock::Moment;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Effect;
use crate::daemon::run_loop::follow_pass::{EndedPass, FollowPass};
use crate::daemon::run_loop::worker::Attempt;
use crate::daemon::status::CopiesStatus;
use crate::ledger::FollowRow;
use alyx_registration::flagged::Registered;

/// When the next pass is, and what the last one has found.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    /// When the next pass begins; `None`: one runs, or none is wanted.
    next: Option<Instant>,
    /// When Alyx is polled next.
    poll: Option<Instant>,
    is_running: bool,
    status: CopiesStatus,
}

impl Follows {
    /// Begins passes, or ends them.
    fn set(&mut self, is_wanted: bool, now: Instant) {
        self.poll = is_wanted.then_some(now);
        self.next = self.poll.filter(|_| !self.is_running);
        if !is_wanted {
            self.status = CopiesStatus::default();
        }
    }

    /// The pass that is due, if any.
    fn take_due(&mut self, every: Duration, now: Instant) -> Option<FollowPass> {
        self.next.take_if(|at| *at <= now)?;
        self.is_running = true;
        let poll = self.poll.is_some_and(|at| at <= now);
        if poll {
            self.poll = Some(now + every);
        }
        Some(FollowPass { poll })
    }

    /// A session was registered whose copies may be there by then.
    fn expect(&mut self, at: Instant) {
        if let Some(next) = &mut self.next {
            *next = (*next).min(at);
        }
    }

    /// A pass has ended. The next one begins then.
    fn ended(&mut self, next: Instant) {
        self.is_running = false;
        self.next = self.poll.map(|_| next);
    }
}

impl Dispatcher {
    /// Copies are looked for from now on, if the configuration has repositories for them.
    pub(super) fn set_follows(&mut self, now: Moment) {
        let is_wanted = self.config.options.follow.is_some() && self.reporting.has_ledger;
        self.follows.set(is_wanted, now.instant);
    }

    /// Waits for the copies of a session that was registered.
    pub(super) fn plan_follow(&mut self, attempt: &Attempt, registered: &Registered, now: Moment) {
        if self.follows.poll.is_none() || registered.n_files == 0 {
            return;
        }
        let at = now.instant + self.config.options.flagged.quiet.settle;
        let (eid, session) = (registered.eid.clone(), registered.session.relative());
        tracing::debug!(session = attempt.session, "its copies in other repositories are waited for");
        self.write(LedgerEntry::Follow(Box::new(FollowRow::new(eid, session, now.wall, now.wall_of(at)))));
        self.follows.expect(at);
    }

    /// Starts a pass, if one is due.
    pub(super) fn start_follow(&mut self, now: Moment) {
        if self.pauses.is_active() {
            return;
        }
        if let Some(pass) = self.follows.take_due(self.config.options.watch.rescan_interval, now.instant) {
            self.effects.push(Effect::Follow(self.config.generation, pass));
        }
    }

    pub(super) fn next_follow(&self) -> Option<Instant> {
        self.follows.next.filter(|_| !self.pauses.is_active())
    }

    pub(super) fn on_follow_ended(&mut self, ended: EndedPass, is_current: bool, now: Moment) {
        let EndedPass { status, has_more, error } = ended;
        let wait =
            if has_more || !is_current { Duration::ZERO } else { self.config.options.watch.poll_interval };
        self.follows.ended(now.instant + wait);
        if let Some(error) = error {
            tracing::debug!("looking for copies failed, trying again: {error}");
            self.note_outage(&error, now);
        }
        if !is_current || self.follows.poll.is_none() {
            return;
        }
        for unavailable in &status.unavailable {
            if self.reporting.throttle.should_log(unavailable, now.instant) {
                tracing::warn!("copies cannot be looked for in {unavailable}; mount its disk");
            }
        }
        let confirmed = self.follows.status.confirmed + status.confirmed;
        self.follows.status = CopiesStatus { confirmed, ..status };
    }

    /// What is known of copies; `None`: they are not looked for.
    pub(super) fn copies_status(&self) -> Option<CopiesStatus> {
        self.follows.poll.map(|_| self.follows.status.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_runs_at_a_time_and_alyx_is_polled_less_often() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut follows = Follows::default();
        let due = |follows: &mut Follows, at| follows.take_due(5 * minute, start + at).map(|pass| pass.poll);
        assert_eq!(due(&mut follows, minute), None, "not wanted");
        follows.set(true, start);
        assert_eq!(due(&mut follows, Duration::ZERO), Some(true));
        assert_eq!(due(&mut follows, 9 * minute), None, "one runs");
        follows.ended(start + minute);
        assert_eq!(due(&mut follows, minute), Some(false));
        follows.ended(start + 2 * minute);
        follows.expect(start + minute);
        assert_eq!(due(&mut follows, minute), Some(false), "a session was registered");
        follows.ended(start + 5 * minute);
        assert_eq!(due(&mut follows, 4 * minute), None);
        assert_eq!(due(&mut follows, 5 * minute), Some(true));
        // The configuration changes while one runs.
        follows.set(true, start + 6 * minute);
        assert_eq!(due(&mut follows, 6 * minute), None);
        follows.ended(start + 6 * minute);
        assert_eq!(due(&mut follows, 6 * minute), Some(true));
        follows.set(false, start + 7 * minute);
        follows.ended(start + 7 * minute);
        assert_eq!(due(&mut follows, 60 * minute), None);
    }
}
