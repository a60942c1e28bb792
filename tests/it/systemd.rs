//! The built daemon and systemd: what it tells on the socket of sd_notify(3), and how it hears signals.

use crate::{common, notify_socket, program};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig};
use notify_socket::NotifySocket;
use program::{Configuration, Program, program};

/// A server that is not there.
const NOWHERE: &str = "http://127.0.0.1:9";

struct World {
    rig: Rig,
    systemd: NotifySocket,
}

impl World {
    fn new() -> Self {
        Self { rig: Rig::new(), systemd: NotifySocket::new() }
    }

    fn configuration(&self, url: &str, more: &str) -> PathBuf {
        let (user, password) = ("test_user".to_owned(), common::secrets::PASSWORD.to_owned());
        Configuration { roots: vec![self.rig.root()], url: url.into(), user, password, more: more.into() }
            .write(&self.rig.beside("etc"))
    }

    fn command(&self, url: &str, more: &str) -> Command {
        let mut command = program();
        command.arg("run").arg("--config").arg(self.configuration(url, more));
        command.env("NOTIFY_SOCKET", &self.systemd.path);
        command
    }

    fn start(&self, url: &str, more: &str) -> Program {
        Program::start(&mut self.command(url, more))
    }
}

#[test]
fn it_is_ready_after_the_scan_even_when_alyx_is_away() {
    let mut world = World::new();
    for _ in 0..3 {
        world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    }
    let mut daemon = world.start(NOWHERE, "watch:\n  settle: 1 h\n");
    let first = world.systemd.next();
    // The number says that the flags had been found.
    assert_eq!(first, "READY=1\nSTATUS=3 waiting, 0 running, 0 need attention\n");
    assert!(daemon.is_alive());
    daemon.signal("TERM");
    world.systemd.wait_for("STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_root_that_is_missing_does_not_hold_up_the_start() {
    let mut world = World::new();
    let mut daemon = {
        let config = Configuration {
            roots: vec![world.rig.beside("unmounted"), world.rig.root()],
            url: NOWHERE.into(),
            user: "me".into(),
            password: "p".into(),
            more: String::new(),
        };
        let path = config.write(&world.rig.beside("etc"));
        let mut command = program();
        command.arg("run").arg("--config").arg(path).env("NOTIFY_SOCKET", &world.systemd.path);
        Program::start(&mut command)
    };
    assert!(world.systemd.next().starts_with("READY=1\n"));
    daemon.wait_for("is missing");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_waits_what_runs_and_what_needs_a_person() {
    let (alyx, mut world) = (Alyx::sandbox().await, World::new());
    let gate = Gate::default();
    alyx.control().add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/sessions".into(),
        times: 1,
        fault: Fault::Hold(gate.clone()),
    });
    world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    world.rig.session("cortexlab", "nobody").file("alf/spikes.times.npy", "abc").flag();
    let daemon = world.start(&alyx.url, "");
    tokio::task::block_in_place(|| {
        world.systemd.wait_for("READY=1");
        world.systemd.wait_for("STATUS=0 waiting, 1 running, 1 needs attention");
    });
    gate.open();
    tokio::task::block_in_place(|| {
        world.systemd.wait_for("STATUS=0 waiting, 0 running, 1 needs attention");
    });
    daemon.stop();
}

#[test]
fn the_status_says_that_alyx_is_away() {
    let mut world = World::new();
    world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let daemon = world.start(NOWHERE, "");
    world.systemd.wait_for("all wait: Alyx is away since 20");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_that_the_login_is_refused() {
    let (alyx, mut world) = (Alyx::sandbox().await, World::new());
    world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let mut command = world.command(&alyx.url, "");
    std::fs::write(world.rig.beside("etc/password"), "wrong").unwrap();
    let daemon = Program::start(&mut command);
    tokio::task::block_in_place(|| world.systemd.wait_for("all wait: login refused since 20"));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_come_while_there_is_nothing_to_do_and_while_a_huge_file_is_read() {
    let (alyx, mut world) = (Alyx::sandbox().await, World::new());
    let mut command = world.command(&alyx.url, "");
    let daemon = Program::start(command.env("WATCHDOG_USEC", "600000"));
    tokio::task::block_in_place(|| {
        world.systemd.wait_for("READY=1");
        for _ in 0..3 {
            world.systemd.wait_for("WATCHDOG=1");
        }
    });
    let session = world.rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "");
    // Four terabytes of nothing: reading them takes more than an hour.
    let file =
        std::fs::File::options().write(true).open(session.folder.join("alf/spikes.times.npy")).unwrap();
    file.set_len(4 << 40).unwrap();
    session.flag();
    tokio::task::block_in_place(|| {
        world.systemd.wait_for("1 running");
        for _ in 0..3 {
            world.systemd.wait_for("WATCHDOG=1");
        }
    });
    daemon.stop();
}

#[test]
fn no_sign_of_life_comes_while_the_loop_that_owns_the_queue_is_blocked() {
    let mut world = World::new();
    let mut command = world.command(NOWHERE, "watch:\n  settle: 1 h\nlog:\n  level: debug\n");
    // Nobody reads what it says, so that the loop, which says every flag, comes to a stop when the pipe is full.
    command.env("WATCHDOG_USEC", "300000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = Leash(command.spawn().unwrap());
    world.systemd.wait_for("WATCHDOG=1");
    for number in 1..=999 {
        world.rig.session_at(&format!("lab/Subjects/{}/2024-05-01/{number:03}", "a".repeat(100))).flag();
    }
    assert!(world.systemd.falls_silent(), "{:#?}", world.systemd.heard.last());
    let mut says = daemon.0.stderr.take().unwrap();
    let reads = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut says, &mut said).map(|_| common::secrets::none_in(said, "a daemon"))
    });
    world.systemd.wait_for("WATCHDOG=1");
    drop(daemon);
    reads.join().unwrap().unwrap();
}

/// Kills what is on it when the test is over.
struct Leash(Child);

impl Drop for Leash {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_root_that_the_unit_does_not_name_is_told_with_what_to_do() {
    let world = World::new();
    let config = world.configuration(NOWHERE, "");
    let root = world.rig.root();
    // As systemd does it for ProtectSystem=strict; takes a system on which everybody may have namespaces.
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    let Some(mut shell) = in_a_namespace(script, &root) else { return };
    let mut daemon =
        Program::start(shell.arg(program().get_program()).arg("run").arg("--config").arg(config));
    assert!(daemon.wait_for("is read-only here").contains("ReadWritePaths="));
    daemon.wait_for("data root scanned");
    daemon.stop();
}

/// A command that begins with a script in mounts of its own, which gets a path; `None` where the system allows none.
fn in_a_namespace(script: &str, path: &std::path::Path) -> Option<Command> {
    let shell = || {
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(path);
        shell
    };
    if !shell().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("left out: no namespaces here");
        return None;
    }
    Some(shell())
}

#[test]
fn its_log_goes_into_the_journal_with_fields_if_systemd_has_started_it() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let config = world.configuration(NOWHERE, "");
    let (journal, errors) = (world.rig.beside("journal"), world.rig.beside("errors"));
    std::fs::create_dir(&journal).unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(journal.join("socket")).unwrap();
    socket.set_read_timeout(Some(common::AT_MOST)).unwrap();
    let script = r#"mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
        mount --bind "$1" /run/systemd/journal && shift && exec "$@""#;
    let Some(mut shell) = in_a_namespace(script, &journal) else { return };
    let stream = std::fs::File::create(&errors).unwrap();
    let about = stream.metadata().unwrap();
    shell.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()));
    shell.arg(program().get_program()).arg("run").arg("--config").arg(config);
    let daemon = Leash(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stream).spawn().unwrap());
    let mut bytes = vec![0; 1 << 16];
    let scanned = loop {
        let length = socket.recv(&mut bytes).unwrap();
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if message.contains("data root scanned") {
            break message;
        }
    };
    for part in ["MESSAGE\n", "ALYX_FLAGS\n", "PRIORITY\n", "SYSLOG_IDENTIFIER\n"] {
        assert!(scanned.contains(part), "{part:?}: {scanned:?}");
    }
    drop(daemon);
    assert_eq!(std::fs::read_to_string(&errors).unwrap(), "");
}

#[test]
fn without_systemd_nothing_is_told_and_all_goes_on() {
    let world = World::new();
    let mut command = world.command(NOWHERE, "");
    let mut daemon = Program::start(command.env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "600000"));
    daemon.wait_for("data root scanned");
    daemon.stop();
}

#[test]
fn a_stop_in_the_first_moments_is_a_stop_like_any_other() {
    let world = World::new();
    let pipe = world.rig.beside("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = std::fs::read(world.configuration(NOWHERE, "")).unwrap();
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&pipe));
    // Opens as soon as the program reads its configuration, which is the first thing that it does.
    let mut writer = std::fs::File::options().write(true).open(&pipe).unwrap();
    daemon.signal("TERM");
    writer.write_all(&text).unwrap();
    drop(writer);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.text());
    assert!(daemon.text().contains("stopped"), "{}", daemon.text());
}
