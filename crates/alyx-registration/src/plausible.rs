//! Whether a measurement fits what Alyx holds: the session that it names, earlier records, and its unit. Pure.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};

use alyx_client::SessionRecord;

/// Whether a measurement of `subject` on `day` belongs to a session: its subject must be the same, and the day must be
/// that of its start, or of its end if it went on past midnight.
///
/// # Errors
/// What differs, with both values.
pub(crate) fn of_session(subject: &str, day: Date, session: &SessionRecord) -> Result<(), String> {
    let eid = session.eid();
    if session.subject != subject {
        return Err(format!(
            "session {eid} is a session of {:?}, not of {subject:?}; correct the subject or the session",
            session.subject
        ));
    }
    let day_of = |time: &str| time.parse::<DateTime>().map(|time| time.date()).ok();
    let end = session.other.get("end_time").and_then(serde_json::Value::as_str);
    let days = [day_of(&session.start_time), end.and_then(day_of)];
    if days.contains(&Some(day)) {
        return Ok(());
    }
    let start = session.start_time.get(..10).unwrap_or(&session.start_time);
    Err(format!("session {eid} took place on {start}, not on {day}; correct the time or the session"))
}

/// Within this time, the same measurement without a time of its own is the same command, given twice.
const SAME_COMMAND: SignedDuration = SignedDuration::from_mins(2);

/// Whether two times, as Alyx writes them, are the same.
pub(crate) fn is_same_time(a: &str, b: &str) -> bool {
    apart(a, b).map_or(a == b, |apart| apart.is_zero())
}

/// Whether two times are so close that the same command was given twice.
pub(crate) fn is_within_minutes(a: &str, b: &str) -> bool {
    apart(a, b).is_some_and(|apart| apart.abs() <= SAME_COMMAND)
}

fn apart(a: &str, b: &str) -> Option<SignedDuration> {
    Some(a.parse::<DateTime>().ok()?.duration_since(b.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use serde_json::json;

    fn session(end: Option<&str>) -> SessionRecord {
        let url = "http://x/sessions/1-2";
        let start = "2024-05-01T22:00:00";
        serde_json::from_value(json!({"subject": "KS014", "start_time": start, "end_time": end, "url": url}))
            .unwrap()
    }

    #[test]
    fn a_measurement_belongs_to_the_subject_and_the_days_of_its_session() {
        let late = session(Some("2024-05-02T00:30:00.5"));
        assert_eq!(of_session("KS014", date(2024, 5, 1), &late), Ok(()));
        assert_eq!(of_session("KS014", date(2024, 5, 2), &late), Ok(()));
        assert!(of_session("KS014", date(2024, 5, 2), &session(None)).is_err());
        let error = of_session("KS014", date(2026, 5, 1), &late).unwrap_err();
        assert!(error.contains("2024-05-01") && error.contains("2026-05-01"), "{error}");
        let error = of_session("ks014", date(2024, 5, 1), &late).unwrap_err();
        assert!(error.contains("\"KS014\"") && error.contains("\"ks014\""), "{error}");
    }

    #[test]
    fn times_are_compared_as_times() {
        assert!(is_same_time("2024-05-01T10:00:00", "2024-05-01T10:00:00.000000"));
        assert!(!is_same_time("2024-05-01T10:00:00", "2024-05-01T10:00:01"));
        for (other, close) in [("09:58:00", true), ("10:02:00", true), ("10:02:01", false), ("noon", false)] {
            assert_eq!(
                is_within_minutes("2024-05-01T10:00:00", &format!("2024-05-01T{other}")),
                close,
                "{other}"
            );
        }
    }
}
