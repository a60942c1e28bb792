//! `run`: the daemon.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::args::RunArgs;
use crate::cli::exit::Exit;
use crate::cli::output::report_error;
use crate::cli::service::monitoring::Monitoring;
use crate::cli::service::reload::{ActiveConfig, send_commands};
use crate::cli::service::verification::verification;
use crate::cli::service::wiring;
use crate::cli::service::wiring::Origin;
use crate::config::Config;
use crate::daemon;
use crate::daemon::outside::clean_stop::CleanStop;
use crate::daemon::outside::control::Control;
use crate::daemon::outside::signals;
use crate::daemon::outside::signals::SignalRequest;
use crate::daemon::outside::systemd::Systemd;
use crate::daemon::run_loop::credentials::CredentialSource;
use crate::daemon::tree::lock::request_marks;
use crate::daemon::{DaemonIo, Requests};
use crate::ledger::Ledger;
use alyx_client::Credentials;
use alyx_registration::RunContext;

/// Watches until a signal stops it.
pub(crate) async fn run(args: &RunArgs) -> Exit {
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

/// The signals that the daemon handles.
pub(crate) struct Signals {
    shutdown: CancellationToken,
    asked: mpsc::UnboundedReceiver<SignalRequest>,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Exit> {
        let shutdown = CancellationToken::new();
        let (asked_in, asked) = mpsc::unbounded_channel();
        match signals::listen_as_daemon(shutdown.clone(), asked_in) {
            Ok(()) => Ok(Self { shutdown, asked }),
            Err(error) => {
                report_error(format_args!("signals cannot be received: {error}"));
                Err(Exit::Io)
            }
        }
    }
}

async fn run_with(args: &RunArgs, signals: Signals) -> Result<(), Exit> {
    let (config, origin) = wiring::configuration_and_origin(&args.config)?;
    let source = wiring::credential_source(&config);
    let credentials = wiring::credentials_or_absent(&config, &source)?;
    watch(config, credentials, Some((origin, source)), signals).await
}

/// Runs the daemon until a signal stops it. `again`: where to read the configuration and the secret again.
pub(crate) async fn watch(
    config: Config,
    credentials: Credentials,
    again: Option<(Origin, CredentialSource)>,
    signals: Signals,
) -> Result<(), Exit> {
    let started = Instant::now();
    let monitoring = Monitoring::new(&config);
    let client = wiring::observed_client(&config, credentials, monitoring.observer())?;
    let locks = wiring::lock(&config)?;
    let state = Arc::new(wiring::lock_state(&config)?);
    let (origin, source) = again.unzip();
    let roots: Vec<String> = config.data_roots.iter().map(|root| root.path.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        alyx = client.alyx().url(),
        roots = roots.join(", "),
        "started"
    );
    let ledger = Arc::new(Ledger::open(&config.state_dir).keeping(config.keep_history));
    // A sandbox is as new as this process.
    let mark = origin.is_some().then(|| CleanStop::take(&config.state_dir));
    let client = client.in_context(RunContext {
        creations: wiring::creations(mark.as_ref(), started, &config),
        marks: request_marks(Some(&config.state_dir)).by_turns(),
        ..RunContext::remembering(Arc::clone(&ledger))
    });
    let options = daemon::Options {
        ledger: Some(Arc::clone(&ledger)),
        credentials: source,
        verify: verification(&config, &locks),
        locks: Arc::clone(&locks),
        ..wiring::daemon(&config)
    };
    // Without the socket, `status` and `retry` work with the ledger only.
    let control = Control::bind(&config.state_dir)
        .inspect_err(|error| match ledger.problem() {
            // The ledger's problem has the same cause, and is already reported with the fix.
            Some(_) => tracing::debug!("no socket in {} either ({error})", config.state_dir.display()),
            None => tracing::warn!(
                "status and retry cannot reach this daemon: no socket in {} ({error}); give the folder to the \
                 service user, or set state_dir",
                config.state_dir.display()
            ),
        })
        .ok();
    let Signals { shutdown, asked } = signals;
    let (commands_in, commands) = mpsc::unbounded_channel();
    let requests = Requests::default();
    let reports = monitoring.start(&config, &client, requests.client(), shutdown.clone());
    let active = ActiveConfig {
        origin,
        config,
        client: client.clone(),
        locks,
        earlier_locks: Vec::new(),
        state: Arc::clone(&state),
    };
    let sending = tokio::spawn(send_commands(active, asked, commands_in));
    let io = DaemonIo { reports, commands, control, requests, systemd: Systemd::find() };
    let is_clean = daemon::run(client, options, io, shutdown).await;
    monitoring.join().await;
    sending.abort();
    if is_clean && let Some(mark) = mark {
        mark.put();
    }
    tracing::info!("stopped");
    Ok(())
}
