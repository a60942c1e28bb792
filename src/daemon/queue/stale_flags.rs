//! Stale flags: flags that have waited longer than `watch.warn_after`. Each is reported once a day. Pure.
//!
//! A flag's age is counted from its own time (that of its last write or touch), so neither a restart nor a reboot
//! makes it young again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use alyx_registration::flag::FlagStamp;

/// The time between two reports of the same stale flag.
const REPORT_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How long a flag that is stale when first seen has to be registered before it is reported.
const GRACE_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// A flag that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitingFlag<'a> {
    pub(crate) path: &'a Path,
    /// The flag's own time.
    pub(crate) flagged_at: Timestamp,
    /// When this daemon first saw it.
    pub(crate) seen: Timestamp,
}

/// Which stale flags were reported, and when.
#[derive(Debug)]
pub(crate) struct StaleFlags {
    /// `None`: no flag is ever stale.
    after: Option<SignedDuration>,
    reported: HashMap<PathBuf, Timestamp>,
    /// When the previous daemon last reported: flags that were stale then are not reported again at once.
    reported_before: Option<Timestamp>,
}

/// The flag's own time; the current time if a fast clock put it in the future.
pub fn flagged_since(stamp: &FlagStamp, now: Timestamp) -> Timestamp {
    Timestamp::from_nanosecond(stamp.mtime_ns).map_or(now, |time| time.min(now))
}

/// Whether a flag of this time is stale now.
pub fn is_stale(flagged_at: Timestamp, now: Timestamp, after: Option<Duration>) -> bool {
    after.is_some_and(|after| now.duration_since(flagged_at) >= signed(after))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl StaleFlags {
    /// Flags become stale after this time.
    pub(crate) fn new(after: Option<Duration>) -> Self {
        Self { after: after.map(signed), reported: HashMap::new(), reported_before: None }
    }

    /// Changes the time after which flags become stale.
    pub(crate) fn set_after(&mut self, after: Option<Duration>) {
        self.after = after.map(signed);
    }

    /// Restores when the previous daemon last reported stale flags.
    pub(crate) fn restore(&mut self, reported_before: Timestamp) {
        self.reported_before = Some(reported_before);
    }

    /// When to report a flag, for the first time or again.
    pub(crate) fn due(&self, flag: &WaitingFlag<'_>) -> Option<Timestamp> {
        let after = self.after?;
        let later = |time: Timestamp, wait| time.checked_add(wait).unwrap_or(Timestamp::MAX);
        let stale_at = later(flag.flagged_at, after);
        let before = self.reported_before.filter(|reported| *reported >= stale_at);
        let reported = self.reported.get(flag.path).copied().or(before);
        let again = reported.map_or(stale_at, |reported| later(reported, REPORT_EVERY));
        Some(again.max(stale_at).max(later(flag.seen, after.min(GRACE_PERIOD))))
    }

    /// Whether a flag is stale although it has had time to be registered: after a weekend without the daemon all flags
    /// are stale, which alone is not worth a report.
    pub(crate) fn is_stale(&self, flag: &WaitingFlag<'_>, now: Timestamp) -> bool {
        self.after.is_some_and(|after| {
            now.duration_since(flag.flagged_at) >= after
                && now.duration_since(flag.seen) >= after.min(GRACE_PERIOD)
        })
    }

    /// The flags to report now, the oldest first. They count as reported. Flags that no longer wait are forgotten.
    pub(crate) fn take_due<'a>(
        &mut self,
        waiting: impl Iterator<Item = WaitingFlag<'a>>,
        now: Timestamp,
    ) -> Vec<PathBuf> {
        let waiting: Vec<_> = waiting.collect();
        let mut due: Vec<_> =
            waiting.iter().filter(|flag| self.due(flag).is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|flag| (flag.flagged_at, flag.path));
        let due: Vec<PathBuf> = due.into_iter().map(|flag| flag.path.to_owned()).collect();
        let there: HashSet<&Path> = waiting.iter().map(|flag| flag.path).collect();
        self.reported.retain(|path, _| there.contains(path.as_path()));
        self.reported.extend(due.iter().map(|path| (path.clone(), now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn flag(path: &str, put: i64, seen: i64) -> WaitingFlag<'_> {
        WaitingFlag { path: Path::new(path), flagged_at: at(put), seen: at(seen) }
    }

    fn a_day() -> StaleFlags {
        StaleFlags::new(Some(Duration::from_secs(DAY as u64)))
    }

    /// The hours in which these flags are reported, checked every hour for a week.
    fn reported_in(old: &mut StaleFlags, flags: &[WaitingFlag<'_>]) -> Vec<(i64, String)> {
        let hours = (0..=7 * 24).flat_map(|hour| {
            let reported = old.take_due(flags.iter().copied(), at(hour * HOUR));
            reported.into_iter().map(move |path| (hour, path.display().to_string())).collect::<Vec<_>>()
        });
        hours.collect()
    }

    #[test]
    fn a_flag_is_reported_when_it_becomes_stale_and_then_once_a_day() {
        let reported = reported_in(&mut a_day(), &[flag("a", 0, 0), flag("b", 5 * HOUR, 5 * HOUR)]);
        let of = |name: &str| reported.iter().filter(|(_, n)| n == name).map(|(h, _)| *h).collect::<Vec<_>>();
        assert_eq!(of("a"), [24, 48, 72, 96, 120, 144, 168]);
        assert_eq!(of("b"), [29, 53, 77, 101, 125, 149]);
    }

    #[test]
    fn a_flag_that_is_stale_when_first_seen_has_a_grace_period() {
        let mut old = a_day();
        let flag = flag("a", -9 * DAY, 0);
        assert!(old.take_due([flag].into_iter(), at(9 * 60)).is_empty());
        assert_eq!(old.take_due([flag].into_iter(), at(10 * 60)), [Path::new("a")]);
        assert_eq!(old.due(&flag), Some(at(DAY + 10 * 60)));
        assert!(!old.is_stale(&flag, at(9 * 60)) && old.is_stale(&flag, at(10 * 60)));
        assert!(!old.is_stale(&WaitingFlag { flagged_at: at(0), ..flag }, at(DAY - 1)));
    }

    #[test]
    fn a_restart_neither_rejuvenates_a_flag_nor_reports_it_twice_a_day() {
        let (mut old, known, new) = (a_day(), flag("a", -9 * DAY, 0), flag("b", -DAY + HOUR, 0));
        old.restore(at(-HOUR));
        assert_eq!(old.due(&known), Some(at(DAY - HOUR)));
        // Not stale yet when the previous daemon reported.
        assert_eq!(old.due(&new), Some(at(HOUR)));
    }

    #[test]
    fn a_flag_that_is_touched_or_created_again_is_not_stale() {
        let mut old = a_day();
        assert_eq!(old.take_due([flag("a", -2 * DAY, -DAY)].into_iter(), at(0)).len(), 1);
        let touched = flag("a", HOUR, -DAY);
        assert_eq!(old.due(&touched), Some(at(DAY + HOUR)));
        assert!(old.take_due([touched].into_iter(), at(DAY)).is_empty());
        // Removed, and back with its old time: another flag.
        assert!(old.take_due(std::iter::empty(), at(DAY)).is_empty());
        assert_eq!(old.take_due([flag("a", -2 * DAY, -DAY)].into_iter(), at(DAY + 1)).len(), 1);
    }

    #[test]
    fn the_oldest_is_reported_first_and_nothing_if_turned_off() {
        let flags = [flag("young", -2 * DAY, -DAY), flag("old", -3 * DAY, -DAY)];
        assert_eq!(a_day().take_due(flags.into_iter(), at(0)), [Path::new("old"), Path::new("young")]);
        let mut off = StaleFlags::new(None);
        assert!(off.take_due(flags.into_iter(), at(9 * DAY)).is_empty() && off.due(&flags[0]).is_none());
        assert!(!is_stale(at(-9 * DAY), at(0), None));
    }

    #[test]
    fn the_time_of_the_flag_counts_unless_it_lies_in_the_future() {
        let stamp = |second: i64| FlagStamp {
            device: 1,
            inode: 1,
            size: 0,
            mtime_ns: at(second).as_nanosecond(),
            ctime_ns: at(0).as_nanosecond(),
        };
        assert_eq!(flagged_since(&stamp(-DAY), at(0)), at(-DAY));
        assert_eq!(flagged_since(&stamp(DAY), at(0)), at(0));
        assert_eq!(flagged_since(&FlagStamp { mtime_ns: i128::MAX, ..stamp(0) }, at(0)), at(0));
        let day = Some(Duration::from_secs(DAY as u64));
        assert!(is_stale(at(-DAY), at(0), day) && !is_stale(at(1 - DAY), at(0), day));
    }
}
