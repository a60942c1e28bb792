//! A session time: naive local time as Alyx stores it, in ISO 8601.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::{Offset, TimeZone};

/// A naive local time, as Alyx stores it, in whole microseconds.
///
/// Alyx turns a time with an offset into naive UTC, so that an evening session may land on the next day, while labs
/// store the rig's local time. A time with an offset therefore becomes local time of a given zone here, and no offset
/// is ever sent.
///
/// ```
/// use alf::SessionTime;
/// use jiff::tz::{TimeZone, offset};
///
/// let zone = TimeZone::fixed(offset(-5));
/// for (text, iso) in [
///     ("2024-05-01", "2024-05-01T00:00:00"),
///     ("2024-05-01 10:00", "2024-05-01T10:00:00"),
///     ("2024-05-01T10:00:00.1234567", "2024-05-01T10:00:00.123456"),
///     ("2024-05-02T04:30:00Z", "2024-05-01T23:30:00"),
/// ] {
///     assert_eq!(SessionTime::parse(text, &zone).unwrap().to_iso(), iso);
/// }
/// for refused in ["", "today", "2024-02-30", "2024-05-01T24:00", "01/05/2024"] {
///     assert!(SessionTime::parse(refused, &zone).is_err(), "{refused}");
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionTime(DateTime);

/// Not a time that can be sent to Alyx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ISO 8601 date or time: write it as 2024-05-01 or 2024-05-01T10:00:00")]
pub struct SessionTimeError(pub String);

impl SessionTime {
    /// Parses ISO 8601; a time with an offset is converted to naive local time of `zone`.
    ///
    /// Accepts the forms of Python's `datetime.fromisoformat` with `T` or a space between date and time. Digits of a
    /// second after the sixth are dropped, as in Python.
    ///
    /// # Errors
    /// [`SessionTimeError`] with the text, if it is not ISO 8601.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, SessionTimeError> {
        Self::parse_iso(text, zone).ok_or_else(|| SessionTimeError(text.to_owned()))
    }

    fn parse_iso(text: &str, zone: &TimeZone) -> Option<Self> {
        // jiff's parser accepts more than Python: signed years, zones in brackets, `z`, a 60th second.
        let plain = text.bytes().all(|c| c.is_ascii_digit() || b"-+:., TtZ".contains(&c));
        let framed = text.starts_with(|c: char| c.is_ascii_digit())
            && text.ends_with(|c: char| c.is_ascii_digit() || c == 'Z');
        if !plain || !framed || has_sixtieth_second(text) {
            return None;
        }
        let text = cut_after_microseconds(text);
        let pieces = Pieces::parse(text.as_str()).ok()?;
        let written = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
        let local = match pieces.offset() {
            None => written,
            Some(offset) => {
                let offset = whole_offset(&text, offset)?;
                zone.to_datetime(offset.to_timestamp(written).ok()?)
            }
        };
        // jiff accepts years before 1; Python and Alyx do not.
        (written.year() >= 1 && local.year() >= 1).then(|| Self::from_civil(local))
    }

    /// Midnight at the start of a day.
    pub fn midnight(date: Date) -> Self {
        Self(date.to_datetime(Time::midnight()))
    }

    /// From a civil time; digits below a microsecond are dropped.
    pub fn from_civil(time: DateTime) -> Self {
        let below = time.subsec_nanosecond() % 1000;
        Self(time.with().subsec_nanosecond(time.subsec_nanosecond() - below).build().unwrap_or(time))
    }

    /// The day.
    pub fn date(&self) -> Date {
        self.0.date()
    }

    /// As sent: `2024-05-01T10:00:00`, with six digits of the second unless they are all zero.
    pub fn to_iso(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for SessionTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )?;
        match t.subsec_nanosecond() / 1000 {
            0 => Ok(()),
            microseconds => write!(f, ".{microseconds:06}"),
        }
    }
}

/// A date or time as a caller may give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateInput<'a> {
    /// Not given: now.
    Now,
    /// A day: its midnight.
    Day(Date),
    /// A naive local time.
    Time(DateTime),
    /// ISO 8601.
    Text(&'a str),
}

impl<'a> From<&'a str> for DateInput<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for DateInput<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Now, Self::Text)
    }
}

impl From<Date> for DateInput<'_> {
    fn from(date: Date) -> Self {
        Self::Day(date)
    }
}

impl From<DateTime> for DateInput<'_> {
    fn from(time: DateTime) -> Self {
        Self::Time(time)
    }
}

/// Turns any form of input into a time, as `RegistrationClient.ensure_ISO8601` does; `now` is local time in `zone`.
///
/// An empty text is refused, whereas ONE reads it as now.
///
/// # Errors
/// A text that is not ISO 8601.
///
/// ```
/// use alf::timestamp::{DateInput, ensure_iso8601};
/// use jiff::{civil::date, tz::TimeZone};
///
/// let now = date(2024, 5, 1).at(10, 0, 0, 0);
/// let iso = |input| ensure_iso8601(input, now, &TimeZone::UTC).map(|time| time.to_iso());
/// assert_eq!(iso(DateInput::Now).unwrap(), "2024-05-01T10:00:00");
/// assert_eq!(iso(date(2024, 5, 2).into()).unwrap(), "2024-05-02T00:00:00");
/// assert_eq!(iso("2024-05-03".into()).unwrap(), "2024-05-03T00:00:00");
/// assert!(iso("yesterday".into()).is_err());
/// ```
pub fn ensure_iso8601(
    date: DateInput<'_>,
    now: DateTime,
    zone: &TimeZone,
) -> Result<SessionTime, SessionTimeError> {
    match date {
        DateInput::Now => Ok(SessionTime::from_civil(now)),
        DateInput::Day(date) => Ok(SessionTime::midnight(date)),
        DateInput::Time(time) => Ok(SessionTime::from_civil(time)),
        DateInput::Text(text) => SessionTime::parse(text, zone),
    }
}

/// Drops the digits of a second after the sixth: the parser accepts nine at most, Python any number.
fn cut_after_microseconds(text: &str) -> String {
    let Some(point) = text.find(['.', ',']) else {
        return text.to_owned();
    };
    let (head, fraction) = text.split_at(point + 1);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let (kept, rest) = (fraction.get(..digits.min(6)), fraction.get(digits..));
    format!("{head}{}{}", kept.unwrap_or_default(), rest.unwrap_or_default())
}

/// Whether the time of day has 60 seconds, which jiff's parser reads as 59.
fn has_sixtieth_second(text: &str) -> bool {
    let time = text.split(['T', 't', ' ']).nth(1).unwrap_or_default();
    let time = time.split(['+', '-', '.', ',', 'Z']).next().unwrap_or_default();
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    digits.get(4..6) == Some("60")
}

/// The offset, unless it is a day or more, or has a fraction of a second, which jiff's parser rounds away.
fn whole_offset(text: &str, offset: PiecesOffset) -> Option<Offset> {
    let PiecesOffset::Numeric(numeric) = offset else {
        return Some(Offset::UTC);
    };
    let written = text.rsplit(['+', '-']).next().unwrap_or_default();
    let offset = numeric.offset();
    (!written.contains(['.', ',']) && offset.seconds().abs() < 24 * 60 * 60).then_some(offset)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz;
    use proptest::prelude::*;

    use super::*;

    fn local(text: &str, zone: &TimeZone) -> Option<String> {
        SessionTime::parse(text, zone).ok().map(|time| time.to_iso())
    }

    #[test]
    fn a_time_without_an_offset_is_kept_whatever_the_zone() {
        for hours in [-12, 0, 14] {
            let zone = TimeZone::fixed(tz::offset(hours));
            assert_eq!(local("2024-05-01T23:30:00", &zone).as_deref(), Some("2024-05-01T23:30:00"));
        }
    }

    #[test]
    fn a_time_with_an_offset_becomes_local_time() {
        let evening = "2024-05-01T23:30:00-05:00";
        assert_eq!(local(evening, &TimeZone::fixed(tz::offset(-5))).as_deref(), Some("2024-05-01T23:30:00"));
        assert_eq!(local(evening, &TimeZone::UTC).as_deref(), Some("2024-05-02T04:30:00"));
    }

    #[test]
    fn forms_that_python_does_not_accept_are_refused() {
        for text in [
            "+002024-05-01",
            "-000001-01-01",
            "0000-01-01",
            "2024-05-01T10:00:60",
            "2024-05-01T10:00:60Z",
            "20240501T100060",
            "2024-05-01T10:00:00z",
            "2024-05-01T10:00:00[UTC]",
            "2024-05-01Z",
            "2024-05-01T10:00:00+24:00",
            "2024-05-01T10:00:00.",
            "2024-05-01T",
            "2024-05-01T10:00:00+05:30:15.5",
        ] {
            assert_eq!(local(text, &TimeZone::UTC), None, "{text}");
        }
    }

    #[test]
    fn a_time_at_the_edge_of_the_calendar_is_refused_not_wrapped() {
        let (west, east) = (TimeZone::fixed(tz::offset(-10)), TimeZone::fixed(tz::offset(10)));
        assert_eq!(local("0001-01-01T00:00:00Z", &west), None);
        // The last instant of year 9999 does not fit into a timestamp, or into the calendar.
        assert_eq!(local("9999-12-31T23:59:59Z", &east), None);
        assert_eq!(local("9999-12-31T23:59:59.999999", &east).as_deref(), Some("9999-12-31T23:59:59.999999"));
    }

    #[test]
    fn digits_below_a_microsecond_are_cut_off_not_rounded() {
        let time = SessionTime::from_civil(date(2024, 5, 1).at(10, 0, 0, 999_999_999));
        assert_eq!(time.to_iso(), "2024-05-01T10:00:00.999999");
        assert_eq!(time, SessionTime::parse("2024-05-01T10:00:00.9999999999999", &TimeZone::UTC).unwrap());
    }

    #[test]
    fn every_kind_of_input_becomes_a_time() {
        let now = date(2024, 5, 1).at(10, 0, 0, 1_500);
        let iso = |input: DateInput<'_>| ensure_iso8601(input, now, &TimeZone::UTC).map(|t| t.to_iso());
        assert_eq!(iso(None.into()).unwrap(), "2024-05-01T10:00:00.000001");
        assert_eq!(iso(date(2024, 5, 2).into()).unwrap(), "2024-05-02T00:00:00");
        assert_eq!(iso(date(2024, 5, 2).at(1, 2, 3, 0).into()).unwrap(), "2024-05-02T01:02:03");
        assert_eq!(iso(Some("2024-05-03").into()).unwrap(), "2024-05-03T00:00:00");
        assert!(iso("".into()).unwrap_err().to_string().contains("write it as"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>(), hours in -25i8..=25) {
            let _ = SessionTime::parse(&text, &TimeZone::fixed(tz::offset(hours)));
        }

        #[test]
        fn nearly_valid_text_never_panics(text in "[0-9]{4}-?[0-9]{2}-?[0-9]{2}[Tt ]?[0-9:.,]{0,12}[Z+-]?[0-9:.]{0,9}") {
            let _ = SessionTime::parse(&text, &TimeZone::fixed(tz::offset(-9)));
        }

        #[test]
        fn what_is_written_is_read_back(year in 1i16..=9999, day in 0i32..365, second in 0i32..86_400, micros in 0i32..1_000_000) {
            let start = date(year, 1, 1).at(0, 0, 0, 0);
            let time = start
                .checked_add(jiff::Span::new().days(day).seconds(second).microseconds(micros));
            prop_assume!(time.is_ok());
            let time = SessionTime::from_civil(time.unwrap());
            prop_assert_eq!(SessionTime::parse(&time.to_iso(), &TimeZone::UTC), Ok(time));
        }
    }
}
