//! Session details: the fields of a session that a caller sets, and the requests with exactly those. Pure.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::error::Error;
use alf::{SessionPath, SessionTime};
use alyx_client::{SessionRecord, SessionRequest};

/// The fields of a session that a caller sets. Each may be left unset (`None`, or an empty list).
///
/// The counterpart of the keyword arguments of Python's `register_session`, without `subject` and `number`, which come
/// from the path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionDetails {
    /// User names. A new session without users belongs to the user who is logged in.
    pub users: Vec<String>,
    /// Name of the lab. Must be the lab in the path, if the path has one.
    pub lab: Option<String>,
    /// Names of projects.
    pub projects: Vec<String>,
    /// Names of procedures, such as `Behavior training/tasks`.
    pub procedures: Vec<String>,
    /// Name of the location inside the lab.
    pub location: Option<String>,
    /// Task protocol.
    pub task_protocol: Option<String>,
    /// Kind of session. Default for a new one: `Experiment`.
    pub kind: Option<String>,
    /// Precise start, ISO 8601, on the day in the path. A time with an offset is converted to naive local time, because
    /// Alyx would store it as UTC.
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

fn non_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Refuses the day of a session that a recorder with a wrong clock made: one after tomorrow, because another computer's
/// today may be tomorrow here, or one before `earliest`, which `setting` sets. Pure.
pub(crate) fn check_day(path: &SessionPath, today: Date, earliest: Date, setting: &str) -> Result<(), Error> {
    let tomorrow = today.saturating_add(1.day());
    let reason = if path.date() > tomorrow {
        format!("in the future: today is {today}")
    } else if path.date() < earliest {
        format!("before {earliest}, the earliest that is expected ({setting})")
    } else {
        return Ok(());
    };
    Err(Error::Clock { session: path.to_string(), reason })
}

/// Refuses an end after tomorrow, as the [day](check_day). Pure.
pub(crate) fn check_end(
    path: &SessionPath,
    end: Option<&str>,
    from: Option<&str>,
    today: Date,
) -> Result<(), Error> {
    let Some(end) = end.and_then(|text| SessionTime::parse(text, &TimeZone::UTC).ok()) else { return Ok(()) };
    if end.date() <= today.saturating_add(1.day()) {
        return Ok(());
    }
    let from = from.map(|from| format!(" ({from})")).unwrap_or_default();
    Err(Error::Invalid(format!(
        "session {path}: end_time {end}{from} is in the future: today is {today}; is the recorder's clock right? Correct \
         the end"
    )))
}

/// Refuses an end before the start.
fn check_order(path: &SessionPath, start: SessionTime, end: Option<SessionTime>) -> Result<(), Error> {
    match end {
        Some(end) if end < start => Err(Error::Invalid(format!(
            "session {path}: end_time {end} is before its start {start}; correct one of them"
        ))),
        _ => Ok(()),
    }
}

/// Refuses more correct trials than trials.
fn check_trials(path: &SessionPath, n_trials: Option<u64>, n_correct: Option<u64>) -> Result<(), Error> {
    match (n_trials, n_correct) {
        (Some(all), Some(correct)) if correct > all => Err(Error::Invalid(format!(
            "session {path}: n_correct_trials {correct} is more than n_trials {all}; correct one of them"
        ))),
        _ => Ok(()),
    }
}

/// Whether a change sets one of two fields that must agree, so that the other one is that on Alyx.
pub(crate) fn needs_record(change: &SessionRequest) -> bool {
    change.n_trials.is_some() != change.n_correct_trials.is_some()
        || change.start_time.is_some() != change.end_time.is_some()
}

/// Refuses a change that contradicts what the session's record holds. Pure.
pub(crate) fn check_against(
    path: &SessionPath,
    change: &SessionRequest,
    record: &SessionRecord,
) -> Result<(), Error> {
    let stored = |field: &str| record.other.get(field);
    let n =
        |set: Option<u32>, field: &str| set.map(u64::from).or_else(|| stored(field).and_then(Value::as_u64));
    if change.n_trials.is_some() || change.n_correct_trials.is_some() {
        check_trials(path, n(change.n_trials, "n_trials"), n(change.n_correct_trials, "n_correct_trials"))?;
    }
    if change.start_time.is_some() || change.end_time.is_some() {
        let time = |text: Option<&str>| SessionTime::parse(text?, &TimeZone::UTC).ok();
        let start = time(change.start_time.as_deref().or(Some(&record.start_time)));
        let end = change.end_time.as_deref().or_else(|| stored("end_time").and_then(Value::as_str));
        if let Some(start) = start {
            check_order(path, start, time(end))?;
        }
    }
    Ok(())
}

impl SessionDetails {
    /// These details, with unset fields from `other`.
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

    /// The request with exactly the fields that are set. Pure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid time, a time on another day, an end before the start, more correct trials than
    /// trials, or a lab that is not the one in the path.
    pub(crate) fn request(&self, path: &SessionPath, zone: &TimeZone) -> Result<SessionRequest, Error> {
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
        // A session without a start begins on its day.
        let begins = start.unwrap_or(SessionTime::midnight(path.date()));
        check_order(path, begins, end)?;
        check_trials(path, self.n_trials.map(u64::from), self.n_correct_trials.map(u64::from))?;
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
            users: non_empty(&self.users),
            start_time: start.map(|t| t.to_string()),
            end_time: end.map(|t| t.to_string()),
            kind: self.kind.clone(),
            lab: self.lab.clone(),
            location: self.location.clone(),
            projects: non_empty(&self.projects),
            procedures: non_empty(&self.procedures),
            task_protocol: self.task_protocol.clone(),
            narrative: self.narrative.clone(),
            n_trials: self.n_trials,
            n_correct_trials: self.n_correct_trials,
            qc: self.qc.clone(),
            json: self.json.clone(),
        })
    }

    /// The request that creates the session. Pure.
    pub(crate) fn creation(
        &self,
        path: &SessionPath,
        username: &str,
        zone: &TimeZone,
    ) -> Result<SessionRequest, Error> {
        let set = self.request(path, zone)?;
        Ok(SessionRequest {
            subject: Some(path.subject().to_owned()),
            number: Some(path.number()),
            users: set.users.or_else(|| Some(vec![username.to_owned()])),
            start_time: set.start_time.or_else(|| Some(SessionTime::midnight(path.date()).to_string())),
            kind: set.kind.or_else(|| Some("Experiment".to_owned())),
            lab: set.lab.or_else(|| path.lab().map(str::to_owned)),
            ..set
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn path() -> SessionPath {
        SessionPath::parse(Path::new("/data/cortexlab/Subjects/KS014/2024-05-01/001")).unwrap()
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
    fn unset_fields_are_not_sent_in_a_change() {
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
    fn numbers_and_times_that_contradict_each_other_are_refused() {
        let request = |details: SessionDetails| details.request(&path(), &TimeZone::UTC).map(drop);
        let trials =
            |n, correct| SessionDetails { n_trials: n, n_correct_trials: correct, ..Default::default() };
        assert!(request(trials(Some(10), Some(10))).is_ok());
        assert!(request(trials(None, Some(20))).is_ok());
        let error = request(trials(Some(10), Some(20))).unwrap_err().to_string();
        assert!(error.contains("n_correct_trials 20") && error.contains("n_trials 10"), "{error}");
        let times = |start: Option<&str>, end: &str| SessionDetails {
            start_time: start.map(str::to_owned),
            end_time: Some(end.into()),
            ..Default::default()
        };
        assert!(request(times(Some("2024-05-01T23:00"), "2024-05-02T01:00")).is_ok());
        assert!(request(times(None, "2024-05-01T01:00")).is_ok());
        assert!(request(times(Some("2024-05-01T10:00"), "2024-05-01T09:59:59")).is_err());
        assert!(request(times(None, "2024-04-30T23:59")).is_err());
    }

    #[test]
    fn a_change_is_compared_with_what_alyx_holds() {
        let record: SessionRecord = serde_json::from_value(json!({
            "subject": "KS014", "url": "http://x/sessions/1", "start_time": "2024-05-01T10:00:00",
            "end_time": "2024-05-01T11:00:00", "n_trials": 10, "n_correct_trials": 5,
        }))
        .unwrap();
        let check = |change: SessionRequest| {
            (needs_record(&change), check_against(&path(), &change, &record).is_ok())
        };
        let none = SessionRequest::default;
        assert_eq!(check(none()), (false, true));
        assert_eq!(check(SessionRequest { n_correct_trials: Some(11), ..none() }), (true, false));
        assert_eq!(check(SessionRequest { n_correct_trials: Some(10), ..none() }), (true, true));
        assert_eq!(check(SessionRequest { n_trials: Some(4), ..none() }), (true, false));
        let early = Some("2024-05-01T09:00:00".to_owned());
        assert_eq!(check(SessionRequest { end_time: early.clone(), ..none() }), (true, false));
        let late = Some("2024-05-01T12:00:00".to_owned());
        assert_eq!(check(SessionRequest { start_time: late.clone(), ..none() }), (true, false));
        let both = SessionRequest { start_time: early, end_time: late, ..none() };
        assert_eq!(check(both), (false, true));
    }

    #[test]
    fn the_end_of_a_session_is_not_after_tomorrow() {
        let check = |end: &str| check_end(&path(), Some(end), Some("f: k"), "2024-05-01".parse().unwrap());
        assert!(check("2024-05-02T23:59:59").is_ok());
        let error = check("2024-05-03T00:00:00").unwrap_err().to_string();
        for part in ["2024-05-03", "(f: k)", "today is 2024-05-01", "clock right?"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn the_day_of_a_session_is_neither_after_tomorrow_nor_before_the_earliest() {
        let day = |today: &str, earliest: &str| {
            let (today, earliest) = (today.parse().unwrap(), earliest.parse().unwrap());
            check_day(&path(), today, earliest, "session.earliest").map_err(|error| error.to_string())
        };
        for today in ["2024-04-30", "2024-05-01", "2024-05-02", "2094-01-01"] {
            assert_eq!(day(today, "2000-01-01"), Ok(()), "{today}");
        }
        assert_eq!(day("2024-05-01", "2024-05-01"), Ok(()));
        let future = day("2024-04-29", "2000-01-01").unwrap_err();
        assert!(future.contains("today is 2024-04-29") && future.contains("clock right?"), "{future}");
        let past = day("2024-05-01", "2024-05-02").unwrap_err();
        assert!(past.contains("before 2024-05-02") && past.contains("session.earliest"), "{past}");
        assert!(day("9999-12-31", "2000-01-01").is_ok());
    }
}
