//! Messages name what is wrong and what to do: the address, the proxy, the login, a folder, a name.

use crate::{common, program, tls, verbs};
use std::path::PathBuf;

use common::{Alyx, Rig};
use program::{Configuration, Program, program};
use serde_json::json;
use tls::Authority;
use verbs::{at_home, logged_in, run, verb, word};

const QUESTION: [&str; 3] = ["exists", "subjects", "KS014"];

/// The answer to a question that is sent to this address, with these variables.
async fn asked(alyx: &Alyx, rig: &Rig, url: &str, variables: &[(&str, &str)]) -> verbs::Said {
    let mut command = at_home(rig, &[&QUESTION[..], &["--url", url, "--user", &alyx.user]].concat());
    command.env("ALYX_PASSWORD", &alyx.password);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_proxy_is_named_with_its_variable_and_without_its_password() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        let dead = (variable, "http://me:correct-horse@127.0.0.1:9");
        let said = asked(&alyx, &rig, &alyx.url, &[dead]).await.ends(69);
        let said =
            said.complains(&format!("proxy http://127.0.0.1:9, which the environment variable {variable}"));
        assert!(
            said.err.contains("add 127.0.0.1 to NO_PROXY") && !said.err.contains("correct-horse"),
            "{said:?}"
        );
        for no_proxy in ["*", " * ", "127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "example.org,127.0.0.1"] {
            asked(&alyx, &rig, &alyx.url, &[dead, ("no_proxy", no_proxy)]).await.ends(0);
            asked(&alyx, &rig, &alyx.url, &[dead, ("NO_PROXY", no_proxy)]).await.ends(0);
        }
        asked(&alyx, &rig, &alyx.url, &[dead, ("no_proxy", "10.0.0.0/8,example.org")]).await.ends(69);
    }
    let https = ("https_proxy", "http://127.0.0.1:9");
    asked(&alyx, &rig, &alyx.url, &[https]).await.ends(0);
    asked(&alyx, &rig, "https://127.0.0.1:1", &[https]).await.ends(69).complains("https_proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_the_proxy() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut command = at_home(&rig, &["check", "--config", word(&config)]);
    command.env_remove("no_proxy").env_remove("NO_PROXY").env("http_proxy", "http://127.0.0.1:9");
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().ends(69);
    assert!(said.out.contains("http://127.0.0.1:9") && said.out.contains("http_proxy"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_answered_with_the_likely_right_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (url, https) = (alyx.url.as_str(), alyx.url.replace("http://", "https://"));
    for page in [
        "/sessions",
        "/sessions/",
        "/admin",
        "/admin/actions/session/",
        "/auth-token",
        "/api/schema/",
        "/subjects/KS014",
        "/subjects",
        "/users",
        "/labs",
        "/projects",
        "/locations",
        "/data-formats",
        "/tags",
        "/revisions",
        "/data-repository",
    ] {
        let said = asked(&alyx, &rig, &format!("{url}{page}"), &[]).await.ends(69);
        said.complains(&format!("should alyx.url be {url}?"));
    }
    asked(&alyx, &rig, &https, &[]).await.ends(69).complains(&format!("set alyx.url to {url}"));
    let tls = Authority::new().good_for(url, std::time::Duration::from_secs(3600)).await;
    let http = tls.url.replace("https://", "http://");
    asked(&alyx, &rig, &http, &[]).await.ends(69).complains(&format!("should alyx.url be {}?", tls.url));
    asked(&alyx, &rig, "http://127.0.0.1:1", &[])
        .await
        .ends(69)
        .complains("nothing listens on port 1 of 127.0.0.1");
    asked(&alyx, &rig, "http://alyx.invalid", &[])
        .await
        .ends(69)
        .complains("there is no computer alyx.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_of_one_is_renewed_with_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let folder = rig.beside("home/.one");
    std::fs::create_dir_all(&folder).unwrap();
    let key = alyx_client::one_key(&alyx.url);
    std::fs::write(folder.join(".caches"), json!({"CLIENT_MAP": {&key: "/d"}, "DEFAULT": &key}).to_string())
        .unwrap();
    let token =
        json!({"ALYX_URL": alyx.url, "ALYX_LOGIN": alyx.user, "TOKEN": {&alyx.user: {"token": "0123dead"}}});
    std::fs::write(folder.join(format!(".{key}")), token.to_string()).unwrap();
    let said = run(&mut at_home(&rig, &QUESTION)).ends(77).complains("log in again with ONE");
    assert!(!said.err.contains("0123dead") && !said.err.contains("configuration names"), "{said:?}");
    let mut dead = at_home(&rig, &[&QUESTION[..], &["--url", &alyx.url, "--user", &alyx.user]].concat());
    run(dead.env("ALYX_TOKEN", "0123dead")).ends(77).complains("correct ALYX_PASSWORD or ALYX_TOKEN");
    let config = configuration(&alyx, &rig, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let own: String =
        text.lines().filter(|line| !line.contains("password_file")).map(|line| format!("{line}\n")).collect();
    let with_one = own.replace("alyx:\n", &format!("alyx:\n  one_settings: {}\n", folder.display()));
    std::fs::write(&config, with_one).unwrap();
    run(&mut at_home(&rig, &[&QUESTION[..], &["--config", word(&config)]].concat()))
        .ends(77)
        .complains("log in again with ONE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_never_existed_has_not_vanished() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let nowhere = rig.beside("nowhere/KS014/2024-05-01/001");
    for words in [
        &["register-session", word(&nowhere)][..],
        &["register-session", word(&nowhere), "--dry-run"],
        &["find-files", word(&nowhere)],
        &["create-sessions", word(&nowhere), "--dry-run"],
    ] {
        verb(&alyx, &rig, words).ends(1).complains("there is no folder");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_is_written_otherwise_is_answered_with_the_new_name() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (name, rename) in [
        ("2024-5-2", "rename the folder to 2024-05-02"),
        ("20240502", "rename the folder to 2024-05-02"),
        ("2024_05_02", "rename the folder to 2024-05-02"),
        ("02-05-2024", "rename the folder to 2024-05-02 or 2024-02-05"),
        ("2024-02-30", "not a date that exists"),
    ] {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/{name}/001"));
        session.flag();
        verb(&alyx, &rig, &["register-session", word(&session.folder)]).ends(1).complains(rename);
    }
    let config = configuration(&alyx, &rig, "");
    let said = run(&mut at_home(&rig, &["scan", "--config", word(&config)])).ends(1);
    let text = said.out + &said.err;
    assert!(text.contains("20240502") && text.contains("rename the folder to 2024-05-02"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_of_powershell_is_read_by_its_mark() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let list: Vec<u8> =
        "\u{feff}alf\\spikes.times.npy\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content, datasets) in [(&b"\xff\xfe"[..], 2), (b"\xff\xfe\r\0\n\0", 2), (b"\xfe\xff", 2), (&list, 1)]
    {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "a").file("alf/spikes.clusters.npy", "b");
        std::fs::write(session.folder.join("create_me.flag"), content).unwrap();
        let done = session.register(&alyx.client(), &common::with_files()).await.unwrap();
        assert_eq!(done.n_files, datasets, "{content:?}");
    }
}

#[test]
fn an_unreadable_password_file_is_answered_for_a_person_and_for_the_service() {
    let rig = Rig::new();
    let file = rig.beside("etc/password");
    std::fs::create_dir_all(rig.beside("etc")).unwrap();
    std::fs::write(&file, "secret").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o0);
    std::fs::set_permissions(&file, mode).unwrap();
    // Root is never refused.
    if std::fs::read(&file).is_ok() {
        return;
    }
    let config = Configuration {
        roots: vec![rig.root()],
        url: "http://127.0.0.1:1".into(),
        user: "me".into(),
        password: "secret".into(),
        more: String::new(),
    }
    .write(&rig.beside("etc"));
    let said = run(&mut at_home(&rig, &[&QUESTION[..], &["--config", word(&config)]].concat()));
    said.ends(77).complains("--one-settings ~/.one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_on_the_command_line_names_the_option_and_the_list() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    for command in ["create-session", "register-session"] {
        for (option, name, list) in [
            ("--projects", "practise", "exists projects"),
            ("--procedures", "Behaviour", "exists procedures"),
            ("--users", "test_usr", "exists users"),
            ("--location", "rig11", "exists locations"),
        ] {
            for dry in [&[][..], &["--dry-run"]] {
                let words = [&[command, word(&session.folder), option, name], dry].concat();
                let said = verb(&alyx, &rig, &words).ends(1).complains(option).complains(list);
                assert!(!said.err.contains("configuration"), "{said:?}");
            }
        }
    }
    let said = verb(&alyx, &rig, &["register-session", word(&session.folder), "--projects", "practise"]);
    said.complains("did you mean \"practice\"?");
    let listed = verb(&alyx, &rig, &["exists", "projects"]).ends(0).out;
    assert!(listed.lines().any(|line| line == "practice"), "{listed}");
    let listed = verb(&alyx, &rig, &["exists", "projects", "--json"]).ends(0).json();
    assert!(
        listed["members"].as_array().unwrap().iter().any(|member| member["name"] == "practice"),
        "{listed}"
    );
    for dry in [&[][..], &["--dry-run"]] {
        let words = [&["water", "KS014", "0.5", "--water-type", "Citric"], dry].concat();
        verb(&alyx, &rig, &words).ends(1).complains("choose one of these").complains("Hydrogel");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_name_neither_forges_a_line_nor_controls_the_terminal() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let name = "alf/a\nok    b\u{1b}[31m\u{202e}.npy";
    session.file("alf/spikes.times.npy", "a").file(name, "b").flag();
    let (folder, file) = (session.folder.clone(), session.folder.join(name));
    let config = configuration(&alyx, &rig, "");
    let words: [&[&str]; 8] = [
        &["find-files", word(&folder)],
        &["register-session", word(&folder), "--dry-run"],
        &["register-session", word(&folder)],
        &["register-files", word(&file), "--dry-run"],
        &["register-files", word(&file)],
        &["check-protected", word(&file)],
        &["create-sessions", word(&folder), "--dry-run", "--register-files"],
        &["register-session", word(&file)],
    ];
    let clean = |said: &verbs::Said| {
        for text in [&said.out, &said.err] {
            assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("\nok    b"), "{said:?}");
        }
    };
    for words in words {
        clean(&verb(&alyx, &rig, words));
    }
    for words in [["scan", "--dry-run"], ["scan", "--no-files"], ["history", "--left-out"]] {
        clean(&run(&mut at_home(&rig, &[&words[..], &["--config", word(&config)]].concat())));
    }
    // JSON stays JSON, with the name as it is.
    let said = verb(&alyx, &rig, &["find-files", word(&folder), "--json"]).json();
    assert!(said["left_out"].as_array().unwrap().iter().any(|file| file["path"] == name), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_says_that_a_flag_that_is_there_runs_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let session = rig.session("cortexlab", "KS014");
    session.flag();
    let config = word(&config);
    let mut daemon = Program::start(program().args(["run", "--config", config]));
    daemon.wait_for("registered with gaps");
    daemon.stop();
    let said = run(&mut at_home(&rig, &["forget", &session.name(), "--config", config])).ends(0);
    assert!(
        said.out.contains("If its flag is still there, the daemon registers the session again"),
        "{said:?}"
    );
}

#[test]
fn a_day_that_is_written_differently_is_refused_with_the_form_to_use() {
    let rig = Rig::new();
    for day in ["2024-5-1", "1.5.2024", "2024-02-30", "yesterday"] {
        run(&mut at_home(&rig, &["history", "--date", day]))
            .ends(2)
            .complains("write the day as YYYY-MM-DD, such as 2024-05-01");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retrying_says_how_many_sessions_are_retried() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let config = word(&config);
    rig.session("cortexlab", "nobody").file("a.nwb", "x").flag();
    let mut daemon = Program::start(program().args(["run", "--config", config]));
    daemon.wait_for("needs attention");
    let retry = || run(&mut at_home(&rig, &["retry", "--all", "--config", config])).ends(0).out;
    assert_eq!(retry(), "Retrying 1 session now.\n");
    daemon.stop();
    assert_eq!(retry(), "No daemon is running; it will retry 1 session when it starts.\n");
}

#[test]
fn without_a_daemon_nothing_is_for_zero_seconds() {
    let rig = Rig::new();
    let config = Configuration {
        roots: vec![rig.beside("no such root")],
        url: "http://127.0.0.1:1".into(),
        user: "me".into(),
        password: "x".into(),
        more: String::new(),
    }
    .write(&rig.beside("etc"));
    let said = run(&mut at_home(&rig, &["status", "--config", word(&config)])).ends(69);
    assert!(said.out.contains("no such root") && !said.out.contains("for 0 s"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_status_link_to_the_session_on_alyx() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let config = word(&config);
    let session = rig.session("cortexlab", "KS014");
    session.file("a.nwb", "x").flag();
    let mut daemon = Program::start(program().args(["run", "--config", config]));
    daemon.wait_for("registered with gaps");
    let eid = alyx.the_session(&session).await.eid().to_owned();
    let page = format!("{}/admin/actions/session/{eid}/change", alyx.url);
    let say = |words: &[&str]| run(&mut at_home(&rig, &[words, &["--config", config]].concat())).out;
    common::until("the outcome is in the ledger", || say(&["history"]).contains(&page));
    let status = say(&["status"]);
    assert!(status.contains(&format!("On Alyx: {page}")), "{status}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_beside_the_daemon_tells_how_to_reach_it() {
    let rig = Rig::new();
    rig.session("cortexlab", "KS014").file("a.nwb", "x").flag();
    let root = rig.root();
    // Not by the means of the other tests, which refuse the password in an output: here it is no secret.
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let output = || std::fs::File::options().create(true).append(true).open(&log).unwrap();
    let mut command = program();
    command.args(["run", "--sandbox", "--data-root", word(&root)]).stdout(output()).stderr(output());
    let mut daemon = command.spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    common::until("the session is registered", || said().contains("registered with gaps"));
    let text = said();
    let command = |verb: &str| {
        let line = text.lines().find(|line| line.contains(&format!("alyx-registrar {verb}")));
        line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
    };
    let shell = |line: String| {
        let binary = program().get_program().to_str().unwrap().to_owned();
        let line = line.replace("alyx-registrar", &binary);
        let output =
            std::process::Command::new("sh").args(["-c", &line]).env("HOME", rig.beside("home")).output();
        let output = output.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(text.contains("test_user, with the password TapetesBloc18"), "{text}");
    let status = shell(command("status"));
    assert!(status.contains("The daemon has been running") && status.contains("a.nwb"), "{status}");
    assert!(shell(command("history")).contains("a.nwb"));
    let folder = rig.root().join("cortexlab/Subjects/KS014");
    let day = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let session = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let files = shell(command("find-files").replace("SESSION", word(&session)));
    assert!(files.contains("left out  a.nwb"), "{files}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

#[tokio::test(flavor = "multi_thread")]
async fn measurements_of_another_time_or_of_nothing_are_refused() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (verb, value) in [("water", "0.5"), ("weight", "21")] {
        for dry in [&[][..], &["--dry-run"]] {
            let said = |more: &[&str]| run(&mut logged_in(&alyx, &rig, &[more, dry].concat()));
            said(&[verb, "KS014", value, "--date-time", "2094-05-01T10:00"])
                .ends(1)
                .complains("in the future");
            said(&[verb, "KS014", value, "--date-time", "1970-01-01T10:00"])
                .ends(1)
                .complains("session.earliest");
            said(&[verb, "KS014", "5e-324"]).ends(1).complains("not possible");
            said(&[verb, "KS014", "1e300"]).ends(1).complains("not possible");
        }
        run(&mut logged_in(&alyx, &rig, &[verb, "KS014", value])).ends(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_flag_that_is_written_to_is_not_called_touched() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "watch:\n  settle: 300 ms\n");
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let mut daemon =
        Program::start(program().args(["run", "--log-level", "debug", "--config", word(&config)]));
    daemon.wait_for("flag found");
    session.flag();
    daemon.wait_for("n_files=1");
    let lines = daemon.stop();
    assert!(!lines.iter().any(|line| line.contains("flag touched")), "{lines:#?}");
}
