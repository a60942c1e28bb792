//! Back-off as arithmetic: how long to wait before the next attempt.
use std::time::Duration;
/// Grows from `initial` by `factor` to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// First wait.
    pub initial: Duration,
    /// Growth.
    pub factor: f64,
    /// Longest wait.
    pub max: Duration,
}
impl Backoff {
    /// Wait after attempt number `attempt` (1, 2, …).
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let _ = (attempt, random);
        self.initial
    }
}
