//! The ledger: what the daemon remembers, and what happens when it cannot.

use crate::{common, program};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alyx_registrar::daemon;
use alyx_registrar::daemon::run_loop::worker::AttemptResult;
use alyx_registrar::daemon::watch::{RootOptions, WatchMode, WatchOptions};
use alyx_registrar::daemon::{DaemonIo, Report};
use alyx_registrar::ledger::{FILE_NAME, HistoryFilter, Ledger};
use alyx_registration::{DataFolders, Error, RegistrationClient, RegistrationOptions, RunContext};
use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{AT_MOST, Alyx, Rig, Session, until, with_files};
use program::{Configuration, Program, output, program};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let loadable = match more.contains("datasets:") {
        true => "",
        false => "datasets: {repository: flatiron_cortexlab, exists: false}\n",
    };
    Configuration { roots: vec![rig.root()], url, user, password, more: format!("{more}{loadable}") }
        .write(&rig.beside("etc"))
}

fn start(config: &Path) -> Program {
    Program::start(program().arg("run").arg("--config").arg(config))
}

/// Runs a command next to the daemon; returns its exit code and output.
fn run_command(words: &[&str], config: &Path) -> (i32, String) {
    let output = output(program().args(words).arg("--config").arg(config));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn status(config: &Path) -> Value {
    let output = output(program().args(["status", "--json", "--config"]).arg(config));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn always(method: &str, path: &str, fault: Fault) -> FaultRule {
    FaultRule { method: Some(method.into()), path_prefix: path.into(), times: usize::MAX, fault }
}

fn server_error() -> Fault {
    Fault::Status {
        code: 500,
        body: "out of luck".into(),
        content_type: "text/plain".into(),
        retry_after: None,
    }
}

/// A dataset that has not changed for long: a link to a system program.
fn old_dataset(session: &Session) -> u64 {
    std::fs::create_dir_all(session.folder.join("alf")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", session.folder.join("alf/spikes.times.npy")).unwrap();
    std::fs::metadata("/bin/sh").unwrap().len()
}

#[tokio::test]
async fn neither_a_retry_nor_a_restart_reads_an_unchanged_file_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let size = old_dataset(&session);
    session.flag();
    alyx.control().add_fault(FaultRule { times: 2, ..always("POST", "/register-file", server_error()) });
    for attempt in 1..=3 {
        // A new value each time, as after a restart.
        let ledger = Arc::new(Ledger::open(&rig.beside("state")));
        let data =
            Arc::new(DataFolders { allow: vec!["/usr".into(), "/bin".into()], ..DataFolders::default() });
        let options = RegistrationOptions { data, ..RegistrationOptions::default() };
        let client =
            RegistrationClient::new(alyx.alyx(), options).in_context(RunContext::remembering(ledger));
        let done = session.register(&client, &with_files()).await;
        let progress = &client.context().progress;
        assert_eq!(done.is_ok(), attempt == 3, "{done:?}");
        assert_eq!(progress.bytes_done.load(Ordering::Relaxed), size);
        let known = progress.bytes_known.load(Ordering::Relaxed);
        assert_eq!(known, if attempt == 1 { 0 } else { size }, "attempt {attempt}");
    }
    assert!(alyx.datasets(&session).await[0].hash.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_sessions_keep_waiting_unless_touched() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let [waits, touched] = [(); 2].map(|()| rig.session("cortexlab", "KS014"));
    for session in [&waits, &touched] {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    alyx.control().add_fault(FaultRule { times: 2, ..always("POST", "/register-file", server_error()) });
    let config = configuration(&alyx, &rig, "retry:\n  initial: 1 h\n");
    let mut first = start(&config);
    first.wait_for("not registered");
    first.wait_for("not registered");
    first.stop();
    touched.flag();
    let mut second = start(&config);
    second.wait_for(&format!("session=\"{}\" eid=", touched.name()));
    assert!(waits.is_flagged());
    let output = status(&config);
    let sessions = output["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{output}");
    assert_eq!((&sessions[0]["state"], &sessions[0]["failures"]), (&"retrying".into(), &1.into()));
    second.stop();
}

/// The service may have been restarted because the cause is removed.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_sessions_that_needed_attention_are_tried_at_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "nobody");
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "");
    let mut first = start(&config);
    first.wait_for("needs attention");
    first.stop();
    assert!(alyx.control().add_subject("nobody", "cortexlab"));
    let mut second = start(&config);
    second.wait_for(&format!("session=\"{}\" eid=", session.name()));
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_with_a_fixed_configuration_sessions_are_tried_at_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "session:\n  projects: [nonesuch]\n");
    let mut first = start(&config);
    first.wait_for("needs attention");
    first.stop();
    let mut second = start(&configuration(&alyx, &rig, ""));
    second.wait_for("eid=");
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_history_retry_and_forget_work_with_a_running_daemon() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (bad, good) = (rig.session("cortexlab", "nobody"), rig.session("cortexlab", "KS014"));
    bad.file("alf/spikes.times.npy", "abc").flag();
    good.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "");
    let mut daemon = start(&config);
    let mut wanted = vec!["needs attention", "eid="];
    while !wanted.is_empty() {
        let line = daemon.wait_for("");
        wanted.retain(|text| !line.contains(text));
    }
    let (code, output) = run_command(&["status"], &config);
    assert_eq!(code, 1, "{output}");
    for wanted in [
        "The daemon has been running",
        "needs attention (1)",
        &bad.name(),
        "What to do: correct the name where the message says; create it on Alyx only if",
    ] {
        assert!(output.contains(wanted), "{wanted:?} is not in:\n{output}");
    }
    assert!(status(&config)["daemon"]["pid"].as_u64().is_some());

    // The ledger is written on a separate thread: a different answer shows that it has caught up.
    let (code, output) = run_command(&["forget", "SWC_001/2024-05-01/001"], &config);
    assert!(code == 1 && output.contains("the ledger has no entry for"), "{output}");
    let (code, output) = run_command(&["history", "--subject", "KS014", "--json"], &config);
    let row: Value = serde_json::from_str(output.trim()).unwrap();
    assert_eq!(
        (code, &row["outcome"], &row["datasets"], &row["bytes"]),
        (0, &"registered".into(), &1.into(), &3.into())
    );
    assert_eq!(row["eid"], alyx.the_session(&good).await.eid());
    let (_, output) =
        run_command(&["history", "--outcome", "needs-attention", "--date", &bad.date()], &config);
    // As written in the log.
    assert_eq!(
        run_command(&["history", "--outcome", "needs_attention", "--date", &bad.date()], &config).1,
        output
    );
    assert!(output.contains(&bad.name()) && !output.contains(&good.name()), "{output}");

    assert!(alyx.control().add_subject("nobody", "cortexlab"));
    let (code, output) = run_command(&["retry", bad.folder.to_str().unwrap()], &config);
    assert_eq!(code, 0, "{output}");
    daemon.wait_for(&format!("session=\"{}\" eid=", bad.name()));
    let (code, output) = run_command(&["retry", "--all"], &config);
    assert!(code == 1 && output.contains("no session is waiting"), "{output}");
    assert_eq!(run_command(&["status"], &config).0, 0);

    let (code, output) = run_command(&["forget", &bad.name()], &config);
    assert!(code == 0 && output.contains("flag"), "{output}");
    assert!(run_command(&["history", "--subject", "nobody"], &config).1.contains("No outcome matches"));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_removed_while_it_runs_is_not_shown_as_waiting() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control().add_fault(always("POST", "/register-file", Fault::Hold(gate.clone())));
    let config = configuration(
        &alyx,
        &rig,
        "retry:\n  initial: 1 h\nlog:\n  level: debug\ndatasets:\n  repository: flatiron_cortexlab\n",
    );
    let mut daemon = start(&config);
    gate.reached().await;
    std::fs::rename(session.folder.parent().unwrap(), rig.beside("away")).unwrap();
    daemon.wait_for("flag is gone");
    gate.open();
    daemon.wait_for("the flag was removed while its session ran");
    assert_eq!(status(&config)["sessions"].as_array().unwrap().len(), 0);
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains(" WARN ")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_history_retry_and_forget_work_without_a_daemon() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (bad, fresh) = (rig.session("cortexlab", "nobody"), rig.session("cortexlab", "KS014"));
    bad.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "");
    let mut daemon = start(&config);
    daemon.wait_for("needs attention");
    daemon.stop();
    fresh.flag();
    let (code, output) = run_command(&["status"], &config);
    assert_eq!(code, 69, "{output}");
    for wanted in ["not running", "needs attention (1)", &bad.name(), "waiting (1)", &fresh.name()] {
        assert!(output.contains(wanted), "{wanted:?} is not in:\n{output}");
    }
    assert!(run_command(&["history"], &config).1.contains(&bad.name()));
    assert!(alyx.control().add_subject("nobody", "cortexlab"));
    let (code, output) = run_command(&["retry", &bad.name()], &config);
    assert!(code == 0 && output.contains("No daemon is running"), "{output}");
    let mut daemon = start(&config);
    daemon.wait_for(&format!("session=\"{}\" eid=", bad.name()));
    daemon.stop();
    assert_eq!(run_command(&["forget", &bad.name()], &config).0, 0);
    assert!(!run_command(&["history"], &config).1.contains(&bad.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_writes_to_the_ledger_and_makes_none_in_the_state_folder_of_another_user() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let state = rig.beside("etc/state");
    let scanned = |subject| {
        let session = rig.session("cortexlab", subject);
        session.file("alf/spikes.times.npy", "abc").flag();
        let (code, output) = run_command(&["scan"], &config);
        assert_eq!(code, 0, "{output}");
        session.name()
    };
    if rustix::process::geteuid().is_root() {
        std::fs::create_dir_all(&state).unwrap();
        std::os::unix::fs::chown(&state, Some(65534), None).unwrap();
        scanned("ZM_1743");
        assert!(!state.join(FILE_NAME).exists(), "the service user could not write to it");
        std::os::unix::fs::chown(&state, Some(0), None).unwrap();
    }
    let of_scan = scanned("KS014");
    let mut daemon = start(&config);
    daemon.wait_for("data root scanned");
    daemon.stop();
    let beside = scanned("SWC_001");
    let (_, output) = run_command(&["history"], &config);
    assert!(output.contains(&of_scan) && output.contains(&beside), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_leaves_a_damaged_ledger_to_the_daemon() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let state = rig.beside("etc/state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join(FILE_NAME), "no database").unwrap();
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    assert_eq!(run_command(&["scan"], &config).0, 0);
    assert!(std::fs::read(state.join(FILE_NAME)).unwrap() == b"no database", "a daemon may be using it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reads_the_ledger_without_a_complaint_and_leaves_it_as_it_is() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut daemon = start(&config);
    daemon.wait_for("data root scanned");
    daemon.stop();
    let session = rig.session("cortexlab", "nobody");
    session.file("alf/spikes.times.npy", "abc").flag();
    let (_, output) = run_command(&["scan", "--dry-run"], &config);
    assert!(output.contains("nobody") && !output.contains("cannot be used"), "{output}");
    assert!(run_command(&["history"], &config).1.contains("No outcome matches"));
}

#[test]
fn status_works_without_a_daemon_and_without_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let run_command = |words: &[&str]| {
        let output = output(program().args(words).arg("--state-dir").arg(folder.path()));
        output.status.code().unwrap()
    };
    assert_eq!(run_command(&["status"]), 69);
    assert_eq!(run_command(&["history"]), 0);
    assert_eq!(run_command(&["retry", "--all"]), 1);
    assert_eq!(run_command(&["forget", "a/2024-05-01/001"]), 1);
    assert_eq!(run_command(&["retry"]), 2);
    let alone = output(program().arg("retry"));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("<SESSION|--all>"), "{alone:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_state_folder_is_refused() {
    let (alyx, rig, other) = (Alyx::sandbox().await, Rig::new(), Rig::new());
    let mut first = start(&configuration(&alyx, &rig, ""));
    first.wait_for("data root scanned");
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let roots = vec![other.root()];
    let config = Configuration { roots, url, user, password, more: String::new() }.write(&rig.beside("etc"));
    let mut second = start(&config);
    assert_eq!(second.wait().code(), Some(74));
    assert!(second.text().contains("state_dir"), "{}", second.text());
    first.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_folder_the_daemon_works_and_reports_it_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions = [rig.session("cortexlab", "KS014"), rig.session("cortexlab", "SWC_001")];
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let config = configuration(&alyx, &rig, "datasets:\n  repository: flatiron_cortexlab\n");
    // A file in its place: the folder cannot be created.
    std::fs::remove_dir_all(rig.beside("etc/state")).unwrap();
    std::fs::write(rig.beside("etc/state"), "").unwrap();
    // No clean stop can be recorded, so each start waits for this long before it creates sessions.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("alyx:\n", "alyx:\n  timeouts: {request: 1 s}\n")).unwrap();
    let mut daemon = start(&config);
    for session in &sessions {
        daemon.wait_for("eid=");
        assert!(!sessions.iter().all(Session::is_flagged), "{}", session.name());
    }
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("outcomes are not recorded")).count(), 1, "{said:#?}");
    assert_eq!(said.iter().filter(|line| line.contains(" WARN ")).count(), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaging_or_deleting_the_ledger_under_the_daemon_loses_no_session() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let ledger = rig.beside("etc/state").join(FILE_NAME);
    std::fs::create_dir_all(ledger.parent().unwrap()).unwrap();
    std::fs::write(&ledger, "this is not a database").unwrap();
    let mut daemon = start(&config);
    daemon.wait_for("is damaged");
    for n in 0..3 {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag();
        daemon.wait_for(&format!("session=\"{}\" eid=", session.name()));
        if n == 1 {
            // The daemon may write a file into it meanwhile.
            until("the state folder is deleted", || {
                std::fs::remove_dir_all(ledger.parent().unwrap()).is_ok()
            });
        }
    }
    daemon.stop();
    let remembered = Ledger::open(ledger.parent().unwrap()).history(&HistoryFilter::default());
    // The last one is certain; the one before was written before or after the folder was deleted.
    assert!((1..=2).contains(&remembered.len()), "{remembered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_picked_up_without_a_restart() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "");
    let password = rig.beside("etc/password");
    std::fs::write(&password, "wrong").unwrap();
    let mut daemon = start(&config);
    daemon.wait_for("nothing can be registered");
    let (code, output) = run_command(&["status"], &config);
    assert!(code == 77 && output.contains("refused the login"), "{output}");
    let failed = alyx.control().requests().iter().filter(|r| r.path == "/auth-token").count();
    std::fs::write(&password, &alyx.password).unwrap();
    daemon.wait_for("the login is accepted again");
    daemon.wait_for("eid=");
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains(" ERROR ")).count(), 1, "{said:#?}");
    assert!(failed <= 2, "{failed} logins with a password that was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_failure_with_the_same_cause_is_reported_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    alyx.control().add_fault(FaultRule { times: 6, ..always("POST", "/register-file", server_error()) });
    let mut daemon = start(&configuration(&alyx, &rig, ""));
    let line = daemon.wait_for("outcome=\"registered\"");
    assert!(line.contains("attempt=7"), "{line}");
    let said = daemon.stop();
    let output: Vec<_> = said.iter().filter(|line| line.contains("out of luck")).collect();
    assert_eq!(output.len(), 1, "{said:#?}");
    for field in
        ["session=", "attempt=1", "n_files=0", "took=", "outcome=\"retry\"", "next_step=", "retry_in="]
    {
        assert!(output[0].contains(field), "{field} is not in {}", output[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_session_does_not_delay_a_small_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let huge = rig.session("cortexlab", "KS014");
    for name in ["alf/spikes.times.npy", "alf/spikes.clusters.npy", "alf/spikes.depths.npy"] {
        huge.file(name, "");
        // A sparse file of four terabytes: reading it takes more than an hour.
        std::fs::File::options().write(true).open(huge.folder.join(name)).unwrap().set_len(4 << 40).unwrap();
    }
    huge.flag();
    let config = configuration(&alyx, &rig, "workers: 1\nhash_threads: 1\n");
    let mut daemon = start(&config);
    alyx.control().wait_for(|seen| seen.method == "POST" && seen.path == "/sessions").await;
    for _ in 0..3 {
        let small = rig.session("mainenlab", "ZM_1085");
        small.file("alf/spikes.times.npy", "abc").flag();
        daemon.wait_for(&format!("session=\"{}\" eid=", small.name()));
    }
    let output = status(&config);
    assert_eq!(output["sessions"][0]["state"], "running", "{output}");
    let progress = &output["sessions"][0]["progress"];
    assert_eq!(progress["bytes"], 3 * (4u64 << 40), "{output}");
    assert!(progress["bytes_done"].as_u64().unwrap() > 0, "{output}");
    daemon.stop();
}

/// The daemon inside this process, for options that no configuration has.
struct Inside {
    reports: mpsc::UnboundedReceiver<Report>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<bool>,
}

impl Inside {
    fn start(alyx: &Alyx, roots: &[PathBuf], change: impl FnOnce(&mut daemon::Options)) -> Self {
        let root =
            |path: &PathBuf| RootOptions { path: path.clone(), mode: WatchMode::Auto, require_marker: None };
        let mut options = daemon::Options {
            roots: roots.iter().map(root).collect(),
            watch: WatchOptions {
                poll_interval: Duration::from_millis(100),
                ..daemon::Options::default().watch
            },
            flagged: with_files(),
            ..daemon::Options::default()
        };
        change(&mut options);
        let (reports_in, reports) = mpsc::unbounded_channel();
        let io = DaemonIo { reports: Some(reports_in), ..DaemonIo::default() };
        let shutdown = CancellationToken::new();
        let client = match &options.ledger {
            Some(ledger) => alyx.client().in_context(RunContext::remembering(Arc::clone(ledger))),
            None => alyx.client(),
        };
        let task = tokio::spawn(daemon::run(client, options, io, shutdown.clone()));
        Self { reports, shutdown, task }
    }

    async fn next_attempt(&mut self) -> daemon::run_loop::worker::Attempt {
        loop {
            match tokio::time::timeout(AT_MOST, self.reports.recv()).await.unwrap().unwrap() {
                Report::Attempt { attempt, .. } => return attempt,
                Report::Scanned(_) => {}
            }
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_runs_as_soon_as_alyx_knows_the_name_that_was_missing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions: Vec<_> = (0..3).map(|_| rig.session("cortexlab", "nobody")).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    let mut daemon = Inside::start(&alyx, &[rig.root()], |options| {
        options.names_interval = Duration::from_millis(50);
    });
    for _ in &sessions {
        let attempt = daemon.next_attempt().await;
        assert!(matches!(attempt.result, AttemptResult::Failed(Error::Missing(_))), "{attempt:?}");
    }
    alyx.control().clear_requests();
    let asked = |seen: &alyx_sandbox::RequestSeen| seen.path == "/subjects/nobody";
    alyx.control().wait_for(asked).await;
    // However many rounds have passed, the waiting sessions send nothing.
    let requests = alyx.control().requests();
    assert!(requests.iter().all(asked), "{requests:?}");
    assert!(alyx.control().add_subject("nobody", "cortexlab"));
    for _ in &sessions {
        let attempt = daemon.next_attempt().await;
        assert!(matches!(attempt.result, AttemptResult::Registered(_)), "{attempt:?}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roots_with_a_common_folder_run_its_session_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let link = rig.beside("another way");
    std::os::unix::fs::symlink(rig.root(), &link).unwrap();
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let gate = Gate::default();
    alyx.control()
        .add_fault(FaultRule { times: 1, ..always("POST", "/sessions", Fault::Hold(gate.clone())) });
    let mut daemon = Inside::start(&alyx, &[rig.root(), link], |_| {});
    // Both roots have reported the flag before the session is created.
    for _ in 0..2 {
        let report = tokio::time::timeout(AT_MOST, daemon.reports.recv()).await.unwrap().unwrap();
        assert!(matches!(report, Report::Scanned(_)), "{report:?}");
    }
    gate.open();
    let results = [daemon.next_attempt().await.result, daemon.next_attempt().await.result];
    let registered = results.iter().filter(|r| matches!(r, AttemptResult::Registered(_))).count();
    let gone = results.iter().filter(|r| matches!(r, AttemptResult::Gone)).count();
    assert_eq!((registered, gone), (1, 1), "{results:?}");
    daemon.stop().await;
    assert_eq!(alyx.control().sessions().len(), 1);
}
