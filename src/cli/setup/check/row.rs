//! A row of the table of `check`: what was checked, the result, and what to do.

use std::io;
use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::humanize::count;
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};
use alyx_client::text::printable;
use alyx_registration::advice::Kind;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No problem.
    Ok,
    /// It works, but may fail soon, or could work better.
    Warning,
    /// It does not work; with the exit code.
    Problem(Exit),
    /// It was not checked.
    Skipped,
}

impl State {
    /// The state as a word.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem(_) => "problem",
            Self::Skipped => "skipped",
        }
    }

    /// The escape sequence of the colour: green, yellow, red, grey.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\u{1b}[32m",
            Self::Warning => "\u{1b}[33m",
            Self::Problem(_) => "\u{1b}[31m",
            Self::Skipped => "\u{1b}[90m",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// What was checked, in a word or two.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do about it; may be empty.
    pub(super) advice: String,
}

impl Row {
    fn new(check: &'static str, state: State, found: impl ToString, advice: impl ToString) -> Self {
        Self { check, state, found: found.to_string(), advice: advice.to_string() }
    }

    pub(super) fn ok(check: &'static str, found: impl ToString) -> Self {
        Self::new(check, State::Ok, found, "")
    }

    pub(super) fn warning(check: &'static str, found: impl ToString, advice: impl ToString) -> Self {
        Self::new(check, State::Warning, found, advice)
    }

    pub(super) fn problem(
        check: &'static str,
        exit: Exit,
        found: impl ToString,
        advice: impl ToString,
    ) -> Self {
        Self::new(check, State::Problem(exit), found, advice)
    }

    pub(super) fn skipped(check: &'static str, why: impl ToString) -> Self {
        Self::new(check, State::Skipped, why, "")
    }

    /// The row as one line, even if a name on disk or on the server holds a line break.
    fn line(&self, colours: bool) -> String {
        let word = self.state.word();
        let padding = " ".repeat(8 - word.len());
        let word = if colours { format!("{}{word}\u{1b}[0m", self.state.colour()) } else { word.to_owned() };
        let advice = if self.advice.is_empty() { String::new() } else { format!("; {}", self.advice) };
        format!("{word}{padding} {:<13}  {}", self.check, printable(&format!("{}{advice}", self.found)))
    }

    fn advice(&self) -> Option<&str> {
        Some(self.advice.as_str()).filter(|advice| !advice.is_empty())
    }

    fn json(&self) -> RowJson<'_> {
        RowJson { check: self.check, state: self.state.word(), found: &self.found, what_to_do: self.advice() }
    }

    /// The error of a problem.
    fn error(&self) -> Option<ErrorReport> {
        let State::Problem(exit) = self.state else { return None };
        let report = match exit {
            Exit::Config => ErrorReport::command(CommandKind::Configuration, &self.found),
            Exit::Refused => ErrorReport::of_kind(Kind::Login, &self.found),
            Exit::Unavailable => ErrorReport::of_kind(Kind::Unreachable, &self.found),
            Exit::Io => ErrorReport::command(CommandKind::Program, &self.found),
            _ => ErrorReport::command(CommandKind::Setup, &self.found),
        };
        Some(match self.advice() {
            Some(advice) => ErrorReport { next_step: advice.to_owned(), ..report },
            None => report,
        })
    }
}

/// A row as JSON.
#[derive(Debug, Serialize)]
struct RowJson<'a> {
    check: &'a str,
    state: &'a str,
    found: &'a str,
    what_to_do: Option<&'a str>,
}

/// The fields of `check`.
#[derive(Debug, Serialize)]
struct CheckJson<'a> {
    problems: usize,
    warnings: usize,
    checks: Vec<RowJson<'a>>,
}

/// The rows so far. As text, each is printed immediately.
pub(super) struct Table {
    rows: Vec<Row>,
    json: bool,
    colours: bool,
}

impl Table {
    /// Uses colours only on a terminal, and not if `NO_COLOR` is set.
    pub(super) fn new(json: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { rows: Vec::new(), json, colours: io::stdout().is_terminal() && !unwanted }
    }

    pub(super) fn add(&mut self, row: Row) {
        if !self.json {
            say!("{}", row.line(self.colours));
            let _ = io::stdout().flush();
        }
        self.rows.push(row);
    }

    pub(super) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        rows.into_iter().for_each(|row| self.add(row));
    }

    /// Whether there is a row of this check.
    pub(super) fn has(&self, check: &str) -> bool {
        self.rows.iter().any(|row| row.check == check)
    }

    /// Prints the summary, or the object of `--json`.
    pub(super) fn end(&self) {
        let number = |wanted: fn(&State) -> bool| self.rows.iter().filter(|row| wanted(&row.state)).count();
        let problems = number(|state| matches!(state, State::Problem(_)));
        let warnings = number(|state| *state == State::Warning);
        if self.json {
            let worst = match (problems, warnings) {
                (0, 0) => State::Ok.word(),
                (0, _) => State::Warning.word(),
                _ => "problem",
            };
            let fields = CheckJson { problems, warnings, checks: self.rows.iter().map(Row::json).collect() };
            let errors = self.rows.iter().filter_map(Row::error).collect();
            say!("{}", Document::new("check", worst, fields, errors).line());
        } else {
            say!("{}, {}", count(problems as u64, "problem"), count(warnings as u64, "warning"));
        }
    }

    /// The exit code.
    pub(super) fn exit_code(&self) -> Exit {
        exit_code(&self.rows)
    }
}

/// The code of the most fundamental problem. An unreachable server comes last: it may return in a minute. Pure.
fn exit_code(rows: &[Row]) -> Exit {
    let order = [Exit::Config, Exit::Refused, Exit::Io, Exit::Incomplete, Exit::Unavailable];
    let found = order.into_iter().find(|exit| rows.iter().any(|row| row.state == State::Problem(*exit)));
    found.unwrap_or(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_with_what_to_do_at_its_end() {
        let row = Row::warning("clock", "30 s\nbehind", "set it");
        assert_eq!(row.line(false), "warning  clock          30 s\\nbehind; set it");
        assert!(row.line(true).starts_with("\u{1b}[33mwarning\u{1b}[0m  clock"));
        assert_eq!(Row::ok("user", "rig").line(false), "ok       user           rig");
    }

    #[test]
    fn the_exit_code_is_that_of_the_most_fundamental_problem() {
        let problem = |exit| Row::problem("x", exit, "", "");
        assert_eq!(exit_code(&[Row::warning("x", "", ""), Row::skipped("x", "")]), Exit::Success);
        assert_eq!(exit_code(&[problem(Exit::Unavailable)]), Exit::Unavailable);
        assert_eq!(exit_code(&[problem(Exit::Unavailable), problem(Exit::Incomplete)]), Exit::Incomplete);
        assert_eq!(exit_code(&[problem(Exit::Refused), problem(Exit::Config)]), Exit::Config);
    }
}
