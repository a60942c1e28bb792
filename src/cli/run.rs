//! `run`: the daemon.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::exit::Exit;
use super::onlookers::Onlookers;
use super::{assemble, complain};
use crate::alyx::Credentials;
use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::credentials::CredentialSource;
use crate::daemon::signals::{self, Asked};
use crate::daemon::systemd::Systemd;
use crate::daemon::{self, Doors, Order, Questions};
use crate::ledger::Ledger;

/// Watches until it is told to stop.
pub(super) async fn run(args: &RunArgs) -> Exit {
    // Before anything else: a stop in the first moments is a stop like any other.
    let heard = match Heard::listen() {
        Ok(heard) => heard,
        Err(exit) => return exit,
    };
    #[cfg(feature = "sandbox")]
    if args.sandbox {
        return super::sandbox::run_beside(&args.config, heard).await;
    }
    match run_with(args, heard).await {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
}

/// What the daemon hears from signals.
pub(super) struct Heard {
    shutdown: CancellationToken,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Heard {
    fn listen() -> Result<Self, Exit> {
        let shutdown = CancellationToken::new();
        let (asked_in, asked) = mpsc::unbounded_channel();
        match signals::listen_as_daemon(shutdown.clone(), asked_in) {
            Ok(()) => Ok(Self { shutdown, asked }),
            Err(error) => {
                complain(format_args!("signals cannot be received: {error}"));
                Err(Exit::Io)
            }
        }
    }
}

async fn run_with(args: &RunArgs, heard: Heard) -> Result<(), Exit> {
    let config = assemble::configuration(&args.config)?;
    let source = assemble::credential_source(&config);
    let credentials = assemble::credentials(&config)?;
    watch(&config, credentials, Some(source), heard).await
}

/// Makes orders of what is asked, as long as somebody takes them.
async fn give_orders(mut asked: mpsc::UnboundedReceiver<Asked>, orders: mpsc::UnboundedSender<Order>) {
    while let Some(asked) = asked.recv().await {
        let order = match asked {
            Asked::Rescan => {
                tracing::info!("scanning all data roots, as asked (SIGUSR1)");
                Order::Rescan
            }
            Asked::Reload => continue,
        };
        if orders.send(order).is_err() {
            return;
        }
    }
}

/// The daemon with this configuration, until a signal.
pub(super) async fn watch(
    config: &Config,
    credentials: Credentials,
    source: Option<CredentialSource>,
    heard: Heard,
) -> Result<(), Exit> {
    let onlookers = Onlookers::new(config);
    let client = assemble::observed_client(config, credentials, onlookers.observer())?;
    let _locks = assemble::lock(config)?;
    let _state = assemble::lock_state(config)?;
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
    let Heard { shutdown, asked } = heard;
    let (orders_in, orders) = mpsc::unbounded_channel();
    let giving = tokio::spawn(give_orders(asked, orders_in));
    let questions = Questions::default();
    let reports = onlookers.start(config, &client, questions.asker(), shutdown.clone());
    let doors = Doors { reports, orders, control, questions, systemd: Systemd::find() };
    daemon::run(client, options, doors, shutdown).await;
    onlookers.gone().await;
    giving.abort();
    tracing::info!("stopped");
    Ok(())
}
