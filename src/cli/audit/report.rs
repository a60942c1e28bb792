//! The report of an audit: one block for each session, or one JSON document for each difference.

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

/// Prints the differences of a session.
pub(super) fn session(name: &str, findings: &[Finding], json: bool) {
    if findings.is_empty() {
        return;
    }
    progress::above(|| {
        if !json {
            say!("{}", printable(name));
        }
        for finding in findings {
            if json {
                say!("{}", document(name, finding));
            } else {
                say!("  {}", line(finding));
            }
        }
    });
}

/// Reports a session, or a subject, that could not be compared.
pub(super) fn not_compared(name: &str, error: &Error, json: bool) {
    tracing::error!("the audit cannot compare {name}: {error}");
    document_of(ErrorReport::from(error).of_session(name), json);
}

/// Reports a folder or data root that could not be compared.
pub(super) fn failure(report: ErrorReport, json: bool) {
    tracing::error!("{}", report.message);
    document_of(report, json);
}

fn document_of(report: ErrorReport, json: bool) {
    if json {
        progress::above(|| say!("{}", Document::failed("audit", vec![report]).line()));
    }
}

/// Prints the summary. `errors`: why the audit ended early.
pub(super) fn totals(tally: &Tally, asks: bool, errors: Vec<ErrorReport>, json: bool) {
    if json {
        let is_done = errors.is_empty() && tally.exit() == Exit::Success;
        let outcome = if is_done { "done" } else { "incomplete" };
        say!("{}", Document::new("audit", outcome, tally, errors).line());
        return;
    }
    for line in tally.lines(asks) {
        say!("{line}");
    }
}

fn document(name: &str, finding: &Finding) -> String {
    let fields = FindingJson {
        kind: finding.kind.name(),
        session: name,
        path: finding.path.as_deref(),
        repository: finding.repository.as_deref(),
        expected: finding.expected.as_ref().map(SeenJson::from),
        found: finding.found.as_ref().map(SeenJson::from),
    };
    Document::new("audit", "difference", fields, Vec::new()).line()
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
