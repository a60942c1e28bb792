//! Signals: SIGTERM and SIGINT stop the program. The daemon scans on SIGUSR1, and reloads its configuration on SIGHUP.

use std::io;
use std::io::IsTerminal;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a signal asks of a daemon, apart from stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// Scan all data roots (SIGUSR1).
    Rescan,
    /// Reload the configuration (SIGHUP).
    Reload,
}

/// Listens for the signals that stop a program, until one of them or another task cancels `shutdown`.
///
/// The second SIGTERM or SIGINT ends the process at once. That loses nothing either.
///
/// # Errors
/// The system refuses to register the signals.
pub fn listen(shutdown: CancellationToken) -> io::Result<()> {
    receive(&[SIGTERM, SIGINT], shutdown, None)
}

/// Like [`listen`], for a daemon: requests by other signals go to `requests`.
///
/// At a terminal, SIGHUP stops the daemon, too: the terminal window was closed.
///
/// # Errors
/// The system refuses to register the signals.
pub fn listen_as_daemon(
    shutdown: CancellationToken,
    requests: mpsc::UnboundedSender<SignalRequest>,
) -> io::Result<()> {
    receive(&[SIGTERM, SIGINT, SIGUSR1, SIGHUP], shutdown, Some(requests))
}

fn receive(
    which: &[i32],
    shutdown: CancellationToken,
    requests: Option<mpsc::UnboundedSender<SignalRequest>>,
) -> io::Result<()> {
    let mut signals = Signals::new(which)?;
    let at_terminal = io::stdin().is_terminal();
    let send = move |what| requests.as_ref().map(|requests| requests.send(what));
    tokio::spawn(async move {
        let mut stops = false;
        while let Some(signal) = signals.next().await {
            match signal {
                SIGUSR1 => _ = send(SignalRequest::Rescan),
                SIGHUP if !at_terminal => _ = send(SignalRequest::Reload),
                #[expect(clippy::disallowed_methods, reason = "the second signal stops at once")]
                _ if stops => std::process::exit(128 + signal),
                _ => {
                    stops = true;
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    tracing::info!("stopping ({name}); unfinished sessions continue at the next start");
                    shutdown.cancel();
                }
            }
        }
    });
    Ok(())
}
