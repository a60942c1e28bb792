//! Whether other programs' page cache survives when a file larger than memory is read.
//!
//! Each case is a separate process in its own memory cgroup, which simulates a small machine on a large one. In it,
//! "another program" reads its file once; then the big file is read; then `fincore` reports how much of the first file
//! is still in memory. The kernel evicts pages that were read only once first.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use alyx_registration::{HashContext, ReadScheduler, ReadingOptions, checksums};
use clap::{Parser, ValueEnum};
use common::cgroup::Cgroup;
use common::{Error, Required, Series, Table, is_there, shown};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

/// What is left of other programs' page cache after a file larger than memory is read
#[derive(Parser)]
struct Options {
    /// Size of the other program's file, in MiB
    #[arg(long, default_value_t = 256)]
    other: u64,
    /// Memory of the cgroup, in MiB; the big file is twice as large
    #[arg(long, default_value_t = 1024)]
    memory: u64,
    /// Without a cgroup: the big file is as large as the machine's memory (sparse: it takes no disk)
    #[arg(long)]
    whole_machine: bool,
    /// Rounds; each measures every program once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where to create the files; not a file system in memory [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    #[command(flatten)]
    inside: Inside,
}

/// For the process inside the cgroup only.
#[derive(clap::Args, Default)]
struct Inside {
    #[arg(long, hide = true)]
    reader: Option<Reader>,
    #[arg(long, hide = true)]
    join: Option<PathBuf>,
    #[arg(long, hide = true)]
    first: Option<PathBuf>,
    #[arg(long, hide = true)]
    then: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reader {
    Nothing,
    Ours,
    Md5sum,
    Cat,
}

const MIB: u64 = 1 << 20;

fn main() -> Result<(), Error> {
    let quick = || Options {
        other: 4,
        memory: 64,
        whole_machine: false,
        rounds: 1,
        folder: None,
        inside: Inside::default(),
    };
    let options: Options = common::options(quick);
    if let Inside { reader: Some(reader), first: Some(first), then: Some(then), join } = &options.inside {
        return inside(*reader, join.as_deref(), first, then);
    }
    if !is_there("fincore") {
        println!("it belongs to util-linux (Debian: util-linux-extra); nothing can be measured without it");
        return Ok(());
    }
    let folder = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let (other, big) = (folder.path().join("other.bin"), folder.path().join("big.bin"));
    write_data(&other, options.other)?;
    let memory = match options.whole_machine {
        true => {
            let total =
                common::proc_field(Path::new("/proc/meminfo"), "MemTotal").ok_or("no /proc/meminfo")?;
            let size = total / 1024 * 11 / 10;
            File::create(&big)?.set_len(size * MIB)?;
            println!(
                "the big file is sparse: its {size} MiB of zeros go through the page cache like any others"
            );
            None
        }
        false => Some(options.memory),
    };
    let cgroup = match memory.map(|memory| Cgroup::with_memory("bench", memory * MIB)).transpose() {
        Ok(cgroup) => cgroup,
        Err(error) => {
            println!("cannot create a memory cgroup here ({error}): run it as root, or with --whole-machine");
            return Ok(());
        }
    };
    if let Some(memory) = memory {
        write_data(&big, memory * 2)?;
    }
    let dontcache = if knows_dontcache(&other)? { "yes" } else { "no: pages are dropped by fadvise" };
    let mut table = Table::begin(&format!(
        "MiB of {} MiB of another program still in the page cache, after a file of {} MiB was read\nwith {}; RWF_DONTCACHE: {dontcache}",
        options.other,
        big.metadata()?.len() / MIB,
        memory
            .map_or("the memory of the whole machine".to_owned(), |memory| format!("{memory} MiB of memory")),
    ));
    let mut left = [Series::default(), Series::default(), Series::default(), Series::default()];
    let readers = [Reader::Nothing, Reader::Ours, Reader::Md5sum, Reader::Cat];
    for _ in 0..options.rounds {
        for (reader, left) in readers.into_iter().zip(&mut left) {
            drop_pages(&other)?;
            drop_pages(&big)?;
            left.0.push(run_inside(reader, cgroup.as_ref(), &other, &big)?);
        }
    }
    let [nothing, ours, md5sum, cat] = &left;
    let ours_median = ours.median().ok_or("no rounds")?;
    table.note("nothing else was read", shown(nothing, "MiB"));
    table.limit(
        "our checksum",
        ours_median,
        "MiB",
        Required::AtLeast(nothing.median().unwrap_or(options.other as f64) * 0.95),
    );
    table.peer("md5sum", shown(md5sum, "MiB"));
    table.peer("cat > /dev/null", shown(cat, "MiB"));
    table.print();
    Ok(())
}

/// Runs a process in the cgroup, and returns how much of the first file is left in memory.
fn run_inside(reader: Reader, cgroup: Option<&Cgroup>, other: &Path, big: &Path) -> Result<f64, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    let reader = reader.to_possible_value().ok_or("no name")?;
    command.args(["--bench", "--reader", reader.get_name(), "--first"]).arg(other).arg("--then").arg(big);
    if let Some(cgroup) = cgroup {
        command.arg("--join").arg(cgroup.processes());
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the process in the cgroup failed".into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse::<f64>()? / MIB as f64)
}

/// The process in the cgroup: prints how many bytes of the first file are in memory at the end.
fn inside(reader: Reader, join: Option<&Path>, first: &Path, then: &Path) -> Result<(), Error> {
    if let Some(join) = join {
        std::fs::write(join, "0")?;
    }
    // The other program.
    let mut file = File::open(first)?;
    let mut piece = vec![0; MIB as usize];
    while file.read(&mut piece)? > 0 {}
    match reader {
        Reader::Nothing => {}
        Reader::Ours => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            let context = HashContext {
                max_md5_size: None,
                scheduler: ReadScheduler::new(1, &ReadingOptions::default()),
                progress: Arc::default(),
                cache: None,
                data: Arc::default(),
            };
            let read = runtime.block_on(checksums(vec![then.to_owned()], &context));
            read.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Reader::Md5sum => _ = Command::new("md5sum").arg(then).stdout(Stdio::null()).status()?,
        Reader::Cat => _ = Command::new("cat").arg(then).stdout(Stdio::null()).status()?,
    }
    let output =
        Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(first).output()?;
    print!("{}", String::from_utf8(output.stdout)?);
    Ok(())
}

/// Writes data, not holes, and syncs it to disk.
fn write_data(path: &Path, mebibytes: u64) -> Result<(), Error> {
    let mut file = File::create(path)?;
    let piece = vec![b'x'; MIB as usize];
    for _ in 0..mebibytes {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(())
}

fn drop_pages(path: &Path) -> Result<(), Error> {
    Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
}

/// Whether this kernel supports RWF_DONTCACHE on this file system (Linux 6.14).
fn knows_dontcache(path: &Path) -> Result<bool, Error> {
    let flag = ReadWriteFlags::from_bits_retain(0x80);
    Ok(preadv2(File::open(path)?, &mut [IoSliceMut::new(&mut [0])], 0, flag).is_ok())
}
