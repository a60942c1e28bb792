//! The report of `reclaim`: the files on standard output, everything else on standard error; or JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{progress, say};
use crate::humanize::{bytes, count};
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::PathText;
use alyx_client::text::printable;
use alyx_registration::{Error, KeptReason};

/// In which form the files are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Null,
    Json,
}

/// The numbers of a run, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    sessions: u64,
    /// Sessions whose files may be deleted.
    free: u64,
    files: u64,
    bytes: u64,
    /// Sessions that are kept, by reason.
    kept: BTreeMap<&'static str, u64>,
    /// Sessions that could not be looked at.
    not_compared: u64,
}

impl Tally {
    pub(super) fn free(&mut self, files: &[(PathBuf, u64)]) {
        self.sessions += 1;
        self.free += 1;
        self.files += files.len() as u64;
        self.bytes += files.iter().map(|(_, size)| size).sum::<u64>();
    }

    pub(super) fn kept(&mut self, reason: &KeptReason) {
        self.sessions += 1;
        *self.kept.entry(reason.name()).or_default() += 1;
    }

    pub(super) fn not_compared(&mut self) {
        self.sessions += 1;
        self.not_compared += 1;
    }

    pub(super) fn exit(&self) -> Exit {
        if self.not_compared == 0 { Exit::Success } else { Exit::Incomplete }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} of {} may be deleted: {}, {}",
            count(self.files, "file"),
            count(self.free, "session"),
            bytes(self.bytes),
            match self.kept.values().sum::<u64>() {
                0 => "no session is kept".to_owned(),
                1 => "1 session is kept".to_owned(),
                n => format!("{n} sessions are kept"),
            }
        )];
        let kept = self.kept.iter().map(|(reason, n)| format!("  {:<16}{n:>9}", reason.replace('_', " ")));
        lines.extend(kept);
        if self.not_compared > 0 {
            lines.push(format!("{} not compared, see above", self.not_compared));
        }
        lines
    }
}

/// Files as JSON.
#[derive(Serialize)]
struct FreeJson<'a> {
    session: &'a str,
    files: Vec<PathText>,
    bytes: u64,
}

/// A session that is kept, as JSON.
#[derive(Serialize)]
struct KeptJson<'a> {
    session: &'a str,
    reason: &'static str,
    text: String,
}

/// Prints the files of a session.
pub(super) fn free(name: &str, files: &[(PathBuf, u64)], form: Form) {
    progress::above(|| {
        let end: &[u8] = match form {
            Form::Json => {
                let bytes = files.iter().map(|(_, size)| size).sum();
                let files = files.iter().map(|(path, _)| path.into()).collect();
                say!(
                    "{}",
                    Document::new("reclaim", "free", FreeJson { session: name, files, bytes }, Vec::new())
                        .line()
                );
                return;
            }
            Form::Lines => b"\n",
            Form::Null => b"\0",
        };
        let mut out = std::io::stdout().lock();
        for (path, _) in files {
            // Exactly as on disk. A closed pipe does not change the exit code.
            let _ = out.write_all(path.as_os_str().as_bytes()).and_then(|()| out.write_all(end));
        }
        let _ = out.flush();
    });
}

/// Prints why a session is kept.
pub(super) fn kept(name: &str, reason: &KeptReason, form: Form) {
    let text = reason.to_string();
    progress::above(|| match form {
        Form::Json => {
            let fields = KeptJson { session: name, reason: reason.name(), text };
            say!("{}", Document::new("reclaim", "kept", fields, Vec::new()).line());
        }
        Form::Lines | Form::Null => tell(&format!("kept: {name}: {text}")),
    });
}

/// Reports a session that could not be looked at.
pub(super) fn not_compared(name: &str, error: &Error, form: Form) {
    tracing::error!("session {name} cannot be compared, so its files are not listed: {error}");
    document_of(ErrorReport::from(error).of_session(name), form);
}

/// Reports a file that could not be listed.
pub(super) fn failure(report: ErrorReport, form: Form) {
    tracing::error!("{}", report.message);
    document_of(report, form);
}

fn document_of(report: ErrorReport, form: Form) {
    if form == Form::Json {
        progress::above(|| say!("{}", Document::failed("reclaim", vec![report]).line()));
    }
}

/// Prints the summary. `errors`: why the run ended early.
pub(super) fn totals(tally: &Tally, errors: Vec<ErrorReport>, form: Form) {
    if form == Form::Json {
        let is_done = errors.is_empty() && tally.exit() == Exit::Success;
        let outcome = if is_done { "done" } else { "incomplete" };
        say!("{}", Document::new("reclaim", outcome, tally, errors).line());
        return;
    }
    tally.lines().iter().for_each(|line| tell(line));
}

/// Standard output is for the files alone.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_would_be_freed_and_why_sessions_are_kept() {
        let mut tally = Tally::default();
        tally.free(&[("/a".into(), 1_000_000), ("/b".into(), 2_000_000)]);
        tally.kept(&KeptReason::Flagged);
        let lines = tally.lines();
        assert_eq!(lines[0], "2 files of 1 session may be deleted: 3.0 MB, 1 session is kept");
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["flagged", "1"]);
        assert_eq!(tally.exit(), Exit::Success);
        tally.not_compared();
        assert_eq!(tally.exit(), Exit::Incomplete);
    }
}
