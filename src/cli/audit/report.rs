//! The report of an audit or a verification: one block for each session, or one JSON document for each difference.

use serde::Serialize;

use crate::cli::audit::tally::Tally;
use crate::cli::exit::Exit;
use crate::cli::output::{progress, say};
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use alyx_client::text::printable;
use alyx_registration::{Error, Finding, FindingKind, Seen};

/// One difference as JSON.
#[derive(Serialize)]
struct FindingJson<'a> {
    kind: &'static str,
    session: &'a str,
    path: Option<&'a str>,
    repository: Option<&'a str>,
    expected: Option<SeenJson<'a>>,
    found: Option<SeenJson<'a>>,
}

/// A size in bytes, or a text.
#[derive(Serialize)]
#[serde(untagged)]
enum SeenJson<'a> {
    Bytes(u64),
    Text(&'a str),
}

impl<'a> From<&'a Seen> for SeenJson<'a> {
    fn from(seen: &'a Seen) -> Self {
        match seen {
            Seen::Bytes(bytes) => Self::Bytes(*bytes),
            Seen::Text(text) => Self::Text(text),
        }
    }
}

/// Where the differences go.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Report {
    /// Whose they are.
    pub(in crate::cli) command: &'static str,
    /// As JSON, one document a line.
    pub(in crate::cli) json: bool,
}

impl Report {
    /// What its command does, as a noun.
    pub(in crate::cli) fn noun(&self) -> &'static str {
        match self.command {
            "verify" => "verification",
            other => other,
        }
    }

    /// Prints the differences of a session.
    pub(in crate::cli) fn session(&self, name: &str, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        progress::above(|| {
            if !self.json {
                say!("{}", printable(name));
            }
            for finding in findings {
                if self.json {
                    say!("{}", self.document(name, finding));
                } else {
                    say!("  {}", line(finding));
                }
            }
        });
    }

    /// Reports a session, or a subject, that could not be compared.
    pub(in crate::cli) fn not_compared(&self, name: &str, error: &Error) {
        tracing::error!("the {} cannot compare {name}: {error}", self.noun());
        self.documents(vec![ErrorReport::from(error).of_session(name)]);
    }

    /// Reports a folder or data root that could not be compared.
    pub(in crate::cli) fn failure(&self, report: ErrorReport) {
        tracing::error!("{}", report.message);
        self.documents(vec![report]);
    }

    /// Prints what went wrong, if the output is JSON.
    pub(in crate::cli) fn documents(&self, errors: Vec<ErrorReport>) {
        if self.json {
            progress::above(|| say!("{}", Document::failed(self.command, errors).line()));
        }
    }

    /// Prints the summary of an audit. `errors`: why it ended early.
    pub(super) fn totals(&self, tally: &Tally, asks: bool, errors: Vec<ErrorReport>) {
        let lines = tally.lines(asks);
        self.summary(tally, &lines, tally.exit(), errors);
    }

    /// Prints a summary: as JSON, or these lines.
    pub(in crate::cli) fn summary(
        &self,
        tally: &impl Serialize,
        lines: &[String],
        exit: Exit,
        errors: Vec<ErrorReport>,
    ) {
        if self.json {
            let is_done = errors.is_empty() && exit == Exit::Success;
            let outcome = if is_done { "done" } else { "incomplete" };
            say!("{}", Document::new(self.command, outcome, tally, errors).line());
            return;
        }
        for line in lines {
            say!("{line}");
        }
    }

    fn document(&self, name: &str, finding: &Finding) -> String {
        let fields = FindingJson {
            kind: finding.kind.name(),
            session: name,
            path: finding.path.as_deref(),
            repository: finding.repository.as_deref(),
            expected: finding.expected.as_ref().map(SeenJson::from),
            found: finding.found.as_ref().map(SeenJson::from),
        };
        Document::new(self.command, "difference", fields, Vec::new()).line()
    }
}

/// A difference for people. Pure.
fn line(finding: &Finding) -> String {
    let shown = |seen: &Option<Seen>, nothing: &str| match seen {
        Some(Seen::Bytes(1)) => "1 byte".to_owned(),
        Some(Seen::Bytes(bytes)) => format!("{bytes} bytes"),
        Some(Seen::Text(text)) => printable(text),
        None => nothing.to_owned(),
    };
    let (no_expected, no_found) = match finding.kind {
        FindingKind::Missing => ("", "no such file"),
        FindingKind::SessionWithoutFolder => ("", "no folder"),
        FindingKind::UnknownToAlyx => ("no dataset", ""),
        FindingKind::FolderWithoutSession => ("no session", ""),
        FindingKind::NoHash => ("no hash", ""),
        _ => ("", ""),
    };
    let sides = [("Alyx", shown(&finding.expected, no_expected)), ("disk", shown(&finding.found, no_found))];
    let sides = sides.into_iter().filter(|(_, text)| !text.is_empty());
    let sides: Vec<String> = sides.map(|(side, text)| format!("{side}: {text}")).collect();
    let path = finding.path.as_deref().map(printable);
    let parts = path.into_iter().chain([sides.join("; ")]).filter(|part| !part.is_empty());
    format!("{:<24}  {}", finding.kind.to_string(), parts.collect::<Vec<_>>().join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_file_and_both_sides() {
        let finding = |kind, expected, found| Finding {
            kind,
            path: Some("alf/a.times.npy".into()),
            repository: None,
            expected,
            found,
        };
        let three = || Some(Seen::Bytes(3));
        for (finding, expected) in [
            (
                finding(FindingKind::Missing, three(), None),
                "missing                   alf/a.times.npy  Alyx: 3 bytes; disk: no such file",
            ),
            (
                finding(FindingKind::SizeDiffers, three(), Some(Seen::Bytes(1))),
                "size differs              alf/a.times.npy  Alyx: 3 bytes; disk: 1 byte",
            ),
            (
                finding(FindingKind::UnknownToAlyx, None, three()),
                "unknown to Alyx           alf/a.times.npy  Alyx: no dataset; disk: 3 bytes",
            ),
        ] {
            assert_eq!(line(&finding), expected);
        }
    }
}
