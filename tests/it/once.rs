//! Once, anywhere: a session is never created twice, whoever else creates it.

use crate::common;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alyx_client::SessionRequest;
use alyx_registrar::ledger::Ledger;
use alyx_registration::flag::{FlagError, FlagFile, Removal};
use alyx_registration::{
    CreateSessionsOptions, Error, FilesToRegister, LastLook, LastLooks, RegisterFilesOptions,
    RegistrationClient, RegistrationOptions, RunContext, SessionDetails,
};
use common::locking_fs::{Computer, Locks, two_computers};
use common::network::Network;
use common::program::{Configuration, Program, output, program};
use common::{Alyx, Rig, Session, hold, with_files};

/// Another program creates the session, as the Python client does: looked up, not found, created.
async fn create_elsewhere(alyx: &Alyx, session: &Session) -> String {
    let request = SessionRequest {
        subject: Some("KS014".into()),
        users: Some(vec![alyx.user.clone()]),
        number: Some(session.path().number()),
        start_time: Some(format!("{}T00:00:00", session.date())),
        kind: Some("Experiment".into()),
        lab: Some("cortexlab".into()),
        ..SessionRequest::default()
    };
    alyx.alyx().create_session(&request).await.unwrap().eid().to_owned()
}

fn requests(alyx: &Alyx) -> Vec<String> {
    alyx.control().requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect()
}

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = more.to_owned();
    Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"))
}

/// A client that has logged in and knows names and dataset types.
async fn warm(alyx: &Alyx, rig: &Rig, options: RegistrationOptions) -> RegistrationClient {
    let client = RegistrationClient::new(alyx.alyx(), options);
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").flag();
    session.register(&client, &with_files()).await.unwrap();
    alyx.control().clear_requests();
    client
}

#[tokio::test]
async fn a_session_that_another_program_creates_at_the_same_time_gets_no_dataset() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = hold(&alyx, "POST", "/sessions");
    let (client, options) = (alyx.client(), with_files());
    let create = async {
        gate.reached().await;
        let eid = create_elsewhere(&alyx, &session).await;
        gate.open();
        eid
    };
    let (result, theirs) = tokio::join!(session.register(&client, &options), create);
    let error = result.unwrap_err();
    let Error::CreatedTwice { ours, others, is_empty: true, .. } = &error else { panic!("{error}") };
    assert_eq!(others, std::slice::from_ref(&theirs));
    let text = error.to_string();
    assert!(text.contains(ours) && text.contains(&theirs) && text.contains("delete ours on Alyx"), "{text}");
    assert_eq!(error.next_step(), alyx_client::NextStep::NeedsAttention);
    assert!(alyx.control().datasets().is_empty(), "{:?}", requests(&alyx));
    assert!(session.is_flagged());
    assert!(!requests(&alyx).iter().any(|request| request.starts_with("DELETE")));
    // The next run does not choose either.
    let error = session.register(&client, &options).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

#[tokio::test]
async fn a_verb_too_looks_again_before_it_registers_in_a_session_that_it_created() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for files in [FilesToRegister::All, FilesToRegister::None] {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc");
        let gate = hold(&alyx, "POST", "/sessions");
        let (client, details) = (alyx.client(), SessionDetails::default());
        let options = RegisterFilesOptions::default();
        let create = async {
            gate.reached().await;
            create_elsewhere(&alyx, &session).await;
            gate.open();
        };
        let registering = client.register_session(&session.folder, &details, &files, &options);
        let (result, ()) = tokio::join!(registering, create);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::CreatedTwice { .. }), "{error}");
        assert!(alyx.control().datasets().is_empty());
    }
}

#[tokio::test]
async fn a_session_that_appears_twice_while_its_files_are_sent_keeps_its_flag() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let options = RegistrationOptions { look_again_after: Duration::ZERO, ..Default::default() };
    let client = warm(&alyx, &rig, options).await;
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = hold(&alyx, "GET", "/datasets");
    let create = async {
        gate.reached().await;
        create_elsewhere(&alyx, &session).await;
        gate.open();
    };
    let flagged = with_files();
    let (result, ()) = tokio::join!(session.register(&client, &flagged), create);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::CreatedTwice { is_empty: false, .. }), "{error}");
    assert!(session.is_flagged());
}

#[tokio::test]
async fn the_requests_of_a_session_are_few() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let slow = RegistrationOptions { look_again_after: Duration::ZERO, ..Default::default() };
    let [look, create, post, read] =
        ["GET /sessions", "POST /sessions", "POST /register-file", "GET /datasets"];
    for (options, wanted) in [
        (RegistrationOptions::default(), &[look, create, look, post, read][..]),
        // More than a minute lies between its creation and the removal of its flag.
        (slow, &[look, create, look, post, read, look]),
    ] {
        let client = warm(&alyx, &rig, options).await;
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "a").flag();
        session.register(&client, &with_files()).await.unwrap();
        assert_eq!(requests(&alyx), wanted);
        // It exists, and a file has changed.
        alyx.control().clear_requests();
        session.file("alf/spikes.times.npy", "abc").flag();
        session.register(&client, &with_files()).await.unwrap();
        assert_eq!(requests(&alyx), [look, read, post, read]);
        // Nothing has changed.
        alyx.control().clear_requests();
        session.flag();
        session.register(&client, &with_files()).await.unwrap();
        assert_eq!(requests(&alyx), [look, read]);
    }
}

/// Two computers that mount the same share: neither knows of the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_over_one_folder_create_each_session_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = |n: usize| rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{n:03}"));
    let sessions: Vec<Session> = (1..=60).map(session).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let options = CreateSessionsOptions { flagged: with_files(), ..Default::default() };
    let (one, other, root) = (alyx.client(), alyx.client(), rig.root());
    // Each passes all flags until none is left: a flag that the other holds is looked at again.
    let all = async |client: &RegistrationClient| {
        let mut registered = 0;
        while sessions.iter().any(Session::is_flagged) {
            for created in client.create_sessions(&root, &options).await.unwrap() {
                match created.session {
                    Ok(_) => registered += 1,
                    Err(Error::RegisteredElsewhere { holder, .. }) => {
                        assert!(holder.is_none_or(|pid| pid == std::process::id()));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        registered
    };
    let (first, second) = tokio::join!(all(&one), all(&other));
    assert_eq!(first + second, 60, "{first} and {second}");
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (60, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_another_program_holds_waits_without_failures_and_delays_no_other_session() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (held, free) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "KS014"));
    held.file("alf/spikes.times.npy", "abc").flag();
    let lock = FlagFile::load(held.folder.join("create_me.flag")).unwrap().unwrap().hold().unwrap();
    let config = configuration(&alyx, &rig, "watch:\n  settle: 50 ms\n  warn_after: 1 s\n");
    let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
    let line = daemon.wait_for("waiting: another program");
    assert!(line.contains(&format!("process {}", std::process::id())), "{line}");
    free.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for("outcome=\"registered\"");
    let old = daemon.output_lines.iter().find(|line| line.contains("stale flag")).cloned();
    let line = old.unwrap_or_else(|| daemon.wait_for("stale flag"));
    assert!(line.contains("another program") && line.contains(&held.name()), "{line}");
    let output = output(program().args(["status", "--json", "--config"]).arg(&config));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{status}");
    let session = &status["sessions"][0];
    assert_eq!((session["failures"].as_u64(), session["old"].as_bool()), (Some(0), Some(true)), "{status}");
    assert!(session["error"]["message"].as_str().unwrap().contains("another program"), "{status}");
    assert!(alyx.sessions(&held).await.is_empty());
    drop(lock);
    daemon.wait_for("outcome=\"registered\"");
    daemon.stop();
    assert_eq!(alyx.sessions(&held).await.len(), 1);
}

/// What happens to a folder behind the back of the program.
type Change = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_a_creation_that_nothing_remembers_the_next_daemon_creates_no_second_session() {
    let ways: [(&str, Change); 3] = [
        ("as it is", |_| {}),
        ("the state folder is deleted", |state| std::fs::remove_dir_all(state).unwrap()),
        ("the state folder cannot be created", |state| {
            std::fs::remove_dir_all(state).unwrap();
            std::fs::write(state, "").unwrap();
        }),
    ];
    for (way, forget) in ways {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let (new, known) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "KS014"));
        alyx.client().create_session(&known.folder, &SessionDetails::default()).await.unwrap();
        new.file("alf/spikes.times.npy", "abc").flag();
        let config = configuration(&alyx, &rig, "");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("alyx:\n", "alyx:\n  timeouts: {request: 3 s}\n")).unwrap();
        let gate = hold(&alyx, "POST", "/sessions");
        let killed = Program::start(program().args(["run", "--config"]).arg(&config));
        gate.reached().await;
        drop(killed);
        forget(&rig.beside("etc/state"));
        let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
        daemon.wait_for("the last run was not stopped cleanly");
        daemon.wait_for("an earlier request may still create this session");
        // Only creations wait.
        known.file("alf/spikes.times.npy", "abc").flag();
        let line = daemon.wait_for("outcome=\"registered\"");
        assert!(line.contains(&known.name()), "{way}: {line}");
        assert!(new.is_flagged(), "{way}");
        if way == "as it is" {
            let output = output(program().args(["status", "--config"]).arg(&config));
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("the last run was not stopped cleanly"), "{text}");
        }
        gate.open();
        daemon.wait_for("outcome=\"registered\"");
        daemon.stop();
        assert_eq!(alyx.sessions(&new).await.len(), 1, "{way}");
        assert_eq!(alyx.dataset_paths(&new).await, ["alf/spikes.times.npy"], "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_a_session_is_created_at_once_and_after_a_kill_not() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let start = || Program::start(program().args(["run", "--config"]).arg(&config));
    for _ in 0..2 {
        rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
        let mut daemon = start();
        daemon.wait_for("outcome=\"registered\"");
        let said = daemon.stop();
        assert!(!said.iter().any(|line| line.contains("clean stop")), "{said:#?}");
    }
    let mut killed = start();
    killed.wait_for("data root scanned");
    drop(killed);
    let mut daemon = start();
    daemon.wait_for("the last run was not stopped cleanly");
    daemon.wait_for("data root scanned");
    // It has not waited long enough to know that nothing is on its way.
    daemon.stop();
    start().wait_for("the last run was not stopped cleanly");
}

/// A memory that changes the session at the worst moment, and forgets to clear what was remembered if `is_killed`.
#[derive(Debug)]
struct Meddling {
    ledger: Ledger,
    change: Option<Change>,
    is_killed: bool,
}

impl LastLooks for Meddling {
    fn begin(&self, look: &LastLook) {
        self.ledger.begin(look);
        if let Some(change) = self.change {
            change(look.flag().parent().unwrap());
        }
    }
    fn end(&self, flag: &Path) {
        if !self.is_killed {
            self.ledger.end(flag);
        }
    }
    fn pending(&self) -> Vec<LastLook> {
        self.ledger.pending()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_between_the_last_look_and_the_removal_of_the_flag_puts_the_flag_back() {
    let changes: [(Change, Removal); 6] = [
        (
            |session| std::fs::write(session.join("alf/spikes.times.npy"), "rewritten").unwrap(),
            Removal::Changed,
        ),
        (|session| std::fs::write(session.join("alf/spikes.depths.npy"), "new").unwrap(), Removal::Changed),
        (|session| std::fs::remove_file(session.join("alf/spikes.times.npy")).unwrap(), Removal::Changed),
        // It cannot be registered, and from the start it would have kept the flag.
        (
            |session| std::os::unix::fs::symlink("/nowhere", session.join("alf/spikes.amps.npy")).unwrap(),
            Removal::Changed,
        ),
        // It describes the session, and lies above it.
        (
            |session| std::fs::write(session.join("../../alyx-session.yaml"), "qc: PASS").unwrap(),
            Removal::Changed,
        ),
        (|_| {}, Removal::Removed),
    ];
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (n, (change, wanted)) in changes.into_iter().enumerate() {
        let ledger = Ledger::open(&rig.beside("state"));
        let memory = Arc::new(Meddling { ledger, change: Some(change), is_killed: false });
        let context = RunContext { last_looks: Some(memory.clone()), ..RunContext::default() };
        let client = alyx.client().in_context(context);
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag_with("alf\n");
        let registered = session.register(&client, &with_files()).await.unwrap();
        assert_eq!((registered.flag, session.is_flagged()), (wanted, wanted == Removal::Changed), "{n}");
        if session.is_flagged() {
            assert_eq!(std::fs::read_to_string(session.folder.join("create_me.flag")).unwrap(), "alf\n");
        }
        assert!(memory.pending().is_empty(), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_removal_of_the_flag_and_the_look_after_it_the_next_daemon_looks() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let ledger = Ledger::open(&rig.beside("etc/state"));
    let memory = Arc::new(Meddling { ledger, change: None, is_killed: true });
    let context = RunContext { last_looks: Some(memory.clone()), ..RunContext::default() };
    let client = alyx.client().in_context(context);
    let (changed, same) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "KS014"));
    for session in [&changed, &same] {
        session.file("alf/spikes.times.npy", "abc").flag();
        session.register(&client, &with_files()).await.unwrap();
    }
    assert_eq!(memory.pending().len(), 2);
    changed.file("alf/spikes.times.npy", "a");
    let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
    let line = daemon.wait_for("the flag is put back");
    assert!(line.contains(changed.folder.to_str().unwrap()), "{line}");
    let line = daemon.wait_for("outcome=\"registered\"");
    assert!(line.contains(&changed.name()), "{line}");
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains(&same.name())), "{said:#?}");
    assert!(memory.pending().is_empty() && !changed.is_flagged() && !same.is_flagged());
    assert_eq!(alyx.datasets(&changed).await[0].hash.as_deref(), Some(common::MD5_OF_A));
}

/// The program as on another computer: it sees the same data, and none of the locks and marks of this one.
fn elsewhere(verb: &str, config: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mkdir -p /run/alyx-registrar && mount -t tmpfs locks /run/alyx-registrar && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(program().get_program()).args([verb, "--config"]).arg(config);
    for (name, _) in program().get_envs() {
        command.env_remove(name);
    }
    command.env("ALYX_REGISTRAR_MARKS", "/run/alyx-registrar");
    command
}

/// Whether there can be another computer.
fn can_be_elsewhere() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can hide the locks of this computer");
    }
    is_root
}

/// The configuration of another computer, which sees the data at this place.
fn configuration_elsewhere(alyx: &Alyx, rig: &Rig, root: PathBuf) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![root], url, user, password, more: String::new() }.write(&rig.beside("there"))
}

fn flagged_sessions(rig: &Rig, n: usize) -> Vec<Session> {
    let session = |n: usize| rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{n:03}"));
    let sessions: Vec<Session> = (1..=n).map(session).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn two_computers_that_scan_one_folder_create_each_session_once() {
    if !can_be_elsewhere() {
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions = flagged_sessions(&rig, 60);
    let (here, there) = (configuration(&alyx, &rig, ""), configuration_elsewhere(&alyx, &rig, rig.root()));
    let mut one = Program::start(program().args(["scan", "--config"]).arg(&here));
    let mut other = Program::start(&mut elsewhere("scan", &there));
    let codes = [one.wait().code(), other.wait().code()];
    assert!(other.text().contains("flags in total"), "{}", other.text());
    let text = format!("{}\n{}", one.text(), other.text());
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}: {text}");
    assert!(!sessions.iter().any(Session::is_flagged), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 60, "{text}");
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (60, 60), "{text}");
}

/// The same in containers or on computers of their own: no address, socket, lock or mark of one is seen by the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_computers_with_networks_of_their_own_create_each_session_once() {
    if !can_be_elsewhere() {
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions = flagged_sessions(&rig, 60);
    let networks = match [Network::reaching(&alyx.url), Network::reaching(&alyx.url)] {
        [Ok(here), Ok(there)] => [here, there],
        [here, there] => {
            eprintln!("skipped: no networks here ({:?}, {:?})", here.err(), there.err());
            return;
        }
    };
    let mut scans = [("here", "etc"), ("there", "there")].map(|(name, folder)| {
        let network = &networks[usize::from(name == "there")];
        let (url, user, password) = (network.url.clone(), alyx.user.clone(), alyx.password.clone());
        let config = Configuration { roots: vec![rig.root()], url, user, password, more: String::new() };
        let scan = elsewhere("scan", &config.write(&rig.beside(folder)));
        let mut command = network.command();
        command.arg(scan.get_program()).args(scan.get_args());
        for (name, _) in program().get_envs() {
            command.env_remove(name);
        }
        Program::start(&mut command)
    });
    let codes = scans.each_mut().map(|scan| scan.wait().code());
    let text = scans.iter().map(Program::text).collect::<Vec<_>>().join("\n");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}: {text}");
    assert!(!sessions.iter().any(Session::is_flagged), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 60, "{text}");
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (60, 60), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_on_two_computers_that_watch_one_folder_create_each_session_once() {
    if !can_be_elsewhere() {
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions = flagged_sessions(&rig, 60);
    let (here, there) = (configuration(&alyx, &rig, ""), configuration_elsewhere(&alyx, &rig, rig.root()));
    let one = Program::start(program().args(["run", "--config"]).arg(&here));
    let other = Program::start(&mut elsewhere("run", &there));
    common::until("every flag is removed", || !sessions.iter().any(Session::is_flagged));
    let text = [one.stop(), other.stop()].concat().join("\n");
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (60, 60), "{text}");
}

#[test]
fn a_flag_on_a_drive_is_locked_as_far_as_the_drive_allows() {
    for locks in [Locks::Remote, Locks::OnlyWritable, Locks::Mandatory, Locks::LocalOnly, Locks::Missing] {
        let rig = Rig::new();
        let session = rig.session("cortexlab", "KS014");
        session.flag_with("alf\n");
        let Some(computers) = two_computers(&session.folder, locks) else { return };
        let flag = |computer: &Computer| {
            FlagFile::load(computer.mount.path().join("create_me.flag")).unwrap().unwrap()
        };
        let [here, there] = &computers;
        let held = flag(here).hold().unwrap();
        // Through the handle that holds it, also where no other handle can read it.
        assert!(held.content().unwrap().selects("alf/spikes.times.npy"), "{locks:?}");
        let reaches = !matches!(locks, Locks::LocalOnly | Locks::Missing);
        match flag(there).hold() {
            Err(FlagError::Elsewhere { .. }) => assert!(reaches, "{locks:?}"),
            other => assert!(other.is_ok() && !reaches, "{locks:?}: {other:?}"),
        }
        // On this computer a lock always counts, where there are any.
        assert_eq!(flag(here).hold().is_err(), locks != Locks::Missing, "{locks:?}");
        drop(held);
        let again = flag(there).hold().unwrap();
        assert_eq!(again.remove_if_unchanged().unwrap(), Removal::Removed, "{locks:?}");
        assert!(!session.is_flagged() && flag_is_gone(here), "{locks:?}");
    }
}

fn flag_is_gone(computer: &Computer) -> bool {
    FlagFile::load(computer.mount.path().join("create_me.flag")).unwrap().is_none()
}

/// The first creation is held until the other computer has registered: the worst moment.
#[tokio::test(flavor = "multi_thread")]
async fn where_locks_do_not_reach_the_second_look_keeps_datasets_out_of_a_session_that_exists_twice() {
    if !can_be_elsewhere() {
        return;
    }
    for locks in [Locks::LocalOnly, Locks::Missing] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag();
        let Some([here, there]) = two_computers(&rig.root(), locks) else { return };
        let root = |computer: &Computer| computer.mount.path().to_owned();
        let config = |root: PathBuf, folder: &str| {
            let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
            let more = "watch: {settle: 50 ms, settle_remote: 50 ms, empty_grace: 0 s}\n\
                        datasets: {repository: flatiron_cortexlab, exists: false}\n"
                .to_owned();
            let path =
                Configuration { roots: vec![root], url, user, password, more }.write(&rig.beside(folder));
            // The daemon waits for its creation as long as the other computer takes.
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("alyx:\n", "alyx:\n  timeouts: {request: 120 s}\n")).unwrap();
            path
        };
        let (config, there) = (config(root(&here), "etc"), config(root(&there), "there"));
        let gate = hold(&alyx, "POST", "/sessions");
        let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
        gate.reached().await;
        let mut other = Program::start(&mut elsewhere("scan", &there));
        assert!(other.wait().success(), "{locks:?}: {}", other.text());
        // Nothing but the finding tells of it now.
        assert!(!session.is_flagged());
        gate.open();
        let line = daemon.wait_for("was created twice");
        let ids: Vec<String> =
            alyx.sessions(&session).await.iter().map(|session| session.eid().to_owned()).collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert!(ids.iter().all(|id| line.contains(id)), "{line}");
        assert_eq!(alyx.control().datasets().len(), 1, "{locks:?}");
        daemon.stop();

        // It stays until a person acknowledges it, also after a restart.
        let status = || {
            let output = output(program().args(["status", "--json", "--config"]).arg(&config));
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code(), status)
        };
        for running in [false, true] {
            let daemon = running.then(|| {
                let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
                daemon.wait_for("data root scanned");
                daemon
            });
            let (code, said) = status();
            let text = said["created_twice"][0]["text"].as_str().unwrap_or_default();
            assert!(ids.iter().all(|id| text.contains(id)), "{said}");
            assert_eq!(
                (code, &said["created_twice"][0]["kind"]),
                (Some(if running { 1 } else { 69 }), &serde_json::json!("created_twice"))
            );
            let output = output(program().args(["status", "--config"]).arg(&config));
            assert!(String::from_utf8_lossy(&output.stdout).contains("created twice (1)"));
            if running {
                let name = session.name();
                let done =
                    common::program::output(program().args(["acknowledge", &name, "--config"]).arg(&config));
                assert_eq!(done.status.code(), Some(0), "{done:?}");
                assert_eq!((status().0, &status().1["created_twice"]), (Some(0), &serde_json::json!([])));
            }
            if let Some(daemon) = daemon {
                daemon.stop();
            }
        }
        assert_eq!(status().1["created_twice"], serde_json::json!([]));
    }
}

/// A command creates a session while another program does, with or without a daemon that uses its state folder.
#[tokio::test(flavor = "multi_thread")]
async fn that_a_command_created_a_session_twice_stays_in_the_status_until_a_person_acknowledges_it() {
    for (verb, with_daemon) in [
        ("create-session", false),
        ("register-session", true),
        ("create-sessions", false),
        ("create-sessions", true),
    ] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let apart = rig.session("cortexlab", "KS014");
        apart.file("alf/spikes.times.npy", "abc");
        // Outside the daemon's data root.
        let outside = rig.beside("elsewhere/cortexlab/Subjects/KS014").join(apart.date());
        std::fs::create_dir_all(&outside).unwrap();
        let session = Session { folder: outside.join(format!("{:03}", apart.path().number())) };
        std::fs::rename(&apart.folder, &session.folder).unwrap();
        let config = configuration(&alyx, &rig, "");
        drop(Ledger::open(&rig.beside("etc/state")));
        let daemon = with_daemon.then(|| {
            let mut daemon = Program::start(program().args(["run", "--config"]).arg(&config));
            daemon.wait_for("data root scanned");
            daemon
        });
        let folder = match verb {
            "create-sessions" => {
                session.flag();
                rig.beside("elsewhere")
            }
            _ => session.folder.clone(),
        };
        let gate = hold(&alyx, "POST", "/sessions");
        let mut command = program();
        command.arg(verb).arg(&folder).arg("--config").arg(&config);
        let ended = tokio::task::spawn_blocking(move || output(&mut command));
        gate.reached().await;
        create_elsewhere(&alyx, &session).await;
        gate.open();
        let ended = ended.await.unwrap();
        let text = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        assert!(text.contains("was created twice"), "{verb} {with_daemon}: {text}");

        let status = || {
            let output = output(program().args(["status", "--json", "--config"]).arg(&config));
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["created_twice"].clone()
        };
        let found = status();
        assert_eq!(found[0]["session"], session.name(), "{verb} {with_daemon}: {found}");
        if let Some(daemon) = daemon {
            assert!(
                found[0]["link"].as_str().unwrap().contains(found[0]["eid"].as_str().unwrap()),
                "{found}"
            );
            daemon.stop();
            assert_eq!(status()[0]["session"], session.name());
        }
        let done = output(program().args(["acknowledge", &session.name(), "--config"]).arg(&config));
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert_eq!(status(), serde_json::json!([]));
    }
}
