//! `run`: the daemon.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::assemble;
use super::exit::Exit;
use crate::alyx::Credentials;
use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::credentials::CredentialSource;
use crate::daemon::{self, Doors};
use crate::ledger::Ledger;

/// Watches until it is told to stop.
pub(super) async fn run(args: &RunArgs) -> Exit {
    #[cfg(feature = "sandbox")]
    if args.sandbox {
        return super::sandbox::run_beside(&args.config).await;
    }
    match run_with(args).await {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
}

async fn run_with(args: &RunArgs) -> Result<(), Exit> {
    let config = assemble::configuration(&args.config)?;
    let source = assemble::credential_source(&config);
    let credentials = assemble::credentials(&config)?;
    watch(&config, credentials, Some(source)).await
}

/// The daemon with this configuration, until a signal.
pub(super) async fn watch(
    config: &Config,
    credentials: Credentials,
    source: Option<CredentialSource>,
) -> Result<(), Exit> {
    let client = assemble::client(config, credentials)?;
    let _locks = assemble::lock(config)?;
    let _state = assemble::lock_state(config)?;
    let shutdown = CancellationToken::new();
    let (rescan_in, rescan) = mpsc::unbounded_channel();
    daemon::signals::listen(shutdown.clone(), rescan_in).map_err(|error| {
        tracing::error!("signals cannot be received: {error}");
        Exit::Io
    })?;
    let roots: Vec<String> = config.data_roots.iter().map(|root| root.path.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        alyx = client.alyx().url(),
        roots = roots.join(", "),
        "started"
    );
    let options = daemon::Options {
        ledger: Some(Arc::new(Ledger::open(&config.state_dir))),
        credentials: source,
        ..assemble::daemon(config)
    };
    // Without it `status` and `retry` work from the ledger alone.
    let control = Control::bind(&config.state_dir)
        .inspect_err(|error| {
            tracing::warn!(
                "status and retry cannot reach this daemon: no socket in {} ({error}); give the folder to the \
                 user of this program, or set state_dir",
                config.state_dir.display()
            );
        })
        .ok();
    let doors = Doors { rescan, control, ..Doors::default() };
    daemon::run(client, options, doors, shutdown).await;
    tracing::info!("stopped");
    Ok(())
}
