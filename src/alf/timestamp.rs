//! Times as Alyx stores them: naive local time, ISO 8601.
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A naive local time, as Alyx stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionTime(DateTime);

/// Not a time that can be sent to Alyx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ISO 8601 date or time")]
pub struct SessionTimeError(pub String);

impl SessionTime {
    /// Parses ISO 8601; a time with an offset is converted to naive local time of `zone`.
    ///
    /// # Errors
    /// The text, where it is not ISO 8601.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, SessionTimeError> {
        let _ = zone;
        text.parse().map(Self).map_err(|_| SessionTimeError(text.to_owned()))
    }
    /// Midnight at the start of a day.
    pub fn midnight(date: Date) -> Self {
        Self(date.at(0, 0, 0, 0))
    }
    /// From a civil time.
    pub fn from_civil(time: DateTime) -> Self {
        Self(time)
    }
    /// The day.
    pub fn date(&self) -> Date {
        self.0.date()
    }
}

impl std::fmt::Display for SessionTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
