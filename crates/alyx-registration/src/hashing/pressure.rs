//! The pressure on the disk and the processors, as the kernel counts it.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::time::{Duration, Instant};

use crate::hashing::yielding::{Pressure, Sample};

/// The pressure now. The kernel answers from memory.
pub(crate) fn sample() -> Sample {
    let total = |path: &str| some_total(&std::fs::read_to_string(path).ok()?);
    let pressure = Pressure {
        disk: total("/proc/pressure/io"),
        processor: total("/proc/pressure/cpu"),
        from_disk: std::fs::read_to_string("/proc/self/io").ok().as_deref().and_then(read_bytes),
    };
    Sample { at: Instant::now(), pressure }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`: for how long some program has waited, in µs.
fn some_total(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

fn read_bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_understood() {
        let io = "some avg10=0.12 avg60=0.03 avg300=0.00 total=379842368\n\
                  full avg10=0.00 avg60=0.00 avg300=0.00 total=46120935\n";
        assert_eq!(some_total(io), Some(Duration::from_micros(379_842_368)));
        for other in ["", "some", "some total=", "full total=3\n", "some avg10=0.12 total=-3"] {
            assert_eq!(some_total(other), None, "{other}");
        }
        assert_eq!(read_bytes("rchar: 7\nread_bytes: 4096\nwrite_bytes: 0\n"), Some(4096));
        assert_eq!(read_bytes("rchar: 7\n"), None);
    }
}
