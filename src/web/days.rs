//! Days: what was registered on each of the last days. Pure.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::ledger::RegisteredRow;

/// How many days are shown, today among them.
pub(super) const DAYS: usize = 30;

/// One day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) date: Date,
    /// Sessions registered.
    pub(super) sessions: u64,
    /// The size of their datasets.
    pub(super) bytes: u64,
}

/// The dates of the last days, today last.
fn dates(today: Date) -> impl Iterator<Item = Date> {
    (0..DAYS as i64).rev().map(move |back| today.saturating_sub(Span::new().days(back)))
}

/// When the first of the days begins.
pub(super) fn beginning(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let today = now.to_zoned(zone.clone()).date();
    let first = dates(today).next().unwrap_or(today);
    first.to_zoned(zone.clone()).map_or(now, |begin| begin.timestamp())
}

/// The last days, today last. A session that was registered twice on a day counts once, with its last size.
pub(super) fn by_day(rows: &[RegisteredRow], now: Timestamp, zone: &TimeZone) -> Vec<Day> {
    let mut last: HashMap<(Date, &str), u64> = HashMap::new();
    for row in rows {
        last.insert((row.at.to_zoned(zone.clone()).date(), &row.session), row.bytes);
    }
    let mut sums: HashMap<Date, (u64, u64)> = HashMap::new();
    for ((date, _), bytes) in last {
        let sum = sums.entry(date).or_default();
        *sum = (sum.0 + 1, sum.1.saturating_add(bytes));
    }
    let day = |date| {
        let (sessions, bytes) = sums.get(&date).copied().unwrap_or_default();
        Day { date, sessions, bytes }
    };
    dates(now.to_zoned(zone.clone()).date()).map(day).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: &str, session: &str, bytes: u64) -> RegisteredRow {
        RegisteredRow { at: at.parse().unwrap(), session: session.into(), bytes }
    }

    #[test]
    fn days_follow_the_time_zone_and_a_session_counts_once_a_day() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let now = "2024-03-12T16:00:00Z".parse().unwrap();
        let rows = [
            row("2024-03-11T23:00:00Z", "a", 1),
            row("2024-03-12T03:30:00Z", "a", 5),
            row("2024-03-12T04:30:00Z", "a", 10),
            row("2024-03-12T05:00:00Z", "b", 20),
        ];
        let days = by_day(&rows, now, &zone);
        assert_eq!(days.len(), DAYS);
        let values: Vec<_> = days.iter().map(|day| (day.date.to_string(), day.sessions, day.bytes)).collect();
        assert_eq!(values[DAYS - 2], ("2024-03-11".to_owned(), 1, 5));
        assert_eq!(values[DAYS - 1], ("2024-03-12".to_owned(), 2, 30));
        assert_eq!(values[0].0, "2024-02-12");
        // Midnight in New York, before daylight saving time began.
        assert_eq!(beginning(now, &zone), "2024-02-12T05:00:00Z".parse().unwrap());
    }
}
