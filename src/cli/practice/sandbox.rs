//! `sandbox`: serves the built-in Alyx alone, or together with the daemon (`run --sandbox`).

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::Path;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{ConfigArgs, SandboxArgs};
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::{Failure, report_error, say};
use crate::cli::service::run::{self, Signals};
use crate::cli::service::wiring;
use crate::config::{Config, Environment, SandboxSetup};
use crate::daemon::outside::signals;
use alyx_client::Credentials;
use alyx_sandbox::{Database, Sandbox, SandboxOptions, Seed};

/// The user of the built-in seed.
pub(crate) const USER: &str = "test_user";
/// The only user of an empty sandbox.
const EMPTY_USER: &str = "admin";
/// The password of both. Not a secret: the sandbox protects nothing.
pub(crate) const PASSWORD: &str = "TapetesBloc18";

/// Serves until a signal stops it.
pub(crate) async fn sandbox(args: &SandboxArgs) -> Exit {
    match serve(args).await {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
}

async fn serve(args: &SandboxArgs) -> Result<(), Exit> {
    if args.print_seed {
        say!("{}", Seed::SHIPPED.trim_end());
        return Ok(());
    }
    let options =
        LogOptions { level: args.log_level.unwrap_or_default(), format: args.log_format.unwrap_or_default() };
    logging::init(&options).map_err(|error| {
        report_error(error);
        Exit::Config
    })?;
    let (seed, user) = match &args.seed {
        None if args.empty => (Seed::empty(), EMPTY_USER),
        None => (Seed::default(), USER),
        Some(path) => (seed(path)?, USER),
    };
    let database = args.db.clone().map_or(Database::Memory, Database::File);
    let sandbox =
        Sandbox::open(SandboxOptions { database, seed, throttle: args.throttle, ..Default::default() });
    let sandbox = sandbox.map_err(|error| {
        tracing::error!("{error}");
        Exit::Io
    })?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        tracing::error!("cannot listen on {} ({error}); choose another address with --listen", args.listen);
        Exit::Unavailable
    })?;
    let address = listener.local_addr().unwrap_or(args.listen);
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|_| Exit::Io)?;
    say!(
        "A built-in Alyx for practice: http://{address} (user {user}, password {PASSWORD}). Ctrl-C stops it."
    );
    sandbox.serve(listener, shutdown).await.map_err(|error| {
        tracing::error!("the sandbox failed: {error}");
        Exit::Unavailable
    })
}

fn seed(path: &Path) -> Result<Seed, Exit> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        tracing::error!("the seed {path:?} cannot be read: {error}");
        Exit::Config
    })?;
    Seed::parse(&text).map_err(|error| {
        tracing::error!("{}: {error}", path.display());
        Exit::Config
    })
}

/// Runs the daemon on the user's own folders, with the built-in Alyx instead of a real one.
///
/// The sandbox creates labs and subjects when they are first read, because the user's animals are not in its seed.
pub(crate) async fn run(args: &ConfigArgs) -> Exit {
    // First, so that a signal during start-up stops the program cleanly.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    match run_with(args, signals).await {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
}

async fn run_with(args: &ConfigArgs, signals: Signals) -> Result<(), Exit> {
    let scratch = tempfile::tempdir().map_err(|error| {
        report_error(format_args!("no temporary folder can be created: {error}"));
        Exit::Io
    })?;
    let options = SandboxOptions { auto_create: true, ..Default::default() };
    let sandbox = Sandbox::start(options).await.map_err(|error| {
        report_error(error);
        Exit::Unavailable
    })?;
    let mut config = if args.config.is_some() {
        wiring::configuration(args)?
    } else {
        own_folders(args, sandbox.url(), scratch.path())?
    };
    // Practice sessions must not enter the real ledger.
    config.state_dir = scratch.path().join("state");
    config.alyx.url = sandbox.url().parse().map_err(|_| Exit::Unavailable)?;
    let credentials =
        Credentials::Password { username: USER.to_owned(), password: SecretString::from(PASSWORD) };
    for root in &config.data_roots {
        if tokio::fs::read_dir(&root.path).await.is_err() {
            report_error(format_args!("there is no folder {:?}", root.path));
            return Err(Exit::Io);
        }
    }
    tracing::info!(
        "registering on a built-in Alyx at {}, not on a real one; its records are lost when the daemon stops",
        sandbox.url()
    );
    say!(
        "Its user is {USER}, with the password {PASSWORD}. In another terminal, while it runs:\n\
         \x20 alyx-registrar status --state-dir {state}\n\
         \x20 alyx-registrar history --left-out --state-dir {state}\n\
         \x20 ALYX_PASSWORD={PASSWORD} alyx-registrar find-files SESSION --url {url} --user {USER}",
        state = config.state_dir.display(),
        url = sandbox.url()
    );
    let watched = run::watch(config, credentials, None, signals).await;
    sandbox.stop().await;
    watched
}

/// A configuration for the folders of `--data-root`, without a file.
fn own_folders(args: &ConfigArgs, url: &str, scratch: &Path) -> Result<Config, Exit> {
    let here = std::env::current_dir().map_err(|error| {
        report_error(format_args!("the working folder cannot be found: {error}"));
        Exit::Io
    })?;
    let overrides = args.overrides(&here);
    if overrides.data_roots.is_empty() {
        report_error("name the folder to watch: run --sandbox --data-root DIR");
        return Err(Exit::Usage);
    }
    let setup = SandboxSetup {
        url: url.to_owned(),
        username: USER.to_owned(),
        data_roots: overrides.data_roots.clone(),
        state_dir: scratch.join("state"),
    };
    let overrides = crate::config::Overrides { state_dir: Some(setup.state_dir.clone()), ..overrides };
    let name = Path::new("sandbox configuration");
    let config = Config::parse_with(&setup.to_yaml(), name, &overrides, &Environment::default());
    let config = config.map_err(|errors| Failure::of_config(&errors))?;
    wiring::start_log(&config)?;
    Ok(config)
}
