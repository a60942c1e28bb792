//! Signals: SIGTERM and SIGINT stop the daemon, SIGUSR1 makes it scan.

use std::io;

use futures_util::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Listens for signals until `shutdown` is cancelled, by a signal or by somebody else.
///
/// The second SIGTERM or SIGINT ends the process at once: a person who asks twice means it. Nothing is lost by
/// that either.
///
/// # Errors
/// Where the system refuses to register the signals.
pub fn listen(shutdown: CancellationToken, rescan: mpsc::UnboundedSender<()>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    tokio::spawn(async move {
        let mut asked = false;
        while let Some(signal) = signals.next().await {
            match signal {
                SIGUSR1 => {
                    tracing::info!("scanning all data roots, as asked (SIGUSR1)");
                    let _ = rescan.send(());
                }
                _ if asked => std::process::exit(128 + signal),
                _ => {
                    asked = true;
                    let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                    tracing::info!("stopping ({name}); what is not finished goes on at the next start");
                    shutdown.cancel();
                }
            }
        }
    });
    Ok(())
}
