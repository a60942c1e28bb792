//! The resident memory of the daemon for one session of many small files, registered and flagged again.
//!
//! The program and the sandbox are separate processes. `VmHWM` is the most that the daemon ever had, `VmRSS` what it has a
//! few seconds after the session. If `ONE_PYTHON` names a Python with ONE-api, the Python client registers the smaller ones too.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use common::python_client::create_sessions;
use common::registrar::{Registrar, Settings};
use common::{Child, Error, Required, Table, rig, with_unit};

/// What the daemon may need for 100,000 files, and afterwards, in MB.
const AT_MOST: (f64, f64) = (100.0, 40.0);

/// The resident memory of the daemon for one session of many small files
#[derive(Parser)]
struct Options {
    /// Numbers of files, each in a session and a daemon of its own
    #[arg(long, value_delimiter = ',', default_values_t = [300, 1_000, 10_000, 40_000, 100_000])]
    files: Vec<usize>,
    /// Most files for the Python client
    #[arg(long, default_value_t = 1_000)]
    python_files: usize,
    /// A Python with ONE-api
    #[arg(long, env = "ONE_PYTHON")]
    python: Option<PathBuf>,
}

fn main() -> Result<(), Error> {
    let options: Options = common::options(|| Options { files: vec![50], python_files: 0, python: None });
    let mut table =
        Table::begin("Resident memory for a session of small files, and when it is flagged again");
    for files in options.files {
        let folder = tempfile::tempdir()?;
        let (_sandbox, url) = sandbox()?;
        let session = rig::session(&folder.path().join("data"), 0);
        write_files(&session, files)?;
        // A session that is described: its record on Alyx, which repeats all datasets, is read when it is flagged again.
        fs::write(session.join("alyx-session.yaml"), "narrative: many small files\n")?;
        let root = folder.path().join("data");
        let more = "datasets: {repository: flatiron_cortexlab}\n";
        let settings = Settings { root: &root, folder: folder.path(), url: &url, settle: "200 ms", more };
        let registrar = Registrar::run(&settings.write()?)?;
        registrar.wait_for("data root scanned", Duration::from_secs(60))?;
        for what in ["first time", "again"] {
            rig::flag(&session)?;
            registrar.wait_for("registered", Duration::from_secs(3600))?;
            let peak = registrar.child.peak_memory().ok_or("no VmHWM")?;
            std::thread::sleep(Duration::from_secs(5));
            let status = registrar.child.proc().join("status");
            let now = common::proc_field(&status, "VmRSS").ok_or("no VmRSS")? as f64 * 1024.0 / 1e6;
            table.limit(format!("{files} files, {what}: at most"), peak, "MB", Required::AtMost(AT_MOST.0));
            table.limit(format!("{files} files, {what}: afterwards"), now, "MB", Required::AtMost(AT_MOST.1));
        }
        drop(registrar);
        if let Some(python) = options.python.as_ref().filter(|_| files <= options.python_files) {
            let (_sandbox, url) = sandbox()?;
            rig::flag(&session)?;
            let measured = create_sessions(python, &url, &root, folder.path())?;
            table.peer(format!("{files} files, Python client: at most"), with_unit(measured.memory, "MB"));
        }
        // A long run shows what it has so far.
        table.print();
    }
    if options.python.is_none() {
        println!("ONE_PYTHON names no Python with ONE-api: the comparison is left out\n");
    }
    Ok(())
}

/// A sandbox in a process of its own, and its address.
fn sandbox() -> Result<(Child, String), Error> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"))
        .args(["sandbox", "--listen", "127.0.0.1:0", "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let line = BufReader::new(out).lines().next().ok_or("the sandbox ended")??;
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).ok_or("no address")?;
    Ok((Child(child), url.to_owned()))
}

/// Writes the files of a session, a thousand in each collection.
fn write_files(session: &Path, files: usize) -> Result<(), Error> {
    for number in 0..files {
        let folder = session.join(format!("alf/probe{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(format!("spikes.times.part{:04}.npy", number % 1000)), number.to_string())?;
    }
    Ok(())
}
