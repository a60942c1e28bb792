//! `check`: problems are reported with the fix, the exit code is that of the most fundamental problem, and nothing is
//! written.

use crate::{common, program, tls, verbs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Alyx, Rig, snapshot};
use program::{Configuration, Program, program};
use serde_json::Value;
use tls::Authority;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use verbs::{Said, at_home, run};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A rig with an Alyx, and its configuration as text that a test changes.
struct Setup {
    rig: Rig,
    alyx: Alyx,
    config: PathBuf,
}

impl Setup {
    async fn new() -> Self {
        let (rig, alyx) = (Rig::new(), Alyx::sandbox().await);
        let config = Configuration {
            roots: vec![rig.root()],
            url: alyx.url.clone(),
            user: alyx.user.clone(),
            password: alyx.password.clone(),
            more: String::new(),
        }
        .write(&rig.beside("etc"));
        // Before the first start.
        std::fs::remove_dir_all(rig.beside("etc/state")).unwrap();
        Self { rig, alyx, config }
    }

    fn change(&self, from: &str, to: &str) -> &Self {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        std::fs::write(&self.config, text.replacen(from, to, 1)).unwrap();
        self
    }

    fn add(&self, more: &str) -> &Self {
        self.change("data_roots:", &format!("{more}data_roots:"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = at_home(&self.rig, &["check"]);
        // All servers of a test are local.
        command.arg("--config").arg(&self.config).args(words);
        command
    }

    /// Runs the command next to the servers of the test.
    async fn check(&self, words: &[&str]) -> Said {
        run_aside(self.command(words)).await
    }
}

async fn run_aside(mut command: Command) -> Said {
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

impl Said {
    /// The rows of one check.
    #[track_caller]
    fn rows(&self, check: &str) -> Vec<&str> {
        let rows: Vec<&str> =
            self.out.lines().filter(|line| line.get(9..22).map(str::trim) == Some(check)).collect();
        assert!(!rows.is_empty(), "no row {check:?}: {self:?}");
        rows
    }

    /// Checks that a row begins and ends like this.
    #[track_caller]
    fn has(&self, state: &str, check: &str, text: &str) -> &Self {
        let rows = self.rows(check);
        let right = rows.iter().any(|row| row.starts_with(&format!("{state} ")) && row.contains(text));
        assert!(right, "no {state} with {text:?} in {rows:#?}");
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_problems_every_check_prints_one_line() {
    let setup = Setup::new().await;
    setup.rig.session("cortexlab", "KS014").flag();
    setup.add(
        "session:\n  users: [test_user]\n  lab: cortexlab\ndatasets:\n  repository: flatiron_cortexlab\n",
    );
    let said = setup.check(&[]).await.ends(0);
    said.has("ok", "configuration", "config.yaml")
        .has("ok", "credentials", "the password in ")
        .has("ok", "server", &setup.alyx.url)
        .has("ok", "clock", "agrees with the server's")
        .has("ok", "login", "test_user")
        .has("ok", "Alyx", "with all required endpoints")
        .has("ok", "users", "test_user")
        .has("ok", "lab", "cortexlab")
        .has("ok", "repository", "flatiron_cortexlab")
        .has("ok", "loadable", "in flatiron_cortexlab")
        .has("ok", "data root", "1 session, 1 flag")
        .has("ok", "watching", "by events")
        .has("ok", "watches", "6 folders")
        .has("ok", "state folder", "will be created")
        .has("ok", "ledger", "none yet")
        .has("ok", "daemon", "not running");
    assert!(said.out.trim_end().ends_with("0 problems, 1 warning") || !running_as_root(), "{said:?}");
    if running_as_root() {
        // The configuration exactly as typed.
        said.has("warning", "user", &format!("alyx-registrar check --config {}", setup.config.display()));
    }
    assert!(!said.out.contains('\u{1b}') && said.err.is_empty(), "{said:?}");
    let words = ["ok      ", "warning ", "problem ", "skipped ", "0 proble"];
    assert!(said.out.lines().all(|line| words.iter().any(|word| line.starts_with(word))), "{said:?}");
}

fn running_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_is_one_object() {
    let setup = Setup::new().await;
    setup.add("session:\n  projects: [nobody's]\n");
    let json = setup.check(&["--json"]).await.ends(1).json();
    assert_eq!((&json["outcome"], &json["problems"]), (&Value::from("problem"), &Value::from(1)));
    let rows = json["checks"].as_array().unwrap();
    let projects = rows.iter().find(|row| row["check"] == "projects").unwrap();
    assert_eq!(projects["state"], "problem");
    assert!(projects["found"].as_str().unwrap().contains("nobody's"), "{projects}");
    assert!(projects["what_to_do"].as_str().unwrap().contains("created on Alyx"), "{projects}");
    assert!(rows.iter().any(|row| row["state"] == "ok" && row["what_to_do"].is_null()), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_output_is_coloured_unless_disabled() {
    let setup = Setup::new().await;
    if Command::new("script").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no command named script here");
    }
    let inner = setup.command(&["--offline"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(|w| w.to_str().unwrap());
    let line = words.collect::<Vec<_>>().join(" ");
    let on_terminal = |plain: &str| {
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &line, "/dev/null"])
            .env("NO_COLOR", plain)
            .env_remove("ALYX_REGISTRAR_CONFIG");
        run(&mut terminal)
    };
    assert!(on_terminal("").out.contains("\u{1b}[32mok\u{1b}[0m"), "no colours");
    assert!(!on_terminal("1").out.contains('\u{1b}'), "unwanted colours");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_are_reported_at_once_with_the_fix() {
    let setup = Setup::new().await;
    let root = setup.rig.root();
    let missing = setup.rig.beside("not-mounted");
    setup
        .change("data_roots:\n", &format!("data_roots:\n  - {}\n", missing.display()))
        .add("session:\n  users: [test_user, nobody]\n  lab: elsewhere\n  procedures: [Juggling]\n  location: moon\n");
    std::fs::create_dir_all(root.join("KS014")).unwrap();
    std::fs::write(root.join("KS014/create_me.flag"), "").unwrap();
    let password = setup.config.with_file_name("password");
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644)).unwrap();
    setup
        .check(&[])
        .await
        .ends(1)
        .has("warning", "credentials", "chmod 600")
        .has("problem", "users", "\"nobody\" (session.users); have it created on Alyx")
        .has("problem", "lab", "\"elsewhere\" (session.lab)")
        .has("problem", "procedures", "\"Juggling\" (session.procedures)")
        .has("problem", "location", "\"moon\" (session.location)")
        .has("problem", "data root", "is missing; mount the disk, or correct data_roots")
        .has("ok", "data root", "0 sessions, 0 flags")
        .has("warning", "data root", "move it into the folder of its session")
        .has("skipped", "watches", "not all folders were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_shows_the_kind_of_problem() {
    let setup = Setup::new().await;
    let whole = std::fs::read_to_string(&setup.config).unwrap();
    let again = || std::fs::write(&setup.config, &whole).unwrap();
    let before_start = |said: Said| said.ends(0);

    // An unreachable server alone is 69; any other problem takes precedence.
    setup.change(&setup.alyx.url, "http://127.0.0.1:9");
    let said = setup.check(&[]).await.ends(69);
    said.has("problem", "server", "no answer").has("skipped", "login", "the server does not answer");
    setup.check(&["--offline"]).await.ends(0).has("skipped", "server", "not asked");
    before_start(setup.check(&["--before-start"]).await).has("ok", "data root", "is there");
    setup.change("data_roots:\n", "data_roots:\n  - /nowhere/at/all\n");
    setup.check(&[]).await.ends(1);
    before_start(setup.check(&["--before-start"]).await).has("problem", "data root", "is missing");

    again();
    setup.change("state\n", "password/state\n");
    setup.check(&[]).await.ends(74).has("problem", "state folder", "set state_dir");
    before_start(setup.check(&["--before-start"]).await);

    again();
    std::fs::write(setup.config.with_file_name("password"), "mistyped").unwrap();
    let said = setup.check(&[]).await.ends(77);
    said.has("problem", "login", "refuses the login of test_user").has(
        "skipped",
        "names",
        "the login failed",
    );
    assert!(!said.out.contains("mistyped"), "{said:?}");
    std::fs::remove_file(setup.config.with_file_name("password")).unwrap();
    let said = setup.check(&[]).await.ends(77);
    said.has("problem", "credentials", "does not exist").has("ok", "server", "answers");
    said.has("skipped", "login", "there is no password or token to log in with");
    before_start(setup.check(&["--before-start"]).await);

    again();
    setup.add("wrokers: 2\nhash_threads: none\n");
    let said = setup.check(&[]).await.ends(78);
    said.has("problem", "configuration", "did you mean workers?");
    assert_eq!(said.rows("configuration").len(), 2, "{said:?}");
    before_start(setup.check(&["--before-start"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_exist_is_to_be_created_or_named_correctly() {
    let setup = Setup::new().await;
    let missing = setup.config.with_file_name("nosuch.yaml");
    let check = |words: &[&str]| {
        let mut command = at_home(&setup.rig, &["check"]);
        command.arg("--config").arg(&missing).args(words);
        run_aside(command)
    };
    let advice = format!(
        "correct the path, or create the file with `alyx-registrar init --config {}`",
        missing.display()
    );
    let said = check(&[]).await.ends(78);
    said.has("problem", "configuration", &format!("{} does not exist; {advice}", missing.display()));
    let json = check(&["--json"]).await.ends(78).json();
    assert_eq!(json["errors"][0]["next_step"], advice.as_str(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lab_of_a_data_root_gets_its_own_line_of_repositories() {
    let setup = Setup::new().await;
    for (lab, subject) in [("cortexlab", "KS014"), ("mainenlab", "ZM_1085")] {
        setup.rig.session(lab, subject);
    }
    let said = setup.check(&[]).await.ends(0);
    for lab in ["cortexlab", "mainenlab"] {
        let subjects = setup.rig.root().join(lab).join("Subjects");
        let line = format!("add to repositories: - {{path: {}, name: flatiron_{lab}}}", subjects.display());
        said.has("warning", "loadable", &format!("lab \"{lab}\": ONE cannot find"))
            .has("warning", "loadable", &line);
    }
    assert_eq!(said.rows("loadable").len(), 2, "{said:?}");
    // As the lines say.
    let lines = ["cortexlab", "mainenlab"].map(|lab| {
        let subjects = setup.rig.root().join(lab).join("Subjects");
        format!("  - {{path: {}, name: flatiron_{lab}}}\n", subjects.display())
    });
    setup.add(&format!("repositories:\n{}", lines.concat()));
    setup.check(&[]).await.ends(0).has("ok", "loadable", "in flatiron_cortexlab, flatiron_mainenlab");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_folders_that_one_cannot_load_are_counted_with_an_example() {
    let setup = Setup::new().await;
    setup.add("datasets: {repository: flatiron_cortexlab}\n");
    let folder = |number| format!("cortexlab/Subjects/KS014/2024-05-01/{number}");
    let [_, first, _] = ["001", "02", "3"].map(|number| setup.rig.session_at(&folder(number)).folder);
    let said = setup.check(&[]).await.ends(0);
    let found = format!(
        "{}: 2 session folders have a number without three digits, such as {}; ONE cannot load the files in them",
        setup.rig.root().display(),
        first.display()
    );
    said.has("warning", "folder number", &found).has(
        "warning",
        "folder number",
        "name its session folders 001, 002",
    );
    setup.change("datasets: {repository: flatiron_cortexlab}", "datasets: {register: false}");
    assert!(!setup.check(&[]).await.ends(0).out.contains("three digits"), "no files, nothing to load");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_only_the_service_has_is_not_a_problem() {
    let setup = Setup::new().await;
    let password = setup.config.with_file_name("password");
    setup.change(password.to_str().unwrap(), "alyx-password");
    let said = setup.check(&[]).await.ends(0);
    said.has("warning", "credentials", "systemd-run").has("skipped", "login", "to log in with");
    // As systemd starts it.
    let folder = setup.rig.beside("credentials");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&password, folder.join("alyx-password")).unwrap();
    let mut command = setup.command(&[]);
    command.env("CREDENTIALS_DIRECTORY", &folder);
    run_aside(command).await.ends(0).has("ok", "login", "test_user");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_alerts_are_checked_if_configured() {
    let setup = Setup::new().await;
    let said = setup.check(&[]).await.ends(0);
    assert!(!said.out.contains("alerts") && !said.out.contains("page"), "{said:?}");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let hook = setup.rig.beside("etc/webhook");
    setup.add(&format!(
        "http:\n  listen: {}\nalerts:\n  webhook_file: {}\n",
        taken.local_addr().unwrap(),
        hook.display()
    ));
    let said = setup.check(&[]).await.ends(0);
    said.has("warning", "alerts", "does not exist").has("warning", "page", "cannot listen on");
    drop(taken);
    std::fs::write(&hook, "https://hooks.example.org/services/hush").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = setup.check(&[]).await.ends(0);
    said.has("ok", "alerts", "can be read").has("ok", "page", "when the daemon runs");
    assert!(!said.out.contains("hush"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_a_warning_and_an_expired_one_a_problem() {
    let setup = Setup::new().await;
    let authority = Authority::new();
    let file = authority.write(setup.rig.beside("authority.pem"));
    setup.change("alyx:\n", &format!("alyx:\n  ca_file: {}\n", file.display()));
    let plain = setup.alyx.url.clone();
    let mut at = plain.clone();
    for (days, state) in [(5, "warning"), (60, "ok")] {
        let server = authority.good_for(&plain, DAY * days).await;
        setup.change(&at, &server.url);
        at = server.url.clone();
        // A minute has passed since.
        let left = format!("valid for {} d 23 h more", days - 1);
        setup.check(&[]).await.ends(0).has(state, "certificate", &left).has("ok", "login", "test_user");
    }
    let server = authority.expired(&plain).await;
    setup.change(&at, &server.url);
    setup.check(&[]).await.ends(69).has("problem", "server", "expired");
}

/// A server that gives one answer to every request.
async fn answering(answer: impl Fn() -> String + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
                line.clear();
            }
            let _ = stream.write_all(answer().as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_a_warning() {
    let setup = Setup::new().await;
    // A server that refuses like Alyx, one hour ago.
    let url = answering(|| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let date = then.strftime("%a, %d %b %Y %H:%M:%S GMT");
        let body = r#"{"detail": "Method \"GET\" not allowed."}"#;
        format!(
            "HTTP/1.1 405 Method Not Allowed\r\ndate: {date}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    setup.change(&setup.alyx.url, &url);
    setup.check(&[]).await.has(
        "warning",
        "clock",
        "this computer's clock is 59 min ahead of the server's; turn on time synchronisation",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_alyx_is_reported() {
    let setup = Setup::new().await;
    let url = answering(|| {
        let page = "<html>Sign in to the network</html>";
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length";
        format!("{head}: {}\r\n\r\n{page}", page.len())
    })
    .await;
    setup.change(&setup.alyx.url, &url);
    let said = setup.check(&[]).await.ends(69);
    said.has("problem", "server", "Sign in to the network").has("problem", "server", "alyx.url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_server_is_reported_with_the_fix() {
    let setup = Setup::new().await;
    let mut before = setup.alyx.url.clone();
    let cases = [
        ("HTTP/1.1 500 Internal Server Error", "tell the Alyx administrator"),
        ("HTTP/1.1 503 Service Unavailable", "tell the Alyx administrator"),
        ("SSH-2.0-OpenSSH_9.2", "check the network, alyx.url and the server"),
    ];
    for (head, step) in cases {
        let url =
            answering(move || format!("{head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")).await;
        setup.change(&before, &url);
        setup.check(&[]).await.ends(69).has("problem", "server", step);
        before = url;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_accepts_its_own_running_daemon_but_not_another_one_on_the_same_data() {
    let setup = Setup::new().await;
    let mut daemon = Program::start(program().args(["run", "--config"]).arg(&setup.config));
    daemon.wait_for("data root scanned");
    setup.check(&[]).await.ends(0).has("ok", "daemon", "running for").has("ok", "ledger", "B");
    // The same data, another state folder.
    setup.change("/state\n", "/other-state\n");
    setup.check(&[]).await.ends(74).has("problem", "daemon", "another alyx-registrar is running on");
    daemon.stop();
}

/// Everything that the program could reach and change: the rig, its home, and the temporary folder.
fn world(setup: &Setup) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    snapshot(setup.rig.beside("").as_path())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_writes_nothing_on_disk_or_on_alyx() {
    let setup = Setup::new().await;
    let session = setup.rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    std::fs::create_dir_all(setup.rig.beside("home")).unwrap();
    std::fs::create_dir_all(setup.rig.beside("tmp")).unwrap();
    let check = |words: &[&str]| {
        let mut command = setup.command(words);
        command.env("TMPDIR", setup.rig.beside("tmp"));
        run_aside(command)
    };
    let everything: [&[&str]; 4] =
        [&[], &["--offline"], &["--before-start"], &["--json", "--log-level", "trace"]];

    // A new rig.
    let before = world(&setup);
    for words in everything {
        check(words).await.ends(0);
    }
    assert_eq!(world(&setup), before);
    assert!(setup.alyx.sessions(&session).await.is_empty() && session.is_flagged());

    crate::program::stopped_cleanly(&setup.rig.beside("etc/state"));
    // A rig after a run: with a state folder, a token in it, and a ledger, both closed and left open by a killed
    // daemon.
    let mut daemon = Program::start(program().args(["run", "--config"]).arg(&setup.config));
    daemon.wait_for("registered session");
    daemon.stop();
    let state = setup.config.with_file_name("state");
    assert!(state.join("ledger.sqlite").exists());
    let before = world(&setup);
    for words in everything {
        check(words).await.ends(0).out.contains("ledger").then_some(()).expect("no row for the ledger");
    }
    assert_eq!(world(&setup), before);

    let mut daemon = Program::start(program().args(["run", "--config"]).arg(&setup.config));
    daemon.wait_for("data root scanned");
    daemon.signal("KILL");
    daemon.wait();
    assert!(state.join("ledger.sqlite").exists() && !state.join("ledger.sqlite-shm").exists());
    let before = world(&setup);
    for words in everything {
        check(words).await.ends(0);
    }
    assert_eq!(world(&setup), before);
}

/// The program, run by an unprivileged user: the current user, or `nobody` if that is root.
fn as_unprivileged_user(setup: &Setup) -> Option<Command> {
    let mut inner = setup.command(&[]);
    if !running_as_root() {
        return Some(inner);
    }
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    let place = setup.rig.beside("");
    open(&place);
    open(setup.config.parent().unwrap());
    std::os::unix::fs::chown(setup.config.with_file_name("password"), Some(65534), None).unwrap();
    let copy = setup.rig.beside("program");
    crate::common::program::copy_program(&copy);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy);
    command.args(inner.get_args());
    inner = program();
    for (name, _) in inner.get_envs() {
        command.env_remove(name);
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("skipped: there is no command named setpriv here");
        return None;
    }
    Some(command)
}

/// The same command again.
fn same(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.args(command.get_args());
    for (name, _) in command.get_envs() {
        same.env_remove(name);
    }
    same
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_a_problem_where_they_matter() {
    let setup = Setup::new().await;
    let (shut, other) = (setup.rig.session("cortexlab", "KS014"), setup.rig.session("cortexlab", "KS014"));
    for session in [&shut, &other] {
        std::fs::set_permissions(&session.folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let Some(command) = as_unprivileged_user(&setup) else { return };
    run_aside(same(&command)).await.ends(0).has("ok", "data root", "2 sessions, 0 flags");

    std::fs::set_permissions(&shut.folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    let said = run_aside(same(&command)).await.ends(0);
    said.has("warning", "data root", "in 1 of them").has("warning", "data root", "Permission denied");

    std::fs::set_permissions(&shut.folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    shut.flag();
    std::fs::set_permissions(&shut.folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    let said = run_aside(same(&command)).await.ends(1);
    said.has("problem", "data root", shut.folder.to_str().unwrap()).has(
        "problem",
        "data root",
        "let this user write",
    );
    std::fs::set_permissions(&shut.folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_folder_is_a_problem_because_its_flags_would_never_be_seen() {
    let setup = Setup::new().await;
    let session = setup.rig.session("cortexlab", "KS014");
    session.flag();
    std::fs::set_permissions(&session.folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let Some(command) = as_unprivileged_user(&setup) else { return };
    let mut before_start = same(&command);
    before_start.arg("--before-start");
    let shut = |folder: &Path, mode| {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (root, lab) = (setup.rig.root(), setup.rig.root().join("cortexlab"));
    shut(&lab, 0o000);
    let said = run_aside(same(&command)).await.ends(1);
    said.has("problem", "data root", "flags in it are not seen").has("problem", "data root", "chmod g+rx");
    shut(&lab, 0o755);
    shut(&root, 0o000);
    let said = run_aside(same(&command)).await.ends(1);
    let glance = run_aside(same(&before_start)).await.ends(0);
    shut(&root, 0o755);
    for said in [&said, &glance] {
        said.has("problem", "data root", "cannot list");
        assert_eq!(said.rows("data root").len(), 1, "{said:?}");
    }
    run_aside(command).await.ends(0).has("ok", "data root", "1 session, 1 flag");
}
