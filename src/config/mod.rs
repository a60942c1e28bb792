//! The YAML configuration and its validation.
//!
//! Three steps, each with its own type:
//!
//! 1. `document`: the YAML as written. All keys are optional, unknown keys are errors.
//! 2. [`Config`]: the meaning. Plain Rust values, validated, with defaults. Needs no IO.
//! 3. [`Credentials`](alyx_client::Credentials): the password or token, read from its file or variable when needed.
//!
//! Every error is a [`ConfigError`] with file, line and key. One read reports all of them.
//!
//! # Precedence
//!
//! The command line ([`Overrides`]), then the file, then the environment ([`Environment`]), then the default.
//! An empty key (`key:`) or `null` counts as absent.
//!
//! | variable | meaning |
//! |---|---|
//! | `ALYX_REGISTRAR_CONFIG` | path of the configuration file, when `--config` is absent |
//! | `STATE_DIRECTORY` | the state folder, when `state_dir` is absent; set by systemd. Without it, the folder of the unit that runs the file |
//! | `CREDENTIALS_DIRECTORY` | where a relative `password_file` or `token_file` is looked for; set by systemd |
//! | `ALYX_TOKEN`, `ALYX_PASSWORD` | the secret, when none of the five credential keys is there |
//! | `ALYX_REGISTRAR_MARKS` | a folder for the marks of requests, in place of the usual ones; the same for all programs on the computer |
//! | `RUST_LOG` | a filter for the log, wins over `log.level` |

#![expect(clippy::disallowed_methods, reason = "works on the disk, and reads the clock")]

mod document;
mod error;
mod findings;
mod keys;
mod names;
mod sample;
mod sections;
mod unit;
mod validate;
mod values;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;

pub use crate::config::document::known_keys;
pub use crate::config::error::{ConfigError, ConfigErrors, missing_file_advice};
pub use crate::config::names::Names;
pub use crate::config::sample::{Answers, SAMPLE, SecretPlace};
pub use crate::config::sections::credentials::{
    CredentialSource, CredentialsError, LoadedCredentials, SecretKind,
};
pub use crate::config::sections::metadata::metadata_readers;
pub use crate::config::sections::webhook::{LoadedWebhook, WebhookSource};
pub use crate::config::unit::unit_of;
pub use crate::config::values::{duration as parse_duration, parse_size};

use alyx_client::backoff::Backoff;
use alyx_registration::{
    FollowMode, MetadataOptions, Mount, OnLate, OnLeftOut, OnRefused, ProtectedPolicy, QuietRules,
    ReadingOptions, RootDatasets, SessionDetails,
};

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/alyx-registrar/config.yaml";

/// The configuration, validated and with defaults.
///
/// The sample `config/alyx-registrar.yaml` explains every key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The path of the file, as given.
    pub file: Option<PathBuf>,
    /// The folders that are watched for flags: at least one, absolute, none inside another.
    pub data_roots: Vec<DataRoot>,
    /// File names that mark a finished session. Default `create_me.flag` alone.
    pub flags: Vec<String>,
    /// The server and the connection.
    pub alyx: AlyxConfig,
    /// Metadata of a new session besides subject, date and number. Absent values are not sent.
    pub session: SessionDetails,
    /// The earliest day that a session may have. Default 2000-01-01.
    pub earliest: jiff::civil::Date,
    /// What is read of a session folder, what a session must have, and what is recorded with it.
    pub metadata: MetadataOptions,
    /// Subjects whose flags are left alone (`metadata.skip_subjects`). Default empty.
    pub skip_subjects: Vec<String>,
    /// Which files are registered, and how.
    pub datasets: DatasetsConfig,
    /// Folders of this computer that are repositories on Alyx. Default none.
    pub repositories: Vec<Mount>,
    /// By what the copies in repositories are compared before their file records say that they exist. Default [`FollowMode::Md5`].
    pub follow: FollowMode,
    /// Folders outside the data roots into which links of a session may lead. Default empty.
    pub links_allow: Vec<PathBuf>,
    /// How flags are found.
    pub watch: WatchConfig,
    /// When a failed session is retried.
    pub retry: RetryConfig,
    /// Sessions registered at the same time, 1 to 64. Default 2.
    pub workers: usize,
    /// Threads that read and hash files in each data root, 1 to 64. Default 2.
    pub hash_threads: usize,
    /// How fast files are read, in all data roots together. Default: without a limit, but slower while other programs wait for
    /// the disk or a processor.
    pub reading: ReadingOptions,
    /// When registered files are verified. Default: never.
    pub verify: VerifyConfig,
    /// Folder of the ledger. Default: `STATE_DIRECTORY`, or else that of the unit for this file.
    pub state_dir: PathBuf,
    /// How long an outcome is kept in the history (`history.keep`). Default 180 d.
    pub keep_history: Duration,
    /// The time zone of session times. `None` for the system's.
    pub timezone: Option<TimeZone>,
    /// How much is logged, and in which form.
    pub log: LogConfig,
    /// The status page.
    pub http: HttpConfig,
    /// Alerts about problems.
    pub alerts: AlertsConfig,
    /// Warnings about valid but risky values, one line each.
    pub warnings: Vec<String>,
}

/// A folder that is watched for flags.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRoot {
    /// Absolute, without `.`, `..` or a trailing slash.
    pub path: PathBuf,
    /// How changes below it are detected: its own `watch`, or else `watch.mode`, or else [`WatchMode::Auto`].
    pub watch: WatchMode,
    /// The name of a file without which its disk counts as not mounted: its own, or else that of `watch`, or else none.
    pub require_marker: Option<String>,
    /// Whether it gets the files of all computers of a rig (`complete: all_devices`). Default `false`.
    pub all_devices: bool,
    /// Metadata of its sessions, before that of `session`.
    pub session: SessionDetails,
    /// The earliest day that its sessions may have, before that of `session`.
    pub earliest: Option<jiff::civil::Date>,
    /// How its files are registered, before `datasets`.
    pub datasets: RootDatasets,
}

/// How changes below a data root are detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// Events on a local disk, polling on a network file system.
    #[default]
    Auto,
    /// Kernel events on any file system.
    Native,
    /// A scan every `watch.poll_interval` on any file system.
    Poll,
}

/// The server and the connection.
#[derive(Clone, Debug, PartialEq)]
pub struct AlyxConfig {
    /// `http` or `https`, without user, query or fragment. Its path ends with a slash.
    pub url: Url,
    /// The Alyx user. Always present if the secret is a password.
    pub username: Option<String>,
    /// The source of the secret. [`CredentialSource::load`] reads the secret.
    pub credentials: CredentialSource,
    /// PEM file of certificate authorities that are trusted in addition to those of the system. Default none.
    pub ca_file: Option<PathBuf>,
    /// Time limit for the connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Time limit for a whole request. Default 60 s.
    pub request_timeout: Duration,
    /// Limit on requests per minute. Default 300. Alyx allows each user 550 by default.
    pub max_requests_per_minute: u32,
}

/// Which files are registered, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetsConfig {
    /// `false`: sessions are created without their files. Default `true`.
    pub register: bool,
    /// Name of the Alyx data repository that the files are in. Default: that of `repositories`, or none.
    pub repository: Option<String>,
    /// The files get records in the servers of the lab only, and are in all of them. Default `false`.
    pub server_only: bool,
    /// The files are in the repository already. Default `true`.
    pub exists: bool,
    /// A registered file becomes the default revision (`default` in the YAML). Default `true`.
    pub default_revision: bool,
    /// Software versions; a list is cycled over the files. Default empty.
    pub versions: Vec<String>,
    /// Files of this many bytes or more are registered without MD5. `None`: every file is hashed.
    pub max_md5_size: Option<u64>,
    /// Files to exclude: patterns for the path relative to the session. Default empty.
    pub exclude: Vec<glob::Pattern>,
    /// What to do with a changed file whose dataset is protected. Default [`ProtectedPolicy::Refuse`]: a daemon
    /// moves no files unless it is configured to.
    pub protected: ProtectedPolicy,
    /// What to do with the flag when Alyx does not accept some of the files. Default [`OnRefused::KeepFlag`].
    pub on_refused: OnRefused,
    /// What to do with a session with gaps. Default [`OnLeftOut::Warn`].
    pub on_left_out: OnLeftOut,
    /// What to do with late files. Default [`OnLate::Report`].
    pub late: OnLate,
    /// Derived data, which is never late: patterns for the path relative to the session. Default empty.
    pub late_exclude: Vec<glob::Pattern>,
    /// Files in one request, 1 to 1000. Default 100.
    pub batch_size: usize,
}

/// When registered files are verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyConfig {
    /// How often each file is read. `None`: never.
    pub every: Option<Duration>,
    /// The begin and the end of the time of the day in which files are read. `None`: at any time.
    pub window: Option<(jiff::civil::Time, jiff::civil::Time)>,
}

/// How flags are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// How often every root is scanned, in case events are lost. Default 5 min, at least 100 ms.
    pub rescan_interval: Duration,
    /// How often a root without events is scanned. Default 1 min, at least 100 ms.
    pub poll_interval: Duration,
    /// When a flagged session counts as complete.
    pub quiet: QuietRules,
    /// An older flag is reported once a day. Default 1 d; `None` (0 in the YAML): never.
    pub warn_after: Option<Duration>,
    /// For how long a registered session is looked at again. Default 7 d; 0: never.
    pub late_files: Duration,
    /// At most this many `stat` calls a second for these looks, 1 to 100000. Default 200.
    pub late_rate: u32,
}

/// When a failed session is retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Delays after failures: first 30 s, then twice as long each time, at most 1 h by default.
    pub backoff: Backoff,
    /// Delay after a failure that needs attention. Default 1 h.
    pub permanent: Duration,
}

/// The level and format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Default [`LogLevel::Info`].
    pub level: LogLevel,
    /// Default [`LogFormat::Text`].
    pub format: LogFormat,
}

/// The status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address of the page. Default `None`: no page.
    pub listen: Option<SocketAddr>,
    /// Names under which the page answers, in addition to those of loopback. Default empty.
    pub names: Vec<String>,
}

/// Alerts about problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// The source of the webhook's address. Default `None`: no alerts.
    pub webhook: Option<WebhookSource>,
    /// The format of the messages. Default [`WebhookKind::Slack`].
    pub kind: WebhookKind,
    /// How long Alyx must be unreachable before an alert. Default 30 min.
    pub away_after: Duration,
    /// The minimum time between two messages. Default 10 min.
    pub every: Duration,
}

/// The format of the messages to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookKind {
    /// Slack, Mattermost and others that read `{"text": …}`.
    #[default]
    Slack,
    /// Microsoft Teams, through a workflow.
    Teams,
    /// One JSON object, for a program.
    Json,
}

/// The log level.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// Also warnings.
    Warn,
    /// Also one line per session.
    #[default]
    Info,
    /// Also each step.
    Debug,
    /// Also each request and event.
    Trace,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Plain text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Values from the command line, which override the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replace `data_roots` when not empty. Must be absolute.
    pub data_roots: Vec<PathBuf>,
    /// Replaces `alyx.url`. Used with the sandbox.
    pub url: Option<String>,
    /// Replaces `state_dir`.
    pub state_dir: Option<PathBuf>,
    /// Replaces `log.level`.
    pub log_level: Option<LogLevel>,
    /// Replaces `log.format`.
    pub log_format: Option<LogFormat>,
}

/// The environment variables that the configuration uses, and the day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `STATE_DIRECTORY`: the first folder of systemd's list.
    pub state_directory: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`: where systemd puts the files of `LoadCredential=`.
    pub credentials_directory: Option<PathBuf>,
    /// Today; `None`: no day is in the future.
    pub today: Option<jiff::civil::Date>,
}

impl Environment {
    /// Reads the variables of this process, and the clock. An empty or relative one counts as absent.
    pub fn from_process() -> Environment {
        let folder = |name: &str| {
            let value = std::env::var_os(name)?;
            // systemd separates several state folders by colons; the first one is the daemon's.
            let first = value.to_str()?.split(':').next()?.to_owned();
            Some(PathBuf::from(first)).filter(|p| p.is_absolute())
        };
        Environment {
            state_directory: folder("STATE_DIRECTORY"),
            credentials_directory: folder("CREDENTIALS_DIRECTORY"),
            today: Some(jiff::Zoned::now().date()),
        }
    }
}

/// The settings of `run --sandbox` without a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSetup {
    /// Base URL of the sandbox.
    pub url: String,
    /// A user of the sandbox.
    pub username: String,
    /// The folders to watch.
    pub data_roots: Vec<PathBuf>,
    /// The state folder; must not be below a data root.
    pub state_dir: PathBuf,
}

impl Config {
    /// Whether the flags of this session's subject are left alone.
    pub fn skips(&self, session: &alf::SessionPath) -> bool {
        self.skip_subjects.iter().any(|subject| subject == session.subject())
    }

    /// The program's own files and folders: its configuration, its state, and the files of its secrets.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let secret = match &self.alyx.credentials {
            CredentialSource::PasswordFile(path) | CredentialSource::TokenFile(path) => Some(path),
            CredentialSource::OneSettings { folder, .. } => Some(folder),
            CredentialSource::PasswordEnv(_)
            | CredentialSource::TokenEnv(_)
            | CredentialSource::NotLoaded(_)
            | CredentialSource::DefaultEnv => None,
        };
        let webhook = match &self.alerts.webhook {
            Some(WebhookSource::File(path)) => Some(path),
            Some(WebhookSource::Env(_) | WebhookSource::NotLoaded) | None => None,
        };
        [self.file.as_ref(), Some(&self.state_dir), secret, webhook].into_iter().flatten().cloned().collect()
    }

    /// Reads and validates a file, with the variables of this process and no overrides.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::load_with(path, &Overrides::default(), &Environment::from_process())
    }

    /// Reads and validates a file.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8; and those of [`Config::parse_with`].
    pub fn load_with(
        path: &Path,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Config, ConfigErrors> {
        let unreadable = |err| ConfigErrors::unreadable(path, &err);
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let mut environment = environment.clone();
        environment.state_directory = environment.state_directory.or_else(|| unit::state_dir_of(&absolute));
        let environment = &environment;
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        // One byte above the limit is enough for the size check to fail, even on an endless file.
        file.take(validate::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let config = Config::parse_with(text, path, overrides, environment)?;
                Ok(Config { file: Some(path.to_owned()), ..config })
            }
            // Cut in the middle of a character; the file is too large anyway.
            Err(_) if bytes.len() > validate::MAX_BYTES => {
                Config::parse_with(&String::from_utf8_lossy(&bytes), path, overrides, environment)
            }
            Err(err) => Err(ConfigErrors::not_utf8(path, &bytes, err.valid_up_to())),
        }
    }

    /// Validates a text; `file_name` is only for the messages. No IO, no environment.
    pub fn parse(text: &str, file_name: &Path) -> Result<Config, ConfigErrors> {
        Config::parse_with(text, file_name, &Overrides::default(), &Environment::default())
    }

    /// Validates a text with overrides and environment. No IO.
    ///
    /// # Errors
    /// All errors at once, except that invalid YAML hides the errors after it.
    pub fn parse_with(
        text: &str,
        file_name: &Path,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Config, ConfigErrors> {
        validate::config(text, file_name, overrides, environment)
    }
}

impl SandboxSetup {
    /// The configuration as YAML. Paths that are not UTF-8 are garbled, so pass them as overrides as well.
    pub fn to_yaml(&self) -> String {
        // A JSON string is a YAML string too, whatever characters it contains.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut yaml = String::from("data_roots:\n");
        for root in &self.data_roots {
            yaml += &format!("  - {}\n", quoted(&root.to_string_lossy()));
        }
        yaml += &format!("alyx:\n  url: {}\n  username: {}\n", quoted(&self.url), quoted(&self.username));
        yaml += &format!("state_dir: {}\n", quoted(&self.state_dir.to_string_lossy()));
        yaml
    }
}
