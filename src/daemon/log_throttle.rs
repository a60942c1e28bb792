//! LogThrottle: which lines were told within the hour. The same cause is not told again before. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The causes that were told lately.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    every: Duration,
    told: HashMap<String, Instant>,
}

impl LogThrottle {
    /// The same cause is told again after this time.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, told: HashMap::new() }
    }

    /// Whether a cause is to be told now. Then it counts as told.
    pub(crate) fn is_new(&mut self, cause: &str, now: Instant) -> bool {
        let every = self.every;
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < every;
        if self.told.get(cause).is_some_and(fresh) {
            return false;
        }
        // Looked through only when something is told, which is seldom.
        self.told.retain(|_, at| fresh(at));
        self.told.insert(cause.to_owned(), now);
        true
    }

    /// The cause is over: if it comes again it is told again.
    pub(crate) fn is_over(&mut self, begins_with: &str) {
        self.told.retain(|cause, _| !cause.starts_with(begins_with));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_is_told_once_an_hour() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut repeats = LogThrottle::new(hour);
        let told = (0..300u64)
            .filter(|minute| repeats.is_new("a: no answer", start + Duration::from_secs(60 * minute)));
        assert_eq!(told.collect::<Vec<_>>(), [0, 60, 120, 180, 240]);
        assert!(repeats.is_new("b: no answer", start));
        repeats.is_over("b: ");
        assert!(repeats.is_new("b: no answer", start));
        assert!(!repeats.is_new("a: no answer", start + 4 * hour));
    }
}
