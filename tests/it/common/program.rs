//! The built program, run as a child: its log is read line by line, and a test waits for a line.
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::common::secrets;

/// A running program. Dropping it kills it.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    /// All output so far that a test has waited through.
    pub output_lines: Vec<String>,
}

thread_local! {
    /// The marks of requests. Tests run at the same time, each in its thread, and some use the same session.
    static MARKS: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// The program as it was built for this test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"));
    for name in [
        "ALYX_REGISTRAR_CONFIG",
        "RUST_LOG",
        "ALYX_TOKEN",
        "ALYX_PASSWORD",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        // The proxy settings of the environment do not apply to the tests' servers.
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    MARKS.with(|marks| command.env("ALYX_REGISTRAR_MARKS", marks.path()));
    command
}

/// Copies the program to where another user may run it.
///
/// By another process: a program is not started while any process holds it open for writing, such as one that another test is
/// just starting.
pub fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_alyx-registrar")).arg(to).status();
    assert!(copied.unwrap().success(), "{to:?}");
}

/// Runs a command to its end. All tests start the program with this function or with [`Program::start`], which search
/// its output for secrets.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let who = format!("{:?} {:?}", command.get_program(), command.get_args());
    secrets::none_in(&output.stdout, &who);
    secrets::none_in(&output.stderr, &who);
    output
}

impl Program {
    /// Starts a command and reads both its outputs.
    pub fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// As [`start`](Self::start), with an input.
    pub fn start_with_input(command: &mut Command) -> (Self, ChildStdin) {
        let mut program = Self::spawn(command.stdin(Stdio::piped()));
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let also = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = also.send(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, output_lines: Vec::new() }
    }

    /// Waits for a line that contains a text, and returns it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + crate::common::AT_MOST;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.record(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("it never said {text:?}, but:\n{}", self.output_lines.join("\n"));
    }

    fn record(&mut self, line: String) {
        secrets::none_in(&line, "a program");
        self.output_lines.push(line);
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end, and reads the rest of its output.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + crate::common::AT_MOST;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => self.record(line),
                Err(_) => {
                    if let Some(status) = self.child.try_wait().unwrap() {
                        // The reader threads may lag behind; they end with the process.
                        while let Ok(line) =
                            self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
                        {
                            self.record(line);
                        }
                        return status;
                    }
                    assert!(
                        Instant::now() < end,
                        "it does not end; it said:\n{}",
                        self.output_lines.join("\n")
                    );
                }
            }
        }
    }

    /// Stops the program as systemd does, and expects success.
    pub fn stop(mut self) -> Vec<String> {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.output_lines.join("\n"));
        std::mem::take(&mut self.output_lines)
    }

    /// All output so far as one text.
    pub fn text(&self) -> String {
        self.output_lines.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Output after the last wait.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(20)) {
            self.record(line);
        }
    }
}

/// Makes a state folder as a daemon that stopped cleanly leaves it: the next one creates sessions at once.
pub fn stopped_cleanly(state: &Path) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join(alyx_registrar::daemon::outside::clean_stop::FILE_NAME), "").unwrap();
}

/// A configuration for tests: a short settle time and short waits between attempts.
pub struct Configuration {
    pub roots: Vec<PathBuf>,
    pub url: String,
    pub user: String,
    pub password: String,
    /// More YAML, in whole sections.
    pub more: String,
}

impl Configuration {
    /// Writes configuration and password into a folder, and returns the path of the configuration.
    pub fn write(&self, folder: &Path) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(folder).unwrap();
        let password = folder.join("password");
        std::fs::write(&password, &self.password).unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        let roots: Vec<String> = self.roots.iter().map(|root| format!("  - {}\n", root.display())).collect();
        let sections =
            if self.more.contains("watch:") { "" } else { "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n" };
        let retry =
            if self.more.contains("retry:") { "" } else { "retry:\n  initial: 50 ms\n  max: 200 ms\n" };
        let text = format!(
            "data_roots:\n{}alyx:\n  url: {}\n  username: {}\n  password_file: {}\nstate_dir: {}\n{sections}{retry}{}",
            roots.concat(),
            self.url,
            self.user,
            password.display(),
            folder.join("state").display(),
            self.more,
        );
        // Written anew beside a running daemon, it must not touch its state.
        if !folder.join("state").exists() {
            stopped_cleanly(&folder.join("state"));
        }
        let path = folder.join("config.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }
}
