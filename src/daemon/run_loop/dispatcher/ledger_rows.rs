//! Ledger rows: what is remembered of flags and attempts across a restart.

use std::sync::Arc;

use crate::daemon::clock::Moment;
use crate::daemon::queue::JobStatus;
use crate::daemon::run_loop::dispatcher::flags::FlagState;
use crate::daemon::run_loop::worker::{Attempt, AttemptResult};
use crate::ledger::{NamedFile, OutcomeRow, WaitingRow};
use alyx_client::Endpoint;
use alyx_client::text::some_of;
use alyx_registration::advice::Kind;
use alyx_registration::flag::FlagStamp;
use alyx_registration::{Error, KnownSession, MissingName};

/// The endpoints on which a name may be missing.
const ENDPOINTS: [Endpoint; 7] = [
    Endpoint::Subjects,
    Endpoint::Users,
    Endpoint::Labs,
    Endpoint::Projects,
    Endpoint::Procedures,
    Endpoint::Locations,
    Endpoint::Repositories,
];

/// The state of a flag, without the device number, which may change on reboot.
pub(crate) fn stamp_text(stamp: &FlagStamp) -> String {
    format!("{}:{}:{}:{}", stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
}

/// The row of a flag that waits after a failure.
pub(crate) fn waiting_row(job: &JobStatus<'_, FlagState>, now: Moment) -> Option<Box<WaitingRow>> {
    let state = job.data;
    let failure = state.failure.clone()?;
    let name = |missing: &MissingName| (missing.endpoint.member().to_owned(), missing.name.clone());
    Some(Box::new(WaitingRow {
        flag: job.path.to_owned(),
        stamp: stamp_text(job.stamp),
        session: job.session_name(),
        since: state.since,
        failures: job.failures,
        next: now.wall_of(job.due?),
        needs_attention: job.needs_attention,
        kind: Some(failure.kind),
        error: failure.message,
        next_step: failure.next_step,
        missing: state.missing.iter().map(name).collect(),
    }))
}

/// The row of an attempt, without the time of the next one. `None` if there is nothing to remember.
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
        described: None,
        left_out: String::new(),
        files: Vec::new(),
        kind: None,
        error: None,
        next_step: None,
        next: None,
        by: None,
        trail: Arc::default(),
    };
    match &attempt.result {
        AttemptResult::Registered(done) => {
            row.eid = Some(done.eid.clone());
            (row.n_files, row.bytes) = (done.n_files as u64, done.bytes);
            row.left_out = done.left_out.to_string();
            row.trail = Arc::clone(&done.trail);
            row.described = done.known.as_ref().and_then(KnownSession::sources);
            row.files = done.left_out.named().iter().map(NamedFile::from).collect();
            row.error = (!done.refused.is_empty()).then(|| some_of(&done.refused, "; "));
            row.kind = row.error.is_some().then(|| Kind::FilesRefused.name().to_owned());
        }
        AttemptResult::Failed(error) => {
            row.eid = job.data.progress.eid.get().cloned();
            if let Error::FilesRefused { registered, .. } = error {
                row.n_files = *registered as u64;
            }
            if let Error::Gaps(gap) = error {
                row.files = NamedFile::of(gap);
            }
            row.kind = Some(error.kind().name().to_owned());
            row.error = Some(error.to_string());
            row.next_step = Some(error.kind().next_step().to_owned());
        }
        AttemptResult::Gone | AttemptResult::Stopped | AttemptResult::TooLarge => return None,
    }
    Some(row)
}

pub(crate) fn missing_names(rows: &[(String, String)]) -> Vec<MissingName> {
    let one = |(member, name): &(String, String)| {
        let endpoint = ENDPOINTS.into_iter().find(|endpoint| endpoint.member() == member)?;
        Some(MissingName { endpoint, name: name.clone(), near: Vec::new(), from: None })
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
            assert_eq!(
                missing_names(&rows),
                [MissingName { endpoint, name: "x".to_owned(), near: Vec::new(), from: None }]
            );
        }
    }
}
