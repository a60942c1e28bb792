//! The status and past outcomes as JSON: what `status --json`, `history --json` and the page print.

use jiff::Timestamp;
use serde::Serialize;

use crate::daemon::status::{
    CopiesStatus, DaemonStatus, GapStatus, NotLoadableStatus, ObstacleStatus, ProgressStatus, SessionState,
    SessionStatus, Status, VerificationStatus,
};
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};
use crate::json::path_text::PathText;
use crate::ledger::{NamedFile, OutcomeRow};
use alyx_client::text::session_page;

impl Status {
    /// As a document, with the last outcomes: what `status --json` and the page print.
    pub fn document(&self, last: &[OutcomeRow]) -> String {
        let alyx = self.alyx();
        let gaps = |gaps: &'_ [GapStatus]| gaps.iter().cloned().map(|gap| GapJson::of(gap, alyx)).collect();
        let fields = StatusJson {
            daemon: self.daemon.as_ref(),
            sessions: self.sessions.iter().map(SessionStatusJson::from).collect(),
            obstacles: &self.obstacles,
            gaps: gaps(&self.gaps),
            created_twice: gaps(&self.created_twice),
            verification: self.verification.as_ref(),
            copies: self.copies.as_ref(),
            not_loadable: &self.not_loadable,
            last: last.iter().map(|row| LastOutcomeJson::of(row, alyx)).collect(),
        };
        let errors = self.unreachable.iter().chain(&self.unreadable_ledger);
        let errors = errors.map(|error| ErrorReport::command(CommandKind::Program, error)).collect();
        let outcome = if self.is_well() { "done" } else { "incomplete" };
        Document::new("status", outcome, fields, errors).line()
    }
}

/// The fields of the status.
#[derive(Debug, Serialize)]
struct StatusJson<'a> {
    daemon: Option<&'a DaemonStatus>,
    sessions: Vec<SessionStatusJson<'a>>,
    obstacles: &'a [ObstacleStatus],
    gaps: Vec<GapJson>,
    created_twice: Vec<GapJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<&'a VerificationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<&'a CopiesStatus>,
    not_loadable: &'a [NotLoadableStatus],
    last: Vec<LastOutcomeJson<'a>>,
}

/// A session of the status, as JSON.
#[derive(Debug, Serialize)]
pub struct SessionStatusJson<'a> {
    session: &'a str,
    flag: &'a str,
    state: SessionState,
    since: Timestamp,
    put: Option<Timestamp>,
    old: bool,
    failures: u32,
    next: Option<Timestamp>,
    error: Option<ErrorReport>,
    next_step: Option<&'a str>,
    progress: Option<ProgressStatus>,
}

impl<'a> From<&'a SessionStatus> for SessionStatusJson<'a> {
    fn from(status: &'a SessionStatus) -> Self {
        let (kind, next_step) = (status.kind.as_deref(), status.next_step.as_deref());
        let error = status
            .error
            .as_ref()
            .map(|error| ErrorReport::stored(kind, error, next_step).of_session(&status.session));
        Self {
            session: &status.session,
            flag: &status.flag,
            state: status.state,
            since: status.since,
            put: status.flagged_at,
            old: status.stale,
            failures: status.failures,
            next: status.next,
            error,
            next_step,
            progress: status.progress,
        }
    }
}

/// An outcome in a list.
#[derive(Debug, Serialize)]
struct LastOutcomeJson<'a> {
    outcome: &'a str,
    #[serde(flatten)]
    fields: OutcomeJson<'a>,
}

impl<'a> LastOutcomeJson<'a> {
    fn of(row: &'a OutcomeRow, alyx: Option<&str>) -> Self {
        Self { outcome: &row.outcome, fields: OutcomeJson::of(row, alyx) }
    }
}

/// A session that was registered with gaps, or created twice.
#[derive(Debug, Serialize)]
pub struct GapJson {
    #[serde(flatten)]
    gap: GapStatus,
    link: Option<String>,
}

impl GapJson {
    /// `alyx`: the address of Alyx, if it is known.
    pub fn of(gap: GapStatus, alyx: Option<&str>) -> Self {
        Self { link: link(alyx, Some(&gap.eid)), gap }
    }
}

/// The page of a session on Alyx; `None` if one of the two is not known.
fn link(alyx: Option<&str>, eid: Option<&str>) -> Option<String> {
    Some(session_page(alyx?, eid.filter(|eid| !eid.is_empty())?))
}

/// The fields of an outcome, without its word.
#[derive(Debug, Serialize)]
pub struct OutcomeJson<'a> {
    at: Timestamp,
    session: &'a str,
    subject: Option<&'a str>,
    date: Option<&'a str>,
    flag: PathText,
    attempt: u32,
    eid: Option<&'a str>,
    /// The page of the session on Alyx.
    link: Option<String>,
    datasets: u64,
    bytes: u64,
    /// In seconds.
    took: f64,
    left_out: &'a str,
    left_out_files: &'a [NamedFile],
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<&'a str>,
    error: Option<ErrorReport>,
    next_step: Option<&'a str>,
    next: Option<Timestamp>,
    /// The command that a person gave; absent for a flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

impl<'a> OutcomeJson<'a> {
    /// `alyx`: the address of Alyx, if it is known.
    pub fn of(row: &'a OutcomeRow, alyx: Option<&str>) -> Self {
        let next_step = row.next_step.as_deref();
        let error = row
            .error
            .as_ref()
            .map(|error| ErrorReport::stored(row.kind.as_deref(), error, next_step).of_session(&row.session));
        Self {
            at: row.at,
            session: &row.session,
            subject: row.subject.as_deref(),
            date: row.date.as_deref(),
            flag: (&row.flag).into(),
            attempt: row.attempt,
            eid: row.eid.as_deref(),
            link: link(alyx, row.eid.as_deref()),
            datasets: row.n_files,
            bytes: row.bytes,
            took: row.took.as_secs_f64(),
            left_out: &row.left_out,
            left_out_files: &row.files,
            described: row.described.as_deref(),
            error,
            next_step,
            next: row.next,
            by: row.by.as_deref(),
        }
    }
}
