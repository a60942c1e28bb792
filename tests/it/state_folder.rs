//! A state folder that is damaged, deleted or crowded, and what `status` says of its daemon.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::common::program::{Configuration, Program, output, program};
use crate::common::verbs::{Said, run};
use crate::common::{Alyx, Rig, namespace, until};

fn configuration(alyx: &Alyx, rig: &Rig, roots: Vec<PathBuf>) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    // An empty root is a problem of its own.
    rig.session("cortexlab", "KS014");
    let more = "datasets: {repository: flatiron_cortexlab, exists: false}\n".to_owned();
    Configuration { roots, url, user, password, more }.write(&rig.beside("etc"))
}

fn with_config(words: &[&str], config: &Path) -> Command {
    let mut command = program();
    command.args(words).arg("--config").arg(config);
    command
}

fn say(words: &[&str], config: &Path) -> Said {
    run(&mut with_config(words, config))
}

fn state(config: &Path) -> PathBuf {
    config.with_file_name("state")
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn daemon(config: &Path) -> Program {
    let mut daemon = Program::start(&mut with_config(&["run"], config));
    daemon.wait_for("started");
    until("the daemon can be asked", || {
        output(&mut with_config(&["status"], config)).status.code() == Some(0)
    });
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_deleted_alone_or_with_its_folder_is_made_again() {
    for with_folder in [false, true] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let config = configuration(&alyx, &rig, vec![rig.root()]);
        let (state, socket) = (state(&config), state(&config).join("daemon.sock"));
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
        let daemon = daemon(&config);
        match with_folder {
            true => std::fs::remove_dir_all(&state).unwrap(),
            false => std::fs::remove_file(&socket).unwrap(),
        }
        let said = say(&["status"], &config);
        assert!(!said.out.contains("not running"), "{said:?}");
        until("there is a new socket", || say(&["status"], &config).code == 0);
        assert_eq!(mode(&socket), 0o660);
        assert!(!with_folder || mode(&state) == 0o750, "{:o}", mode(&state));
        daemon.stop();
    }
}

/// The program where all users can write to `/run/alyx-registrar`, so that it is not used for locks.
fn without_run(words: &[&str], config: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script =
        "mkdir -p /run/alyx-registrar && mount -t tmpfs -o mode=1777 run /run/alyx-registrar && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    let inner = with_config(words, config);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_are_deleted_with_the_state_folder_are_made_again_and_keep_a_second_daemon_away() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can hide the locks of this computer");
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let state = state(&config);
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
    let locks = || {
        let entries = std::fs::read_dir(&state).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "lock")).count()
    };
    let mut daemon = Program::start(&mut without_run(&["run"], &config));
    daemon.wait_for("data root scanned");
    assert_eq!(locks(), 2);
    std::fs::remove_dir_all(&state).unwrap();
    until("the locks of the data root and of the folder are there again", || locks() == 2);
    assert_eq!(mode(&state), 0o750);
    let holder = format!("process {}", daemon.id());
    for words in [["run"], ["scan"]] {
        let said = run(&mut without_run(&words, &config)).ends(74);
        assert!(said.err.contains("is already using") && said.err.contains(&holder), "{said:?}");
    }
    daemon.stop();
    assert_eq!(locks(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_socket_is_not_called_stopped_and_its_ledger_is_left_alone() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let daemon = daemon(&config);
    // Nothing can be made here, so there is no new one.
    let socket = state(&config).join("daemon.sock");
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "").unwrap();
    let holder = format!("process {}", daemon.id());
    let said = say(&["status"], &config).ends(69);
    assert!(said.out.contains(&holder) && !said.out.contains("not running"), "{said:?}");
    let json = say(&["status", "--json"], &config).ends(69).json();
    assert_eq!((&json["outcome"], &json["daemon"]), (&"incomplete".into(), &serde_json::Value::Null));
    assert!(json["errors"][0]["message"].as_str().unwrap().contains(&holder), "{json}");
    for words in [&["retry", "--all"][..], &["forget", "KS014/2024-05-01/001"]] {
        say(words, &config).ends(74).complains(&holder);
    }
    daemon.stop();
    let said = say(&["status"], &config).ends(69);
    assert!(said.out.contains("not running"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_status_from_an_answer() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let daemon = daemon(&config);
    let socket = state(&config).join("daemon.sock");
    let connect = |_| std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let idle: Vec<_> = (0..100).map(connect).collect();
    // It gives up after five seconds.
    say(&["status"], &config).ends(0);
    drop(idle);
    daemon.stop();
}

/// Clients of the control socket that begin with this, and then send a byte now and then. One that is closed comes back.
async fn slow_clients(socket: &Path, n: usize, request: &'static str) -> tokio::task::JoinSet<()> {
    let mut clients = tokio::task::JoinSet::new();
    let begun = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..n {
        let (socket, begun) = (socket.to_owned(), std::sync::Arc::clone(&begun));
        clients.spawn(async move {
            loop {
                if let Ok(mut stream) = tokio::net::UnixStream::connect(&socket).await {
                    let _ = stream.write_all(request.as_bytes()).await;
                    begun.add_permits(1);
                    while stream.write_all(b"x").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    let _ = begun.acquire_many(n as u32).await;
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_end_their_requests_or_read_their_answers_do_not_keep_status_from_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    // An answer that is longer than what the socket holds.
    for number in 1..=500 {
        rig.session_at(&format!("lab/Subjects/{}/2024-05-01/{number:03}", "a".repeat(200))).flag();
    }
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let text = std::fs::read_to_string(&config).unwrap().replace("settle: 50 ms", "settle: 1 h");
    std::fs::write(&config, text).unwrap();
    let daemon = daemon(&config);
    until("all flags are known", || say(&["status"], &config).out.contains("500"));
    let socket = state(&config).join("daemon.sock");
    for (n, request) in [(100, "\""), (12, "\"status\"\n")] {
        let mut clients = slow_clients(&socket, n, request).await;
        // It gives up after five seconds.
        for _ in 0..3 {
            let said = say(&["status"], &config);
            assert!(said.code == 0, "{request:?}: {}", said.err);
        }
        clients.shutdown().await;
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_the_ledgers_place_the_flags_on_disk_are_shown() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "1").flag();
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let at = |end: &str| state(&config).join(format!("ledger.sqlite{end}"));
    let pipe = |path: &Path| namespace::must("mkfifo", &[path.to_str().unwrap()]);
    let ways: [(&str, &dyn Fn()); 4] = [
        ("is damaged", &|| std::fs::write(at(""), "nonsense").unwrap()),
        ("ledger.sqlite is not a file", &|| pipe(&at(""))),
        ("ledger.sqlite is not a file", &|| std::fs::create_dir(at("")).unwrap()),
        ("ledger.sqlite-journal is not a file", &|| {
            std::fs::write(at(""), "nonsense").unwrap();
            pipe(&at("-journal"));
        }),
    ];
    for (problem, make) in ways {
        make();
        let said = say(&["status"], &config).ends(69);
        assert!(said.out.contains(problem) && said.out.contains(&session.name()), "{said:?}");
        let json = say(&["status", "--json"], &config).ends(69).json();
        assert!(json["errors"][0]["message"].as_str().unwrap().contains(problem), "{json}");
        say(&["history"], &config).ends(74).complains(problem);
        let _ = std::fs::remove_dir(at(""));
        for end in ["", "-journal"] {
            let _ = std::fs::remove_file(at(end));
        }
    }
    // The daemon does not wait for it either.
    pipe(&at(""));
    let mut daemon = Program::start(&mut with_config(&["run"], &config));
    daemon.wait_for("is not a file");
    daemon.wait_for("registered session");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_does_not_exist_is_an_error_and_an_empty_one_has_no_history_yet() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let nowhere = rig.beside("nowhere");
    for words in [&["history"][..], &["status"], &["retry", "--all"], &["acknowledge", "--list"]] {
        run(program().args(words).arg("--state-dir").arg(&nowhere)).ends(74).complains("no state folder");
    }
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    std::fs::remove_dir_all(state(&config)).unwrap();
    let said = say(&["history"], &config).ends(0);
    assert!(said.out.contains("Nothing is recorded yet"), "{said:?}");
    assert_eq!(say(&["history", "--json"], &config).ends(0).out, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_matches_all_or_nothing_is_pointed_out() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("recording.nwb", "2").flag();
    let config = configuration(&alyx, &rig, vec![rig.root()]);
    let mut daemon = Program::start(&mut with_config(&["run"], &config));
    daemon.wait_for("registered with gaps");
    for empty in ["", " "] {
        let said = say(&["acknowledge", "--pattern", empty], &config).ends(2);
        assert!(said.err.contains("empty pattern"), "{said:?}");
    }
    let said = say(&["acknowledge", "--pattern", "record*.dat"], &config).ends(0);
    assert!(said.err.contains("'**/record*.dat'"), "{said:?}");
    let said = say(&["acknowledge", "--pattern", "*"], &config).ends(0);
    assert!(said.err.contains("every file") && said.out.contains("1 session acknowledged"), "{said:?}");
    daemon.stop();
}

#[test]
fn two_roots_that_are_one_folder_through_a_bind_mount_register_each_session_once() {
    namespace::run_inside(
        &namespace::MOUNTS,
        "mount -t tmpfs none /mnt",
        "state_folder::in_a_namespace_with_a_bind_mount",
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a namespace of its own"]
async fn in_a_namespace_with_a_bind_mount() {
    if !namespace::is_inside() {
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "1").flag();
    let other = rig.beside("other");
    std::fs::create_dir(&other).unwrap();
    namespace::must("mount", &["--bind", rig.root().to_str().unwrap(), other.to_str().unwrap()]);
    let config = configuration(&alyx, &rig, vec![rig.root(), other.clone()]);
    let mut daemon = Program::start(&mut with_config(&["run"], &config));
    daemon.wait_for("registered session");
    until("the flag is gone", || !session.is_flagged());
    until("no session waits", || {
        say(&["status", "--json"], &config).json()["sessions"] == serde_json::json!([])
    });
    let said = daemon.stop();
    assert!(
        !said.iter().any(|line| line.contains("ERROR") || line.contains("another alyx-registrar")),
        "{said:#?}"
    );
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    namespace::must("umount", &[other.to_str().unwrap()]);
}
