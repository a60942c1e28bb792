//! The rate limit: requests per minute of one user, counted over the last sixty seconds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Counts each user's requests. Time is an argument.
pub(crate) struct Throttle {
    limit: usize,
    seen: HashMap<String, VecDeque<Instant>>,
}

impl Throttle {
    pub fn new(limit: u32) -> Throttle {
        Throttle { limit: limit as usize, seen: HashMap::new() }
    }

    /// Counts a request, or returns the whole seconds until the next one is allowed. Refused requests are not counted.
    pub fn admit(&mut self, user: &str, now: Instant) -> Result<(), u64> {
        let times = self.seen.entry(user.to_owned()).or_default();
        while times.front().is_some_and(|t| now.duration_since(*t) >= WINDOW) {
            times.pop_front();
        }
        if times.len() < self.limit {
            times.push_back(now);
            return Ok(());
        }
        let oldest = times.front().copied().unwrap_or(now);
        let wait = WINDOW.saturating_sub(now.duration_since(oldest));
        Err(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_over_the_limit_waits_until_the_oldest_is_a_minute_old() {
        let (mut throttle, start) = (Throttle::new(2), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(throttle.admit("rig", at(0)), Ok(()));
        assert_eq!(throttle.admit("rig", at(10)), Ok(()));
        assert_eq!(throttle.admit("rig", at(28)), Err(32));
        assert_eq!(throttle.admit("other", at(28)), Ok(()), "each user has their own limit");
        assert_eq!(throttle.admit("rig", at(60)), Ok(()), "a refused request does not count");
    }
}
