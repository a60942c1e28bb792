//! `init`: its output works at once, existing files stay, and a bad answer is refused with the reason.

use crate::{common, terminal, verbs};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alyx_registrar::config::{Config, CredentialSource, Environment, Overrides};
use common::{Alyx, Rig};
use serde_json::json;
use terminal::Terminal;
use verbs::{Said, at_home, run, word};

/// Where `init` writes in these tests.
fn target(rig: &Rig) -> PathBuf {
    rig.beside("etc/config.yaml")
}

fn command(rig: &Rig, words: &[&str]) -> Command {
    let mut command = at_home(rig, &["init", "--config"]);
    command.arg(target(rig)).args(words).env_remove("SUDO_USER").stdin(Stdio::null());
    command
}

fn init(rig: &Rig, words: &[&str]) -> Said {
    run(&mut command(rig, words))
}

/// Provides the password like a script.
fn init_with_password(rig: &Rig, words: &[&str], password: &str) -> Said {
    let mut command = command(rig, words);
    command.arg("--password-stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    common::secrets::none_in([&output.stdout[..], &output.stderr].concat(), "init");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// ONE's settings, with a password.
fn one_settings(rig: &Rig, alyx: &Alyx) -> PathBuf {
    let folder = rig.beside("home/.one");
    std::fs::create_dir_all(&folder).unwrap();
    let key = alyx_client::one_key(&alyx.url);
    let caches = json!({"CLIENT_MAP": {&key: "/data"}, "DEFAULT": key});
    let settings = json!({"ALYX_URL": alyx.url, "ALYX_LOGIN": alyx.user, "ALYX_PWD": alyx.password});
    std::fs::write(folder.join(".caches"), caches.to_string()).unwrap();
    std::fs::write(folder.join(format!(".{key}")), settings.to_string()).unwrap();
    folder
}

async fn check(rig: &Rig) -> Said {
    let mut command = at_home(rig, &["check", "--config", word(&target(rig))]);
    command.env("STATE_DIRECTORY", rig.beside("state"));
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_written_by_a_script_works_at_once() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    let words = ["--yes", "--data-root", word(&root), "--url", &alyx.url, "--user", &alyx.user];
    let more = ["--lab", "cortexlab", "--repository", "cortexlab_local", "--service-user", "nobody"];
    let said = init_with_password(&rig, &[&words[..], &more].concat(), &alyx.password).ends(0);
    let (config, password) = (target(&rig), target(&rig).with_file_name("password"));
    for expected in [
        &format!("Written: {}", config.display()),
        &format!("Written: {}", password.display()),
        "check --config",
    ] {
        assert!(said.out.contains(expected), "{expected:?} is not in {said:?}");
    }
    assert_eq!((mode(&config), mode(&password)), (0o644, 0o600));
    let me = rustix::process::geteuid();
    let owner = std::fs::metadata(&password).unwrap().uid();
    // Only root can change the owner; then the service user owns the file.
    assert_eq!(owner == me.as_raw(), !me.is_root(), "the password is of user {owner}");
    assert_eq!(std::fs::read_to_string(&password).unwrap(), alyx.password);
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains(&alyx.password) && text.contains("# How flags are found."), "{text}");
    let said = check(&rig).await.ends(0);
    assert!(said.out.contains("cortexlab_local"), "{said:?}");
}

#[test]
fn existing_files_stay_unless_replacement_is_requested() {
    let rig = Rig::new();
    let words =
        ["--yes", "--offline", "--data-root", "/data", "--url", "https://alyx.example.org", "--user", "rig"];
    std::fs::create_dir_all(target(&rig).parent().unwrap()).unwrap();
    std::fs::write(target(&rig), "# mine\n").unwrap();
    init(&rig, &words).ends(74).complains("--force");
    assert_eq!(std::fs::read_to_string(target(&rig)).unwrap(), "# mine\n");
    init(&rig, &[&words[..], &["--force"]].concat()).ends(0);
    assert!(Config::load(&target(&rig)).is_ok());
    // The unit determines the state folder.
    let unit = Environment { state_directory: Some("/var/lib/of-the-unit".into()), ..Environment::default() };
    let config = Config::load_with(&target(&rig), &Overrides::default(), &unit).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/of-the-unit"));

    // An existing password counts, too; without it the configuration is not written either.
    let password = target(&rig).with_file_name("password");
    std::fs::write(&password, "mine").unwrap();
    std::fs::remove_file(target(&rig)).unwrap();
    init_with_password(&rig, &words, "another").ends(74).complains("password\" exists already");
    assert_eq!(std::fs::read_to_string(&password).unwrap(), "mine");
    assert!(!target(&rig).exists());
    // It is used unchanged.
    let said = init(&rig, &words).ends(0);
    assert!(!said.out.contains("Write the password"), "{said:?}");
    let nosuch = [&words[..], &["--force", "--service-user", "nosuch"]].concat();
    let said = init_with_password(&rig, &nosuch, "another").ends(0);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(said.out.contains("There is no user nosuch"), is_root, "{said:?}");
    assert_eq!(std::fs::read_to_string(&password).unwrap(), "another");
    assert_eq!(mode(&password), 0o600);
}

#[test]
fn a_bad_answer_is_refused_with_the_reason_and_nothing_is_written() {
    let rig = Rig::new();
    std::fs::write(rig.beside("file"), "").unwrap();
    let file = rig.beside("file");
    let cases: [(&[&str], &str); 11] = [
        (&["--data-root", "/mnt/a,/mnt/a/b"], "is inside the data root"),
        (&["--data-root", "a;b"], "each with its own --data-root"),
        (&["--data-root", word(&file)], "is a file"),
        (
            &[
                "--data-root",
                "/data",
                "--url",
                "https://alyx.example.org",
                "--user",
                "rig",
                "--offline",
                "--not-served",
            ],
            "--repository NAME, to which other software copies the files",
        ),
        (&["--url", "alyx.example.org"], "--url: this is not a full address: the https:// is missing"),
        (&["--url", "https://me:secret@alyx.org"], "--url: no user or password may be in the address"),
        (&["--data-root", "/"], "--data-root: the whole file system is too much"),
        (&["--data-root", "/data", "--data-root", "/data/b"], "is inside the data root"),
        (&["--location", ""], "--location: this is empty"),
        (&["--one-settings", "/nowhere"], "--one-settings: there are no ONE settings"),
        (&[], "missing, without a default: --data-root DIR, --url URL, --user NAME"),
    ];
    for (words, expected) in cases {
        let said = init(&rig, &[&["--yes"], words].concat()).ends(2).complains(expected);
        assert!(!said.err.contains("secret"), "{said:?}");
    }
    // Without a terminal `init` cannot ask.
    init(&rig, &["--data-root", "/data"]).ends(2).complains("--url URL, --user NAME");
    assert!(!target(&rig).exists() && !target(&rig).with_file_name("password").exists());
}

#[test]
fn if_writing_fails_nothing_is_left_behind() {
    let rig = Rig::new();
    let words = ["--yes", "--data-root", "/data", "--url", "https://alyx.example.org", "--user", "rig"];
    std::fs::write(rig.beside("etc"), "a file where the folder should be").unwrap();
    let elsewhere = rig.beside("password");
    let words = [&words[..], &["--password-file", word(&elsewhere)]].concat();
    init_with_password(&rig, &words, "pw").ends(74).complains("cannot be written");
    assert!(!elsewhere.exists(), "a password without a configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_settings_provide_the_address_the_user_and_on_request_the_login() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let folder = one_settings(&rig, &alyx);
    let root = rig.root();
    init(&rig, &["--yes", "--data-root", word(&root)]).ends(0);
    let config = Config::load(&target(&rig)).unwrap();
    assert_eq!(config.alyx.url.as_str().trim_end_matches('/'), alyx.url);
    assert_eq!(config.alyx.username.as_ref(), Some(&alyx.user));
    assert!(matches!(config.alyx.credentials, CredentialSource::PasswordFile(_)));

    let login = ["--yes", "--force", "--data-root", word(&root), "--one-settings", word(&folder)];
    init(&rig, &login).ends(0);
    let text = std::fs::read_to_string(target(&rig)).unwrap();
    assert!(text.contains("one_settings: /") && !text.contains(&alyx.password), "{text}");
    assert!(check(&rig).await.ends(0).out.contains("accepted, as test_user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_asked_again_until_the_answer_is_valid() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    one_settings(&rig, &alyx);
    let root = rig.root();
    let (for_command, url, password) = (command(&rig, &[]), alyx.url.clone(), alyx.password.clone());
    let said = tokio::task::spawn_blocking(move || {
        let mut command = for_command;
        let mut terminal = Terminal::start(&mut command);
        terminal.wait_for("Which folder holds the sessions");
        assert!(terminal.said.contains("An empty answer takes what is in brackets"), "{}", terminal.said);
        terminal.answer("data");
        terminal.wait_for("is not an absolute path");
        terminal.answer("/nowhere/at/all");
        terminal.wait_for("Use it all the same? [y/N]");
        assert!(terminal.said.contains("there is no folder /nowhere/at/all here now"), "{}", terminal.said);
        terminal.answer("");
        terminal.wait_for("Which folder holds the sessions");
        terminal.answer(word(&root));
        terminal.wait_for(&format!("address of Alyx? [{url}]"));
        terminal.answer("alyx.example.org");
        terminal.wait_for("the https:// is missing; write it like https://alyx.example.org (--url)");
        assert!(!terminal.said.contains("--url:"), "{}", terminal.said);
        // Enter accepts the default.
        terminal.answer("");
        terminal.wait_for("Which Alyx user registers the sessions? [test_user]");
        terminal.answer("");
        terminal.wait_for("Log in with the ONE settings in");
        terminal.answer("n");
        terminal.wait_for("Password of test_user, not shown");
        assert!(!terminal.echoes(), "the password is shown");
        terminal.answer(&password);
        terminal.wait_for("Which lab do these sessions belong to?");
        terminal.answer("");
        terminal.wait_for("its location");
        terminal.answer("");
        terminal.wait_for("Which data repository on Alyx holds this disk?");
        terminal.answer("");
        terminal.wait_for("Names separated by commas, or `none` [all]");
        terminal.answer("iblrig, sidecart");
        terminal
            .wait_for("\"sidecart\" is not a reader; the readers are sidecar, iblrig, spikeglx, open_ephys");
        terminal.answer("");
        terminal.wait_for("Do the cameras and probes of the rig's other computers come to these folders too");
        terminal.answer("y");
        terminal.wait_for("Check the setup");
        assert!(terminal.end().success(), "{}", terminal.said);
        assert!(terminal.echoes(), "the terminal stays silent");
        terminal.said.clone()
    })
    .await
    .unwrap();
    assert!(!said.contains(&alyx.password), "{said}");
    assert_eq!(std::fs::read_to_string(target(&rig).with_file_name("password")).unwrap(), alyx.password);
    let config = Config::load(&target(&rig)).unwrap();
    assert!(config.data_roots.iter().all(|root| root.all_devices));
    check(&rig).await.ends(0);
}

#[test]
fn an_interrupt_at_the_password_restores_echo_and_writes_no_file() {
    let rig = Rig::new();
    let words = ["--data-root", "/data", "--user", "rig", "--offline"];
    let mut terminal = Terminal::start(&mut command(&rig, &words));
    terminal.wait_for("address of Alyx?");
    terminal.answer("https://alyx.example.org");
    terminal.wait_for("Password of rig");
    assert!(!terminal.echoes());
    terminal.interrupt();
    terminal.wait_for("stopped; nothing was written");
    assert_eq!(terminal.end().code(), Some(130));
    assert!(terminal.echoes() && !target(&rig).exists(), "{}", terminal.said);
}

/// The words of a script, with a data root that holds the lab cortexlab.
fn script<'a>(root: &'a str, alyx: &'a Alyx, more: &[&'a str]) -> Vec<&'a str> {
    [&["--yes", "--data-root", root, "--url", &alyx.url, "--user", &alyx.user], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_alyx_does_not_have_is_refused_with_the_name_that_was_meant() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    let cases: [(&[&str], &str); 5] = [
        (
            &["--lab", "cortexlap"],
            "--lab: Alyx does not know the lab \"cortexlap\"; did you mean \"cortexlab\"?",
        ),
        (
            &["--location", "RIG1"],
            "--location: Alyx does not know the location \"RIG1\"; did you mean \"rig1\"?",
        ),
        (&["--location", "the moon"], "it has \"rig1\", \"rig2\", \"rig1_mainenlab\""),
        (&["--project", "practise", "--project", "ibl_trainin"], "did you mean \"ibl_training\"?"),
        (&["--repository", "flatiron_cortexlap"], "did you mean \"flatiron_cortexlab\"?"),
    ];
    for (more, expected) in cases {
        let words = script(word(&root), &alyx, more);
        tokio::task::block_in_place(|| init_with_password(&rig, &words, &alyx.password))
            .ends(2)
            .complains(expected);
    }
    assert!(!target(&rig).exists() && !target(&rig).with_file_name("password").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_and_a_refused_login_write_nothing_and_an_absent_alyx_is_reported() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    let words = script(word(&root), &alyx, &[]);
    tokio::task::block_in_place(|| init_with_password(&rig, &words, "wrong"))
        .ends(77)
        .complains("refuses the login");
    let elsewhere = format!("{}/sessions", alyx.url);
    let wrong = ["--yes", "--data-root", word(&root), "--user", &alyx.user, "--url", &elsewhere];
    tokio::task::block_in_place(|| init_with_password(&rig, &wrong, &alyx.password))
        .ends(2)
        .complains("--url: ");
    assert!(!target(&rig).exists() && !target(&rig).with_file_name("password").exists());

    // A rig without a network can be set up all the same.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("http://{closed}");
    let words =
        ["--yes", "--data-root", word(&root), "--user", "rig", "--url", &away, "--location", "the moon"];
    // Its exit code says that nothing was checked.
    let said = tokio::task::block_in_place(|| init_with_password(&rig, &words, "pw")).ends(69);
    assert!(
        said.err.contains("the names are not checked on Alyx") && said.err.contains("no answer from"),
        "{said:?}"
    );
    assert!(Config::load(&target(&rig)).is_ok());
    let words = [&words[..], &["--force", "--offline"]].concat();
    let said = tokio::task::block_in_place(|| init_with_password(&rig, &words, "pw")).ends(0);
    assert_eq!(said.err, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_repository_that_fits_is_taken_and_otherwise_it_says_what_is_open() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    let run = |more: &[&str]| {
        let words = script(word(&root), &alyx, &[more, &["--force"]].concat());
        tokio::task::block_in_place(|| init_with_password(&rig, &words, &alyx.password))
    };
    let said = run(&[]).ends(0);
    assert!(
        said.out.contains("Not set: the repository of this disk. Choose one with --repository NAME: "),
        "{said:?}"
    );
    assert_eq!(Config::load(&target(&rig)).unwrap().datasets.repository, None);

    std::fs::create_dir_all(root.join("cortexlab/Subjects/KS014")).unwrap();
    let said = run(&[]).ends(0);
    assert!(said.out.contains("The repository is flatiron_cortexlab"), "{said:?}");
    // It ends with a check.
    assert!(said.out.contains("accepted, as test_user") && said.out.contains("0 problems"), "{said:?}");
    let datasets = Config::load(&target(&rig)).unwrap().datasets;
    assert_eq!((datasets.repository.as_deref(), datasets.exists), (Some("flatiron_cortexlab"), true));

    run(&["--not-served"]).ends(0);
    let datasets = Config::load(&target(&rig)).unwrap().datasets;
    assert_eq!((datasets.repository.as_deref(), datasets.exists), (Some("flatiron_cortexlab"), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_each_wrong_answer_is_asked_again() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    std::fs::create_dir_all(root.join("cortexlab/Subjects/KS014")).unwrap();
    let other = rig.beside("other");
    std::fs::create_dir(&other).unwrap();
    let (for_command, url, password) = (command(&rig, &[]), alyx.url.clone(), alyx.password.clone());
    let roots = format!("{}, {}", word(&root), word(&other));
    tokio::task::spawn_blocking(move || {
        let mut command = for_command;
        let mut terminal = Terminal::start(&mut command);
        terminal.wait_for("Which folder holds the sessions");
        terminal.answer(&roots);
        terminal.wait_for("address of Alyx?");
        terminal.answer(&format!("{url}/sessions"));
        terminal.wait_for("address of Alyx?");
        terminal.answer("http://127.0.0.1:1");
        terminal.wait_for("Continue without checking on Alyx?");
        terminal.answer("n");
        terminal.wait_for("address of Alyx?");
        terminal.answer(&url);
        terminal.wait_for("Which Alyx user");
        terminal.answer("test_user");
        terminal.wait_for("Password of test_user");
        terminal.answer("wrong");
        terminal.wait_for("Password of test_user, not shown (Enter: log in as another user)");
        assert!(terminal.said.contains("refuses the login of test_user"), "{}", terminal.said);
        assert!(!terminal.said.contains("the configuration names"), "{}", terminal.said);
        assert!(!terminal.echoes(), "the password is shown");
        terminal.answer("");
        terminal.wait_for("Which Alyx user");
        terminal.answer("test_user");
        terminal.wait_for("Password of test_user, not shown (Enter: write it to");
        terminal.answer("wrong again");
        terminal.wait_for("Password of test_user, not shown (Enter: log in as another user)");
        terminal.answer(&password);
        terminal.wait_for("its location");
        assert!(
            terminal.said.contains("Alyx has the locations rig1, rig2, rig1_mainenlab."),
            "{}",
            terminal.said
        );
        terminal.answer("Rig2");
        terminal.wait_for("its location");
        assert!(terminal.said.contains("did you mean \"rig2\"?"), "{}", terminal.said);
        terminal.answer("rig2");
        terminal.wait_for("Number or name [2]");
        assert!(
            terminal.said.contains("3  this disk is not served; other software copies it"),
            "{}",
            terminal.said
        );
        terminal.answer("9");
        terminal.wait_for("Number or name [2]");
        assert!(terminal.said.contains("is none of these"), "{}", terminal.said);
        terminal.answer("1");
        terminal.wait_for("Use it anyway?");
        terminal.answer("n");
        terminal.wait_for("Number or name [2]");
        terminal.answer("3");
        terminal.wait_for("To which repository does other software copy the files?");
        terminal.answer("");
        terminal.wait_for("Which files describe the sessions");
        terminal.answer("iblrig, sidecar");
        terminal.wait_for("as on a lab server? [y/N]");
        terminal.answer("");
        terminal.wait_for("Check the setup");
        assert!(terminal.end().success(), "{}", terminal.said);
        assert!(!terminal.said.contains(&password), "{}", terminal.said);
    })
    .await
    .unwrap();
    let config = Config::load(&target(&rig)).unwrap();
    assert_eq!(config.data_roots.len(), 2);
    assert_eq!(config.session.location.as_deref(), Some("rig2"));
    assert_eq!(
        (config.datasets.repository.as_deref(), config.datasets.exists),
        (Some("flatiron_cortexlab"), false)
    );
    let metadata = config.metadata;
    assert!(metadata.sidecars && metadata.readers.readers == ["iblrig"], "{metadata:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_too_it_ends_with_69_when_alyx_does_not_answer_and_empty_answers_are_explained() {
    let rig = Rig::new();
    let root = rig.root();
    let mut command = command(&rig, &["--data-root", word(&root)]);
    let (code, said) = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(&mut command);
        terminal.wait_for("address of Alyx?");
        terminal.answer("");
        terminal.wait_for("This question needs an answer.");
        terminal.answer("http://127.0.0.1:1");
        terminal.wait_for("Continue without checking on Alyx?");
        terminal.answer("y");
        terminal.wait_for("Which Alyx user");
        terminal.answer("rig");
        terminal.wait_for("Password of rig");
        terminal.answer("pw");
        terminal.wait_for("its location");
        terminal.answer("");
        terminal.wait_for("Names separated by commas");
        terminal.answer("none");
        terminal.wait_for("nothing in it is checked; when Alyx answers, run alyx-registrar check");
        (terminal.end().code(), terminal.said.clone())
    })
    .await
    .unwrap();
    assert_eq!(code, Some(69), "{said}");
    assert!(target(&rig).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_folders_of_two_labs_it_says_for_which_the_repository_is() {
    let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
    let root = rig.root();
    for lab in ["cortexlab", "mainenlab"] {
        std::fs::create_dir_all(root.join(lab).join("Subjects")).unwrap();
    }
    let words = script(word(&root), &alyx, &[]);
    let said = tokio::task::block_in_place(|| init_with_password(&rig, &words, &alyx.password)).ends(0);
    assert!(said.out.contains(", of lab cortexlab") && said.out.contains(", of lab mainenlab"), "{said:?}");
    let words = ["--force", "--data-root", word(&root), "--url", &alyx.url, "--user", &alyx.user];
    let mut command = command(&rig, &words);
    let password = alyx.password.clone();
    tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(&mut command);
        terminal.wait_for("Password of");
        terminal.answer(&password);
        terminal.wait_for("its location");
        terminal.answer("");
        terminal.wait_for("Number or name, or Enter to decide later");
        let said = &terminal.said;
        assert!(said.contains("sessions of all the labs in these folders: cortexlab, mainenlab"), "{said}");
        terminal.answer("");
        terminal.wait_for("Names separated by commas");
        terminal.answer("none");
        terminal.wait_for("Check the setup");
        assert!(terminal.end().success(), "{}", terminal.said);
    })
    .await
    .unwrap();
}

#[test]
fn a_script_with_a_folder_that_is_not_there_is_warned() {
    let rig = Rig::new();
    let words = [
        "--yes",
        "--offline",
        "--data-root",
        "/nowhere/at/all",
        "--url",
        "https://alyx.example.org",
        "--user",
        "rig",
    ];
    let said = init(&rig, &words).ends(0);
    assert!(said.err.contains("there is no folder /nowhere/at/all here now"), "{said:?}");
}

#[test]
fn a_script_names_the_metadata_readers_and_the_default_is_left_as_it_is() {
    let rig = Rig::new();
    let words = [
        "--yes",
        "--offline",
        "--force",
        "--data-root",
        "/data",
        "--url",
        "https://alyx.example.org",
        "--user",
        "rig",
    ];
    let readers = |more: &[&str]| {
        init(&rig, &[&words[..], more].concat()).ends(0);
        let text = std::fs::read_to_string(target(&rig)).unwrap();
        text.lines().find(|line| line.starts_with("  readers:")).unwrap().to_owned()
    };
    let all = "  readers: [sidecar, iblrig, spikeglx, open_ephys]";
    assert_eq!(readers(&[]), all);
    assert_eq!(readers(&["--metadata-readers", "all"]), all);
    assert_eq!(readers(&["--metadata-readers", "sidecar,iblrig"]), "  readers: [sidecar, iblrig]");
    assert_eq!(readers(&["--metadata-readers", "none"]), "  readers: []");
    let wrong = [&words[..], &["--metadata-readers", "ibl"]].concat();
    init(&rig, &wrong).ends(2).complains("--metadata-readers: \"ibl\" is not a reader");
}

#[test]
fn a_script_says_that_the_folders_are_those_of_a_lab_server() {
    let rig = Rig::new();
    let words = ["--yes", "--offline", "--url", "https://alyx.example.org", "--user", "rig", "--force"];
    let roots = ["--data-root", "/data/a", "--data-root", "/data/b"];
    for (more, expected) in [(&[][..], false), (&["--all-devices"][..], true)] {
        init(&rig, &[&words[..], &roots, more].concat()).ends(0);
        let config = Config::load(&target(&rig)).unwrap();
        let found: Vec<bool> = config.data_roots.iter().map(|root| root.all_devices).collect();
        assert_eq!(found, [expected, expected]);
    }
}
