//! Disks that go, come back, fill up, or cannot be written to, as real file systems in a mount namespace: the built
//! daemon keeps every flag, says one clear line, stays alive, and goes on by itself when the disk is well again.

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
    run_inside(&MOUNTS, PROBE, "disks::inside_a_disk_comes_and_goes");
}

#[test]
fn a_data_disk_that_becomes_read_only_keeps_the_flag_until_it_is_writable() {
    run_inside(&MOUNTS, PROBE, "disks::inside_a_disk_is_read_only");
}

#[test]
fn a_full_disk_in_the_state_folder_costs_the_memory_and_no_session() {
    run_inside(&MOUNTS, PROBE, "disks::inside_the_state_folder_is_full");
}

#[test]
fn a_full_data_disk_lets_the_flags_go() {
    run_inside(&MOUNTS, PROBE, "disks::inside_the_data_disk_is_full");
}

struct Place {
    alyx: Alyx,
    rig: Rig,
}

impl Place {
    async fn new() -> Self {
        let place = Self { alyx: Alyx::sandbox().await, rig: Rig::new() };
        fs::create_dir_all(place.root()).unwrap();
        fs::create_dir_all(place.state()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.rig.root()
    }

    fn state(&self) -> PathBuf {
        self.rig.beside("etc/state")
    }

    fn config(&self) -> PathBuf {
        let more = "watch:\n  settle: 50 ms\n  rescan_interval: 1 d\n  poll_interval: 200 ms\n\
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

    /// The next request of this kind waits before the gate.
    fn hold(&self, method: &str, path: &str) -> Gate {
        let gate = Gate::default();
        let fault = Fault::Hold(gate.clone());
        let (method, path_prefix) = (Some(method.to_owned()), path.to_owned());
        self.alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault });
        gate
    }

    /// Whether Alyx holds so many sessions, each once and with its file.
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

/// Writes until there is no room.
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
async fn inside_a_disk_comes_and_goes() {
    if !is_inside() {
        return;
    }
    let place = Place::new().await;
    let (root, disk) = (place.root(), place.rig.beside("disk"));
    fs::create_dir(&disk).unwrap();
    let mount = || must("mount", &["--bind", text(&disk), text(&root)]);
    mount();
    let first = place.flagged(1);
    let mut daemon = place.daemon();
    registered(&mut daemon, &first);

    // Unmounted in the middle of a session; lazily, as somebody does who pulls out the disk.
    let gate = place.hold("POST", "/register-file");
    let second = place.flagged(2);
    gate.reached().await;
    must("umount", &["--lazy", text(&root)]);
    daemon.wait_for("is another folder than before");
    gate.open();
    // What happens to the disk elsewhere is found when it is back.
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
    // And from then on by events.
    registered(&mut daemon, &place.flagged(4));
    daemon.stop();
    place.holds(4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_disk_is_read_only() {
    if !is_inside() {
        return;
    }
    let place = Place::new().await;
    let root = place.root();
    must("mount", &["-t", "tmpfs", "data", text(&root)]);
    let mut daemon = place.daemon();
    let gate = place.hold("GET", "/datasets");
    let session = place.flagged(1);
    gate.reached().await;
    must("mount", &["-o", "remount,ro", text(&root)]);
    gate.open();
    let told = daemon.wait_for("cannot be removed");
    assert!(told.contains("create_me.flag") && told.contains("Read-only file system"), "{told}");
    assert!(session.is_flagged() && daemon.is_alive());
    // It is tried again and again, and not told again.
    place.alyx.control().clear_requests();
    let looks = |seen: &alyx_sandbox::RequestSeen| seen.path == "/sessions";
    place.alyx.control().wait_for(looks).await;
    place.alyx.control().clear_requests();
    place.alyx.control().wait_for(looks).await;
    must("mount", &["-o", "remount,rw", text(&root)]);
    registered(&mut daemon, &session);
    registered(&mut daemon, &place.flagged(2));
    let said = daemon.stop();
    assert_eq!(lines(&said, "cannot be removed"), 1, "{said:#?}");
    place.holds(2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_the_state_folder_is_full() {
    if !is_inside() {
        return;
    }
    let place = Place::new().await;
    must("mount", &["-t", "tmpfs", "-o", "size=1m", "state", text(&place.state())]);
    let mut daemon = place.daemon();
    let first = place.flagged(1);
    registered(&mut daemon, &first);
    // The daemon writes it down after it has said so.
    until("the first session is in the history", || place.history().contains(&first.name()));
    let filler = fill(&place.state());
    let more: Vec<Session> = (2..10).map(|number| place.flagged(number)).collect();
    let mut left: Vec<String> = more.iter().map(Session::name).collect();
    while !left.is_empty() {
        let line = daemon.wait_for("outcome=\"registered\"");
        left.retain(|name| !line.contains(&format!("session=\"{name}\" eid=")));
    }
    assert!(!more.iter().any(Session::is_flagged) && daemon.is_alive());

    // A restart finds the disk full from the start.
    let said = daemon.stop();
    assert_eq!(lines(&said, "the disk is full"), 1, "{said:#?}");
    let mut daemon = place.daemon();
    registered(&mut daemon, &place.flagged(10));
    daemon.stop();

    // With room again it remembers again.
    fs::remove_file(filler).unwrap();
    let mut daemon = place.daemon();
    let last = place.flagged(11);
    registered(&mut daemon, &last);
    daemon.stop();
    let history = place.history();
    assert!(history.contains(&first.name()) && history.contains(&last.name()), "{history}");
    place.holds(11);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_the_data_disk_is_full() {
    if !is_inside() {
        return;
    }
    let place = Place::new().await;
    must("mount", &["-t", "tmpfs", "-o", "size=1m", "data", text(&place.root())]);
    let mut daemon = place.daemon();
    let gate = place.hold("POST", "/sessions");
    let session = place.flagged(1);
    gate.reached().await;
    fill(&place.root());
    gate.open();
    registered(&mut daemon, &session);
    daemon.stop();
    place.holds(1);
}
