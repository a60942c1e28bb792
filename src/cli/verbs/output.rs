//! The answer of a verb: what it prints, and how it ends.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::complain;
use crate::daemon::outside::signals;
use crate::humanize;
use alyx_client::{self, NextStep};
use alyx_registration::{Error, LeftOut, LeftOutSummary};

/// What came of a verb.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) exit: Exit,
    /// For people, a line each.
    pub(super) text: Vec<String>,
    /// For a program. `outcome` is put in front.
    pub(super) json: Map<String, Value>,
    /// Whether nothing was done because that was the wish.
    pub(super) planned: bool,
}

impl Answer {
    /// All went well.
    pub(super) fn new(text: Vec<String>, json: Value) -> Self {
        let json = match json {
            Value::Object(fields) => fields,
            other => Map::from_iter([("answer".to_owned(), other)]),
        };
        Self { exit: Exit::Success, text, json, planned: false }
    }

    /// Nothing was done, because only the plan was asked for.
    pub(super) fn planned(self) -> Self {
        Self { planned: true, ..self }
    }

    /// Not all was done, or the answer is no.
    pub(super) fn incomplete_if(self, incomplete: bool) -> Self {
        if incomplete { Self { exit: Exit::Incomplete, ..self } } else { self }
    }
}

/// Why a verb could not do its work.
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
        if matches!(&error, Error::Alyx(alyx_client::Error::Options(_))) {
            text += "; on the command line that is --user";
        }
        Self { exit, error: text }
    }
}

impl From<alyx_client::Error> for Failure {
    fn from(error: alyx_client::Error) -> Self {
        Error::from(error).into()
    }
}

/// How a verb ends with an error. Pure.
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

/// Does the work of a verb until it is done or stopped, and prints what came of it.
pub(super) async fn give(json: bool, work: impl Future<Output = Result<Answer, Failure>>) -> Exit {
    let shutdown = CancellationToken::new();
    if let Err(error) = signals::listen(shutdown.clone()) {
        complain(format_args!("signals cannot be received: {error}"));
        return Exit::Io;
    }
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(Failure::new(Exit::Interrupted, "stopped before it was done; run it again")),
        outcome = work => outcome,
    };
    let exit = match &outcome {
        Ok(answer) => answer.exit,
        Err(failure) => failure.exit,
    };
    match outcome {
        outcome if json => print(&[to_json(outcome).to_string()]),
        Ok(answer) => print(&answer.text),
        Err(failure) => complain(failure.error),
    }
    exit
}

/// The one object of `--json`.
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

/// Prints lines on standard output. A closed pipe is not an error.
pub(super) fn print(lines: &[String]) {
    let mut text = lines.join("\n");
    text.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Paths as they were typed, made whole.
pub(super) fn whole_paths(typed: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Io, format!("the working folder cannot be found: {error}")))?;
    // Rebuilt from its components, which drops `.`.
    Ok(typed.iter().map(|path| args::whole(path, &here).components().collect()).collect())
}

/// One path, made whole.
pub(super) fn whole_path(typed: &Path) -> Result<PathBuf, Failure> {
    Ok(whole_paths(&[typed.to_owned()])?.pop().unwrap_or_default())
}

/// Files that were left out, as JSON.
pub(super) fn left_out_json(left_out: &[LeftOut]) -> Value {
    left_out
        .iter()
        .map(|file| json!({"path": file.path.to_string_lossy(), "reason": file.reason.to_string()}))
        .collect()
}

/// Files that were left out, a line each.
pub(super) fn left_out_lines(left_out: &[LeftOut]) -> impl Iterator<Item = String> {
    left_out.iter().map(|file| format!("not   {}: {}", file.path.display(), file.reason))
}

/// `; left out: …`, where something was.
pub(super) fn left_out_aside(left_out: &[LeftOut]) -> String {
    match LeftOutSummary::of(left_out) {
        summary if summary.is_empty() => String::new(),
        summary => format!("; left out: {summary}"),
    }
}

/// A record of Alyx, or a request, as JSON.
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
    fn the_exit_code_says_who_has_to_do_something() {
        let login = alyx_client::Error::Login { url: "http://x".into(), username: None, reason: "no".into() };
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
