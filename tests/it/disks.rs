//! Disks that vanish, return, fill up, or cannot be written, as real file systems in a mount namespace: the built
//! daemon keeps every flag, logs one clear line, stays alive, and continues by itself when the disk works again.

use crate::{common, namespace, program};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session, until};
use namespace::{MOUNTS, is_inside, must, run_inside};
use program::{Configuration, Program, output, program};

const PROBE: &str = "mount -t tmpfs none /mnt && mount -o remount,ro /mnt && umount /mnt";

#[test]
fn a_data_disk_that_is_unmounted_while_a_session_runs_and_mounted_again_loses_no_flag() {
    run_inside(&MOUNTS, PROBE, "disks::inside_a_disk_is_unmounted_and_mounted_again");
}

#[test]
fn a_data_disk_that_becomes_read_only_keeps_the_flag_until_it_is_writable() {
    run_inside(&MOUNTS, PROBE, "disks::inside_a_disk_is_read_only");
}

#[test]
fn a_full_disk_in_the_state_folder_loses_the_ledger_but_no_session() {
    run_inside(&MOUNTS, PROBE, "disks::inside_the_state_folder_is_full");
}

#[test]
fn on_a_full_data_disk_flags_are_still_removed() {
    run_inside(&MOUNTS, PROBE, "disks::inside_the_data_disk_is_full");
}

struct World {
    alyx: Alyx,
    rig: Rig,
}

impl World {
    async fn new() -> Self {
        let world = Self { alyx: Alyx::sandbox().await, rig: Rig::new() };
        fs::create_dir_all(world.root()).unwrap();
        crate::program::stopped_cleanly(&world.state());
        world
    }

    fn root(&self) -> PathBuf {
        self.rig.root()
    }

    fn state(&self) -> PathBuf {
        self.rig.beside("etc/state")
    }

    fn config(&self) -> PathBuf {
        let more = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  rescan_interval: 1 d\n  poll_interval: 200 ms\n\
                    retry:\n  initial: 50 ms\n  max: 200 ms\n  permanent: 300 ms\n";
        let (url, user, password) =
            (self.alyx.url.clone(), self.alyx.user.clone(), self.alyx.password.clone());
        Configuration { roots: vec![self.root()], url, user, password, more: more.into() }
            .write(&self.rig.beside("etc"))
    }

    fn daemon(&self) -> Program {
        let mut daemon = Program::start(program().arg("run").arg("--config").arg(self.config()));
        daemon.wait_for("data root scanned");
        daemon
    }

    fn history(&self) -> String {
        let output = output(program().arg("history").arg("--config").arg(self.config()));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A session with one file, flagged.
    fn flagged(&self, number: usize) -> Session {
        let session = self.rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}"));
        session.file("alf/spikes.times.npy", "abc").flag();
        session
    }

    /// Holds the next request of this kind until the gate is opened.
    fn hold(&self, method: &str, path: &str) -> Gate {
        let gate = Gate::default();
        let fault = Fault::Hold(gate.clone());
        let (method, path_prefix) = (Some(method.to_owned()), path.to_owned());
        self.alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault });
        gate
    }

    /// Whether Alyx holds this number of sessions, each once and with its file.
    fn holds(&self, sessions: usize) {
        let control = self.alyx.control();
        assert_eq!((control.sessions().len(), control.datasets().len()), (sessions, sessions));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn registered(daemon: &mut Program, session: &Session) {
    while !daemon.wait_for(&format!("session=\"{}\" eid=", session.name())).contains("outcome=\"registered\"")
    {
    }
    assert!(!session.is_flagged());
}

fn lines(said: &[String], text: &str) -> usize {
    said.iter().filter(|line| line.contains(text)).count()
}

/// Writes until the disk is full.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    for size in [65_536, 4096, 512] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_disk_is_unmounted_and_mounted_again() {
    if !is_inside() {
        return;
    }
    let world = World::new().await;
    let (root, disk) = (world.root(), world.rig.beside("disk"));
    fs::create_dir(&disk).unwrap();
    let mount = || must("mount", &["--bind", text(&disk), text(&root)]);
    mount();
    let first = world.flagged(1);
    let mut daemon = world.daemon();
    registered(&mut daemon, &first);

    // Unmounted in the middle of a session; lazily, like a disk that is pulled out.
    let gate = world.hold("POST", "/register-file");
    let second = world.flagged(2);
    gate.reached().await;
    must("umount", &["--lazy", text(&root)]);
    daemon.wait_for("is a different folder than before");
    gate.open();
    // Changes made to the disk elsewhere are found when it is back.
    let third = disk.join("cortexlab/Subjects/KS014/2024-05-01/003");
    fs::create_dir_all(third.join("alf")).unwrap();
    fs::write(third.join("alf/spikes.times.npy"), "abc").unwrap();
    fs::write(third.join("create_me.flag"), "").unwrap();
    assert!(disk.join("cortexlab/Subjects/KS014/2024-05-01/002/create_me.flag").exists());
    mount();
    let mut left = vec![second.name(), second.name().replace("002", "003")];
    while !left.is_empty() {
        let line = daemon.wait_for("outcome=\"registered\"");
        left.retain(|name| !line.contains(&format!("session=\"{name}\" eid=")));
    }
    assert!(!second.is_flagged() && !third.join("create_me.flag").exists());
    // From then on by events.
    registered(&mut daemon, &world.flagged(4));
    daemon.stop();
    world.holds(4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_disk_is_read_only() {
    if !is_inside() {
        return;
    }
    let world = World::new().await;
    let root = world.root();
    must("mount", &["-t", "tmpfs", "data", text(&root)]);
    let mut daemon = world.daemon();
    let gate = world.hold("GET", "/datasets");
    let session = world.flagged(1);
    gate.reached().await;
    must("mount", &["-o", "remount,ro", text(&root)]);
    gate.open();
    let message = daemon.wait_for("cannot be removed");
    assert!(message.contains("create_me.flag") && message.contains("Read-only file system"), "{message}");
    assert!(session.is_flagged() && daemon.is_alive());
    // It is retried repeatedly, but not reported again.
    world.alyx.control().clear_requests();
    let looks = |seen: &alyx_sandbox::RequestSeen| seen.path == "/sessions";
    world.alyx.control().wait_for(looks).await;
    world.alyx.control().clear_requests();
    world.alyx.control().wait_for(looks).await;
    must("mount", &["-o", "remount,rw", text(&root)]);
    registered(&mut daemon, &session);
    registered(&mut daemon, &world.flagged(2));
    let said = daemon.stop();
    assert_eq!(lines(&said, "cannot be removed"), 1, "{said:#?}");
    world.holds(2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_the_state_folder_is_full() {
    if !is_inside() {
        return;
    }
    let world = World::new().await;
    must("mount", &["-t", "tmpfs", "-o", "size=1m", "state", text(&world.state())]);
    crate::program::stopped_cleanly(&world.state());
    let mut daemon = world.daemon();
    let first = world.flagged(1);
    registered(&mut daemon, &first);
    // The daemon writes the row after the log line.
    until("the first session is in the history", || world.history().contains(&first.name()));
    let filler = fill(&world.state());
    let more: Vec<Session> = (2..10).map(|number| world.flagged(number)).collect();
    let mut left: Vec<String> = more.iter().map(Session::name).collect();
    while !left.is_empty() {
        let line = daemon.wait_for("outcome=\"registered\"");
        left.retain(|name| !line.contains(&format!("session=\"{name}\" eid=")));
    }
    assert!(!more.iter().any(Session::is_flagged) && daemon.is_alive());

    // After a restart the disk is full from the start.
    let said = daemon.stop();
    assert_eq!(lines(&said, "the disk is full"), 1, "{said:#?}");
    let mut daemon = world.daemon();
    registered(&mut daemon, &world.flagged(10));
    daemon.stop();

    // With free space the ledger works again.
    fs::remove_file(filler).unwrap();
    let mut daemon = world.daemon();
    let last = world.flagged(11);
    registered(&mut daemon, &last);
    daemon.stop();
    let history = world.history();
    assert!(history.contains(&first.name()) && history.contains(&last.name()), "{history}");
    world.holds(11);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_the_data_disk_is_full() {
    if !is_inside() {
        return;
    }
    let world = World::new().await;
    must("mount", &["-t", "tmpfs", "-o", "size=1m", "data", text(&world.root())]);
    let mut daemon = world.daemon();
    let gate = world.hold("POST", "/sessions");
    let session = world.flagged(1);
    gate.reached().await;
    fill(&world.root());
    gate.open();
    registered(&mut daemon, &session);
    daemon.stop();
    world.holds(1);
}
