//! Filling the record of a session that is on Alyx: only what is empty there is sent, and it is read back.

use serde_json::{Map, Value};

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::metadata::known::{KnownSession, with_sources};
use crate::metadata::layers::set_detail;
use crate::session::details::{SessionDetails, check_against};
use crate::session::names;
use crate::session::register::{may_be_rounded, merged};
use alf::SessionPath;
use alyx_client::text::some_of;
use alyx_client::{Endpoint, SessionRecord, SessionRequest};
use session_metadata::update::{UpdatePlan, plan_update};
use session_metadata::{Field, Origin};

/// A session record and what would be sent for it.
#[derive(Debug, Clone)]
pub(crate) struct PlannedFill {
    pub(crate) record: SessionRecord,
    pub(crate) plan: UpdatePlan,
    /// The change of the caller, with what is filled.
    pub(crate) request: SessionRequest,
}

impl PlannedFill {
    /// What is sent, with the additions to `json` instead of the whole.
    pub(crate) fn additions(&self) -> SessionRequest {
        let json = self.request.json.clone().map(|mut json| {
            json.retain(|key, value| self.record.json.get(key.as_str()) != Some(value));
            json
        });
        SessionRequest { json, ..self.request.clone() }
    }
}

/// A record as the fields that are compared.
fn fields_of(record: &SessionRecord) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// What is filled, as a request.
fn request_of(
    plan: &UpdatePlan,
    path: &SessionPath,
    zone: &jiff::tz::TimeZone,
) -> Result<SessionRequest, Error> {
    let mut details = SessionDetails::default();
    for field in Field::ALL {
        if let Some(value) = plan.send.get(field.name()) {
            set_detail(&mut details, field, value);
        }
    }
    details.request(path, zone)
}

/// A change with what is filled where the change says nothing. Pure.
fn both(change: SessionRequest, fill: SessionRequest) -> SessionRequest {
    SessionRequest {
        subject: None,
        number: None,
        users: change.users.or(fill.users),
        start_time: change.start_time.or(fill.start_time),
        end_time: change.end_time.or(fill.end_time),
        kind: change.kind.or(fill.kind),
        lab: change.lab.or(fill.lab),
        location: change.location.or(fill.location),
        projects: change.projects.or(fill.projects),
        procedures: change.procedures.or(fill.procedures),
        task_protocol: change.task_protocol.or(fill.task_protocol),
        narrative: change.narrative.or(fill.narrative),
        n_trials: change.n_trials.or(fill.n_trials),
        n_correct_trials: change.n_correct_trials.or(fill.n_correct_trials),
        qc: change.qc.or(fill.qc),
        json: change.json.or(fill.json),
    }
}

/// Whether a change sets a field, or a key of `json`.
fn sets(change: &SessionRequest, field: &str) -> bool {
    match (field.split_once('.'), &change.json) {
        (Some(("json", key)), json) => json.as_ref().is_some_and(|json| json.contains_key(key)),
        _ => serde_json::to_value(change).is_ok_and(|change| change.get(field).is_some_and(|v| !v.is_null())),
    }
}

impl RegistrationClient {
    /// Reads the record of a session and plans what is sent: the caller's `change`, and what is known where the record
    /// has nothing.
    ///
    /// # Errors
    /// [`Error::Metadata`] for a session without a task that lacks what Alyx must know of it; those of a change that
    /// contradicts the record, and of the request.
    pub(crate) async fn plan_fill(
        &self,
        path: &SessionPath,
        eid: &str,
        known: &KnownSession,
        change: &SessionRequest,
    ) -> Result<PlannedFill, Error> {
        let record = self.alyx().session_without_datasets(eid).await?;
        let fields = fields_of(&record);
        known.check_passive(Some(&fields))?;
        check_against(path, change, &record)?;
        let created_by_us = self.context().has_created(eid).await;
        let mut plan = plan_update(&known.metadata, &fields, self.alyx().username().await?, created_by_us);
        plan.differences.retain(|difference| !sets(change, &difference.field));
        // The whole field would be sent back, with the digits that were lost when it was read.
        if record.json.as_object().is_some_and(|json| json.values().any(may_be_rounded)) {
            plan.send.remove("json");
        }
        let mut fill = request_of(&plan, path, &self.options().zone)?;
        fill.json = plan.send.get("json").and_then(Value::as_object).cloned();
        let mut request = both(change.clone(), fill);
        if let Some(more) = &change.json {
            let current = plan.send.get("json").unwrap_or(&record.json);
            request.json = Some(merged(current, more, path)?);
        }
        Ok(PlannedFill { record, plan, request })
    }

    /// Fills the record of a session, and reads it back, without its datasets. `None`: nothing was sent.
    ///
    /// # Errors
    /// As [`plan_fill`](Self::plan_fill); [`Error::Missing`] with all names that Alyx does not know;
    /// [`Error::NotConfirmed`] if the record does not hold what was sent.
    pub(crate) async fn fill_session(
        &self,
        path: &SessionPath,
        eid: &str,
        known: &KnownSession,
        change: &SessionRequest,
        extra: Vec<(Endpoint, String)>,
    ) -> Result<Option<SessionRecord>, Error> {
        let planned = self.plan_fill(path, eid, known, change).await?;
        self.report_differences(path, &planned.plan);
        let asked = self.check_names([names::mentioned(&planned.request), extra].concat()).await;
        asked.map_err(|error| with_sources(Some(known), error))?;
        if planned.request == SessionRequest::default() {
            return Ok(None);
        }
        // Names may have been asked for: the record is read again immediately before it is changed.
        let planned = self.plan_fill(path, eid, known, change).await?;
        if planned.request == SessionRequest::default() {
            return Ok(None);
        }
        let sent = self.alyx().update_session_without_datasets(eid, &planned.request).await;
        sent.inspect_err(|e| self.doubt_names(e))?;
        let again = self.plan_fill(path, eid, known, &SessionRequest::default()).await?;
        let lost: Vec<String> = again
            .plan
            .send
            .keys()
            .filter(|field| planned.plan.send.contains_key(*field))
            .map(|field| format!("{field} of session {path} is still empty"))
            .collect();
        if !lost.is_empty() {
            return Err(Error::NotConfirmed(lost));
        }
        if !planned.plan.send.is_empty() {
            let filled: Vec<&str> = planned.plan.send.keys().map(String::as_str).collect();
            let sources = known.sources().unwrap_or_else(|| "the configuration".to_owned());
            tracing::info!(session = %path, "filled on Alyx: {}; known: {sources}", filled.join(", "));
            known.log_notes();
        }
        Ok(Some(again.record))
    }

    /// Logs once where Alyx holds another value.
    fn report_differences(&self, path: &SessionPath, plan: &UpdatePlan) {
        // What the caller sets is sent.
        let kept = plan.differences.iter().filter(|d| d.source.origin != Origin::CommandLine);
        let lines: Vec<String> = kept
            .map(|d| format!("{} is {} on Alyx and {} here ({})", d.field, d.on_alyx, d.known, d.source))
            .collect();
        if lines.is_empty() {
            return;
        }
        let text = some_of(&lines, "; ");
        if self.context().remarks.is_new(format!("{path} {text}")) {
            tracing::info!(session = %path, "Alyx holds other values, which are kept: {text}");
        }
    }
}

impl KnownSession {
    /// Refuses a session without a task that Alyx does not know well enough.
    ///
    /// # Errors
    /// [`Error::Metadata`] with what its record lacks.
    pub(crate) fn check_passive(&self, record: Option<&Map<String, Value>>) -> Result<(), Error> {
        let lacking = self.metadata.lacking_for_passive(record);
        if lacking.is_empty() {
            return Ok(());
        }
        let source = self.metadata.values.passive.as_ref().map(ToString::to_string).unwrap_or_default();
        let what = match record {
            None => {
                "it must be on Alyx already; create it there with location, start, lab and users".to_owned()
            }
            Some(_) => {
                let lacking = lacking.join(", ");
                format!("its record on Alyx must be complete and lacks {lacking}; add that there")
            }
        };
        Err(Error::Metadata(vec![format!(
            "{source}: the session has no task, so {what}. If it had a task, correct this file"
        )]))
    }

    /// Logs what is worth a warning.
    pub(crate) fn log_notes(&self) {
        for note in &self.metadata.notes {
            tracing::warn!(session = %self.session, "in the session's files: {note}");
        }
    }
}
