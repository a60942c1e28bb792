//! The speed of each kernel, compared in turn, in the same run, with the `md-5` crate, and with Python's `hashlib` and `md5sum`.
//!
//! Everything but `md5sum` hashes memory that is in the nearest caches, so these are the limits for a program that reads files.
//! `cargo bench -p md5-lanes -- 15` measures 15 rounds.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use md5::{Digest, Md5};
use md5_lanes::{Kernel, Md5State};

/// The piece of each stream.
const PIECE: usize = 16 << 10;
/// What is hashed without a break, or a little more: a millisecond, in which a busy machine seldom interrupts.
const TOTAL: usize = 1 << 20;
/// A round takes the fastest of this many tries.
const TRIES: usize = 15;
/// From one stream to the next: at the same offset in their pages, or at different ones.
const ALIGNED: usize = PIECE;
const STAGGERED: usize = PIECE + 64;

const HASHLIB: &str = "
import hashlib, sys, time
md5, data, times = hashlib.md5(), bytes(int(sys.argv[1])), []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    md5.update(data)
    times.append(time.perf_counter() - began)
print(len(data) / min(times) / 1e6)
";

/// By its CPU time: it takes too long to be left alone on a busy machine.
const MD5SUM: &str = "
import os, resource, subprocess, sys
subprocess.run(['md5sum', sys.argv[1]], stdout=subprocess.DEVNULL, check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(os.path.getsize(sys.argv[1]) / (usage.ru_utime + usage.ru_stime) / 1e6)
";

/// A line of the table, and its MB/s in each round.
struct Line {
    what: String,
    speeds: Vec<f64>,
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn add(&mut self, what: &str, speed: Option<f64>) {
        let index = self.0.iter().position(|line| line.what == what).unwrap_or_else(|| {
            self.0.push(Line { what: what.to_owned(), speeds: Vec::new() });
            self.0.len() - 1
        });
        self.0[index].speeds.extend(speed);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// MB/s of work over that many bytes, at its fastest.
fn speed(bytes: usize, mut work: impl FnMut()) -> Option<f64> {
    let times = (0..TRIES).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    });
    Some(bytes as f64 / 1e6 / times.min_by(f64::total_cmp)?)
}

/// Streams of the same length, side by side.
fn side_by_side(kernel: Kernel, streams: usize, memory: &[u8], stride: usize) -> Option<f64> {
    let mut states = vec![Md5State::new(); streams];
    let calls = TOTAL.div_ceil(streams * PIECE);
    speed(calls * streams * PIECE, || {
        for _ in 0..calls {
            let pieces = memory.chunks(stride).map(|memory| &memory[..PIECE]);
            kernel.update(&mut states.iter_mut().zip(pieces).collect::<Vec<_>>());
        }
        black_box(&states);
    })
}

/// Many streams whose lengths have nothing in common, 1,000 in each call.
fn ragged(kernel: Kernel, longest: usize, memory: &[u8]) -> Option<f64> {
    let lengths: Vec<usize> = (0..1000).map(|number| number * 7919 % longest).collect();
    let bytes: usize = lengths.iter().sum();
    let calls = TOTAL.div_ceil(bytes);
    speed(bytes * calls, || {
        for _ in 0..calls {
            let mut states = vec![Md5State::new(); lengths.len()];
            let pieces = lengths
                .iter()
                .enumerate()
                .map(|(number, length)| &memory[number % 32 * STAGGERED..][..*length]);
            kernel.update(&mut states.iter_mut().zip(pieces).collect::<Vec<_>>());
            black_box(states.into_iter().map(Md5State::finish).collect::<Vec<_>>());
        }
    })
}

/// What a Python script prints; `None` if there is no Python, or the script fails.
fn python(script: &str, arguments: [&str; 2]) -> Option<f64> {
    let output = Command::new("python3").args(["-c", script]).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn main() -> std::io::Result<()> {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    // Without `--bench` the caller is `cargo test --benches`, which only checks that this works.
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds = if is_bench { asked.unwrap_or(15) } else { 1 };
    let file = std::env::temp_dir().join(format!("md5-lanes-{}", std::process::id()));
    let memory: Vec<u8> = (0..33 * STAGGERED).map(|n| (n * 31 + n / 251) as u8).collect();
    std::fs::write(&file, memory.repeat(256))?;
    let best = Kernel::best();
    let mut lines = Lines::default();
    for _ in 0..rounds {
        let mut md5 = Md5::new();
        let referee = speed(TOTAL, || (0..TOTAL / PIECE).for_each(|_| md5.update(&memory[..PIECE])));
        black_box(md5.finalize());
        lines.add("the md-5 crate", referee);
        let (total, tries) = (TOTAL.to_string(), TRIES.to_string());
        lines.add("Python's hashlib", python(HASHLIB, [&total, &tries]));
        lines.add(
            "md5sum, from the page cache, by its CPU time",
            python(MD5SUM, [&file.to_string_lossy(), ""]),
        );
        for kernel in Kernel::available() {
            lines.add(&format!("{kernel}"), side_by_side(kernel, kernel.lanes(), &memory, STAGGERED));
        }
        for streams in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] {
            let what = format!("best kernel, {streams} streams");
            lines.add(&what, side_by_side(best, streams, &memory, STAGGERED));
        }
        lines.add(
            "best kernel, all lanes at one offset in their pages",
            side_by_side(best, best.lanes(), &memory, ALIGNED),
        );
        for longest in [1 << 10, 4 << 10, 16 << 10] {
            let what = format!("best kernel, 1,000 streams of 0 to {} KiB, finished", longest >> 10);
            lines.add(&what, ragged(best, longest, &memory));
        }
    }
    std::fs::remove_file(&file)?;
    println!("\nBest kernel: {best}. Medians of {rounds} rounds, each the fastest of {TRIES} tries.\n");
    println!("{:<56}{:>10}{:>10}{:>10}{:>10}", "", "MB/s", "md-5", "hashlib", "md5sum");
    for line in &lines.0 {
        let ratio = |peer: usize| {
            median(
                line.speeds.iter().zip(&lines.0[peer].speeds).map(|(ours, theirs)| ours / theirs).collect(),
            )
        };
        let speed = median(line.speeds.clone());
        println!("{:<56}{speed:>10.0}{:>10.2}{:>10.2}{:>10.2}", line.what, ratio(0), ratio(1), ratio(2));
    }
    Ok(())
}
