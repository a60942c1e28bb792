//! `create-sessions`: every flag below a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::cli::args::CreateSessionsArgs;
use crate::cli::exit::Exit;
use crate::cli::loadable::{self, Place as FilePlace};
use crate::cli::output::described::{measurement_lines, request_lines};
use crate::cli::output::progress;
use crate::cli::output::{Failure, exit_of};
use crate::cli::remembered::Remembered;
use crate::cli::scan::is_skipped;
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::scan::places::{Place, until_quiet};
use crate::cli::service::wiring;
use crate::cli::verbs::output::{Answer, absolute_path, datasets};
use crate::cli::verbs::record::Record;
use crate::cli::verbs::sessions::without_own_words;
use crate::config::Config;
use crate::daemon;
use crate::daemon::queue::session_name;
use crate::daemon::tree::lock::{LockFolders, RootLock};
use crate::humanize;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::{MovedPath, PathText};
use crate::json::record::SessionJson;
use crate::ledger::{Access, NamedFile};
use alf::SessionPath;
use alyx_client::SessionRequest;
use alyx_registration::{
    CreateSessionsOptions, CreatedSession, Error, FlaggedOptions, KnownSession, LeftOutSummary,
    RegisterFilesOptions, RegistrationClient,
};

/// Registers the session of every flag below a folder.
pub(super) async fn create_sessions(
    args: &CreateSessionsArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let root = absolute_path(&args.root)?;
    // Without the lock, a daemon on the same root could create the same sessions.
    let _lock = match args.dry_run {
        true => None,
        false => Some(
            RootLock::acquire(&root, &LockFolders::of(None))
                .map_err(|error| Failure::new(Exit::Io, error))?,
        ),
    };
    let configured = config.map(wiring::flagged).unwrap_or_default();
    let flagged = FlaggedOptions {
        register_files: args.register_files,
        files: RegisterFilesOptions { protected: args.protected, ..configured.files },
        roots: without_own_words(configured.roots),
        ..configured
    };
    let options =
        CreateSessionsOptions { glob_pattern: args.glob_pattern.clone(), dry: args.dry_run, flagged };
    let mut flags = client.flags_below(&root, &args.glob_pattern).await?;
    flags.retain(|flag| !config.is_some_and(|config| is_skipped(config, flag)));
    let retry = config.map_or(daemon::Options::default().retry, |config| config.retry.backoff);
    // One after the other; a session that waits lets the others go first.
    let places = Arc::new(Semaphore::new(1));
    let sessions = flags.iter().map(async |flag| {
        let mut place = Place::enter(Arc::clone(&places), retry).await;
        let created = create(client, config, flag, &options, &mut place).await;
        drop(place);
        created
    });
    let sessions = progress::shown(&client.context().progress, join_all(sessions)).await;
    let (mut text, mut list, mut failed, mut placed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut with_gaps, mut waiting) = (false, 0);
    for Created { row, lines, error, place } in sessions.into_iter().flatten() {
        with_gaps |= row.gaps.is_some();
        waiting += usize::from(row.outcome == "waits");
        text.extend(lines);
        failed.extend(error.filter(|_| row.outcome != "waits"));
        placed.extend(place);
        list.push(row);
    }
    loadable::report(client, config, placed).await;
    let n = list.len() - failed.len() - waiting;
    let verb = if args.dry_run { "would be registered" } else { "registered" };
    let waits = if waiting == 0 { String::new() } else { format!("{waiting} would wait, ") };
    text.push(format!("{n} {verb}, {waits}{} failed", failed.len()));
    let errors = list.iter().filter_map(|row| row.error.clone()).collect();
    let answer = Answer::new(text, CreateSessionsJson { root: (&root).into(), sessions: list })?;
    let answer = answer.incomplete_if(!failed.is_empty() || with_gaps || waiting > 0);
    // If every session failed for the same reason, such as an outage, its exit code applies.
    let exit = match failed.first().map(exit_of) {
        Some(exit) if n + waiting == 0 && failed.iter().all(|error| exit_of(error) == exit) => exit,
        _ => answer.exit,
    };
    Ok(Answer { exit, errors, ..answer }.planned_if(args.dry_run))
}

/// The result of one flag, as JSON and as text.
struct Created {
    row: CreatedJson,
    lines: Vec<String>,
    error: Option<Error>,
    /// Where its files are.
    place: Option<FilePlace>,
}

/// Plans or registers the session of a flag; `None` if another program has removed the flag.
async fn create(
    client: &RegistrationClient,
    config: Option<&Config>,
    flag: &Path,
    options: &CreateSessionsOptions,
    place: &mut Place,
) -> Option<Created> {
    let folder = flag.parent().unwrap_or(flag).to_owned();
    let session = SessionPath::parse(&folder);
    let attempt = async || match client.create_session_of_flag(flag, options).await {
        Some(CreatedSession { session: Err(error), .. }) => Err(error),
        other => Ok(other),
    };
    let created = match &session {
        Ok(session) => until_quiet(session, options.dry, Some(place), attempt).await,
        Err(_) => attempt().await,
    };
    let name = session_name(&session, &folder);
    let mut result = Created { row: CreatedJson::of(&folder), lines: Vec::new(), error: None, place: None };
    let shown = folder.display();
    let created = match created {
        Ok(created) => created?,
        Err(error) => {
            let waits = options.dry && error.wait_to_settle().is_some();
            if let (Ok(session), false) = (&session, options.dry) {
                Record::of(config, session, "create-sessions").failed(&error).await;
            }
            result.row.outcome = if waits { "waits" } else { "failed" };
            result.lines.push(format!("{:<8}{shown}  {error}", result.row.outcome));
            result.row.error = Some(ErrorReport::from(&error).of_session(name));
            result.error = Some(error);
            return Some(result);
        }
    };
    let with_files = options.flagged.register_files;
    let mut gap = created.gap.as_ref().map(ToString::to_string);
    let (n, bytes, left_out) = match (&created.registered, &created.planned) {
        (Some(done), _) => (done.n_files, done.bytes, done.left_out.clone()),
        (None, Some(planned)) => {
            let bytes = planned.files.iter().map(|file| file.size).sum();
            (planned.files.len(), bytes, LeftOutSummary::of(&planned.left_out))
        }
        (None, None) => (0, 0, LeftOutSummary::default()),
    };
    if let (Ok(session), true) = (&session, n > 0) {
        let lab = created.session.as_ref().ok().and_then(Option::as_ref).and_then(|on| on.record.lab.clone());
        result.place = Some(loadable::place_of(session, lab, options.flagged.placement_in(&folder)));
    }
    if let (Some(planned), Some(config)) = (&created.planned, config) {
        let remembered = Remembered::open(config, Access::Read);
        gap = remembered.untyped_gap(&folder, planned.gap.as_ref(), &planned.untyped).or(gap);
    }
    let files = match with_files {
        true if left_out.is_empty() => format!("  {}, {}", datasets(n), humanize::bytes(bytes)),
        true => format!("  {}, {}; left out: {left_out}", datasets(n), humanize::bytes(bytes)),
        false => String::new(),
    };
    let row = &mut result.row;
    (row.datasets, row.bytes) = (n, bytes);
    row.left_out = (!left_out.is_empty()).then(|| left_out.to_string());
    row.left_out_files = left_out.named().iter().map(NamedFile::from).collect();
    row.moved = moved_json(&created.moved);
    row.described = created.known.as_ref().and_then(KnownSession::sources);
    if let Some(done) = created.registered {
        let record =
            Record::of(config, &done.session.clone(), "create-sessions").done_whole(done, with_files).await;
        gap = record.unwrap_or(gap);
    }
    match created.session {
        Ok(Some(registered)) => {
            row.outcome = if gap.is_some() { "gaps" } else { "registered" };
            let (sign, eid) = (if gap.is_some() { "gaps" } else { "ok" }, registered.record.eid().to_owned());
            result.lines.push(format!("{sign:<8}{shown}  {eid}{files}"));
            result.lines.extend(moved_lines(&created.moved, "moved"));
            (row.eid, row.session) = (Some(eid), Some((&registered).into()));
        }
        _ => {
            result.lines.push(format!("plan    {shown}{files}"));
            result.lines.extend(moved_lines(&created.moved, "would move"));
            if let Some(planned) = created.planned {
                result.lines.extend(request_lines(&planned.request, row.described.as_deref()));
                result.lines.extend(measurement_lines(&planned.measurements));
                (row.request, row.measurements) = (Some(planned.request), planned.measurements);
            }
        }
    }
    result.lines.extend(gap.iter().map(|gap| format!("      {gap}")));
    row.gaps = gap;
    Some(result)
}

/// The fields of `create-sessions`.
#[derive(Debug, Serialize)]
struct CreateSessionsJson {
    root: PathText,
    sessions: Vec<CreatedJson>,
}

/// The session of one flag.
#[derive(Debug, Serialize)]
struct CreatedJson {
    folder: PathText,
    /// `registered`, `gaps`, `planned`, `waits` or `failed`.
    outcome: &'static str,
    eid: Option<String>,
    session: Option<SessionJson>,
    datasets: usize,
    bytes: u64,
    left_out: Option<String>,
    left_out_files: Vec<NamedFile>,
    moved: Vec<MovedPath>,
    gaps: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<String>,
    /// In a dry run, what would be sent for the session itself; empty if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<SessionRequest>,
    /// In a dry run, the weight and water that would be recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measurements: Vec<String>,
    error: Option<ErrorReport>,
}

impl CreatedJson {
    fn of(folder: &PathBuf) -> Self {
        Self {
            folder: folder.into(),
            outcome: "planned",
            eid: None,
            session: None,
            datasets: 0,
            bytes: 0,
            left_out: None,
            left_out_files: Vec::new(),
            moved: Vec::new(),
            gaps: None,
            described: None,
            request: None,
            measurements: Vec::new(),
            error: None,
        }
    }
}
