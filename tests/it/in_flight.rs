//! A creation that is on its way when its program ends: the next program waits for it, and creates no second record.

use crate::common;
use std::path::{Path, PathBuf};
use std::process::Command;

use alyx_registration::flag::{FlagError, FlagFile};
use alyx_sandbox::{Fault, FaultRule};
use common::program::{Configuration, Program, program, stopped_cleanly};
use common::verbs::{at_home, logged_in, run, verb, word};
use common::{Alyx, Rig, hold};

/// How long a request may take, in seconds.
const AT_MOST: &str = "3 s";

fn configuration(alyx: &Alyx, rig: &Rig, folder: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let folder = rig.beside(folder);
    let path =
        Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }.write(&folder);
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("alyx:\n", &format!("alyx:\n  timeouts: {{request: {AT_MOST}}}\n"));
    std::fs::write(&path, text).unwrap();
    path
}

fn with_config(words: &[&str], config: &Path) -> Command {
    let mut command = program();
    command.args(words).arg("--config").arg(config);
    command
}

/// The ways in which a person, a script or a timer creates the session of a folder.
fn ways<'a>(session: &'a str, root: &'a str) -> [Vec<&'a str>; 4] {
    [
        vec!["create-session", session],
        vec!["register-session", session],
        vec!["create-sessions", root],
        vec!["scan"],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_while_it_creates_a_session_and_repeated_at_once_makes_one_record() {
    for n in 0..4 {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag();
        let root = rig.root();
        let words = &ways(word(&session.folder), word(&root))[n];
        let config = configuration(&alyx, &rig, "etc");
        let gate = hold(&alyx, "POST", "/sessions");
        let killed = Program::start(&mut with_config(words, &config));
        gate.reached().await;
        drop(killed);
        // The mark of a clean stop belongs to a state folder. Here it is not what keeps the next program waiting.
        stopped_cleanly(&rig.beside("etc/state"));
        let mut again = Program::start(&mut with_config(words, &config));
        again.wait_for("an earlier request may still create this session");
        gate.open();
        assert!(again.wait().success(), "{words:?}: {}", again.text());
        assert_eq!(alyx.sessions(&session).await.len(), 1, "{words:?}: {}", again.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_with_its_own_state_folder_waits_for_the_creation_of_a_daemon_that_was_killed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let (config, other) = (configuration(&alyx, &rig, "etc"), configuration(&alyx, &rig, "other"));
    let gate = hold(&alyx, "POST", "/sessions");
    let killed = Program::start(program().args(["run", "--config"]).arg(&config));
    gate.reached().await;
    drop(killed);
    let mut scan = Program::start(&mut with_config(&["scan"], &other));
    scan.wait_for("an earlier request may still create this session");
    gate.open();
    assert!(scan.wait().success(), "{}", scan.text());
    assert_eq!(alyx.sessions(&session).await.len(), 1);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_never_arrives_is_repeated_when_it_no_longer_can() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let config = configuration(&alyx, &rig, "etc");
    let gate = hold(&alyx, "POST", "/sessions");
    let create = || with_config(&["create-session", word(&session.folder)], &config);
    let killed = Program::start(&mut create());
    gate.reached().await;
    drop(killed);
    run(&mut create()).ends(0);
    assert_eq!(alyx.sessions(&session).await.len(), 1);
    // It exists now, so nothing waits any more.
    let said = run(&mut create()).ends(0);
    assert!(!said.err.contains("an earlier request may still"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_stopped_while_it_creates_a_session_says_that_it_may_still_appear() {
    for (words, flag) in [(["create-session", "--json"], false), (["scan", "--json"], true)] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        let mut words = words.to_vec();
        if flag {
            session.file("alf/spikes.times.npy", "abc").flag();
        } else {
            words.push(word(&session.folder));
        }
        let config = configuration(&alyx, &rig, "etc");
        // Longer than a stopped command waits.
        let text = std::fs::read_to_string(&config).unwrap().replace("request: 3 s", "request: 15 s");
        std::fs::write(&config, text).unwrap();
        let gate = hold(&alyx, "POST", "/sessions");
        let mut stopped = Program::start(&mut with_config(&words, &config));
        gate.reached().await;
        stopped.signal("TERM");
        assert_eq!(stopped.wait().code(), Some(130), "{}", stopped.text());
        assert!(stopped.text().contains("may still appear"), "{}", stopped.text());
        assert!(stopped.text().contains("\"kind\":\"Unanswered\""), "{}", stopped.text());
        let mut again = Program::start(&mut with_config(&words, &config));
        again.wait_for("an earlier request may still create this session");
        gate.open();
        assert!(again.wait().success(), "{}", again.text());
        assert_eq!(alyx.sessions(&session).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_stopped_waits_for_the_answer_of_its_creation() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let gate = hold(&alyx, "POST", "/sessions");
    let create = || logged_in(&alyx, &rig, &["create-session", word(&session.folder)]);
    let mut stopped = Program::start(&mut create());
    gate.reached().await;
    stopped.signal("TERM");
    stopped.wait_for("stopping");
    gate.open();
    assert_eq!(stopped.wait().code(), Some(130));
    assert!(stopped.text().contains("stopped before it was done"), "{}", stopped.text());
    let said = run(&mut create()).ends(0);
    assert!(!said.err.contains("an earlier request may still"), "{said:?}");
    assert_eq!(alyx.sessions(&session).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_that_create_one_session_in_the_same_instant_make_one_record() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let gate = hold(&alyx, "POST", "/sessions");
    let create = || Program::start(&mut logged_in(&alyx, &rig, &["create-session", word(&session.folder)]));
    let mut first = create();
    gate.reached().await;
    alyx.control().clear_requests();
    let mut second = create();
    let looks = || alyx.control().requests().iter().filter(|r| r.path == "/sessions").count();
    common::until("the second command looks for the session", || looks() > 0);
    gate.open();
    for command in [&mut first, &mut second] {
        assert!(command.wait().success(), "{}", command.text());
    }
    assert_eq!(alyx.sessions(&session).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_leaves_a_session_alone_whose_flag_another_program_holds() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let flag = || FlagFile::load(session.folder.join("create_me.flag")).unwrap().unwrap();
    let held = flag().hold().unwrap();
    for word_ in ["register-session", "create-session"] {
        let said = verb(&alyx, &rig, &[word_, word(&session.folder)]).ends(1);
        let holder = format!("process {}", std::process::id());
        said.complains(&holder);
    }
    assert!(alyx.sessions(&session).await.is_empty());
    drop(held);
    verb(&alyx, &rig, &["register-session", word(&session.folder)]).ends(0);
    assert!(session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_holds_the_flag_of_the_session_that_it_registers() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("done.flag", "");
    let config = configuration(&alyx, &rig, "etc");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "flags: [create_me.flag, done.flag]\n").unwrap();
    let gate = hold(&alyx, "POST", "/sessions");
    let mut command = Program::start(&mut with_config(&["register-session", word(&session.folder)], &config));
    gate.reached().await;
    let flag = || FlagFile::load(session.folder.join("done.flag")).unwrap().unwrap();
    let Err(FlagError::Elsewhere { holder, .. }) = flag().hold() else { panic!("it is free") };
    assert_eq!(holder, Some(command.id()));
    gate.open();
    assert!(command.wait().success(), "{}", command.text());
    assert!(flag().hold().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_is_waited_for_however_the_address_of_its_server_is_written() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let port = alyx.url.rsplit(':').next().unwrap().to_owned();
    for address in [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}/"),
        format!("HTTP://LocalHost:{port}//"),
    ] {
        let session = rig.session("cortexlab", "KS014");
        let gate = hold(&alyx, "POST", "/sessions");
        let killed = Program::start(&mut logged_in(&alyx, &rig, &["create-session", word(&session.folder)]));
        gate.reached().await;
        drop(killed);
        let mut again = at_home(&rig, &["create-session", word(&session.folder), "--url", &address]);
        let mut again =
            Program::start(again.env("ALYX_PASSWORD", &alyx.password).args(["--user", &alyx.user]));
        again.wait_for("an earlier request may still create this session");
        gate.open();
        assert!(again.wait().success(), "{address}: {}", again.text());
        assert_eq!(alyx.sessions(&session).await.len(), 1, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_that_a_session_waits_for_an_earlier_creation_and_until_when() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "etc");
    let text = std::fs::read_to_string(&config).unwrap().replace("request: 3 s", "request: 1 h");
    std::fs::write(&config, text).unwrap();
    std::fs::remove_dir_all(rig.beside("etc/state")).unwrap();
    let mut daemon = Program::start(&mut with_config(&["run"], &config));
    daemon.wait_for("an earlier request may still create this session");
    let said = run(&mut with_config(&["status"], &config));
    assert!(said.out.contains("creates the session in 59 min") && !said.out.contains("listing"), "{said:?}");
    let json = run(&mut with_config(&["status", "--json"], &config)).json();
    assert!(json["sessions"][0]["progress"]["creation_waits_until"].is_string(), "{json}");
    daemon.stop();
}

/// The same command, run by another user. `None`: only root can.
fn as_another_user(alyx: &Alyx, rig: &Rig, words: &[&str]) -> Option<Command> {
    use std::os::unix::fs::PermissionsExt;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let can = Command::new("setpriv").args(nobody).arg("true").status().is_ok_and(|status| status.success());
    if !rustix::process::geteuid().is_root() || !can {
        eprintln!("skipped: only root can run a command as another user");
        return None;
    }
    let (home, copy) = (rig.beside("home of nobody"), rig.beside("alyx-registrar"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::set_permissions(rig.beside(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    if !copy.exists() {
        common::program::copy_program(&copy);
    }
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(copy).args(words).args(["--url", &alyx.url, "--user", &alyx.user]);
    for (name, _) in program().get_envs() {
        command.env_remove(name);
    }
    command.env("HOME", home).env("ALYX_PASSWORD", &alyx.password);
    Some(command)
}

/// A folder for the marks of all users.
fn for_all_users(rig: &Rig) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let marks = rig.beside("marks");
    std::fs::create_dir_all(&marks).unwrap();
    std::fs::set_permissions(&marks, std::fs::Permissions::from_mode(0o1777)).unwrap();
    marks
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_who_make_one_record_in_the_same_instant_make_it_once() {
    for verb in ["create-session", "water", "weight"] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let (session, marks) = (rig.session("cortexlab", "KS014"), for_all_users(&rig));
        let (words, path): (&[&str], _) = match verb {
            "water" => (&[verb, "KS014", "0.5"], "/water-administrations"),
            "weight" => (&[verb, "KS014", "25"], "/weighings"),
            _ => (&[verb, word(&session.folder)], "/sessions"),
        };
        let Some(mut theirs) = as_another_user(&alyx, &rig, words) else { return };
        let gate = hold(&alyx, "POST", path);
        let mut ours = Program::start(logged_in(&alyx, &rig, words).env("ALYX_REGISTRAR_MARKS", &marks));
        gate.reached().await;
        alyx.control().clear_requests();
        let mut theirs = Program::start(theirs.env("ALYX_REGISTRAR_MARKS", &marks));
        let n = if verb == "create-session" { 1 } else { 2 };
        let looks = || {
            let requests = alyx.control().requests();
            requests.iter().filter(|r| r.method == "GET" && r.path == path).count()
        };
        common::until("the second command looks for the record", || looks() >= n);
        gate.open();
        for command in [&mut ours, &mut theirs] {
            assert!(command.wait().success(), "{verb}: {}", command.text());
            assert!(!command.text().contains("equal records"), "{verb}: {}", command.text());
        }
        let n = match verb {
            "water" => drinks(&alyx).await,
            "weight" => alyx.alyx().weighings_of("KS014").await.unwrap().len(),
            _ => alyx.sessions(&session).await.len(),
        };
        assert_eq!(n, 1, "{verb}");
        assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_the_creation_of_another_users_command_that_was_killed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, marks) = (rig.session("cortexlab", "KS014"), for_all_users(&rig));
    let words = ["create-session", word(&session.folder)];
    let Some(mut theirs) = as_another_user(&alyx, &rig, &words) else { return };
    let gate = hold(&alyx, "POST", "/sessions");
    let killed = Program::start(theirs.env("ALYX_REGISTRAR_MARKS", &marks));
    gate.reached().await;
    drop(killed);
    let mut ours = Program::start(logged_in(&alyx, &rig, &words).env("ALYX_REGISTRAR_MARKS", &marks));
    ours.wait_for("an earlier request may still create this session");
    gate.open();
    assert!(ours.wait().success(), "{}", ours.text());
    assert_eq!(alyx.sessions(&session).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_another_user_keeps_locked_delays_a_creation_and_does_not_prevent_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, marks) = (rig.session("cortexlab", "KS014"), for_all_users(&rig));
    let config = configuration(&alyx, &rig, "etc");
    let create = || {
        let mut command = with_config(&["create-session", word(&session.folder)], &config);
        command.env("ALYX_REGISTRAR_MARKS", &marks);
        command
    };
    let gate = hold(&alyx, "POST", "/sessions");
    let killed = Program::start(&mut create());
    gate.reached().await;
    let mark = std::fs::read_dir(&marks).unwrap().next().unwrap().unwrap().path();
    drop(killed);
    // Whoever can read it can lock it.
    let file = std::fs::File::open(&mark).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // Sent in the future. A time limit of up to an hour would be waited for.
    std::fs::write(&mark, "x 99999999999999 1\n").unwrap();
    run(&mut create()).ends(0);
    assert_eq!(alyx.sessions(&session).await.len(), 1);
}

/// Marks of these sessions that another user keeps locked, and that claim to count for an hour.
async fn kept_locked(alyx: &Alyx, config: &Path, marks: &Path, n: usize) -> Vec<(PathBuf, std::fs::File)> {
    let (gate, path_prefix) = (alyx_sandbox::Gate::default(), "/sessions".to_owned());
    let fault = Fault::Hold(gate.clone());
    alyx.control().add_fault(FaultRule { method: Some("GET".to_owned()), path_prefix, times: n, fault });
    let mut killed = with_config(&["run"], config);
    let killed = Program::start(killed.env("ALYX_REGISTRAR_MARKS", marks));
    let made = || {
        let names = std::fs::read_dir(marks).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.to_string_lossy().contains("alyx-registrar-sending-")).collect::<Vec<_>>()
    };
    common::until("every session has marked its request", || made().len() == n);
    drop(killed);
    alyx.control().clear_faults();
    let locked = made().into_iter().map(|path| {
        let file = std::fs::File::open(&path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        std::fs::write(&path, "x 0 3600000\n").unwrap();
        (path, file)
    });
    locked.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_marks_another_user_keeps_locked_leave_their_places_to_the_others() {
    // A data root has this many places with one worker.
    const PLACES: usize = 17;
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let marks = for_all_users(&rig);
    let waiting: Vec<_> = (1..=PLACES)
        .map(|n| rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{n:03}")))
        .collect();
    for session in &waiting {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let config = configuration(&alyx, &rig, "etc");
    // Tried again so often, they would use up the requests of a minute.
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("alyx:\n", "alyx:\n  max_requests_per_minute: 100000\n");
    std::fs::write(&config, format!("{text}workers: {PLACES}\n")).unwrap();
    let locked = kept_locked(&alyx, &config, &marks, PLACES).await;
    std::fs::write(&config, format!("{text}workers: 1\n")).unwrap();
    stopped_cleanly(&rig.beside("etc/state"));
    let mut daemon = with_config(&["run"], &config);
    let mut daemon = Program::start(daemon.env("ALYX_REGISTRAR_MARKS", &marks));
    for _ in &waiting {
        daemon.wait_for("an earlier request may still create this session");
    }
    let free = rig.session_at("cortexlab/Subjects/KS014/2024-05-02/001");
    free.file("alf/spikes.times.npy", "abc").flag();
    let line = daemon.wait_for("outcome=\"registered\"");
    assert!(line.contains(&free.name()), "{line}");
    assert!(daemon.text().contains("waiting: another program on this computer is creating session"));
    for session in &waiting {
        assert!(session.is_flagged() && alyx.sessions(session).await.is_empty(), "{}", session.name());
    }
    // He ends, and they are tried again.
    locked.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    drop(locked);
    for _ in &waiting {
        daemon.wait_for("outcome=\"registered\"");
    }
    daemon.stop();
    for session in &waiting {
        assert_eq!(alyx.sessions(session).await.len(), 1, "{}", session.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_registers_the_other_sessions_while_marks_are_kept_locked() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let marks = for_all_users(&rig);
    let session = |n: usize| rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{n:03}"));
    let sessions: Vec<_> = (1..=3).map(session).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc");
    }
    let waiting = &sessions[..2];
    waiting.iter().for_each(|session| drop(session.flag()));
    let config = configuration(&alyx, &rig, "etc");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "workers: 2\n").unwrap();
    let locked = kept_locked(&alyx, &config, &marks, waiting.len()).await;
    sessions[2].flag();
    stopped_cleanly(&rig.beside("etc/state"));
    let mut scan = with_config(&["scan"], &config);
    let mut scan = Program::start(scan.env("ALYX_REGISTRAR_MARKS", &marks));
    let line = scan.wait_for("ok      ");
    assert!(line.contains(&sessions[2].name()), "{line}");
    assert!(waiting.iter().all(|session| session.is_flagged()));
    locked.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    drop(locked);
    assert!(scan.wait().success(), "{}", scan.text());
    for session in &sessions {
        assert_eq!(alyx.sessions(session).await.len(), 1, "{}", scan.text());
    }
}

async fn drinks(alyx: &Alyx) -> usize {
    alyx.alyx().waters_of("KS014").await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_identical_commands_in_the_same_instant_record_one_drink() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let gate = hold(&alyx, "POST", "/water-administrations");
    let water = |volume| Program::start(&mut logged_in(&alyx, &rig, &["water", "KS014", volume]));
    let mut first = water("0.5");
    gate.reached().await;
    let mut second = water("0.5");
    let looks = || {
        let requests = alyx.control().requests();
        requests.iter().filter(|r| r.method == "GET" && r.path == "/water-administrations").count()
    };
    // Each plans, and looks again.
    common::until("the second command looks again", || looks() >= 4);
    // Another drink is not held up.
    assert!(water("0.7").wait().success());
    gate.open();
    assert!(first.wait().success() && second.wait().success(), "{} {}", first.text(), second.text());
    assert!(second.text().contains("recorded already"), "{}", second.text());
    assert_eq!(drinks(&alyx).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drink_that_was_on_its_way_when_its_command_was_killed_is_recorded_once() {
    for signal in ["KILL", "TERM"] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let gate = hold(&alyx, "POST", "/water-administrations");
        let config = configuration(&alyx, &rig, "etc");
        let water = || Program::start(&mut with_config(&["water", "KS014", "0.5"], &config));
        let mut first = water();
        gate.reached().await;
        first.signal(signal);
        first.wait();
        if signal == "TERM" {
            assert!(first.text().contains("may still appear"), "{}", first.text());
        }
        let mut again = water();
        again.wait_for("an earlier request may still record");
        gate.open();
        assert!(again.wait().success(), "{}", again.text());
        assert_eq!(drinks(&alyx).await, 1, "{signal}: {}", again.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drink_that_another_computer_records_at_the_same_time_is_reported() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let gate = hold(&alyx, "POST", "/water-administrations");
    let mut here = Program::start(&mut logged_in(&alyx, &rig, &["water", "KS014", "0.5"]));
    gate.reached().await;
    // The library alone marks nothing.
    let options = alyx_registration::WaterOptions::default();
    alyx.client().register_water_administration("KS014", 0.5, &options).await.unwrap();
    gate.open();
    assert!(here.wait().success(), "{}", here.text());
    assert!(here.text().contains("2 equal records"), "{}", here.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_killed_between_equal_drinks_of_a_session_is_completed_by_the_next_one() {
    for arrives in [true, false] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        session
            .file("alf/spikes.times.npy", "abc")
            .file("alyx-session.yaml", "water: [{volume: 0.25}, {volume: 0.25}, {volume: 0.25}]\n")
            .flag();
        let config = configuration(&alyx, &rig, "etc");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text + "metadata:\n  measurements: {water: true}\n").unwrap();
        let (method, path_prefix) = (Some("POST".to_owned()), "/water-administrations".to_owned());
        let passes = Fault::Delay(std::time::Duration::ZERO);
        alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault: passes });
        let gate = hold(&alyx, "POST", "/water-administrations");
        let killed = Program::start(&mut with_config(&["scan"], &config));
        gate.reached().await;
        drop(killed);
        assert_eq!(drinks(&alyx).await, 1);
        let mut again = Program::start(&mut with_config(&["scan"], &config));
        again.wait_for("an earlier request may still record the water of KS014");
        if arrives {
            gate.open();
        }
        assert!(again.wait().success(), "{}", again.text());
        assert_eq!((drinks(&alyx).await, session.is_flagged()), (3, false), "{}", again.text());
    }
}
