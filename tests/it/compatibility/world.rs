//! A rig with an Alyx and configurations, and commands whose words name their parts.

use std::path::PathBuf;
use std::process::Command;

use crate::common::{Alyx, Rig, Session};
use crate::program::Configuration;
use crate::verbs::{Said, at_home, run};

/// A server that is not there.
pub const NOWHERE: &str = "http://127.0.0.1:9";
/// The configuration with which everything goes well, as it is typed.
pub const GOOD: &str = "{rig}/etc/config.yaml";
/// One after the other, so that the order of the requests is one.
pub const IN_ORDER: &str = "workers: 1\nhash_threads: 1\n";

pub struct World {
    pub rig: Rig,
    pub alyx: Alyx,
}

impl World {
    pub async fn new() -> Self {
        Self { rig: Rig::new(), alyx: Alyx::sandbox().await }
    }

    /// Writes a configuration into a folder of its own.
    pub fn config(&self, name: &str, url: &str, password: &str, more: &str) -> PathBuf {
        Configuration {
            roots: vec![self.rig.root()],
            url: url.to_owned(),
            user: self.alyx.user.clone(),
            password: password.to_owned(),
            more: more.to_owned(),
        }
        .write(&self.rig.beside(name))
    }

    /// A configuration with which everything goes well.
    pub fn good_config(&self, more: &str) -> PathBuf {
        self.config("etc", &self.alyx.url, &self.alyx.password, &format!("{IN_ORDER}{more}"))
    }

    /// A session of a given place, with one dataset.
    pub fn session(&self, path: &str) -> Session {
        let session = self.rig.session_at(path);
        session.file("alf/spikes.times.npy", "abc");
        session
    }

    /// The folder of everything, for normalisation.
    pub fn folder(&self) -> String {
        self.rig.beside("").to_str().unwrap().trim_end_matches('/').to_owned()
    }

    /// A text without what differs from run to run.
    pub fn normal(&self, text: &str) -> String {
        crate::compatibility::normal::text(
            text,
            &self.folders().each_ref().map(|(from, to)| (from.as_str(), *to)),
        )
    }

    /// The same for JSON.
    pub fn normal_json(&self, value: &serde_json::Value) -> serde_json::Value {
        crate::compatibility::normal::value(
            value,
            &self.folders().each_ref().map(|(from, to)| (from.as_str(), *to)),
        )
    }

    fn folders(&self) -> [(String, &'static str); 2] {
        let folder = self.folder();
        // The part that has no slash is found in names that are made from it, too.
        [(format!("{folder}/data"), "<root>"), (folder, "<rig>")]
    }

    /// A command as it is recorded: `{root}` and `{rig}` are folders.
    pub fn command(&self, typed: &str) -> Command {
        let (root, folder) = (self.rig.root(), self.folder());
        let whole = |word: &str| {
            word.replace("{root}", root.to_str().unwrap())
                .replace("{rig}", &folder)
                .replace("{url}", &self.alyx.url)
        };
        let words: Vec<String> = typed.split_whitespace().map(whole).collect();
        let mut command = at_home(&self.rig, &words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("ALYX_PASSWORD", &self.alyx.password).env_remove("SUDO_USER");
        command.stdin(std::process::Stdio::null()).current_dir(self.folder());
        command
    }

    /// Runs it, while the Alyx of this test answers.
    pub async fn run(&self, typed: &str) -> Said {
        let mut command = self.command(typed);
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    }

    /// Waits until `status --json` shows what is wanted.
    pub async fn until_status(&self, config: &str, wanted: impl Fn(&serde_json::Value) -> bool) {
        let end = std::time::Instant::now() + crate::common::AT_MOST;
        loop {
            let said = self.run(&format!("status --json --config {config}")).await;
            let status = serde_json::from_str(&said.out).unwrap_or_default();
            if wanted(&status) {
                return;
            }
            assert!(std::time::Instant::now() < end, "{said:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
