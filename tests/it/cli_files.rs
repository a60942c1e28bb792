//! `register-files`, `find-files`, `check-protected` on the command line; and the progress of long work.

use crate::{common, program, verbs};
use std::process::Stdio;

use alyx_client::Endpoint;
use common::{Alyx, MD5_OF_A, MD5_OF_ABC, Rig, Session, snapshot};
use program::Program;
use serde_json::json;
use verbs::{logged_in, verb, word};

/// A session on Alyx, with two datasets that are not.
fn ready(alyx: &Alyx, rig: &Rig) -> (Session, [String; 2]) {
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy", "a");
    verb(alyx, rig, &["create-session", word(&session.folder)]).ends(0);
    let file = |name: &str| word(&session.folder.join(name)).to_owned();
    let files = [file("alf/spikes.times.npy"), file("alf/spikes.clusters.npy")];
    (session, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_in_the_order_of_the_files_with_gaps() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (session, [times, clusters]) = ready(&alyx, &rig);
    session.file("alf/notes.txt", "x");
    let notes = session.folder.join("alf/notes.txt");
    let words = ["register-files", &times, word(&notes), &clusters, "--json"];
    let said = verb(&alyx, &rig, &words).ends(1).json();
    assert_eq!(said["outcome"], "incomplete");
    let records = said["records"].as_array().unwrap();
    let names: Vec<_> = records.iter().map(|r| r["record"]["name"].as_str()).collect();
    assert_eq!(names, [Some("spikes.times.npy"), None, Some("spikes.clusters.npy")]);
    assert!(said["left_out"][0]["reason"].as_str().unwrap().contains("no data format"), "{said}");
    let hashes: Vec<_> = alyx.datasets(&session).await.into_iter().map(|d| d.hash.unwrap()).collect();
    assert_eq!(hashes, [MD5_OF_A, MD5_OF_ABC]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_of_the_command_reaches_the_record() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, [times, clusters]) = ready(&alyx, &rig);
    let words = [
        "register-files",
        &times,
        &clusters,
        "--versions",
        "1.0",
        "--versions",
        "2.0",
        "--created-by",
        "rig_user",
        "--repository",
        "flatiron_cortexlab",
        "--no-exists",
        "--max-md5-size",
        "2B",
        "--labs",
        "cortexlab",
        "--qc",
        "fail",
        "--no-default",
    ];
    verb(&alyx, &rig, &words).ends(0);
    let datasets = alyx.datasets(&session).await;
    let versions: Vec<_> = datasets.iter().map(|d| d.version.as_deref()).collect();
    assert_eq!(versions, [Some("2.0"), Some("1.0")]);
    // Of two sizes, only the smaller is below the limit.
    let hashed: Vec<_> = datasets.iter().map(|d| d.hash.as_deref().is_some_and(|h| !h.is_empty())).collect();
    assert_eq!(hashed, [true, false]);
    for dataset in &datasets {
        assert_eq!((dataset.created_by.as_deref(), dataset.qc_number()), (Some("rig_user"), Some(40)));
        assert_eq!(dataset.default_dataset, Some(false));
        let there = dataset.file_records.iter().filter(|r| r.exists).count();
        assert_eq!(there, 0, "{dataset:?}");
        assert!(
            dataset.file_records.iter().any(|r| r.data_repository.as_deref() == Some("flatiron_cortexlab"))
        );
    }
    let request = alyx.control().requests().into_iter().find(|r| r.path == "/register-file").unwrap();
    assert_eq!(request.body.unwrap()["labs"], "cortexlab");

    verb(&alyx, &rig, &["register-files", &times, "--server-only", "--force"]).ends(0);
    let request = alyx.control().requests().into_iter().rfind(|r| r.path == "/register-file").unwrap();
    assert_eq!(request.body.unwrap()["server_only"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_subject_are_registered_with_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let subject = alyx.client().assert_exists(Endpoint::Subjects, "KS014").await.unwrap();
    let id = subject["id"].as_str().unwrap();
    let file = rig.root().join("Subjects/cortexlab/KS014/wheel.position.npy");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "a").unwrap();
    let words = [
        "register-files",
        word(&file),
        "--content-type",
        "subject",
        "--object-id",
        id,
        "--repository",
        "flatiron_cortexlab",
        "--json",
    ];
    let said = verb(&alyx, &rig, &words).ends(0).json();
    assert_eq!(said["records"][0]["record"]["name"], file.file_name().unwrap().to_str().unwrap());
    let words = ["check-protected", word(&file), "--content-type", "subject", "--object-id", id];
    assert!(verb(&alyx, &rig, &words).ends(0).out.contains("not protected  "));
    let lone = ["register-files", word(&file), "--content-type", "subject"];
    verb(&alyx, &rig, &lone).ends(2).complains("--object-id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_session_folder_is_reported_as_missing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let missing = rig.root().join("nosuch");
    for command in ["find-files", "metadata", "register-session", "create-session"] {
        verb(&alyx, &rig, &[command, word(&missing)])
            .ends(1)
            .complains(&format!("there is no folder {missing:?}; check its name"));
    }
    std::fs::create_dir(&missing).unwrap();
    verb(&alyx, &rig, &["find-files", word(&missing)]).ends(1).complains("not a session folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reads_the_files_and_sends_nothing() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (session, [times, clusters]) = ready(&alyx, &rig);
    let before = snapshot(&rig.root());
    let words = ["register-files", &times, &clusters, "--versions", "1.0", "--dry-run", "--json"];
    let said = verb(&alyx, &rig, &words).ends(0).json();
    assert_eq!(said["outcome"], "planned");
    let request = &said["requests"][0];
    assert_eq!(request["filesizes"], json!([3, 1]));
    assert_eq!(request["versions"], json!(["1.0", "1.0"]));
    assert_eq!(request["hashes"], json!([MD5_OF_ABC, MD5_OF_A]));
    let text = verb(&alyx, &rig, &["register-files", &times, "--dry-run"]).ends(0).out;
    assert!(text.contains("1 dataset would be registered, 3 B"), "{text}");
    assert!(alyx.datasets(&session).await.is_empty());
    assert_eq!(snapshot(&rig.root()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_may_be_relative_to_the_working_directory() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (session, _) = ready(&alyx, &rig);
    let mut command =
        logged_in(&alyx, &rig, &["register-files", "./spikes.times.npy", "../alf/spikes.clusters.npy"]);
    verbs::run(command.current_dir(session.folder.join("alf"))).ends(0);
    assert_eq!(alyx.datasets(&session).await.len(), 2);
    let mut command = logged_in(&alyx, &rig, &["find-files", "."]);
    let said = verbs::run(command.current_dir(&session.folder)).ends(0);
    assert!(said.out.contains("2 datasets, 4 B"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_that_is_not_a_dataset_is_reported_with_its_reason() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session
        .file("alf/spikes.times.npy", "abc")
        .file("alf/._spikes.times.npy", "x")
        .file("alf/notes.txt", "x")
        .file("alf/spikes.times.exe", "x")
        .file("alf/nobody.knows.npy", "x");
    let said = verb(&alyx, &rig, &["find-files", word(&session.folder), "--json"]).ends(0).json();
    assert_eq!(said["files"], json!([{"path": "alf/spikes.times.npy", "size": 3}]));
    let reasons: Vec<(String, String)> = said["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["path"].as_str().unwrap().to_owned(), f["reason"].as_str().unwrap().to_owned()))
        .collect();
    let reason =
        |path: &str| &reasons.iter().find(|(p, _)| p == path).unwrap_or_else(|| panic!("{reasons:?}")).1;
    assert_eq!(reasons.len(), 4);
    assert_eq!(reason("alf/._spikes.times.npy"), "hidden");
    assert_eq!(reason("alf/notes.txt"), "no ALF name");
    assert!(reason("alf/spikes.times.exe").contains("\".exe\""));
    assert!(reason("alf/nobody.knows.npy").contains("dataset type"));
    let text = verb(&alyx, &rig, &["find-files", word(&session.folder)]).ends(0).out;
    assert!(text.contains("left out  alf/notes.txt: no ALF name"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_the_folder_of_the_subject_is_refused_with_the_right_one() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let subjects = rig.root().join("cortexlab/Subjects");
    let own = subjects.join("KS014");
    std::fs::create_dir_all(&own).unwrap();
    let said = verb(&alyx, &rig, &["new-session", "KS014", word(&own)]).ends(1);
    assert!(said.err.contains(&format!("give the folder that holds it, {subjects:?}")), "{said:?}");
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_a_session_says_whether_it_was_created_or_found_and_counts_are_whole_numbers() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let folder = rig.session("cortexlab", "KS014").folder;
    let words = ["create-session", word(&folder)];
    let first = verb(&alyx, &rig, &words).ends(0).out;
    let second = verb(&alyx, &rig, &words).ends(0).out;
    assert!(first.starts_with("created session ") && second.starts_with("found session "), "{first}{second}");
    let words = ["create-session", word(&folder), "--n-trials", "many"];
    verb(&alyx, &rig, &words).ends(2).complains("this is not a whole number");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_problems_of_a_broken_sidecar_are_among_the_errors() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alyx-session.yaml", "projcts: [x]\n");
    let said = verb(&alyx, &rig, &["metadata", word(&session.folder), "--json"]).ends(1).json();
    assert!(said["errors"][0]["message"].as_str().unwrap().contains("projcts: unknown key"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_configuration_excludes_is_not_found() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy", "abc");
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "datasets:\n  exclude: [\"**/spikes.clusters.npy\"]\n".to_owned();
    let config = program::Configuration { roots: vec![rig.root()], url, user, password, more };
    let config = config.write(&rig.beside("etc"));
    let words = ["find-files", word(&session.folder), "--config", word(&config), "--json"];
    let said = verbs::run(&mut verbs::at_home(&rig, &words)).ends(0).json();
    assert_eq!(said["files"], json!([{"path": "alf/spikes.times.npy", "size": 3}]));
    assert_eq!(said["left_out"][0]["reason"], "excluded by datasets.exclude", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_cannot_be_registered_in_its_folder_gives_exit_code_1() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("a lf/spikes.times.npy", "abc");
    let said = verb(&alyx, &rig, &["find-files", word(&session.folder), "--json"]).ends(1).json();
    assert_eq!((&said["outcome"], &said["files"]), (&json!("incomplete"), &json!([])));
    verb(&alyx, &rig, &["find-files", "/nowhere/KS014/2024-05-01/001"])
        .ends(1)
        .complains("there is no folder");
    verb(&alyx, &rig, &["find-files", word(&rig.root())]).ends(1).complains("not a session folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_files_are_reported_then_moved_or_refused_as_requested() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, [times, clusters]) = ready(&alyx, &rig);
    let said = verb(&alyx, &rig, &["register-files", &times, &clusters, "--json"]).ends(0).json();
    let id = said["records"][0]["record"]["id"].as_str().unwrap();
    let free = verb(&alyx, &rig, &["check-protected", &times, &clusters, "--json"]).ends(0).json();
    assert_eq!(free["sessions"][0]["protected"], false);
    assert_eq!(free["sessions"][0]["files"], json!(["alf/spikes.times.npy", "alf/spikes.clusters.npy"]));

    assert!(alyx.control().protect_dataset(id));
    let said = verb(&alyx, &rig, &["check-protected", &times, &clusters, "--json"]).ends(1).json();
    let details = &said["sessions"][0]["details"];
    assert_eq!(details[0]["revisions"], json!([{"revision": "", "protected": true}]), "{said:#}");
    let text = verb(&alyx, &rig, &["check-protected", &times, &clusters]).ends(1).out;
    assert!(text.contains(&format!("protected      {times}: the original")), "{text}");
    assert!(text.contains(&format!("not protected  {clusters}")), "{text}");

    session.file("alf/spikes.times.npy", "new");
    let refused = verb(&alyx, &rig, &["register-files", &times, "--protected", "refuse"]).ends(1);
    refused.complains("protected on Alyx: alf/spikes.times.npy");
    assert!(std::path::Path::new(&times).exists());
    let said =
        verb(&alyx, &rig, &["register-files", &times, "--protected", "revise", "--json"]).ends(0).json();
    let to = said["moved"][0]["to"].as_str().unwrap();
    assert_eq!(
        (&said["moved"][0]["from"], std::fs::read_to_string(to).unwrap().as_str()),
        (&json!(times), "new")
    );
    assert!(!std::path::Path::new(&times).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_file_moves_only_on_request_and_a_dry_run_shows_the_move() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, [times, clusters]) = ready(&alyx, &rig);
    let said = verb(&alyx, &rig, &["register-files", &times, &clusters, "--json"]).ends(0).json();
    assert!(alyx.control().protect_dataset(said["records"][0]["record"]["id"].as_str().unwrap()));
    session.file("alf/spikes.times.npy", "new");
    let flag = session.flag();
    let before = snapshot(&rig.root());

    let (folder, root) = (word(&session.folder), rig.root());
    let today = jiff::Zoned::now().date();
    let to = session.folder.join(format!("alf/#{today}#/spikes.times.npy"));
    let move_of = json!([{"from": times, "to": to.to_string_lossy()}]);
    let commands: [&[&str]; 3] = [
        &["register-files", &times, &clusters],
        &["register-session", folder],
        &["create-sessions", word(&root), "--register-files"],
    ];
    for command in commands {
        let refused = verb(&alyx, &rig, command).ends(1);
        let said = format!("{}{}", refused.out, refused.err);
        assert!(said.contains("protected on Alyx: alf/spikes.times.npy"), "{said}");
        assert!(said.contains("--protected revise"), "{said}");

        // A dry run reports the refusal, or where the file would move.
        let refused = verb(&alyx, &rig, &[command, &["--dry-run"]].concat()).ends(1);
        let said = format!("{}{}", refused.out, refused.err);
        assert!(said.contains("protected on Alyx: alf/spikes.times.npy"), "{said}");
        let revise = [command, &["--protected", "revise", "--dry-run"]].concat();
        let said = verb(&alyx, &rig, &revise).ends(0).out;
        let line = format!("would move {times} to {}", to.display());
        assert!(said.contains(&line), "{said}");
        let said = verb(&alyx, &rig, &[revise.as_slice(), &["--json"]].concat()).ends(0).json();
        let moved = [&said["moved"], &said["files"]["moved"], &said["sessions"][0]["moved"]];
        assert!(moved.contains(&&move_of), "{said:#}");
        assert_eq!(snapshot(&rig.root()), before, "{command:?}");
    }

    // A taken place is skipped, as by the real run.
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(&to, "other").unwrap();
    let command = ["register-files", &times, "--protected", "revise"];
    let said = verb(&alyx, &rig, &[&command[..], &["--dry-run", "--json"]].concat()).ends(0).json();
    let planned = said["moved"].clone();
    let said = verb(&alyx, &rig, &[&command[..], &["--json"]].concat()).ends(0).json();
    assert_eq!(said["moved"], planned);
    assert!(flag.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_one_clear_error() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let file = session.folder.join("alf/spikes.times.npy");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["register-files"], 2, "<FILE>"),
        (&["register-files", word(&file)], 1, "is not on Alyx; create it first"),
        (&["register-files", word(&session.folder)], 1, "is a folder"),
        (&["register-files", "/nowhere.npy"], 1, "cannot be read"),
        (&["register-files", word(&file), "--repository", "moon"], 1, "repository \"moon\""),
        (&["register-files", word(&file), "--max-md5-size", "much"], 2, "this is not a size"),
        (&["register-files", word(&file), "--qc", "FINE"], 2, "FINE"),
        (&["check-protected", word(&file), "--created-by", "nobody"], 1, "user \"nobody\""),
    ];
    for (words, code, text) in cases {
        verb(&alyx, &rig, words).ends(*code).complains(text);
    }
    assert!(alyx.control().datasets().is_empty());
}

/// A sparse file of four terabytes: reading it takes longer than any test.
fn huge(session: &Session) -> String {
    session.file("alf/spikes.times.npy", "");
    let path = session.folder.join("alf/spikes.times.npy");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4 << 40).unwrap();
    word(&path).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_long_work_prints_progress_lines() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, _) = ready(&alyx, &rig);
    let file = huge(&session);
    for words in [&["register-files", &file][..], &["register-session", word(&session.folder), "--json"]] {
        let mut running = Program::start(&mut logged_in(&alyx, &rig, words));
        let line = running.wait_for("reading: ");
        assert!(line.contains(" of 4.4 TB") && line.contains("/s, ") && line.contains(" left"), "{line}");
        assert!(!line.contains('\u{1b}') && !line.contains('\r'), "{line:?}");
        running.wait_for("reading: ");
        running.signal("TERM");
        assert_eq!(running.wait().code(), Some(130), "{}", running.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_prints_progress_lines() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    huge(&session);
    session.flag();
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config = program::Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }
        .write(&rig.beside("etc"));
    let mut running = Program::start(verbs::at_home(&rig, &["scan", "--config", word(&config)]).env("X", ""));
    let line = running.wait_for("reading: ");
    assert!(line.contains("0 of 1 files") && line.contains(" of 4.4 TB"), "{line}");
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(130), "{}", running.text());
    assert!(session.is_flagged());
}

/// Kills a process that is not a child of the test, even if the test fails.
struct KillOnDrop(String);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-KILL", &self.0]).stderr(Stdio::null()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_progress_bar_is_drawn_and_erased() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (session, _) = ready(&alyx, &rig);
    let file = huge(&session);
    // A terminal without a person: `script` of util-linux provides one.
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no command named script here");
    }
    let inner = logged_in(&alyx, &rig, &["register-files", &file]);
    let words: Vec<&str> =
        std::iter::once(inner.get_program()).chain(inner.get_args()).map(|w| w.to_str().unwrap()).collect();
    // The bar is redrawn on one line; this turns each drawing into a line of its own.
    let line = format!(
        "script -qfec 'stty cols 120; echo pid $$; exec {}' /dev/null | tr '\\r' '\\n'",
        words.join(" ")
    );
    let mut terminal = std::process::Command::new("sh");
    terminal.args(["-c", &line]).env("ALYX_PASSWORD", &alyx.password).env("TERM", "xterm");
    terminal.env("HOME", rig.beside("home"));
    let mut running = Program::start(&mut terminal);
    let pid = running.wait_for("pid ").split_whitespace().nth(1).unwrap().to_owned();
    let pid = KillOnDrop(pid);
    let drawn = running.wait_for(" left");
    assert!(drawn.contains("0 of 1 files") && drawn.contains(" of 4.4 TB"), "{drawn:?}");
    assert!(std::process::Command::new("kill").args(["-TERM", &pid.0]).status().unwrap().success());
    assert!(running.wait_for("stopped before it was done").contains("run it again"));
    // The last drawing is an empty line.
    let after = running.text();
    let last = after.rfind(" left").unwrap();
    assert!(after[last..].contains("\u{1b}[2K"), "{:?}", &after[last..]);
    running.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_a_date_folder_asks_for_the_session() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let day = session.folder.parent().unwrap();
    verb(&alyx, &rig, &["find-files", word(day)])
        .ends(1)
        .complains("is a date folder; name the folder of a session in it");
}

/// All kinds of links from a session to a file of the program.
fn plant(session: &Session, name: &str, own: &std::path::Path, hard: bool) -> String {
    let path = session.folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    match hard {
        true => std::fs::hard_link(own, &path).unwrap(),
        false => std::os::unix::fs::symlink(own, &path).unwrap(),
    }
    word(&path).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_gets_a_secret_configuration_or_state_file_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let configuration = program::Configuration {
        roots: vec![rig.root()],
        url: alyx.url.clone(),
        user: alyx.user.clone(),
        password: alyx.password.clone(),
        more: String::new(),
    };
    let config = configuration.write(&rig.beside("etc"));
    let state = rig.beside("etc/state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("ledger.sqlite"), "").unwrap();
    std::os::unix::fs::symlink(rig.beside("etc/password"), rig.beside("chain")).unwrap();
    let (config, password) = (word(&config).to_owned(), rig.beside("etc/password"));
    let ways: [(&std::path::Path, bool); 6] = [
        (&password, false),
        (&password, true),
        (&rig.beside("chain"), false),
        (std::path::Path::new(&config), false),
        (&state.join("ledger.sqlite"), false),
        (&state.join("ledger.sqlite"), true),
    ];
    let refusal = "leads to this program's own configuration, secrets or state; remove the link";
    let mut daemon = Program::start(program::program().args(["run", "--config", &config]));
    daemon.wait_for("data root scanned");
    for (own, hard) in ways {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.clusters.npy", "a");
        let planted = plant(&session, "alf/spikes.times.npy", own, hard);
        let said =
            |words: &[&str]| verbs::run(&mut verbs::at_home(&rig, &[words, &["--config", &config]].concat()));
        said(&["create-session", word(&session.folder)]).ends(0);
        let left_out = said(&["register-files", &planted]).ends(1);
        assert!(left_out.out.contains(refusal), "{left_out:?}");
        let found = said(&["find-files", word(&session.folder)]).ends(1);
        assert!(found.out.contains(refusal), "{found:?}");
        said(&["register-session", word(&session.folder)]).ends(1);
        let flag = session.flag();
        assert!(daemon.wait_for(&session.name()).contains(refusal), "{:#?}", daemon.output_lines);
        assert!(flag.exists());
        // The rig is searched for secrets at the end of the test.
        std::fs::remove_file(planted).unwrap();
    }
    daemon.stop();
    let registered = alyx.control().datasets();
    assert!(registered.iter().all(|dataset| dataset["name"] != "spikes.times.npy"), "{registered:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_links_to_the_password_is_refused_and_never_shown() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let configuration = program::Configuration {
        roots: vec![rig.root()],
        url: alyx.url.clone(),
        user: alyx.user.clone(),
        password: alyx.password.clone(),
        more: String::new(),
    };
    let config = configuration.write(&rig.beside("etc"));
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a");
    let flag = session.folder.join("create_me.flag");
    std::fs::hard_link(rig.beside("etc/password"), &flag).unwrap();
    for dry_run in [&["--dry-run"][..], &[]] {
        let words = [&["scan", "--config", word(&config)], dry_run].concat();
        // `run` searches all output for the password.
        let said = verbs::run(&mut verbs::at_home(&rig, &words));
        let printed = format!("{}{}", said.out, said.err);
        assert!(printed.contains("is another name of one of this program's own files"), "{said:?}");
        assert!(!printed.contains(&alyx.password), "{said:?}");
    }
    // The rig is searched for secrets at the end of the test.
    std::fs::remove_file(flag).expect("the flag stays");
    assert!(alyx.control().datasets().is_empty());
}
