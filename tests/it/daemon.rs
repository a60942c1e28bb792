//! The built daemon on a real disk, with the sandbox as its Alyx.

use crate::{common, program};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, until};
use program::{Configuration, Program, program};

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

fn daemon(alyx: &Alyx, rig: &Rig, more: &str) -> Program {
    let config = configuration(alyx, rig, more);
    Program::start(program().arg("run").arg("--config").arg(config))
}

fn once(method: &str, path: &str, fault: Fault) -> FaultRule {
    FaultRule { method: Some(method.into()), path_prefix: path.into(), times: 1, fault }
}

/// Busy, with a `Retry-After` of centuries.
fn retry_after_centuries() -> Fault {
    Fault::Status {
        code: 503,
        body: "busy".into(),
        content_type: "text/plain".into(),
        retry_after: Some(1_000_000_000),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_and_new_flags_are_registered() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (before, after) = (rig.session("cortexlab", "KS014"), rig.session("mainenlab", "ZM_1085"));
    before.file("alf/spikes.times.npy", "abc").flag();
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for(&format!("session=\"{}\" eid=", before.name()));
    after.file("alf/spikes.times.npy", "a").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", after.name()));
    assert!(!before.is_flagged() && !after.is_flagged());
    assert_eq!(alyx.datasets(&before).await.len(), 1);
    assert_eq!(alyx.datasets(&after).await.len(), 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_session_is_reported_once_with_the_fix_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (bad, path, good) = (
        rig.session("cortexlab", "nobody"),
        rig.session_at("cortexlab/Subjects/my mouse/2024-01-01/001"),
        rig.session("cortexlab", "KS014"),
    );
    for session in [&bad, &path, &good] {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let mut daemon = daemon(&alyx, &rig, "");
    let mut wanted = vec!["Alyx does not know subject \"nobody\"", "rename the folder", "registered session"];
    while !wanted.is_empty() {
        let line = daemon.wait_for("");
        wanted.retain(|text| !line.contains(text));
    }
    assert!(bad.is_flagged() && path.is_flagged() && !good.is_flagged());
    // The fix: the subject is created, and the flag is touched.
    assert!(alyx.control().add_subject("nobody", "cortexlab"));
    bad.flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", bad.name()));
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("\"nobody\"")).count(), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_is_touched_while_its_session_runs_makes_it_run_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(once("GET", "/datasets", Fault::Hold(gate.clone())));
    let mut daemon = daemon(&alyx, &rig, "");
    gate.reached().await;
    // Everything is registered; only the confirmation is missing.
    session.file("alf/spikes.clusters.npy", "new").flag();
    gate.open();
    alyx.control()
        .wait_for(|seen| {
            seen.path == "/register-file"
                && seen.body.as_ref().is_some_and(|b| b["filenames"].to_string().contains("clusters"))
        })
        .await;
    daemon.wait_for("created=false");
    assert!(!session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy", "alf/spikes.times.npy"]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_is_replaced_or_put_back_while_its_session_runs_makes_it_run_again() {
    let replace = |flag: &Path| {
        let other = flag.with_extension("new");
        std::fs::write(&other, "").unwrap();
        std::fs::rename(other, flag).unwrap();
    };
    let put_back = |flag: &Path| {
        std::fs::remove_file(flag).unwrap();
        std::fs::write(flag, "").unwrap();
    };
    let ways: [&dyn Fn(&Path); 2] = [&replace, &put_back];
    for change in ways {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        let flag = session.file("alf/spikes.times.npy", "abc").flag();
        let gate = Gate::default();
        alyx.control().add_fault(once("GET", "/datasets", Fault::Hold(gate.clone())));
        let mut daemon = daemon(&alyx, &rig, "");
        gate.reached().await;
        change(&flag);
        gate.open();
        // The first run created the session, the second found it.
        daemon.wait_for("created=true");
        daemon.wait_for("created=false");
        assert!(!session.is_flagged());
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_created_again_after_registration_makes_its_session_run_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for("created=true");
    session.file("alf/spikes.clusters.npy", "new").flag();
    daemon.wait_for("created=false");
    assert!(!session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy", "alf/spikes.times.npy"]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_name_is_not_utf8_is_refused_with_the_fix_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let subject = rig.root().join(std::ffi::OsStr::from_bytes(b"m\xfcller"));
    let bad = subject.join("2024-05-01/001");
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(bad.join("create_me.flag"), "").unwrap();
    let mut daemon = daemon(&alyx, &rig, "");
    let line = daemon.wait_for("needs attention");
    assert!(line.contains("not valid UTF-8: rename it"), "{line}");
    let good = rig.session("cortexlab", "KS014");
    good.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", good.name()));
    assert!(bad.join("create_me.flag").exists() && !good.is_flagged());
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains("panic")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_was_lost_creates_no_second_session() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    alyx.control().add_fault(once("POST", "/sessions", Fault::ApplyThenDrop));
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for(&format!("session=\"{}\" eid=", session.name()));
    assert_eq!(alyx.control().sessions().len(), 1);
    assert_eq!(alyx.control().datasets().len(), 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_the_confirmation_the_session_completes_at_the_next_start() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(once("GET", "/datasets", Fault::Hold(gate.clone())));
    let killed = daemon(&alyx, &rig, "");
    gate.reached().await;
    killed.signal("KILL");
    drop(killed);
    gate.open();
    assert!(session.is_flagged());
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for("created=false");
    assert!(!session.is_flagged());
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (1, 1));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_during_a_creation_the_daemon_waits_for_the_answer() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(once("POST", "/sessions", Fault::Hold(gate.clone())));
    let mut stopped = daemon(&alyx, &rig, "");
    gate.reached().await;
    stopped.signal("TERM");
    stopped.wait_for("stopping (SIGTERM)");
    gate.open();
    assert_eq!(stopped.wait().code(), Some(0), "{}", stopped.text());
    assert_eq!(alyx.control().sessions().len(), 1);
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for("created=false");
    assert_eq!(alyx.control().sessions().len(), 1);
    daemon.stop();
}

/// A creation that waits for its turn has not been sent, and need not be waited for.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_a_creation_is_queued_the_daemon_ends_at_once_without_it() {
    // One of these is the number of requests before the creation.
    for requests in 3..=9 {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
        let config = configuration(&alyx, &rig, "");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replacen("alyx:\n", &format!("alyx:\n  max_requests_per_minute: {requests}\n"), 1);
        std::fs::write(&config, text).unwrap();
        let daemon = Program::start(program().arg("run").arg("--config").arg(&config));
        until("all request slots are in use", || alyx.control().count_requests() == requests);
        let made = alyx.control().sessions().len();
        let said = daemon.stop();
        assert!(!said.iter().any(|line| line.contains("did not stop in time")), "{requests}: {said:#?}");
        assert_eq!(alyx.control().sessions().len(), made, "{requests}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_a_creation_the_next_daemon_does_not_create_it_again_before_it_has_ended() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(once("POST", "/sessions", Fault::Hold(gate.clone())));
    let killed = daemon(&alyx, &rig, "");
    gate.reached().await;
    killed.signal("KILL");
    drop(killed);
    alyx.control().clear_requests();
    let mut daemon = daemon(&alyx, &rig, "");
    // It looked and found nothing, because the server is still handling the first creation.
    alyx.control().wait_for(|seen| seen.method == "GET" && seen.path == "/sessions").await;
    gate.open();
    daemon.wait_for("created=false");
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (1, 1));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_stops_within_seconds_while_a_huge_file_is_read() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "");
    // A sparse file of four terabytes: reading it takes more than an hour.
    let file =
        std::fs::File::options().write(true).open(session.folder.join("alf/spikes.times.npy")).unwrap();
    file.set_len(4 << 40).unwrap();
    session.flag();
    let daemon = daemon(&alyx, &rig, "");
    alyx.control().wait_for(|seen| seen.method == "POST" && seen.path == "/sessions").await;
    let said = daemon.stop();
    assert!(said.iter().any(|line| line.contains("stopping (SIGTERM)")), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("did not stop in time")), "{said:#?}");
    assert!(session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_causes_one_warning_and_its_return_is_logged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions: Vec<_> = (0..10).map(|_| rig.session("cortexlab", "KS014")).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let everything =
        FaultRule { method: None, path_prefix: String::new(), times: usize::MAX, fault: Fault::Html(502) };
    alyx.control().add_fault(everything);
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for("Alyx does not answer");
    alyx.control().clear_faults();
    daemon.wait_for("Alyx is back");
    for _ in &sessions {
        daemon.wait_for("registered session");
    }
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("Alyx does not answer")).count(), 1, "{said:#?}");
    // If not even the login works, it is not a failure of the session.
    assert!(!said.iter().any(|line| line.contains("not registered")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_centuries_is_probed_again_within_the_longest_wait() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let everything =
        FaultRule { method: None, path_prefix: String::new(), times: usize::MAX, fault: Fault::Html(502) };
    alyx.control().add_fault(everything);
    let mut daemon = daemon(&alyx, &rig, "");
    daemon.wait_for("Alyx does not answer");
    // The probe gets this fault; afterwards the server works.
    alyx.control().clear_faults();
    alyx.control().add_fault(FaultRule {
        method: None,
        path_prefix: String::new(),
        times: 1,
        fault: retry_after_centuries(),
    });
    daemon.wait_for("Alyx is back");
    daemon.wait_for("registered session");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn touching_a_flag_while_alyx_is_down_probes_at_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let flag = session.file("alf/spikes.times.npy", "abc").flag();
    alyx.control().add_fault(FaultRule {
        method: None,
        path_prefix: String::new(),
        times: 1,
        fault: retry_after_centuries(),
    });
    // The longest wait is a day: only the touch can end it within the time of a test.
    let mut daemon = daemon(&alyx, &rig, "retry:\n  initial: 1 d\n  max: 1 d\n");
    daemon.wait_for("Alyx does not answer");
    std::fs::write(&flag, "").unwrap();
    daemon.wait_for("Alyx is back");
    daemon.wait_for("registered session");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_root_is_reported_and_watched_when_it_appears() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let root = rig.beside("later");
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 200 ms\n".to_owned();
    let config =
        Configuration { roots: vec![root.clone()], url, user, password, more }.write(&rig.beside("etc"));
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    daemon.wait_for("is missing");
    let folder = rig.beside("later/cortexlab/Subjects/KS014/2024-05-01/001");
    std::fs::create_dir_all(folder.join("alf")).unwrap();
    std::fs::write(folder.join("alf/spikes.times.npy"), "abc").unwrap();
    std::fs::write(folder.join("create_me.flag"), "").unwrap();
    daemon.wait_for("registered session");
    assert!(!folder.join("create_me.flag").exists());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_comes_and_goes_is_reported_once_an_hour() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut daemon = daemon(
        &alyx,
        &rig,
        "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 100 ms\nlog:\n  level: debug\n",
    );
    daemon.wait_for("data root scanned");
    for _ in 0..4 {
        rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
        daemon.wait_for("registered session");
        std::fs::rename(rig.beside("data"), rig.beside("away")).unwrap();
        daemon.wait_for("is missing; mount the disk");
        std::fs::rename(rig.beside("away"), rig.beside("data")).unwrap();
    }
    let said = daemon.stop();
    let count = |level: &str, text: &str| {
        said.iter().filter(|line| line.contains(level) && line.contains(text)).count()
    };
    assert_eq!(count("WARN", "is missing; mount the disk"), 1, "{said:#?}");
    assert!(count("DEBUG", "is missing; mount the disk") >= 3, "{said:#?}");
    // At the start, and when it first returned.
    assert_eq!(count("INFO", "data root scanned"), 1, "{said:#?}");
    assert_eq!(count("INFO", "data root is available again"), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_registrar_on_the_same_root_is_refused() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut first = daemon(&alyx, &rig, "");
    first.wait_for("data root scanned");
    for command in ["run", "scan"] {
        let config = configuration(&alyx, &rig, "");
        let mut second = Program::start(program().arg(command).arg("--config").arg(config));
        assert_eq!(second.wait().code(), Some(74));
        let at_work = format!("another alyx-registrar (process {}, user ", first.id());
        assert!(second.text().contains(&at_work), "{}", second.text());
    }
    first.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_scan_runs_no_other_registrar_starts() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(once("POST", "/sessions", Fault::Hold(gate.clone())));
    let config = configuration(&alyx, &rig, "");
    let mut scan = Program::start(program().arg("scan").arg("--config").arg(&config));
    gate.reached().await;
    for command in ["run", "scan"] {
        let mut second = Program::start(program().arg(command).arg("--config").arg(&config));
        assert_eq!(second.wait().code(), Some(74));
        let at_work = format!("another alyx-registrar (process {}, user ", scan.id());
        assert!(second.text().contains(&at_work), "{}", second.text());
    }
    gate.open();
    assert_eq!(scan.wait().code(), Some(0), "{}", scan.text());
    assert_eq!((alyx.control().sessions().len(), session.is_flagged()), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_causes_one_error_without_the_password_and_the_flags_stay() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions = [rig.session("cortexlab", "KS014"), rig.session("cortexlab", "SWC_001")];
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let (url, user) = (alyx.url.clone(), alyx.user.clone());
    let wrong = Configuration {
        roots: vec![rig.root()],
        url,
        user,
        password: "correct-horse".into(),
        more: "log:\n  level: trace\nretry:\n  permanent: 1 h\n".into(),
    };
    let config = wrong.write(&rig.beside("etc"));
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    daemon.wait_for("nothing can be registered");
    assert!(daemon.is_alive() && sessions.iter().all(common::Session::is_flagged));
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("nothing can be registered")).count(), 1, "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("correct-horse")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_token_never_appear_in_the_log_even_at_trace_level() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let mut daemon = daemon(&alyx, &rig, "log:\n  level: trace\n  format: json\n");
    daemon.wait_for("\"eid\"");
    let said = daemon.stop().join("\n");
    assert!(said.len() > 1000, "it said next to nothing: {said}");
    let token = crate::common::http()
        .post(format!("{}/auth-token", alyx.url))
        .form(&[("username", &alyx.user), ("password", &alyx.password)])
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    for secret in [alyx.password.as_str(), token["token"].as_str().unwrap()] {
        assert!(!said.contains(secret), "a secret is in the log");
    }
}

/// Neither the flag is touched nor the daemon restarted, and the next attempt would be due in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_repaired_is_tried_again_without_waiting() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let more = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 100 ms\n";
    session.file("new:probe/spikes.times.npy", "abc").flag();
    let mut daemon = daemon(&alyx, &rig, more);
    daemon.wait_for("needs attention");
    std::fs::rename(session.folder.join("new:probe"), session.folder.join("probe")).unwrap();
    daemon.wait_for("the session folder has changed");
    until("it is registered", || !session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["probe/spikes.times.npy"]);
    daemon.stop();
}

/// As containers that share `/run/alyx-registrar`: there, each daemon is process 1.
#[tokio::test(flavor = "multi_thread")]
async fn daemons_with_the_same_process_number_keep_each_their_own_locks() {
    let run = Path::new("/run/alyx-registrar");
    let probe = std::process::Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this system allows no process namespace");
        return;
    }
    let alyx = Alyx::sandbox().await;
    let rigs = [Rig::new(), Rig::new()];
    let locked = |root: &Path| {
        let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| std::fs::read(entry.path()).ok());
        texts.filter(|text| text.ends_with(root.as_os_str().as_bytes())).count()
    };
    let mut daemons = Vec::new();
    for rig in &rigs {
        std::fs::create_dir_all(rig.root()).unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(program().get_program());
        let mut daemon =
            Program::start(command.arg("run").arg("--config").arg(configuration(&alyx, rig, "")));
        daemon.wait_for("data root scanned");
        daemons.push(daemon);
    }
    if !run.is_dir() || locked(&rigs[1].root()) == 0 {
        eprintln!("skipped: this user cannot lock in {run:?}");
        return;
    }
    assert_eq!(locked(&rigs[0].root()), 1);
}
