//! What the service remembers across a restart, by way of the ledger.

use std::path::Path;
use std::sync::Arc;

use crate::daemon::outside::ledger_writer::{LedgerEntry, LedgerWriter};
use crate::daemon::queue::JobStatus;
use crate::daemon::run_loop::FlagState;
use crate::daemon::run_loop::worker::{Attempt, AttemptResult};
use crate::daemon::run_loop::{Moment, Service, stale_flags};
use crate::ledger::{Ledger, OutcomeRow, WaitingRow};
use alyx_client::Endpoint;
use alyx_client::text::some_of;
use alyx_registration::flag::FlagStamp;
use alyx_registration::{ChecksumCache, Error, MissingName};

/// The fact under which the last daemon's configuration is kept.
pub(crate) const CONFIGURATION: &str = "configuration";

/// The endpoints in which a name may be missing.
const ENDPOINTS: [Endpoint; 7] = [
    Endpoint::Subjects,
    Endpoint::Users,
    Endpoint::Labs,
    Endpoint::Projects,
    Endpoint::Procedures,
    Endpoint::Locations,
    Endpoint::Repositories,
];

/// The state of a flag. Without the device, whose number may be another one after a reboot.
pub(crate) fn stamp_text(stamp: &FlagStamp) -> String {
    format!("{}:{}:{}:{}", stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
}

impl Service {
    /// Opens the ledger_writer and reads what the last daemon left.
    pub(crate) async fn remember(&mut self) {
        let Some(ledger) = self.options.ledger.clone() else { return };
        let known: Arc<dyn ChecksumCache> = Arc::<Ledger>::clone(&ledger);
        self.flagged.files.known.get_or_insert(known);
        self.client.remember_creations(Arc::<Ledger>::clone(&ledger));
        let (now, configuration) = (Moment::read(), self.options.configuration.clone());
        let opened = Arc::clone(&ledger);
        let read = tokio::task::spawn_blocking(move || {
            let same = opened.fact(CONFIGURATION).as_deref() == Some(&configuration);
            (opened.waiting(), same, opened.fact(stale_flags::TOLD))
        });
        let (rows, same, told) = read.await.unwrap_or_default();
        if let Some(told) = told.and_then(|told| told.parse().ok()) {
            self.old_flags.remember(told);
        }
        for mut row in rows {
            // Most likely the configuration has been fixed.
            if !same {
                row.next = now.wall;
            }
            self.restored.insert(row.flag.clone(), row);
        }
        self.ledger_writer = LedgerWriter::open(ledger);
        self.write_down(LedgerEntry::Fact(CONFIGURATION, self.options.configuration.clone()));
    }

    /// Takes note of a flag that was not known; if it waited before a restart, it goes on waiting.
    pub(crate) fn note_new(&mut self, path: &Path, now: Moment) {
        if let Some(row) = self.restored.remove(path) {
            if self.queue.job(path).is_some_and(|job| stamp_text(job.stamp) == row.stamp) {
                let longest = self.options.permanent.max(self.options.retry.max);
                let due = now.instant_of(row.next, longest);
                self.queue.restore(path, row.failures, row.needs_attention, due);
                let missing = missing_names(&row.missing);
                self.plan_names(&missing, now);
                if let Some(state) = self.queue.data_mut(path) {
                    state.since = row.since.min(now.wall);
                    state.missing = missing;
                    state.failure = Some((row.error, row.next_step));
                }
            } else {
                self.write_down(LedgerEntry::Over(path.to_owned()));
            }
        }
        self.plan_age(path, now);
    }

    /// The first scan of a root has told all its flags: what waited and was not among them is gone.
    pub(crate) fn drop_what_is_gone(&mut self, root: &Path) {
        let gone: Vec<_> = self.restored.keys().filter(|flag| flag.starts_with(root)).cloned().collect();
        for flag in gone {
            self.restored.remove(&flag);
            self.write_down(LedgerEntry::Over(flag));
        }
    }

    /// The row of a flag that waits after a failure.
    pub(crate) fn waiting_row(&self, path: &Path, now: Moment) -> Option<Box<WaitingRow>> {
        let job = self.queue.job(path)?;
        let note = job.data;
        let (error, next_step) = note.failure.clone()?;
        let name = |missing: &MissingName| (missing.endpoint.member().to_owned(), missing.name.clone());
        Some(Box::new(WaitingRow {
            flag: path.to_owned(),
            stamp: stamp_text(job.stamp),
            session: job.session_name(),
            since: note.since,
            failures: job.failures,
            next: now.wall_of(job.due?),
            needs_attention: job.needs_attention,
            error,
            next_step,
            missing: note.missing.iter().map(name).collect(),
        }))
    }
}

/// The row of an attempt that ends, without the time of the next one. `None` where there is nothing to remember.
pub(crate) fn outcome_row(
    attempt: &Attempt,
    outcome: &str,
    job: &JobStatus<'_, FlagState>,
    now: Moment,
) -> Option<OutcomeRow> {
    let session = job.session.as_ref().ok();
    let mut row = OutcomeRow {
        at: now.wall,
        session: attempt.session.clone(),
        subject: session.map(|s| s.subject().to_owned()),
        date: session.map(|s| s.date().to_string()),
        flag: attempt.flag.clone(),
        attempt: attempt.attempt,
        outcome: outcome.to_owned(),
        eid: None,
        n_files: 0,
        bytes: 0,
        took: attempt.took,
        left_out: String::new(),
        error: None,
        next_step: None,
        next: None,
    };
    match &attempt.result {
        AttemptResult::Registered(done) => {
            row.eid = Some(done.eid.clone());
            (row.n_files, row.bytes) = (done.n_files as u64, done.bytes);
            row.left_out = done.left_out.to_string();
            row.error = (!done.refused.is_empty()).then(|| some_of(&done.refused, "; "));
        }
        AttemptResult::Failed(error) => {
            row.eid = job.data.progress.eid.get().cloned();
            if let Error::FilesRefused { registered, .. } = error {
                row.n_files = *registered as u64;
            }
            row.error = Some(error.to_string());
            row.next_step = Some(error.kind().next_step().to_owned());
        }
        AttemptResult::Gone | AttemptResult::Stopped => return None,
    }
    Some(row)
}

fn missing_names(rows: &[(String, String)]) -> Vec<MissingName> {
    let one = |(member, name): &(String, String)| {
        let endpoint = ENDPOINTS.into_iter().find(|endpoint| endpoint.member() == member)?;
        Some(MissingName { endpoint, name: name.clone() })
    };
    rows.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_names_survive_the_ledger() {
        for endpoint in ENDPOINTS {
            let rows = [(endpoint.member().to_owned(), "x".to_owned())];
            assert_eq!(missing_names(&rows), [MissingName { endpoint, name: "x".to_owned() }]);
        }
    }
}
