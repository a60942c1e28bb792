//! One flag of a scan: planned or registered, and remembered.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::time::{Duration, Instant};

use crate::cli::created_twice;
use crate::cli::scan::flag_result::{FlagResult, ScanOutcome};
use crate::cli::scan::gaps::Gaps;
use crate::cli::scan::places::{Place, until_quiet, wait_to_settle};
use crate::ledger::NamedFile;
use alf::SessionPath;
use alyx_registration::flag::FlagFile;
use alyx_registration::{Error, FlaggedOptions, KnownSession, LeftOutSummary, RegistrationClient};

/// Plans or registers one flag.
pub(super) async fn process_flag(
    client: &RegistrationClient,
    options: &FlaggedOptions,
    flag: FlagFile,
    dry: bool,
    gaps: &Gaps,
    mut place: Place,
) -> FlagResult {
    let started = Instant::now();
    let folder = flag.session_folder().to_owned();
    let mut result = FlagResult {
        session: SessionPath::parse(&folder),
        folder,
        eid: None,
        files: 0,
        bytes: 0,
        took: Duration::ZERO,
        moved: Vec::new(),
        outcome: ScanOutcome::Planned { left_out: String::new() },
        gap: None,
        left_out: Vec::new(),
        described: None,
        request: None,
    };
    let accepted_gaps = gaps.accepted(&result.folder);
    let options = &FlaggedOptions { accepted_gaps, ..options.clone() };
    result.outcome = match &result.session {
        Err(error) => ScanOutcome::Failed(error.clone().into()),
        Ok(session) if dry => {
            let attempt = async || client.plan_flagged(&flag, session, options).await;
            match until_quiet(session, dry, &mut place, attempt).await {
                Ok(planned) => {
                    result.eid = planned.eid;
                    result.described = planned.known.as_ref().and_then(KnownSession::sources);
                    result.request = result.described.as_ref().map(|_| planned.request);
                    result.files = planned.files.len();
                    result.bytes = planned.files.iter().map(|f| f.size).sum();
                    result.moved = planned.moved;
                    let gap = planned.gap.filter(|gap| !options.accepted_gaps.accept(gap));
                    result.gap = gap.map(|gap| gap.to_string());
                    let left_out = LeftOutSummary::of(&planned.left_out);
                    result.left_out = left_out.named().iter().map(NamedFile::from).collect();
                    ScanOutcome::Planned { left_out: left_out.to_string() }
                }
                Err(error) if wait_to_settle(&error).is_some() => ScanOutcome::Waits(error),
                Err(error) => ScanOutcome::Failed(error),
            }
        }
        Ok(session) => {
            let attempt = async || client.register_flagged(flag.clone(), session, options).await;
            match until_quiet(session, dry, &mut place, attempt).await {
                Ok(registered) => {
                    result.eid = Some(registered.eid.clone());
                    result.files = registered.n_files;
                    result.bytes = registered.bytes;
                    let gap = gaps.judge(session.to_string(), &result.folder, &registered).await;
                    gaps.plan_look(session, &registered).await;
                    result.gap = gap.filter(|gap| !gap.acknowledged).map(|gap| gap.text);
                    result.left_out = registered.left_out.named().iter().map(NamedFile::from).collect();
                    result.moved = registered.moved;
                    result.described = registered.known.as_ref().and_then(KnownSession::sources);
                    ScanOutcome::Registered { left_out: registered.left_out.to_string() }
                }
                Err(Error::Vanished { path }) if path == flag.path => ScanOutcome::Gone,
                Err(error) => {
                    if let Error::Gaps(gap) = &error {
                        gaps.keep(session.to_string(), &result.folder, "", gap).await;
                    }
                    created_twice::remember(&gaps.state_dir, &result.folder, &error).await;
                    ScanOutcome::Failed(error)
                }
            }
        }
    };
    result.took = started.elapsed();
    result
}
