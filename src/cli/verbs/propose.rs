//! `propose`: what Alyx lacks to register sessions, as text, as REST requests, or created one record at a time.

use std::io;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cli::args::ProposeArgs;
use crate::cli::exit::Exit;
use crate::cli::output::progress;
use crate::cli::output::terminal::{Terminal, TerminalError};
use crate::cli::output::{Failure, report_error, say};
use crate::cli::service::wiring;
use crate::cli::verbs::connect::connect_with_config;
use crate::cli::verbs::output::{Answer, absolute_path, finish, run_verb};
use crate::config::Config;
use crate::daemon::outside::signals;
use crate::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout};
use crate::daemon::tree::scan::{ScanProblem, scan};
use crate::humanize::count;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::PathText;
use alyx_client::Endpoint;
use alyx_client::text::is_hidden;
use alyx_registration::advice::Kind;
use alyx_registration::{
    Applied, ByHand, Change, Error, Needs, Proposal, RecordOutcome, RegistrationClient, RestCall, Survey,
};

/// A proposal, and what it is for.
struct Proposed {
    client: RegistrationClient,
    proposal: Proposal,
    sessions: usize,
    folder: PathBuf,
    /// Folders that could not be taken into account.
    left_out: Vec<ErrorReport>,
}

/// Shows or creates what Alyx lacks.
pub(crate) async fn propose(args: &ProposeArgs) -> Exit {
    let json = args.verb.json;
    if !args.apply {
        let work = async {
            let proposed = find(args).await?;
            proposed.report_left_out(json);
            proposed.answer(args.rest)
        };
        return run_verb("propose", json, work).await;
    }
    if !args.yes && !io::stdin().is_terminal() {
        let failure = Failure::new(
            Exit::Usage,
            "--apply asks before it creates a record: run it on a terminal, or add --yes",
        );
        return failure.end("propose", json);
    }
    // Not `run_verb`: after a signal the undo list must still be printed.
    let shutdown = CancellationToken::new();
    if let Err(error) = signals::listen(shutdown.clone()) {
        return Failure::no_signals(&error).end("propose", json);
    }
    let outcome = match find(args).await {
        Ok(proposed) => {
            proposed.report_left_out(json);
            apply(&proposed, args, &shutdown).await
        }
        Err(failure) => Err(failure),
    };
    finish("propose", json, outcome)
}

/// Lists the sessions, asks Alyx, and decides.
async fn find(args: &ProposeArgs) -> Result<Proposed, Failure> {
    let folder = absolute_path(&args.folder)?;
    let (client, config) = connect_with_config(&args.verb.connection)?;
    let needs = needs(args, config.as_ref())?;
    let (sessions, mut left_out) = session_folders(&folder, config.as_ref()).await?;
    if sessions.is_empty() && left_out.is_empty() {
        let advice = "name a data root, the folder of a subject, or a session, such as KS014/2024-05-01/001";
        return Err(Failure::new(Exit::Incomplete, format!("there is no session in {folder:?}; {advice}")));
    }
    let options = config.as_ref().map(wiring::flagged).unwrap_or_default();
    let (mut survey, listed) = (Survey::default(), AtomicU64::new(0));
    let listing = async {
        for session in &sessions {
            // One badly named or unreadable folder does not hold up the others.
            if let Err(error) = client.survey(&mut survey, session, &options).await {
                left_out.push(ErrorReport { path: Some(session.into()), ..ErrorReport::from(&error) });
            }
            listed.fetch_add(1, Ordering::Relaxed);
        }
    };
    progress::counted("listing", "sessions", (&listed, sessions.len() as u64), listing).await;
    let n_sessions =
        sessions.len() - sessions.iter().filter(|session| is_left_out(session, &left_out)).count();
    if n_sessions == 0 {
        return Err(Failure::of_errors(Exit::Incomplete, left_out));
    }
    let known = client.known_records(&survey, &needs).await?;
    let proposal = Proposal::new(&survey, &needs, &known);
    Ok(Proposed { client, proposal, sessions: n_sessions, folder, left_out })
}

/// Whether a session could not be taken into account.
fn is_left_out(session: &Path, left_out: &[ErrorReport]) -> bool {
    let path = PathText::from(session);
    left_out.iter().any(|error| error.path.as_ref() == Some(&path))
}

/// The session folders in a folder, with those that are badly named, and the folders that cannot be listed.
async fn session_folders(
    folder: &Path,
    config: Option<&Config>,
) -> Result<(Vec<PathBuf>, Vec<ErrorReport>), Failure> {
    if let Err(error) = tokio::fs::read_dir(folder).await {
        return Err(Failure::new(Exit::Incomplete, format!("{folder:?} cannot be read: {error}")));
    }
    let flags = config.map_or_else(|| vec!["create_me.flag".to_owned()], |config| config.flags.clone());
    let layout = Layout { root: folder.to_owned(), flags, max_depth: DEFAULT_MAX_DEPTH };
    let found = tokio::task::spawn_blocking(move || scan(layout, &|| false)).await;
    let found =
        found.map_err(|error| Failure::new(Exit::Io, format!("the folder cannot be listed: {error}")))?;
    let flagged = found.flags.iter().filter_map(|flag| flag.path.parent().map(Path::to_owned));
    let mut folders: Vec<PathBuf> = flagged.chain(found.unflagged).chain(found.misnamed).collect();
    folders.sort();
    folders.dedup();
    let unreadable = found.problems.into_iter().filter_map(|problem| match problem {
        ScanProblem::Unreadable { folder, source } => {
            let report = ErrorReport::of_kind(
                Kind::Unreadable,
                format!(
                    "{folder:?} cannot be listed ({source}): sessions in it are left out; make it readable for this user"
                ),
            );
            Some(report.at(&folder))
        }
        _ => None,
    });
    Ok((folders, unreadable.collect()))
}

/// Reads an address to which Alyx appends the path of a file.
fn data_url(text: &str) -> Result<String, Failure> {
    let is_full = reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    });
    if !is_full || text.contains(['?', '#', ' ']) {
        let example = "https://data.example.org/mylab/Subjects/";
        let error =
            format!("--data-url: {text:?} is not an address that ends with a path, such as {example}");
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(if text.ends_with('/') { text.to_owned() } else { format!("{text}/") })
}

/// What the sessions need: the arguments, else the configuration.
fn needs(args: &ProposeArgs, config: Option<&Config>) -> Result<Needs, Failure> {
    let typed = [
        (Endpoint::Users, args.users.clone()),
        (Endpoint::Projects, args.projects.clone()),
        (Endpoint::Locations, Vec::from_iter(args.location.clone())),
        (Endpoint::Procedures, Vec::new()),
        (Endpoint::Labs, Vec::from_iter(args.lab.clone())),
    ];
    // The repository of a session depends on its folder.
    let configured = config.map(Config::names).unwrap_or_default();
    let names = typed.into_iter().flat_map(|(endpoint, names)| {
        let names = match names.is_empty() {
            false => names,
            true => {
                let of_key = configured.iter().filter(|key| key.endpoint == endpoint);
                of_key.flat_map(|key| key.names.iter().map(ToString::to_string)).collect()
            }
        };
        names.into_iter().map(move |name| (endpoint, name))
    });
    let (labs, names): (Vec<_>, Vec<_>) = names.partition(|(endpoint, _)| *endpoint == Endpoint::Labs);
    let zone = config.and_then(|config| config.timezone.clone()).unwrap_or_else(jiff::tz::TimeZone::system);
    Ok(Needs {
        lab: labs.into_iter().next().map(|(_, name)| name),
        repository: args.repository.clone(),
        data_url: args.data_url.as_deref().map(data_url).transpose()?,
        timezone: zone.iana_name().map(str::to_owned),
        names,
    })
}

impl Proposed {
    /// Prints which folders were left out, on standard error: with `--rest`, standard output is a script.
    fn report_left_out(&self, json: bool) {
        self.left_out.iter().filter(|_| !json).for_each(|error| report_error(&error.message));
    }

    fn answer(&self, as_rest: bool) -> Result<Answer, Failure> {
        let lines = if as_rest { self.rest_lines() } else { self.lines() };
        let is_incomplete =
            !self.proposal.is_empty() || self.proposal.has_problems || !self.left_out.is_empty();
        let mut answer = Answer::new(lines, self.json(None))?.incomplete_if(is_incomplete);
        answer.errors.clone_from(&self.left_out);
        Ok(answer)
    }

    fn lines(&self) -> Vec<String> {
        let (proposal, sessions) = (&self.proposal, count(self.sessions as u64, "session"));
        let mut lines = Vec::new();
        if proposal.is_empty() && proposal.has_problems {
            lines.push(format!(
                "As far as its files can be read, Alyx has everything for {sessions} in {}",
                self.folder.display()
            ));
        } else if proposal.is_empty() {
            lines.push(format!("Alyx has everything for {sessions} in {}", self.folder.display()));
        } else {
            lines.push(format!("For {sessions} in {}, Alyx lacks:", self.folder.display()));
        }
        lines.extend(proposal.changes.iter().map(|change| format!("  {}", described(change))));
        if !proposal.by_hand.is_empty() {
            lines.push("An admin creates or changes these on Alyx's pages:".to_owned());
        }
        lines.extend(proposal.by_hand.iter().map(|record| format!("  {}", self.by_hand(record))));
        if !proposal.open.is_empty() {
            lines.push("To decide:".to_owned());
        }
        lines.extend(proposal.open.iter().map(|open| format!("  {open}")));
        if !proposal.notes.is_empty() {
            lines.push("To correct in the session folders, not on Alyx:".to_owned());
        }
        lines.extend(proposal.notes.iter().map(|note| format!("  {note}")));
        if !proposal.changes.is_empty() {
            lines.push(
                "To create what Alyx lacks, run this again with --apply; to see the requests, with --rest"
                    .to_owned(),
            );
        }
        lines
    }

    fn by_hand(&self, record: &ByHand) -> String {
        let ByHand { what, name, page, reason, near } = record;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        format!("{what} {name}{reason}{}  {}{page}", did_you_mean(near), self.client.alyx().url())
    }

    /// The requests as curl commands; what cannot be requested, as comments.
    fn rest_lines(&self) -> Vec<String> {
        let calls = self.proposal.changes.iter().map(|change| curl(self.client.alyx().url(), &change.call()));
        let by_hand = self.proposal.by_hand.iter().map(|record| format!("# {}", self.by_hand(record)));
        let open = self.proposal.open.iter().map(|open| format!("# {open}"));
        // The requests build on one another.
        std::iter::once("set -e".to_owned()).chain(calls).chain(by_hand).chain(open).collect()
    }

    fn json<'a>(&'a self, applied: Option<AppliedJson<'a>>) -> ProposalJson<'a> {
        let base = self.client.alyx().url();
        let change = |change: &'a Change| ChangeJson {
            kind: change.endpoint.member(),
            name: &change.name,
            reason: &change.reason,
            near: &change.near,
            call: change.call().into(),
            undo: change.undo(None).into(),
        };
        let by_hand = |record: &'a ByHand| ByHandJson {
            kind: record.what,
            name: &record.name,
            page: format!("{base}{}", record.page),
            reason: &record.reason,
            near: &record.near,
        };
        ProposalJson {
            folder: (&self.folder).into(),
            sessions: self.sessions,
            changes: self.proposal.changes.iter().map(change).collect(),
            by_hand: self.proposal.by_hand.iter().map(by_hand).collect(),
            open: &self.proposal.open,
            notes: &self.proposal.notes,
            applied,
        }
    }
}

/// The fields of `propose`.
#[derive(Serialize)]
struct ProposalJson<'a> {
    folder: PathText,
    sessions: usize,
    changes: Vec<ChangeJson<'a>>,
    by_hand: Vec<ByHandJson<'a>>,
    open: &'a [String],
    notes: &'a [String],
    /// Only with `--apply`.
    #[serde(flatten)]
    applied: Option<AppliedJson<'a>>,
}

/// A record to create or change over REST.
#[derive(Serialize)]
struct ChangeJson<'a> {
    kind: &'static str,
    name: &'a str,
    reason: &'a str,
    near: &'a [String],
    call: CallJson,
    undo: CallJson,
}

/// A record that an admin creates on this page of Alyx.
#[derive(Serialize)]
struct ByHandJson<'a> {
    kind: &'static str,
    name: &'a str,
    page: String,
    reason: &'a str,
    near: &'a [String],
}

/// A REST request, below the address of Alyx.
#[derive(Serialize)]
struct CallJson {
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl From<RestCall> for CallJson {
    fn from(RestCall { method, path, body }: RestCall) -> Self {
        Self { method, path, body }
    }
}

/// What was made, and the requests that undo it, in this order.
#[derive(Serialize)]
struct AppliedJson<'a> {
    made: Vec<MadeJson<'a>>,
    undo: Vec<UndoJson<'a>>,
}

/// A record that was created or changed, as Alyx sends it.
#[derive(Serialize)]
struct MadeJson<'a> {
    kind: &'static str,
    name: &'a str,
    outcome: RecordOutcome,
    record: &'a Value,
}

/// A request that undoes a change of the record with this UUID.
#[derive(Serialize)]
struct UndoJson<'a> {
    #[serde(flatten)]
    call: CallJson,
    id: Option<&'a str>,
}

fn described(change: &Change) -> String {
    let verb = if change.before.is_some() { "change of " } else { "" };
    let Change { endpoint, name, reason, near, .. } = change;
    format!("{verb}{} {name}: {reason}{}", endpoint.member(), did_you_mean(near))
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) }
}

/// A request as a command line. The token comes from the environment and is piped in: it must not appear in the list of
/// processes.
fn curl(base: &str, call: &RestCall) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let address = quoted(&format!("{}{}", base.trim_end_matches('/'), call.path));
    let body = call
        .body
        .as_ref()
        .map(|body| format!(" -H 'Content-Type: application/json' -d {}", quoted(&visible_json(body))));
    let body = body.unwrap_or_default();
    format!("echo \"Authorization: Token $ALYX_TOKEN\" | curl -fsS -H @- -X {} {address}{body}", call.method)
}

/// JSON without invisible characters, which could control a terminal. They only occur in strings, where JSON escapes them.
fn visible_json(value: &Value) -> String {
    let escaped = |letter: char| match is_hidden(letter) {
        true => format!("\\u{:04x}", u32::from(letter)),
        false => letter.to_string(),
    };
    value.to_string().chars().map(escaped).collect()
}

/// A change that was made, and its record on Alyx.
struct Made<'a> {
    change: &'a Change,
    record: Value,
    /// Whether Alyx showed the record afterwards.
    is_confirmed: bool,
}

/// What became of the changes.
#[derive(Default)]
struct Results<'a> {
    made: Vec<Made<'a>>,
    skipped: usize,
    /// Made by another program.
    existing: usize,
    failure: Option<Failure>,
}

impl<'a> Results<'a> {
    fn made(&mut self, change: &'a Change, record: Value, is_confirmed: bool) {
        self.made.push(Made { change, record, is_confirmed });
    }

    fn failed(&mut self, mut failure: Failure) {
        if let Some(earlier) = self.failure.take() {
            failure.errors = [earlier.errors, failure.errors].concat();
        }
        self.failure = Some(failure);
    }
}

/// Makes the changes, each after a question. One that Alyx refuses holds up only those that need it; any other failure
/// ends the work. The answer ends with the requests that undo them.
async fn apply(
    proposed: &Proposed,
    args: &ProposeArgs,
    shutdown: &CancellationToken,
) -> Result<Answer, Failure> {
    let (mut results, mut refused) = (Results::default(), Vec::<&Change>::new());
    let mut terminal = match args.yes {
        true => None,
        false => Some(Terminal::new().map_err(|error| Failure::new(Exit::Io, error))?),
    };
    for change in &proposed.proposal.changes {
        if shutdown.is_cancelled() {
            results.failed(Failure::interrupted());
            break;
        }
        let name = format!("{} {}", change.endpoint.member(), change.name);
        if refused.iter().any(|earlier| is_needed(earlier, change)) {
            results.skipped += 1;
            if !args.verb.json {
                say!("skipped  {name}: its repository was not created");
            }
            continue;
        }
        match is_wanted(change, terminal.as_mut(), args).await {
            Ok(true) => {}
            Ok(false) => {
                results.skipped += 1;
                continue;
            }
            Err(error) => {
                results.failed(error);
                break;
            }
        }
        match proposed.client.apply_change(change).await {
            Ok(Applied::Made(record)) => {
                results.made(change, record, true);
                if !args.verb.json {
                    say!("{}  {name}", if change.before.is_some() { "changed" } else { "created" });
                }
            }
            Ok(Applied::NotConfirmed(record, error)) => {
                results.made(change, record, false);
                results.failed(Failure::from(error).of_record(name));
                break;
            }
            // Not on the undo list: another program or person made it, and needs it.
            Ok(Applied::Existing) => {
                results.existing += 1;
                if !args.verb.json {
                    say!("exists already  {name}");
                }
            }
            Ok(Applied::Changed) => {
                let (noun, name) = (change.endpoint.member(), &change.name);
                let report = ErrorReport::of_kind(
                    Kind::Invalid,
                    format!("the {noun} {name} was changed on Alyx in the meantime; run the command again"),
                );
                let next_step = "run it again".to_owned();
                let report = ErrorReport { retryable: true, next_step, ..report };
                results.failed(Failure::reported(Exit::Incomplete, report));
                break;
            }
            // What Alyx refused is not made, whatever is there.
            Err(error @ Error::Alyx(alyx_client::Error::Refused { .. })) => {
                refused.push(change);
                results.failed(Failure::from(error).of_record(name));
            }
            Err(error) => {
                // The answer may have been lost.
                if let Ok(Some(record)) = proposed.client.find_applied(change).await {
                    results.made(change, record, true);
                }
                results.failed(Failure::from(error).of_record(name));
                break;
            }
        }
    }
    report(proposed, results, args.verb.json)
}

/// Whether a change refers to the record of another: a lab to its repositories.
fn is_needed(earlier: &Change, by: &Change) -> bool {
    let repositories = by.body.get("repositories").and_then(Value::as_array);
    earlier.endpoint == Endpoint::Repositories
        && repositories.is_some_and(|names| names.contains(&Value::from(earlier.name.as_str())))
}

/// Whether a change is to be made.
async fn is_wanted(
    change: &Change,
    terminal: Option<&mut Terminal>,
    args: &ProposeArgs,
) -> Result<bool, Failure> {
    let verb = if change.before.is_some() { "Make the" } else { "Create" };
    let Some(terminal) = terminal else {
        if !change.near.is_empty() && !args.verb.json {
            say!("skipped  {}; create it without --yes", described(change));
        }
        return Ok(change.near.is_empty());
    };
    match terminal.ask(&format!("{verb} {}? [y/N]", described(change))).await {
        Ok(answer) => Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes")),
        Err(TerminalError::Stopped) => Err(Failure::interrupted()),
        Err(error) => Err(Failure::new(Exit::Io, error)),
    }
}

/// What was made, what is left, and how to undo it, the last change first.
fn report(proposed: &Proposed, results: Results<'_>, json: bool) -> Result<Answer, Failure> {
    let Results { made, skipped, existing, failure } = results;
    let base = proposed.client.alyx().url();
    let mut lines = Vec::new();
    let proposal = &proposed.proposal;
    let left = [
        (skipped, "record", "skipped"),
        (proposal.by_hand.len(), "record", "that an Alyx admin must create on Alyx's admin pages"),
        (proposal.open.len(), "question", "that you must decide"),
    ];
    let left: Vec<String> = left
        .iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, what, why)| format!("{} {why}", count(*n as u64, what)))
        .collect();
    let n_made = made.iter().filter(|made| made.is_confirmed).count();
    lines.push(format!("{n_made} of {} changes made", proposal.changes.len()));
    if existing > 0 {
        lines.push(format!("{} on Alyx already, made by another program", count(existing as u64, "record")));
    }
    if !left.is_empty() {
        lines.push(format!(
            "still missing: {}; run the command again without --apply to see them",
            left.join(", ")
        ));
    }
    let mut undo = Vec::new();
    if !made.is_empty() {
        lines.push(
            "To undo this, in this order, and before sessions are registered: with a record Alyx deletes what refers to it, with a lab its subjects and sessions:"
                .to_owned(),
        );
    }
    for Made { change, record, .. } in made.iter().rev() {
        let id = record.get("id").and_then(Value::as_str);
        let id_text = id.map(|id| format!("  # id {id}")).unwrap_or_default();
        lines.push(format!("  {}{id_text}", curl(base, &change.undo(Some(record)))));
        undo.push(UndoJson { call: change.undo(Some(record)).into(), id });
    }
    let confirmed = made.iter().filter(|made| made.is_confirmed);
    let made = confirmed.map(|Made { change, record, .. }| MadeJson {
        kind: change.endpoint.member(),
        name: &change.name,
        outcome: if change.before.is_some() { RecordOutcome::Updated } else { RecordOutcome::Created },
        record,
    });
    let applied = AppliedJson { made: made.collect(), undo };
    let is_left = skipped > 0
        || !proposal.by_hand.is_empty()
        || !proposal.open.is_empty()
        || proposal.has_problems
        || !proposed.left_out.is_empty();
    let mut answer = Answer::new(lines, proposed.json(Some(applied)))?.incomplete_if(is_left);
    if let Some(failure) = failure {
        if !json {
            failure.errors.iter().for_each(|error| report_error(&error.message));
        }
        (answer.exit, answer.errors) = (failure.exit, failure.errors);
    }
    answer.errors.extend(proposed.left_out.iter().cloned());
    Ok(answer)
}
