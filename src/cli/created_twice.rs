//! A session that was created twice: recorded, so that `status` shows it until a person acknowledges it.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::Path;

use jiff::Timestamp;

use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::ledger::{Access, GapChange, GapRow, Ledger};
use alyx_registration::Error;

/// Records an error if it says that the session in this folder was created twice: in the daemon that uses the state
/// folder, or else in its ledger, if there is one.
pub(super) async fn remember(state_dir: &Path, folder: &Path, error: &Error) {
    let Some(row) = GapRow::of_created_twice(folder, error, Timestamp::now()) else { return };
    let state_dir = state_dir.to_owned();
    let recorded = tokio::task::spawn_blocking(move || record(&state_dir, row)).await;
    let recorded = recorded.unwrap_or_else(|error| Err(error.to_string()));
    if let Err(reason) = recorded {
        tracing::debug!("that the session was created twice is not recorded: {reason}");
    }
}

fn record(state_dir: &Path, row: GapRow) -> Result<(), String> {
    if let Ok(Some(Answer::Done(_))) = ask(state_dir, &Request::CreatedTwice(row.clone())) {
        return Ok(());
    }
    let Some(ledger) = Ledger::open_existing(state_dir, Access::Change)? else { return Ok(()) };
    // The ledger logs its own errors.
    let _ = ledger.change_gaps(&[GapChange::Set(row)]);
    Ok(())
}
