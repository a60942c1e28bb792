//! `scan --orphans`: the session folders without a flag that Alyx does not know, and the cost of finding them.

use crate::{common, program};
use std::path::PathBuf;
use std::process::Output;

use alyx_client::SessionRequest;
use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session, snapshot};
use futures_util::StreamExt;
use program::{Configuration, Program, output, program};
use serde_json::Value;

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

fn orphans(config: &PathBuf, more: &[&str]) -> Output {
    output(program().args(["scan", "--orphans", "--config"]).arg(config).args(more))
}

/// The lines of `--json`.
fn json_lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// Creates sessions on Alyx, several at a time.
async fn create(alyx: &Alyx, sessions: &[Session]) {
    let client = &alyx.alyx();
    let requests = sessions.iter().map(|session| {
        let path = alf::SessionPath::parse(&session.folder).unwrap();
        SessionRequest {
            subject: Some(path.subject().to_owned()),
            number: Some(path.number()),
            start_time: Some(format!("{}T10:00:00", path.date())),
            lab: path.lab().map(str::to_owned),
            ..SessionRequest::default()
        }
    });
    let created = futures_util::stream::iter(requests)
        .map(|request| async move { client.create_session(&request).await.unwrap() })
        .buffer_unordered(8);
    created.for_each(|_| async {}).await;
}

fn session_requests(alyx: &Alyx) -> usize {
    alyx.control().requests().iter().filter(|seen| seen.path == "/sessions").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_unknown_to_alyx_are_listed_and_nothing_is_changed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let at = |path: &str| rig.session_at(path);
    let known = [at("cortexlab/Subjects/KS014/2024-05-01/001"), at("cortexlab/Subjects/KS014/2024-05-01/2")];
    create(&alyx, &known).await;
    let unknown = [
        at("cortexlab/Subjects/KS014/2024-05-01/003"),
        at("cortexlab/Subjects/KS014/2024-05-02/001"),
        at("cortexlab/Subjects/nobody/2024-05-01/001"),
    ];
    let misnamed = at("cortexlab/Subjects/my mouse/2024-05-01/001");
    at("cortexlab/Subjects/KS014/2024-05-03/001").flag();
    let config = configuration(&alyx, &rig, "");
    std::fs::remove_dir_all(rig.beside("etc/state")).unwrap();
    let before = (snapshot(&rig.root()), alyx.control().sessions().len());
    alyx.control().clear_requests();
    let output = orphans(&config, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let lines = json_lines(&output);
    let folders = |outcome: &str| -> Vec<PathBuf> {
        let of = lines.iter().filter(|line| line["outcome"] == outcome);
        of.map(|line| PathBuf::from(line["folder"].as_str().unwrap())).collect()
    };
    assert_eq!(folders("orphan"), unknown.map(|session| session.folder));
    assert_eq!(folders("misnamed"), [misnamed.folder]);
    assert_eq!((snapshot(&rig.root()), alyx.control().sessions().len()), before);
    let wrote =
        alyx.control().requests().iter().any(|seen| seen.method != "GET" && seen.path != "/auth-token");
    assert!(!wrote, "{:?}", alyx.control().requests());
    assert!(!rig.beside("etc/state").exists(), "not even a token");

    let people = text(&orphans(&config, &[]));
    for wanted in ["orphan    KS014/2024-05-01/003", "3 of 6 session folders without a flag are not on Alyx"]
    {
        assert!(people.contains(wanted), "{people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subject_costs_one_request_unless_its_sessions_need_more_pages() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = |subject: &str, day: usize, number: usize| {
        let (month, day) = (1 + day / 28, 1 + day % 28);
        rig.session_at(&format!("cortexlab/Subjects/{subject}/2024-{month:02}-{day:02}/{number:03}"))
    };
    let few: Vec<Session> = (0..40).map(|day| session("SWC_001", day, 1)).collect();
    // One more than fits on the largest page.
    let many: Vec<Session> = (0..1001).map(|n| session("KS014", n / 4, 1 + n % 4)).collect();
    create(&alyx, &few).await;
    create(&alyx, &many).await;
    let config = configuration(&alyx, &rig, "");
    alyx.control().clear_requests();
    let output = orphans(&config, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("0 of 1041 session folders"), "{}", text(&output));
    assert_eq!(session_requests(&alyx), 3, "{:?}", alyx.control().requests());

    let orphan = session("KS014", 251, 9);
    let output = orphans(&config, &["--json"]);
    let folders: Vec<_> = json_lines(&output).iter().map(|line| line["folder"].clone()).collect();
    assert_eq!(folders, [orphan.folder.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_and_an_unreachable_server_are_reported_without_false_orphans() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for subject in ["KS014", "SWC_001", "ZM_1085"] {
        rig.session_at(&format!("cortexlab/Subjects/{subject}/2024-05-01/001"));
    }
    let mut wrong = Alyx::sandbox().await;
    wrong.password = "wrong-password".into();
    let output = orphans(&configuration(&wrong, &rig, ""), &[]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(77), true), "{}", text(&output));

    // Unreachable from the second subject on.
    let config = configuration(&alyx, &rig, "workers: 1\n");
    let on = |path: &str, times, fault| FaultRule { method: None, path_prefix: path.into(), times, fault };
    let gate = Gate::default();
    alyx.control().add_fault(on("/sessions", 1, Fault::Hold(gate.clone())));
    let mut scan = Program::start(program().args(["scan", "--orphans", "--config"]).arg(&config));
    gate.reached().await;
    alyx.control().add_fault(on("", usize::MAX, Fault::Html(503)));
    gate.open();
    assert_eq!(scan.wait().code(), Some(69), "{}", scan.text());
    assert!(scan.text().contains("orphan    KS014/2024-05-01/001"), "{}", scan.text());
    assert!(scan.text().contains("SWC_001 cannot be compared"), "{}", scan.text());
    // The others are not assumed to be known.
    let sum = "1 of 3 session folders without a flag are not on Alyx (3 subjects); 2 could not be compared";
    assert!(scan.text().contains(sum), "{}", scan.text());
    assert!(
        !scan.text().contains("orphan    SWC_001") && !scan.text().contains("ZM_1085"),
        "{}",
        scan.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_subject_does_not_affect_the_others() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for subject in ["KS014", "ZM_1085"] {
        rig.session_at(&format!("cortexlab/Subjects/{subject}/2024-05-01/001"));
    }
    let config = configuration(&alyx, &rig, "workers: 1\n");
    let broken = Fault::Status {
        code: 500,
        body: r#"{"detail": "division by zero"}"#.into(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    alyx.control().add_fault(FaultRule {
        method: None,
        path_prefix: "/sessions".into(),
        times: 1,
        fault: broken,
    });
    let output = orphans(&config, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("KS014 cannot be compared"), "{}", text(&output));
    assert!(text(&output).contains("orphan    ZM_1085/2024-05-01/001"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_orphans_prints_progress_lines_and_stops_on_request() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let gate = Gate::default();
    alyx.control().add_fault(FaultRule {
        method: None,
        path_prefix: "/sessions".into(),
        times: 1,
        fault: Fault::Hold(gate.clone()),
    });
    let config = configuration(&alyx, &rig, "");
    let mut scan = Program::start(program().args(["scan", "--orphans", "--config"]).arg(&config));
    scan.wait_for("asking Alyx: 0 of 1 subjects");
    scan.signal("TERM");
    assert_eq!(scan.wait().code(), Some(130), "{}", scan.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_works_with_a_running_daemon() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let config = configuration(&alyx, &rig, "");
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    daemon.wait_for("data root scanned");
    let output = orphans(&config, &["--json"]);
    assert_eq!(json_lines(&output)[0]["session"], session.name(), "{}", text(&output));
    daemon.stop();
}
