//! `verify`: reads the files of sessions and compares them with Alyx. Read-only.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod limits;
mod memory;
pub(crate) mod nightly;
mod order;
mod tally;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cli::args::VerifyArgs;
use crate::cli::audit::report::{Output, Report};
use crate::cli::audit::selection::{HANGS_AFTER, Selection, Words};
use crate::cli::exit::Exit;
use crate::cli::marks::report::Report as MarksReport;
use crate::cli::marks::{MarkOptions, MarkTotals, Marks};
use crate::cli::output::{Failure, exit_of, progress, say};
use crate::cli::remembered::Remembered;
use crate::cli::scan::scan_roots::scan_roots;
use crate::cli::service::wiring;
use crate::cli::verify::limits::{Limits, Stopped};
use crate::cli::verify::memory::{Memory, Planned};
use crate::cli::verify::tally::Tally;
use crate::config::Config;
use crate::daemon::outside::signals;
use crate::humanize::count;
use crate::json::error_report::ErrorReport;
use alyx_registration::{
    Checksum, Error, Finding, FindingKind, HeldCopy, Mark, Seen, SessionAudit, SessionPair,
};

/// How many sessions are compared with Alyx while the files of another one are read.
const AHEAD: usize = 4;

/// Verifies sessions.
pub(crate) async fn verify(args: &VerifyArgs) -> Exit {
    match verify_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("verify", args.json),
    }
}

async fn verify_with(args: &VerifyArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut config = wiring::configuration(&args.scope.config())?;
    if let Some(rate) = args.rate {
        config.reading.max_rate = Some(rate);
        config.reading.min_rate = config.reading.min_rate.min(rate);
    }
    let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
    wiring::check_login(&client).await?;
    let memory = Memory(Remembered::open_or_create(&config).ledger());
    if memory.0.is_none() {
        tracing::warn!(
            "what is verified is not remembered, so the next run does not continue this one: the ledger in {:?} cannot be \
             written; run verify as the service user or as root",
            config.state_dir
        );
    }
    let scanned = scan_roots(&config, &Default::default(), &shutdown).await;
    let report = Report { command: "verify", output: Output::of(args.json) };
    let words = Words { targets: &args.scope.targets, since: args.since, resumed: false };
    let selection = Selection::begin(&words, &config, client, scanned, report).await?;
    let since = args.older_than.and_then(|time| Timestamp::now().checked_sub(time).ok());
    let limits = Limits::of(args.time_limit, args.bytes, began);
    let mut tally = Tally::default();
    tally.not_compared = selection.missed as u64;
    let marks = Some(marks(args, &config));
    let tally = Mutex::new(tally);
    let verification = Verification { selection, memory, since, limits, marks, tally, due_only: None };
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            // What was read is remembered.
            if !args.json {
                verification.tally().lines().iter().for_each(|line| say!("{line}"));
            }
            return Err(Failure::interrupted().logged());
        }
        ended = verification.run() => ended,
    };
    let tally = verification.tally().clone();
    let (exit, errors) = match ended {
        Ok(()) => {
            let client = &verification.selection.client;
            let marks = match &verification.marks {
                Some(marks) => marks.finish(client, tally.files + tally.recent, &shutdown).await,
                None => MarkTotals::default(),
            };
            (marks.exit.unwrap_or_else(|| tally.exit()), marks.errors)
        }
        Err(error) => (exit_of(&error), vec![ErrorReport::from(&error)]),
    };
    report.summary(&tally, &tally.lines(), exit, errors);
    Ok(exit)
}

/// What may be marked: what is not there, and what is not what Alyx holds.
fn marks<'a>(args: &VerifyArgs, config: &'a Config) -> Marks<'a> {
    let options = MarkOptions { wanted: args.mark, many: args.mark_many, undo_list: args.undo_list.clone() };
    let zone = config.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    let report = MarksReport { command: "verify", json: args.json, zone };
    Marks::begin(config, options, &[Mark::Missing, Mark::BadCopy], report, HANGS_AFTER)
}

/// A verification in progress.
struct Verification<'a> {
    selection: Selection<'a>,
    memory: Memory,
    /// What was verified later is not read.
    since: Option<Timestamp>,
    limits: Limits,
    /// The daemon marks nothing.
    marks: Option<Marks<'a>>,
    tally: Mutex<Tally>,
    due_only: Option<DueOnly>,
}

/// Only sessions with files that are due are looked at, until this is cancelled.
struct DueOnly {
    stop: CancellationToken,
}

impl Verification<'_> {
    /// Verifies all sessions, until a limit.
    ///
    /// # Errors
    /// An outage, or a refused login.
    async fn run(&self) -> Result<(), Error> {
        self.selection.log_placements();
        let subjects = &self.selection.scope.subjects;
        if self.selection.report.output == Output::Text {
            let sessions = self.selection.scope.sessions() as u64;
            let of = count(subjects.len() as u64, "subject");
            say!(
                "verifying {} of {of}: what was verified longest ago comes first",
                count(sessions, "session")
            );
        }
        let mut pairs = Vec::new();
        for (subject, scope) in subjects {
            if self.reached() == Some(Stopped::Asked) {
                self.tally().stopped = Some(Stopped::Asked);
                return Ok(());
            }
            match self.selection.client.sessions_to_audit(subject, &scope.folders).await {
                Ok(of_it) => {
                    pairs.extend(of_it.into_iter().filter(|pair| self.selection.scope.takes(scope, pair)));
                }
                Err(error) => {
                    self.selection.failed(subject, &error);
                    if self.selection.is_cut_off(&error).await {
                        return Err(error);
                    }
                    self.tally().not_compared += 1;
                }
            }
        }
        let verified = self.memory.sessions().await;
        if self.due_only.is_some() {
            pairs.retain(|pair| order::is_due(pair, &verified, self.since));
        }
        order::sort(&mut pairs, &verified);
        let (done, all) = (AtomicU64::new(0), pairs.len() as u64);
        let began = Instant::now();
        let text = || {
            let (done, read) = (done.load(Ordering::Relaxed), self.tally().bytes);
            (progress::verifying(done, all, read, began.elapsed()), done, all)
        };
        match self.due_only {
            Some(_) => self.sessions(pairs, &done).await,
            None => progress::told(text, self.sessions(pairs, &done)).await,
        }
    }

    async fn sessions(&self, pairs: Vec<SessionPair>, done: &AtomicU64) -> Result<(), Error> {
        let all = pairs.len() as u64;
        let (permits, (compared_in, compared)) = (Semaphore::new(AHEAD), mpsc::unbounded_channel());
        let permits = &permits;
        let ahead = futures_util::stream::iter(pairs)
            .map(|pair| async move {
                let permit = permits.acquire().await;
                (self.selection.audit(&pair, true).await, pair, permit)
            })
            .buffered(AHEAD)
            .for_each(move |one| {
                // Without a receiver, the run has ended.
                let _ = compared_in.send(one);
                std::future::ready(())
            });
        // Both at the same time: an audit that is not polled may hold what the comparison of another session waits for.
        tokio::select! {
            ended = self.in_turn(compared, all, done) => ended,
            never = async {
                ahead.await;
                std::future::pending().await
            } => never,
        }
    }

    /// Verifies sessions that are compared, one after the other.
    async fn in_turn<P>(
        &self,
        mut compared: mpsc::UnboundedReceiver<(Result<Option<SessionAudit>, Error>, SessionPair, P)>,
        all: u64,
        done: &AtomicU64,
    ) -> Result<(), Error> {
        while let Some((audit, pair, permit)) = compared.recv().await {
            drop(permit);
            let ended = match audit {
                Ok(Some(audit)) => self.session(&pair, audit).await,
                // Its data root is lost, which was reported.
                Ok(None) => {
                    self.tally().not_compared += 1;
                    Ok(None)
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(None) => {}
                Ok(Some(stopped)) => {
                    let mut tally = self.tally();
                    tally.stopped = Some(stopped);
                    tally.sessions_left = all - done.load(Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if self.selection.is_cut_off(&error).await => {
                    self.selection.failed(&pair.name, &error);
                    return Err(error);
                }
                Err(error) => {
                    self.tally().not_compared += 1;
                    self.selection.not_compared(&pair.name, &error);
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Verifies a session. `Some`: a limit was reached before its end.
    async fn session(&self, pair: &SessionPair, audit: SessionAudit) -> Result<Option<Stopped>, Error> {
        if let Some(stopped) = self.reached() {
            return Ok(Some(stopped));
        }
        let SessionAudit { findings, copies, is_changing, .. } = audit;
        let mut findings: Vec<Finding> = findings.into_iter().filter(|f| f.kind.doubts_copy()).collect();
        if is_changing {
            self.changes(&pair.name);
        }
        self.found(&pair.name, &findings);
        let folders: Vec<PathBuf> = pair.folders.iter().map(|folder| folder.folder().to_owned()).collect();
        let files: Vec<PathBuf> = copies.iter().map(|copy| copy.file.clone()).collect();
        let Planned { mut to_read, recent } = self.memory.plan(folders.clone(), copies, self.since).await;
        self.tally().recent += recent;
        while !to_read.is_empty() {
            let piece = self.limits.piece(&to_read, self.tally().bytes);
            if let Some(stopped) = self.reached().or((piece == 0).then_some(Stopped::Bytes)) {
                self.looked_at(folders, &files, false).await;
                return Ok(Some(stopped));
            }
            let rest = to_read.split_off(piece);
            let new = match &self.due_only {
                None => self.piece(pair, &folders, to_read, &findings).await?,
                Some(due) => tokio::select! {
                    biased;
                    () = due.stop.cancelled() => return Ok(Some(Stopped::Asked)),
                    new = self.piece(pair, &folders, to_read, &findings) => new?,
                },
            };
            self.found(&pair.name, &new);
            findings.extend(new);
            to_read = rest;
        }
        self.looked_at(folders, &files, true).await;
        if let Some(marks) = self.marks.as_ref().filter(|_| !is_changing) {
            marks.take(&self.selection.client, pair, &findings, &self.selection.rules(false)).await;
        }
        self.tally().sessions += 1;
        Ok(None)
    }

    /// Remembers how far a session was read. `all`: to its end.
    async fn looked_at(&self, folders: Vec<PathBuf>, files: &[PathBuf], all: bool) {
        for folder in folders {
            let own = files.iter().filter(|file| file.starts_with(&folder)).cloned().collect();
            self.memory.session(&folder, own, all).await;
        }
    }

    /// Reads files of a session, and remembers what was read. Returns the differences.
    async fn piece(
        &self,
        pair: &SessionPair,
        folders: &[PathBuf],
        copies: Vec<HeldCopy>,
        known: &[Finding],
    ) -> Result<Vec<Finding>, Error> {
        let rules = self.selection.rules(true);
        let mut all = Vec::new();
        for folder in folders {
            let own: Vec<HeldCopy> = copies.iter().filter(|c| c.file.starts_with(folder)).cloned().collect();
            all.extend(self.selection.client.read_copies(folder, own, &rules).await?);
        }
        let is_equal = |(copy, read): &(HeldCopy, Result<Checksum, Error>)| {
            read.as_ref().is_ok_and(|read| copy.is_content(read.md5))
        };
        // What was deleted, truncated or registered anew since is no finding, or another one.
        let now = match all.iter().all(is_equal) {
            true => None,
            false => self.selection.audit(pair, true).await?,
        };
        let (mut read, mut findings) = (Vec::new(), Vec::new());
        for (copy, result) in all {
            let latest = now.as_ref().map(|now| now.copies.iter().find(|latest| latest.file == copy.file));
            let copy = match latest {
                Some(None) => {
                    let of_it = now.iter().flat_map(|now| &now.findings).filter(|finding| {
                        finding.path.as_ref() == Some(&copy.path)
                            && finding.kind.doubts_copy()
                            && !known.contains(finding)
                    });
                    findings.extend(of_it.cloned());
                    continue;
                }
                Some(Some(latest)) => latest.clone(),
                None => copy,
            };
            match result {
                Ok(checksum) => {
                    let mut tally = self.tally();
                    tally.files += 1;
                    tally.bytes += checksum.size;
                    tally.equal += u64::from(copy.is_content(checksum.md5));
                    read.push((copy, checksum));
                }
                Err(Error::StillChanging { .. }) => self.changes(&pair.name),
                Err(error) => {
                    let why = match &error {
                        Error::Unreadable { reason, .. } => reason.clone(),
                        other => other.to_string(),
                    };
                    findings.push(Finding {
                        kind: FindingKind::Unreadable,
                        path: Some(copy.path),
                        repository: copy.repository,
                        expected: None,
                        found: Some(Seen::Text(why)),
                    });
                }
            }
        }
        let mut rows = Vec::new();
        for (_, finding, row) in self.memory.judge(read).await? {
            findings.extend(finding);
            rows.push(row);
        }
        self.memory.keep(rows).await;
        findings.sort();
        Ok(findings)
    }

    /// Reports and counts differences.
    fn found(&self, session: &str, findings: &[Finding]) {
        self.tally().add(findings);
        self.selection.report.session(session, findings);
    }

    /// A session or a file in it that does not stay the same is not compared.
    fn changes(&self, session: &str) {
        tracing::warn!(
            session = %session,
            "session {session} changes while it is verified, so not all of its files were compared; run verify again"
        );
        self.tally().not_compared += 1;
    }

    fn reached(&self) -> Option<Stopped> {
        if self.due_only.as_ref().is_some_and(|due| due.stop.is_cancelled()) {
            return Some(Stopped::Asked);
        }
        self.limits.reached(self.tally().bytes, Instant::now())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
