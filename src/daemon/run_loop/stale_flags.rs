//! Flags that grow old: when they are told, and what is said of them.

use std::path::Path;
use std::time::Duration;

use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::queue::old_flags::WaitingFlag;
use crate::daemon::run_loop::{FlagState, Moment, Service};
use crate::humanize::length;

/// The fact under which it is kept when old flags were told last.
pub(crate) const TOLD: &str = "old flags told";
/// So many are told one by one; after a long outage there may be thousands.
const MOST_TOLD: usize = 20;
/// A clock may be set meanwhile: so long at most until the next look at it.
const LOOK_WITHIN: Duration = Duration::from_secs(3600);

impl Service {
    /// Plans when a flag that waits is told as old.
    pub(crate) fn plan_age(&mut self, path: &Path, now: Moment) {
        let Some(job) = self.queue.job(path) else { return };
        if let Some(due) = self.old_flags.due(&waiting(path, job.data)) {
            let at = now.instant_of(due, LOOK_WITHIN);
            self.old_at = Some(self.old_at.map_or(at, |planned| planned.min(at)));
        }
    }

    /// Tells the flags that are old, when that is due.
    pub(crate) fn tell_old_flags(&mut self, now: Moment) {
        if self.old_at.is_none_or(|at| at > now.instant) {
            return;
        }
        self.old_at = None;
        let flags = self.queue.jobs().map(|job| waiting(job.path, job.data));
        let old = self.old_flags.take(flags, now.wall);
        for path in old.iter().take(MOST_TOLD) {
            let Some(job) = self.queue.job(path) else { continue };
            let note = job.data;
            tracing::warn!(
                session = job.session_name(),
                flagged = %note.put,
                "an old flag: put {} ago, and its session is not registered: {}",
                length(now.wall.duration_since(note.put)),
                self.why_it_waits(path, note)
            );
        }
        if let Some(more) = old.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            tracing::warn!("{more} more flags are old; alyx-registrar status --json names them all");
        }
        if !old.is_empty() {
            self.write_down(LedgerEntry::Fact(TOLD, now.wall.to_string()));
        }
        let due = self.queue.jobs().filter_map(|job| self.old_flags.due(&waiting(job.path, job.data))).min();
        self.old_at = due.map(|due| now.instant_of(due, LOOK_WITHIN));
    }

    fn why_it_waits(&self, path: &Path, note: &FlagState) -> String {
        if let Some((error, next_step)) = &note.failure {
            return format!("{error}. What to do: {next_step}");
        }
        let reason = if self.login_refused.is_some() {
            "Alyx refuses the login; correct the password or token"
        } else if self.away_since.is_some() {
            "Alyx does not answer"
        } else if self.is_running(path) {
            "it is being registered now"
        } else if note.told_changing {
            "its files are still changing; look which program writes there"
        } else {
            "it waits for its turn"
        };
        reason.to_owned()
    }
}

pub(crate) fn waiting<'a>(path: &'a Path, note: &FlagState) -> WaitingFlag<'a> {
    WaitingFlag { path, put: note.put, seen: note.seen }
}
