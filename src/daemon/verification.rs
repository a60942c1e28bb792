//! When registered files are verified: in a window of the day, while no session waits. What is done then is handed in.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, VerifiedTotals};
use alyx_registration::{Error, RegistrationClient};

/// How files are verified.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How often each file is read.
    pub every: Duration,
    /// When; `None`: at any time.
    pub window: Option<Window>,
    /// The time zone of the window.
    pub zone: TimeZone,
    /// What is done.
    pub work: Arc<dyn VerifyWork>,
}

/// The work of one pass.
pub trait VerifyWork: Debug + Send + Sync {
    /// Verifies what is due, until all of it is done or the task is stopped.
    fn run(&self, task: VerifyTask) -> Pin<Box<dyn Future<Output = VerifyEnded> + Send>>;
}

/// One pass.
#[derive(Debug, Clone)]
pub struct VerifyTask {
    /// With which Alyx is asked, and files are read.
    pub client: RegistrationClient,
    /// Where readings are remembered.
    pub ledger: Arc<Ledger>,
    /// What was verified later is not due.
    pub since: Timestamp,
    /// Cancelled when the window closes or a session arrives.
    pub stop: CancellationToken,
}

/// How a pass ended.
#[derive(Debug, Default)]
pub struct VerifyEnded {
    /// What was read.
    pub bytes: u64,
    /// Whether nothing is left that was due.
    pub is_complete: bool,
    /// All that was verified until now.
    pub totals: VerifiedTotals,
    /// An outage, or a refused login.
    pub error: Option<Error>,
}

/// A time of the day, in which files are read. It may include midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub from: Time,
    /// Its end.
    pub to: Time,
}

impl Window {
    /// Whether it is open, by the clock on the wall. Pure.
    pub fn is_open(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let time = now.to_zoned(zone.clone()).time();
        match self.from <= self.to {
            true => self.from <= time && time < self.to,
            false => self.from <= time || time < self.to,
        }
    }

    /// When to look again whether it is open. A time that occurs twice, or not at all, because the clocks are changed, is
    /// looked at twice, or an hour later. Pure.
    pub fn next_check(&self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let today = now.to_zoned(zone.clone()).date();
        let days = (0..=2).filter_map(|days: i64| today.checked_add(days.days()).ok());
        let times = days.flat_map(|day| [day.to_datetime(self.from), day.to_datetime(self.to)]);
        let moments = times.flat_map(|time| {
            let both = [zone.to_ambiguous_zoned(time).earlier(), zone.to_ambiguous_zoned(time).later()];
            both.into_iter().flatten().map(|zoned| zoned.timestamp())
        });
        moments.filter(|moment| *moment > now).min().unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Lisbon").unwrap()
    }

    /// The hours from this day's midnight in which it is open, and when it is looked at, by the clock on the wall.
    fn day(window: Window, date: &str) -> (Vec<String>, Vec<String>) {
        let midnight = date.parse::<jiff::civil::Date>().unwrap().to_zoned(zone()).unwrap();
        let shown = |at: Timestamp| at.to_zoned(zone()).strftime("%H:%M%:z").to_string();
        let (mut open, mut checks) = (Vec::new(), Vec::new());
        let (mut at, end) = (midnight.timestamp(), midnight.tomorrow().unwrap().timestamp());
        let mut check = window.next_check(at, &zone());
        while check < end {
            checks.push(shown(check));
            check = window.next_check(check, &zone());
        }
        while at < end {
            if window.is_open(at, &zone()) {
                open.push(shown(at));
            }
            at += 1.hours();
        }
        (open, checks)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_window_may_include_midnight() {
        let night = Window { from: time(22, 0, 0, 0), to: time(3, 0, 0, 0) };
        let (open, checks) = day(night, "2024-05-01");
        assert_eq!(open, texts(&["00:00+01:00", "01:00+01:00", "02:00+01:00", "22:00+01:00", "23:00+01:00"]));
        assert_eq!(checks, texts(&["03:00+01:00", "22:00+01:00"]));
        let noon = Window { from: time(12, 0, 0, 0), to: time(13, 30, 0, 0) };
        assert_eq!(day(noon, "2024-05-01").0, texts(&["12:00+01:00", "13:00+01:00"]));
        let never = Window { from: time(12, 0, 0, 0), to: time(12, 0, 0, 0) };
        assert_eq!(day(never, "2024-05-01").0, texts(&[]));
    }

    #[test]
    fn the_clock_on_the_wall_counts_when_the_clocks_are_changed() {
        // At 01:00 the clocks go to 02:00, and in autumn at 02:00 back to 01:00.
        let (spring, autumn) = ("2024-03-31", "2024-10-27");
        let window = Window { from: time(23, 0, 0, 0), to: time(1, 30, 0, 0) };
        let (open, checks) = day(window, spring);
        assert_eq!(open, texts(&["00:00+00:00", "23:00+01:00"]));
        assert!(checks.contains(&"02:30+01:00".to_owned()), "{checks:?}");
        let (open, checks) = day(window, autumn);
        assert_eq!(open, texts(&["00:00+01:00", "01:00+01:00", "01:00+00:00", "23:00+00:00"]));
        // Closed, open and closed again: it is looked at after each.
        assert!(
            checks.contains(&"01:30+01:00".to_owned()) && checks.contains(&"01:30+00:00".to_owned()),
            "{checks:?}"
        );
    }
}
