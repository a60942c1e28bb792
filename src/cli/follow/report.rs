//! The report of `follow`: each copy, and how many there are of each kind.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{progress, say};
use crate::humanize::count;
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use alyx_client::text::printable;
use alyx_registration::{CopyKind, Error, FollowedCopy};

/// The numbers of a run, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    sessions: u64,
    /// Every kind, by its name.
    copies: BTreeMap<&'static str, u64>,
    /// Sessions and repositories that could not be looked at.
    not_compared: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { sessions: 0, copies: CopyKind::ALL.map(|kind| (kind.name(), 0)).into(), not_compared: 0 }
    }
}

impl Tally {
    pub(super) fn session(&mut self) {
        self.sessions += 1;
    }

    pub(super) fn add(&mut self, kind: CopyKind, n: u64) {
        *self.copies.entry(kind.name()).or_default() += n;
    }

    pub(super) fn not_compared(&mut self) {
        self.not_compared += 1;
    }

    fn of(&self, kind: CopyKind) -> u64 {
        self.copies.get(kind.name()).copied().unwrap_or_default()
    }

    /// The exit code: whether every copy is where Alyx now says it is.
    pub(super) fn exit(&self) -> Exit {
        let all: u64 = self.copies.values().sum();
        if all == self.of(CopyKind::Confirmed) && self.not_compared == 0 {
            Exit::Success
        } else {
            Exit::Incomplete
        }
    }

    fn lines(&self) -> Vec<String> {
        let sessions = count(self.sessions, "session");
        let mut lines = vec![match self.copies.values().sum::<u64>() {
            0 => format!("{sessions}: Alyx says of every copy that it exists"),
            n => format!("{sessions} with {}", count(n, "copy").replace("copys", "copies")),
        }];
        let kinds = CopyKind::ALL.into_iter().filter(|kind| self.of(*kind) > 0);
        lines.extend(kinds.map(|kind| format!("  {:<14}{:>9}", words(kind), self.of(kind))));
        if self.not_compared > 0 {
            lines.push(format!("{} not compared, see above", self.not_compared));
        }
        lines
    }
}

fn words(kind: CopyKind) -> String {
    kind.name().replace('_', " ")
}

/// A copy as JSON.
#[derive(Serialize)]
struct CopyJson<'a> {
    kind: &'static str,
    session: &'a str,
    path: Option<&'a str>,
    repository: &'a str,
    expected: Option<&'a str>,
    found: Option<&'a str>,
    /// How many files.
    copies: u64,
}

/// Prints the copies of a session.
pub(super) fn session(name: &str, copies: &[FollowedCopy], json: bool) {
    if copies.is_empty() {
        return;
    }
    progress::above(|| {
        if !json {
            say!("{}", printable(name));
        }
        for copy in copies {
            let FollowedCopy { kind, path, repository, expected, found } = copy;
            if json {
                let (expected, found) = (expected.as_deref(), found.as_deref());
                let kind = kind.name();
                document(CopyJson {
                    kind,
                    session: name,
                    path: Some(path),
                    repository,
                    expected,
                    found,
                    copies: 1,
                });
            } else {
                say!("  {:<12}  {}", words(*kind), printable(&copy.to_string()));
            }
        }
    });
}

/// Prints that nothing of a session is in a repository yet.
pub(super) fn absent(name: &str, repository: &str, copies: u64, json: bool) {
    progress::above(|| {
        if json {
            let kind = CopyKind::Absent.name();
            document(CopyJson {
                kind,
                session: name,
                path: None,
                repository,
                expected: None,
                found: None,
                copies,
            });
        } else {
            let files = count(copies, "file");
            say!("{}\n  {:<12}  {files} not in {repository} yet", printable(name), words(CopyKind::Absent));
        }
    });
}

fn document(fields: CopyJson<'_>) {
    say!("{}", Document::new("follow", "copy", fields, Vec::new()).line());
}

/// Reports a session that could not be looked at.
pub(super) fn not_compared(name: &str, error: &Error, json: bool) {
    tracing::error!("the copies of {name} cannot be looked for: {error}");
    document_of(ErrorReport::from(error).of_session(name), json);
}

/// Reports a repository that could not be looked at.
pub(super) fn failure(report: ErrorReport, json: bool) {
    tracing::error!("{}", report.message);
    document_of(report, json);
}

fn document_of(report: ErrorReport, json: bool) {
    if json {
        progress::above(|| say!("{}", Document::failed("follow", vec![report]).line()));
    }
}

/// Prints the summary. `errors`: why the run ended early.
pub(super) fn totals(tally: &Tally, errors: Vec<ErrorReport>, json: bool) {
    if json {
        let is_done = errors.is_empty() && tally.exit() == Exit::Success;
        let outcome = if is_done { "done" } else { "incomplete" };
        say!("{}", Document::new("follow", outcome, tally, errors).line());
        return;
    }
    for line in tally.lines() {
        say!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_every_copy_is_there() {
        let mut tally = Tally::default();
        assert_eq!(tally.exit(), Exit::Success);
        tally.session();
        tally.add(CopyKind::Confirmed, 2);
        assert_eq!(tally.exit(), Exit::Success);
        let mut missing = tally.clone();
        missing.add(CopyKind::Absent, 1);
        assert_eq!(missing.exit(), Exit::Incomplete);
        assert_eq!(missing.lines()[0], "1 session with 3 copies");
        tally.not_compared();
        assert_eq!(tally.exit(), Exit::Incomplete);
    }
}
