//! The output and the exit code of a one-shot command.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args::{self, endpoint_word};
use crate::cli::exit::Exit;
use crate::cli::output::report_error;
use crate::daemon::outside::signals;
use crate::humanize;
use alyx_client::text::printable;
use alyx_client::{self, Endpoint, NextStep};
use alyx_registration::{Error, LeftOut, LeftOutSummary, MissingName};

/// The result of a command.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) exit: Exit,
    /// The lines to print.
    pub(super) text: Vec<String>,
    /// The object of `--json`, without its first field `outcome`.
    pub(super) json: Map<String, Value>,
    /// Whether this was a dry run.
    pub(super) planned: bool,
}

impl Answer {
    /// A success.
    pub(super) fn new(text: Vec<String>, json: Value) -> Self {
        let json = match json {
            Value::Object(fields) => fields,
            other => Map::from_iter([("answer".to_owned(), other)]),
        };
        Self { exit: Exit::Success, text, json, planned: false }
    }

    /// Marks a dry run.
    pub(super) fn planned(self) -> Self {
        Self { planned: true, ..self }
    }

    /// Exits with [`Exit::Incomplete`] if something was not done, or the answer is no.
    pub(super) fn incomplete_if(self, incomplete: bool) -> Self {
        if incomplete { Self { exit: Exit::Incomplete, ..self } } else { self }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) error: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl ToString) -> Self {
        Self { exit, error: error.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = exit_of(&error);
        let mut text = error.to_string();
        if let Error::Missing(names) = &error {
            text = text.replace("in the folder or the configuration", &format!("in {}", places(names)));
            text += &format!("; {} lists those on Alyx", lists(names));
        }
        if matches!(&error, Error::Alyx(alyx_client::Error::Options(_))) {
            text += "; on the command line that is --user";
        }
        Self { exit, error: text }
    }
}

/// Where the names of a command are written.
fn places(names: &[MissingName]) -> String {
    let place = |name: &MissingName| match name.endpoint {
        Endpoint::Subjects => "the subject or its folder",
        Endpoint::Labs => "--lab or the folder",
        Endpoint::Users => "--users or --by",
        Endpoint::Projects => "--projects",
        Endpoint::Procedures => "--procedures",
        Endpoint::Locations => "--location",
        Endpoint::Repositories => "--repository",
        Endpoint::DatasetTypes | Endpoint::DataFormats => "the configuration",
    };
    let mut places: Vec<&str> = names.iter().map(place).collect();
    places.dedup();
    places.join(" and ")
}

/// The commands that list the names on Alyx.
fn lists(names: &[MissingName]) -> String {
    let list = |name: &MissingName| format!("`alyx-registrar exists {}`", endpoint_word(name.endpoint));
    let mut lists: Vec<String> = names.iter().map(list).collect();
    lists.dedup();
    lists.join(" or ")
}

impl From<alyx_client::Error> for Failure {
    fn from(error: alyx_client::Error) -> Self {
        Error::from(error).into()
    }
}

/// The exit code for an error. Pure.
pub(super) fn exit_of(error: &Error) -> Exit {
    if error.next_step() == NextStep::NeedsCredentials {
        return Exit::Refused;
    }
    match error {
        error if error.is_outage() => Exit::Unavailable,
        Error::Alyx(alyx_client::Error::Options(_)) => Exit::Config,
        _ => Exit::Incomplete,
    }
}

/// Runs a command until it ends or a signal stops it, and prints the result.
pub(super) async fn run_verb(json: bool, work: impl Future<Output = Result<Answer, Failure>>) -> Exit {
    run(json, work, async || true).await
}

/// `all_answered`: whether everything that was sent is answered, after a while at most.
pub(super) async fn run(
    json: bool,
    work: impl Future<Output = Result<Answer, Failure>>,
    all_answered: impl AsyncFnOnce() -> bool,
) -> Exit {
    let shutdown = CancellationToken::new();
    if let Err(error) = signals::listen(shutdown.clone()) {
        report_error(format_args!("signals cannot be received: {error}"));
        return Exit::Io;
    }
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        outcome = work => Some(outcome),
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None if all_answered().await => {
            Err(Failure::new(Exit::Interrupted, "stopped before it was done; run it again"))
        }
        // The mark of the request makes the next command wait.
        None => Err(Failure::new(
            Exit::Interrupted,
            "stopped while Alyx was creating a record, which may still appear there; run it again: that waits until no second one can result",
        )),
    };
    finish(json, outcome)
}

/// Prints the result of a command, and returns its exit code.
pub(super) fn finish(json: bool, outcome: Result<Answer, Failure>) -> Exit {
    let exit = match &outcome {
        Ok(answer) => answer.exit,
        Err(failure) => failure.exit,
    };
    match outcome {
        outcome if json => print(&[to_json(outcome).to_string()]),
        // A file name may hold a line break, or control the terminal.
        Ok(answer) => print(&answer.text.iter().map(|line| printable(line)).collect::<Vec<_>>()),
        Err(failure) => report_error(failure.error),
    }
    exit
}

/// The object of `--json`.
fn to_json(outcome: Result<Answer, Failure>) -> Value {
    match outcome {
        Ok(answer) => {
            let word = match (answer.planned, answer.exit) {
                (true, _) => "planned",
                (false, Exit::Success) => "done",
                (false, _) => "incomplete",
            };
            let mut all = Map::from_iter([("outcome".to_owned(), Value::from(word))]);
            all.extend(answer.json);
            Value::Object(all)
        }
        Err(failure) => json!({"outcome": "failed", "error": failure.error}),
    }
}

/// Prints lines on standard output. Ignores a closed pipe.
pub(super) fn print(lines: &[String]) {
    let mut text = lines.join("\n");
    text.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Makes paths absolute.
pub(super) fn absolute_paths(typed: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Io, format!("the working folder cannot be found: {error}")))?;
    // Rebuilt from its components, which drops `.`.
    Ok(typed.iter().map(|path| args::absolute(path, &here).components().collect()).collect())
}

/// Makes one path absolute.
pub(super) fn absolute_path(typed: &Path) -> Result<PathBuf, Failure> {
    Ok(absolute_paths(&[typed.to_owned()])?.pop().unwrap_or_default())
}

/// Files that were left out, as JSON.
pub(super) fn left_out_json(left_out: &[LeftOut]) -> Value {
    left_out
        .iter()
        .map(|file| json!({"path": file.path.to_string_lossy(), "reason": file.reason.to_string()}))
        .collect()
}

/// Files that were left out, one per line.
pub(super) fn left_out_lines(left_out: &[LeftOut]) -> impl Iterator<Item = String> {
    left_out.iter().map(|file| format!("left out  {}: {}", file.path.display(), file.reason))
}

/// `; left out: …`, or empty.
pub(super) fn left_out_suffix(left_out: &[LeftOut]) -> String {
    match LeftOutSummary::of(left_out) {
        summary if summary.is_empty() => String::new(),
        summary => format!("; left out: {summary}"),
    }
}

/// A record or a request of Alyx as JSON.
pub(super) fn to_value(record: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(record).map_err(|error| Failure::new(Exit::Incomplete, error))
}

/// `1 dataset`, `2 datasets`.
pub(super) fn datasets(n: usize) -> String {
    humanize::count(n as u64, "dataset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_login_outage_and_configuration_apart() {
        let login = alyx_client::Error::Login {
            url: "http://x".into(),
            username: None,
            reason: "no".into(),
            advice: "",
        };
        assert_eq!(exit_of(&login.into()), Exit::Refused);
        let (url, reason) = ("http://x".into(), "refused".into());
        let away = alyx_client::Error::Unreachable { url, reason, maybe_done: false, connected: false };
        assert_eq!(exit_of(&away.into()), Exit::Unavailable);
        assert_eq!(exit_of(&Error::Invalid("x".into())), Exit::Incomplete);
        assert_eq!(exit_of(&alyx_client::Error::Options("x".into()).into()), Exit::Config);
    }

    #[test]
    fn the_outcome_comes_first_in_json() {
        let answer = Answer::new(Vec::new(), json!({"eid": 1}));
        assert_eq!(to_json(Ok(answer)).to_string(), r#"{"outcome":"done","eid":1}"#);
        let answer = Answer::new(Vec::new(), json!({})).incomplete_if(true);
        assert_eq!(to_json(Ok(answer)), json!({"outcome": "incomplete"}));
        let failure = Failure::new(Exit::Config, "no");
        assert_eq!(to_json(Err(failure)), json!({"outcome": "failed", "error": "no"}));
    }
}
