//! Killed while Alyx creates a session, without the memory of it: whatever happens to the state folder before the next
//! start, the request that arrives late stays the only one.
//!
//! The marks of requests are in the state folder too, so that nothing outlives it. The clock of a single process cannot
//! be set without loading code into it, so the times on disk are set instead: to the next daemon they are as far in the
//! past or future as after a change of the clock. Whether a request may still arrive is measured with a clock that
//! cannot be set, as `request_marks::sent` and `daemon::clock` test.

use crate::{common, namespace, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session};
use namespace::{MOUNTS, is_inside, must, run_inside};
use program::{Configuration, Program, program};

const PROBE: &str = "mount -t tmpfs none /mnt && mount -o remount,ro /mnt && umount /mnt";

/// What happens to the state folder between two daemons.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Deleted,
    /// A file is in its place, and then it is deleted.
    Unusable,
    /// Its file system is mounted read-only, and then to be written again.
    ReadOnly,
    /// Its disk is full, and then has space again.
    Full,
    /// The clock is an hour earlier, and then an hour later.
    Clock,
}

const WITHOUT_MOUNTS: [Way; 3] = [Way::Deleted, Way::Unusable, Way::Clock];
const WITH_MOUNTS: [Way; 2] = [Way::ReadOnly, Way::Full];

impl Way {
    fn begin(self, state: &Path) {
        if WITH_MOUNTS.contains(&self) {
            fs::create_dir_all(state).unwrap();
            must("mount", &["-t", "tmpfs", "-o", "size=1m,mode=750", "state", state.to_str().unwrap()]);
            crate::program::stopped_cleanly(state);
        }
    }

    /// Before the daemon of this number starts.
    fn apply(self, state: &Path, session: &Path, number: usize) {
        let is_even = number.is_multiple_of(2);
        match self {
            Self::Deleted => fs::remove_dir_all(state).unwrap(),
            Self::Unusable if is_even => {
                fs::remove_dir_all(state).unwrap();
                fs::write(state, "").unwrap();
            }
            Self::Unusable => fs::remove_file(state).unwrap(),
            Self::ReadOnly => {
                let mode = if is_even { "remount,ro" } else { "remount,rw" };
                must("mount", &["-o", mode, state.to_str().unwrap()]);
            }
            Self::Full if is_even => {
                // `stopped-cleanly` takes no space, so nothing else may keep it from being trusted.
                let _ = fs::write(state.join("filler"), vec![0; 2 << 20]);
            }
            Self::Full => fs::remove_file(state.join("filler")).unwrap(),
            Self::Clock => {
                let hour = Duration::from_secs(3600);
                let now = SystemTime::now();
                let at = if is_even { now + hour } else { now - hour };
                set_times(state, at);
                set_times(session, at);
            }
        }
    }
}

/// Sets the times of a folder and of everything in it.
fn set_times(folder: &Path, at: SystemTime) {
    for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() || entry.file_type().is_dir() {
            let times = fs::FileTimes::new().set_modified(at).set_accessed(at);
            fs::File::open(entry.path()).unwrap().set_times(times).unwrap();
        }
    }
}

/// A daemon whose state folder is all that it has.
fn daemon(config: &Path, state: &Path) -> Program {
    let marks = state.join("marks");
    Program::start(program().args(["run", "--config"]).arg(config).env("ALYX_REGISTRAR_MARKS", marks))
}

/// Kills a daemon this number of times, each time while Alyx creates another session.
async fn kill(way: Way, number: usize) {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let state = rig.beside("etc/state");
    way.begin(&state);
    let config = configuration(&alyx, &rig);
    let mut running = daemon(&config, &state);
    running.wait_for("data root scanned");
    let mut sessions: Vec<Session> = Vec::new();
    for number in 0..number {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{:03}", number + 1));
        let gate = Gate::default();
        let (method, path_prefix) = (Some("POST".to_owned()), "/sessions".to_owned());
        let fault = Fault::Hold(gate.clone());
        alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault });
        session.file("alf/spikes.times.npy", "abc").flag();
        gate.reached().await;
        drop(running);
        way.apply(&state, &session.folder, number);
        running = daemon(&config, &state);
        running.wait_for("an earlier request may still create this session");
        gate.open();
        let line = running.wait_for("outcome=\"registered\"");
        assert!(line.contains(&session.name()) && !session.is_flagged(), "{way:?}: {line}");
        sessions.push(session);
    }
    running.stop();
    for session in &sessions {
        assert_eq!(alyx.sessions(session).await.len(), 1, "{way:?}: {}", session.name());
        assert_eq!(alyx.dataset_paths(session).await, ["alf/spikes.times.npy"], "{way:?}");
    }
    assert_eq!(alyx.control().sessions().len(), number, "{way:?}");
    println!("{way:?}: {number} kills, {number} sessions");
}

fn configuration(alyx: &Alyx, rig: &Rig) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "watch:\n  settle: 0 s\n  empty_grace: 0 s\n".to_owned();
    let config =
        Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("alyx:\n", "alyx:\n  timeouts: {request: 6 s}\n")).unwrap();
    config
}

/// All ways at once: they mostly wait. Each has a thread and a runtime of its own, because waiting for a line of a daemon
/// blocks its thread, on which nothing of the sandbox may run.
fn kill_all(ways: &[Way], number: usize) {
    let alone = |way| tokio::runtime::Runtime::new().unwrap().block_on(kill(way, number));
    std::thread::scope(|scope| {
        for way in ways {
            scope.spawn(move || alone(*way));
        }
    });
}

#[test]
fn killed_while_it_creates_a_session_a_daemon_without_its_state_or_with_another_clock_creates_no_second() {
    kill_all(&WITHOUT_MOUNTS, 2);
}

#[test]
fn killed_while_it_creates_a_session_a_daemon_whose_state_cannot_be_written_creates_no_second() {
    run_inside(&MOUNTS, PROBE, "kills::inside_the_state_cannot_be_written");
}

#[test]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
fn inside_the_state_cannot_be_written() {
    if is_inside() {
        kill_all(&WITH_MOUNTS, 2);
    }
}

#[test]
#[ignore = "long: a hundred kills in each way, about ten minutes"]
fn a_hundred_kills_without_state_or_with_another_clock_create_a_hundred_sessions() {
    kill_all(&WITHOUT_MOUNTS, 100);
}

#[test]
#[ignore = "long: a hundred kills in each way, about ten minutes"]
fn a_hundred_kills_whose_state_cannot_be_written_create_a_hundred_sessions() {
    run_inside(&MOUNTS, PROBE, "kills::inside_a_hundred_kills");
}

#[test]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
fn inside_a_hundred_kills() {
    if is_inside() {
        kill_all(&WITH_MOUNTS, 100);
    }
}
