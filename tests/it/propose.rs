//! `propose`: finds what Alyx lacks, and creates it one record at a time.

use std::process::Command;

use alyx_sandbox::{Fault, FaultRule, Seed};
use serde_json::{Value, json};

use crate::common::{Alyx, Rig, http};
use crate::terminal::Terminal;
use crate::verbs::{Said, logged_in, run, verb, word};

const URL: &str = "http://127.0.0.1:9/newlab/Subjects/";

/// A new lab's rig: two dataset types, a data format and everything else that an empty Alyx lacks.
fn new_rig() -> Rig {
    let rig = Rig::new();
    for number in ["001", "002"] {
        let session = rig.session_at(&format!("newlab/Subjects/M1/2024-05-01/{number}"));
        session.file("alf/spikes.times.npy", "1").file("alf/licks.raw.npy", "2").file("notes.txt", "3");
        session.file("raw/frame001.image.h5x", "4").file("raw/frame002.image.h5x", "5");
        session.flag();
    }
    rig
}

async fn empty() -> Alyx {
    Alyx::seeded(Seed::empty()).await
}

fn words<'a>(root: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["propose", root, "--repository", "newlab_disk", "--data-url", URL, "--projects", "pilot"], more]
        .concat()
}

async fn propose(alyx: &Alyx, rig: &Rig, more: &[&str]) -> Said {
    let root = rig.root();
    let words = words(word(&root), more).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut command = logged_in(alyx, rig, &words.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

async fn token(alyx: &Alyx) -> String {
    let login = json!({"username": alyx.user, "password": alyx.password});
    let answer = http().post(format!("{}/auth-token", alyx.url)).json(&login).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
}

async fn send(alyx: &Alyx, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = http().request(method.parse().unwrap(), format!("{}{path}", alyx.url));
    let request = request.header("Authorization", format!("Token {}", token(alyx).await));
    let request = if body.is_null() { request } else { request.json(body) };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

fn kinds(json: &Value, list: &str) -> Vec<String> {
    let items = json[list].as_array().unwrap_or_else(|| panic!("{json}"));
    let text =
        |item: &Value| format!("{} {}", item["kind"].as_str().unwrap(), item["name"].as_str().unwrap());
    items.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_empty_alyx_lacks_is_listed_and_nothing_is_created() {
    let (rig, alyx) = (new_rig(), empty().await);
    let said = propose(&alyx, &rig, &["--location", "room1", "--users", "ana"]).await.ends(1);
    for line in [
        "For 2 sessions in",
        "data format h5x: extension .h5x",
        "dataset type licks.raw: pattern licks.raw.*; for licks.raw.npy",
        "dataset type frame.image: pattern frame[0-9]*.image.*; for frame001.image.h5x, frame002.image.h5x",
        "repository newlab_disk: files at http://127.0.0.1:9/newlab/Subjects/",
        "lab newlab: the lab of these sessions",
        "project pilot",
        &format!("subject M1  {}/admin/subjects/subject/add/", alyx.url),
        &format!("user ana  {}/admin/misc/labmember/add/", alyx.url),
        &format!("location room1  {}/admin/misc/lablocation/add/", alyx.url),
        "no dataset type takes them: notes.txt",
        "--apply",
    ] {
        assert!(said.out.contains(line), "{line:?} is not in:\n{}", said.out);
    }
    assert!(!said.out.contains("spikes.times"), "{said:?}");
    let writes = alyx.control().requests().into_iter().filter(|request| request.method != "GET");
    assert!(writes.into_iter().all(|request| request.path == "/auth-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_read_back_undone_in_reverse_and_never_proposed_again() {
    let (rig, alyx) = (new_rig(), empty().await);
    let said = propose(&alyx, &rig, &["--apply", "--yes", "--json"]).await.ends(1).json();
    let made = kinds(&said, "made");
    let all = [
        "data format h5x",
        "dataset type frame.image",
        "dataset type licks.raw",
        "repository newlab_disk",
        "lab newlab",
        "project pilot",
    ];
    assert_eq!(made, all);
    assert_eq!(said["made"][2]["record"]["filename_pattern"], "licks.raw.*");
    assert_eq!(kinds(&said, "by_hand"), ["subject M1"]);
    // The subject alone is left; subjects are never created.
    let again = propose(&alyx, &rig, &["--json"]).await.ends(1).json();
    assert_eq!((&again["changes"], &again["open"]), (&json!([]), &json!([])));
    assert_eq!(send(&alyx, "GET", "/subjects/M1", &Value::Null).await.0, 404);
    let subject = json!({"nickname": "M1", "lab": "newlab"});
    assert_eq!(send(&alyx, "POST", "/subjects", &subject).await.0, 201);
    let said = propose(&alyx, &rig, &[]).await.ends(0);
    assert!(said.out.starts_with("Alyx has everything for 2 sessions"), "{said:?}");
    let said = propose(&alyx, &rig, &["--apply", "--yes"]).await.ends(0);
    assert!(said.out.contains("0 of 0 changes made"), "{said:?}");
}

async fn said_json(alyx: &Alyx, rig: &Rig) -> Value {
    propose(alyx, rig, &["--json"]).await.json()
}

fn json_list(json: &Value, list: &str) -> Vec<Value> {
    json[list].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_list_leaves_alyx_as_it_was() {
    let (rig, alyx) = (new_rig(), empty().await);
    let before = said_json(&alyx, &rig).await["changes"].clone();
    let said = propose(&alyx, &rig, &["--apply", "--yes", "--json"]).await.json();
    assert!(said["undo"][5]["id"].is_string(), "{said}");
    for call in json_list(&said, "undo") {
        let (method, path) = (call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
        assert!(send(&alyx, method, path, &call["body"]).await.0 < 300, "{call}");
    }
    assert_eq!(said_json(&alyx, &rig).await["changes"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_requests_run_as_they_are_printed() {
    let (rig, alyx) = (new_rig(), empty().await);
    let said = propose(&alyx, &rig, &["--rest"]).await.ends(1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &said.out]).env("ALYX_TOKEN", token(&alyx).await);
    let ran = tokio::task::spawn_blocking(move || run(&mut shell)).await.unwrap().ends(0);
    assert!(ran.out.contains("licks.raw"), "{ran:?}");
    assert_eq!(said_json(&alyx, &rig).await["changes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_each_record_is_asked_for_and_only_yes_creates_it() {
    let (rig, alyx) = (new_rig(), empty().await);
    let root = rig.root();
    let mut command = logged_in(&alyx, &rig, &words(word(&root), &["--apply"]));
    let said = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(&mut command);
        terminal.wait_for("Create data format h5x: extension .h5x");
        terminal.answer("y");
        terminal.wait_for("Create dataset type frame.image");
        terminal.answer("");
        terminal.wait_for("Create dataset type licks.raw");
        terminal.answer("yes");
        terminal.wait_for("Create repository newlab_disk");
        terminal.interrupt();
        assert_eq!(terminal.end().code(), Some(130));
        terminal.said.clone()
    })
    .await
    .unwrap();
    assert!(
        said.contains("To undo this") && said.contains("DELETE") && said.contains("/dataset-types/licks.raw"),
        "{said}"
    );
    assert_eq!(send(&alyx, "GET", "/dataset-types/licks.raw", &Value::Null).await.0, 200);
    assert_eq!(send(&alyx, "GET", "/dataset-types/frame.image", &Value::Null).await.0, 404);
    assert_eq!(send(&alyx, "GET", "/data-repository/newlab_disk", &Value::Null).await.0, 404);
    // Without a terminal nobody can answer.
    propose(&alyx, &rig, &["--apply"]).await.ends(2).complains("add --yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_holds_up_only_what_needs_it_and_the_undo_list_names_what_was_made() {
    let (rig, alyx) = (new_rig(), empty().await);
    let fault = Fault::Status {
        code: 400,
        body: r#"{"name": ["no"]}"#.into(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    let rule = |path: &str, fault| FaultRule {
        method: Some("POST".into()),
        path_prefix: path.into(),
        times: 1,
        fault,
    };
    alyx.control().add_fault(rule("/data-repository", fault));
    let said = propose(&alyx, &rig, &["--apply", "--yes"]).await.ends(1);
    assert!(said.err.contains("repository newlab_disk: ") && said.err.contains("no"), "{said:?}");
    let undo: Vec<&str> = said.out.lines().filter(|line| line.contains("DELETE")).collect();
    assert!(undo[0].contains("/projects/pilot") && undo[3].contains("/data-formats/h5x"), "{said:?}");
    // A project has no id.
    assert!(undo.iter().skip(1).all(|line| line.contains("# id ")), "{undo:?}");
    assert_eq!(undo.len(), 4, "{said:?}");
    assert!(said.out.contains("skipped  lab newlab: its repository was not created"), "{said:?}");

    // The answer is lost, the record is there: it belongs on the list.
    alyx.control().add_fault(rule("/data-repository", Fault::ApplyThenDrop));
    let said = propose(&alyx, &rig, &["--apply", "--yes"]).await.ends(69);
    assert!(said.out.contains("DELETE") && said.out.contains("/data-repository/newlab_disk"), "{said:?}");
    let said = propose(&alyx, &rig, &["--apply", "--yes"]).await.ends(1);
    assert!(said.out.contains("1 of 1 changes made"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_write_creates_nothing() {
    let mut seed = Seed::empty();
    seed.users[0].public = true;
    let (rig, alyx) = (new_rig(), Alyx::seeded(seed).await);
    propose(&alyx, &rig, &[]).await.ends(1);
    let said = propose(&alyx, &rig, &["--apply", "--yes"]).await.ends(1);
    assert!(said.err.contains("not allowed") && said.out.contains("0 of 6 changes made"), "{said:?}");
    let said = propose(&alyx, &rig, &["--apply", "--yes", "--json"]).await.ends(1).json();
    assert_eq!(
        (&said["outcome"], &said["made"], &said["undo"]),
        (&json!("incomplete"), &json!([]), &json!([]))
    );
    let error = &said["errors"][0];
    assert_eq!((&error["kind"], &error["retryable"]), (&json!("Forbidden"), &json!(false)), "{said}");
    assert!(error["message"].as_str().unwrap().starts_with("data format h5x: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_linked_to_the_lab_and_the_links_that_it_has_stay() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001").file("alf/spikes.times.npy", "1");
    let root = rig.root();
    let address = "http://127.0.0.1:9/cortexlab/Subjects";
    let apply =
        ["propose", word(&root), "--repository", "new", "--data-url", address, "--apply", "--yes", "--json"];
    let apply = apply.map(str::to_owned);
    let mut command = logged_in(&alyx, &rig, &apply.each_ref().map(String::as_str));
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().ends(0).json();
    assert_eq!(kinds(&said, "made"), ["repository new", "lab cortexlab"]);
    let outcomes = json_list(&said, "made").into_iter().map(|record| record["outcome"].clone());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["created", "updated"]);
    let (_, lab) = send(&alyx, "GET", "/labs/cortexlab", &Value::Null).await;
    assert_eq!(lab["repositories"], json!(["cortexlab_local", "flatiron_cortexlab", "new"]));
    assert_eq!(said["undo"][0]["body"], json!({"repositories": ["cortexlab_local", "flatiron_cortexlab"]}));
    let (_, new) = send(&alyx, "GET", "/data-repository/new", &Value::Null).await;
    assert_eq!(new["data_url"], "http://127.0.0.1:9/cortexlab/Subjects/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_probably_misspelt_is_not_created_unseen() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    rig.session_at("cortexlap/Subjects/ks014/2024-05-01/001").file("alf/spikes.times.npy", "1");
    let root = rig.root();
    let run_it = |more: &'static [&'static str]| {
        let words = [&["propose", word(&root)][..], more].concat();
        let mut command = logged_in(&alyx, &rig, &words);
        tokio::task::spawn_blocking(move || run(&mut command))
    };
    let said = run_it(&[]).await.unwrap().ends(1);
    assert!(said.out.contains("(did you mean cortexlab?)"), "{said:?}");
    assert!(said.out.contains("subject ks014 (did you mean KS014?)"), "{said:?}");
    let said = run_it(&["--apply", "--yes"]).await.unwrap().ends(1);
    assert!(said.out.contains("skipped  lab cortexlap"), "{said:?}");
    assert_eq!(send(&alyx, "GET", "/labs/cortexlap", &Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_may_be_a_root_a_subject_or_a_session_and_the_configuration_counts() {
    let (rig, alyx) = (new_rig(), empty().await);
    let root = rig.root();
    let subject = root.join("newlab/Subjects/M1");
    for (folder, n) in [(root.clone(), 2), (subject.clone(), 2), (subject.join("2024-05-01/002"), 1)] {
        let said = verb_in(&alyx, &rig, &["propose", word(&folder), "--json"]).await.ends(1).json();
        assert_eq!((&said["sessions"], kinds(&said, "changes").len()), (&json!(n), 4), "{said}");
        assert!(said["open"][0].as_str().unwrap().contains("lab newlab has no repository"), "{said}");
    }
    verb_in(&alyx, &rig, &["propose", word(&subject.join("2024-05-01/002/alf"))])
        .await
        .ends(1)
        .complains("no session");
    for url in ["data.org/lab", "ftp://data.org/", "http://", "http://data.org/?x", "https://me:pw@data.org/"]
    {
        let words = ["propose", word(&root), "--data-url", url];
        verb_in(&alyx, &rig, &words).await.ends(2).complains("--data-url: ");
    }
    verb_in(&alyx, &rig, &["propose", "/nowhere"]).await.ends(1).complains("cannot be read");

    let config = rig.beside("config.yaml");
    std::fs::write(rig.beside("password"), &alyx.password).unwrap();
    let text = json!({
        "data_roots": [root], "state_dir": rig.beside("state"),
        "alyx": {"url": alyx.url, "username": alyx.user, "password_file": rig.beside("password")},
        "session": {"projects": ["pilot"], "location": "room1"},
        "datasets": {"repository": "newlab_disk", "exclude": ["*.h5x"]},
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut command =
        crate::verbs::at_home(&rig, &["propose", word(&root), "--config", word(&config), "--json"]);
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().ends(1).json();
    assert_eq!(kinds(&said, "changes"), ["dataset type licks.raw", "lab newlab", "project pilot"]);
    assert_eq!(kinds(&said, "by_hand"), ["subject M1", "location room1"]);
    assert!(said["open"][0].as_str().unwrap().contains("Alyx has no repository newlab_disk"), "{said}");
}

async fn verb_in(alyx: &Alyx, rig: &Rig, words: &[&str]) -> Said {
    tokio::task::block_in_place(|| verb(alyx, rig, words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_stops_the_script() {
    let (rig, alyx) = (new_rig(), empty().await);
    let said = propose(&alyx, &rig, &["--rest"]).await.ends(1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &said.out]).env("ALYX_TOKEN", "wrong");
    let before = alyx.control().requests().len();
    let ran = tokio::task::spawn_blocking(move || run(&mut shell)).await.unwrap();
    assert_ne!(ran.code, 0);
    assert_eq!(alyx.control().requests().len(), before + 1, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_a_session_is_reported_and_holds_no_other_up() {
    use std::os::unix::ffi::OsStrExt;
    let (rig, alyx) = (new_rig(), empty().await);
    let latin = std::ffi::OsStr::from_bytes(b"newlab/Subjects/M\xe9");
    std::fs::create_dir_all(rig.root().join(latin).join("2024-05-01/001")).unwrap();
    for bad in ["M 1/2024-05-01/001", "M1/2024-02-30/001", "M1/2024-05-01/0003"] {
        rig.session_at(&format!("newlab/Subjects/{bad}"));
    }
    for more in [&[][..], &["--rest"], &["--apply", "--yes"]] {
        let said = propose(&alyx, &rig, more).await.ends(1);
        for wanted in ["M 1", "2024-02-30", "0003", r"M\xE9"] {
            assert!(said.err.contains(wanted) && !said.out.contains(wanted), "{wanted} {said:?}");
        }
        assert!(said.out.contains("licks.raw"), "{said:?}");
    }
    let said = propose(&alyx, &rig, &["--json"]).await.ends(1).json();
    assert_eq!((&said["sessions"], said["errors"].as_array().unwrap().len()), (&json!(2), 4), "{said}");
    let kinds: Vec<&Value> = said["errors"].as_array().unwrap().iter().map(|e| &e["kind"]).collect();
    assert_eq!(kinds, ["NotASession"; 4]);
    // With nothing else in it.
    let only = rig.root().join("newlab/Subjects/M 1");
    verb_in(&alyx, &rig, &["propose", word(&only)]).await.ends(1).complains("M 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_each_record_is_made_by_one_and_on_the_undo_list_of_that_one() {
    let (rig, alyx) = (new_rig(), empty().await);
    let gate = alyx_sandbox::Gate::default();
    alyx.control().add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/data-formats".into(),
        times: 1,
        fault: Fault::Hold(gate.clone()),
    });
    let root = rig.root();
    let command = || logged_in(&alyx, &rig, &words(word(&root), &["--apply", "--yes", "--json"]));
    let mut slow = command();
    let slow = tokio::task::spawn_blocking(move || run(&mut slow));
    gate.reached().await;
    let mut fast = command();
    let fast = tokio::task::spawn_blocking(move || run(&mut fast)).await.unwrap().ends(1).json();
    gate.open();
    let slow = slow.await.unwrap().ends(1).json();
    assert_eq!((kinds(&fast, "made").len(), kinds(&slow, "made").len()), (6, 0), "{slow}");
    assert_eq!((&slow["undo"], &slow["errors"]), (&json!([]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_sidecars_and_rig_files_mention_are_proposed_with_their_files_and_users_are_never_created()
{
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let session = rig.session_at("KS014/2024-05-01/001");
    session.file(
        "alyx-session.yaml",
        "projects: [mouse_x]\nprocedures: [Levitation]\nlab: nolab\ndatasets: {repository: nowhere}\n",
    );
    let settings = crate::metadata::settings(json!({"ALYX_USER": "carl", "RIG_NAME": "rig_x"}));
    session.file("raw_behavior_data/_iblrig_taskSettings.raw.json", settings).flag_with("users: [bob]\n");
    let other = rig.session_at("KS014/2024-05-02/001");
    other.file("alyx-session.yaml", "projcts: [mouse_x]\n");
    let settings = "(raw_behavior_data/_iblrig_taskSettings.raw.json: RIG_NAME of KS014/2024-05-01/001)";
    let root = rig.root();
    let said = verb(&alyx, &rig, &["propose", word(&root)]).ends(1);
    for line in [
        "project mouse_x: named in alyx-session.yaml:1: projects of KS014/2024-05-01/001",
        "procedure Levitation: named in alyx-session.yaml:2: procedures of",
        "user bob: named in create_me.flag:1: users of KS014/2024-05-01/001",
        &format!("location rig_x: named in {}", settings.trim_matches(['(', ')'])),
        "lab nolab: the lab of these sessions",
        "Alyx has no repository nowhere, which is named in alyx-session.yaml:4: datasets.repository of",
        "KS014/2024-05-02/001: alyx-session.yaml:1: projcts: unknown key",
    ] {
        assert!(said.out.contains(line), "{line:?} is not in:\n{}", said.out);
    }
    // The sidecar is stronger than the rig's file.
    assert!(!said.out.contains("carl"), "{}", said.out);
    let said = verb(&alyx, &rig, &["propose", word(&root), "--apply", "--yes", "--json"]).ends(1).json();
    assert_eq!(kinds(&said, "made"), ["lab nolab", "project mouse_x"]);
    let by_hand = kinds(&said, "by_hand");
    for name in ["user bob", "location rig_x", "procedure Levitation"] {
        assert!(by_hand.contains(&name.to_owned()), "{name}: {by_hand:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_another_lab_in_a_sidecar_is_pointed_out() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alyx-session.yaml", "datasets: {repository: flatiron_mainenlab}\n");
    let root = rig.root();
    let said = verb(&alyx, &rig, &["propose", word(&root)]).ends(1);
    let line = "the repository \"flatiron_mainenlab\" is not one of lab \"cortexlab\" on Alyx, but named in \
                alyx-session.yaml:1: datasets.repository";
    assert!(said.out.contains(line), "{}", said.out);
}

/// A configuration of the rig with these keys besides.
fn configured(alyx: &Alyx, rig: &Rig, more: Value) -> std::path::PathBuf {
    let config = rig.beside("config.yaml");
    std::fs::write(rig.beside("password"), &alyx.password).unwrap();
    let mut text = json!({
        "data_roots": [rig.root()], "state_dir": rig.beside("state"),
        "alyx": {"url": alyx.url, "username": alyx.user, "password_file": rig.beside("password")},
    });
    text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    std::fs::write(&config, text.to_string()).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_repositories_in_the_configuration_each_lab_gets_that_of_its_folder() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let labs = [("mainenlab", "ZM_1743", "flatiron_mainenlab"), ("cortexlab", "KS014", "cortexlab_new")];
    for (lab, subject, _) in labs {
        let session = rig.session_at(&format!("{lab}/Subjects/{subject}/2024-05-01/001"));
        session.file("alf/spikes.times.npy", "1");
    }
    let new = json!({"name": "cortexlab_new", "data_url": "http://127.0.0.1:9/cortexlab/Subjects/"});
    assert_eq!(send(&alyx, "POST", "/data-repository", &new).await.0, 201);
    let mounts =
        labs.map(|(lab, _, name)| json!({"path": rig.root().join(lab).join("Subjects"), "name": name}));
    let config = configured(&alyx, &rig, json!({"repositories": mounts}));
    let root = rig.root();
    let words = ["propose", word(&root), "--config", word(&config), "--apply", "--yes", "--json"];
    let mut command = crate::verbs::at_home(&rig, &words);
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().json();
    assert_eq!(kinds(&said, "made"), ["lab cortexlab"], "{said}");
    let linked = json!(["cortexlab_local", "flatiron_cortexlab", "cortexlab_new"]);
    assert_eq!(said["made"][0]["record"]["repositories"], linked);
    let (_, lab) = send(&alyx, "GET", "/labs/mainenlab", &Value::Null).await;
    assert!(!lab["repositories"].to_string().contains("cortexlab_new"), "{lab}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_being_copied_needs_no_data_format() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "1").file("alf/spikes.clusters.npy.part", "2");
    let root = rig.root();
    let said = verb_in(&alyx, &rig, &["propose", word(&root)]).await;
    assert!(!said.out.contains("data format") && !said.out.contains("dataset type"), "{said:?}");
    assert!(said.out.contains("being copied: spikes.clusters.npy.part"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_printed_request_is_valid_json_whatever_a_name_contains() {
    let (rig, alyx) = (new_rig(), empty().await);
    let root = rig.root();
    let name = "pi\u{202e}l'ot";
    let said = verb_in(&alyx, &rig, &["propose", word(&root), "--projects", name, "--rest"]).await.ends(1);
    let line = said.out.lines().find(|line| line.contains("/projects")).unwrap();
    let body = line.split_once(" -d ").unwrap().1.trim_matches('\'').replace(r"'\''", "'");
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(body["name"], name);
    assert!(!said.out.contains('\u{202e}'), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_alyx_would_not_store_as_it_is_is_reported_and_never_sent() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001").file("alf/spikes.times.npy", "1");
    let root = rig.root();
    let words = ["propose", word(&root), "--projects", "good one, bad,.,..", "--apply", "--yes", "--json"];
    let said = verb_in(&alyx, &rig, &words).await.ends(1).json();
    assert_eq!(kinds(&said, "made"), ["project good one"], "{said}");
    for name in [r#"project " bad""#, r#"project ".""#, r#"project "..""#] {
        assert!(json_list(&said, "open").iter().any(|open| open.as_str().unwrap().contains(name)), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_created_but_is_not_found_again_is_on_the_undo_list() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001").file("alf/spikes.times.npy", "1");
    let fault = Fault::Status {
        code: 404,
        body: r#"{"detail": "Not found."}"#.into(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    let (method, path_prefix) = (Some("GET".into()), "/projects/pilot".into());
    // Asked for the proposal, before the creation and after it.
    alyx.control().add_fault(FaultRule { method, path_prefix, times: 3, fault });
    let root = rig.root();
    let words = ["propose", word(&root), "--projects", "pilot", "--apply", "--yes", "--json"];
    let said = verb_in(&alyx, &rig, &words).await.json();
    assert_eq!((&said["made"], &said["errors"][0]["kind"]), (&json!([]), &json!("NotConfirmed")), "{said}");
    assert_eq!(said["undo"][0]["path"], "/projects/pilot", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_broken_sidecar_alyx_is_not_said_to_have_everything() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "1").file("alyx-session.yaml", "projcts: [x]\n");
    let root = rig.root();
    let said = verb_in(&alyx, &rig, &["propose", word(&root)]).await.ends(1);
    assert!(said.out.starts_with("As far as its files can be read, Alyx has everything for 1 session"));
    assert!(said.out.contains("projcts: unknown key"), "{said:?}");
    verb_in(&alyx, &rig, &["propose", word(&root), "--apply", "--yes"]).await.ends(1);
}
