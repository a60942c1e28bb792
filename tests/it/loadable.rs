//! Whether ONE finds what is registered: `check`, the log, `status` and `init` say it if not, and a session counts as
//! registered only if Alyx shows its files in the repository that is named.

use crate::common;
use crate::program::{Configuration, Program, program};
use crate::verbs::{Said, at_home, run};
use std::path::PathBuf;

use alyx_registration::{Error, FlaggedOptions, Mount};
use alyx_sandbox::{Fault, FaultRule, Seed, SeedLab, SeedRepository};
use common::{Alyx, Rig, with_files};
use serde_json::{Value, json};

const FILE: &str = "alf/spikes.times.npy";
const NOT_FOUND: &str = "ONE cannot find the registered files";
const UNTIL_COPIED: &str = "not loadable until copied";

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = more.to_owned();
    Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"))
}

/// Runs a command with a configuration next to the servers of the test.
async fn said(rig: &Rig, config: &PathBuf, words: &[&str]) -> Said {
    let mut command = at_home(rig, words);
    command.arg("--config").arg(config);
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// The rows of `check` about loading, and about the repository, as state, finding and advice.
async fn rows(rig: &Rig, config: &PathBuf, words: &[&str]) -> Vec<(String, String, String)> {
    let json = said(rig, config, &[&["check", "--json"], words].concat()).await.json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = json["checks"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["check"] == "loadable" || row["check"] == "repository");
    let rows = rows.filter(|row| row["check"] == "loadable" || row["state"] != "ok");
    let rows = rows.filter(|row| row["state"] != "skipped" || !words.is_empty());
    rows.map(|row| (text(row, "state"), text(row, "found"), text(row, "what_to_do"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_why_one_does_not_find_the_sessions_and_what_to_do() {
    let served = "https://server.example.org/cortexlab/Subjects/";
    let mut seed = Seed::default();
    for (name, data_url) in [
        ("closed", None),
        ("no_slash", Some(served.trim_end_matches('/'))),
        ("elsewhere", Some("https://server.example.org/")),
    ] {
        let server = seed.repositories.iter().find(|repository| repository.name == "flatiron_cortexlab");
        let data_url = data_url.map(str::to_owned);
        seed.repositories.push(SeedRepository { name: name.into(), data_url, ..server.unwrap().clone() });
    }
    let empty = SeedLab { name: "emptylab".into(), repositories: Vec::new(), ..seed.labs[0].clone() };
    seed.labs.push(empty);
    let (alyx, rig) = (Alyx::seeded(seed).await, Rig::new());
    let candidate = format!("flatiron_cortexlab at {served}");
    for (lab, datasets, expected) in [
        ("cortexlab", "{}", &[(NOT_FOUND, candidate.as_str())][..]),
        ("cortexlab", "{exists: false}", &[(NOT_FOUND, "datasets.exists: false")]),
        (
            "cortexlab",
            "{repository: moon}",
            &[("does not know \"moon\" (datasets.repository)", "created on Alyx")],
        ),
        (
            "cortexlab",
            "{repository: flatiron_mainenlab}",
            &[
                ("\"flatiron_mainenlab\" is not one of lab \"cortexlab\"", "added to the repositories"),
                ("does not end with cortexlab/Subjects/", "data_url of flatiron_mainenlab"),
            ],
        ),
        (
            "cortexlab",
            "{repository: cortexlab_local}",
            &[
                ("it has no data_url", candidate.as_str()),
                ("it is personal (globus_is_personal)", "set to false"),
            ],
        ),
        ("cortexlab", "{repository: closed}", &[("is not one of lab", ""), ("it has no data_url", "")]),
        ("cortexlab", "{repository: no_slash}", &[("is not one of lab", ""), ("end with a slash", "")]),
        ("cortexlab", "{repository: elsewhere}", &[("is not one of lab", ""), ("cortexlab/Subjects/", "")]),
        (
            "cortexlab",
            "{repository: flatiron_cortexlab, exists: false}",
            &[(UNTIL_COPIED, "set datasets.exists: true")],
        ),
        ("emptylab", "{}", &[("lab \"emptylab\" has no repository", "added to lab"), (NOT_FOUND, "")]),
        ("emptylab", "{server_only: true}", &[("lab \"emptylab\" has no repository", "")]),
    ] {
        let rig = Rig::new();
        rig.session(lab, "KS014");
        let config = configuration(&alyx, &rig, &format!("datasets: {datasets}\n"));
        let rows = rows(&rig, &config, &[]).await;
        for (found, advice) in expected {
            let is_it = |(state, text, what): &&(String, String, String)| {
                state != "ok" && text.contains(found) && !what.is_empty() && what.contains(advice)
            };
            assert_eq!(rows.iter().filter(is_it).count(), 1, "{lab} {datasets}: {found} in {rows:#?}");
        }
        assert_eq!(rows.len(), expected.len(), "{lab} {datasets}: {rows:#?}");
    }
    let config = configuration(&alyx, &rig, "datasets: {repository: flatiron_cortexlab}\n");
    rig.session("cortexlab", "KS014");
    let [(state, found, _)] = &rows(&rig, &config, &[]).await[..] else { panic!() };
    assert!(state == "ok" && found.contains("flatiron_cortexlab"), "{state} {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_knows_the_lab_from_the_subjects_of_a_data_root() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session_at("ZM_1085/2024-05-01/001");
    let config = configuration(&alyx, &rig, "datasets: {repository: flatiron_cortexlab}\n");
    let rows = rows(&rig, &config, &[]).await;
    assert!(rows.iter().any(|(_, found, _)| found.contains("not one of lab \"mainenlab\"")), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_without_alyx_what_the_configuration_alone_says() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (datasets, expected) in [
        ("{}", NOT_FOUND),
        ("{repository: x, exists: false}", UNTIL_COPIED),
        ("{repository: x}", "Alyx is not asked"),
    ] {
        let config = configuration(&alyx, &rig, &format!("datasets: {datasets}\n"));
        let [(_, found, _)] = &rows(&rig, &config, &["--offline"]).await[..] else { panic!("{datasets}") };
        assert!(found.contains(expected), "{datasets}: {found}");
    }
    let config = configuration(&alyx, &rig, "datasets: {register: false}\n");
    assert!(rows(&rig, &config, &["--offline"]).await.is_empty(), "no files, nothing to load");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_says_at_its_start_and_in_its_status_that_one_finds_nothing() {
    for (datasets, reason, text) in [
        ("{}", "no_repository", NOT_FOUND),
        ("{exists: false}", "no_repository", NOT_FOUND),
        ("{repository: flatiron_cortexlab, exists: false}", "until_copied", UNTIL_COPIED),
    ] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let config = configuration(&alyx, &rig, &format!("datasets: {datasets}\n"));
        let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
        assert!(daemon.wait_for(text).contains("WARN"), "{}", daemon.text());
        for _ in 0..2 {
            rig.session("cortexlab", "KS014").file(FILE, "a").flag();
            daemon.wait_for("registered session");
        }
        for running in [true, false] {
            if !running {
                daemon.signal("TERM");
                daemon.wait();
            }
            let code = match (running, reason) {
                (false, _) => 69,
                (true, "until_copied") => 0,
                (true, _) => 1,
            };
            let head = said(&rig, &config, &["status"]).await.ends(code).out.to_lowercase();
            let line = head.lines().position(|line| line.contains(&text.to_lowercase()));
            assert!(line.is_some_and(|line| line < 3), "not in the head: {head}");
            let json = said(&rig, &config, &["status", "--json"]).await.json();
            assert_eq!(json["not_loadable"][0]["reason"], reason, "{json}");
            assert!(json["not_loadable"][0]["what_to_do"].as_str().unwrap().contains("datasets."), "{json}");
        }
        assert_eq!(daemon.text().matches(text).count(), 1, "once, not for each session: {}", daemon.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_asks_alyx_once_whether_one_loads_from_the_repository() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "datasets: {repository: cortexlab_local}\n");
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    daemon.wait_for("scanned");
    let json = said(&rig, &config, &["status", "--json"]).await.json();
    assert_eq!(json["not_loadable"], json!([]), "nothing is registered yet");
    rig.session("cortexlab", "KS014").file(FILE, "a").flag();
    daemon.wait_for("it is personal");
    let json = said(&rig, &config, &["status", "--json"]).await.json();
    let reasons: Vec<_> =
        json["not_loadable"].as_array().unwrap().iter().map(|r| r["reason"].clone()).collect();
    assert_eq!(reasons, ["no_address", "personal"], "{json}");
    rig.session("cortexlab", "KS014").file(FILE, "a").flag();
    daemon.wait_for("registered session");
    let asked = alyx.control().requests().into_iter().filter(|r| r.path == "/labs").count();
    assert_eq!(asked, 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_says_that_one_does_not_find_what_it_registers() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session("cortexlab", "KS014").file(FILE, "a").flag();
    let config = configuration(&alyx, &rig, "");
    let said = said(&rig, &config, &["scan"]).await.ends(0);
    assert_eq!(
        (said.err.matches(NOT_FOUND).count(), said.out.matches(NOT_FOUND).count()),
        (1, 0),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn init_says_that_one_does_not_find_the_sessions_unless_a_repository_is_named() {
    let rig = Rig::new();
    let init = |words: &[&str]| {
        let target = rig.beside("new.yaml");
        let mut command =
            at_home(&rig, &["init", "--yes", "--force", "--url", "https://x.org", "--user", "rig"]);
        command.arg("--data-root").arg(rig.root()).arg("--config").arg(&target).args(words);
        (run(&mut command), std::fs::read_to_string(target).unwrap_or_default())
    };
    let (said, _) = init(&[]);
    assert!(said.out.contains(NOT_FOUND) && said.out.contains("set datasets.repository"), "{said:?}");
    let (said, _) = init(&["--repository", "flatiron"]);
    assert!(!said.out.contains("ONE"), "{said:?}");
    let (said, text) = init(&["--repository", "flatiron", "--not-served"]);
    assert!(said.out.contains("Not loadable until copied"), "{said:?}");
    assert!(text.contains("\n  repository: flatiron\n") && text.contains("\n  exists: false\n"), "{text}");
    let (said, _) = init(&["--not-served"]);
    assert!(said.code == 2 && said.err.contains("--repository"), "{said:?}");
}

fn in_repository(name: &str, exists: bool) -> FlaggedOptions {
    let mut options = with_files();
    (options.files.repository, options.files.exists) = (Some(name.into()), exists);
    options
}

/// An Alyx that accepts the correction of a file record and forgets it.
fn forgotten_correction() -> FaultRule {
    let (body, content_type) = ("{}".into(), "application/json".into());
    let fault = Fault::Status { code: 200, body, content_type, retry_after: None };
    FaultRule { method: Some("PATCH".into()), path_prefix: "/files".into(), times: 1, fault }
}

/// What the file records of the only dataset of a session say.
async fn existence(alyx: &Alyx, session: &common::Session) -> Vec<(String, bool)> {
    let [dataset] = &alyx.datasets(session).await[..] else { panic!("not one dataset") };
    let copies = dataset.file_records.iter();
    copies.map(|copy| (copy.data_repository.clone().unwrap(), copy.exists)).collect()
}

#[tokio::test]
async fn with_server_only_the_records_of_the_servers_are_corrected_and_demanded() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(FILE, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let mut servers = with_files();
    servers.files.server_only = true;
    session.flag();
    alyx.control().add_fault(forgotten_correction());
    let error = session.register(&alyx.client(), &servers).await.unwrap_err();
    assert!(matches!(&error, Error::NotConfirmed(why) if why[0].contains("flatiron_cortexlab")), "{error}");
    session.register(&alyx.client(), &servers).await.unwrap();
    let copies = [("cortexlab_local".into(), false), ("flatiron_cortexlab".into(), true)];
    assert_eq!(existence(&alyx, &session).await, copies);
}

#[tokio::test]
async fn a_session_that_was_registered_without_a_repository_is_corrected_when_it_is_registered_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(FILE, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let copies = |server: bool| [("cortexlab_local".into(), false), ("flatiron_cortexlab".into(), server)];
    assert_eq!(existence(&alyx, &session).await, copies(false));
    session.flag();
    session.register(&alyx.client(), &in_repository("flatiron_cortexlab", true)).await.unwrap();
    assert_eq!(existence(&alyx, &session).await, copies(true));
    // Other software may have copied it: nothing resets it.
    for options in [in_repository("flatiron_cortexlab", false), with_files()] {
        session.flag();
        session.register(&alyx.client(), &FlaggedOptions { ..options }).await.unwrap();
        assert_eq!(existence(&alyx, &session).await, copies(true));
    }
}

#[tokio::test]
async fn a_file_that_is_not_copied_yet_counts_as_registered_with_a_record_that_says_so() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(FILE, "a").flag();
    session.register(&alyx.client(), &in_repository("flatiron_cortexlab", false)).await.unwrap();
    let records = existence(&alyx, &session).await;
    assert!(records.contains(&("flatiron_cortexlab".into(), false)) && !session.is_flagged(), "{records:?}");
}

#[tokio::test]
async fn a_session_whose_files_alyx_does_not_show_in_the_repository_keeps_its_flag() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(FILE, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    session.flag();
    alyx.control().add_fault(forgotten_correction());
    let options = in_repository("flatiron_cortexlab", true);
    let error = session.register(&alyx.client(), &options).await.unwrap_err();
    let Error::NotConfirmed(differences) = &error else { panic!("{error}") };
    assert_eq!(differences, &[format!("{FILE}: its file record in flatiron_cortexlab says exists: false")]);
    assert!(session.is_flagged());
    session.register(&alyx.client(), &options).await.unwrap();
    assert!(!session.is_flagged());
}

#[tokio::test]
async fn without_a_named_repository_the_mount_of_a_session_decides() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mount = |path: PathBuf, name: &str| Mount { path, repository: name.into() };
    let mounts = vec![
        mount(rig.root(), "cortexlab_local"),
        mount(rig.root().join("mainenlab/Subjects"), "flatiron_mainenlab"),
    ];
    for (lab, subject, repository) in
        [("cortexlab", "KS014", "cortexlab_local"), ("mainenlab", "ZM_1085", "flatiron_mainenlab")]
    {
        let session = rig.session(lab, subject);
        session.file(FILE, "a").flag();
        let options = FlaggedOptions { mounts: mounts.clone(), ..with_files() };
        session.register(&alyx.client(), &options).await.unwrap();
        let there: Vec<String> =
            existence(&alyx, &session).await.into_iter().filter(|r| r.1).map(|r| r.0).collect();
        assert_eq!(there, [repository]);
        session.file(FILE, "other").flag();
        let options = FlaggedOptions { mounts: mounts.clone(), ..in_repository("flatiron_cortexlab", true) };
        session.register(&alyx.client(), &options).await.unwrap();
        let records = existence(&alyx, &session).await;
        assert!(records.contains(&("flatiron_cortexlab".into(), true)), "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mounts_of_the_configuration_are_checked_and_used() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(FILE, "a").flag();
    let mounted = |name: &str| {
        let path = rig.root().join("cortexlab/Subjects");
        configuration(
            &alyx,
            &rig,
            &format!("repositories:\n  - {{path: {}, name: {name}}}\n", path.display()),
        )
    };
    let rows = rows(&rig, &mounted("moon"), &[]).await;
    let [(state, found, _)] = &rows[..] else { panic!("{rows:#?}") };
    assert!(state == "problem" && found.contains("\"moon\" (repositories)"), "{rows:#?}");
    let config = mounted("flatiron_cortexlab");
    let checked = crate::loadable::rows(&rig, &config, &[]).await;
    assert!(checked.iter().any(|row| row.1.contains("ONE finds what is registered")), "{checked:#?}");
    assert!(checked.iter().all(|row| row.0 == "ok"), "{checked:#?}");
    assert_eq!(said(&rig, &config, &["scan"]).await.ends(0).err, "");
    assert!(existence(&alyx, &session).await.contains(&("flatiron_cortexlab".into(), true)));
}
