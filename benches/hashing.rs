//! The speed of checksums from the page cache, compared with `md5sum` and Python's `hashlib`.
//!
//! MD5 of one stream is limited by the CPU, so the ratios say more than the speeds.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use alyx_registration::{HashContext, ReadScheduler, checksums};
use clap::Parser;
use common::{Error, Required, SELF, Series, Table, is_there, processor_seconds, seconds, shown, with_unit};
use tokio::runtime::Runtime;

/// MD5 from the page cache, compared with md5sum and Python
#[derive(Parser)]
struct Options {
    /// Size of each file, in MiB
    #[arg(long, default_value_t = 512)]
    size: usize,
    /// Rounds; each measures every program once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Where to create the files [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The Python
    #[arg(long, default_value = "python3")]
    python: String,
}

const FILES: usize = 4;
const MIB: usize = 1 << 20;

/// Prints its own time, so that the start of Python is not counted.
const HASHLIB: &str = "
import hashlib, sys, time
began = time.perf_counter()
md5 = hashlib.md5()
with open(sys.argv[1], 'rb') as file:
    while piece := file.read(1 << 20):
        md5.update(piece)
print(md5.hexdigest(), time.perf_counter() - began)
";

fn main() -> Result<(), Error> {
    let quick = || Options { size: 1, rounds: 1, folder: None, python: "python3".to_owned() };
    let options: Options = common::options(quick);
    let folder = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let files: Vec<PathBuf> = (0..FILES).map(|n| folder.path().join(format!("{n}.bin"))).collect();
    for (seed, file) in files.iter().enumerate() {
        write_noise(file, options.size, seed as u64)?;
    }
    let one = files.get(..1).ok_or("no file")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let (has_md5sum, has_python) = (is_there("md5sum"), is_there(&options.python));

    let mut table = Table::begin(&format!(
        "MD5 of files of {} MiB in the page cache, {} rounds",
        options.size, options.rounds
    ));
    let [mut ours_one, mut ours_four, mut md5sum, mut md5sum_four, mut hashlib] =
        std::array::from_fn(|_| Series::default());
    let [mut ours_work, mut ours_four_work, mut md5sum_work] = std::array::from_fn(|_| Series::default());
    for _ in 0..options.rounds {
        let speed = |files: usize, seconds: f64| (files * options.size * MIB) as f64 / 1e6 / seconds;
        // Our reader drops the pages behind it on some systems, so they are read again for the next program.
        warm(&files)?;
        let (work, result) = processor_time(|| hash(&runtime, one, 1))?;
        let (took, digest) = result?;
        ours_one.0.push(speed(1, took));
        ours_work.0.push(speed(1, work));
        warm(&files)?;
        if has_md5sum {
            let (work, result) = processor_time(|| run_md5sum(one))?;
            let (took, output) = result?;
            agree(&digest, &output)?;
            md5sum.0.push(speed(1, took));
            md5sum_work.0.push(speed(1, work));
        }
        if has_python {
            let (took, output) = run_python(&options.python, one)?;
            agree(&digest, &output)?;
            hashlib.0.push(speed(1, took));
        }
        warm(&files)?;
        let (work, result) = processor_time(|| hash(&runtime, &files, 2))?;
        ours_four.0.push(speed(FILES, result?.0));
        ours_four_work.0.push(speed(FILES, work));
        warm(&files)?;
        if has_md5sum {
            md5sum_four.0.push(speed(FILES, run_md5sum(&files)?.0));
        }
    }
    let show = |series: &Series| shown(series, "MB/s");
    table.ratio(
        "one file, compared with md5sum",
        show(&ours_one),
        show(&md5sum),
        ours_one.ratio_to(&md5sum),
        Some(Required::AtLeast(0.85)),
    );
    table.ratio(
        "one file, compared with Python's hashlib",
        show(&ours_one),
        show(&hashlib),
        ours_one.ratio_to(&hashlib),
        None,
    );
    table.ratio(
        "four files on two threads, compared with one md5sum on one",
        show(&ours_four),
        show(&md5sum),
        ours_four.ratio_to(&md5sum),
        Some(Required::AtLeast(1.6)),
    );
    table.ratio(
        "four files on two threads, compared with two md5sum at a time",
        show(&ours_four),
        show(&md5sum_four),
        ours_four.ratio_to(&md5sum_four),
        None,
    );
    table.ratio(
        "one file, per CPU second",
        show(&ours_work),
        show(&md5sum_work),
        ours_work.ratio_to(&md5sum_work),
        None,
    );
    table.ratio(
        "four files on two threads, per CPU second",
        show(&ours_four_work),
        show(&md5sum_work),
        ours_four_work.ratio_to(&md5sum_work),
        None,
    );
    table.print();
    if let Some(got) = ours_four.ratio_to(&ours_four_work).filter(|got| *got < 1.9) {
        println!(
            "Two threads got {} of two processors: the machine was busy. On two idle\n\
             processors, four files reach twice the ratio per CPU second.",
            with_unit(got, "").trim()
        );
    }
    Ok(())
}

/// The CPU seconds of some work, and its result.
fn processor_time<T>(work: impl FnOnce() -> T) -> Result<(f64, T), Error> {
    let before = processor_seconds(Path::new(SELF))?;
    let result = work();
    // A tick is the resolution of the clock.
    Ok(((processor_seconds(Path::new(SELF))? - before).max(0.01), result))
}

/// This program: seconds, and the digest of the first file.
fn hash(runtime: &Runtime, files: &[PathBuf], threads: usize) -> Result<(f64, String), Error> {
    let context = HashContext {
        max_md5_size: None,
        scheduler: ReadScheduler::new(threads),
        progress: Arc::default(),
        cache: None,
        data: Arc::default(),
    };
    let reading = checksums(files.to_vec(), &context);
    let (took, results) = seconds(|| runtime.block_on(reading));
    let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    let first = results.into_iter().next().and_then(|checksum| checksum.md5);
    Ok((took, first.ok_or("no digest")?.to_string()))
}

/// Two parallel processes hash the files in turn, as with `xargs -P 2`.
fn run_md5sum(files: &[PathBuf]) -> Result<(f64, String), Error> {
    let (took, outputs) = seconds(|| -> std::io::Result<Vec<_>> {
        let start = |files: &[PathBuf]| {
            Command::new("md5sum").args(files).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
        };
        let started: Result<Vec<_>, _> = files.chunks(files.len().div_ceil(2)).map(start).collect();
        started?.into_iter().map(|child| child.wait_with_output()).collect()
    });
    let first = outputs?.into_iter().next().ok_or("no md5sum")?;
    Ok((took, String::from_utf8(first.stdout)?))
}

/// Seconds as measured in Python, and its output.
fn run_python(python: &str, files: &[PathBuf]) -> Result<(f64, String), Error> {
    let output = Command::new(python).arg("-c").arg(HASHLIB).args(files).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let took = text.split_whitespace().nth(1).ok_or("Python printed nothing")?.parse()?;
    Ok((took, text))
}

/// Checks that both programs computed the same digest.
fn agree(digest: &str, output: &str) -> Result<(), Error> {
    match output.starts_with(digest) {
        true => Ok(()),
        false => Err(format!("digests differ: {digest} and {output}").into()),
    }
}

/// Reads the files into the page cache.
fn warm(files: &[PathBuf]) -> Result<(), Error> {
    let mut piece = vec![0; MIB];
    for file in files {
        let mut file = File::open(file)?;
        while file.read(&mut piece)? > 0 {}
    }
    Ok(())
}

/// A file of pseudo-random numbers (xorshift).
fn write_noise(path: &Path, mebibytes: usize, seed: u64) -> Result<(), Error> {
    let mut file = File::create(path)?;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut piece = Vec::with_capacity(MIB);
    for _ in 0..mebibytes {
        piece.clear();
        while piece.len() < MIB {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    // Write-back must not disturb the measurement.
    Ok(file.sync_all()?)
}
