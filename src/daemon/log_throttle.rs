//! LogThrottle: logs each cause at most once per interval. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The causes that were logged recently.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    every: Duration,
    logged: HashMap<String, Instant>,
}

impl LogThrottle {
    /// Allows each cause once per `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, logged: HashMap::new() }
    }

    /// Whether to log this cause now. If so, it counts as logged.
    pub(crate) fn should_log(&mut self, cause: &str, now: Instant) -> bool {
        let every = self.every;
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < every;
        if self.logged.get(cause).is_some_and(fresh) {
            return false;
        }
        // Pruned only when a line is logged, which is rare.
        self.logged.retain(|_, at| fresh(at));
        self.logged.insert(cause.to_owned(), now);
        true
    }

    /// Forgets the causes with this prefix, so that they are logged at once when they recur.
    pub(crate) fn reset(&mut self, begins_with: &str) {
        self.logged.retain(|cause, _| !cause.starts_with(begins_with));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_is_logged_once_an_hour() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut throttle = LogThrottle::new(hour);
        let logged = (0..300u64)
            .filter(|minute| throttle.should_log("a: no answer", start + Duration::from_secs(60 * minute)));
        assert_eq!(logged.collect::<Vec<_>>(), [0, 60, 120, 180, 240]);
        assert!(throttle.should_log("b: no answer", start));
        throttle.reset("b: ");
        assert!(throttle.should_log("b: no answer", start));
        assert!(!throttle.should_log("a: no answer", start + 4 * hour));
    }
}
