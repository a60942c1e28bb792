//! A session on Alyx: looked up, created only if absent, changed only where the caller said so.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::client::RegistrationClient;
use super::error::Error;
use super::files::{RegisterFilesOptions, RegisteredFiles};
use super::names;
use crate::alf::{SessionPath, SessionTime};
use crate::alyx::{self, Endpoint, SessionRecord, SessionRequest, SessionSearch, SessionSummary};

/// What a caller says about a session. Everything may be left open (`None`, or an empty list).
///
/// The counterpart of the keyword arguments of Python's `register_session`; `subject` and `number` are not here
/// because the path alone says them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionDetails {
    /// User names. A new session without users belongs to the user who is logged in.
    pub users: Vec<String>,
    /// Name of the lab. Must be the one of the path where the path has one.
    pub lab: Option<String>,
    /// Names of projects.
    pub projects: Vec<String>,
    /// Names of procedures, such as `Behavior training/tasks`.
    pub procedures: Vec<String>,
    /// Name of the location inside the lab.
    pub location: Option<String>,
    /// Task protocol.
    pub task_protocol: Option<String>,
    /// Kind of session; a new one is an `Experiment` unless this says otherwise.
    pub kind: Option<String>,
    /// Precise start, ISO 8601. Its day must be the one of the path. With an offset it is converted to naive local
    /// time, because Alyx would store it as UTC.
    pub start_time: Option<String>,
    /// Precise end, ISO 8601, converted like the start.
    pub end_time: Option<String>,
    /// Free text.
    pub narrative: Option<String>,
    /// Completed trials.
    pub n_trials: Option<u32>,
    /// Correct trials.
    pub n_correct_trials: Option<u32>,
    /// QC outcome: `CRITICAL`, `FAIL`, `WARNING`, `NOT_SET` or `PASS`.
    pub qc: Option<String>,
    /// Merged into the session's `json` field, key by key.
    pub json: Option<Map<String, Value>>,
}

/// Which files to register with a session (Python: `file_list`).
#[derive(Debug, Clone, Default)]
pub enum FilesToRegister {
    /// Every dataset that `find_files` finds.
    #[default]
    All,
    /// None: the session alone.
    None,
    /// These.
    These(Vec<PathBuf>),
}

/// A session that is on Alyx.
#[derive(Debug, Clone)]
pub(super) struct Ensured {
    pub(super) eid: String,
    pub(super) created: bool,
    /// The record, where a request has brought it.
    pub(super) record: Option<SessionRecord>,
}

fn given<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

impl SessionDetails {
    /// These details, and where they are open, the others'.
    pub fn or(&self, other: &Self) -> Self {
        let list = |a: &Vec<String>, b: &Vec<String>| if a.is_empty() { b.clone() } else { a.clone() };
        let text = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        Self {
            users: list(&self.users, &other.users),
            lab: text(&self.lab, &other.lab),
            projects: list(&self.projects, &other.projects),
            procedures: list(&self.procedures, &other.procedures),
            location: text(&self.location, &other.location),
            task_protocol: text(&self.task_protocol, &other.task_protocol),
            kind: text(&self.kind, &other.kind),
            start_time: text(&self.start_time, &other.start_time),
            end_time: text(&self.end_time, &other.end_time),
            narrative: text(&self.narrative, &other.narrative),
            n_trials: self.n_trials.or(other.n_trials),
            n_correct_trials: self.n_correct_trials.or(other.n_correct_trials),
            qc: text(&self.qc, &other.qc),
            json: self.json.clone().or_else(|| other.json.clone()),
        }
    }

    /// The request that says just what is given here. Pure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time that is none or falls on another day, or a lab that is not the path's.
    fn request(&self, path: &SessionPath, zone: &TimeZone) -> Result<SessionRequest, Error> {
        let time = |what: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => SessionTime::parse(text, zone)
                .map(Some)
                .map_err(|e| Error::Invalid(format!("session {path}: {what}: {e}"))),
        };
        let start = time("start_time", &self.start_time)?;
        if let Some(start) = start
            && start.date() != path.date()
        {
            return Err(Error::Invalid(format!(
                "session {path}: start_time {start} is not on the day of the folder; correct one of them"
            )));
        }
        let end = time("end_time", &self.end_time)?;
        if let (Some(lab), Some(of_path)) = (&self.lab, path.lab())
            && lab != of_path
        {
            return Err(Error::Invalid(format!(
                "session {path}: lab {lab:?} is not the lab of the folder ({of_path:?}); correct one of them"
            )));
        }
        Ok(SessionRequest {
            subject: None,
            number: None,
            users: given(&self.users),
            start_time: start.map(|t| t.to_string()),
            end_time: end.map(|t| t.to_string()),
            kind: self.kind.clone(),
            lab: self.lab.clone(),
            location: self.location.clone(),
            projects: given(&self.projects),
            procedures: given(&self.procedures),
            task_protocol: self.task_protocol.clone(),
            narrative: self.narrative.clone(),
            n_trials: self.n_trials,
            n_correct_trials: self.n_correct_trials,
            qc: self.qc.clone(),
            json: self.json.clone(),
        })
    }

    /// The request that creates the session. Pure.
    fn creation(&self, path: &SessionPath, username: &str, zone: &TimeZone) -> Result<SessionRequest, Error> {
        let said = self.request(path, zone)?;
        Ok(SessionRequest {
            subject: Some(path.subject().to_owned()),
            number: Some(path.number()),
            users: said.users.or_else(|| Some(vec![username.to_owned()])),
            start_time: said.start_time.or_else(|| Some(SessionTime::midnight(path.date()).to_string())),
            kind: said.kind.or_else(|| Some("Experiment".to_owned())),
            lab: said.lab.or_else(|| path.lab().map(str::to_owned)),
            ..said
        })
    }
}

/// The one session among those found; `None`: there is none. Pure.
///
/// Where the lab is known, a session of another lab belongs to another animal of the same name.
pub(super) fn the_one(
    found: Vec<SessionSummary>,
    path: &SessionPath,
    lab: Option<&str>,
) -> Result<Option<SessionSummary>, Error> {
    let mut ours: Vec<SessionSummary> =
        found.into_iter().filter(|s| lab.is_none() || s.lab.is_none() || s.lab.as_deref() == lab).collect();
    if ours.len() > 1 {
        let eids = ours.iter().map(|s| s.eid().to_owned()).collect();
        return Err(Error::Ambiguous { session: path.to_string(), eids });
    }
    Ok(ours.pop())
}

/// The `json` field with the caller's keys put in. Pure.
///
/// # Errors
/// [`Error::Invalid`] where another program stored something that is no object: it would be lost.
fn merged(
    current: &Value,
    more: &Map<String, Value>,
    path: &SessionPath,
) -> Result<Map<String, Value>, Error> {
    let mut merged = match current {
        Value::Null => Map::new(),
        Value::Object(fields) => fields.clone(),
        other => {
            return Err(Error::Invalid(format!(
                "session {path}: its json on Alyx is not an object ({other}) and is not overwritten; mend it on Alyx"
            )));
        }
    };
    merged.extend(more.clone());
    Ok(merged)
}

impl RegistrationClient {
    /// Makes sure that a session is on Alyx: looks it up, creates it if it is absent, and changes what `details`
    /// say where it is there. `defaults` count only for a session that is created. `extra` names are checked along
    /// with those that the request mentions, so that all that is missing is told at once.
    pub(super) async fn ensure_session(
        &self,
        path: &SessionPath,
        details: &SessionDetails,
        defaults: &SessionDetails,
        extra: Vec<(Endpoint, String)>,
    ) -> Result<Ensured, Error> {
        let creation = self.creation_of(path, details, defaults).await?;
        let change = details.request(path, &self.options().zone)?;
        let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
        let found = self.alyx().sessions(&search).await?;
        let lab = details.lab.as_deref().or(path.lab());
        match the_one(found, path, lab)? {
            None => {
                self.check_names([names::mentioned(&creation), extra].concat()).await?;
                let record =
                    self.alyx().create_session(&creation).await.inspect_err(|e| self.doubt_names(e))?;
                Ok(Ensured { eid: record.eid().to_owned(), created: true, record: Some(record) })
            }
            Some(summary) => {
                let eid = summary.eid().to_owned();
                self.check_names([names::mentioned(&change), extra].concat()).await?;
                let record = self.change_session(path, &eid, change).await?;
                Ok(Ensured { eid, created: false, record })
            }
        }
    }

    /// The request that creates the session. A default lab stands back behind the path's; a given one that differs
    /// is an error.
    pub(super) async fn creation_of(
        &self,
        path: &SessionPath,
        details: &SessionDetails,
        defaults: &SessionDetails,
    ) -> Result<SessionRequest, Error> {
        let mut all = details.or(defaults);
        if details.lab.is_none() && path.lab().is_some() {
            all.lab = None;
        }
        all.creation(path, self.alyx().username().await?, &self.options().zone)
    }

    /// Changes what the caller gave, and nothing else.
    async fn change_session(
        &self,
        path: &SessionPath,
        eid: &str,
        mut change: SessionRequest,
    ) -> Result<Option<SessionRecord>, Error> {
        if change == SessionRequest::default() {
            return Ok(None);
        }
        if let Some(more) = &change.json {
            let current = self.alyx().session(eid).await?;
            change.json = Some(merged(&current.json, more, path)?);
        }
        self.alyx()
            .update_session(eid, &change)
            .await
            .inspect_err(|e| self.doubt_names(e))
            .map(Some)
            .map_err(Error::from)
    }

    /// A refusal may mean that a name has been deleted since it was seen.
    fn doubt_names(&self, error: &alyx::Error) {
        if matches!(error, alyx::Error::Refused { .. } | alyx::Error::NotFound { .. }) {
            self.known_names().forget_all();
        }
    }

    /// Creates a session on Alyx, or changes the one that is there, and registers its files (Python:
    /// `register_session`).
    ///
    /// On a session that exists only what `details` give is changed; `json` is merged.
    ///
    /// # Errors
    /// [`Error::NotASession`] for a folder that is none, [`Error::Missing`] with all names that Alyx does not know,
    /// [`Error::Ambiguous`], [`Error::Invalid`], and those of [`RegistrationClient::register_files`].
    pub async fn register_session(
        &self,
        folder: &Path,
        details: &SessionDetails,
        files: &FilesToRegister,
        options: &RegisterFilesOptions,
    ) -> Result<(SessionRecord, Option<RegisteredFiles>), Error> {
        let path = SessionPath::parse(folder)?;
        let ensured = self.ensure_session(&path, details, &SessionDetails::default(), Vec::new()).await?;
        let record = match ensured.record {
            Some(record) => record,
            None => self.alyx().session(&ensured.eid).await?,
        };
        let registered = match files {
            FilesToRegister::None => None,
            FilesToRegister::All => {
                let found = self.find_files(folder).await?;
                let paths: Vec<PathBuf> = found.files.into_iter().map(|f| f.path).collect();
                let mut registered = self.register_files(&paths, options).await?;
                registered.left_out.extend(found.left_out);
                Some(registered)
            }
            FilesToRegister::These(paths) => Some(self.register_files(paths, options).await?),
        };
        Ok((record, registered))
    }

    /// Creates a session on Alyx, or changes the one that is there, without files (Python: `create_session`).
    ///
    /// # Errors
    /// Those of [`RegistrationClient::register_session`].
    pub async fn create_session(
        &self,
        folder: &Path,
        details: &SessionDetails,
    ) -> Result<SessionRecord, Error> {
        let options = RegisterFilesOptions::default();
        Ok(self.register_session(folder, details, &FilesToRegister::None, &options).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path() -> SessionPath {
        SessionPath::parse(Path::new("/data/cortexlab/Subjects/KS014/2024-05-01/001")).unwrap()
    }

    fn summary(eid: &str, lab: Option<&str>) -> SessionSummary {
        serde_json::from_value(json!({"id": eid, "subject": "KS014", "start_time": "2024-05-01T10:00:00", "number": 1, "lab": lab}))
            .unwrap()
    }

    #[test]
    fn a_new_session_gets_the_login_user_midnight_and_the_lab_of_the_path() {
        let request = SessionDetails::default().creation(&path(), "me", &TimeZone::UTC).unwrap();
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({"subject": "KS014", "users": ["me"], "number": 1, "start_time": "2024-05-01T00:00:00", "type": "Experiment", "lab": "cortexlab"})
        );
    }

    #[test]
    fn what_is_not_given_is_not_sent_in_a_change() {
        let change = SessionDetails::default().request(&path(), &TimeZone::UTC).unwrap();
        assert_eq!(serde_json::to_value(&change).unwrap(), json!({}));
    }

    #[test]
    fn a_start_on_another_day_and_another_lab_are_refused() {
        let late = SessionDetails { start_time: Some("2024-05-02T00:10:00".into()), ..Default::default() };
        assert!(matches!(late.request(&path(), &TimeZone::UTC), Err(Error::Invalid(_))));
        let lab = SessionDetails { lab: Some("mainenlab".into()), ..Default::default() };
        assert!(matches!(lab.request(&path(), &TimeZone::UTC), Err(Error::Invalid(_))));
    }

    #[test]
    fn two_candidates_are_never_guessed_at() {
        let two = vec![summary("a", Some("cortexlab")), summary("b", Some("cortexlab"))];
        let Err(Error::Ambiguous { eids, .. }) = the_one(two, &path(), Some("cortexlab")) else {
            panic!("guessed")
        };
        assert_eq!(eids, ["a", "b"]);
    }

    #[test]
    fn a_session_of_another_lab_is_of_another_animal() {
        let other = vec![summary("a", Some("mainenlab")), summary("b", Some("cortexlab"))];
        assert_eq!(the_one(other, &path(), Some("cortexlab")).unwrap().unwrap().eid(), "b");
        assert!(the_one(vec![summary("a", Some("mainenlab"))], &path(), None).unwrap().is_some());
    }

    #[test]
    fn json_is_merged_and_never_overwritten_where_it_is_no_object() {
        let more = json!({"b": 2}).as_object().unwrap().clone();
        assert_eq!(Value::Object(merged(&json!({"a": 1}), &more, &path()).unwrap()), json!({"a": 1, "b": 2}));
        assert_eq!(Value::Object(merged(&Value::Null, &more, &path()).unwrap()), json!({"b": 2}));
        assert!(merged(&json!("{\"a\": 1}"), &more, &path()).is_err());
    }
}
