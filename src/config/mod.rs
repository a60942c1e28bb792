//! The YAML configuration and its validation.
//!
//! Three steps, each with its own type:
//!
//! 1. `document`: the YAML as it was typed. Every key is optional, no other key is known.
//! 2. [`Config`]: what is meant. Plain Rust values, all checked, all defaults filled in. No IO happened yet.
//! 3. [`Credentials`](alyx_client::Credentials): the password or token, read from its file or variable when it is needed.
//!
//! Every refusal is a [`ConfigError`] that names the file, the line and the key. One reading reports all of
//! them.
//!
//! # Who wins
//!
//! The command line ([`Overrides`]), then the file, then the environment ([`Environment`]), then the default.
//! A key that is left empty (`key:`) or is `null` counts as absent.
//!
//! | variable | meaning |
//! |---|---|
//! | `ALYX_REGISTRAR_CONFIG` | path of the configuration file, when `--config` is absent |
//! | `STATE_DIRECTORY` | the state folder, when `state_dir` is absent; set by systemd. Without it, the folder of the unit that runs the file |
//! | `CREDENTIALS_DIRECTORY` | where a relative `password_file` or `token_file` is looked for; set by systemd |
//! | `ALYX_TOKEN`, `ALYX_PASSWORD` | the secret, when none of the five credential keys is there |
//! | `RUST_LOG` | a filter for the log, wins over `log.level` |

mod credentials;
mod document;
mod error;
mod findings;
mod keys;
mod locate;
mod monitoring;
mod names;
mod roots;
mod sample;
mod server;
mod unit;
mod validate;
mod values;
mod watch;
mod webhook;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;

pub use crate::config::credentials::{CredentialSource, CredentialsError, LoadedCredentials, SecretKind};
pub use crate::config::document::known_keys;
pub use crate::config::error::{ConfigError, ConfigErrors};
pub use crate::config::names::Names;
pub use crate::config::sample::{Answers, SAMPLE, SecretPlace};
pub use crate::config::unit::unit_of;
pub use crate::config::values::parse_size;
pub use crate::config::webhook::{LoadedWebhook, WebhookSource};

use alyx_client::backoff::Backoff;
use alyx_registration::{OnRefused, ProtectedPolicy, SessionDetails};

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/alyx-registrar/config.yaml";

/// The whole configuration, checked and with all defaults filled in.
///
/// The sample `config/alyx-registrar.yaml` explains every key to the person who edits it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The file that it was read from, as it was given.
    pub file: Option<PathBuf>,
    /// The folders that are watched for flags: at least one, absolute, none inside another.
    pub data_roots: Vec<DataRoot>,
    /// File names that mark a finished session. Default `create_me.flag` alone.
    pub flags: Vec<String>,
    /// The server and how to speak to it.
    pub alyx: AlyxConfig,
    /// What a new session is given beyond subject, date and number. Absent values are not sent.
    pub session: SessionDetails,
    /// Which files are registered, and how.
    pub datasets: DatasetsConfig,
    /// How flags are found.
    pub watch: WatchConfig,
    /// When a failed session is tried again.
    pub retry: RetryConfig,
    /// Sessions registered at the same time, 1 to 64. Default 2.
    pub workers: usize,
    /// Files hashed at the same time, 1 to 64. Default 2.
    pub hash_threads: usize,
    /// Folder of the ledger. Default: `STATE_DIRECTORY`, else that of the unit which runs this file.
    pub state_dir: PathBuf,
    /// The zone in which session times are meant. `None`: the system's.
    pub timezone: Option<TimeZone>,
    /// How much is logged, and in which form.
    pub log: LogConfig,
    /// The status page.
    pub http: HttpConfig,
    /// Alerts about problems.
    pub alerts: AlertsConfig,
    /// What is allowed but unwise, one line each, for the log at start.
    pub warnings: Vec<String>,
}

/// A folder that is watched for flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRoot {
    /// Absolute, without `.`, `..` or a trailing slash.
    pub path: PathBuf,
    /// How changes below it are noticed. Its own `watch`, else `watch.mode`, else [`WatchMode::Auto`].
    pub watch: WatchMode,
    /// The name of a file without which its disk counts as not mounted. Its own, else that of `watch`, else none.
    pub require_marker: Option<String>,
}

/// How changes below a data root are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// Events on a local disk, polling on a network file system.
    #[default]
    Auto,
    /// Events of the kernel, whatever the file system is.
    Native,
    /// A scan every `watch.poll_interval`, whatever the file system is.
    Poll,
}

/// The server and how to speak to it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlyxConfig {
    /// `http` or `https`, without user, query or fragment. Its path ends with a slash.
    pub url: Url,
    /// The Alyx user. Always there when the secret is a password.
    pub username: Option<String>,
    /// Where the secret comes from. The secret itself is read by [`CredentialSource::load`].
    pub credentials: CredentialSource,
    /// Certificates of authorities that are trusted in addition to those of the system, as PEM. Default none.
    pub ca_file: Option<PathBuf>,
    /// Longest time to reach the server. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest time for one whole request. Default 60 s.
    pub request_timeout: Duration,
    /// Requests a minute that are never exceeded. Default 300. Alyx itself allows a user 550 by default.
    pub max_requests_per_minute: u32,
}

/// Which files are registered, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetsConfig {
    /// `false`: the session is created and its files are left alone. Default `true`.
    pub register: bool,
    /// Name of the Alyx data repository that holds the files. Default: the repositories of the lab.
    pub repository: Option<String>,
    /// The files are on the server only, not on a local repository. Default `false`.
    pub server_only: bool,
    /// The files exist in the repository. Default `true`.
    pub exists: bool,
    /// The registered revision becomes the default one (`default` in the YAML). Default `true`.
    pub default_revision: bool,
    /// Software versions; a list is cycled over the files. Default empty.
    pub versions: Vec<String>,
    /// Files larger than this many bytes are registered without MD5. `None`: every file is hashed.
    pub max_md5_size: Option<u64>,
    /// Files that are left out: patterns matched on the path relative to the session. Default empty.
    pub exclude: Vec<glob::Pattern>,
    /// What to do with a changed file whose dataset is protected. Default [`ProtectedPolicy::Refuse`]: a daemon
    /// moves no files unless it is configured to.
    pub protected: ProtectedPolicy,
    /// What becomes of the flag when Alyx does not accept some of the files. Default [`OnRefused::KeepFlag`].
    pub on_refused: OnRefused,
    /// Files in one request, 1 to 1000. Default 100.
    pub batch_size: usize,
}

/// How flags are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Every root is scanned this often, whatever events came. Default 5 min, at least 1 s.
    pub rescan_interval: Duration,
    /// A polled root is scanned this often. Default 1 min, at least 1 s.
    pub poll_interval: Duration,
    /// A flag must be this old before its session is taken up. Default 2 s, may be 0.
    pub settle: Duration,
    /// A flag that is older is reported once a day. Default 1 d; `None` (0 in the YAML): never.
    pub warn_after: Option<Duration>,
}

/// When a failed session is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Delays after failures: first 30 s, then twice as long each time, at most 1 h by default.
    pub backoff: Backoff,
    /// Delay after a failure that needs attention. Default 1 h.
    pub permanent: Duration,
}

/// How much is logged, and in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Default [`LogLevel::Info`].
    pub level: LogLevel,
    /// Default [`LogFormat::Text`].
    pub format: LogFormat,
}

/// The status page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens. Default `None`: there is no page.
    pub listen: Option<SocketAddr>,
}

/// Alerts about problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Where the address comes from to which alerts are sent. Default `None`: none are sent.
    pub webhook: Option<WebhookSource>,
    /// Who reads them. Default [`WebhookKind::Slack`].
    pub kind: WebhookKind,
    /// How long Alyx must have been away before an alert. Default 30 min.
    pub away_after: Duration,
    /// At most one message in this time. Default 10 min.
    pub every: Duration,
}

/// Who reads the messages of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookKind {
    /// Slack, Mattermost and others that read `{"text": …}`.
    #[default]
    Slack,
    /// Microsoft Teams, by way of a workflow.
    Teams,
    /// A program: one JSON object with everything in fields.
    Json,
}

/// The least important line that is still logged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs attention.
    Error,
    /// What is wrong but goes on.
    Warn,
    /// One line a session.
    #[default]
    Info,
    /// Each step.
    Debug,
    /// Each request and event.
    Trace,
}

/// The form of a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// What the command line says; wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replace `data_roots` when not empty. Must be absolute.
    pub data_roots: Vec<PathBuf>,
    /// Replaces `alyx.url`. Used with the embedded server.
    pub url: Option<String>,
    /// Replaces `state_dir`.
    pub state_dir: Option<PathBuf>,
    /// Replaces `log.level`.
    pub log_level: Option<LogLevel>,
    /// Replaces `log.format`.
    pub log_format: Option<LogFormat>,
}

/// The environment variables that the configuration looks at, taken once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `STATE_DIRECTORY`: the first folder of the list that systemd gives.
    pub state_directory: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`: where systemd puts the files of `LoadCredential=`.
    pub credentials_directory: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables of this process. An empty or relative one counts as absent.
    pub fn from_process() -> Environment {
        let folder = |name: &str| {
            let value = std::env::var_os(name)?;
            // systemd separates several state folders by colons; the first one is ours.
            let first = value.to_str()?.split(':').next()?.to_owned();
            Some(PathBuf::from(first)).filter(|p| p.is_absolute())
        };
        Environment {
            state_directory: folder("STATE_DIRECTORY"),
            credentials_directory: folder("CREDENTIALS_DIRECTORY"),
        }
    }
}

/// What `run --sandbox` and `demo` configure without a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSetup {
    /// Base URL of the embedded server.
    pub url: String,
    /// A user of the embedded server.
    pub username: String,
    /// The folders to watch.
    pub data_roots: Vec<PathBuf>,
    /// The state folder; must not be below a data root.
    pub state_dir: PathBuf,
}

impl Config {
    /// The files and folders of the program's own: its configuration, its state, and the files of its secrets.
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

    /// Reads and checks a file, with the variables of this process and nothing overridden.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::load_with(path, &Overrides::default(), &Environment::from_process())
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8; and everything of [`Config::parse_with`].
    pub fn load_with(
        path: &Path,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Config, ConfigErrors> {
        let unreadable = |err| ConfigErrors::unreadable(path, &err);
        let whole = std::path::absolute(path).map_err(unreadable)?;
        let mut environment = environment.clone();
        environment.state_directory = environment.state_directory.or_else(|| unit::state_dir_of(&whole));
        let environment = &environment;
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        // One byte more than is allowed: the check of the text then says so, even for a file without end.
        file.take(validate::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let config = Config::parse_with(text, path, overrides, environment)?;
                Ok(Config { file: Some(path.to_owned()), ..config })
            }
            // Cut in the middle of a letter; too large anyhow.
            Err(_) if bytes.len() > validate::MAX_BYTES => {
                Config::parse_with(&String::from_utf8_lossy(&bytes), path, overrides, environment)
            }
            Err(err) => Err(ConfigErrors::not_utf8(path, &bytes, err.valid_up_to())),
        }
    }

    /// Checks a text; `file_name` is only for the messages. No IO, no environment.
    pub fn parse(text: &str, file_name: &Path) -> Result<Config, ConfigErrors> {
        Config::parse_with(text, file_name, &Overrides::default(), &Environment::default())
    }

    /// Checks a text with the command line and the environment taken into account. No IO.
    ///
    /// # Errors
    /// All that is wrong at once, except that broken YAML hides what comes after it.
    pub fn parse_with(
        text: &str,
        file_name: &Path,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Config, ConfigErrors> {
        validate::config(text, file_name, overrides, environment)
    }

    /// The configuration of a run against the embedded server, made as YAML and parsed like a file.
    ///
    /// # Errors
    /// As for [`Config::parse`]: a data root that is relative, twice there or inside another.
    pub fn for_sandbox(setup: &SandboxSetup) -> Result<Config, ConfigErrors> {
        // The paths go in as they are: a text could not hold one that is not UTF-8.
        let overrides = Overrides {
            data_roots: setup.data_roots.clone(),
            state_dir: Some(setup.state_dir.clone()),
            ..Overrides::default()
        };
        let name = Path::new("sandbox configuration");
        Config::parse_with(&setup.to_yaml(), name, &overrides, &Environment::default())
    }
}

impl SandboxSetup {
    /// The configuration file of this set-up. Paths must be UTF-8; others are changed.
    pub fn to_yaml(&self) -> String {
        // A JSON text in quotes is a YAML text too, whatever characters it has.
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
