//! Whether a measurement fits what Alyx holds: the session that it names, and earlier records. Pure.

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

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Water, in millilitres.
    Water,
    /// Weight, in grams.
    Weight,
}

impl Quantity {
    fn noun(self) -> &'static str {
        match self {
            Self::Water => "volume",
            Self::Weight => "weight",
        }
    }

    /// The unit, and those a thousandth and a thousand times of it.
    fn units(self) -> [&'static str; 3] {
        match self {
            Self::Water => ["ml", "µl", "l"],
            Self::Weight => ["g", "mg", "kg"],
        }
    }
}

/// Earlier measurements of a subject: their times, as Alyx writes them, and values.
pub(crate) type Earlier<'a> = Vec<(&'a str, f64)>;

/// How many of the latest records tell what is usual.
const LATEST: usize = 5;

/// How far from 1000 times the usual value a value may be to count as one in another unit.
const TOLERANCE: std::ops::RangeInclusive<f64> = 0.7..=1.3;

/// The latest values, the last one first. Zero says nothing.
fn latest(earlier: &Earlier<'_>) -> Vec<f64> {
    let mut dated: Vec<(Option<DateTime>, f64)> = earlier
        .iter()
        .filter(|(_, value)| *value > 0.0)
        .map(|(time, value)| (time.parse().ok(), *value))
        .collect();
    dated.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    dated.into_iter().take(LATEST).map(|(_, value)| value).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// What says that a value is in another unit than it should be. There are no fixed bounds, because subjects range from
/// mice to monkeys: only the subject's own records tell.
pub(crate) fn wrong_unit(
    quantity: Quantity,
    subject: &str,
    value: f64,
    earlier: &Earlier<'_>,
) -> Option<String> {
    let usual = median(latest(earlier))?;
    let (noun, [unit, smaller, larger]) = (quantity.noun(), quantity.units());
    let (times, likely) = if TOLERANCE.contains(&(value / usual / 1000.0)) {
        ("1000 times", smaller)
    } else if TOLERANCE.contains(&(usual / value / 1000.0)) {
        ("a thousandth of", larger)
    } else {
        return None;
    };
    let usual = format!("{usual:.3e}").parse().unwrap_or(usual);
    Some(format!(
        "{value} {unit} is about {times} the usual {noun} of {subject} ({usual} {unit}): is it in {likely}?"
    ))
}

/// What says that a volume in millilitres is more than the subject weighs in grams.
pub(crate) fn more_than_weight(subject: &str, volume: f64, weights: &Earlier<'_>) -> Option<String> {
    let weight = *latest(weights).first()?;
    (volume > weight)
        .then(|| format!("{volume} ml of water is more than {subject} weighs ({weight} g): is it in µl?"))
}

/// What says that a value cannot be compared.
pub(crate) fn nothing_to_compare(quantity: Quantity, subject: &str, earlier: &Earlier<'_>) -> Option<String> {
    latest(earlier)
        .is_empty()
        .then(|| format!("Alyx has no earlier {} for {subject} to compare with", quantity.noun()))
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

    fn on_days(values: &[f64]) -> Earlier<'static> {
        let days = [1, 2, 3, 4, 5, 6, 7].map(|day| format!("2024-05-0{day}T10:00:00").leak() as &str);
        days.into_iter().zip(values.iter().copied()).collect()
    }

    #[test]
    fn a_value_in_another_unit_is_recognised_by_the_subjects_own_records() {
        use Quantity::{Water, Weight};
        let mouse = on_days(&[20.9, 21.3, 21.6]);
        for (quantity, value, earlier, likely) in [
            (Weight, 21_300.0, mouse.clone(), Some("mg")),
            (Weight, 0.0213, mouse.clone(), Some("kg")),
            (Weight, 27_000.0, mouse.clone(), Some("mg")),
            (Weight, 28_000.0, mouse.clone(), None),
            (Weight, 15_000.0, mouse.clone(), Some("mg")),
            (Weight, 14_000.0, mouse.clone(), None),
            (Weight, 210.0, mouse.clone(), None),
            (Weight, 21.3, mouse, None),
            (Water, 1064.0, on_days(&[0.9, 1.1]), Some("µl")),
            (Water, 0.001, on_days(&[0.9, 1.1]), Some("l")),
            (Water, 1064.0, Vec::new(), None),
            // A rat, and a monkey that weighs as much in grams as a mouse in milligrams.
            (Weight, 350.0, on_days(&[340.0]), None),
            (Weight, 9_000.0, on_days(&[8_800.0]), None),
        ] {
            let found = wrong_unit(quantity, "x", value, &earlier);
            assert_eq!(found.is_some(), likely.is_some(), "{quantity:?} {value}: {found:?}");
            if let Some(likely) = likely {
                assert!(found.unwrap().ends_with(&format!("is it in {likely}?")), "{value}");
            }
        }
    }

    #[test]
    fn the_last_five_records_tell_what_is_usual() {
        // The first two days were entered in mg.
        let learned = on_days(&[21_000.0, 21_000.0, 21.0, 21.0, 21.0, 21.0, 21.0]);
        assert_eq!(wrong_unit(Quantity::Weight, "x", 21.2, &learned), None);
        let mut unsorted = learned;
        unsorted.reverse();
        assert_eq!(wrong_unit(Quantity::Weight, "x", 21.2, &unsorted), None);
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn nothing_drinks_more_than_it_weighs() {
        let weights = on_days(&[800.0, 21.3]);
        assert!(more_than_weight("x", 35.1, &weights).is_some());
        assert_eq!(more_than_weight("x", 2.0, &weights), None);
        assert_eq!(more_than_weight("x", 35.1, &Vec::new()), None);
    }
}
