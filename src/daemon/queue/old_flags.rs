//! Old flags: those that have waited longer than anybody should have to. Each is told once a day. Pure.
//!
//! A flag is as old as its own time says (that of its last write or touch), so neither a restart nor a reboot makes
//! it young again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use alyx_registration::flag::FlagStamp;

/// How soon an old flag is told again.
const TELL_AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// How long a flag that was old when it was first seen has to be registered before it is told.
const FIRST_CHANCE: SignedDuration = SignedDuration::from_mins(10);

/// A flag that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitingFlag<'a> {
    pub(crate) path: &'a Path,
    /// When it was put, by its own time.
    pub(crate) put: Timestamp,
    /// When this daemon saw it first.
    pub(crate) seen: Timestamp,
}

/// Which old flags were told, and when.
#[derive(Debug)]
pub(crate) struct OldFlags {
    /// `None`: no flag is ever old.
    after: Option<SignedDuration>,
    told: HashMap<PathBuf, Timestamp>,
    /// When the last daemon told any: those that were old then are not told again at once.
    told_before: Option<Timestamp>,
}

/// When a flag was put. A clock that was ahead makes no flag of the future.
pub fn put_at(stamp: &FlagStamp, now: Timestamp) -> Timestamp {
    Timestamp::from_nanosecond(stamp.mtime_ns).map_or(now, |put| put.min(now))
}

/// Whether a flag that was put then is old now.
pub fn is_old(put: Timestamp, now: Timestamp, after: Option<Duration>) -> bool {
    after.is_some_and(|after| now.duration_since(put) >= signed(after))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl OldFlags {
    /// Flags are old after this time.
    pub(crate) fn new(after: Option<Duration>) -> Self {
        Self { after: after.map(signed), told: HashMap::new(), told_before: None }
    }

    /// Another time from now on.
    pub(crate) fn set_after(&mut self, after: Option<Duration>) {
        self.after = after.map(signed);
    }

    /// When the last daemon told of old flags.
    pub(crate) fn remember(&mut self, told_before: Timestamp) {
        self.told_before = Some(told_before);
    }

    /// When a flag is to be told, for the first time or again.
    pub(crate) fn due(&self, flag: &WaitingFlag<'_>) -> Option<Timestamp> {
        let after = self.after?;
        let later = |time: Timestamp, wait| time.checked_add(wait).unwrap_or(Timestamp::MAX);
        let old_at = later(flag.put, after);
        let before = self.told_before.filter(|told| *told >= old_at);
        let told = self.told.get(flag.path).copied().or(before);
        let again = told.map_or(old_at, |told| later(told, TELL_AGAIN));
        Some(again.max(old_at).max(later(flag.seen, after.min(FIRST_CHANCE))))
    }

    /// Whether a flag is old, and would be registered by now if nothing stood in the way: after a weekend on which
    /// nobody was at work all flags are old, and that alone is no news.
    pub(crate) fn is_old(&self, flag: &WaitingFlag<'_>, now: Timestamp) -> bool {
        self.after.is_some_and(|after| {
            now.duration_since(flag.put) >= after && now.duration_since(flag.seen) >= after.min(FIRST_CHANCE)
        })
    }

    /// The flags that are to be told now, the oldest first. They count as told. Those that wait no more are
    /// forgotten.
    pub(crate) fn take<'a>(
        &mut self,
        waiting: impl Iterator<Item = WaitingFlag<'a>>,
        now: Timestamp,
    ) -> Vec<PathBuf> {
        let waiting: Vec<_> = waiting.collect();
        let mut due: Vec<_> =
            waiting.iter().filter(|flag| self.due(flag).is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|flag| (flag.put, flag.path));
        let due: Vec<PathBuf> = due.into_iter().map(|flag| flag.path.to_owned()).collect();
        let there: HashSet<&Path> = waiting.iter().map(|flag| flag.path).collect();
        self.told.retain(|path, _| there.contains(path.as_path()));
        self.told.extend(due.iter().map(|path| (path.clone(), now)));
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
        WaitingFlag { path: Path::new(path), put: at(put), seen: at(seen) }
    }

    fn a_day() -> OldFlags {
        OldFlags::new(Some(Duration::from_secs(DAY as u64)))
    }

    /// The hours in which these flags are told, if they are looked at every hour for a week.
    fn told_in(old: &mut OldFlags, flags: &[WaitingFlag<'_>]) -> Vec<(i64, String)> {
        let hours = (0..=7 * 24).flat_map(|hour| {
            let told = old.take(flags.iter().copied(), at(hour * HOUR));
            told.into_iter().map(move |path| (hour, path.display().to_string())).collect::<Vec<_>>()
        });
        hours.collect()
    }

    #[test]
    fn a_flag_is_told_when_it_gets_old_and_then_once_a_day() {
        let told = told_in(&mut a_day(), &[flag("a", 0, 0), flag("b", 5 * HOUR, 5 * HOUR)]);
        let of = |name: &str| told.iter().filter(|(_, n)| n == name).map(|(h, _)| *h).collect::<Vec<_>>();
        assert_eq!(of("a"), [24, 48, 72, 96, 120, 144, 168]);
        assert_eq!(of("b"), [29, 53, 77, 101, 125, 149]);
    }

    #[test]
    fn a_flag_that_was_old_when_it_was_first_seen_has_its_chance_before_it_is_told() {
        let mut old = a_day();
        let flag = flag("a", -9 * DAY, 0);
        assert!(old.take([flag].into_iter(), at(9 * 60)).is_empty());
        assert_eq!(old.take([flag].into_iter(), at(10 * 60)), [Path::new("a")]);
        assert_eq!(old.due(&flag), Some(at(DAY + 10 * 60)));
        assert!(!old.is_old(&flag, at(9 * 60)) && old.is_old(&flag, at(10 * 60)));
        assert!(!old.is_old(&WaitingFlag { put: at(0), ..flag }, at(DAY - 1)));
    }

    #[test]
    fn a_restart_makes_no_flag_young_and_tells_none_twice_a_day() {
        let (mut old, known, new) = (a_day(), flag("a", -9 * DAY, 0), flag("b", -DAY + HOUR, 0));
        old.remember(at(-HOUR));
        assert_eq!(old.due(&known), Some(at(DAY - HOUR)));
        // Not old yet when the last daemon told.
        assert_eq!(old.due(&new), Some(at(HOUR)));
    }

    #[test]
    fn a_flag_that_is_touched_or_put_again_is_young() {
        let mut old = a_day();
        assert_eq!(old.take([flag("a", -2 * DAY, -DAY)].into_iter(), at(0)).len(), 1);
        let touched = flag("a", HOUR, -DAY);
        assert_eq!(old.due(&touched), Some(at(DAY + HOUR)));
        assert!(old.take([touched].into_iter(), at(DAY)).is_empty());
        // Gone, and back with its old time: another flag.
        assert!(old.take(std::iter::empty(), at(DAY)).is_empty());
        assert_eq!(old.take([flag("a", -2 * DAY, -DAY)].into_iter(), at(DAY + 1)).len(), 1);
    }

    #[test]
    fn the_oldest_is_told_first_and_nothing_where_it_is_turned_off() {
        let flags = [flag("young", -2 * DAY, -DAY), flag("old", -3 * DAY, -DAY)];
        assert_eq!(a_day().take(flags.into_iter(), at(0)), [Path::new("old"), Path::new("young")]);
        let mut off = OldFlags::new(None);
        assert!(off.take(flags.into_iter(), at(9 * DAY)).is_empty() && off.due(&flags[0]).is_none());
        assert!(!is_old(at(-9 * DAY), at(0), None));
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
        assert_eq!(put_at(&stamp(-DAY), at(0)), at(-DAY));
        assert_eq!(put_at(&stamp(DAY), at(0)), at(0));
        assert_eq!(put_at(&FlagStamp { mtime_ns: i128::MAX, ..stamp(0) }, at(0)), at(0));
        let day = Some(Duration::from_secs(DAY as u64));
        assert!(is_old(at(-DAY), at(0), day) && !is_old(at(1 - DAY), at(0), day));
    }
}
