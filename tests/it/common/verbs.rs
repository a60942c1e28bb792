//! The verbs of the built program, one process each.
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Alyx, Rig};
use crate::program::program;

/// The output and exit code of a verb.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The single object that `--json` prints.
    pub fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "not one line: {self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks that there is one short error that contains this text.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text) && self.out.is_empty(), "{self:?}");
        // At most as long as clap's own errors.
        assert!(self.err.trim_end().lines().count() <= 6, "{self:?}");
        self
    }
}

/// Runs the program with an empty home, unless the test has put something there.
pub fn run(command: &mut Command) -> Said {
    let output = crate::program::output(command);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The program with its own home and without secrets.
pub fn at_home(rig: &Rig, words: &[&str]) -> Command {
    let home = rig.beside("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = program();
    command.env("HOME", home).args(words);
    command
}

/// The program, logged in.
pub fn logged_in(alyx: &Alyx, rig: &Rig, words: &[&str]) -> Command {
    let mut command = at_home(rig, words);
    command.env("ALYX_PASSWORD", &alyx.password).args(["--url", &alyx.url, "--user", &alyx.user]);
    command
}

/// Runs a verb.
pub fn verb(alyx: &Alyx, rig: &Rig, words: &[&str]) -> Said {
    run(&mut logged_in(alyx, rig, words))
}

/// A path as an argument.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
