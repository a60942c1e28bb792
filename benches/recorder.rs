//! Whether a recorder on the same disk still writes in time while files are hashed.
//!
//! The recorder writes several streams at a fixed rate: ten times a second a piece of each, which must be on the disk before
//! the next one comes. Meanwhile a separate process hashes large files that are not in the page cache.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alyx_registration::{HashContext, ReadScheduler, ReadingOptions, checksums};
use clap::{Parser, ValueEnum};
use common::{Child, Error, Required, Series, Table, is_there, median, shown, with_unit};
use rustix::fs::{Advice, fadvise};

/// Late writes of a recorder while files are hashed
#[derive(Parser)]
struct Options {
    /// Streams of the recorder
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// MB/s of each stream
    #[arg(long, default_value_t = 20)]
    rate: usize,
    /// How long the recorder runs with each program, in seconds
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Files to hash, and the size of each in MiB; together they should exceed what is hashed in that time
    #[arg(long, default_value_t = 8)]
    files: usize,
    #[arg(long, default_value_t = 1024)]
    size: u64,
    /// Rounds; each measures every program once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Where to create the files; not a file system in memory [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Programs [default: all]
    #[arg(long, value_delimiter = ',')]
    readers: Vec<Reader>,
    /// For the process that hashes: the files
    #[arg(long, hide = true, num_args = 0..)]
    hash: Vec<PathBuf>,
    #[arg(long, hide = true)]
    yields: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reader {
    Nothing,
    Ours,
    Unyielding,
    Md5sum,
    Rclone,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing else",
            Self::Ours => "our checksums",
            Self::Unyielding => "our checksums with reading.yield: false",
            Self::Md5sum => "md5sum of two files at a time",
            Self::Rclone => "rclone hashsum md5",
        }
    }
}

const MIB: u64 = 1 << 20;
/// Between two pieces of a stream.
const TICK: Duration = Duration::from_millis(100);

/// What the recorder met with one program beside it.
#[derive(Default)]
struct Figures {
    late: Series,
    /// The median and the 99th percentile of the times of the writes, in ms.
    middle: Series,
    longest: Series,
    /// What was hashed, in MB/s.
    speed: Series,
}

fn main() -> Result<(), Error> {
    let quick = || Options {
        streams: 2,
        rate: 1,
        seconds: 0.3,
        files: 2,
        size: 1,
        rounds: 1,
        folder: None,
        readers: Vec::new(),
        hash: Vec::new(),
        yields: true,
    };
    let mut options: Options = common::options(quick);
    if !options.hash.is_empty() {
        return hash(std::mem::take(&mut options.hash), options.yields);
    }
    let folder = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let mut files = Vec::new();
    for number in 0..options.files {
        let path = folder.path().join(format!("{number:03}.bin"));
        write_data(&path, options.size)?;
        files.push(path);
    }
    let known = [Reader::Nothing, Reader::Ours, Reader::Unyielding, Reader::Md5sum, Reader::Rclone];
    let wanted = |reader: &Reader| options.readers.is_empty() || options.readers.contains(reader);
    let there = |reader: &Reader| match reader {
        Reader::Md5sum => is_there("md5sum") && is_there("xargs"),
        Reader::Rclone => is_there("rclone"),
        _ => true,
    };
    let readers: Vec<Reader> = known.into_iter().filter(wanted).filter(there).collect();
    let mut table = Table::begin(&format!(
        "A recorder of {} streams of {} MB/s, whose pieces must be on disk within {} ms; late ones of {} each time",
        options.streams,
        options.rate,
        TICK.as_millis(),
        (options.seconds / TICK.as_secs_f64()) as usize * options.streams,
    ));
    let mut figures: Vec<Figures> = readers.iter().map(|_| Figures::default()).collect();
    let mut order: Vec<usize> = (0..readers.len()).collect();
    for _ in 0..options.rounds {
        // Each comes after another one, whose last writes may still be under way in the disk.
        order.rotate_left(1);
        for at in &order {
            let (Some(reader), Some(figures)) = (readers.get(*at), figures.get_mut(*at)) else { continue };
            measure(*reader, &options, &files, folder.path(), figures)?;
        }
    }
    // Of all rounds together, since a disk stalls at random; and one more, so that none can be compared with none.
    let all = |figures: &Figures| figures.late.0.iter().sum::<f64>() + 1.0;
    let alone = readers.iter().position(|reader| *reader == Reader::Nothing).and_then(|at| figures.get(at));
    for (reader, figures) in readers.iter().zip(&figures) {
        let ratio = alone.map(|alone| all(figures) / all(alone));
        let required = (*reader == Reader::Ours).then_some(Required::AtMost(1.2));
        let peer = alone.map(|alone| shown(&alone.late, "")).unwrap_or_default();
        table.ratio(reader.name(), shown(&figures.late, ""), peer, ratio, required);
        let times = format!("{} and {}", shown(&figures.middle, "ms"), shown(&figures.longest, "ms"));
        table.note("   a write takes, median and 99th percentile", times);
        if *reader != Reader::Nothing {
            table.note("   hashed", with_unit(figures.speed.median().unwrap_or_default(), "MB/s"));
        }
    }
    table.print();
    Ok(())
}

/// Runs the recorder beside a program.
fn measure(
    reader: Reader,
    options: &Options,
    files: &[PathBuf],
    folder: &Path,
    figures: &mut Figures,
) -> Result<(), Error> {
    // What was written before must not reach the disk during the measurement.
    rustix::fs::sync();
    for file in files {
        fadvise(File::open(file)?, 0, None, Advice::DontNeed)?;
    }
    let (counts, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<(), Error> {
        let streams: Vec<_> = (0..options.streams)
            .map(|number| {
                let (path, counts, is_over) = (folder.join(format!("stream{number}")), &counts, &is_over);
                scope.spawn(move || record(&path, options.rate * 1_000_000 / 10, counts, is_over))
            })
            .collect();
        // The recorder runs already when the files come. What it writes until then does not count.
        std::thread::sleep(Duration::from_secs_f64(options.seconds / 5.0));
        counts.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let child = start(reader, files)?.map(Child);
        let proc = child.as_ref().map(Child::proc);
        let mut read = 0;
        while began.elapsed().as_secs_f64() < options.seconds {
            std::thread::sleep(Duration::from_millis(50));
            read = proc.as_deref().and_then(bytes_read).unwrap_or(read);
        }
        figures.speed.0.push(read as f64 / 1e6 / began.elapsed().as_secs_f64());
        is_over.store(true, Ordering::Relaxed);
        child.iter().try_for_each(end)?;
        drop(child);
        let mut times = Vec::new();
        for stream in streams {
            times.extend(stream.join().map_err(|_| "the recorder failed")??);
        }
        times.sort_by(f64::total_cmp);
        let late = times.iter().filter(|time| **time > TICK.as_secs_f64()).count();
        figures.late.0.push(late as f64);
        figures.middle.0.push(median(&times) * 1e3);
        figures.longest.0.push(times.get(times.len() * 99 / 100).copied().unwrap_or_default() * 1e3);
        Ok(())
    })
}

/// One stream: how long after it was due each piece was on the disk, in seconds.
fn record(
    path: &Path,
    bytes: usize,
    counts: &AtomicBool,
    is_over: &AtomicBool,
) -> Result<Vec<f64>, std::io::Error> {
    let (piece, mut file, began) = (vec![7; bytes], File::create(path)?, Instant::now());
    let mut times = Vec::new();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let due = began + TICK * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        file.write_all(&piece)?;
        file.sync_data()?;
        times.extend(counts.load(Ordering::Relaxed).then(|| due.elapsed().as_secs_f64()));
    }
    std::fs::remove_file(path)?;
    Ok(times)
}

/// The program in its own process group, with the priorities of the systemd unit if it is ours.
fn start(reader: Reader, files: &[PathBuf]) -> Result<Option<std::process::Child>, Error> {
    let ours = |yields: bool| -> Result<Command, Error> {
        let mut command = Command::new("nice");
        command.args(["-n", "10"]);
        if is_there("ionice") {
            command.args(["ionice", "-c", "3"]);
        }
        command.arg(std::env::current_exe()?).arg("--bench").args(yields.then_some("--yields"));
        command.arg("--hash").args(files);
        Ok(command)
    };
    let mut command = match reader {
        Reader::Nothing => return Ok(None),
        Reader::Ours => ours(true)?,
        Reader::Unyielding => ours(false)?,
        Reader::Md5sum => {
            let mut command = Command::new("sh");
            // Two processes, each with half of the files.
            let script = r#"half=$1; shift; for file; do printf '%s\0' "$file"; done | xargs -0 -n "$half" -P 2 md5sum"#;
            command.args(["-c", script, "sh"]).arg(files.len().div_ceil(2).to_string()).args(files);
            command
        }
        Reader::Rclone => {
            let mut command = Command::new("rclone");
            command
                .args(["hashsum", "md5", "--include", "*.bin"])
                .args(files.first().and_then(|file| file.parent()));
            command
        }
    };
    Ok(Some(command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
}

/// Ends a program and those that it started.
fn end(child: &Child) -> Result<(), Error> {
    let group = rustix::process::Pid::from_raw(i32::try_from(child.0.id())?).ok_or("no process")?;
    // It may have ended.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    Ok(())
}

/// What a process and those that it started have read, in bytes.
fn bytes_read(proc: &Path) -> Option<u64> {
    let own: u64 = std::fs::read_to_string(proc.join("io"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))?
        .parse()
        .ok()?;
    let id = proc.file_name()?.to_str()?;
    let children = std::fs::read_to_string(proc.join("task").join(id).join("children")).unwrap_or_default();
    let of_children =
        children.split_whitespace().filter_map(|child| bytes_read(&Path::new("/proc").join(child)));
    Some(own + of_children.sum::<u64>())
}

/// The process that hashes.
fn hash(files: Vec<PathBuf>, yields: bool) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let context = HashContext {
        max_md5_size: None,
        scheduler: ReadScheduler::new(2, &ReadingOptions { yields, ..ReadingOptions::default() }),
        progress: Arc::default(),
        cache: None,
        data: Arc::default(),
    };
    runtime.block_on(checksums(files, &context)).into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// Writes data, not holes.
fn write_data(path: &Path, mebibytes: u64) -> Result<(), Error> {
    let (mut file, piece) = (File::create(path)?, vec![b'x'; MIB as usize]);
    for _ in 0..mebibytes {
        file.write_all(&piece)?;
    }
    Ok(())
}
