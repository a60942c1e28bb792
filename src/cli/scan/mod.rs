//! `scan`: registers the sessions flagged now, then exits.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

pub(super) mod flag_result;
mod hangs;
pub(crate) mod moves;
pub(crate) mod orphans;
pub(super) mod places;
mod process_flag;
pub(crate) mod scan_roots;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cli::args::ScanArgs;
use crate::cli::exit::Exit;
use crate::cli::loadable;
use crate::cli::output::progress;
use crate::cli::output::{FINISH_WITHIN, Failure, say};
use crate::cli::remembered::Remembered;
use crate::cli::scan::flag_result::ScanOutcome;
use crate::cli::scan::hangs::name_hangs;
use crate::cli::scan::places::Place;
use crate::cli::scan::process_flag::process_flag;
use crate::cli::scan::scan_roots::{ScannedRoots, scan_roots};
use crate::cli::service::wiring;
use crate::config::{Config, DataRoot};
use crate::daemon::outside::clean_stop::CleanStop;
use crate::daemon::outside::signals;
use crate::daemon::run_loop::loadability::Loadability;
use crate::daemon::tree::lock::{StateLock, request_marks};
use crate::humanize::count;
use crate::json::document::Document;
use crate::ledger::Access;
use alf::SessionPath;
use alyx_client::NextStep;
use alyx_registration::flag::FlagFile;
use alyx_registration::{Error, RegistrationClient, RunContext};

/// Registers every flagged session once.
pub(crate) async fn scan(args: &ScanArgs) -> Exit {
    match scan_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("scan", args.json),
    }
}

async fn scan_with(args: &ScanArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut config = wiring::configuration(&args.config)?;
    if args.no_files {
        config.datasets.register = false;
    }
    let credentials = wiring::credentials(&config)?;
    // In a folder that does not exist yet, nothing has run.
    let is_new = !tokio::fs::try_exists(&config.state_dir).await.unwrap_or(true);
    let client = match args.dry_run {
        true => wiring::read_only_client(&config, credentials)?,
        false => wiring::client(&config, credentials)?,
    };
    // A dry run needs no lock: it may run next to the daemon.
    let locks = if args.dry_run { Arc::default() } else { wiring::lock(&config)? };
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;

    wiring::check_login(&client).await?;
    let options = wiring::flagged(&config);
    let roots = config.data_roots.iter().map(|root| root.path.as_path());
    let loadability = Loadability::of_placements(&options.placements(roots));
    let ScannedRoots { mut flags, missed, .. } = scan_roots(&config, &locks, &shutdown).await;
    if args.json && !missed.is_empty() {
        say!("{}", Document::failed("scan", missed.clone()).line());
    }
    let missed = missed.len();
    flags.sort_by(|a, b| a.path.cmp(&b.path));
    flags.retain(|flag| !is_skipped(&config, &flag.path));

    let remembered = &match args.dry_run {
        true => Remembered::open(&config, Access::Read),
        false => Remembered::open_or_create(&config),
    };
    // A daemon that runs on other roots keeps the mark.
    let state = if args.dry_run {
        None
    } else {
        StateLock::acquire(&config.state_dir, &wiring::lock_folders(&config)).ok()
    };
    let mark = (!args.dry_run).then(|| CleanStop::take(&config.state_dir));
    let creations = wiring::creations(mark.as_ref().filter(|_| !is_new), started, &config);
    let remembering = if args.dry_run { RunContext::default() } else { remembered.context() };
    let client = client.in_context(RunContext {
        creations,
        marks: request_marks(Some(&config.state_dir)).by_turns(),
        at_alyx: Some(Arc::new(Semaphore::new(config.workers.max(1)))),
        ..remembering
    });
    let (client, options, dry, retry) = (&client, &options, args.dry_run, config.retry.backoff);
    let process = async |flag: FlagFile, places: Arc<Semaphore>| {
        let path = flag.path.clone();
        let place = Place::enter(places, retry).await;
        // In a box: all sessions are queued, and most of them wait.
        let result = Box::pin(process_flag(client, options, flag, dry, remembered, place)).await;
        if let Some(row) = result.to_row(&path) {
            remembered.ended(row).await;
        }
        result
    };
    let process = &process;
    // Each data root for itself: one that hangs must not delay the others.
    let of_root = |root: &DataRoot| {
        let own: Vec<_> = flags.iter().filter(|flag| flag.path.starts_with(&root.path)).cloned().collect();
        let places = Arc::new(Semaphore::new(config.workers.max(1)));
        let sessions = own.into_iter().map(move |flag| process(flag, Arc::clone(&places)));
        sessions.collect::<FuturesUnordered<_>>().boxed_local()
    };
    let mut results = futures_util::stream::select_all(config.data_roots.iter().map(of_root));
    let (mut failed, mut done, mut with_gaps, mut waiting) = (Vec::new(), 0, 0, 0);
    let mut placed = Vec::new();
    let work = async {
        let last_looks = async {
            if !dry {
                client.finish_last_looks(options, |flag| locks.is_locked(flag)).await;
            }
        };
        let sessions = async {
            while let Some(result) = results.next().await {
                progress::above(|| if args.json { say!("{}", result.document()) } else { result.print() });
                with_gaps += usize::from(result.gap.is_some());
                if let (Ok(session), true) = (&result.session, result.files > 0) {
                    let placement = options.placement_in(&result.folder);
                    placed.push(loadable::place_of(session, result.lab.clone(), placement));
                }
                match result.outcome {
                    ScanOutcome::Failed(error) => failed.push(error),
                    ScanOutcome::Waits(_) => waiting += 1,
                    ScanOutcome::Gone => {}
                    ScanOutcome::Registered { .. } | ScanOutcome::Planned { .. } => done += 1,
                }
            }
        };
        tokio::join!(last_looks, sessions);
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            // Alyx would still execute a creation that is cut off here, and its result would be lost.
            let is_answered = client.finish_creations(FINISH_WITHIN).await;
            end(state, mark.filter(|_| is_answered), client);
            return Err(if is_answered { Failure::interrupted().logged() } else { Failure::unanswered().log() });
        }
        () = name_hangs(&client.context().progress.steps) => {}
        () = progress::shown(&client.context().progress, work) => {}
    }
    loadable::ask(client, loadability, placed).await;
    end(state, mark, client);
    if !args.json {
        let verb = if dry { "would be registered" } else { "registered" };
        let problems = if missed == 0 {
            String::new()
        } else {
            format!("; {}, see above", count(missed as u64, "other problem"))
        };
        let gaps = if with_gaps == 0 { String::new() } else { format!(" ({with_gaps} with gaps)") };
        let waits = if waiting == 0 { String::new() } else { format!("{waiting} would wait, ") };
        say!(
            "{done} {verb}{gaps}, {waits}{} failed, {} in total{problems}",
            failed.len(),
            count((done + waiting + failed.len()) as u64, "flag")
        );
    }
    Ok(exit_code(&failed, done, missed + with_gaps + waiting))
}

/// Whether the configuration skips the subject of a flag; the log says so.
pub(super) fn is_skipped(config: &Config, flag: &Path) -> bool {
    let session = flag.parent().and_then(|folder| SessionPath::parse(folder).ok());
    let skipped = session.filter(|session| config.skips(session));
    if let Some(session) = &skipped {
        tracing::info!(session = %session, "skipped: its subject is in metadata.skip_subjects; the flag stays");
    }
    skipped.is_some()
}

/// Marks a clean stop, unless a daemon holds the state folder or a creation may still be on its way.
fn end(state: Option<StateLock>, mark: Option<CleanStop>, client: &RegistrationClient) {
    if let (Some(_locked), Some(mark)) = (state, mark)
        && client.has_settled()
    {
        mark.put();
    }
}

/// The exit code. Pure.
fn exit_code(failed: &[Error], done: usize, missed: usize) -> Exit {
    if failed.iter().any(|e| e.next_step() == NextStep::NeedsCredentials) {
        return Exit::Refused;
    }
    if done == 0 && !failed.is_empty() && failed.iter().all(Error::is_outage) {
        return Exit::Unavailable;
    }
    if failed.is_empty() && missed == 0 { Exit::Success } else { Exit::Incomplete }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Error {
        let (url, reason) = ("http://x".into(), "refused".into());
        alyx_client::Error::Unreachable { url, reason, maybe_done: false, connected: false }.into()
    }

    #[test]
    fn the_exit_code_tells_incomplete_outage_and_login_apart() {
        assert_eq!(exit_code(&[], 3, 0), Exit::Success);
        assert_eq!(exit_code(&[], 3, 1), Exit::Incomplete);
        assert_eq!(exit_code(&[Error::Invalid("x".into())], 3, 0), Exit::Incomplete);
        assert_eq!(exit_code(&[away()], 0, 0), Exit::Unavailable);
        assert_eq!(exit_code(&[away()], 1, 0), Exit::Incomplete);
        let login = alyx_client::Error::Login {
            url: "http://x".into(),
            username: None,
            reason: "no".into(),
            advice: "",
        };
        assert_eq!(exit_code(&[away(), login.into()], 0, 0), Exit::Refused);
    }
}
