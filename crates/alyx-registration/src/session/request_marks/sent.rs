//! When a marked request was sent, as its mark says it.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How much later than its first attempt the client may send a request, which Alyx was too busy to accept.
pub(super) const LATEST_REPEAT: Duration = Duration::from_secs(300);

/// What a mark says: when its request was sent, by a clock that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The kernel's id of the time since the last boot.
    boot: String,
    /// Since that boot.
    at: Duration,
    /// How long the request may take.
    at_most: Duration,
}

impl Sent {
    /// Sent now.
    pub(super) fn now(at_most: Duration) -> Self {
        Self { boot: boot_id(), at: since_boot(), at_most }
    }

    pub(super) fn to_text(&self) -> String {
        format!("{} {} {}\n", self.boot, self.at.as_millis(), self.at_most.as_millis())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_once('\n')?.0.split(' ');
        let boot = words.next()?.to_owned();
        let mut time = || Some(Duration::from_millis(words.next()?.parse().ok()?));
        Some(Self { boot, at: time()?, at_most: time()? })
    }

    /// How long the request may take.
    pub(super) fn at_most(&self) -> Duration {
        self.at_most
    }

    pub(super) fn remaining(&self) -> Duration {
        self.remaining_at(&boot_id(), since_boot())
    }

    /// How long it may still take to arrive; its program is gone. Pure.
    fn remaining_at(&self, boot: &str, now: Duration) -> Duration {
        // The computer was up longer than that since, or else it takes that long from now.
        let sent = if self.boot == boot { self.at + LATEST_REPEAT } else { Duration::ZERO };
        (sent + self.at_most).saturating_sub(now).min(self.at_most)
    }
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MOST: Duration = Duration::from_secs(30);

    #[test]
    fn how_long_a_request_may_take_needs_no_clock_that_can_be_set() {
        let second = Duration::from_secs(1);
        let sent = Sent { boot: "a".into(), at: 1000 * second, at_most: AT_MOST };
        assert_eq!(Sent::parse(&sent.to_text()), Some(sent.clone()));
        // It may have been sent again, just before its program was killed.
        assert_eq!(sent.remaining_at("a", 1001 * second), AT_MOST);
        assert_eq!(sent.remaining_at("a", 1320 * second), 10 * second);
        assert_eq!(sent.remaining_at("a", 2000 * second), Duration::ZERO);
        // Sent before the computer was started.
        assert_eq!(sent.remaining_at("b", 20 * second), 10 * second);
        assert_eq!(sent.remaining_at("b", 2000 * second), Duration::ZERO);
    }
}
