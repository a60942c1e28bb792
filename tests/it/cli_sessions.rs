//! `create-session`, `register-session`, `create-sessions`, `new-session` on the command line.

use crate::{common, program, verbs};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, MD5_OF_ABC, Rig, snapshot};
use program::Configuration;
use serde_json::json;
use verbs::{at_home, run, verb, word};

#[tokio::test(flavor = "multi_thread")]
async fn create_session_sends_all_options_and_leaves_the_files_alone() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let (start, end) = (format!("{}T10:00:00", session.date()), format!("{}T11:00:00", session.date()));
    let typed = [
        "create-session",
        word(&session.folder),
        "--users",
        &alyx.user,
        "--lab",
        "cortexlab",
        "--location",
        "rig1",
        "--procedures",
        "Imaging",
        "--procedures",
        "Histology",
        "--projects",
        "practice",
        "--type",
        "Base",
        "--task-protocol",
        "hop",
        "--start-time",
        &start,
        "--end-time",
        &end,
        "--n-trials",
        "12",
        "--n-correct-trials",
        "7",
        "--narrative",
        "a good day",
        "--qc",
        "pass",
        "--session-json",
        r#"{"rig": 2}"#,
        "--json",
    ];
    let said = verb(&alyx, &rig, &typed).ends(0).json();
    assert_eq!((&said["outcome"], &said["folder"]), (&json!("done"), &json!(word(&session.folder))));
    let record = serde_json::to_value(alyx.the_session(&session).await).unwrap();
    assert_eq!(said["eid"], json!(alyx.the_session(&session).await.eid()));
    let expected = json!({
        "users": [alyx.user], "lab": "cortexlab", "location": "rig1", "projects": ["practice"], "type": "Base",
        "task_protocol": "hop", "start_time": start, "end_time": end, "n_trials": 12, "n_correct_trials": 7,
        "narrative": "a good day", "qc": "PASS", "json": {"rig": 2},
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&record[field], value, "{field}");
        assert_eq!(&said["session"][field], value, "{field}");
    }
    assert_eq!(record["procedures"].as_array().unwrap().len(), 2);
    assert!(alyx.datasets(&session).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_registered_with_every_dataset_of_its_folder() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy", "a").file("notes.txt", "x");
    let said = verb(&alyx, &rig, &["register-session", word(&session.folder), "--json"]).ends(0).json();
    let records = said["files"]["records"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{said:#}");
    assert!(records[0]["file"].as_str().unwrap().ends_with("alf/spikes.clusters.npy"));
    assert_eq!(records[1]["record"]["name"], "spikes.times.npy");
    assert_eq!(said["files"]["left_out"], json!([{"path": "notes.txt", "reason": "no ALF name"}]));
    let datasets = alyx.datasets(&session).await;
    assert_eq!(datasets[1].hash.as_deref(), Some(MD5_OF_ABC));

    let text = verb(&alyx, &rig, &["register-session", word(&session.folder)]).ends(0).out;
    assert!(
        text.contains("2 datasets registered (2 of them there already); left out: 1 no ALF name"),
        "{text}"
    );
    let forced = verb(&alyx, &rig, &["register-session", word(&session.folder), "--force", "--json"]).json();
    assert_eq!(forced["files"]["unchanged"], 0);
    assert_eq!(alyx.datasets(&session).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_files_or_none_are_registered() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy", "a");
    verb(&alyx, &rig, &["register-session", word(&session.folder), "--no-files"]).ends(0);
    assert!(alyx.datasets(&session).await.is_empty());
    let file = session.folder.join("alf/spikes.times.npy");
    verb(&alyx, &rig, &["register-session", word(&session.folder), "--file", word(&file)]).ends(0);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_the_exact_requests_and_changes_nothing() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let before = snapshot(&rig.root());
    let folder = word(&session.folder);
    for command in ["create-session", "register-session"] {
        let said = verb(&alyx, &rig, &[command, folder, "--projects", "practice", "--dry-run", "--json"]);
        let said = said.ends(0).json();
        assert_eq!((&said["outcome"], &said["eid"]), (&json!("planned"), &json!(null)));
        assert_eq!(said["request"]["projects"], json!(["practice"]));
        assert_eq!(said["request"]["users"], json!([alyx.user]));
        if command == "register-session" {
            let request = &said["files"]["requests"][0];
            assert_eq!(
                (&request["filenames"], &request["hashes"]),
                (&json!(["alf/spikes.times.npy"]), &json!([MD5_OF_ABC]))
            );
        }
    }
    assert!(alyx.sessions(&session).await.is_empty());
    assert_eq!(snapshot(&rig.root()), before);

    verb(&alyx, &rig, &["create-session", folder]).ends(0);
    let said = verb(&alyx, &rig, &["create-session", folder, "--dry-run", "--json"]).ends(0).json();
    assert_eq!(said["eid"], json!(alyx.the_session(&session).await.eid()));
    assert_eq!(said["request"], json!({}), "a session that is there stays as it is");
    let text = verb(&alyx, &rig, &["create-session", folder, "--dry-run"]).ends(0).out;
    assert!(text.contains("is left as it is"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_one_clear_error_and_nothing_is_created() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let folder = word(&session.folder);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["create-session", "/nowhere/cortexlab"], 1, "there is no folder"),
        (&["create-session", "/tmp"], 1, "not a session folder"),
        (
            &["create-session", folder, "--projects", "none", "--users", "nobody"],
            1,
            "user \"nobody\", project \"none\"",
        ),
        (
            &["create-session", folder, "--start-time", "2001-01-01T10:00:00"],
            1,
            "not on the day of the folder",
        ),
        (&["create-session", folder, "--end-time", "late"], 1, "end_time"),
        (&["create-session", folder, "--lab", "mainenlab"], 1, "is not the lab of the folder"),
        (&["create-session", folder, "--qc", "FINE"], 2, "FINE"),
        (&["create-session", folder, "--n-trials", "many"], 2, "many"),
        (&["create-session", folder, "--session-json", "[1]"], 2, "not an object"),
        (&["create-session", folder, "--session-json", "{"], 2, "not JSON"),
        (&["create-session"], 2, "<FOLDER>"),
        (&["register-session", "/nowhere/KS014/2024-05-01/001"], 1, "there is no folder"),
        (&["register-session", folder, "--no-files", "--file", "x"], 2, "cannot be used with"),
        (&["register-session", folder, "--file", folder], 1, "is a folder"),
        (&["register-session", folder, "--file", "/nowhere"], 1, "cannot be read"),
        (&["register-session", folder, "--protected", "maybe"], 2, "maybe"),
    ];
    for (words, code, text) in cases {
        verb(&alyx, &rig, words).ends(*code).complains(text);
    }
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_below_a_folder_is_registered_and_a_bad_one_does_not_stop_the_rest() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (good, bad) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "nobody"));
    good.file("alf/spikes.times.npy", "abc").flag();
    bad.file("alf/spikes.times.npy", "abc").flag();
    let root = rig.root();
    let said = verb(&alyx, &rig, &["create-sessions", word(&root), "--dry-run", "--json"]).ends(1).json();
    assert_eq!((&said["outcome"], said["sessions"].as_array().unwrap().len()), (&json!("planned"), 2));
    let lines = verb(&alyx, &rig, &["create-sessions", word(&root), "--dry-run"]).ends(1).out;
    let message = lines.lines().find(|line| line.starts_with("failed ")).unwrap_or_default();
    assert!(message.contains("nobody") && lines.contains("1 would be registered, 1 failed"), "{lines}");
    assert!(good.is_flagged() && bad.is_flagged() && alyx.control().sessions().is_empty());

    let said =
        verb(&alyx, &rig, &["create-sessions", word(&root), "--register-files", "--json"]).ends(1).json();
    assert_eq!(said["outcome"], "incomplete");
    let of = |folder: &std::path::Path| {
        let all = said["sessions"].as_array().unwrap();
        all.iter().find(|s| s["folder"] == word(folder)).unwrap().clone()
    };
    assert_eq!(of(&good.folder)["outcome"], "registered");
    assert!(of(&bad.folder)["error"]["message"].as_str().unwrap().contains("nobody"));
    assert!(!good.is_flagged() && bad.is_flagged());
    assert_eq!(alyx.dataset_paths(&good).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_another_name_are_found_by_their_pattern() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("go.flag", "");
    let root = rig.root();
    let words = ["create-sessions", word(&root), "--glob-pattern", "**/go.flag"];
    verb(&alyx, &rig, &words).ends(0);
    assert_eq!(alyx.control().sessions().len(), 1);
    assert!(!session.folder.join("go.flag").exists());
    verb(&alyx, &rig, &["create-sessions", word(&root), "--glob-pattern", "**/[x"])
        .ends(1)
        .complains("pattern");
    verb(&alyx, &rig, &["create-sessions", "/nowhere"]).ends(1).complains("there is no folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_takes_the_next_number_of_its_day() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    // The day of a session that does not exist: no other test uses it.
    let day = rig.session("cortexlab", "KS014");
    let date = day.date();
    std::fs::remove_dir(&day.folder).unwrap();
    let root = rig.root().join("cortexlab/Subjects");
    let words = ["new-session", "KS014", word(&root), "--date", &date, "--projects", "practice", "--json"];
    let planned = verb(&alyx, &rig, &[words.as_slice(), &["--dry-run"]].concat()).ends(0).json();
    assert_eq!((&planned["outcome"], &planned["eid"]), (&json!("planned"), &json!(null)));
    assert!(!std::path::Path::new(planned["folder"].as_str().unwrap()).exists());
    let first = verb(&alyx, &rig, &words).ends(0).json();
    assert_eq!(planned["folder"], first["folder"]);
    assert_eq!(first["folder"], json!(word(&root.join(format!("KS014/{date}/001")))));
    assert!(first["eid"].is_string() && std::path::Path::new(first["folder"].as_str().unwrap()).is_dir());
    let words = ["new-session", "KS014", word(&root), "--date", &date, "--no-register", "--json"];
    let second = verb(&alyx, &rig, &words).ends(0).json();
    assert!(second["folder"].as_str().unwrap().ends_with("002") && second["eid"].is_null(), "{second}");
    let words = ["new-session", "KS014", word(&root), "--date", &date, "--number", "7"];
    let text = verb(&alyx, &rig, &words).ends(0).out;
    assert!(text.contains(&format!("KS014/{date}/007  ")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_new_session_is_refused_before_a_folder_is_created() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let root = rig.root();
    for (words, code, text) in [
        (&["nobody"][..], 1, "subject \"nobody\""),
        (&["KS014", "--date", "07/14/21"], 1, "07/14/21"),
        (&["KS014", "--number", "1000"], 2, "1000"),
        (&["KS014", "--number", "0"], 2, "0"),
    ] {
        let words = [&["new-session", words[0], word(&root)], &words[1..]].concat();
        verb(&alyx, &rig, &words).ends(code).complains(text);
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_one_json_object_too() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "nobody");
    let said = verb(&alyx, &rig, &["create-session", word(&session.folder), "--json"]).ends(1);
    assert_eq!(said.json()["outcome"], "failed");
    assert!(
        said.json()["errors"][0]["message"].as_str().unwrap().contains("nobody") && said.err.is_empty(),
        "{said:?}"
    );
    let rule = FaultRule {
        method: None,
        path_prefix: "/subjects".into(),
        times: usize::MAX,
        fault: Fault::Html(503),
    };
    alyx.control().add_fault(rule);
    let said = verb(&alyx, &rig, &["exists", "subjects", "KS014", "--json"]).ends(69).json();
    assert!(said["errors"][0]["message"].as_str().unwrap().contains("503"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_register_flagged_sessions_show_every_move_before_and_after() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let configuration = Configuration {
        roots: vec![rig.root()],
        url: alyx.url.clone(),
        user: alyx.user.clone(),
        password: alyx.password.clone(),
        more: "datasets:\n  protected: revise\n".into(),
    };
    let config = configuration.write(&rig.beside("config"));
    let scan =
        |more: &[&str]| run(&mut at_home(&rig, &[&["scan", "--config", word(&config)], more].concat()));
    let root = rig.root();
    let create = |more: &[&str]| {
        let words = ["create-sessions", word(&root), "--register-files", "--protected", "revise"];
        verb(&alyx, &rig, &[&words[..], more].concat())
    };
    #[expect(clippy::type_complexity, reason = "two closures, used once")]
    let commands: [&dyn Fn(&[&str]) -> verbs::Said; 2] = [&scan, &create];
    for command in commands {
        let session = rig.session("cortexlab", "KS014");
        let file = session.folder.join("alf/spikes.times.npy");
        session.file("alf/spikes.times.npy", "abc").flag();
        command(&[]).ends(0);
        for id in alyx.datasets(&session).await {
            assert!(alyx.control().protect_dataset(&id.as_registered().id));
        }
        session.file("alf/spikes.times.npy", "new").flag();
        let before = snapshot(&root);
        let revised = format!("alf/#{}#/spikes.times.npy", jiff::Zoned::now().date());
        let move_of = json!([{"from": word(&file), "to": word(&session.folder.join(&revised))}]);
        let moved_by = |said: &verbs::Said| {
            let said = said.json();
            let one = if said["sessions"].is_array() { said["sessions"][0].clone() } else { said };
            one["moved"].clone()
        };

        let to = session.folder.join(&revised);
        let line = format!("move {} to {}", word(&file), word(&to));
        let said = command(&["--dry-run"]).ends(0).out;
        assert!(said.contains(&format!("would {line}")), "{said}");
        assert_eq!(moved_by(&command(&["--dry-run", "--json"]).ends(0)), move_of);
        assert_eq!(snapshot(&root), before);
        assert_eq!(moved_by(&command(&["--json"]).ends(0)), move_of);
        assert!(to.exists() && !file.exists());

        // Again, with text output.
        for id in alyx.datasets(&session).await {
            assert!(alyx.control().protect_dataset(&id.as_registered().id));
        }
        session.file("alf/spikes.times.npy", "newer").flag();
        let said = command(&[]).ends(0).out;
        assert!(said.contains(&format!("moved {} to ", word(&file))), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_would_be_sent_and_which_file_says_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    rig.session_at("cortexlab/Subjects/KS014").file("alyx-session.yaml", "location: rig1\n");
    session.file("alf/spikes.times.npy", "abc").file("alyx-session.yaml", "projects: [practice]\n").flag();
    let (folder, root) = (word(&session.folder), rig.root());
    let above = root.join("cortexlab/Subjects/KS014/alyx-session.yaml");
    for words in [
        &["create-session", folder][..],
        &["register-session", folder],
        &["create-sessions", word(&root)],
        &["new-session", "KS014", word(&root.join("cortexlab/Subjects")), "--date", "2024-05-02"],
    ] {
        let out = verb(&alyx, &rig, &[words, &["--dry-run"]].concat()).ends(0).out;
        assert!(out.contains("would send {") && out.contains("\"location\":\"rig1\""), "{words:?}: {out}");
        assert!(out.contains(&format!("location from {}", word(&above))), "{words:?}: {out}");
        let has_own = words[0] != "new-session";
        assert_eq!(out.contains("projects from alyx-session.yaml"), has_own, "{words:?}: {out}");
        let json = verb(&alyx, &rig, &[words, &["--dry-run", "--json"]].concat()).ends(0).json();
        let one = if json["sessions"].is_array() { &json["sessions"][0] } else { &json };
        assert_eq!(one["request"]["location"], "rig1", "{words:?}: {json}");
        assert!(one["described"].as_str().unwrap().contains("location from "), "{words:?}: {json}");
    }
    assert!(alyx.control().sessions().is_empty());
    // What Alyx holds otherwise is kept, and shown.
    verb(&alyx, &rig, &["create-session", folder, "--location", "rig2"]).ends(0);
    let out = verb(&alyx, &rig, &["register-session", folder, "--dry-run"]).ends(0).out;
    assert!(out.contains("differs  location: \"rig2\" on Alyx is kept, \"rig1\" here"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_whose_sidecar_above_is_broken_is_refused_in_a_dry_run_too() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session_at("KS014").file("alyx-session.yaml", "projcts: [practice]\n");
    let root = rig.root();
    let words = ["new-session", "KS014", word(&root), "--date", "2024-05-02", "--dry-run"];
    verb(&alyx, &rig, &words).ends(1).complains("projcts");
    verb(&alyx, &rig, &[&words[..], &["--no-register"]].concat()).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_makes_no_session_unless_that_is_meant() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let folder = rig.root().join("cortexlab/Subjects/KS014/2024-05-01/001");
    for words in [
        &["create-session", word(&folder)][..],
        &["create-session", word(&folder), "--dry-run"],
        &["register-session", word(&folder), "--no-files"],
    ] {
        verb(&alyx, &rig, words).ends(1).complains("create-session --no-folder");
    }
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01").file("001", "a file");
    verb(&alyx, &rig, &["create-session", word(&folder)]).ends(1).complains("is a file");
    assert!(alyx.control().sessions().is_empty());
    std::fs::remove_file(&folder).unwrap();
    verb(&alyx, &rig, &["create-session", word(&folder), "--no-folder", "--dry-run"]).ends(0);
    verb(&alyx, &rig, &["create-session", word(&folder), "--no-folder"]).ends(0);
    assert_eq!(alyx.control().sessions().len(), 1);
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_corrected_where_its_command_takes_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let (folder, file) = (word(&session.folder), session.folder.join("alf/spikes.times.npy"));
    verb(&alyx, &rig, &["create-session", folder]).ends(0);
    for (words, place) in [
        (&["weight", "KS014", "21", "--by", "nobody"][..], "correct the name in --by;"),
        (&["water", "KS014", "1", "--by", "nobody"], "correct the name in --by;"),
        (&["register-files", word(&file), "--by", "nobody"], "correct the name in --by;"),
        (&["register-files", word(&file), "--labs", "nolab"], "correct the name in --labs or the folder;"),
        (&["create-session", folder, "--users", "nobody"], "correct the name in --users;"),
    ] {
        verb(&alyx, &rig, words).ends(1).complains(place);
        let said = verb(&alyx, &rig, &[words, &["--json"]].concat()).ends(1).json();
        assert!(said["errors"][0]["message"].as_str().unwrap().contains(place), "{said}");
    }
    session.file("alyx-session.yaml", "projects: [none]\n");
    let said = verb(&alyx, &rig, &["create-session", folder, "--users", "nobody", "--dry-run"]).ends(1);
    assert!(said.err.contains("correct the name in its file, or in --users;"), "{said:?}");
}
