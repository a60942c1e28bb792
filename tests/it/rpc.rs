//! `rpc`: one process answers many requests.

use std::fs::File;
use std::io::Write;
use std::process::{ChildStdin, Command};

use alyx_sandbox::{Fault, FaultRule, Gate};
use serde_json::{Value, json};

use crate::common::{Alyx, Rig};
use crate::program::{Program, output};
use crate::verbs::{at_home, logged_in, verb, word};

/// The answers to these lines, and the exit code of the process.
fn answers(command: &mut Command, lines: &[&[u8]]) -> (Vec<Value>, i32) {
    let mut input = tempfile::NamedTempFile::new().unwrap();
    for line in lines {
        input.write_all(line).unwrap();
        input.write_all(b"\n").unwrap();
    }
    let said = output(command.stdin(File::open(input.path()).unwrap()));
    let text = String::from_utf8(said.stdout).unwrap();
    let answer = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let answers: Vec<Value> = text.lines().map(answer).collect();
    check(&answers);
    (answers, said.status.code().unwrap())
}

/// Compares answers with the schema.
#[track_caller]
fn check(answers: &[Value]) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/json.schema.json")).unwrap();
    let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
    compiler.add_resource("json.schema.json", schema).unwrap();
    let index = compiler.compile("json.schema.json#/$defs/rpcAnswer", &mut schemas).unwrap();
    for answer in answers {
        if let Err(error) = schemas.validate(answer, index) {
            panic!("{error:#}\n{answer:#}");
        }
    }
}

#[test]
fn the_examples_of_the_manual_are_requests_and_answers() {
    let manual = include_str!("../../docs/rpc.md");
    let example = |block: &str| serde_json::from_str(block.split("```").next().unwrap()).unwrap();
    let examples: Vec<Value> = manual.split("```json\n").skip(1).map(example).collect();
    let (requests, answers): (Vec<_>, Vec<_>) =
        examples.into_iter().partition(|of| of.get("method").is_some());
    assert_eq!((requests.len(), answers.len()), (1, 2));
    check(&answers);
}

/// The answers to these requests, of a process that ends well.
fn asked(command: &mut Command, requests: &[Value]) -> Vec<Value> {
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let (answers, code) = answers(command, &lines);
    assert_eq!((answers.len(), code), (requests.len(), 0), "{answers:#?}");
    for (answer, request) in answers.iter().zip(requests) {
        assert_eq!(answer["id"], request["id"]);
    }
    answers
}

fn connect(alyx: &Alyx) -> Value {
    let params = json!({"url": alyx.url, "user": alyx.user, "password": alyx.password});
    json!({"id": "c", "method": "connect", "params": params})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_with_the_json_of_its_command_and_there_is_one_login() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc").file("notes.txt", "x");
    let (folder, file) = (word(&session.folder).to_owned(), session.folder.join("alf/spikes.times.npy"));
    let requests = [
        connect(&alyx),
        json!({"id": 1, "method": "exists", "params": {"endpoint": "users", "names": ["rig_user", "nobody"]}}),
        json!({"id": 2, "method": "find-files", "params": {"folder": folder}}),
        json!({"id": 3, "method": "metadata", "params": {"folder": folder}}),
        json!({"id": 4, "method": "create-session", "params": {"folder": folder, "users": ["rig_user"], "n_trials": 7}}),
        json!({"id": 5, "method": "register-files", "params": {"files": [file], "versions": ["1.0"]}}),
        json!({"id": 6, "method": "check-protected", "params": {"files": [file]}}),
        json!({"id": 7, "method": "water", "params": {"subjects": "KS014", "volume": 1.5,
            "session": folder, "date_time": "2024-05-01T11:00:00"}}),
        json!({"id": 8, "method": "weight", "params": {"subjects": "KS014", "weight": 21}}),
        json!({"id": 9, "method": "dataset-types"}),
        json!({"id": 10, "method": "new-session", "params": {"subject": "KS014", "root": rig.root(), "dry_run": true}}),
        json!({"id": 11, "method": "create-sessions", "params": {"root": rig.root(), "register_files": true}}),
        json!({"id": 12, "method": "register-session", "params": {"folder": folder}}),
    ];
    let mut rpc = at_home(&rig, &["rpc"]);
    let answers = tokio::task::spawn_blocking(move || asked(&mut rpc, &requests)).await.unwrap();
    assert_eq!(answers[0]["result"]["user"], json!(alyx.user));
    let codes: Vec<_> = answers.iter().map(|answer| answer["exit_code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "{answers:#?}");
    let logins = alyx.control().requests().iter().filter(|request| request.path == "/auth-token").count();
    assert_eq!(logins, 1);
    let record = &answers[4]["result"]["session"];
    assert_eq!((&record["users"], &record["n_trials"]), (&json!(["rig_user"]), &json!(7)));
    assert_eq!(answers[5]["result"]["records"][0]["record"]["name"], "spikes.times.npy");
    assert_eq!(answers[7]["result"]["measurements"][0]["record"]["session"], record["id"]);
    assert!(answers[9]["result"]["dataset_types"].as_array().unwrap().len() > 3);
    // The same as the commands print.
    for (answer, typed) in [
        (1, &["exists", "users", "rig_user", "nobody", "--json"][..]),
        (2, &["find-files", &folder, "--json"]),
        (3, &["metadata", &folder, "--json"]),
    ] {
        let said = verb(&alyx, &rig, typed);
        assert_eq!(answers[answer]["result"], said.json(), "{typed:?}");
        assert_eq!(answers[answer]["exit_code"], said.code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_request_is_one_error_and_the_next_line_is_answered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let long = vec![b'['; 33 * 1024 * 1024];
    let good = br#"{"id": 9, "method": "exists", "params": {"endpoint": "labs", "names": ["cortexlab"]}}"#;
    let mut rpc = logged_in(&alyx, &rig, &["rpc"]);
    let (answers, code) = tokio::task::spawn_blocking(move || {
        let deep = "[".repeat(100_000);
        let lines: [&[u8]; 8] = [
            b"hello",
            b"\x00\xff\xfe\x80",
            b"",
            &long,
            deep.as_bytes(),
            b"{\"id\": 3, \"method\": \"run\"}",
            b"null",
            good,
        ];
        answers(&mut rpc, &lines)
    })
    .await
    .unwrap();
    assert_eq!((answers.len(), code), (7, 0));
    for answer in answers.iter().take(6) {
        assert_eq!(
            (&answer["exit_code"], &answer["error"]["kind"]),
            (&json!(2), &json!("Usage")),
            "{answer}"
        );
        assert!(answer["error"]["next_step"].as_str().unwrap().contains("docs/rpc.md"));
    }
    assert!(answers[2]["error"]["message"].as_str().unwrap().contains("was skipped"), "{}", answers[2]);
    assert_eq!((&answers[4]["id"], &answers[0]["id"]), (&json!(3), &Value::Null));
    assert_eq!(answers[6]["result"]["members"][0]["exists"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_has_its_kind_its_next_step_and_its_exit_code() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let wrong = json!({"url": alyx.url, "user": alyx.user, "password": "wrong"});
    let away = json!({"url": "http://127.0.0.1:9", "user": "x", "token": "x"});
    let nobody = rig.session_at("cortexlab/Subjects/nobody/2024-05-01/001");
    let secret = json!({"url": alyx.url, "password": alyx.password, "token": "x"});
    let folder = json!({"folder": nobody.folder});
    let requests = [
        json!({"id": 0, "method": "exists", "params": {"endpoint": "labs"}}),
        json!({"id": 1, "method": "connect", "params": wrong}),
        json!({"id": 2, "method": "connect", "params": secret}),
        json!({"id": 3, "method": "connect", "params": {"password": 5}}),
        json!({"id": 4, "method": "connect", "params": away}),
        connect(&alyx),
        connect(&alyx),
        json!({"id": 7, "method": "create-session", "params": folder}),
        json!({"id": 8, "method": "find-files", "params": {"folder": "/nowhere"}}),
    ];
    let mut rpc = at_home(&rig, &["rpc"]);
    let answers = tokio::task::spawn_blocking(move || asked(&mut rpc, &requests)).await.unwrap();
    let found: Vec<(u64, &str)> = answers
        .iter()
        .map(|answer| {
            (answer["exit_code"].as_u64().unwrap(), answer["error"]["kind"].as_str().unwrap_or("-"))
        })
        .collect();
    let expected = [
        (2, "Usage"),
        (77, "Login"),
        (2, "Usage"),
        (2, "Usage"),
        (69, "Unreachable"),
        (0, "-"),
        (2, "Usage"),
        (1, "Missing"),
        (1, "Invalid"),
    ];
    assert_eq!(found, expected, "{answers:#?}");
    assert_eq!(answers[7]["missing"], json!([{"endpoint": "subjects", "name": "nobody"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_answers_the_request_in_progress() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (idle, kept_open) = Program::start_with_input(&mut logged_in(&alyx, &rig, &["rpc"]));
    let (mut busy, mut input) = Program::start_with_input(&mut logged_in(&alyx, &rig, &["rpc"]));
    let gate = Gate::default();
    let (method, path_prefix) = (Some("GET".to_owned()), "/labs".to_owned());
    alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault: Fault::Hold(gate.clone()) });
    let request =
        json!({"id": "x", "method": "exists", "params": {"endpoint": "labs", "names": ["cortexlab"]}});
    writeln!(input, "{}", connect(&alyx)).unwrap();
    writeln!(input, "{request}").unwrap();
    gate.reached().await;
    let (idle, busy) = tokio::task::spawn_blocking(move || {
        let (idle, _input) = after_one_answer(idle, kept_open);
        let said = idle.stop();
        busy.signal("TERM");
        let answer = busy.wait_for("\"id\":\"x\"");
        (said, (answer, busy.wait().code()))
    })
    .await
    .unwrap();
    assert!(idle.iter().all(|line| !line.contains("panicked")), "{idle:?}");
    let answer: Value = serde_json::from_str(&busy.0).unwrap();
    assert_eq!((&answer["error"]["kind"], &answer["exit_code"]), (&json!("Interrupted"), &json!(130)));
    assert_eq!(busy.1, Some(130));
}

/// A process that waits for its next request.
fn after_one_answer(mut program: Program, mut input: ChildStdin) -> (Program, ChildStdin) {
    writeln!(input, "{}", json!({"id": "y", "method": "fly"})).unwrap();
    program.wait_for("\"id\":\"y\"");
    (program, input)
}
