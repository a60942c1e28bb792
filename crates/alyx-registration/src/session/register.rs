//! Registering a session: looked up, created only if absent, changed only in the fields that the caller set.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::client::RegistrationClient;
use crate::client::context::AlyxTurn;
use crate::client::options::{FilesToRegister, FlaggedOptions, RegisterFilesOptions};
use crate::client::record_outcome::RecordOutcome;
use crate::error::Error;
use crate::files::register::RegisteredFiles;
use crate::metadata::known::{KnownSession, earliest_day, with_sources};
use crate::metadata::options::OnMissing;
use crate::metadata::sources::{Beside, defaults_in};
use crate::session::details::{SessionDetails, check_against, check_day, check_end, needs_record};
use crate::session::handle::SessionHandle;
use crate::session::names;
use alf::SessionPath;
use alf::timestamp::DateInput;
use alyx_client::text::shortened;
use alyx_client::{self, Endpoint, SessionRecord, SessionRequest};
use session_metadata::{Field, Missing};

/// A session that is on Alyx.
#[derive(Debug, Clone)]
pub struct RegisteredSession {
    /// What registering did to the record.
    pub outcome: RecordOutcome,
    /// The record.
    pub record: SessionRecord,
    /// The files that it should have and lacks, as its files and the options say.
    pub missing: Vec<Missing>,
}

/// The `json` field with the caller's keys added. Pure.
///
/// # Errors
/// [`Error::Invalid`] if another program stored something other than an object, which would be lost, or a number that
/// cannot be sent back as it is.
pub(crate) fn merged(
    current: &Value,
    more: &Map<String, Value>,
    path: &SessionPath,
) -> Result<Map<String, Value>, Error> {
    let mut merged = match current {
        Value::Null => Map::new(),
        Value::Object(fields) => fields.clone(),
        other => {
            return Err(Error::Invalid(format!(
                "session {path}: its json on Alyx is not an object ({}) and is not overwritten; correct it on Alyx",
                shortened(&other.to_string())
            )));
        }
    };
    // The whole field is sent back: a number that was rounded when it was read would be changed on Alyx.
    if let Some(key) = merged.iter().find_map(|(key, value)| may_be_rounded(value).then_some(key)) {
        return Err(Error::Invalid(format!(
            "session {path}: its json on Alyx has a number beyond 64 bits in {:?}, which would be rounded; store it as text on Alyx",
            shortened(key)
        )));
    }
    merged.extend(more.clone());
    Ok(merged)
}

/// Whether a value has a number so large that digits may have been lost when it was read.
pub(crate) fn may_be_rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|n| n.abs() >= u64::MAX as f64)
        }
        Value::Array(items) => items.iter().any(may_be_rounded),
        Value::Object(fields) => fields.values().any(may_be_rounded),
        _ => false,
    }
}

/// Where the details of a session come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionSources<'a> {
    /// What the caller sets, also on a session that Alyx has.
    pub(crate) details: &'a SessionDetails,
    /// What a session that is created has where nothing is read.
    pub(crate) defaults: &'a SessionDetails,
    /// What was read, merged with the two others.
    pub(crate) known: Option<&'a KnownSession>,
}

impl RegistrationClient {
    /// Makes sure that a session is on Alyx: looks it up, creates it if it is absent, and otherwise changes what the
    /// caller sets and fills what is known and empty there. `extra` names are checked together with those
    /// in the request, so that one error lists all that are missing. The turn is given back while a creation of an
    /// earlier process may still arrive, and while the session's files are looked at.
    pub(crate) async fn get_or_create_session(
        &self,
        path: &SessionPath,
        sources: &SessionSources<'_>,
        extra: Vec<(Endpoint, String)>,
        turn: &AlyxTurn<'_>,
    ) -> Result<SessionHandle, Error> {
        let SessionSources { details, known, .. } = *sources;
        self.check_day(path, known)?;
        // What contradicts itself is refused before Alyx is asked.
        self.creation_of(path, sources).await?;
        self.check_measurements(known).await?;
        let change = details.request(path, &self.options().zone)?;
        let lab = details.lab.as_deref().or(path.lab());
        let creations = &self.context().creations;
        let at_most = self.alyx().request_timeout();
        let mut claim = creations.claim(path).await;
        let (what, since) = (format!("session {path}"), Instant::now());
        let (mut mark, mut has_waited) = (self.claim_request(what.clone()).await?, false);
        let found = loop {
            // In this order: a creation that arrives in between is found the next time.
            let open = match &mark {
                Ok(mark) => creations.still_open(&claim, mark.remaining(), at_most),
                Err(elsewhere) => elsewhere.recheck_in(),
            };
            let found = self.find_session(path, lab).await?;
            if found.is_none() {
                self.keep_place(&mark, || format!("creating {what}"))?;
            }
            if found.is_some() || open.is_zero() {
                break found;
            }
            let longest = match &mark {
                Ok(mark) => at_most.max(since.elapsed() + mark.remaining()),
                Err(elsewhere) => since.elapsed() + elsewhere.left(),
            };
            if !std::mem::replace(&mut has_waited, true) {
                tracing::info!(
                    session = %path,
                    "waiting up to {} s: an earlier request may still create this session",
                    longest.as_secs()
                );
            }
            let _waiting = creations.wait(path, since + longest);
            // Others talk to Alyx meanwhile.
            let claimed = turn.outside(async {
                match &mark {
                    Ok(_) => {
                        tokio::time::sleep(open).await;
                        Ok(None)
                    }
                    Err(elsewhere) => self.claim_again(&what, *elsewhere).await.map(Some),
                }
            });
            if let Some(claimed) = claimed.await? {
                mark = claimed;
            }
        };
        self.context().marks.forget(&what);
        match (found, mark) {
            (None, Err(_)) => {
                Err(Error::SentElsewhere { doing: format!("creating {what}"), left: Duration::ZERO })
            }
            (None, Ok(mark)) => {
                let creation = self.whole_creation(path, sources).await?;
                let asked = self.check_names([names::mentioned(&creation), extra].concat()).await;
                asked.map_err(|error| with_sources(known, error))?;
                // What a creation sets is not changed by a later run.
                turn.outside(self.check_sources(known, has_waited)).await?;
                let memory = self.context().created.clone();
                let created = creations.create(self.alyx(), creation, claim, mark, memory).await;
                let record = created.inspect_err(|e| {
                    if let Error::Alyx(e) = e {
                        self.doubt_names(e);
                    }
                })?;
                if let Some(sources) = known.and_then(KnownSession::sources) {
                    tracing::info!(session = %path, "described: {sources}");
                    known.into_iter().for_each(KnownSession::log_notes);
                }
                Ok(SessionHandle {
                    eid: record.eid().to_owned(),
                    created: Some(Instant::now()),
                    record: Some(record),
                })
            }
            (Some(summary), mark) => {
                let eid = summary.eid().to_owned();
                // Nothing is pending any more.
                *claim = None;
                if let Ok(mut mark) = mark {
                    mark.answered();
                }
                let record = match known.filter(|known| known.adds_values()) {
                    Some(known) => self.fill_session(path, &eid, known, &change, extra).await?,
                    None => {
                        let asked = self.check_names([names::mentioned(&change), extra].concat()).await;
                        asked.map_err(|error| with_sources(known, error))?;
                        let change = self.whole_change(path, &eid, change).await?;
                        self.change_session(&eid, change).await?
                    }
                };
                Ok(SessionHandle { eid, created: None, record })
            }
        }
    }

    /// The request that creates the session. The lab in the path takes precedence over a default one; a lab in
    /// `details` that differs from it is an error.
    pub(crate) async fn creation_of(
        &self,
        path: &SessionPath,
        sources: &SessionSources<'_>,
    ) -> Result<SessionRequest, Error> {
        let SessionSources { details, defaults, known } = *sources;
        self.check_end(path, sources)?;
        if let Some(known) = known.filter(|known| known.is_described()) {
            let username = self.alyx().username().await?;
            return known.details().creation(path, username, &self.options().zone);
        }
        let mut all = details.or(defaults);
        if details.lab.is_none() && path.lab().is_some() {
            all.lab = None;
        }
        all.creation(path, self.alyx().username().await?, &self.options().zone)
    }

    /// As [`creation_of`](Self::creation_of), with what only Alyx knows.
    pub(crate) async fn whole_creation(
        &self,
        path: &SessionPath,
        sources: &SessionSources<'_>,
    ) -> Result<SessionRequest, Error> {
        let Some(known) = sources.known else { return self.creation_of(path, sources).await };
        known.check_passive(None)?;
        let mut known = known.clone();
        self.fill_from_subject(&mut known).await?;
        self.creation_of(path, &SessionSources { known: Some(&known), ..*sources }).await
    }

    /// Refuses the day of a session that a wrong clock made.
    pub(crate) fn check_day(&self, path: &SessionPath, known: Option<&KnownSession>) -> Result<(), Error> {
        let today = self.session_time(DateInput::Now)?.date();
        let (earliest, setting) = self.earliest_day(path, known);
        check_day(path, today, earliest, &setting)
    }

    /// The earliest day of a session that is believed, and the setting that says so.
    pub(crate) fn earliest_day(&self, path: &SessionPath, known: Option<&KnownSession>) -> (Date, String) {
        let options = self.options();
        earliest_day(path, known, &options.metadata, options.earliest)
    }

    /// Refuses an end that a wrong clock made.
    fn check_end(&self, path: &SessionPath, sources: &SessionSources<'_>) -> Result<(), Error> {
        let today = self.session_time(DateInput::Now)?.date();
        let of_files = sources.known.and_then(|known| known.metadata.values.fields.get(&Field::EndTime));
        if let Some(found) = of_files {
            let from = found.source.to_string();
            return check_end(path, found.value.as_str(), Some(&from), today);
        }
        let SessionSources { details, defaults, .. } = sources;
        check_end(path, details.end_time.as_deref().or(defaults.end_time.as_deref()), None, today)
    }

    /// What is known of a session that is registered by name. `is_planned`: its folder is still to be created.
    ///
    /// # Errors
    /// Those of its folder; what is wrong in its files.
    pub(crate) async fn known_by_name(
        &self,
        path: &SessionPath,
        details: &SessionDetails,
        is_planned: bool,
    ) -> Result<(Option<KnownSession>, SessionDetails), Error> {
        let options = &self.options().metadata;
        if options.is_off() {
            return Ok((None, SessionDetails::default()));
        }
        let defaults = options.defaults.clone();
        let (command_line, general) = (details.clone(), defaults.clone());
        let flag = self.sidecar_of_flag(path).await?;
        let beside = Beside { flag, command_line, defaults: general, is_planned };
        let known = match self.read_metadata(path, beside).await {
            Ok(known) => known,
            // A session may be created by the name of a folder that is on another computer.
            Err(Error::Vanished { path: gone }) if gone == path.folder() => None,
            Err(error) => return Err(error),
        };
        if let Some(known) = &known {
            known.check(OnMissing::Finish, Duration::ZERO)?;
        }
        self.check_repository(known.as_ref()).await?;
        Ok((known, self.defaults_of(path, &defaults)))
    }

    /// The details of the configuration for a session; those of its data root come first.
    pub(crate) fn defaults_of(&self, path: &SessionPath, general: &SessionDetails) -> SessionDetails {
        defaults_in(self.options().metadata.root_of(path.folder()), general)
    }

    /// Refuses a change that contradicts the session's record. Returns the change as it is to be sent: with its `json`
    /// merged.
    pub(crate) async fn whole_change(
        &self,
        path: &SessionPath,
        eid: &str,
        mut change: SessionRequest,
    ) -> Result<SessionRequest, Error> {
        if change.json.is_some() || needs_record(&change) {
            let record = self.alyx().session_without_datasets(eid).await?;
            check_against(path, &change, &record)?;
            if let Some(more) = &change.json {
                change.json = Some(merged(&record.json, more, path)?);
            }
        }
        Ok(change)
    }

    /// Changes what the caller set, and nothing else.
    async fn change_session(
        &self,
        eid: &str,
        change: SessionRequest,
    ) -> Result<Option<SessionRecord>, Error> {
        if change == SessionRequest::default() {
            return Ok(None);
        }
        let updated = self.alyx().update_session_without_datasets(eid, &change).await;
        updated.inspect_err(|e| self.doubt_names(e)).map(Some).map_err(Error::from)
    }

    /// Creates a session on Alyx, or changes the existing one, and registers its files (Python: `register_session`).
    ///
    /// Its sidecars may name the repository and the versions of its files, and exclude some of
    /// [`FilesToRegister::All`].
    ///
    /// The subject, day, number and lab come from the path. Of an existing session only what `details` set is changed,
    /// and `json` is merged; users and start are never reset. A session that is created without a `start_time` starts
    /// at midnight, and belongs to the user who is logged in.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::{FilesToRegister, RecordOutcome, RegisterFilesOptions, SessionDetails};
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(&session)?;
    /// std::fs::write(session.join("wheel.position.npy"), "")?;
    /// let details = SessionDetails {
    ///     start_time: Some("2024-05-01T10:36:10".into()),
    ///     procedures: vec!["Behavior training/tasks".into()],
    ///     ..Default::default()
    /// };
    /// let options = RegisterFilesOptions::default();
    /// let (created, files) = client.register_session(&session, &details, &FilesToRegister::All, &options).await?;
    /// assert_eq!(created.outcome, RecordOutcome::Created);
    /// let record = created.record;
    /// assert_eq!((record.number, record.start_time.as_str()), (Some(1), "2024-05-01T10:36:10"));
    /// assert_eq!(files.unwrap().records.len(), 1);
    ///
    /// let more = SessionDetails { n_trials: Some(512), ..Default::default() };
    /// let (updated, _) = client.register_session(&session, &more, &FilesToRegister::None, &options).await?;
    /// assert_eq!(updated.outcome, RecordOutcome::Updated);
    /// let record = updated.record;
    /// assert_eq!((&record.other["n_trials"], record.start_time.as_str()), (&512.into(), "2024-05-01T10:36:10"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotASession`] for a path that is not a session folder, [`Error::Missing`] with all names that Alyx does
    /// not know, [`Error::Ambiguous`], [`Error::CreatedTwice`], [`Error::Clock`], [`Error::Invalid`],
    /// [`Error::RegisteredElsewhere`] if the session has a flag that another program holds, [`Error::SentElsewhere`] if
    /// another program is creating it, and those of
    /// [`RegistrationClient::register_files`].
    pub async fn register_session(
        &self,
        folder: &Path,
        details: &SessionDetails,
        files: &FilesToRegister,
        options: &RegisterFilesOptions,
    ) -> Result<(RegisteredSession, Option<RegisteredFiles>), Error> {
        let path = SessionPath::parse(folder)?;
        let _held = self.hold_flags(&path).await?;
        details.request(&path, &self.options().zone)?;
        let (known, defaults) = self.known_by_name(&path, details, false).await?;
        let flagged = FlaggedOptions { files: options.clone(), ..FlaggedOptions::default() };
        let flagged = self.options_in(&path, &flagged).await?;
        let options = &flagged.files;
        let sources = SessionSources { details, defaults: &defaults, known: known.as_ref() };
        let turn = self.context().begin_turn().await;
        let handle = self.get_or_create_session(&path, &sources, options.names(), &turn).await?;
        drop(turn);
        self.check_created_once(&path, &handle, true).await?;
        let record = match &handle.record {
            Some(record) if record.lists_datasets() => record.clone(),
            _ => self.alyx().session(&handle.eid).await?,
        };
        let registered = match files {
            FilesToRegister::None => None,
            FilesToRegister::All => {
                let found = self.find_files_with(folder, &flagged).await?;
                let paths: Vec<PathBuf> = found.files.into_iter().map(|f| f.path).collect();
                let mut registered = self.register_files_of(&paths, options, Some((&path, &handle))).await?;
                registered.left_out.extend(found.left_out);
                Some(registered)
            }
            FilesToRegister::These(paths) => {
                Some(self.register_files_of(paths, options, Some((&path, &handle))).await?)
            }
        };
        if let Some(known) = &known {
            self.record_measurements(known, &handle.eid).await?;
        }
        let missing = known.map(|known| known.metadata.missing).unwrap_or_default();
        Ok((RegisteredSession { outcome: handle.outcome(), record, missing }, registered))
    }

    /// Creates a session on Alyx, or changes the existing one, without files (Python: `create_session`).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::SessionDetails;
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// let record = client.create_session(&session, &SessionDetails::default()).await?;
    /// assert_eq!((record.subject.as_str(), record.lab.as_deref()), ("KS014", Some("cortexlab")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`RegistrationClient::register_session`].
    pub async fn create_session(
        &self,
        folder: &Path,
        details: &SessionDetails,
    ) -> Result<SessionRecord, Error> {
        let options = RegisterFilesOptions::default();
        Ok(self.register_session(folder, details, &FilesToRegister::None, &options).await?.0.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path() -> SessionPath {
        SessionPath::parse(Path::new("/data/cortexlab/Subjects/KS014/2024-05-01/001")).unwrap()
    }

    #[test]
    fn json_is_merged_and_never_overwritten_unless_it_is_an_object() {
        let more = json!({"b": 2}).as_object().unwrap().clone();
        assert_eq!(Value::Object(merged(&json!({"a": 1}), &more, &path()).unwrap()), json!({"a": 1, "b": 2}));
        assert_eq!(Value::Object(merged(&Value::Null, &more, &path()).unwrap()), json!({"b": 2}));
        assert!(merged(&json!("{\"a\": 1}"), &more, &path()).is_err());
        let long = merged(&json!("x".repeat(1 << 20)), &more, &path()).unwrap_err().to_string();
        assert!(
            long.len() < 1000 && long.contains("its json on Alyx is not an object (\"xxx"),
            "{}",
            long.len()
        );
    }

    #[test]
    fn a_number_on_alyx_that_was_rounded_is_never_sent_back() {
        let more = json!({"b": 2}).as_object().unwrap().clone();
        let current: Value = serde_json::from_str(r#"{"a": {"id": [18446744073709551616]}}"#).unwrap();
        assert!(merged(&current, &more, &path()).unwrap_err().to_string().contains("\"a\""));
        let current: Value = serde_json::from_str(r#"{"a": [18446744073709551615, 1.5e18]}"#).unwrap();
        assert!(merged(&current, &more, &path()).is_ok());
    }
}
