//! The cost of scanning and watching a large data root and of looking for late files in it, compared with `find` and
//! Python's `pathlib`.
//!
//! The tree has 12,000 sessions of 3 collections of 12 files, in 100 subjects. The program watches it as a separate
//! process, without a server: there is no flag, so it sends no request.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

#[path = "../common/mod.rs"]
mod common;
mod late_files;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use alyx_registrar::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout};
use alyx_registrar::daemon::tree::scan::{Scanner, scan};
use clap::Parser;
use common::registrar::{Registrar, Settings};
use common::{Error, Required, Series, Table, is_there, median, proc_field, seconds, shown};

/// Start-up scan, watches and late files of a large data root
#[derive(Parser)]
struct Options {
    /// Session folders; each has 3 collections of 12 files
    #[arg(long, default_value_t = 12_000)]
    sessions: usize,
    /// A twentieth of the sessions
    #[arg(long)]
    small: bool,
    /// Create the tree here and keep it for the next run
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Rounds of scans; each measures every program once
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How often the program is started
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// How long to observe the idle program, in seconds
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// The Python
    #[arg(long, default_value = "python3")]
    python: String,
}

const FLAG: &str = "create_me.flag";
const SESSIONS_OF_A_DATE: usize = 2;
const DATES_OF_A_SUBJECT: usize = 60;
const COLLECTIONS: [&str; 3] = ["alf", "raw_behavior_data", "raw_video_data"];
const FILES_OF_A_COLLECTION: usize = 12;
/// One in this many sessions is flagged during scans.
const FLAGGED: usize = 240;

/// Prints its own time, so that the start of Python is not counted.
const GLOB: &str = "
import sys, time
from pathlib import Path
began = time.perf_counter()
found = len(list(Path(sys.argv[1]).glob('**/create_me.flag')))
print(found, time.perf_counter() - began)
";

fn main() -> Result<(), Error> {
    let quick = || Options {
        sessions: 24,
        small: false,
        keep: None,
        rounds: 1,
        starts: 1,
        idle: 0,
        python: "python3".to_owned(),
    };
    let mut options: Options = common::options(quick);
    if options.small {
        options.sessions = options.sessions.div_ceil(20);
    }
    let scratch = tempfile::tempdir()?;
    let folder = options.keep.as_deref().unwrap_or(scratch.path());
    let root = folder.join(format!("tree-of-{}-sessions", options.sessions));
    make_tree(&root, options.sessions)?;

    let mut table = Table::begin(&format!(
        "{} sessions with {} files, warm; {} rounds of scans, {} starts",
        options.sessions,
        options.sessions * COLLECTIONS.len() * FILES_OF_A_COLLECTION,
        options.rounds,
        options.starts,
    ));
    measure_scans(&options, &root, &mut table)?;
    late_files::measure(&options, &root, &mut table)?;
    measure_watching(&options, &root, scratch.path(), &mut table)?;
    table.print();
    Ok(())
}

// ---- the tree

pub(crate) fn session(root: &Path, number: usize) -> PathBuf {
    let (date, in_date) = (number / SESSIONS_OF_A_DATE, number % SESSIONS_OF_A_DATE);
    let (subject, date) = (date / DATES_OF_A_SUBJECT, date % DATES_OF_A_SUBJECT);
    let (month, day) = (1 + date / 28, 1 + date % 28);
    root.join(format!("cortexlab/Subjects/SUB_{subject:03}/2024-{month:02}-{day:02}/{:03}", in_date + 1))
}

/// Creates the tree unless a complete one exists.
fn make_tree(root: &Path, sessions: usize) -> Result<(), Error> {
    let whole = root.with_extension("whole");
    if whole.exists() {
        return Ok(());
    }
    println!("making {}", root.display());
    for number in 0..sessions {
        for collection in COLLECTIONS {
            let folder = session(root, number).join(collection);
            fs::create_dir_all(&folder)?;
            for file in 0..FILES_OF_A_COLLECTION {
                File::create(folder.join(format!("_ibl_trials.table_{file:02}.npy")))?;
            }
        }
    }
    File::create(whole)?;
    Ok(())
}

fn layout(root: &Path) -> Layout {
    Layout { root: root.to_owned(), flags: vec![FLAG.to_owned()], max_depth: DEFAULT_MAX_DEPTH }
}

// ---- scanning

fn measure_scans(options: &Options, root: &Path, table: &mut Table) -> Result<(), Error> {
    let flags: Vec<PathBuf> =
        (0..options.sessions).step_by(FLAGGED).map(|number| session(root, number).join(FLAG)).collect();
    for flag in &flags {
        File::create(flag)?;
    }
    let (has_find, has_python) = (is_there("find"), is_there(&options.python));
    let [mut ours, mut looked, mut find, mut python] = std::array::from_fn(|_| Series::default());
    // The first round warms up the caches.
    for round in 0..=options.rounds {
        let add = |series: &mut Series, (found, took): (usize, f64)| {
            if found != flags.len() {
                return Err(format!("{found} of {} flags were found", flags.len()));
            }
            if round > 0 {
                series.0.push(took * 1e3);
            }
            Ok(())
        };
        let (took, scan) = seconds(|| scan(layout(root), &|| false));
        add(&mut ours, (scan.flags.len(), took))?;
        let (took, found) = seconds(|| scan_and_look(layout(root)));
        add(&mut looked, (found, took))?;
        if has_find {
            add(&mut find, run_find(root)?)?;
        }
        if has_python {
            add(&mut python, run_python(&options.python, GLOB, root)?)?;
        }
    }
    for flag in &flags {
        fs::remove_file(flag)?;
    }
    let show = |series: &Series| shown(series, "ms");
    table.ratio(
        "start-up scan, times faster than Path.glob('**/create_me.flag')",
        show(&ours),
        show(&python),
        python.ratio_to(&ours),
        Some(Required::AtLeast(10.0)),
    );
    table.ratio(
        "  with the search for flags inside the sessions, times faster than Path.glob",
        show(&looked),
        show(&python),
        python.ratio_to(&looked),
        Some(Required::AtLeast(10.0)),
    );
    table.ratio(
        "start-up scan, times faster than find -name create_me.flag",
        show(&ours),
        show(&find),
        find.ratio_to(&ours),
        Some(Required::AtLeast(1.0)),
    );
    Ok(())
}

/// A scan on a day on which every session of the tree is recent, so that the largest number is searched for flags below
/// session level.
fn scan_and_look(layout: Layout) -> usize {
    let mut scanner = Scanner::new(layout);
    let scan = scanner.scan(&mut |_, _, _| (), &|| false);
    let found = scanner.find_too_deep(scan.unflagged, jiff::civil::date(2024, 1, 1), &|| false);
    scan.flags.len() + found.len()
}

fn run_find(root: &Path) -> Result<(usize, f64), Error> {
    let mut find = Command::new("find");
    find.arg(root).args(["-name", FLAG]).stderr(Stdio::inherit());
    let (took, output) = seconds(|| find.output());
    Ok((output?.stdout.split(|byte| *byte == b'\n').count() - 1, took))
}

/// Runs a program that prints a number and its own time.
fn run_python(python: &str, script: &str, root: &Path) -> Result<(usize, f64), Error> {
    let output = Command::new(python).arg("-c").arg(script).arg(root).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (found, took) = text.trim().split_once(' ').ok_or("Python printed nothing")?;
    Ok((found.parse()?, took.parse()?))
}

// ---- watching

fn measure_watching(options: &Options, root: &Path, scratch: &Path, table: &mut Table) -> Result<(), Error> {
    let mut folders = HashSet::new();
    Scanner::new(layout(root)).scan(&mut |_, _, inode| _ = folders.insert(inode), &|| false);
    // No server listens there; without a flag no request is sent.
    let settings = Settings { root, folder: scratch, url: "http://127.0.0.1:9", settle: "2 s", more: "" };
    let config = settings.write()?;
    let [mut set_up, mut memory, mut peak, mut slab] = std::array::from_fn(|_| Vec::new());
    let mut last = None;
    for _ in 0..options.starts.max(1) {
        drop(last.take());
        let before = kernel_slab()?;
        let registrar = Registrar::run(&config)?;
        let scanned = registrar.wait_for("data root scanned", Duration::from_secs(60))?;
        set_up.push(parse_took(scanned["took"].as_str().ok_or("the log has changed: no took")?)?);
        slab.push(kernel_slab()? - before);
        let status = registrar.child.proc().join("status");
        memory.push(proc_field(&status, "VmRSS").ok_or("no VmRSS")? as f64 * 1024.0 / 1e6);
        peak.push(registrar.child.peak_memory().ok_or("no VmHWM")?);
        last = Some(registrar);
    }
    let registrar = last.ok_or("not started")?;
    let watched = watched_inodes(&registrar.child.proc())?;
    let seen: HashSet<u64> = watched.iter().copied().collect();
    let below = watched.iter().filter(|inode| !folders.contains(inode)).count();

    table.limit("scan and watches set", median(&set_up), "s", Required::AtMost(2.0));
    table.note(
        format!("watches, of {} folders down to session level and of their disk", folders.len()),
        watched.len(),
    );
    table.limit(
        "folders of the layout without a watch",
        folders.iter().filter(|inode| !seen.contains(inode)).count() as f64,
        "",
        Required::AtMost(0.0),
    );
    table.limit("watches below session level", below as f64, "", Required::AtMost(0.0));
    table.limit("resident memory when set up", median(&memory), "MB", Required::AtMost(60.0));
    table.limit("peak resident memory", median(&peak), "MB", Required::AtMost(60.0));
    // A start reuses the slab of the one before, so only the maximum is meaningful.
    let most = slab.iter().copied().fold(f64::MIN, f64::max);
    table.limit("largest growth of the kernel's slab", most, "MiB", Required::AtMost(40.0));
    if let Some(inode) = inode_size() {
        // On a freshly started machine, setting the watches reads these inodes.
        let held = most.max(0.0) + watched.len() as f64 * inode as f64 / (1024.0 * 1024.0);
        table.limit("  with the inodes that the watches hold", held, "MiB", Required::AtMost(40.0));
    }

    let before = wake_ups(&registrar.child.proc())?;
    std::thread::sleep(Duration::from_secs(options.idle));
    let after = wake_ups(&registrar.child.proc())?;
    // A thread that ended in between is missing in the second count, and one that started in the first.
    let woken: u64 =
        after.iter().map(|(id, count)| count.saturating_sub(before.get(id).copied().unwrap_or(0))).sum();
    let rate = woken as f64 / options.idle.max(1) as f64;
    let what = format!("wake-ups per second, over {} idle seconds", options.idle);
    // One timer may fire in this time: the check of the root, once a minute.
    table.limit(what, rate, "", Required::AtMost(0.5));
    Ok(())
}

/// The kernel's slab memory, in MiB. It is that of the whole machine: other programs affect it.
fn kernel_slab() -> Result<f64, Error> {
    Ok(proc_field(Path::new("/proc/meminfo"), "Slab").ok_or("no Slab in /proc/meminfo")? as f64 / 1024.0)
}

/// The size of the largest kind of inode on this machine, in bytes; `None` without root.
fn inode_size() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let mut sizes = slabs.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|name| name.ends_with("_inode_cache"))?;
        let (objects, size) = (words.nth(1)?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
        (objects > 0).then_some(size)
    });
    let first = sizes.next()?;
    Some(sizes.fold(first, u64::max))
}

/// The folders that a process watches, from `/proc/<pid>/fdinfo`: `inotify wd:1 ino:2a sdev:…`.
fn watched_inodes(process: &Path) -> Result<Vec<u64>, Error> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(process.join("fdinfo"))? {
        // The descriptor may have been closed since.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        for line in text.lines().filter(|line| line.starts_with("inotify ")) {
            let inode = line.split_whitespace().find_map(|word| word.strip_prefix("ino:"));
            inodes.push(u64::from_str_radix(inode.ok_or("no ino in fdinfo")?, 16)?);
        }
    }
    Ok(inodes)
}

/// The voluntary context switches of each thread of a process, one per wake-up.
fn wake_ups(process: &Path) -> Result<HashMap<OsString, u64>, Error> {
    let mut switches = HashMap::new();
    for thread in fs::read_dir(process.join("task"))? {
        let thread = thread?;
        let count = proc_field(&thread.path().join("status"), "voluntary_ctxt_switches").unwrap_or(0);
        switches.insert(thread.file_name(), count);
    }
    Ok(switches)
}

/// Parses a duration of the log, such as `1.02s` or `963.2ms`, in seconds.
fn parse_took(text: &str) -> Result<f64, Error> {
    for (unit, factor) in [("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)] {
        if let Some(Ok(number)) = text.strip_suffix(unit).map(str::parse::<f64>) {
            return Ok(number * factor);
        }
    }
    Err(format!("no duration: {text}").into())
}
