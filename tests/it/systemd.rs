//! The built daemon and systemd: its notifications on the socket of sd_notify(3), and its reaction to signals.

use crate::{common, notify_socket, program};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig};
use notify_socket::NotifySocket;
use program::{Configuration, Program, program};

/// An address without a server.
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
fn the_daemon_is_ready_after_the_scan_even_during_an_outage() {
    let mut world = World::new();
    for _ in 0..3 {
        world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    }
    let mut daemon = world.start(NOWHERE, "watch:\n  settle: 1 h\n  empty_grace: 0 s\n");
    let first = world.systemd.next();
    // The number shows that the flags had been found.
    assert_eq!(first, "READY=1\nSTATUS=3 waiting, 0 running, 0 need attention\n");
    assert!(daemon.is_alive());
    daemon.signal("TERM");
    world.systemd.wait_for("STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_missing_root_does_not_delay_the_start() {
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
async fn the_status_counts_waiting_running_and_attention() {
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
fn the_status_shows_an_outage() {
    let mut world = World::new();
    world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let daemon = world.start(NOWHERE, "");
    world.systemd.wait_for("all wait: Alyx has not answered since 20");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_a_refused_login() {
    let (alyx, mut world) = (Alyx::sandbox().await, World::new());
    world.rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let mut command = world.command(&alyx.url, "");
    std::fs::write(world.rig.beside("etc/password"), "wrong").unwrap();
    let daemon = Program::start(&mut command);
    tokio::task::block_in_place(|| world.systemd.wait_for("all wait: login refused since 20"));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_arrive_while_idle_and_while_a_huge_file_is_read() {
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
    // A sparse file of four terabytes: reading it takes more than an hour.
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
fn no_ping_arrives_while_the_run_loop_is_blocked() {
    let mut world = World::new();
    let mut command =
        world.command(NOWHERE, "watch:\n  settle: 1 h\n  empty_grace: 0 s\nlog:\n  level: debug\n");
    // The output is not read, so the loop, which logs every flag, blocks when the pipe is full.
    command.env("WATCHDOG_USEC", "300000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = KillOnDrop(command.spawn().unwrap());
    world.systemd.wait_for("WATCHDOG=1");
    for number in 1..=999 {
        world.rig.session_at(&format!("lab/Subjects/{}/2024-05-01/{number:03}", "a".repeat(100))).flag();
    }
    assert!(world.systemd.becomes_silent(), "{:#?}", world.systemd.messages.last());
    let mut says = daemon.0.stderr.take().unwrap();
    let reads = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut says, &mut said).map(|_| common::secrets::none_in(said, "a daemon"))
    });
    world.systemd.wait_for("WATCHDOG=1");
    drop(daemon);
    reads.join().unwrap().unwrap();
}

/// Kills its process at the end of the test.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_root_missing_in_the_unit_is_reported_with_the_fix() {
    let world = World::new();
    let config = world.configuration(NOWHERE, "");
    let root = world.rig.root();
    // As systemd does for ProtectSystem=strict; needs a system that allows unprivileged namespaces.
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    let Some(mut shell) = in_a_namespace(script, &root) else { return };
    let mut daemon =
        Program::start(shell.arg(program().get_program()).arg("run").arg("--config").arg(config));
    assert!(daemon.wait_for("is read-only here").contains("ReadWritePaths="));
    daemon.wait_for("data root scanned");
    daemon.stop();
}

/// A command that runs a script, which gets a path, in its own mount namespace; `None` if the system does not allow
/// that.
fn in_a_namespace(script: &str, path: &std::path::Path) -> Option<Command> {
    let shell = || {
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(path);
        shell
    };
    if !shell().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no namespaces here");
        return None;
    }
    Some(shell())
}

#[test]
fn under_systemd_the_log_goes_to_the_journal_with_fields() {
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
    let daemon = KillOnDrop(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stream).spawn().unwrap());
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
fn without_systemd_nothing_is_notified_and_everything_works() {
    let world = World::new();
    let mut command = world.command(NOWHERE, "");
    let mut daemon = Program::start(command.env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "600000"));
    daemon.wait_for("data root scanned");
    daemon.stop();
}

#[test]
fn a_stop_right_after_the_start_is_clean() {
    let world = World::new();
    let pipe = world.rig.beside("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = std::fs::read(world.configuration(NOWHERE, "")).unwrap();
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&pipe));
    // Opens as soon as the program reads its configuration, which is its first action.
    let mut writer = std::fs::File::options().write(true).open(&pipe).unwrap();
    daemon.signal("TERM");
    writer.write_all(&text).unwrap();
    drop(writer);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.text());
    assert!(daemon.text().contains("stopped"), "{}", daemon.text());
}

#[test]
fn the_units_allow_twice_what_a_session_of_100_000_files_may_need() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    assert!(
        read("docs/benchmarks.md")
            .contains("100,000 small files, registered and flagged again | at most 100 MB")
    );
    for unit in ["systemd/alyx-registrar.service", "systemd/alyx-registrar@.service"] {
        let text = read(unit);
        let mib = |key: &str| -> u64 {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap().strip_suffix('M').unwrap().parse().unwrap()
        };
        // Above the first limit the kernel slows the daemon down; the rest is for the page cache.
        assert!(mib("MemoryHigh") << 20 >= 2 * 100_000_000, "{unit}");
        assert!(mib("MemoryMax") >= mib("MemoryHigh") * 3 / 2, "{unit}");
        for manual in ["docs/operate.md", "docs/systemd.md"] {
            assert!(read(manual).contains(&format!("{} MiB of memory", mib("MemoryMax"))), "{manual}");
        }
    }
}
