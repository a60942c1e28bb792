//! One flag of a scan: planned or registered, and remembered.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::time::Instant;

use crate::cli::remembered::Remembered;
use crate::cli::scan::flag_result::{FlagResult, ScanOutcome};
use crate::cli::scan::places::{Place, until_quiet};
use crate::ledger::NamedFile;
use alyx_registration::flag::FlagFile;
use alyx_registration::{Error, FlaggedOptions, KnownSession, LeftOutSummary, RegistrationClient};

/// Plans or registers one flag.
pub(super) async fn process_flag(
    client: &RegistrationClient,
    options: &FlaggedOptions,
    flag: FlagFile,
    dry: bool,
    remembered: &Remembered,
    mut place: Place,
) -> FlagResult {
    let started = Instant::now();
    let mut result = FlagResult::of(flag.session_folder());
    let accepted_gaps = remembered.accepted(&result.folder);
    let options = &FlaggedOptions { accepted_gaps, ..options.clone() };
    match result.session.clone() {
        Err(error) => result.outcome = ScanOutcome::Failed(error.into()),
        Ok(session) if dry => {
            let attempt = async || client.plan_flagged(&flag, &session, options).await;
            result.outcome = match until_quiet(&session, dry, Some(&mut place), attempt).await {
                Ok(planned) => {
                    result.eid = planned.eid;
                    result.lab.clone_from(&planned.request.lab);
                    result.described = planned.known.as_ref().and_then(KnownSession::sources);
                    result.request = result.described.as_ref().map(|_| planned.request);
                    result.measurements = planned.measurements;
                    result.files = planned.files.len();
                    result.bytes = planned.files.iter().map(|f| f.size).sum();
                    result.moved = planned.moved;
                    let untyped =
                        remembered.untyped_gap(&result.folder, planned.gap.as_ref(), &planned.untyped);
                    let gap = planned.gap.filter(|gap| !options.accepted_gaps.accept(gap));
                    result.gap = untyped.or_else(|| gap.map(|gap| gap.to_string()));
                    let left_out = LeftOutSummary::of(&planned.left_out);
                    result.left_out = left_out.named().iter().map(NamedFile::from).collect();
                    ScanOutcome::Planned { left_out: left_out.to_string() }
                }
                Err(error) if error.wait_to_settle().is_some() => ScanOutcome::Waits(error),
                Err(error) => ScanOutcome::Failed(error),
            };
        }
        Ok(session) => {
            let attempt = async || client.register_flagged(flag.clone(), &session, options).await;
            match until_quiet(&session, dry, Some(&mut place), attempt).await {
                Ok(registered) => result.registered(&session, registered, remembered).await,
                Err(Error::Vanished { path }) if path == flag.path => result.outcome = ScanOutcome::Gone,
                Err(error) => {
                    remembered.failed(&session, &error).await;
                    result.outcome = ScanOutcome::Failed(error);
                }
            }
        }
    }
    result.took = started.elapsed();
    result
}
