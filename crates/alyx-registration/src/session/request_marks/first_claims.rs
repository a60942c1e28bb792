//! First claims: since when requests wait for other programs, from one attempt to the next. Pure.
//!
//! A session that waits gives its place back and is tried again. Without this memory a mark that is kept locked for ever
//! would delay each attempt anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::session::request_marks::public::LONGEST;

/// A request that was not claimed for that long is a new one: its session was put aside. A session that waits is tried
/// again sooner.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * LONGEST.as_secs());

/// When each request that waits was first claimed, and when last.
#[derive(Debug, Default)]
pub(super) struct FirstClaims(HashMap<String, (Instant, Instant)>);

impl FirstClaims {
    /// Since when a request waits that is claimed now.
    pub(super) fn since(&mut self, request: &str, now: Instant) -> Instant {
        self.0.retain(|_, (_, last)| now.saturating_duration_since(*last) <= FORGOTTEN_AFTER);
        let (since, last) = self.0.entry(request.to_owned()).or_insert((now, now));
        *last = now;
        *since
    }

    /// The request waits no longer.
    pub(super) fn forget(&mut self, request: &str) {
        self.0.remove(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_since_it_was_first_claimed_until_it_is_forgotten() {
        let (mut claims, start) = (FirstClaims::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        for minutes in [0, 1, 59, 170, 290] {
            assert_eq!(claims.since("a", at(minutes)), start, "{minutes}");
        }
        assert_eq!(claims.since("b", at(290)), at(290));
        claims.forget("a");
        assert_eq!(claims.since("a", at(291)), at(291));
        // Its flag was removed, and comes back the next day.
        assert_eq!(claims.since("a", at(1500)), at(1500));
        assert_eq!(claims.0.len(), 1);
    }
}
