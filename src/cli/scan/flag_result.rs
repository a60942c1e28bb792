//! The result of one flag: as text, as JSON, and as a row of the ledger.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli::output::described::{measurement_lines, request_lines};
use crate::cli::output::say;
use crate::cli::remembered::Remembered;
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::daemon::queue::session_name;
use crate::humanize::{bytes, count};
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::{MovedPath, PathText};
use crate::ledger::{NamedFile, OutcomeRow};
use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_client::{NextStep, SessionRequest};
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, KnownSession, Trail};

/// The result of one flag.
pub(in crate::cli) struct FlagResult {
    pub(super) session: Result<SessionPath, SessionPathError>,
    pub(super) folder: PathBuf,
    pub(in crate::cli) eid: Option<String>,
    /// The lab of its record.
    pub(super) lab: Option<String>,
    pub(in crate::cli) files: usize,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) took: Duration,
    /// Protected files that were, or in a dry run would be, moved into a revision folder: source and target.
    pub(super) moved: Vec<(PathBuf, PathBuf)>,
    pub(in crate::cli) outcome: ScanOutcome,
    /// What the session lacks, or would lack.
    pub(in crate::cli) gap: Option<String>,
    /// Files that were left out, by name.
    pub(super) left_out: Vec<NamedFile>,
    /// All its files by name.
    pub(in crate::cli) trail: Arc<Trail>,
    /// What its files say of the session, and which say it.
    pub(super) described: Option<String>,
    /// The weight and water that a dry run would record.
    pub(super) measurements: Vec<String>,
    /// What a dry run would send for the session, if its files say anything.
    pub(super) request: Option<SessionRequest>,
}

pub(in crate::cli) enum ScanOutcome {
    Registered {
        left_out: String,
    },
    Planned {
        left_out: String,
    },
    /// The run would wait for its files; only in a dry run.
    Waits(Error),
    /// Another program has removed the flag since it was found.
    Gone,
    Failed(Error),
}

impl FlagResult {
    /// Of a session of which nothing is done yet.
    pub(in crate::cli) fn of(folder: &Path) -> Self {
        Self {
            session: SessionPath::parse(folder),
            folder: folder.to_owned(),
            eid: None,
            lab: None,
            files: 0,
            bytes: 0,
            took: Duration::ZERO,
            moved: Vec::new(),
            outcome: ScanOutcome::Planned { left_out: String::new() },
            gap: None,
            left_out: Vec::new(),
            trail: Arc::default(),
            described: None,
            measurements: Vec::new(),
            request: None,
        }
    }

    /// Takes in that the session is registered, and remembers what it lacks.
    pub(in crate::cli) async fn registered(
        &mut self,
        session: &SessionPath,
        registered: Registered,
        remembered: &Remembered,
    ) {
        let gap = remembered.registered(session, &registered).await;
        self.gap = gap.filter(|gap| !gap.acknowledged).map(|gap| gap.text);
        self.eid = Some(registered.eid);
        self.lab = registered.record.as_ref().and_then(|record| record.lab.clone());
        (self.files, self.bytes) = (registered.n_files, registered.bytes);
        self.left_out = registered.left_out.named().iter().map(NamedFile::from).collect();
        self.trail = registered.trail;
        self.moved = registered.moved;
        self.described = registered.known.as_ref().and_then(KnownSession::sources);
        self.outcome = ScanOutcome::Registered { left_out: registered.left_out.to_string() };
    }

    pub(super) fn name(&self) -> String {
        session_name(&self.session, &self.folder)
    }

    pub(super) fn print(&self) {
        let name = self.name();
        let (files, size) = (count(self.files as u64, "dataset"), bytes(self.bytes));
        let eid = self.eid.as_deref().unwrap_or("-");
        match &self.outcome {
            ScanOutcome::Registered { left_out } => {
                let took = self.took.as_secs_f64();
                let sign = if self.gap.is_some() { "gaps    " } else { "ok      " };
                say!("{sign}{name}  {eid}  {files}, {size}, {took:.2} s{}", left_out_suffix(left_out));
            }
            ScanOutcome::Planned { left_out } => {
                let state = if self.eid.is_some() { eid } else { "new on Alyx" };
                say!("plan    {name}  {state}  {files}, {size}{}", left_out_suffix(left_out));
            }
            ScanOutcome::Waits(error) => say!("waits   {name}  {error}"),
            ScanOutcome::Gone => say!("gone    {name}  another program has removed its flag"),
            ScanOutcome::Failed(error) => say!("failed  {name}  {error}"),
        }
        let verb = if matches!(self.outcome, ScanOutcome::Planned { .. }) { "would move" } else { "moved" };
        for line in moved_lines(&self.moved, verb) {
            say!("{line}");
        }
        for line in self.request.iter().flat_map(|request| request_lines(request, self.described.as_deref()))
        {
            say!("{line}");
        }
        for line in measurement_lines(&self.measurements) {
            say!("{line}");
        }
        if let Some(gap) = &self.gap {
            say!("      {gap}");
        }
    }

    /// The row for the ledger; `None` for a dry run, while the files are still changing, and for the session of another
    /// program.
    pub(in crate::cli) fn to_row(&self, flag: &Path) -> Option<OutcomeRow> {
        let (outcome, left_out, error) = match &self.outcome {
            ScanOutcome::Planned { .. } | ScanOutcome::Waits(_) | ScanOutcome::Gone => return None,
            ScanOutcome::Failed(error) if error.is_elsewhere() || error.wait_to_settle().is_some() => {
                return None;
            }
            ScanOutcome::Registered { left_out, .. } => (self.registered_word(), left_out.clone(), None),
            ScanOutcome::Failed(error) if error.next_step() == NextStep::NeedsAttention => {
                ("needs_attention", String::new(), Some(error))
            }
            ScanOutcome::Failed(error) => ("retry", String::new(), Some(error)),
        };
        let session = self.session.as_ref().ok();
        Some(OutcomeRow {
            at: jiff::Timestamp::now(),
            session: self.name(),
            subject: session.map(|s| s.subject().to_owned()),
            date: session.map(|s| s.date().to_string()),
            flag: flag.to_owned(),
            attempt: 1,
            outcome: outcome.to_owned(),
            eid: self.eid.clone(),
            n_files: self.files as u64,
            bytes: self.bytes,
            took: self.took,
            left_out,
            described: self.described.clone(),
            files: match error {
                Some(Error::Gaps(gap)) => NamedFile::of(gap),
                _ => self.left_out.clone(),
            },
            kind: error.map(|error| error.kind().name().to_owned()),
            error: error.map(ToString::to_string),
            next_step: error.map(|error| error.kind().next_step().to_owned()),
            next: None,
            by: None,
            trail: Arc::clone(&self.trail),
        })
    }

    fn registered_word(&self) -> &'static str {
        if self.gap.is_some() { "gaps" } else { "registered" }
    }

    pub(super) fn document(&self) -> String {
        let (outcome, left_out, error) = match &self.outcome {
            ScanOutcome::Registered { left_out } => (self.registered_word(), Some(left_out), None),
            ScanOutcome::Planned { left_out } => ("planned", Some(left_out), None),
            ScanOutcome::Waits(error) => ("waits", None, Some(error)),
            ScanOutcome::Gone => ("gone", None, None),
            ScanOutcome::Failed(error) => ("failed", None, Some(error)),
        };
        let error = error.map(|error| ErrorReport::from(error).of_session(self.name()));
        let errors = error.clone().into_iter().collect();
        let fields = FlagJson {
            session: self.name(),
            folder: (&self.folder).into(),
            eid: self.eid.as_deref(),
            datasets: self.files,
            bytes: self.bytes,
            took: self.took.as_secs_f64(),
            left_out: left_out.map(String::as_str),
            left_out_files: &self.left_out,
            gaps: self.gap.as_deref(),
            moved: moved_json(&self.moved),
            described: self.described.as_deref(),
            measurements: &self.measurements,
            request: self.request.as_ref(),
            error,
        };
        Document::new("scan", outcome, fields, errors).line()
    }
}

/// The fields of `scan`, for one flag.
#[derive(Serialize)]
struct FlagJson<'a> {
    session: String,
    folder: PathText,
    eid: Option<&'a str>,
    datasets: usize,
    bytes: u64,
    /// In seconds.
    took: f64,
    left_out: Option<&'a str>,
    left_out_files: &'a [NamedFile],
    gaps: Option<&'a str>,
    moved: Vec<MovedPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    measurements: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a SessionRequest>,
    error: Option<ErrorReport>,
}

fn left_out_suffix(left_out: &str) -> String {
    if left_out.is_empty() { String::new() } else { format!("; left out: {left_out}") }
}
