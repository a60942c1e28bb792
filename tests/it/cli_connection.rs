//! Which Alyx a verb uses, and as which user; kept tokens; ONE's settings; completions and the manual page.

use crate::{common, program, verbs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Alyx, Rig};
use program::{Configuration, Program};
use serde_json::json;
use verbs::{at_home, run, word};

const QUESTION: [&str; 3] = ["exists", "subjects", "KS014"];

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

/// The settings that ONE writes after a login, with a secret.
fn one_settings(alyx: &Alyx, folder: &Path, secret: serde_json::Value) {
    std::fs::create_dir_all(folder).unwrap();
    let key = alyx_client::one_key(&alyx.url);
    let caches = json!({"CLIENT_MAP": {&key: "/data"}, "DEFAULT": &key});
    std::fs::write(folder.join(".caches"), caches.to_string()).unwrap();
    let mut settings = json!({"ALYX_URL": alyx.url, "ALYX_LOGIN": alyx.user});
    settings.as_object_mut().unwrap().extend(secret.as_object().unwrap().clone());
    std::fs::write(folder.join(format!(".{key}")), settings.to_string()).unwrap();
}

async fn token(alyx: &Alyx) -> String {
    let login = [("username", &alyx.user), ("password", &alyx.password)];
    let answer = crate::common::http().post(format!("{}/auth-token", alyx.url)).form(&login).send().await;
    let answer: serde_json::Value = answer.unwrap().json().await.unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn ask(rig: &Rig, more: &[&str]) -> std::process::Command {
    at_home(rig, &[&QUESTION, more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_takes_its_password_or_token_from_the_environment() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let typed = ["--url", &alyx.url, "--user", &alyx.user];
    run(ask(&rig, &typed).env("ALYX_PASSWORD", &alyx.password)).ends(0);
    run(ask(&rig, &typed).env("ALYX_TOKEN", token(&alyx).await)).ends(0);
    run(ask(&rig, &["--url", &alyx.url]).env("ALYX_TOKEN", token(&alyx).await)).ends(0);
    run(ask(&rig, &typed).env("ALYX_TOKEN", "x").env("ALYX_PASSWORD", "y")).ends(77).complains("unset one");
    run(&mut ask(&rig, &typed)).ends(77).complains("set ALYX_PASSWORD or ALYX_TOKEN");
    run(ask(&rig, &["--url", &alyx.url]).env("ALYX_PASSWORD", "x")).ends(2).complains("--user");
    let wrong = run(ask(&rig, &typed).env("ALYX_PASSWORD", "correct-horse")).ends(77);
    assert!(!wrong.complains("refuses the login").err.contains("correct-horse"));
    let bad = ["--url", "alyx.example.org", "--user", "a"];
    run(ask(&rig, &bad).env("ALYX_PASSWORD", "x")).ends(2).complains("write https://host");
    let nowhere = ["--url", "http://127.0.0.1:1", "--user", "a"];
    run(ask(&rig, &nowhere).env("ALYX_PASSWORD", "x")).ends(69).complains("no answer from");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_known_user_asks_for_the_user() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let words = ["create-session", word(&session.folder), "--url", &alyx.url];
    run(at_home(&rig, &words).env("ALYX_TOKEN", token(&alyx).await)).ends(78).complains("--user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_enough_and_its_token_is_kept() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let logins = || alyx.control().requests().iter().filter(|r| r.path == "/auth-token").count();
    std::fs::remove_dir_all(rig.beside("etc/state")).unwrap();
    run(&mut ask(&rig, &["--config", word(&config)])).ends(0);
    run(ask(&rig, &[]).env("ALYX_REGISTRAR_CONFIG", &config)).ends(0);
    assert_eq!(logins(), 1);
    let state = rig.beside("etc/state");
    let kept: Vec<_> = std::fs::read_dir(state).unwrap().map(|f| f.unwrap()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::write(&config, "data_roots: [/x]\nalyx:\n  uri: x\n").unwrap();
    run(&mut ask(&rig, &["--config", word(&config)])).ends(78).complains("alyx.uri");
    run(&mut ask(&rig, &["--config", "/nowhere.yaml"])).ends(78).complains(
        "does not exist; correct the path, or create the file with `alyx-registrar init --config ",
    );
    let both = ["--config", word(&config), "--url", &alyx.url];
    run(&mut ask(&rig, &both)).ends(2).complains("cannot be used with");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_take_precedence_over_an_existing_configuration() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let typed = ["--url", &alyx.url, "--user", &alyx.user];
    let mut command = ask(&rig, &typed);
    command.env("ALYX_REGISTRAR_CONFIG", "/nowhere.yaml").env("ALYX_PASSWORD", &alyx.password);
    run(&mut command).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rigs_one_settings_serve_as_login_and_are_only_read() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let secret = json!({"TOKEN": {&alyx.user: {"token": token(&alyx).await}}});
    let (folder, home) = (rig.beside("rig/.one"), rig.beside("home/.one"));
    for place in [&folder, &home] {
        one_settings(&alyx, place, secret.clone());
    }
    let before = (common::snapshot(&folder), common::snapshot(&home));
    // Without options, with the folder, with address and folder, with the address alone.
    run(&mut ask(&rig, &[])).ends(0);
    run(&mut ask(&rig, &["--one-settings", word(&folder)])).ends(0);
    run(&mut ask(&rig, &["--url", &alyx.url, "--one-settings", word(&folder)])).ends(0);
    run(&mut ask(&rig, &["--url", &alyx.url])).ends(0);
    run(&mut ask(&rig, &["--user", &alyx.user])).ends(0);
    run(&mut ask(&rig, &["--user", "nobody"])).ends(77).complains("no token or password of nobody");
    // A folder that was typed is the only source.
    let other = ["--url", &alyx.url, "--one-settings", "/nowhere"];
    run(ask(&rig, &other).env("ALYX_PASSWORD", &alyx.password)).ends(77).complains("/nowhere");
    assert_eq!((common::snapshot(&folder), common::snapshot(&home)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_address_of_one_settings_is_reported_without_being_shown() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let home = rig.beside("home/.one");
    let (_, host) = alyx.url.split_once("://").unwrap();
    for address in [format!("http://rig:hidden@{host}"), format!("http://other.org/?key=hidden@{host}")] {
        one_settings(&alyx, &home, json!({"ALYX_URL": address, "ALYX_PWD": &alyx.password}));
        let config = rig.beside("etc/config.yaml");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        let text = format!(
            "data_roots: [{}]\nalyx: {{url: '{}', username: {}, one_settings: {}}}\nstate_dir: {}\n",
            rig.root().display(),
            alyx.url,
            alyx.user,
            home.display(),
            rig.beside("state").display()
        );
        std::fs::write(&config, text).unwrap();
        for words in [
            &["exists", "subjects", "KS014"][..],
            &["exists", "subjects", "KS014", "--url", &alyx.url],
            &["check", "--config", word(&config)],
            &["scan", "--config", word(&config)],
            &["init", "--config", word(&rig.beside("new.yaml")), "--one-settings", word(&home), "--yes"],
        ] {
            let said = run(&mut at_home(&rig, words));
            assert!(!said.err.contains("hidden") && !said.out.contains("hidden"), "{words:?}: {said:?}");
            assert_ne!(said.code, 0, "{words:?}: {said:?}");
        }
    }
    for typed in
        ["http://u:hidden@x.org", "http://u:hidden@x:y", "ftp://u:hidden@x.org", "http://x.org/?key=hidden"]
    {
        let words = ["exists", "subjects", "KS014", "--user", "u", "--url", typed];
        for secret in [None, Some("password")] {
            let mut command = at_home(&rig, &words);
            command.envs(secret.map(|secret| ("ALYX_PASSWORD", secret)));
            let said = run(&mut command);
            assert!(!said.err.contains("hidden"), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_configuration_the_error_asks_for_the_address() {
    let rig = Rig::new();
    if Path::new(alyx_registrar::config::DEFAULT_PATH).exists() {
        return eprintln!("skipped: this computer has a configuration");
    }
    run(&mut ask(&rig, &[])).ends(2).complains("no Alyx server given: pass --config FILE, or --url URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_logs_in_with_a_rigs_one_settings() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    one_settings(&alyx, &rig.beside("rig/.one"), json!({"ALYX_PWD": alyx.password}));
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let path = configuration(&alyx, &rig, "");
    let text = std::fs::read_to_string(&path).unwrap();
    let other = format!("  one_settings: {}", rig.beside("rig/.one").display());
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with("  password_file:") { other.clone() } else { line.to_owned() })
        .collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mut daemon = Program::start(at_home(&rig, &["run", "--config", word(&path)]).env("X", ""));
    daemon.wait_for(&format!("session=\"{}\" eid=", session.name()));
    assert!(!daemon.stop().join("\n").contains(&alyx.password));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_moves_a_changed_protected_file_only_if_configured() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let scan = |more: &str| {
        let config = configuration(&alyx, &rig, more);
        run(&mut at_home(&rig, &["scan", "--config", word(&config)]))
    };
    scan("").ends(0);
    let id = alyx.control().datasets()[0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(alyx.control().protect_dataset(&id));
    session.file("alf/spikes.times.npy", "new").flag();
    let refused = scan("").ends(1);
    assert!(refused.out.contains("datasets.protected: revise"), "{refused:?}");
    assert!(session.is_flagged() && session.folder.join("alf/spikes.times.npy").exists());
    scan("datasets:\n  protected: revise\n").ends(0);
    assert!(!session.is_flagged() && !session.folder.join("alf/spikes.times.npy").exists());
    let paths = alyx.dataset_paths(&session).await;
    assert!(paths.len() == 2 && paths.iter().any(|p| p.starts_with("alf/#")), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_scan_writes_nothing_not_even_a_token() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "");
    let before = common::snapshot(&rig.beside("."));
    run(&mut at_home(&rig, &["scan", "--config", word(&config), "--dry-run"])).ends(0);
    let after: Vec<_> = common::snapshot(&rig.beside("."))
        .into_iter()
        .filter(|(path, _, _)| !path.ends_with("home"))
        .collect();
    // The program's home is the test's own.
    assert_eq!(after[1..], before[1..]);
}

#[test]
fn every_shell_completes_every_command() {
    let rig = Rig::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut at_home(&rig, &["completions", shell])).ends(0).out;
        for word in ["register-files", "create-session", "max-md5-size", "check-protected"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    run(&mut at_home(&rig, &["completions", "tcsh"])).ends(2).complains("tcsh");
    let script = run(&mut at_home(&rig, &["completions", "bash"])).out;
    let file = rig.beside("completions");
    std::fs::write(&file, script).unwrap();
    // The shell's own completion.
    let typed = format!(
        "source {}; COMP_WORDS=(alyx-registrar water --da); COMP_CWORD=2; _alyx__registrar alyx-registrar --da water; echo ${{COMPREPLY[@]}}",
        file.display()
    );
    match std::process::Command::new("bash").args(["-c", &typed]).output() {
        Ok(answer) => assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "--date-time"),
        Err(_) => eprintln!("skipped: there is no bash here"),
    }
}

#[test]
fn the_manual_has_a_page_for_the_program_and_for_every_command() {
    let rig = Rig::new();
    let page = run(&mut at_home(&rig, &["man"])).ends(0).out;
    assert!(page.contains(".TH alyx-registrar 1") && page.contains("Exit codes"), "{page}");
    let page = run(&mut at_home(&rig, &["man", "water"])).ends(0).out;
    assert!(page.contains("date\\-time") && page.contains("millilitres"), "{page}");
    run(&mut at_home(&rig, &["man", "fly"])).ends(2).complains("no command \"fly\"");
    let folder = rig.beside("man1");
    run(&mut at_home(&rig, &["man", "--dir", word(&folder)])).ends(0);
    let pages: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in ["alyx-registrar.1", "alyx-registrar-register-files.1", "alyx-registrar-weight.1"] {
        assert!(pages.iter().any(|there| there == page), "{pages:?}");
    }
    run(&mut at_home(&rig, &["man", "--dir", "/proc/man"])).ends(74).complains("cannot be written");
}

#[test]
fn typing_only_a_port_shows_the_full_address() {
    let rig = Rig::new();
    let said = run(&mut at_home(&rig, &["sandbox", "--listen", "8305"]));
    said.ends(2).complains("such as 127.0.0.1:8305");
}
