//! The registrar as a separate process, as on a rig.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Child, Error};

/// A running `alyx-registrar run`, with its log.
pub struct Registrar {
    /// The process.
    pub child: Child,
    log: Receiver<Value>,
}

/// The configuration values that a benchmark sets.
pub struct Settings<'a> {
    /// The data root.
    pub root: &'a Path,
    /// A folder for the configuration and the state.
    pub folder: &'a Path,
    /// The address of Alyx.
    pub url: &'a str,
    /// `watch.settle`.
    pub settle: &'a str,
    /// Further lines of YAML.
    pub more: &'a str,
}

impl Settings<'_> {
    /// Writes the configuration file.
    pub fn write(&self) -> Result<PathBuf, Error> {
        let path = self.folder.join("config.yaml");
        let quoted = |path: &Path| serde_json::to_string(&path.display().to_string());
        let text = format!(
            "data_roots: [{}]\nalyx:\n  url: {}\n  username: test_user\n  max_requests_per_minute: 100000\n\
             watch: {{settle: {}, empty_grace: 0 s}}\nstate_dir: {}\n{}",
            quoted(self.root)?,
            self.url,
            self.settle,
            quoted(&self.folder.join("state"))?,
            self.more,
        );
        std::fs::write(&path, text)?;
        // As a daemon that stopped cleanly leaves it: the first session is created at once.
        let state = self.folder.join("state");
        if !state.exists() {
            std::fs::create_dir(&state)?;
            std::fs::write(state.join(alyx_registrar::daemon::outside::clean_stop::FILE_NAME), "")?;
        }
        Ok(path)
    }
}

impl Registrar {
    /// Starts `run` with a configuration.
    pub fn run(config: &Path) -> Result<Self, Error> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"))
            .args(["run", "--log-format", "json", "--config"])
            .arg(config)
            .env_remove("RUST_LOG")
            .env_remove("ALYX_TOKEN")
            .env("ALYX_PASSWORD", "TapetesBloc18")
            // As the unit sets them.
            .envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072")])
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = BufReader::new(child.stderr.take().ok_or("no log")?);
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child: Child(child), log })
    }

    /// The next line of the log with this message.
    pub fn wait_for(&self, message: &str, at_most: Duration) -> Result<Value, Error> {
        let until = Instant::now() + at_most;
        loop {
            let line = self.log.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.map_err(|_| format!("the registrar did not log {message:?}"))?;
            if line["message"] == message {
                return Ok(line);
            }
            if line["level"] != "INFO" {
                println!("the registrar's log: {line}");
            }
        }
    }
}
