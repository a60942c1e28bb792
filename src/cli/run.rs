//! `run`: the daemon.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::assemble;
use super::exit::Exit;
use crate::alyx::Credentials;
use crate::config::Config;
use crate::daemon;

/// Watches until it is told to stop.
pub(super) async fn run(args: &RunArgs) -> Exit {
    #[cfg(feature = "sandbox")]
    if args.sandbox {
        return super::sandbox::run_beside(&args.config).await;
    }
    let prepared = assemble::configuration(&args.config)
        .and_then(|config| assemble::credentials(&config).map(|credentials| (config, credentials)));
    match prepared {
        Ok((config, credentials)) => watch(&config, credentials).await.err().unwrap_or(Exit::Success),
        Err(exit) => exit,
    }
}

/// The daemon with this configuration, until a signal.
pub(super) async fn watch(config: &Config, credentials: Credentials) -> Result<(), Exit> {
    let client = assemble::client(config, credentials)?;
    let _locks = assemble::lock(config)?;
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
    daemon::run(client, assemble::daemon(config), None, rescan, shutdown).await;
    tracing::info!("stopped");
    Ok(())
}
