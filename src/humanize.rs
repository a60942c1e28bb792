//! Formats numbers, sizes and lengths of time for people. Pure.

use jiff::{SignedDuration, Timestamp};

/// A size in bytes.
///
/// ```
/// use alyx_registrar::humanize::bytes;
/// assert_eq!([bytes(999), bytes(1500), bytes(999_960)], ["999 B", "1.5 kB", "1.0 MB"]);
/// ```
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with its noun.
///
/// ```
/// use alyx_registrar::humanize::count;
/// assert_eq!([count(0, "dataset"), count(1, "dataset"), count(2, "flag")], ["0 datasets", "1 dataset", "2 flags"]);
/// ```
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A duration with its two largest units.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// The time since a moment.
pub fn elapsed(then: Timestamp, now: Timestamp) -> String {
    length(now.duration_since(then))
}

/// The time until a moment.
pub fn until(then: Timestamp, now: Timestamp) -> String {
    if then <= now { "now".to_owned() } else { format!("in {}", length(then.duration_since(now))) }
}

/// A text that begins a sentence.
pub fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_two_units() {
        let text = |seconds| length(SignedDuration::from_secs(seconds));
        assert_eq!([text(-5), text(59), text(61), text(7500)], ["0 s", "59 s", "1 min", "2 h 5 min"]);
        assert_eq!(text(3 * 86_400 + 4000), "3 d 1 h");
    }
}
