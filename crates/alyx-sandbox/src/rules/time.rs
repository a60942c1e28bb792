//! Naive times, as Alyx stores them: without a zone; a time with an offset becomes naive UTC.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::http::message::Error;

/// Now, in naive UTC with microseconds.
pub(crate) fn now() -> String {
    format(Timestamp::now().to_zoned(TimeZone::UTC).datetime())
}

/// Parses a time as Alyx does and returns Alyx's stored form; `None` is Alyx's "wrong format".
///
/// A date alone is midnight. A fraction is cut to microseconds. An offset is subtracted, so the day may change.
pub(crate) fn naive(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = real_date(date)?;
    let Some(separator) = rest.chars().next() else {
        return Some(format(date.at(0, 0, 0, 0)));
    };
    let clock = &rest[separator.len_utf8()..];
    let at = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(at);
    let offset = offset_seconds(zone)?;
    let (whole, fraction) = match clock.trim_end().split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, fraction),
        None => (clock.trim_end(), ""),
    };
    let digits = |s: &str| (!s.is_empty() && s.len() <= 2).then(|| s.parse::<i8>().ok()).flatten();
    let parts: Vec<&str> = whole.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [h] if h.len() == 2 => (digits(h)?, 0, 0),
        [h, m] => (digits(h)?, digits(m)?, 0),
        [h, m, s] => (digits(h)?, digits(m)?, digits(s)?),
        _ => return None,
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || (fraction.is_empty() && clock.contains(['.', ','])) {
        return None;
    }
    let micros: i32 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let time =
        DateTime::new(date.year(), date.month(), date.day(), hour, minute, second, micros * 1000).ok()?;
    Some(format(time.checked_sub(SignedDuration::from_secs(offset)).ok()?))
}

/// Whether text has the shape of `YYYY-MM-DD`.
pub(crate) fn is_date_shaped(text: &str) -> bool {
    let fits = |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(fits)
}

/// A date that exists, written `YYYY-MM-DD`.
pub(crate) fn real_date(text: &str) -> Option<Date> {
    if !is_date_shaped(text) {
        return None;
    }
    Date::new(text[..4].parse().ok()?, text[5..7].parse().ok()?, text[8..].parse().ok()?).ok()
}

/// Django's error for an invalid date: a 500, because Alyx does not catch the exception.
pub(crate) fn bad_date(date: &str) -> Error {
    let why = if is_date_shaped(date) {
        "value has the correct format (YYYY-MM-DD) but it is an invalid date."
    } else {
        "value has an invalid date format. It must be in YYYY-MM-DD format."
    };
    Error::internal(format!("['“{date}” {why}']"))
}

/// A step of one day.
pub(crate) fn daily() -> jiff::Span {
    jiff::Span::new().days(1)
}

/// Whole weeks between a date of birth and now, as `age_weeks` counts them.
pub(crate) fn weeks_since(date: &str, now: &str) -> i64 {
    let (Some(from), Some(to)) = (real_date(date), now.get(..10).and_then(real_date)) else { return 0 };
    i64::from(from.duration_until(to).as_hours() as i32 / 24 / 7)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    let Some(sign) = zone.chars().next() else { return Some(0) };
    if zone == "Z" {
        return Some(0);
    }
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if !matches!(digits.len(), 2 | 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |i: usize| digits.get(i..i + 2).map_or(Some(0), |d| d.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    let total = hours * 3600 + minutes * 60 + seconds;
    (hours < 24 && minutes < 60).then_some(if sign == '-' { -total } else { total })
}

fn format(time: DateTime) -> String {
    let seconds = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match time.subsec_nanosecond() / 1000 {
        0 => seconds,
        micros => format!("{seconds}.{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_stored_naive_and_an_offset_moves_it_to_utc() {
        for (given, stored) in [
            ("2024-05-01", "2024-05-01T00:00:00"),
            ("2024-05-01 10:00", "2024-05-01T10:00:00"),
            ("2024-05-01T10:00:00.5Z", "2024-05-01T10:00:00.500000"),
            ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00"),
            ("2024-05-01T23:30:00-05:00", "2024-05-02T04:30:00"),
            ("2024-05-01T10:00:00.1234567", "2024-05-01T10:00:00.123456"),
        ] {
            assert_eq!(naive(given).as_deref(), Some(stored), "{given}");
        }
    }

    #[test]
    fn an_invalid_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2024-02-30",
            "2024-05-01T25:00:00",
            "2024-5-1",
            "2024-05-01T10:00:00+5",
            "é234567890",
        ] {
            assert_eq!(naive(text), None, "{text}");
        }
    }
}
