//! Permissions that are lost and regained: the built daemon, run by an unprivileged user, keeps the flag, logs one
//! clear line, stays alive, and continues by itself when the permission is back.

use crate::{common, program};
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Alyx, Rig, Session};
use program::{Configuration, Program, program};

/// `nobody` on most systems.
const NOBODY: &str = "65534";

/// A rig of an unprivileged user, and the program run as that user. `None`: this system does not allow it.
struct World {
    alyx: Alyx,
    rig: Rig,
    is_root: bool,
}

impl World {
    async fn new() -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let tries = Command::new("setpriv").args(as_nobody()).arg("true").status();
        if is_root && !tries.is_ok_and(|status| status.success()) {
            eprintln!("skipped: root may do everything, and setpriv cannot change the user");
            return None;
        }
        Some(Self { alyx: Alyx::sandbox().await, rig: Rig::new(), is_root })
    }

    fn session(&self, date: &str) -> Session {
        let session = self.rig.session_at(&format!("cortexlab/Subjects/KS014/{date}/001"));
        session.file("alf/spikes.times.npy", "abc");
        session
    }

    /// Starts the daemon after giving all existing files to its user.
    fn daemon(&self) -> Program {
        self.start(&["run"])
    }

    fn start(&self, words: &[&str]) -> Program {
        let more = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  rescan_interval: 1 d\n  poll_interval: 200 ms\n\
                    retry:\n  initial: 50 ms\n  max: 200 ms\n  permanent: 300 ms\n";
        let (url, user, password) =
            (self.alyx.url.clone(), self.alyx.user.clone(), self.alyx.password.clone());
        let config = Configuration { roots: vec![self.rig.root()], url, user, password, more: more.into() }
            .write(&self.rig.beside("etc"));
        if !self.is_root {
            return Program::start(program().args(words).arg("--config").arg(config));
        }
        // Other users may not have access to the build folder.
        let binary = self.rig.beside("etc/alyx-registrar");
        crate::common::program::copy_program(&binary);
        let here = self.rig.beside("");
        let chown = Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(here).status();
        assert!(chown.unwrap().success());
        let mut command = Command::new("setpriv");
        for (name, _) in program().get_envs() {
            command.env_remove(name);
        }
        Program::start(command.args(as_nobody()).arg(binary).args(words).arg("--config").arg(config))
    }
}

fn as_nobody() -> [String; 3] {
    [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn registered(daemon: &mut Program, session: &Session) {
    let name = format!("session=\"{}\" eid=", session.name());
    while !daemon.wait_for(&name).contains("outcome=\"registered\"") {}
    assert!(!session.is_flagged());
}

fn lines(said: &[String], text: &str) -> usize {
    said.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_folder_is_reported_once_and_scanned_when_readable() {
    let Some(world) = World::new().await else { return };
    let (closed, open) = (world.session("2024-05-01"), world.session("2024-05-02"));
    closed.flag();
    open.flag();
    let date = closed.folder.parent().unwrap().to_owned();
    allow(&date, 0o000);
    let mut daemon = world.daemon();
    let message = daemon.wait_for("cannot list");
    assert!(message.contains("2024-05-01") && message.contains("let the service user read it"), "{message}");
    registered(&mut daemon, &open);
    // When checked again, it is not reported again.
    daemon.signal("USR1");
    let next = world.session("2024-05-03");
    next.flag();
    allow(&next.folder, 0o777);
    registered(&mut daemon, &next);
    assert!(daemon.is_alive());
    allow(&date, 0o755);
    registered(&mut daemon, &closed);
    let said = daemon.stop();
    assert_eq!(lines(&said, "cannot list"), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_root_is_reported_and_scanned_when_readable() {
    let Some(world) = World::new().await else { return };
    let session = world.session("2024-05-01");
    session.flag();
    allow(&world.rig.root(), 0o000);
    let mut daemon = world.daemon();
    daemon.wait_for("cannot list");
    assert!(daemon.is_alive());
    allow(&world.rig.root(), 0o755);
    registered(&mut daemon, &session);
    // The root of a running daemon is unreadable for a while.
    allow(&world.rig.root(), 0o000);
    daemon.signal("USR1");
    daemon.wait_for("scanning all data roots on SIGUSR1");
    allow(&world.rig.root(), 0o755);
    let next = world.session("2024-05-02");
    next.flag();
    allow(&next.folder, 0o777);
    registered(&mut daemon, &next);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_stays_until_it_may_be_removed() {
    let Some(world) = World::new().await else { return };
    let session = world.session("2024-05-01");
    session.flag();
    allow(&session.folder, 0o555);
    let mut daemon = world.daemon();
    let message = daemon.wait_for("cannot be removed");
    assert!(message.contains("create_me.flag") && message.contains("write in that folder"), "{message}");
    assert!(session.is_flagged() && daemon.is_alive());
    allow(&session.folder, 0o755);
    registered(&mut daemon, &session);
    let said = daemon.stop();
    assert_eq!(lines(&said, "cannot be removed"), 1, "{said:#?}");
    let control = world.alyx.control();
    assert_eq!((control.sessions().len(), control.datasets().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_dataset_keeps_the_flag_until_it_is_readable() {
    let Some(world) = World::new().await else { return };
    let session = world.session("2024-05-01");
    session.file("alf/spikes.clusters.npy", "a").flag();
    let closed = session.folder.join("alf/spikes.clusters.npy");
    allow(&closed, 0o000);
    let mut daemon = world.daemon();
    let message = daemon.wait_for("needs attention");
    assert!(message.contains("spikes.clusters.npy"), "{message}");
    assert!(session.is_flagged() && daemon.is_alive());
    assert_eq!(
        world.alyx.dataset_paths(&session).await,
        ["alf/spikes.times.npy"],
        "the others are registered"
    );
    allow(&closed, 0o644);
    registered(&mut daemon, &session);
    let said = daemon.stop();
    assert_eq!(lines(&said, "needs attention"), 1, "{said:#?}");
    assert_eq!(world.alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy", "alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_scan_reports_unreadable_files_like_a_real_one() {
    let Some(world) = World::new().await else { return };
    let session = world.session("2024-05-01");
    session.file("alf/spikes.clusters.npy", "a").file("alf/probe00/spikes.amps.npy", "b").flag();
    allow(&session.folder.join("alf/spikes.clusters.npy"), 0o000);
    let folder = session.folder.join("alf/probe00");
    let scan = |words: &[&str]| {
        let mut scan = world.start(words);
        let code = scan.wait().code();
        let said = scan.text();
        let line = said.lines().find(|line| line.starts_with("failed ")).unwrap_or_default().to_owned();
        (code, line)
    };
    allow(&folder, 0o000);
    let (planned, done) = (scan(&["scan", "--dry-run"]), scan(&["scan"]));
    allow(&folder, 0o755);
    assert_eq!(planned, done);
    assert!(done.1.contains("spikes.clusters.npy") && done.1.contains("probe00"), "{}", done.1);
    assert_eq!(done.0, Some(1));
}
