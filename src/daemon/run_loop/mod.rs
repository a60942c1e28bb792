//! The run loop: the one task that owns the queue.
//!
//! It selects the next event, passes it to the dispatcher, which decides, and carries out the effects. Nothing else
//! changes the state of the daemon.

pub mod credentials;
mod dispatcher;
pub(crate) mod follow_pass;
mod late_look;
pub(crate) mod loadability;
mod shell;
mod watcher_handle;
pub mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::daemon::clock::Moment;
use crate::daemon::handles::DaemonIo;
use crate::daemon::options::Options;
use crate::daemon::run_loop::dispatcher::Dispatcher;
use crate::daemon::run_loop::dispatcher::events::Event;
use crate::daemon::run_loop::shell::{Shell, restore};
use alyx_registration::RegistrationClient;

/// How long the workers may take to stop. A worker notices after each chunk of a file, and drops a request at once.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs the daemon until `shutdown`.
///
/// All errors are logged and retried; only `shutdown` ends the daemon. Returns whether the stop was clean: everything
/// that was sent to Alyx is answered.
pub async fn run(
    client: RegistrationClient,
    options: Options,
    io: DaemonIo,
    shutdown: CancellationToken,
) -> bool {
    let DaemonIo { reports, mut commands, control, mut requests, systemd } = io;
    let restored = restore(&options).await;
    let mut dispatcher = Dispatcher::new(client, options, alyx_client::jitter, Moment::read());
    let steps = dispatcher.steps();
    let (mut shell, mut results) =
        Shell::new(&dispatcher.config.options, Arc::clone(&steps), reports, systemd, shutdown.clone());
    if let Some(restored) = restored {
        dispatcher.restore(restored, shell.has_ledger(), Moment::read());
    }
    dispatcher.check_for_credentials(Moment::read());
    if let Some(systemd) = &shell.systemd {
        dispatcher.notify_systemd(systemd.watchdog(), Moment::read());
    }
    if let Some(control) = control {
        shell.tasks.spawn(control.serve(requests.client(), shutdown.clone()));
    }
    shell.finish_last_looks(&dispatcher.config);
    let mut event = Event::Tick;
    loop {
        let effects = dispatcher.handle(event, Moment::read());
        shell.carry_out(effects, &dispatcher.config);
        let wake = dispatcher.next_wake();
        event = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(event) = shell.watcher.next() => Event::Watch(event),
            Some(completed) = results.recv() => Event::TaskDone(completed),
            Some((request, answer)) = requests.waiting.recv() => Event::Request(shell.expect(answer), request),
            Some(command) = commands.recv() => Event::Command(command),
            () = sleep_until(wake), if wake.is_some() => Event::Tick,
        };
    }
    shell.systemd.as_ref().inspect(|systemd| systemd.stopping());
    dispatcher.stop();
    shell.tasks.close();
    // Wait for a creation that has been sent: if cut off, Alyx would create the session and its answer would be lost.
    let remaining_work =
        async { tokio::join!(shell.tasks.wait(), dispatcher.config.client.finish_creations(STOP_WITHIN)) };
    let ended = matches!(tokio::time::timeout(STOP_WITHIN, remaining_work).await, Ok(((), true)));
    let is_clean = ended && dispatcher.config.client.has_settled();
    if !ended {
        tracing::warn!("a session did not stop in time and is left as it is; it continues at the next start");
    }
    // Results that arrived in the meantime are reported like all others.
    while let Ok(completed) = results.try_recv() {
        let effects = dispatcher.handle(Event::TaskDone(completed), Moment::read());
        shell.carry_out(effects, &dispatcher.config);
    }
    shell.close().await;
    is_clean
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}
