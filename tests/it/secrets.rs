//! The password and the token, from any source, are sent to Alyx and appear nowhere else: in no output, not in the
//! state folder, not below a data root, not in the process list, in no core dump.

use crate::{common, program, verbs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alyx_client::one_key;
use alyx_sandbox::{RunningSandbox, Sandbox, SandboxOptions, Seed};
use common::Rig;
use program::{Program, program};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use verbs::{Said, run, word};

/// A password with everything that addresses, JSON or debug output would escape.
const ODD: &str = "p&ss \"wört\" 100%/\\+#";

/// The end of a webhook's address. No server listens there.
const HOOK: &str = "T0-hook-s3cret";

/// The forms in which a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let encoded = |blank: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte);
        secret
            .bytes()
            .map(|byte| match byte {
                b' ' => blank.to_owned(),
                byte if plain(byte) => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let json = Value::from(secret).to_string().trim_matches('"').to_owned();
    let debug = format!("{secret:?}").trim_matches('"').to_owned();
    vec![secret.to_owned(), encoded("+"), encoded("%20"), encoded("%20").to_lowercase(), json, debug]
}

/// An Alyx whose user has the odd password, and a rig.
struct World {
    rig: Rig,
    sandbox: RunningSandbox,
    token: String,
}

impl World {
    async fn new() -> Self {
        let mut seed = Seed::parse(Seed::SHIPPED).unwrap();
        for user in &mut seed.users {
            user.password = ODD.to_owned();
        }
        let sandbox = Sandbox::start(SandboxOptions { seed, ..Default::default() }).await.unwrap();
        let login = [("username", "test_user"), ("password", ODD)];
        let request = crate::common::http().post(format!("{}/auth-token", sandbox.url())).form(&login);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["token"].as_str().unwrap().to_owned();
        Self { rig: Rig::new(), sandbox, token }
    }

    /// What must not appear anywhere.
    fn secrets(&self) -> Vec<String> {
        [forms(ODD), forms(&self.token), forms(HOOK)].concat()
    }

    #[track_caller]
    fn none_in(&self, what: &str, who: &str) {
        for secret in self.secrets() {
            assert!(!what.contains(&secret), "{secret:?} is in the output of {who}:\n{what}");
        }
    }

    /// A file that only its owner can read.
    fn secret_file(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.rig.beside(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn configuration(&self, credentials: &str) -> PathBuf {
        let path = self.rig.beside("config.yaml");
        let hook = self.secret_file("hook", &format!("http://127.0.0.1:9/services/{HOOK}"));
        let text = format!(
            "data_roots: [{}]\nstate_dir: {}\nalyx:\n  url: {}\n  username: test_user\n{credentials}\
             http: {{listen: \"127.0.0.1:0\"}}\nalerts: {{webhook_file: {}, every: 1 s}}\n\
             watch: {{settle: 50 ms, empty_grace: 0 s}}\nretry: {{initial: 50 ms, max: 200 ms}}\nlog: {{level: trace}}\n",
            self.rig.root().display(),
            self.rig.beside("state").display(),
            self.sandbox.url(),
            hook.display(),
        );
        std::fs::write(&path, text).unwrap();
        crate::program::stopped_cleanly(&self.rig.beside("state"));
        path
    }
}

/// A source of the login: lines of the configuration, and variables.
struct Source {
    name: &'static str,
    credentials: String,
    variables: Vec<(&'static str, String)>,
    /// Whether a token is obtained, and kept.
    buys: bool,
}

fn sources(world: &World) -> Vec<Source> {
    let file = |name: &str, secret: &str| world.secret_file(name, secret).display().to_string();
    let settings = json!({"ALYX_URL": world.sandbox.url(), "ALYX_LOGIN": "test_user", "ALYX_PWD": ODD,
        "TOKEN": {"test_user": {"token": world.token}}});
    let key = one_key(world.sandbox.url());
    file(&format!("rig/.one/.{key}"), &settings.to_string());
    let source = |name, credentials: String, variables: &[(&'static str, &str)], buys| Source {
        name,
        credentials,
        variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        buys,
    };
    let credentials = world.rig.beside("credentials");
    file("credentials/alyx-password", ODD);
    vec![
        source("a file", format!("  password_file: {}\n", file("password", ODD)), &[], true),
        source(
            "a file with a token",
            format!("  token_file: {}\n", file("token-file", &world.token)),
            &[],
            false,
        ),
        source(
            "a credential of systemd",
            "  password_file: alyx-password\n".into(),
            &[("CREDENTIALS_DIRECTORY", word(&credentials))],
            true,
        ),
        source("a variable", "  password_env: RIG_PASSWORD\n".into(), &[("RIG_PASSWORD", ODD)], true),
        source(
            "a variable with a token",
            "  token_env: RIG_TOKEN\n".into(),
            &[("RIG_TOKEN", &world.token)],
            false,
        ),
        source("ALYX_PASSWORD", String::new(), &[("ALYX_PASSWORD", ODD)], true),
        source("ALYX_TOKEN", String::new(), &[("ALYX_TOKEN", &world.token)], false),
        source(
            "the ONE settings",
            format!("  one_settings: {}\n", world.rig.beside("rig/.one").display()),
            &[],
            true,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_from_any_source_is_neither_printed_nor_stored() {
    let world = World::new().await;
    for source in sources(&world) {
        let config = world.configuration(&source.credentials);
        let command = |words: &[&str]| {
            let mut command = program();
            command.args(words).arg("--config").arg(&config).envs(source.variables.clone());
            command
        };
        // One session is registered, one needs attention, and the daemon runs throughout.
        let good = world.rig.session("cortexlab", "KS014");
        good.file("alf/spikes.times.npy", "abc").flag();
        world.rig.session("cortexlab", "nobody").flag();
        let mut daemon = Program::start(&mut command(&["run"]));
        let page =
            daemon.wait_for("the status page is at http").split_whitespace().last().unwrap().to_owned();
        if !daemon.text().contains("outcome=\"registered\"") {
            daemon.wait_for("outcome=\"registered\"");
        }
        if !daemon.text().contains("does not know subject") {
            daemon.wait_for("does not know subject");
        }
        if !daemon.text().contains("an alert is sent again") {
            daemon.wait_for("an alert is sent again");
        }
        for path in ["", "status.json", "metrics", "healthz"] {
            let answer = crate::common::http().get(format!("{page}{path}")).send().await.unwrap();
            world.none_in(&answer.text().await.unwrap(), &format!("the page {path:?} with {}", source.name));
        }
        let pid = daemon.id();
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        world.none_in(&String::from_utf8_lossy(&cmdline), "the list of processes");
        assert!(daemon.text().contains("DEBUG") || daemon.text().contains("TRACE"), "the log is too quiet");
        for words in [
            &["status"][..],
            &["status", "--json"],
            &["history", "--json"],
            &["check", "--log-level", "trace"],
            &["scan", "--dry-run", "--log-level", "trace"],
            &["exists", "subjects", "KS014", "nobody"],
            &["find-files", word(&good.folder)],
            &["register-session", word(&good.folder), "--json"],
        ] {
            let mut command = command(words);
            let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap();
            assert!(said.code <= 1, "{}: {words:?}: {said:?}", source.name);
            world.none_in(&(said.out + &said.err), &format!("{words:?} with {}", source.name));
        }
        world.none_in(&daemon.stop().join("\n"), &format!("the daemon with {}", source.name));
        check_files(&world, &source);
    }
}

/// The only secret left on disk is the token, in one file that only its owner can read.
fn check_files(world: &World, source: &Source) {
    let state = world.rig.beside("state");
    let mut kept = 0;
    for folder in [&state, &world.rig.root()] {
        for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap) {
            if !entry.file_type().is_file() {
                continue;
            }
            let content = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
            if entry.file_name().to_string_lossy().starts_with("token-") {
                kept += 1;
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
                assert!(!forms(ODD).iter().any(|secret| content.contains(secret)), "{content}");
            } else {
                world.none_in(&content, &format!("{:?} with {}", entry.path(), source.name));
            }
        }
    }
    assert_eq!(kept, usize::from(source.buys), "{}", source.name);
    std::fs::remove_dir_all(state).unwrap();
}

/// A server that echoes the request, as some do when they fail.
async fn echo(status: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let n = stream.read(&mut request).await.unwrap_or(0);
                let received = String::from_utf8_lossy(&request[..n]).into_owned();
                let mut body = json!({"detail": &received}).to_string();
                if status.starts_with("200") {
                    // Like a truncated one.
                    body.pop();
                }
                let in_one_line = received.replace(['\r', '\n', ' '], "_");
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     location: http://u@x.org/{in_one_line}?{in_one_line}\r\nsunset: {in_one_line}"
                );
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_repeated_by_a_server_does_not_reach_the_log() {
    let world = World::new().await;
    world.rig.session("cortexlab", "KS014").flag();
    let password = world.secret_file("password", ODD);
    let token = world.secret_file("token-file", &world.token);
    let ways = [
        format!("  password_file: {}\n", password.display()),
        format!("  token_file: {}\n", token.display()),
    ];
    for status in ["400 Bad Request", "500 Internal Server Error", "403 Forbidden", "302 Found", "200 OK"] {
        let url = echo(status).await;
        for way in &ways {
            let config = world.configuration(way);
            let text = std::fs::read_to_string(&config).unwrap().replace(world.sandbox.url(), &url);
            std::fs::write(&config, text).unwrap();
            for words in [&["scan"][..], &["check"]] {
                let mut command = program();
                command.args(words).args(["--log-level", "trace", "--config"]).arg(&config);
                let said: Said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap();
                assert_ne!(said.code, 0, "{said:?}");
                world.none_in(&(said.out + &said.err), &format!("{words:?} with {status}"));
            }
        }
    }
}

/// Enables core dumps for a process, and ends it so that it dumps. Returns whether it did.
fn dumps(command: &mut Command, wait: impl FnOnce()) -> bool {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait();
    let pid = child.id().to_string();
    let tool = |name: &str, words: &[&str]| {
        let output = Command::new(name).args(words).output();
        output.is_ok_and(|output| output.status.success())
    };
    // If the limit cannot be raised, it applies.
    let _ = tool("prlimit", &["--core=unlimited", "--pid", &pid]);
    assert!(tool("kill", &["-ABRT", &pid]));
    child.wait().unwrap().core_dumped()
}

#[test]
fn there_is_no_core_dump_even_without_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let (root, state) = (folder.path().join("data"), folder.path().join("state"));
    std::fs::create_dir(&root).unwrap();
    let text = format!(
        "data_roots: [{}]\nstate_dir: {}\nalyx: {{url: http://127.0.0.1:9, username: x, password_env: X}}\n",
        root.display(),
        state.display()
    );
    std::fs::write(&config, text).unwrap();
    let command = || {
        let mut command = program();
        command.args(["run", "--config"]).arg(&config).env("X", "secret").current_dir(folder.path());
        command
    };
    let mut daemon = Program::start(&mut command());
    daemon.wait_for("data root scanned");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    daemon.stop();

    // The test is only meaningful if other programs leave a core dump.
    if !dumps(Command::new("sleep").arg("60").current_dir(folder.path()), || ()) {
        return eprintln!("left out in part: programs leave no core dumps here");
    }
    let socket = state.join("daemon.sock");
    let started = || {
        let end = std::time::Instant::now() + common::AT_MOST;
        while !Path::new(&socket).exists() {
            assert!(std::time::Instant::now() < end, "it does not start");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let _ = std::fs::remove_file(&socket);
    assert!(!dumps(&mut command(), started), "its memory was dumped to disk");
}

/// Programs that are started in other ways are not searched for secrets.
#[test]
fn every_test_starts_the_program_with_a_searched_output() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in walkdir::WalkDir::new(tests).into_iter().map(Result::unwrap) {
        if entry.path().extension().is_none_or(|ending| ending != "rs") || entry.path().ends_with(file!()) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for statement in text.split(';') {
            let starts = statement.contains("program()")
                && [".output()", ".spawn()", ".status()"].iter().any(|end| statement.contains(end));
            assert!(!starts, "{:?} starts the program by itself:{statement}", entry.path());
        }
    }
}
