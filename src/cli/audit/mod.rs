//! `audit`: compares what Alyx holds with what is on disk. Read-only, except for the flags of `--flag` and the marks of
//! `--mark`.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod flags;
mod marks;
mod position;
pub(super) mod report;
pub(super) mod scope;
pub(super) mod selection;
mod sums;
mod tally;
pub(super) mod targets;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt;
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use crate::cli::args::AuditArgs;
use crate::cli::audit::flags::{Flag, create, wanted};
pub(crate) use crate::cli::audit::marks::unmark;
use crate::cli::audit::position::{Position, PositionFile};
use crate::cli::audit::report::{Output, Report};
use crate::cli::audit::scope::{SubjectScope, Task};
use crate::cli::audit::selection::{HANGS_AFTER, Selection, Words};
use crate::cli::audit::sums::SumLists;
use crate::cli::exit::Exit;
use crate::cli::marks::Marks;
use crate::cli::output::{Failure, exit_of, progress, say};
use crate::cli::scan::scan_roots::{ScannedRoots, scan_roots};
use crate::cli::service::wiring;
use crate::config::Config;
use crate::daemon::outside::signals;
use crate::humanize::{count, length};
use crate::json::error_report::ErrorReport;
use alyx_registration::{Error, HeldSums, RegistrationClient, SessionAudit};

/// The least number of sessions that are compared at the same time: most of their time is Alyx's.
pub(super) const MIN_AT_ONCE: usize = 4;

/// Compares Alyx with the disk.
pub(crate) async fn audit(args: &AuditArgs) -> Exit {
    match audit_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("audit", args.json),
    }
}

async fn audit_with(args: &AuditArgs) -> Result<Exit, Failure> {
    if args.flag && !args.yes && !std::io::stdin().is_terminal() {
        let text = "--flag asks before it puts flags: run it on a terminal, or add --yes";
        return Err(Failure::new(Exit::Usage, text));
    }
    if args.flag && args.resume {
        let text =
            "--flag compares every session again, so it cannot be combined with --resume: run audit --flag";
        return Err(Failure::new(Exit::Usage, text));
    }
    let config = wiring::configuration(&args.scope.config())?;
    let sums = sums::begin(args, &config).await?;
    let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
    wiring::check_login(&client).await?;
    let scanned = scan_roots(&config, &Default::default(), &shutdown).await;
    let mut audit = Audit::begin(args, &config, client, scanned).await?;
    audit.state().sums = sums;
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(Failure::interrupted().logged()),
        ended = audit.run() => Ok(ended),
    };
    let cut_off = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(failure) => {
            audit.save().await;
            return Err(failure);
        }
    };
    if let Some(error) = cut_off {
        audit.save().await;
        if args.sums.is_some() {
            tracing::warn!("the lists of --sums are not complete and were not written; run the audit again");
        }
        let state = audit.state();
        audit.selection.report.totals(&state.position.tally, true, vec![ErrorReport::from(&error)]);
        if !args.json {
            say!("stopped after {}; audit --resume continues", state.shown());
        }
        return Ok(exit_of(&error));
    }
    audit.file.remove().await;
    let (mut tally, flags, sums) = {
        let mut state = audit.state();
        (state.position.tally.clone(), std::mem::take(&mut state.flags), state.sums.take())
    };
    let (mut errors, mut exit) = (Vec::new(), None);
    match sums::finished(sums).await {
        Ok(lines) if args.json => drop(lines),
        Ok(lines) => lines.iter().for_each(|line| say!("{line}")),
        Err(failure) => {
            exit = Some(failure.exit);
            errors.extend(failure.log().errors);
        }
    }
    if args.flag {
        for flag in wanted(flags, args).await? {
            match audit.put(flag, &shutdown).await {
                Ok(true) => tally.flag_put(),
                // Another program has flagged it since, or it is no longer needed.
                Ok(false) => {}
                Err(Some(report)) => errors.push(report),
                Err(None) => return Err(Failure::interrupted().logged()),
            }
        }
    }
    let marks = audit.marks.finish(&audit.selection.client, tally.datasets(), &shutdown).await;
    tally.marks(&marks);
    exit = exit.or(marks.exit);
    errors.extend(marks.errors);
    let exit = exit.unwrap_or(if errors.is_empty() { tally.exit() } else { Exit::Incomplete });
    audit.selection.report.totals(&tally, args.flag, errors);
    Ok(exit)
}

/// An audit in progress.
struct Audit<'a> {
    args: &'a AuditArgs,
    config: &'a Config,
    selection: Selection<'a>,
    /// The day before the start.
    yesterday: Option<Date>,
    /// Where an interrupted audit is continued.
    from: Position,
    file: PositionFile,
    marks: Marks<'a>,
    state: Mutex<State>,
}

/// What changes while it runs.
#[derive(Default)]
struct State {
    position: Position,
    /// The flags to put.
    flags: Vec<Flag>,
    /// The lists of `--sums`.
    sums: Option<SumLists>,
}

impl State {
    fn shown(&self) -> &str {
        if self.position.session.is_empty() { "no session" } else { &self.position.session }
    }
}

impl<'a> Audit<'a> {
    async fn begin(
        args: &'a AuditArgs,
        config: &'a Config,
        client: RegistrationClient,
        scanned: ScannedRoots,
    ) -> Result<Self, Failure> {
        let file = PositionFile::of(&config.state_dir);
        let description = description(args, config);
        let from = match args.resume {
            true => file.load().await.filter(|position| position.scope == description),
            false => None,
        };
        if args.resume && from.is_none() {
            tracing::info!(
                "there is no interrupted audit with these arguments: this one begins at the first session"
            );
        }
        let from = from.unwrap_or_default();
        let mut position = Position { scope: description, ..from.clone() };
        let resumed = !from.session.is_empty();
        let report = Report { command: "audit", output: Output::of(args.json) };
        let words = Words { targets: &args.scope.targets, since: args.since, resumed };
        let mut selection = Selection::begin(&words, config, client, scanned, report).await?;
        selection.sums = args.sums.is_some();
        position.tally.not_compared(selection.missed);
        Ok(Self {
            marks: marks::begin(args, config, HANGS_AFTER),
            args,
            config,
            selection,
            yesterday: jiff::Zoned::now().date().yesterday().ok(),
            from,
            file,
            state: Mutex::new(State { position, ..State::default() }),
        })
    }

    /// Compares all sessions.
    ///
    /// # Errors
    /// An outage, or a refused login: the other sessions would fail too, each after its own time-out.
    async fn run(&mut self) -> Result<(), Error> {
        let is_left = |subject: &&String| **subject >= self.from.subject;
        let subjects = self.selection.scope.subjects.keys().filter(is_left).count();
        let sessions = self.selection.scope.sessions();
        if !self.args.json {
            say!("{}", expectation(subjects, sessions, self.config.alyx.max_requests_per_minute));
        }
        self.selection.log_placements();
        let mut file = PositionFile::of(&self.config.state_dir);
        let done = AtomicU64::new(0);
        let work = self.work(&mut file, &done);
        progress::counted("comparing", "sessions", (&done, sessions as u64), work).await
    }

    async fn work(&self, file: &mut PositionFile, done: &AtomicU64) -> Result<(), Error> {
        let subjects = futures_util::stream::iter(&self.selection.scope.subjects);
        let tasks = subjects
            .filter(|(subject, _)| std::future::ready(**subject >= self.from.subject))
            .then(|(subject, scope)| self.tasks(subject, scope))
            .flat_map(futures_util::stream::iter);
        let at_once = self.config.workers.max(MIN_AT_ONCE);
        let audits = tasks.map(|task| async move {
            match task {
                Ok(task) => Ok((self.selection.audit(&task.pair, false).await, task)),
                Err(error) => Err(error),
            }
        });
        let mut audits = std::pin::pin!(audits.buffered(at_once));
        while let Some(result) = audits.next().await {
            let (audit, task) = match result {
                Ok(result) => result,
                Err(failed) => {
                    let (subject, error) = *failed;
                    self.selection.failed(&subject, &error);
                    // Compared when the audit is resumed.
                    if self.selection.is_cut_off(&error).await {
                        return Err(error);
                    }
                    self.state().position.tally.not_compared(1);
                    continue;
                }
            };
            match audit {
                Ok(audit) => {
                    if let Some(audit) = audit.as_ref().filter(|audit| !audit.is_changing) {
                        let rules = self.selection.rules(false);
                        self.marks.take(&self.selection.client, &task.pair, &audit.findings, &rules).await;
                    }
                    self.take(&task, audit).await;
                }
                Err(error) if self.selection.is_cut_off(&error).await => {
                    self.selection.failed(&task.pair.name, &error);
                    return Err(error);
                }
                Err(error) => self.not_compared(&task, &error),
            }
            if !task.pair.folders.is_empty() {
                done.fetch_add(1, Ordering::Relaxed);
            }
            if task.is_last_of_name {
                let position = {
                    let mut state = self.state();
                    state.position.subject = task.subject;
                    state.position.session = task.pair.name;
                    file.is_due().then(|| state.position.clone())
                };
                if let Some(position) = position {
                    file.write(&position).await;
                }
            }
        }
        Ok(())
    }

    /// The sessions of a subject.
    async fn tasks(&self, subject: &str, scope: &SubjectScope) -> Vec<Result<Task, Box<(String, Error)>>> {
        let mut pairs = match self.selection.client.sessions_to_audit(subject, &scope.folders).await {
            Ok(pairs) => pairs,
            Err(error) => return vec![Err(Box::new((subject.to_owned(), error)))],
        };
        pairs.retain(|pair| {
            self.selection.scope.takes(scope, pair) && !self.from.is_done(subject, &pair.name)
        });
        let mut next: Vec<Option<String>> =
            pairs.iter().skip(1).map(|pair| Some(pair.name.clone())).collect();
        next.push(None);
        let tasks = pairs.into_iter().zip(next).map(|(pair, next)| {
            let is_last_of_name = next.as_ref() != Some(&pair.name);
            Ok(Task { subject: subject.to_owned(), pair, is_last_of_name })
        });
        tasks.collect()
    }

    /// Whether a session may get a flag: one of today or yesterday may still be recorded, unless a person names it.
    fn may_flag(&self, task: &Task) -> bool {
        let is_named =
            self.selection.scope.subjects.get(&task.subject).is_some_and(|subject| subject.names(&task.pair));
        let date = task.pair.name.rsplit('/').nth(1).unwrap_or_default();
        is_named || self.yesterday.is_none_or(|yesterday| date < yesterday.to_string().as_str())
    }

    /// Reports and counts a session.
    async fn take(&self, task: &Task, audit: Option<SessionAudit>) {
        let Some(mut audit) = audit else {
            self.state().position.tally.not_compared(1);
            return;
        };
        self.list(std::mem::take(&mut audit.sums)).await;
        let mut state = self.state();
        state.position.tally.add(&audit.totals);
        if audit.is_changing {
            tracing::warn!(
                session = %task.pair.name,
                "session {} changes while it is compared: only the differences that last are listed; run audit again",
                task.pair.name
            );
            state.position.tally.not_compared(1);
        }
        if let Some((folder, need)) = audit.flag.filter(|_| self.may_flag(task)) {
            state.position.tally.could_be_flagged();
            if let Some(name) = self.config.flags.first().filter(|_| self.args.flag) {
                state.flags.push(Flag { path: folder.join(name), need, task: task.clone() });
            }
        } else if audit.is_recent && self.args.flag {
            tracing::info!(
                session = %task.pair.name,
                "session {} gets no flag yet: its files changed within the last hour",
                task.pair.name
            );
        }
        drop(state);
        self.selection.report.session(&task.pair.name, &audit.findings);
    }

    /// Adds to the lists of `--sums`. One that cannot be written is reported once, and the audit goes on.
    async fn list(&self, sums: HeldSums) {
        let Some(mut lists) = self.state().sums.take() else { return };
        let added = tokio::task::spawn_blocking(move || lists.add(&sums).map(|()| lists)).await;
        match added.unwrap_or_else(|error| Err(Failure::new(Exit::Io, error))) {
            Ok(lists) => self.state().sums = Some(lists),
            Err(failure) => {
                let mut state = self.state();
                state.position.tally.not_compared(1);
                drop(state);
                failure.log();
            }
        }
    }

    /// Reports a session that could not be compared, or the data root that it was in, once.
    fn not_compared(&self, task: &Task, error: &Error) {
        self.state().position.tally.not_compared(1);
        self.selection.not_compared(&task.pair.name, error);
    }

    /// Puts a flag where there is none, if the session still needs it. `false`: there is one, or it needs none. `None`
    /// as the error: interrupted.
    async fn put(&self, flag: Flag, shutdown: &CancellationToken) -> Result<bool, Option<ErrorReport>> {
        let Flag { path, need, task } = flag;
        let compared = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(None),
            compared = self.selection.audit(&task.pair, false) => compared,
        };
        let now = match compared {
            Ok(audit) => audit.and_then(|audit| audit.flag),
            Err(error) => {
                self.selection.failed(&task.pair.name, &error);
                return Err(Some(ErrorReport::from(&error).of_session(&task.pair.name)));
            }
        };
        let still = now.filter(|(folder, _)| path.parent() == Some(folder));
        match still.and_then(|(_, now)| need.and(&now).content()) {
            Some(content) => create(path, content).await.map_err(Some),
            None => Ok(false),
        }
    }

    /// Remembers where it is, for `--resume`.
    async fn save(&mut self) {
        let position = self.state().position.clone();
        if !position.session.is_empty() {
            self.file.write(&position).await;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells one audit from another.
fn description(args: &AuditArgs, config: &Config) -> String {
    let roots: Vec<&PathBuf> = config.data_roots.iter().map(|root| &root.path).collect();
    format!("{} {roots:?} {:?} {:?}", config.alyx.url, args.scope.targets, args.since)
}

/// What the audit will cost. Pure.
fn expectation(subjects: usize, sessions: usize, per_minute: u32) -> String {
    let requests = subjects as u64 + sessions as u64;
    let minutes = requests / u64::from(per_minute.max(1));
    let time = match minutes {
        0 => "less than a minute".to_owned(),
        _ => format!(
            "about {}",
            length(jiff::SignedDuration::from_mins(minutes.try_into().unwrap_or(i64::MAX / 60)))
        ),
    };
    format!(
        "comparing {} of {}: {time}, with {} at {per_minute} a minute (alyx.max_requests_per_minute)",
        count(sessions as u64, "session"),
        count(subjects as u64, "subject"),
        count(requests, "request"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_time_follows_from_the_limit_of_requests() {
        assert!(expectation(1, 1, 300).contains("less than a minute"));
        let year = expectation(40, 12_000, 300);
        assert!(year.starts_with("comparing 12000 sessions of 40 subjects: about 40 min"), "{year}");
    }
}
