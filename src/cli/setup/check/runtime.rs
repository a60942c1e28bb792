//! The checks of the running system: the ledger, the daemon, its status page, and other registrars.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::exit::Exit;
use crate::cli::setup::check::row::Row;
use crate::config::Config;
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::daemon::status::DaemonStatus;
use crate::daemon::tree::lock::{Holder, LockFolders, root_in_use, state_in_use};
use crate::humanize;
use crate::ledger::Ledger;

/// Checks the ledger, the daemon, its page, and other registrars on the data roots whose disks answer. Blocks.
pub(super) fn rows(config: &Config, answering: &[PathBuf]) -> Vec<Row> {
    let ledger = match Ledger::check(&config.state_dir) {
        Ok(None) => Row::ok("ledger", "none yet"),
        Ok(Some(size)) => Row::ok("ledger", humanize::bytes(size)),
        Err(problem) => Row::warning("ledger", problem, ""),
    };
    let mut is_running = false;
    let daemon = match ask(&config.state_dir, &Request::Status) {
        Ok(Some(Answer::Status(status))) => match status.daemon {
            Some(daemon) => {
                is_running = true;
                running(&daemon, config, Timestamp::now())
            }
            None => Row::warning("daemon", "it answers oddly", "use the same version of both programs"),
        },
        Ok(Some(_)) => Row::warning("daemon", "it answers oddly", "use the same version of both programs"),
        Ok(None) => not_running(config, answering),
        Err(reason) => Row::warning("daemon", reason, ""),
    };
    let page = config.http.listen.map(|address| page(address, is_running));
    [Some(ledger), Some(daemon), page].into_iter().flatten().collect()
}

fn running(daemon: &DaemonStatus, config: &Config, now: Timestamp) -> Row {
    let found = format!(
        "running for {} (process {}, version {})",
        humanize::elapsed(daemon.since, now),
        daemon.pid,
        daemon.version
    );
    let ours = env!("CARGO_PKG_VERSION");
    if daemon.version != ours {
        let text = format!("{found}; this program is version {ours}");
        return Row::warning("daemon", text, "systemctl restart alyx-registrar");
    }
    if daemon.alyx.trim_end_matches('/') != config.alyx.url.as_str().trim_end_matches('/') {
        let text = format!("{found}, but it registers on {}, unlike this configuration", daemon.alyx);
        return Row::warning("daemon", text, "systemctl restart alyx-registrar");
    }
    Row::ok("daemon", found)
}

/// The row without a daemon on this state folder. Another registrar may work on the data.
fn not_running(config: &Config, answering: &[PathBuf]) -> Row {
    let taken = |what: &Path, holder: &Holder| {
        Row::problem(
            "daemon",
            Exit::Io,
            format!("another alyx-registrar is running on {} ({holder})", what.display()),
            "stop it first (systemctl stop alyx-registrar), or let it register the flags",
        )
    };
    let folders = LockFolders::existing(Some(&config.state_dir));
    if let Some(holder) = state_in_use(&config.state_dir, &folders) {
        return taken(&config.state_dir, &holder);
    }
    let holder = answering.iter().find_map(|root| root_in_use(root, &folders));
    holder.map_or_else(|| Row::ok("daemon", "not running"), |holder| taken(&holder.at, &holder))
}

/// Whether the status page answers, or its port is free.
fn page(address: SocketAddr, is_running: bool) -> Row {
    const CHECK: &str = "page";
    let found = format!("http://{address}/");
    if is_running {
        return match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(_) => Row::ok(CHECK, found),
            Err(error) => Row::warning(
                CHECK,
                format!("{found} does not answer ({error})"),
                "see what the daemon reports about http.listen: journalctl -u alyx-registrar",
            ),
        };
    }
    match TcpListener::bind(address) {
        Ok(_) => Row::ok(CHECK, format!("{found}, when the daemon runs")),
        Err(error) => Row::warning(
            CHECK,
            format!("cannot listen on {address} ({error})"),
            "choose another address or port for http.listen",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::check::row::State;

    #[test]
    fn a_page_answers_or_its_port_is_free_or_taken() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(page(address, true).state, State::Ok);
        assert_eq!(page(address, false).state, State::Warning);
        drop(taken);
        assert_eq!(page(address, true).state, State::Warning);
        assert!(page(address, false).found.contains("when the daemon runs"));
    }
}
