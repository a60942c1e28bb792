//! The connection of a one-shot command. Arguments take precedence, and sources are never mixed.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;

use crate::cli::args::{ConnectionArgs, VerbArgs};
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::{FINISH_WITHIN, Failure};
use crate::cli::verbs::output::{Answer, run};
use crate::config::{Config, CredentialSource, DEFAULT_PATH, Environment, Overrides};
use crate::daemon::tree::lock::request_marks;
use alyx_client::{self, Credentials, LOG_IN_WITH_ONE, OneSettings};
use alyx_registration::{DataFolders, RegistrationClient, RegistrationOptions, RunContext};

/// Requests per minute without a configuration; the same as the configuration's default.
const REQUESTS_PER_MINUTE: u32 = 300;

/// Where address and login come from.
#[derive(Debug, PartialEq, Eq)]
enum ConnectionSource {
    /// In a configuration.
    Config(PathBuf),
    /// On the command line.
    Address { url: String, user: Option<String>, one_settings: Option<PathBuf> },
    /// In a rig's ONE settings alone.
    OneSettings { folder: PathBuf, user: Option<String> },
}

/// The sources to use if no connection option is given.
#[derive(Debug, Default)]
struct DefaultSources {
    /// `ALYX_REGISTRAR_CONFIG`.
    env_config: Option<PathBuf>,
    /// The configuration at its default path, if it exists.
    system_config: Option<PathBuf>,
    /// `~/.one`.
    home_settings: Option<PathBuf>,
}

impl DefaultSources {
    fn from_process() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let usual = PathBuf::from(DEFAULT_PATH);
        let settings = variable("HOME").map(|home| PathBuf::from(home).join(".one"));
        Self {
            env_config: variable("ALYX_REGISTRAR_CONFIG").map(PathBuf::from),
            system_config: usual.exists().then_some(usual),
            home_settings: settings.filter(|folder| folder.is_dir()),
        }
    }
}

/// The first source that exists. Pure.
fn select_source(args: &ConnectionArgs, defaults: &DefaultSources) -> Option<ConnectionSource> {
    if let Some(config) = &args.config {
        return Some(ConnectionSource::Config(config.clone()));
    }
    if let Some(url) = &args.url {
        let (user, one_settings) = (args.user.clone(), args.one_settings.clone());
        return Some(ConnectionSource::Address { url: url.clone(), user, one_settings });
    }
    if args.user.is_none() && args.one_settings.is_none() {
        let config = defaults.env_config.as_ref().or(defaults.system_config.as_ref());
        if let Some(config) = config {
            return Some(ConnectionSource::Config(config.clone()));
        }
    }
    let folder = args.one_settings.as_ref().or(defaults.home_settings.as_ref())?;
    Some(ConnectionSource::OneSettings { folder: folder.clone(), user: args.user.clone() })
}

/// Connects, and runs a command. When it is stopped, the records that are on their way may be answered.
pub(super) async fn run_connected(
    command: &str,
    args: &VerbArgs,
    work: impl AsyncFnOnce(&RegistrationClient, Option<&Config>) -> Result<Answer, Failure>,
) -> Exit {
    let client = OnceLock::new();
    let connected = async {
        let (connected, config) = connect_with_config(&args.connection)?;
        work(client.get_or_init(|| connected), config.as_ref()).await
    };
    run(command, args.json, connected, async || match client.get() {
        Some(client) => all_answered(client).await,
        None => true,
    })
    .await
}

/// Whether everything that was sent is answered, after a while at most.
pub(in crate::cli) async fn all_answered(client: &RegistrationClient) -> bool {
    client.finish_creations(FINISH_WITHIN).await && client.context().marks.are_all_answered()
}

/// Starts logging and builds the client. Sends nothing.
pub(super) fn connect(args: &ConnectionArgs) -> Result<RegistrationClient, Failure> {
    connect_with_config(args).map(|(client, _)| client)
}

/// The configuration, if that is where a connection would come from. Connects to nothing.
pub(super) fn config_of(args: &ConnectionArgs) -> Result<Option<Config>, Failure> {
    match select_source(args, &DefaultSources::from_process()) {
        Some(ConnectionSource::Config(path)) => {
            Config::load_with(&path, &Overrides::default(), &Environment::from_process())
                .map(Some)
                .map_err(|errors| Failure::of_config(&errors))
        }
        _ => Ok(None),
    }
}

/// As [`connect`], with the configuration if that is where the connection comes from.
pub(in crate::cli) fn connect_with_config(
    args: &ConnectionArgs,
) -> Result<(RegistrationClient, Option<Config>), Failure> {
    let defaults = DefaultSources::from_process();
    let source = select_source(args, &defaults).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "no Alyx server given: pass --config FILE, or --url URL and --user NAME with the secret in ALYX_PASSWORD or ALYX_TOKEN",
        )
    })?;
    match source {
        ConnectionSource::Config(path) => configured(&path).map(|(client, config)| (client, Some(config))),
        ConnectionSource::Address { url, user, one_settings } => {
            start_log(&LogOptions::default())?;
            let (credentials, login_advice) =
                secret(&url, user.as_deref(), one_settings.clone(), defaults.home_settings)?;
            client(url, credentials, login_advice, one_settings).map(|client| (client, None))
        }
        ConnectionSource::OneSettings { folder, user } => {
            start_log(&LogOptions::default())?;
            let settings = OneSettings::load(&folder, None, user.as_deref())
                .map_err(|error| Failure::new(Exit::Refused, error))?;
            client(settings.url, settings.credentials, LOG_IN_WITH_ONE, Some(folder))
                .map(|client| (client, None))
        }
    }
}

/// The client of an address and a login that was given.
pub(in crate::cli) fn connect_as(
    url: String,
    credentials: Credentials,
) -> Result<RegistrationClient, Failure> {
    client(url, credentials, "correct the user, the password or the token", None)
}

fn start_log(options: &LogOptions) -> Result<(), Failure> {
    logging::init(options).map_err(|error| Failure::new(Exit::Config, error))
}

/// The client of a configuration.
fn configured(path: &Path) -> Result<(RegistrationClient, Config), Failure> {
    let config = Config::load_with(path, &Overrides::default(), &Environment::from_process())
        .map_err(|errors| Failure::new(Exit::Config, errors))?;
    start_log(&config.log)?;
    let loaded = config.alyx.credentials.load(config.alyx.username.as_deref()).map_err(|error| {
        let hint = "in a terminal, use sudo, or log in with --one-settings ~/.one or with --url and --user";
        Failure::new(Exit::Refused, format!("{error}; {hint}"))
    })?;
    for warning in config.warnings.iter().chain(&loaded.warnings) {
        tracing::warn!("{warning}");
    }
    let client = crate::cli::service::wiring::client(&config, loaded.credentials)?;
    Ok((marking(&client, Some(&config.state_dir)), config))
}

/// The secret for an address: from the given folder, or else the environment, or else `~/.one`.
fn secret(
    url: &str,
    user: Option<&str>,
    typed: Option<PathBuf>,
    usual: Option<PathBuf>,
) -> Result<(Credentials, &'static str), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, error);
    let of_settings = |folder: &Path| {
        OneSettings::load(folder, Some(url), user).map(|settings| (settings.credentials, LOG_IN_WITH_ONE))
    };
    if let Some(folder) = typed {
        return of_settings(&folder).map_err(|error| refused(&error));
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("ALYX_TOKEN") || is_set("ALYX_PASSWORD") {
        if is_set("ALYX_PASSWORD") && !is_set("ALYX_TOKEN") && user.is_none() {
            return Err(Failure::new(
                Exit::Usage,
                "the password in ALYX_PASSWORD needs its user: give --user NAME",
            ));
        }
        let loaded = CredentialSource::DefaultEnv.load(user).map_err(|error| refused(&error))?;
        return Ok((loaded.credentials, "correct ALYX_PASSWORD or ALYX_TOKEN, and --user"));
    }
    let none = "no password or token for Alyx: set ALYX_PASSWORD or ALYX_TOKEN";
    match usual.as_deref().map(of_settings) {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => Err(Failure::new(Exit::Refused, format!("{none} ({error})"))),
        None => Err(Failure::new(Exit::Refused, none)),
    }
}

fn client(
    url: String,
    credentials: Credentials,
    login_advice: &'static str,
    typed_settings: Option<PathBuf>,
) -> Result<RegistrationClient, Failure> {
    let mut options = alyx_client::ClientOptions::new(url, credentials);
    options.max_requests_per_minute = Some(REQUESTS_PER_MINUTE);
    options.login_advice = login_advice;
    let alyx = alyx_client::Client::new(options)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string().replace("alyx.url", "the address")))?;
    let private = crate::cli::service::wiring::private_paths(typed_settings.into_iter().collect());
    let data = Arc::new(DataFolders { private, ..DataFolders::default() });
    let options = RegistrationOptions { zone: TimeZone::system(), data, ..RegistrationOptions::default() };
    Ok(marking(&RegistrationClient::new(alyx, options), None))
}

/// The same client, which marks the requests that must not be sent twice.
fn marking(client: &RegistrationClient, state_dir: Option<&Path>) -> RegistrationClient {
    client.in_context(RunContext { marks: request_marks(state_dir), ..client.context().clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(named: bool, usual: bool, settings: bool) -> DefaultSources {
        let path = |there: bool, path: &str| there.then(|| PathBuf::from(path));
        DefaultSources {
            env_config: path(named, "/named"),
            system_config: path(usual, "/usual"),
            home_settings: path(settings, "/home/.one"),
        }
    }

    fn typed(words: &[&str]) -> ConnectionArgs {
        let value = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).map(ToString::to_string)
        };
        ConnectionArgs {
            config: value("--config").map(PathBuf::from),
            url: value("--url"),
            user: value("--user"),
            one_settings: value("--one-settings").map(PathBuf::from),
        }
    }

    #[test]
    fn arguments_take_precedence_over_every_other_source() {
        let all = defaults(true, true, true);
        assert_eq!(
            select_source(&typed(&["--config", "/x"]), &all),
            Some(ConnectionSource::Config("/x".into()))
        );
        let Some(ConnectionSource::Address { url, .. }) = select_source(&typed(&["--url", "u"]), &all) else {
            panic!("no address")
        };
        assert_eq!(url, "u");
        let folder = select_source(&typed(&["--one-settings", "/rig/.one"]), &all);
        assert_eq!(folder, Some(ConnectionSource::OneSettings { folder: "/rig/.one".into(), user: None }));
        let user = select_source(&typed(&["--user", "ana"]), &all);
        assert_eq!(
            user,
            Some(ConnectionSource::OneSettings { folder: "/home/.one".into(), user: Some("ana".into()) })
        );
    }

    #[test]
    fn without_arguments_the_first_existing_source_is_used() {
        let of = |named, usual, settings| select_source(&typed(&[]), &defaults(named, usual, settings));
        assert_eq!(of(true, true, true), Some(ConnectionSource::Config("/named".into())));
        assert_eq!(of(false, true, true), Some(ConnectionSource::Config("/usual".into())));
        assert_eq!(
            of(false, false, true),
            Some(ConnectionSource::OneSettings { folder: "/home/.one".into(), user: None })
        );
        assert_eq!(of(false, false, false), None);
    }
}
