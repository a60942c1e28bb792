//! A session of many small files needs little memory: only the outcome of each comparison is kept.

#[path = "../../benches/common/cgroup.rs"]
mod cgroup;

use crate::{common, program};
use std::path::Path;

use cgroup::Cgroup;
use common::{Alyx, Rig, Session};
use program::{Configuration, Program, program};

/// What registering a thousand files may need, in bytes. With the records held it was 16 MB more.
const AT_MOST: u64 = 20 << 20;
/// What a machine with little memory has, in bytes. With the records of 4,000 files held, 65 MB, it was not enough.
const LITTLE_MEMORY: u64 = 32 << 20;

fn session_of(rig: &Rig, subject: &str, files: usize) -> Session {
    let session = rig.session("cortexlab", subject);
    let folder = session.folder.join("alf");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..files {
        std::fs::write(folder.join(format!("spikes.times.part{number:05}.npy")), "x").unwrap();
    }
    session
}

/// `VmHWM` in bytes.
fn most_resident(process: u32) -> u64 {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_files_are_registered_and_again_with_little_memory() {
    registers(1000, AT_MOST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; run with --ignored"]
async fn many_files_are_registered_and_again_on_a_machine_with_little_memory() {
    registers(4000, LITTLE_MEMORY).await;
}

/// Registers a session of `files` files twice, with at most `at_most` bytes more than the daemon has at rest.
async fn registers(files: usize, at_most: u64) {
    let cgroup = Cgroup::with_memory("many-files", LITTLE_MEMORY);
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config = Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }
        .write(&rig.beside("etc"));
    // As the unit sets them.
    let mut daemon = Program::start(
        program()
            .arg("run")
            .arg("--config")
            .arg(config)
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .env("MALLOC_TRIM_THRESHOLD_", "131072"),
    );
    tokio::task::block_in_place(|| daemon.wait_for("data root scanned"));
    match &cgroup {
        // What it has by now counts elsewhere. It is ended if it needs more than the rest.
        Ok(cgroup) => std::fs::write(cgroup.processes(), daemon.id().to_string()).unwrap(),
        Err(error) => eprintln!("not in a memory cgroup, which requires root: {error}"),
    }
    let before = most_resident(daemon.id());
    let session = session_of(&rig, "KS014", files);
    for what in ["first time", "again"] {
        session.flag();
        tokio::task::block_in_place(|| daemon.wait_for("outcome=\"registered\""));
        let more = most_resident(daemon.id()) - before;
        println!("{what}: {more} bytes for {files} files");
        assert!(more <= at_most, "{what}: {more} bytes for {files} files");
    }
    daemon.stop();
}
