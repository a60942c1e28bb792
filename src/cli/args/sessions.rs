//! The arguments of the commands about sessions.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::args::connection::VerbArgs;
use crate::cli::args::values::{field, protected, qc, whole_number};
use alyx_client::text::printable;
use alyx_registration::{ProtectedPolicy, SessionDetails};
use session_metadata::Field;
use session_metadata::text::{Fault, parse_json};

/// The fields of a session on Alyx: the keyword arguments of Python's `register_session`.
#[derive(Args, Clone, Debug, Default)]
pub struct SessionDetailsArgs {
    /// Experimenter, an Alyx user; repeat, or separate with commas [default for a new session: the logged-in user]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub users: Vec<String>,

    /// Lab [default: the one in the path, else the subject's]
    #[arg(long, value_name = "NAME")]
    pub lab: Option<String>,

    /// Location inside the lab
    #[arg(long, value_name = "NAME")]
    pub location: Option<String>,

    /// Procedure; repeat, or separate with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "procedure")]
    pub procedures: Vec<String>,

    /// Project; repeat, or separate with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "project")]
    pub projects: Vec<String>,

    /// Kind of session [default for a new session: Experiment]
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<String>,

    /// Task protocol
    #[arg(long, value_name = "TEXT")]
    pub task_protocol: Option<String>,

    /// Precise start, ISO 8601, on the day of the folder
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<String>,

    /// Precise end, ISO 8601
    #[arg(long, value_name = "TIME")]
    pub end_time: Option<String>,

    /// Completed trials
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number)]
    pub n_trials: Option<u32>,

    /// Correct trials
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number)]
    pub n_correct_trials: Option<u32>,

    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub narrative: Option<String>,

    /// QC outcome: CRITICAL, FAIL, WARNING, NOT_SET or PASS
    #[arg(long, value_parser = qc(), ignore_case = true, hide_possible_values = true)]
    pub qc: Option<String>,

    /// JSON object whose keys are merged into the session's json
    #[arg(long, value_name = "OBJECT", value_parser = json_object)]
    pub session_json: Option<Map<String, Value>>,
}

fn json_object(typed: &str) -> Result<Map<String, Value>, String> {
    match parse_json(typed) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("this is JSON, but not an object; write it like '{\"rig\": 2}'".to_owned()),
        Err(Fault { key, message, .. }) if !key.is_empty() => Err(format!("{}: {message}", printable(&key))),
        Err(fault) => Err(match serde_json::from_str::<Value>(typed) {
            Err(error) => format!("this is not JSON ({error}); write it like '{{\"rig\": 2}}'"),
            Ok(_) => fault.message,
        }),
    }
}

impl SessionDetailsArgs {
    /// The arguments as the library's options.
    pub fn details(&self) -> SessionDetails {
        SessionDetails {
            users: self.users.clone(),
            lab: self.lab.clone(),
            projects: self.projects.clone(),
            procedures: self.procedures.clone(),
            location: self.location.clone(),
            task_protocol: self.task_protocol.clone(),
            kind: self.kind.clone(),
            start_time: self.start_time.clone(),
            end_time: self.end_time.clone(),
            narrative: self.narrative.clone(),
            n_trials: self.n_trials,
            n_correct_trials: self.n_correct_trials,
            qc: self.qc.as_ref().map(|qc| qc.to_uppercase()),
            json: self.session_json.clone(),
        }
    }
}

const CREATE_SESSION_HELP: &str = "\
Examples:
  alyx-registrar create-session /data/cortexlab/Subjects/KS014/2024-05-01/001 --projects practice";

/// `create-session`: the session without its files.
#[derive(Args, Clone, Debug)]
#[command(after_help = CREATE_SESSION_HELP)]
pub struct CreateSessionArgs {
    /// Session folder; its files are not registered
    pub folder: PathBuf,

    /// The folder need not be on this computer: the recording is elsewhere
    #[arg(long)]
    pub no_folder: bool,

    /// The fields of the session.
    #[command(flatten)]
    pub details: SessionDetailsArgs,

    /// Show what would be sent; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

const REGISTER_SESSION_HELP: &str = "\
Examples:
  alyx-registrar register-session /data/cortexlab/Subjects/KS014/2024-05-01/001 --dry-run";

/// `register-session`: the session with its files.
#[derive(Args, Clone, Debug)]
#[command(after_help = REGISTER_SESSION_HELP)]
pub struct RegisterSessionArgs {
    /// Session folder
    pub folder: PathBuf,

    /// File to register; repeat, or separate with commas [default: every dataset in the folder]
    #[arg(
        long = "file",
        value_name = "FILE",
        conflicts_with = "no_files",
        visible_alias = "file-list",
        alias = "files"
    )]
    pub files: Vec<PathBuf>,

    /// Register the session without files
    #[arg(long)]
    pub no_files: bool,

    /// What to do with changed files of protected datasets: refuse, or revise to move them into a revision folder
    #[arg(long, value_parser = protected(), value_name = "WHAT", default_value = "refuse", hide_possible_values = true)]
    pub protected: ProtectedPolicy,

    /// Also post files that are already registered
    #[arg(long)]
    pub force: bool,

    /// Send this field although Alyx holds another value than the session's files; repeat, or separate with commas
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = field(), hide_possible_values = true)]
    pub update: Vec<Field>,

    /// The fields of the session.
    #[command(flatten)]
    pub details: SessionDetailsArgs,

    /// Show what would be sent; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

const CREATE_SESSIONS_HELP: &str = "\
Examples:
  alyx-registrar create-sessions /data/cortexlab/Subjects --dry-run
  alyx-registrar create-sessions /data/cortexlab/Subjects --register-files

A flag is removed when its session is registered. Exits with 1 if a session was not registered.";

/// `create-sessions`: every flag below a folder.
#[derive(Args, Clone, Debug)]
#[command(after_help = CREATE_SESSIONS_HELP)]
pub struct CreateSessionsArgs {
    /// Folder to look for flags in
    pub root: PathBuf,

    /// Which files below the folder are flags
    #[arg(long, value_name = "PATTERN", default_value = "**/create_me.flag")]
    pub glob_pattern: String,

    /// Register the files of the sessions too
    #[arg(long)]
    pub register_files: bool,

    /// What to do with changed files of protected datasets: refuse, or revise to move them into a revision folder
    #[arg(long, value_parser = protected(), value_name = "WHAT", default_value = "refuse", hide_possible_values = true)]
    pub protected: ProtectedPolicy,

    /// Show what would be done with each flag; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

const NEW_SESSION_HELP: &str = "\
Examples:
  alyx-registrar new-session KS014 /data/cortexlab/Subjects --projects practice";

/// `new-session`: the next free folder of a day.
#[derive(Args, Clone, Debug)]
#[command(after_help = NEW_SESSION_HELP)]
pub struct NewSessionArgs {
    /// Subject; must be on Alyx
    pub subject: String,

    /// Folder in which SUBJECT/DATE/NUMBER is created
    pub root: PathBuf,

    /// Day, or a time on that day, ISO 8601 [default: today]
    #[arg(long, value_name = "DATE")]
    pub date: Option<String>,

    /// Number of the session, 1 to 999 [default: the next one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=999))]
    pub number: Option<u16>,

    /// Create the folder only
    #[arg(long)]
    pub no_register: bool,

    /// Show which folder would be created; create nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The fields of the session.
    #[command(flatten)]
    pub details: SessionDetailsArgs,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_kept_exactly_or_refused_with_their_key() {
        for kept in [
            r#"{"a": 18446744073709551615, "b": -9223372036854775808, "c": [1.5, 1e30, -0]}"#,
            r#"{"a": "18446744073709551616", "18446744073709551616": null}"#,
        ] {
            assert!(json_object(kept).is_ok(), "{kept}");
        }
        for (text, key) in [
            (r#"{"a": 18446744073709551616}"#, "a: "),
            (r#"{"a": -9223372036854775809}"#, "a: "),
            (r#"{"rig": {"ids": [1, 123456789012345678901234567890]}}"#, "rig.ids[1]: "),
        ] {
            let error = json_object(text).unwrap_err();
            assert!(error.starts_with(key) && error.contains("64 bits"), "{error}");
        }
        for (text, key) in [
            (r#"{"a": NaN}"#, "a: "),
            (r#"{"b": 1, "a": {"c": -Infinity}}"#, "a.c: "),
            (r#"{"a": [0, 1e999]}"#, "a[1]: "),
        ] {
            let error = json_object(text).unwrap_err();
            assert!(error.starts_with(&format!("{key}NaN, infinity")), "{error}");
        }
        let error = json_object(r#"{"a": {"b": 1, "b": 2}}"#).unwrap_err();
        assert!(error.starts_with("a.b: this key occurs twice"), "{error}");
        for text in ["", "{", r#"{"a": nan}"#, r#"{"a": NaN"#] {
            assert!(json_object(text).unwrap_err().starts_with("this is not JSON"), "{text}");
        }
    }
}
