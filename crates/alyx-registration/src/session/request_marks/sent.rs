//! When a marked request was sent, as its mark says it.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How much later than its first attempt the client may send a request, which Alyx was too busy to accept.
pub(super) const LATEST_REPEAT: Duration = Duration::from_secs(300);

/// What a mark says: when its request was sent, by a clock that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The kernel's id of the time since the last boot. Empty: unknown.
    boot: String,
    /// Since that boot, the same in every time namespace.
    at: Duration,
    /// How long the request may take.
    at_most: Duration,
}

impl Sent {
    /// Sent now.
    pub(super) fn now(at_most: Duration) -> Self {
        let (boot, at) = since_boot();
        Self { boot, at, at_most }
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

    /// How long it may still take to arrive; its program is gone. `mark`: the file that says so.
    pub(super) fn remaining(&self, mark: &Metadata) -> Duration {
        let (boot, now) = since_boot();
        self.remaining_at(&boot, now, age(mark))
    }

    /// Whether it is known how long ago it was sent.
    pub(super) fn is_known(&self) -> bool {
        !self.boot.is_empty() && !since_boot().0.is_empty()
    }

    /// `age`: the time since the mark was written, by a clock that can be set. Pure.
    fn remaining_at(&self, boot: &str, now: Duration, age: Duration) -> Duration {
        if boot.is_empty() || self.boot.is_empty() {
            return self.at_most;
        }
        let whole = LATEST_REPEAT + self.at_most;
        let left = match self.boot == boot {
            true => (self.at + whole).saturating_sub(now),
            // Sent before the computer was started, which may have been up for longer than that since; or in a container,
            // which shares the folder and has an id of its own. That shows in no other clock.
            false => self.at_most.saturating_sub(now).max(whole.saturating_sub(age)),
        };
        left.min(self.at_most)
    }
}

/// The time since a mark was written. Zero if the clock was set back.
pub(super) fn age(mark: &Metadata) -> Duration {
    mark.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

/// The id of the last boot, and the time since. The id is empty if the time cannot be compared with that of others.
fn since_boot() -> (String, Duration) {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let time = clock_gettime(ClockId::Boottime);
    let here = i128::from(time.tv_sec) * 1000 + i128::from(time.tv_nsec) / 1_000_000;
    let (id, offset) = match offset() {
        Some(offset) => (id.trim().to_owned(), offset),
        None => (String::new(), 0),
    };
    (id, Duration::from_millis((here - offset).try_into().unwrap_or_default()))
}

/// By how many milliseconds the clock of this process is ahead: in a container it may be set, with the same boot id.
fn offset() -> Option<i128> {
    let namespace = |name| std::fs::read_link(Path::new("/proc/self/ns").join(name)).ok();
    match (namespace("time"), namespace("time_for_children")) {
        // A kernel without such namespaces.
        (None, None) if namespace("mnt").is_some() => Some(0),
        // The offsets are those of the children.
        (Some(own), Some(children)) if own == children => {
            offset_in(&std::fs::read_to_string("/proc/self/timens_offsets").ok()?)
        }
        _ => None,
    }
}

/// The offset of the time since the last boot, in milliseconds. Pure.
fn offset_in(offsets: &str) -> Option<i128> {
    let lines = offsets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.into_iter().find_map(|words| match words[..] {
        // The kernel wrote the number of the clock at first.
        ["boottime" | "7", seconds, nanoseconds] => {
            Some(seconds.parse::<i128>().ok()? * 1000 + nanoseconds.parse::<i128>().ok()? / 1_000_000)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MOST: Duration = Duration::from_secs(30);

    #[test]
    fn how_long_a_request_may_still_take_is_known_from_its_mark() {
        let sent = Sent { boot: "a".into(), at: Duration::from_secs(1000), at_most: AT_MOST };
        assert_eq!(Sent::parse(&sent.to_text()), Some(sent.clone()));
        // Time since the start of the computer, age of the mark, how long it may still take.
        for (boot, now, age, expected) in [
            // By a clock that cannot be set. It may have been sent again, just before its program was killed.
            ("a", 1001, 0, 30),
            ("a", 1001, 9999, 30),
            ("a", 1320, 0, 10),
            ("a", 2000, 0, 0),
            // Sent before the computer was started.
            ("b", 20, 9999, 10),
            ("b", 2000, 9999, 0),
            // By a container that has run since, or has ended.
            ("b", 2000, 0, 30),
            ("b", 2000, 300, 30),
            ("b", 2000, 320, 10),
            ("b", 2000, 330, 0),
            ("b", 20, 325, 10),
            // What cannot be compared may take the whole time.
            ("", 99999, 99999, 30),
        ] {
            let left = sent.remaining_at(boot, Duration::from_secs(now), Duration::from_secs(age));
            assert_eq!(left, Duration::from_secs(expected), "{boot} {now} {age}");
        }
        let unknown = Sent { boot: String::new(), ..sent };
        assert_eq!(Sent::parse(&unknown.to_text()), Some(unknown.clone()));
        for boot in ["a", ""] {
            assert_eq!(unknown.remaining_at(boot, Duration::from_secs(99999), Duration::MAX), AT_MOST);
        }
    }

    #[test]
    fn the_clock_of_a_container_is_compared_without_its_offset() {
        assert_eq!(offset_in("monotonic           5         0\nboottime            0         0\n"), Some(0));
        assert_eq!(offset_in("monotonic  0 0\nboottime   -100000 500000000\n"), Some(-99_999_500));
        assert_eq!(offset_in("1 0 0\n7 86400 0\n"), Some(86_400_000));
        for unknown in ["", "boottime", "boottime x 0", "monotonic 1 0\n"] {
            assert_eq!(offset_in(unknown), None, "{unknown:?}");
        }
    }

    /// Run by the test below, in a time namespace of its own.
    #[test]
    #[ignore = "prints the time for the test below"]
    fn prints_when_it_was_sent() {
        let text = format!("sent={}", Sent::now(AT_MOST).to_text());
        std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).unwrap();
    }

    #[test]
    fn a_mark_of_another_time_namespace_says_when_it_was_sent() {
        let me = std::env::current_exe().unwrap();
        for shift in ["86400", "-60"] {
            let mut command = std::process::Command::new("unshare");
            command.args(["--user", "--map-root-user", "--time", "--boottime", shift, "--fork"]).arg(&me);
            let test = format!("{}::prints_when_it_was_sent", module_path!().split_once("::").unwrap().1);
            let output = command.args([&test, "--exact", "--ignored", "--nocapture"]).output();
            let output = output.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default();
            // No such namespaces here, or not for this user.
            let Some((_, text)) = output.split_once("sent=") else { return };
            let (sent, now) = (Sent::parse(text).unwrap(), Sent::now(AT_MOST));
            assert_eq!(sent.boot, now.boot);
            assert!(now.at.abs_diff(sent.at) < Duration::from_secs(30), "{shift}: {sent:?}, {now:?}");
        }
    }
}
