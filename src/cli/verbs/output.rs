//! The output and the exit code of a one-shot command.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::daemon::outside::signals;
use crate::humanize;
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::PathText;
use alf::SessionPath;
use alyx_client::text::printable;
use alyx_registration::{Error, LeftOut, LeftOutReason, LeftOutSummary};
use session_metadata::Missing;

/// The result of a command.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) exit: Exit,
    /// The lines to print.
    pub(super) text: Vec<String>,
    /// The command's own fields of `--json`.
    pub(super) fields: Value,
    /// What failed although the command as a whole did not.
    pub(super) errors: Vec<ErrorReport>,
    /// Whether this was a dry run.
    pub(super) planned: bool,
}

impl Answer {
    /// A success.
    pub(in crate::cli) fn new(text: Vec<String>, fields: impl Serialize) -> Result<Self, Failure> {
        let fields = serde_json::to_value(fields).map_err(|error| Failure::new(Exit::Incomplete, error))?;
        Ok(Self { exit: Exit::Success, text, fields, errors: Vec::new(), planned: false })
    }

    /// Marks a dry run.
    pub(super) fn planned_if(self, planned: bool) -> Self {
        Self { planned, ..self }
    }

    /// Exits with [`Exit::Incomplete`] if something was not done, or the answer is no.
    pub(super) fn incomplete_if(self, incomplete: bool) -> Self {
        if incomplete { Self { exit: Exit::Incomplete, ..self } } else { self }
    }

    /// As JSON.
    pub(in crate::cli) fn document(self, command: &str) -> Document<'_, Value> {
        Document::new(command, self.outcome(), self.fields, self.errors)
    }

    fn outcome(&self) -> &'static str {
        match (self.planned, self.exit) {
            (true, _) => "planned",
            (false, Exit::Success) => "done",
            (false, _) => "incomplete",
        }
    }
}

/// Runs a command until it ends or a signal stops it, and prints the result.
pub(super) async fn run_verb(
    command: &str,
    json: bool,
    work: impl Future<Output = Result<Answer, Failure>>,
) -> Exit {
    run(command, json, work, async || true).await
}

/// `all_answered`: whether everything that was sent is answered, after a while at most.
pub(super) async fn run(
    command: &str,
    json: bool,
    work: impl Future<Output = Result<Answer, Failure>>,
    all_answered: impl AsyncFnOnce() -> bool,
) -> Exit {
    let shutdown = CancellationToken::new();
    if let Err(error) = signals::listen(shutdown.clone()) {
        return Failure::no_signals(&error).end(command, json);
    }
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        outcome = work => Some(outcome),
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None if all_answered().await => Err(Failure::interrupted()),
        None => Err(Failure::unanswered()),
    };
    finish(command, json, outcome)
}

/// Prints the result of a command, and returns its exit code.
pub(super) fn finish(command: &str, json: bool, outcome: Result<Answer, Failure>) -> Exit {
    match outcome {
        Ok(answer) if json => {
            let exit = answer.exit;
            print(&[answer.document(command).line()]);
            exit
        }
        Ok(answer) => {
            // A file name may hold a line break, or control the terminal.
            print(&answer.text.iter().map(|line| printable(line)).collect::<Vec<_>>());
            answer.exit
        }
        Err(failure) => failure.end(command, json),
    }
}

/// Prints lines on standard output. Ignores a closed pipe.
pub(in crate::cli) fn print(lines: &[String]) {
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

/// The absolute path of a session folder. If it is no path of a session, perhaps because it is mistyped, it must exist.
pub(super) fn session_folder(typed: &Path) -> Result<PathBuf, Failure> {
    let folder = absolute_path(typed)?;
    if SessionPath::parse(&folder).is_err() && !folder.exists() {
        return Err(Error::no_folder(&folder).into());
    }
    Ok(folder)
}

/// A file that was left out, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct LeftOutJson {
    path: PathText,
    reason: String,
}

impl LeftOutJson {
    pub(super) fn list(left_out: &[LeftOut]) -> Vec<Self> {
        left_out
            .iter()
            .map(|file| Self { path: (&file.path).into(), reason: file.reason.to_string() })
            .collect()
    }
}

/// Files that were left out, one per line.
pub(super) fn left_out_lines(left_out: &[LeftOut]) -> impl Iterator<Item = String> {
    left_out.iter().map(|file| {
        let what = if file.reason == LeftOutReason::Sidecar { "sidecar " } else { "left out" };
        format!("{what}  {}: {}", file.path.display(), file.reason)
    })
}

/// What a session should have and lacks, one per line.
pub(super) fn missing_lines(missing: &[Missing]) -> impl Iterator<Item = String> {
    missing.iter().map(|missing| format!("missing  {missing}"))
}

/// `; left out: …`, or empty.
pub(super) fn left_out_suffix(left_out: &[LeftOut]) -> String {
    match LeftOutSummary::of(left_out) {
        summary if summary.is_empty() => String::new(),
        summary => format!("; left out: {summary}"),
    }
}

/// `1 dataset`, `2 datasets`.
pub(super) fn datasets(n: usize) -> String {
    humanize::count(n as u64, "dataset")
}
