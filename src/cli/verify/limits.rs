//! The limits of a verification: when it stops, and what is read together until then. Pure.

use std::time::{Duration, Instant};

use serde::Serialize;

use alyx_registration::HeldCopy;

/// What is read at most before the limits are looked at again: a few seconds' work, unless a single file is larger.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 1 << 30;

/// When a verification stops.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) until: Option<Instant>,
    pub(super) bytes: Option<u64>,
}

/// Why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stopped {
    /// `--time-limit`.
    TimeLimit,
    /// `--bytes`.
    Bytes,
}

impl Stopped {
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::TimeLimit => "--time-limit",
            Self::Bytes => "--bytes",
        }
    }
}

impl Limits {
    /// In which time everything is read, if it is limited.
    pub(super) fn of(time: Option<Duration>, bytes: Option<u64>, now: Instant) -> Self {
        Self { until: time.and_then(|time| now.checked_add(time)), bytes }
    }

    /// The limit that is reached.
    pub(super) fn reached(&self, read: u64, now: Instant) -> Option<Stopped> {
        match self {
            Self { until: Some(until), .. } if now >= *until => Some(Stopped::TimeLimit),
            Self { bytes: Some(bytes), .. } if read >= *bytes => Some(Stopped::Bytes),
            _ => None,
        }
    }

    /// How many of these files are read next; none: the next one is beyond the limit. The first one of a run is always read:
    /// a file that is larger than the limit would otherwise never be.
    pub(super) fn piece(&self, copies: &[HeldCopy], read: u64) -> usize {
        let left = self.bytes.map_or(MAX_BYTES, |bytes| bytes.saturating_sub(read).min(MAX_BYTES));
        let mut sum = 0u64;
        let fits = copies.iter().take(MAX_FILES).take_while(|copy| {
            sum = sum.saturating_add(copy.size);
            sum <= left
        });
        let is_first = read == 0
            || self.bytes.is_none_or(|bytes| {
                copies.first().is_some_and(|copy| copy.size <= bytes.saturating_sub(read))
            });
        fits.count().max(usize::from(is_first)).min(copies.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(sizes: &[u64]) -> Vec<HeldCopy> {
        let copy = |size: &u64| HeldCopy {
            file: "/s/a".into(),
            path: "a".into(),
            size: *size,
            md5s: Vec::new(),
            repository: None,
        };
        sizes.iter().map(copy).collect()
    }

    #[test]
    fn a_piece_stays_within_the_limit_but_for_the_first_file_of_a_run() {
        let limited = Limits { bytes: Some(100), ..Limits::default() };
        for (limits, sizes, read, expected) in [
            (limited, &[40, 40, 40][..], 0, 2),
            (limited, &[40, 40, 40], 70, 0),
            (limited, &[30, 40, 40], 70, 1),
            (limited, &[500, 1], 0, 1),
            (limited, &[], 0, 0),
            (Limits::default(), &[1, 2, 3], 0, 3),
            (Limits::default(), &[MAX_BYTES, 1], 0, 1),
            (Limits::default(), &[0; 300], 0, MAX_FILES),
        ] {
            assert_eq!(limits.piece(&copies(sizes), read), expected, "{sizes:?} {read}");
        }
    }

    #[test]
    fn it_stops_at_the_first_limit_that_is_reached() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let limits = Limits::of(Some(2 * second), Some(100), now);
        assert_eq!(limits.reached(99, now + second), None);
        assert_eq!(limits.reached(100, now + second), Some(Stopped::Bytes));
        assert_eq!(limits.reached(0, now + 2 * second), Some(Stopped::TimeLimit));
        assert_eq!(Limits::of(None, None, now).reached(u64::MAX, now + 99 * second), None);
    }
}
