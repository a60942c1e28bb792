//! Whether a copy is marked: only if it was seen so twice, some time apart, on the same disk. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::verify::marks::evidence::Evidence;

/// The least time between the two looks.
pub const MARK_APART: SignedDuration = SignedDuration::from_hours(1);

/// How many copies are marked without a person who says how many.
pub const MARKS_AT_ONCE: u64 = 20;

/// When a finding was first seen, and on which disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The first time.
    pub first: Timestamp,
    /// The disk at that time.
    pub evidence: Evidence,
}

/// What becomes of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkDecision {
    /// It may be marked.
    Mark,
    /// It was not seen early enough: not before this time.
    NotBefore(Timestamp),
}

impl Sighting {
    /// The finding is seen now. On another disk than before, it is seen for the first time; and so it is if the clock
    /// was set back since.
    pub fn now(earlier: Option<Self>, evidence: Evidence, now: Timestamp) -> Self {
        let same = earlier.filter(|earlier| earlier.evidence == evidence && earlier.first <= now);
        same.unwrap_or(Self { first: now, evidence })
    }

    /// Whether it may be marked.
    pub fn decide(&self, now: Timestamp) -> MarkDecision {
        match self.first.checked_add(MARK_APART) {
            Ok(time) if time <= now => MarkDecision::Mark,
            Ok(time) => MarkDecision::NotBefore(time),
            Err(_) => MarkDecision::NotBefore(Timestamp::MAX),
        }
    }
}

/// Whether a run may mark this many copies: at most 20 and one in a hundred of those that it compared, or as many as a
/// person says.
///
/// ```
/// use alyx_registration::may_mark;
///
/// assert!(may_mark(20, 2_000, None) && may_mark(21, 12, Some(21)));
/// for (marks, compared, many) in [(21, 1_000_000, None), (2, 199, None), (1, 99, None), (22, 5_000, Some(21))] {
///     assert!(!may_mark(marks, compared, many), "{marks} of {compared}, {many:?}");
/// }
/// ```
pub fn may_mark(marks: u64, compared: u64, many: Option<u64>) -> bool {
    match many {
        Some(many) => marks <= many,
        None => marks <= MARKS_AT_ONCE && marks.saturating_mul(100) <= compared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_marked_an_hour_after_it_was_first_seen_on_the_same_disk() {
        let at = |minutes: i64| Timestamp::from_second(1_700_000_000 + 60 * minutes).unwrap();
        let (here, there) = (Evidence::from("1".to_owned()), Evidence::from("2".to_owned()));
        let first = Sighting::now(None, here.clone(), at(0));
        assert_eq!(first.decide(at(0)), MarkDecision::NotBefore(at(60)));
        for (minutes, expected) in [(59, MarkDecision::NotBefore(at(60))), (60, MarkDecision::Mark)] {
            let again = Sighting::now(Some(first.clone()), here.clone(), at(minutes));
            assert_eq!((again.first, again.decide(at(minutes))), (at(0), expected));
        }
        // Another disk, and a clock that was set back.
        for (evidence, now) in [(there, at(90)), (here, at(-1))] {
            let again = Sighting::now(Some(first.clone()), evidence, now);
            assert_eq!(again.first, now);
            assert!(matches!(again.decide(now), MarkDecision::NotBefore(_)));
        }
    }
}
