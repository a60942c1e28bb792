//! `scan`: registers the sessions flagged now, then exits.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

pub(crate) mod moves;
pub(crate) mod orphans;
pub(crate) mod scan_roots;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::cli::args::ScanArgs;
use crate::cli::created_twice;
use crate::cli::exit::Exit;
use crate::cli::output::described::request_lines;
use crate::cli::output::progress;
use crate::cli::output::{FINISH_WITHIN, Failure, say};
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::scan::scan_roots::{HANGS_AFTER, LOOK_EVERY, SLOW_AFTER, ScannedRoots, scan_roots};
use crate::cli::service::wiring;
use crate::config::{Config, DataRoot};
use crate::daemon::outside::clean_stop::CleanStop;
use crate::daemon::outside::signals;
use crate::daemon::queue::session_name;
use crate::daemon::tree::lock::{StateLock, request_marks};
use crate::humanize::{bytes, count};
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::{MovedPath, PathText};
use crate::ledger::{
    Access, GapBook, GapChange, GapRow, Ledger, LookChange, LookRow, NamedFile, OutcomeRow, WaitingChange,
};
use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_client::backoff::Backoff;
use alyx_client::{NextStep, SessionRequest};
use alyx_registration::flag::FlagFile;
use alyx_registration::flagged::Registered;
use alyx_registration::{
    AcceptedGaps, DiskSteps, Error, FlaggedOptions, Gap, KnownSession, LeftOutSummary, LookPlan, NotLoadable,
    OpenStep, RegistrationClient, RunContext,
};

/// Attempts at a session whose files are still changing.
const MAX_ATTEMPTS: u32 = 5;

/// The result of one flag.
struct FlagResult {
    session: Result<SessionPath, SessionPathError>,
    folder: PathBuf,
    eid: Option<String>,
    files: usize,
    bytes: u64,
    took: Duration,
    /// Protected files that were, or in a dry run would be, moved into a revision folder: source and target.
    moved: Vec<(PathBuf, PathBuf)>,
    outcome: ScanOutcome,
    /// What the session lacks, or would lack.
    gap: Option<String>,
    /// Files that were left out, by name.
    left_out: Vec<NamedFile>,
    /// What its files say of the session, and which say it.
    described: Option<String>,
    /// What a dry run would send for the session, if its files say anything.
    request: Option<SessionRequest>,
}

enum ScanOutcome {
    Registered {
        left_out: String,
    },
    Planned {
        left_out: String,
    },
    /// The run would wait for its files; only in a dry run.
    Waits(Error),
    /// Another program has removed the flag since it was found.
    Gone,
    Failed(Error),
}

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
    for reason in wiring::not_loadable(&config) {
        tracing::warn!("{reason}; {}", reason.advice());
    }
    let ScannedRoots { mut flags, missed, .. } = scan_roots(&config, &locks, &shutdown).await;
    if args.json && !missed.is_empty() {
        say!("{}", Document::failed("scan", missed.clone()).line());
    }
    let missed = missed.len();
    flags.sort_by(|a, b| a.path.cmp(&b.path));
    flags.retain(|flag| {
        let session = SessionPath::parse(flag.session_folder()).ok();
        let skipped = session.filter(|session| config.skip_subjects.iter().any(|s| s == session.subject()));
        if let Some(session) = &skipped {
            tracing::info!(session = %session, "skipped: its subject is in metadata.skip_subjects; the flag stays");
        }
        skipped.is_none()
    });

    let options = wiring::flagged(&config);
    let short_number = flags.iter().filter(|_| options.register_files).find_map(|flag| {
        let session = SessionPath::parse(flag.session_folder()).ok()?;
        NotLoadable::of_session(&session, &options.placement_in(session.folder()))
    });
    if let Some(reason) = short_number {
        tracing::warn!("{reason}; {}", reason.advice());
    }
    let ledger = ledger(&config, if args.dry_run { Access::Read } else { Access::Change });
    // A daemon that runs on other roots keeps the mark.
    let state = if args.dry_run {
        None
    } else {
        StateLock::acquire(&config.state_dir, &wiring::lock_folders(&config)).ok()
    };
    let mark = (!args.dry_run).then(|| CleanStop::take(&config.state_dir));
    let creations = wiring::creations(mark.as_ref().filter(|_| !is_new), started, &config);
    let written = ledger.as_ref().filter(|_| !args.dry_run);
    let remembering = written.cloned().map(RunContext::remembering).unwrap_or_default();
    let client = client.in_context(RunContext {
        creations,
        marks: request_marks(Some(&config.state_dir)).by_turns(),
        at_alyx: Some(Arc::new(Semaphore::new(config.workers.max(1)))),
        ..remembering
    });
    let ledger = ledger.as_ref();
    let (client, options, dry, retry) = (&client, &options, args.dry_run, &config.retry.backoff);
    let gaps = &Gaps::of(&config, ledger);
    let process = async |flag: FlagFile, places: Arc<Semaphore>| {
        let path = flag.path.clone();
        let place = Place::enter(places).await;
        // In a box: all sessions are queued, and most of them wait.
        let result = Box::pin(process_flag(client, options, flag, dry, gaps, retry, place)).await;
        if let (Some(ledger), Some(row)) = (ledger.cloned(), result.to_row(&path)) {
            // The ledger logs its own errors.
            let _ = tokio::task::spawn_blocking(move || remember(&ledger, &row)).await;
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

/// Never returns; logs each file and folder that does not answer.
async fn name_hangs(steps: &DiskSteps) {
    let mut named = Named::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (slow, hanging) = named.look(steps, Instant::now());
        for step in slow {
            let seconds = SLOW_AFTER.as_secs();
            tracing::info!(
                "waiting for the disk: {} {:?} has not ended for {seconds} s",
                step.doing,
                step.path
            );
        }
        for step in hanging {
            tracing::warn!("{step}");
        }
    }
}

/// The files and folders that were logged.
#[derive(Default)]
struct Named {
    slow: HashSet<PathBuf>,
    hanging: HashSet<PathBuf>,
}

impl Named {
    /// What is to be logged now, each path once as slow and once as hanging.
    fn look(&mut self, steps: &DiskSteps, now: Instant) -> (Vec<OpenStep>, Vec<OpenStep>) {
        let hanging: Vec<OpenStep> = steps.without_progress(HANGS_AFTER, now);
        let slow = steps.without_progress(SLOW_AFTER, now).into_iter();
        let slow = slow.filter(|step| !hanging.contains(step) && self.slow.insert(step.path.clone()));
        let slow = slow.collect();
        (slow, hanging.into_iter().filter(|step| self.hanging.insert(step.path.clone())).collect())
    }
}

/// Marks a clean stop, unless a daemon holds the state folder or a creation may still be on its way.
fn end(state: Option<StateLock>, mark: Option<CleanStop>, client: &RegistrationClient) {
    if let (Some(_locked), Some(mark)) = (state, mark)
        && client.has_settled()
    {
        mark.put();
    }
}

/// The daemon's ledger, if it exists and this user may write to it. Never creates one: it would not belong to the
/// service user.
fn ledger(config: &Config, access: Access) -> Option<Arc<Ledger>> {
    match Ledger::open_existing(&config.state_dir, access) {
        Ok(ledger) => ledger.map(Arc::new),
        Err(reason) => {
            tracing::debug!("the outcomes of this scan are not recorded: {reason}");
            None
        }
    }
}

fn remember(ledger: &Ledger, row: &OutcomeRow) {
    let waits = if row.is_registered() { WaitingChange::Remove(&row.flag) } else { WaitingChange::Keep };
    ledger.record(row, waits);
}

/// What was known of gaps, and where it is remembered.
struct Gaps {
    book: Mutex<GapBook>,
    ledger: Option<Arc<Ledger>>,
    state_dir: PathBuf,
    roots: Vec<PathBuf>,
    looks: LookPlan,
}

impl Gaps {
    fn of(config: &Config, ledger: Option<&Arc<Ledger>>) -> Self {
        let book = ledger.map(|ledger| ledger.gap_book()).unwrap_or_default();
        let roots = config.data_roots.iter().map(|root| root.path.clone()).collect();
        let late_files = if config.datasets.register { config.watch.late_files } else { Duration::ZERO };
        let looks = LookPlan::within(late_files);
        let (ledger, state_dir) = (ledger.cloned(), config.state_dir.clone());
        Self { book: Mutex::new(book), ledger, state_dir, roots, looks }
    }

    /// What was acknowledged of the session in this folder.
    fn accepted(&self, folder: &Path) -> AcceptedGaps {
        self.book().accepted(folder)
    }

    fn book(&self) -> MutexGuard<'_, GapBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers gaps that keep a flag, so that they can be acknowledged.
    async fn keep(&self, session: String, folder: &Path, eid: &str, gap: &Gap) {
        let change = self.book().keep(&session, folder, eid, gap, jiff::Timestamp::now());
        self.remember(vec![change]).await;
    }

    async fn remember(&self, changes: Vec<GapChange>) {
        if let Some(ledger) = self.ledger.clone().filter(|_| !changes.is_empty()) {
            // The ledger logs its own errors.
            let _ = tokio::task::spawn_blocking(move || ledger.change_gaps(&changes)).await;
        }
    }

    /// What a registered session lacks; remembers it.
    async fn judge(&self, session: String, folder: &Path, registered: &Registered) -> Option<GapRow> {
        // Without a ledger, files without a dataset type would be reported each time.
        let root = self.roots.iter().find(|root| self.ledger.is_some() && folder.starts_with(root));
        let root = root.map(PathBuf::as_path);
        let (gap, changes) = self.book().judge(&session, folder, registered, root, jiff::Timestamp::now());
        self.remember(changes).await;
        gap
    }

    /// Remembers when the daemon looks for late files.
    async fn plan_look(&self, session: &SessionPath, registered: &Registered) {
        let (Some(ledger), Some(wait)) = (self.ledger.clone(), self.looks.wait(0, alyx_client::jitter()))
        else {
            return;
        };
        let due = jiff::SignedDuration::try_from(wait).ok();
        let due = due.and_then(|wait| jiff::Timestamp::now().checked_add(wait).ok());
        let row = LookRow {
            folder: session.folder().to_owned(),
            session: session.to_string(),
            eid: registered.eid.clone(),
            done: 0,
            due: due.unwrap_or(jiff::Timestamp::MAX),
        };
        let change = LookChange::Set(row, Some(registered.snapshot.clone()));
        // The ledger logs its own errors.
        let _ = tokio::task::spawn_blocking(move || ledger.change_look(&change)).await;
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

/// Plans or registers one flag.
async fn process_flag(
    client: &RegistrationClient,
    options: &FlaggedOptions,
    flag: FlagFile,
    dry: bool,
    gaps: &Gaps,
    retry: &Backoff,
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
            match until_quiet(session, dry, retry, &mut place, attempt).await {
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
            match until_quiet(session, dry, retry, &mut place, attempt).await {
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

/// A worker's place, of which each data root has as many as there are workers.
struct Place {
    places: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    async fn enter(places: Arc<Semaphore>) -> Self {
        // Never closed.
        let permit = Arc::clone(&places).acquire_owned().await.ok();
        Self { places, permit }
    }

    /// Lets the other sessions go first, for at least that long.
    async fn leave_for(&mut self, wait: Duration) {
        self.permit = None;
        tokio::time::sleep(wait).await;
        self.permit = Arc::clone(&self.places).acquire_owned().await.ok();
    }
}

/// Plans or registers a flagged session, and tries again: a few times if its files are still changing, and as long as it
/// waits for the request of another program. A dry run waits for files to settle, once, and for nothing else.
async fn until_quiet<T>(
    session: &SessionPath,
    dry: bool,
    retry: &Backoff,
    place: &mut Place,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut logged, mut n_quiet, mut n_held) = (None, 1, 0);
    let max_attempts = if dry { 2 } else { MAX_ATTEMPTS };
    loop {
        let result = attempt().await;
        let error = result.as_ref().err().filter(|e| !dry || matches!(e, Error::StillChanging { .. }));
        let Some(error) = error else { return result };
        let wait = match (error.waits_for_request(), wait_to_settle(error)) {
            (Some(left), _) => {
                n_held += 1;
                retry.delay(n_held, alyx_client::jitter()).min(left)
            }
            (None, Some(wait)) if n_quiet < max_attempts => {
                n_quiet += 1;
                wait
            }
            _ => return result,
        };
        let reason = error.to_string();
        if logged.as_ref() != Some(&reason) {
            tracing::info!(session = %session, "{session} waits, and the other sessions go first: {reason}");
            logged = Some(reason);
        }
        place.leave_for(wait).await;
    }
}

/// How long to wait for the files of a session. What is missing may take hours, and is not waited for.
fn wait_to_settle(error: &Error) -> Option<Duration> {
    error.wait_to_settle().filter(|_| !matches!(error, Error::Incomplete { .. }))
}

impl FlagResult {
    fn name(&self) -> String {
        session_name(&self.session, &self.folder)
    }

    fn print(&self) {
        let name = self.name();
        let (files, size) = (count(self.files as u64, "dataset"), bytes(self.bytes));
        let eid = self.eid.as_deref().unwrap_or("-");
        match &self.outcome {
            ScanOutcome::Registered { left_out } => {
                let took = self.took.as_secs_f64();
                let sign = if self.gap.is_some() { "gaps    " } else { "ok      " };
                say!("{sign}{name}  {eid}  {files}, {size}, {took:.2} s{}", left_out_suffix(left_out));
            }
            ScanOutcome::Planned { left_out } => {
                let state = if self.eid.is_some() { eid } else { "new on Alyx" };
                say!("plan    {name}  {state}  {files}, {size}{}", left_out_suffix(left_out));
            }
            ScanOutcome::Waits(error) => say!("waits   {name}  {error}"),
            ScanOutcome::Gone => say!("gone    {name}  another program has removed its flag"),
            ScanOutcome::Failed(error) => say!("failed  {name}  {error}"),
        }
        let verb = if matches!(self.outcome, ScanOutcome::Planned { .. }) { "would move" } else { "moved" };
        for line in moved_lines(&self.moved, verb) {
            say!("{line}");
        }
        for line in self.request.iter().flat_map(|request| request_lines(request, self.described.as_deref()))
        {
            say!("{line}");
        }
        if let Some(gap) = &self.gap {
            say!("      {gap}");
        }
    }

    /// The row for the ledger; `None` for a dry run, while the files are still changing, and for the session of another
    /// program.
    fn to_row(&self, flag: &Path) -> Option<OutcomeRow> {
        let (outcome, left_out, error) = match &self.outcome {
            ScanOutcome::Planned { .. } | ScanOutcome::Waits(_) | ScanOutcome::Gone => return None,
            ScanOutcome::Failed(error) if error.is_elsewhere() || error.wait_to_settle().is_some() => {
                return None;
            }
            ScanOutcome::Registered { left_out, .. } => (self.registered_word(), left_out.clone(), None),
            ScanOutcome::Failed(error) if error.next_step() == NextStep::NeedsAttention => {
                ("needs_attention", String::new(), Some(error))
            }
            ScanOutcome::Failed(error) => ("retry", String::new(), Some(error)),
        };
        let session = self.session.as_ref().ok();
        Some(OutcomeRow {
            at: jiff::Timestamp::now(),
            session: self.name(),
            subject: session.map(|s| s.subject().to_owned()),
            date: session.map(|s| s.date().to_string()),
            flag: flag.to_owned(),
            attempt: 1,
            outcome: outcome.to_owned(),
            eid: self.eid.clone(),
            n_files: self.files as u64,
            bytes: self.bytes,
            took: self.took,
            left_out,
            described: self.described.clone(),
            files: match error {
                Some(Error::Gaps(gap)) => NamedFile::of(gap),
                _ => self.left_out.clone(),
            },
            kind: error.map(|error| error.kind().name().to_owned()),
            error: error.map(ToString::to_string),
            next_step: error.map(|error| error.kind().next_step().to_owned()),
            next: None,
        })
    }

    fn registered_word(&self) -> &'static str {
        if self.gap.is_some() { "gaps" } else { "registered" }
    }

    fn document(&self) -> String {
        let (outcome, left_out, error) = match &self.outcome {
            ScanOutcome::Registered { left_out } => (self.registered_word(), Some(left_out), None),
            ScanOutcome::Planned { left_out } => ("planned", Some(left_out), None),
            ScanOutcome::Waits(error) => ("waits", None, Some(error)),
            ScanOutcome::Gone => ("gone", None, None),
            ScanOutcome::Failed(error) => ("failed", None, Some(error)),
        };
        let error = error.map(|error| ErrorReport::from(error).of_session(self.name()));
        let errors = error.clone().into_iter().collect();
        let fields = FlagJson {
            session: self.name(),
            folder: (&self.folder).into(),
            eid: self.eid.as_deref(),
            datasets: self.files,
            bytes: self.bytes,
            took: self.took.as_secs_f64(),
            left_out: left_out.map(String::as_str),
            left_out_files: &self.left_out,
            gaps: self.gap.as_deref(),
            moved: moved_json(&self.moved),
            described: self.described.as_deref(),
            request: self.request.as_ref(),
            error,
        };
        Document::new("scan", outcome, fields, errors).line()
    }
}

/// The fields of `scan`, for one flag.
#[derive(Serialize)]
struct FlagJson<'a> {
    session: String,
    folder: PathText,
    eid: Option<&'a str>,
    datasets: usize,
    bytes: u64,
    /// In seconds.
    took: f64,
    left_out: Option<&'a str>,
    left_out_files: &'a [NamedFile],
    gaps: Option<&'a str>,
    moved: Vec<MovedPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a SessionRequest>,
    error: Option<ErrorReport>,
}

fn left_out_suffix(left_out: &str) -> String {
    if left_out.is_empty() { String::new() } else { format!("; left out: {left_out}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Error {
        let (url, reason) = ("http://x".into(), "refused".into());
        alyx_client::Error::Unreachable { url, reason, maybe_done: false, connected: false }.into()
    }

    #[test]
    fn what_does_not_answer_is_named_once_as_slow_and_once_as_hanging() {
        let steps = Arc::new(DiskSteps::default());
        let _listing = steps.begin("listing", Path::new("/share/x"));
        let (mut named, began) = (Named::default(), Instant::now());
        let mut look = |seconds| {
            let (slow, hanging) = named.look(&steps, began + Duration::from_secs(seconds));
            (slow.len(), hanging.len())
        };
        assert_eq!([1, 6, 7, 61, 62].map(&mut look), [(0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]);
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
