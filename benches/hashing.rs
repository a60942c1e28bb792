//! The speed of checksums from the page cache, compared with `md5sum` and Python's `hashlib`.
//!
//! MD5 of one stream is limited by the CPU, so the ratios say more than the speeds. Of many files on one core, two limits
//! remain: what the kernel hashes, and how fast the system copies from its page cache. Both are measured too.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alyx_registration::{DataFolders, HashContext, ReadScheduler, ReadingOptions, checksums};
use clap::Parser;
use common::{Error, Required, SELF, Series, Table, is_there, processor_seconds, seconds, shown, with_unit};
use md5_lanes::{Kernel, Md5State};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// MD5 from the page cache, compared with md5sum and Python
#[derive(Parser)]
struct Options {
    /// Size of each of the 16 files, in MiB
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Sizes of the session's large files, in MiB; the others have the same proportion as by default
    #[arg(long, default_value_t = 2048)]
    large: usize,
    /// Rounds; each measures every program once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Rounds for the session
    #[arg(long, default_value_t = 3)]
    session_rounds: usize,
    /// Where to create the files [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The Python
    #[arg(long, default_value = "python3")]
    python: String,
}

const MIB: usize = 1 << 20;
/// What a thread hashes or reads at a time, of all files together.
const TOGETHER: usize = MIB / 2;
const SMALL: usize = 100_000;
const SMALL_FILES: usize = 2000;

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

/// Files that are hashed in one go.
struct Case {
    what: String,
    files: Vec<PathBuf>,
    threads: usize,
    rounds: usize,
    /// How many times the speed of `md5sum`.
    required: Option<f64>,
    ours: Series,
    md5sum: Series,
    hashlib: Series,
    /// The kernel with as many streams as files, from memory.
    kernel: Series,
    /// Reading without hashing.
    read: Series,
    /// The processors that our threads got.
    processors: Series,
}

impl Case {
    fn new(
        what: impl Into<String>,
        files: &[PathBuf],
        threads: usize,
        rounds: usize,
        required: Option<f64>,
    ) -> Self {
        let [ours, md5sum, hashlib, kernel, read, processors] = std::array::from_fn(|_| Series::default());
        let (what, files) = (what.into(), files.to_vec());
        Self { what, files, threads, rounds, required, ours, md5sum, hashlib, kernel, read, processors }
    }

    /// Measures every program once. In MB/s.
    fn measure(&mut self, peers: &Peers) -> Result<(), Error> {
        let bytes = self.files.iter().map(|file| Ok(std::fs::metadata(file)?.len()));
        let bytes = bytes.sum::<Result<u64, std::io::Error>>()? as f64 / 1e6;
        // Our reader drops the pages behind it on some systems, so they are read again for the next program.
        warm(&self.files)?;
        let before = processor_seconds(Path::new(SELF))?;
        let (took, digest) = hash(&self.files, self.threads)?;
        self.processors.0.push((processor_seconds(Path::new(SELF))? - before) / took);
        self.ours.0.push(bytes / took);
        warm(&self.files)?;
        if peers.has_md5sum {
            let (took, output) = run_md5sum(&self.files)?;
            agree(&digest, &output)?;
            self.md5sum.0.push(bytes / took);
        }
        if let (Some(python), [file]) = (peers.python, self.files.as_slice()) {
            let (took, output) = run_python(python, file)?;
            agree(&digest, &output)?;
            self.hashlib.0.push(bytes / took);
        }
        if self.threads == 1 {
            self.read.0.push(bytes / read(&self.files)?);
            self.kernel.0.push(kernel_speed(self.files.len()));
        }
        Ok(())
    }

    fn show(&self, table: &mut Table) {
        let speed = |series: &Series| shown(series, "MB/s");
        let what = &self.what;
        table.ratio(
            format!("{what}, compared with md5sum"),
            speed(&self.ours),
            speed(&self.md5sum),
            self.ours.ratio_to(&self.md5sum),
            self.required.map(Required::AtLeast),
        );
        if let Some(ratio) = self.ours.ratio_to(&self.hashlib) {
            // 1.0, with a tolerance of 3 %.
            let required = Some(Required::AtLeast(0.97));
            table.ratio(
                format!("{what}, compared with hashlib"),
                speed(&self.ours),
                speed(&self.hashlib),
                Some(ratio),
                required,
            );
        }
        if let (Some(kernel), Some(read)) = (self.kernel.median(), self.read.median()) {
            let ceiling = |(kernel, read): (&f64, &f64)| 1.0 / (1.0 / kernel + 1.0 / read);
            let ceiling = Series(self.kernel.0.iter().zip(&self.read.0).map(ceiling).collect());
            let ratio = self.kernel.ratio_to(&self.md5sum);
            table.ratio(
                "   the kernel alone, compared with md5sum",
                with_unit(kernel, "MB/s"),
                speed(&self.md5sum),
                ratio,
                None,
            );
            table.note("   reading alone", with_unit(read, "MB/s"));
            table.ratio(
                "   of what kernel and reading allow together",
                speed(&self.ours),
                speed(&ceiling),
                self.ours.ratio_to(&ceiling),
                Some(Required::AtLeast(0.85)),
            );
        }
    }
}

struct Peers<'a> {
    has_md5sum: bool,
    python: Option<&'a str>,
}

fn main() -> Result<(), Error> {
    let quick = || Options {
        size: 1,
        large: 1,
        rounds: 1,
        session_rounds: 1,
        folder: None,
        python: "python3".to_owned(),
    };
    let options: Options = common::options(quick);
    let folder = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let mut number = 0;
    let mut noise = |count: usize, bytes: usize| -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for _ in 0..count {
            number += 1;
            let file = folder.path().join(format!("{number:04}.bin"));
            write_noise(&file, bytes, number)?;
            files.push(file);
        }
        Ok(files)
    };
    let files = noise(16, options.size * MIB)?;
    let small = noise(SMALL_FILES, SMALL)?;
    let mut session = noise(2, options.large * MIB)?;
    session.extend(noise(1, options.large * MIB / 4)?);
    session.extend(noise(40, options.large * MIB * 5 / 1024)?);
    // Write-back must not disturb the measurement.
    rustix::fs::sync();

    let (best, rounds, written) = (Kernel::best(), options.rounds, Instant::now());
    let of = |avx512, others| Some(if best.lanes() >= 32 { avx512 } else { others });
    let mut cases = vec![
        Case::new("one file", &files[..1], 1, rounds, None),
        Case::new("2 files", &files[..2], 1, rounds, Some(1.35)),
        Case::new("8 files", &files[..8], 1, rounds, of(3.8, 2.6)),
        Case::new("16 files", &files, 1, rounds, of(5.5, 4.0)),
        Case::new("2,000 files of 100 kB that were just written", &small, 1, options.session_rounds, None),
        Case::new("a session on two threads", &session, 2, options.session_rounds, Some(1.0 / 0.48)),
    ];
    let has_python = is_there(&options.python);
    let peers = Peers { has_md5sum: is_there("md5sum"), python: has_python.then_some(&options.python) };
    let mut table = Table::begin(&format!(
        "MD5 of files of {} MiB in the page cache, on one core, {rounds} rounds; kernel: {best}",
        options.size
    ));
    // Not counted: the first file of a process is hashed twice, as a check.
    hash(&files[..1], 1)?;
    let all = sched_getaffinity(None)?;
    for round in 0..rounds.max(options.session_rounds) {
        for case in cases.iter_mut().filter(|case| round < case.rounds) {
            on_cores(&all, case.threads)?;
            case.measure(&peers)?;
        }
    }
    let mut old = Case::new("2,000 files of 100 kB", &small, 1, rounds, Some(2.5));
    if rounds > 1 {
        println!("waiting: files of the last five minutes are written back before they are read\n");
        std::thread::sleep(Duration::from_secs(310).saturating_sub(written.elapsed()));
    }
    on_cores(&all, 1)?;
    for _ in 0..rounds {
        old.measure(&peers)?;
    }
    cases.push(old);
    for case in &cases {
        case.show(&mut table);
    }
    table.print();
    for case in cases.iter().filter(|case| case.threads == 2) {
        let got = case.processors.median().unwrap_or_default();
        println!("Two threads got {} of two processors.", with_unit(got, "").trim());
    }
    Ok(())
}

/// What this thread starts from now on, threads and programs, runs on this number of cores.
fn on_cores(all: &CpuSet, count: usize) -> Result<(), Error> {
    let mut some = CpuSet::new();
    (0..CpuSet::MAX_CPU).rev().filter(|cpu| all.is_set(*cpu)).take(count).for_each(|cpu| some.set(cpu));
    Ok(sched_setaffinity(None, &some)?)
}

/// This program: seconds, and the digest of the first file.
fn hash(files: &[PathBuf], threads: usize) -> Result<(f64, String), Error> {
    // Its threads are new, and run where this thread does.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    // What other programs do must not change the figures.
    let reading = ReadingOptions { yields: false, ..ReadingOptions::default() };
    let context = HashContext {
        max_md5_size: None,
        scheduler: ReadScheduler::new(threads, &reading),
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

/// MB/s of the kernel with this number of streams, whose pieces are in the caches of the core.
fn kernel_speed(streams: usize) -> f64 {
    let streams = streams.min(Kernel::best().lanes());
    let length = (TOGETHER / streams.next_power_of_two()).min(TOGETHER / 2);
    let memory = vec![7; (length + 64) * streams];
    let mut states = vec![Md5State::new(); streams];
    let calls = 100;
    let (took, ()) = seconds(|| {
        for _ in 0..calls {
            let pieces = memory.chunks(length + 64).map(|memory| &memory[..length]);
            Kernel::best().update(&mut states.iter_mut().zip(pieces).collect::<Vec<_>>());
        }
    });
    black_box(&states);
    (calls * length * streams) as f64 / 1e6 / took
}

/// Reads the files as they are read to be hashed, a piece of each in turn, opened with the same precautions: seconds.
fn read(files: &[PathBuf]) -> Result<f64, Error> {
    let (took, result) = seconds(|| -> Result<(), Error> {
        for files in files.chunks(Kernel::best().lanes()) {
            let length = (TOGETHER / files.len().next_power_of_two()).min(TOGETHER / 2);
            let mut memory = vec![0; length * files.len()];
            let mut open = Vec::new();
            for file in files {
                let opened = DataFolders::default().open(file).map_err(|error| format!("{error:?}"))?;
                open.push((opened.0, 0));
            }
            while !open.is_empty() {
                let mut left = Vec::new();
                for ((file, at), piece) in open.into_iter().zip(memory.chunks_mut(length)) {
                    let count = file.read_at(piece, at)?;
                    if count > 0 {
                        left.push((file, at + count as u64));
                    }
                }
                open = left;
            }
        }
        Ok(())
    });
    result.map(|()| took)
}

/// Seconds, and the output.
fn run_md5sum(files: &[PathBuf]) -> Result<(f64, String), Error> {
    let (took, output) = seconds(|| Command::new("md5sum").args(files).stderr(Stdio::inherit()).output());
    Ok((took, String::from_utf8(output?.stdout)?))
}

/// Seconds as measured in Python, and its output.
fn run_python(python: &str, file: &Path) -> Result<(f64, String), Error> {
    let output = Command::new(python).arg("-c").arg(HASHLIB).arg(file).stderr(Stdio::inherit()).output()?;
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
fn write_noise(path: &Path, bytes: usize, seed: u64) -> Result<(), Error> {
    let mut file = File::create(path)?;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut piece = Vec::with_capacity(MIB);
    let mut left = bytes;
    while left > 0 {
        piece.clear();
        while piece.len() < MIB {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        piece.truncate(left);
        left -= piece.len();
        file.write_all(&piece)?;
    }
    Ok(())
}
