//! What is said of marks: lines, or JSON documents.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::output::{progress, say};
use crate::humanize::count;
use crate::json::document::Document;
use crate::json::path_text::PathText;
use alyx_client::text::printable;
use alyx_registration::{Mark, MarkTarget, MarkedRecord, NotMarked};

/// The report of a command that marks.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Report {
    pub(in crate::cli) command: &'static str,
    pub(in crate::cli) json: bool,
    pub(in crate::cli) zone: TimeZone,
}

/// What was found, in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// Copies that may be marked, and how many of them were named.
    pub(super) ready: u64,
    pub(super) named: u64,
    /// Copies that were not seen early enough, and from when on.
    pub(super) later: u64,
    pub(super) not_before: Option<Timestamp>,
    /// Copies that cannot be marked.
    pub(super) not: u64,
}

/// A mark as JSON.
#[derive(Serialize)]
struct MarkJson<'a> {
    session: &'a str,
    path: Option<&'a str>,
    repository: Option<&'a str>,
    mark: Option<&'static str>,
    /// The UUID of the file record, once it is known.
    record: Option<&'a str>,
    /// Why it was left alone.
    reason: Option<&'a str>,
    undo_list: Option<PathText>,
}

impl Report {
    fn document(&self, outcome: &str, fields: MarkJson<'_>) {
        progress::above(|| say!("{}", Document::new(self.command, outcome, fields, Vec::new()).line()));
    }

    fn line(&self, word: &str, session: &str, path: &str, rest: &str) {
        progress::above(|| say!("{word:<12}{}  {}  {rest}", printable(session), printable(path)));
    }

    /// A copy that `--mark` would mark.
    pub(super) fn would_mark(&self, target: &MarkTarget) {
        if self.json {
            let fields = MarkJson {
                session: &target.session,
                path: Some(&target.path),
                repository: Some(&target.repository),
                mark: Some(target.mark.name()),
                record: None,
                reason: None,
                undo_list: None,
            };
            self.document("would_be_marked", fields);
        } else {
            self.line("would mark", &target.session, &target.path, target.mark.change());
        }
    }

    /// A copy that was marked.
    pub(super) fn marked(&self, record: &MarkedRecord, undo: &Path) {
        self.changed("marked", record, record.mark.change(), Some(undo));
    }

    /// A mark that was undone.
    pub(super) fn unmarked(&self, record: &MarkedRecord) {
        let was = match record.mark {
            Mark::Missing => "exists: true",
            Mark::BadCopy => "json without mismatch_hash",
        };
        self.changed("unmarked", record, was, None);
    }

    fn changed(&self, outcome: &str, record: &MarkedRecord, text: &str, undo: Option<&Path>) {
        if self.json {
            let fields = MarkJson {
                session: &record.session,
                path: Some(&record.path),
                repository: Some(&record.repository),
                mark: Some(record.mark.name()),
                record: Some(&record.record),
                reason: None,
                undo_list: undo.map(PathText::from),
            };
            self.document(outcome, fields);
        } else {
            self.line(outcome, &record.session, &record.path, text);
        }
    }

    /// A copy that was left alone.
    pub(super) fn not_marked(&self, not: &NotMarked) {
        if self.json {
            let fields = MarkJson {
                session: &not.session,
                path: Some(not.path.as_str()).filter(|path| !path.is_empty()),
                repository: not.repository.as_deref(),
                mark: None,
                record: None,
                reason: Some(&not.why),
                undo_list: None,
            };
            self.document("not_marked", fields);
        } else {
            self.line("not marked", &not.session, &not.path, &not.why);
        }
    }

    /// A record that is not undone.
    pub(super) fn left(&self, record: &MarkedRecord, why: &str) {
        self.not_marked(&NotMarked {
            session: record.session.clone(),
            path: record.path.clone(),
            repository: Some(record.repository.clone()),
            why: why.to_owned(),
        });
    }

    /// How to undo what was marked.
    pub(super) fn undo(&self, undo: &Path) {
        if !self.json {
            say!("to undo this: alyx-registrar audit --unmark {}", undo.display());
        }
    }

    /// What `--mark` would do.
    pub(super) fn hint(&self, found: &Numbers, is_too_many: bool) {
        if self.json {
            return;
        }
        let more = found.ready - found.named.min(found.ready);
        if more > 0 {
            say!("and {more} more");
        }
        if found.ready > 0 {
            let files = count(found.ready, "file");
            let many = if is_too_many { format!(" --mark-many {}", found.ready) } else { String::new() };
            say!(
                "{files} could be marked in the file records of this repository: {} --mark{many}",
                self.command
            );
        }
        self.later(found);
        if found.not > 0 {
            let files = count(found.not, "file");
            say!("{files} cannot be marked: {} --mark says why", self.command);
        }
    }

    /// What was not seen early enough.
    pub(super) fn later(&self, found: &Numbers) {
        if let (Some(time), false) = (found.not_before, self.json || found.later == 0) {
            let (files, zone) = (count(found.later, "file"), self.zone.clone());
            // A full minute, so that the command is not given a moment too early.
            let time = time.to_zoned(zone).saturating_add(jiff::Span::new().seconds(59));
            say!(
                "{files} must be seen again before {} --mark marks them, from {} on",
                self.command,
                time.strftime("%Y-%m-%d %H:%M")
            );
        }
    }
}
