//! `check`: verifies the setup before anything is registered. Read-only.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

mod copies;
mod folders;
pub(super) mod labs;
mod links;
mod loadable;
mod row;
mod runtime;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use crate::cli::args::{CheckArgs, ConfigArgs};
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::Failure;
use crate::cli::service::wiring;
use crate::cli::setup::check::row::{Row, Table};
use crate::cli::setup::passwd::UnixUser;
use crate::config::{Config, CredentialSource, Environment, LogLevel, WebhookSource, missing_file_advice};
use crate::daemon::watch::preflight::{preflight_root, preflight_state};
use crate::daemon::watch::{RootOptions, watch_limit};
use alyx_client::Credentials;
use alyx_registration::FollowedRepository;

/// Time-out for a data root, of which there may be millions of folders.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time-out for the search for links in the sessions of a data root, of which there may be millions of files.
const LINKS_TIMEOUT: Duration = Duration::from_secs(20);
/// Time-out for quick checks, and for all checks before the daemon starts.
const QUICK_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long a check may make no progress: a dead network drive never responds.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// Runs all checks and prints a table.
pub(crate) async fn check(args: &CheckArgs) -> Exit {
    let level = args.config.log_level.unwrap_or(LogLevel::Warn);
    let log = LogOptions { level, format: args.config.log_format.unwrap_or_default() };
    if let Err(error) = logging::init(&log) {
        return Failure::new(Exit::Config, error).end("check", args.json);
    }
    let mut table = Table::new(args.json);
    run_checks(args, &mut table).await;
    table.end();
    if args.before_start { Exit::Success } else { table.exit_code() }
}

/// Checks a configuration that was just written.
pub(super) async fn check_new(file: &Path, offline: bool) {
    let config = ConfigArgs { config: Some(file.to_owned()), ..ConfigArgs::default() };
    check(&CheckArgs { config, offline, before_start: false, json: false }).await;
}

async fn run_checks(args: &CheckArgs, table: &mut Table) {
    let Some(config) = configuration(args, table) else { return };
    table.add(user(&UnixUser::myself(), args.config.config.as_deref()));
    let login = credentials(&config, args.config.config.as_deref(), table);
    table.extend(webhook(&config));
    if args.offline || args.before_start {
        server::skip(&server::ALL, "not asked", table);
    } else {
        check_server(&config, login, table).await;
    }
    // With the answer of Alyx, these rows are there already.
    if config.datasets.register && !args.before_start && !table.has(loadable::CHECK) {
        table.extend(loadable::without_alyx(&config));
    }
    let answering = data_roots(&config, args.before_start, table).await;
    if !args.before_start {
        copies(&config, table).await;
    }
    let state_dir = config.state_dir.clone();
    let found = with_timeout(QUICK_TIMEOUT, move |_| preflight_state(&state_dir)).await;
    table.add(match found {
        Some(found) => folders::state(&config.state_dir, &found),
        None => unresponsive("state folder", &config.state_dir.display().to_string()),
    });
    // The daemon has five seconds to answer.
    let for_thread = config.clone();
    match with_timeout(2 * QUICK_TIMEOUT, move |_| runtime::rows(&for_thread, &answering)).await {
        Some(rows) => table.extend(rows),
        None => table.add(unresponsive("daemon", &config.state_dir.display().to_string())),
    }
}

fn configuration(args: &CheckArgs, table: &mut Table) -> Option<Config> {
    const CHECK: &str = "configuration";
    let here = match std::env::current_dir() {
        Ok(here) => here,
        Err(error) => {
            let found = format!("the working folder cannot be found: {error}");
            table.add(Row::problem(CHECK, Exit::Io, found, "go to another folder"));
            return None;
        }
    };
    let path = args.config.config_path();
    match Config::load_with(path, &args.config.overrides(&here), &Environment::from_process()) {
        Ok(config) => {
            table.add(Row::ok(CHECK, path.display()));
            table.extend(config.warnings.iter().map(|warning| Row::warning(CHECK, warning, "")));
            Some(config)
        }
        Err(_) if !path.exists() => {
            let found = format!("{} does not exist", path.display());
            table.add(Row::problem(CHECK, Exit::Config, found, missing_file_advice(path)));
            None
        }
        Err(errors) => {
            table.extend(errors.iter().map(|error| Row::problem(CHECK, Exit::Config, error, "")));
            None
        }
    }
}

/// The row of the current user. Root may do everything, so a check as root says nothing about the service user.
fn user(me: &UnixUser, config: Option<&Path>) -> Row {
    if me.is_root() {
        let what_to_do = format!(
            "run it as the service user: sudo -u alyx-registrar alyx-registrar check{}",
            config_option(config)
        );
        return Row::warning("user", "root, who may do everything", what_to_do);
    }
    Row::ok("user", &me.name)
}

/// The option for the configuration, for command lines in advice.
fn config_option(config: Option<&Path>) -> String {
    config.map(|config| format!(" --config {}", config.display())).unwrap_or_default()
}

/// Reads the secret, if possible.
fn credentials(config: &Config, file: Option<&Path>, table: &mut Table) -> Option<Credentials> {
    const CHECK: &str = "credentials";
    let source = &config.alyx.credentials;
    if let CredentialSource::NotLoaded(kind) = source {
        let found = format!("the {} is a credential of systemd, which only the service has", kind.word());
        let what_to_do = format!(
            "to check with it: sudo systemd-run --pipe --wait -p User=alyx-registrar -p LoadCredential=NAME:FILE \
             alyx-registrar check{}, with NAME:FILE as in the unit",
            config_option(file)
        );
        table.add(Row::warning(CHECK, found, what_to_do));
        return None;
    }
    match source.load(config.alyx.username.as_deref()) {
        Ok(loaded) => {
            match loaded.warnings.as_slice() {
                [] => table.add(Row::ok(CHECK, described(source))),
                warnings => table.extend(warnings.iter().map(|warning| Row::warning(CHECK, warning, ""))),
            }
            Some(loaded.credentials)
        }
        Err(error) => {
            table.add(Row::problem(CHECK, Exit::Refused, error, ""));
            None
        }
    }
}

/// Whether the webhook's address can be read, if alerts are configured. Sends nothing.
fn webhook(config: &Config) -> Vec<Row> {
    const CHECK: &str = "alerts";
    match &config.alerts.webhook {
        None => Vec::new(),
        Some(WebhookSource::NotLoaded) => {
            let found = "the webhook is a credential of systemd, which only the service has";
            vec![Row::warning(CHECK, found, "see LoadCredential= in the unit")]
        }
        Some(source) => match source.load() {
            Ok(loaded) if loaded.warnings.is_empty() => {
                vec![Row::ok(CHECK, "the address of the webhook can be read")]
            }
            Ok(loaded) => loaded.warnings.iter().map(|warning| Row::warning(CHECK, warning, "")).collect(),
            // A warning only: sessions are registered without alerts.
            Err(error) => vec![Row::warning(CHECK, error, "")],
        },
    }
}

/// Where the secret comes from.
fn described(source: &CredentialSource) -> String {
    match source {
        CredentialSource::PasswordFile(file) => format!("the password in {}", file.display()),
        CredentialSource::TokenFile(file) => format!("the token in {}", file.display()),
        CredentialSource::PasswordEnv(_) => "the password in the variable of alyx.password_env".to_owned(),
        CredentialSource::TokenEnv(_) => "the token in the variable of alyx.token_env".to_owned(),
        CredentialSource::OneSettings { folder, .. } => format!("the ONE settings in {}", folder.display()),
        CredentialSource::NotLoaded(_) => "a credential of systemd".to_owned(),
        CredentialSource::DefaultEnv => "the variable ALYX_PASSWORD or ALYX_TOKEN".to_owned(),
    }
}

/// Checks the server; without credentials, only what needs no login.
async fn check_server(config: &Config, login: Option<Credentials>, table: &mut Table) {
    let placeholder = || Credentials::Token { username: None, token: SecretString::from("none") };
    let client = wiring::registration_client(config, login.clone().unwrap_or_else(placeholder), None, None);
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            table.add(Row::problem("server", Exit::Config, error, ""));
            return server::skip(&server::ALL[1..], "not asked", table);
        }
    };
    if !server::before_login(client.alyx(), table).await {
        server::skip(&server::ALL[1..], "the server does not answer", table);
    } else if login.is_none() {
        server::skip(&server::ALL[1..], "there is no password or token to log in with", table);
    } else {
        server::after_login(&client, config, table).await;
    }
}

/// Checks the data roots, and returns those whose disks answer. `glance`: without traversing them.
async fn data_roots(config: &Config, glance: bool, table: &mut Table) -> Vec<PathBuf> {
    let options = wiring::daemon(config);
    let (mut folders, mut all_seen) = (0, true);
    let data = Arc::new(wiring::data_folders(config));
    let mut answering = Vec::new();
    let preflight = |root: &RootOptions| {
        let (root, watch, skipped) = (root.clone(), options.watch.clone(), config.skip_subjects.clone());
        let is_skipped =
            move |session: &alf::SessionPath| skipped.iter().any(|name| name == session.subject());
        let time = if glance { QUICK_TIMEOUT } else { PREFLIGHT_TIMEOUT };
        with_timeout(time, move |pace| preflight_root(&root, &watch, &is_skipped, &|| pace.stop() || glance))
    };
    // At once: several may hang.
    let preflights = futures_util::future::join_all(options.roots.iter().map(preflight)).await;
    for (root, preflight) in options.roots.iter().zip(preflights) {
        if preflight.is_some() {
            answering.push(root.path.clone());
        }
        match preflight {
            Some(Ok(found)) => {
                if found.events {
                    folders += found.folders;
                }
                all_seen &= !found.stopped;
                match glance {
                    true => table.add(folders::glance(root, &found)),
                    false => {
                        table.extend(folders::root(root, &options.watch, &found));
                        let (data, sessions) = (Arc::clone(&data), found.session_folders);
                        if config.datasets.register {
                            table.extend(loadable::short_numbers(&root.path, &sessions));
                        }
                        let search = move |pace: &Pace| links::find(&data, &sessions, &|| pace.stop());
                        let refused = with_timeout(LINKS_TIMEOUT, search).await;
                        table.extend(links::rows(&root.path, refused.unwrap_or_default()));
                    }
                }
            }
            Some(Err(problem)) => {
                all_seen = false;
                table.add(Row::problem("data root", Exit::Incomplete, problem, ""));
            }
            None => {
                all_seen = false;
                table.add(unresponsive("data root", &root.path.display().to_string()));
            }
        }
    }
    table.add(match all_seen {
        true => folders::watches(folders, watch_limit()),
        false => Row::skipped("watches", "not all folders were counted"),
    });
    answering
}

/// Checks the repositories in which copies are looked for.
async fn copies(config: &Config, table: &mut Table) {
    let roots: Vec<PathBuf> = config.data_roots.iter().map(|root| root.path.clone()).collect();
    let Some(rules) = wiring::follow(config) else { return };
    let row = |repository: &FollowedRepository| {
        let (repository, roots) = (repository.clone(), roots.clone());
        with_timeout(QUICK_TIMEOUT, move |_| copies::row(&repository, &roots, rules.mode))
    };
    // At once: several may hang.
    let rows = futures_util::future::join_all(rules.repositories.iter().map(row)).await;
    for (repository, row) in rules.repositories.iter().zip(rows) {
        table
            .add(row.unwrap_or_else(|| unresponsive("copies", &repository.mount.path.display().to_string())));
    }
}

fn unresponsive(check: &'static str, what: &str) -> Row {
    let what_to_do = "check whether its network drive is reachable";
    Row::problem(check, Exit::Incomplete, format!("{what} does not answer"), what_to_do)
}

/// How far blocking work is.
#[derive(Default)]
struct Pace {
    steps: AtomicU64,
    stop: AtomicBool,
}

impl Pace {
    /// The work has made progress. Returns whether it is to stop.
    fn stop(&self) -> bool {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.stop.load(Ordering::Relaxed)
    }
}

/// Runs blocking work with a time-out; `None` if it does not end in time, makes no progress for [`HANGS_AFTER`], or panics.
/// `work` should ask [`Pace::stop`] again and again; once that says so, it has one second to return a partial result.
async fn with_timeout<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce(&Pace) -> T + Send + 'static,
) -> Option<T> {
    let pace = Arc::new(Pace::default());
    let for_thread = Arc::clone(&pace);
    let mut thread = tokio::task::spawn_blocking(move || work(&for_thread));
    let (mut left, mut steps) = (time, 0);
    while !left.is_zero() {
        let wait = left.min(HANGS_AFTER);
        if let Ok(done) = tokio::time::timeout(wait, &mut thread).await {
            return done.ok();
        }
        left -= wait;
        let now = pace.steps.load(Ordering::Relaxed);
        if std::mem::replace(&mut steps, now) == now {
            break;
        }
    }
    pace.stop.store(true, Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(1), thread).await.ok()?.ok()
}
