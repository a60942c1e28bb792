//! `--unmark`: undoes the marks of an undo list.

use std::path::Path;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::exit::Exit;
use crate::cli::marks::report::Report;
use crate::cli::marks::undo_list::UndoList;
use crate::cli::marks::{failed, is_for_all};
use crate::cli::output::{Failure, say};
use crate::config::Config;
use crate::humanize::count;
use crate::json::document::Document;
use alyx_registration::{RecordChange, RegistrationClient};

/// The totals as JSON.
#[derive(Default, Serialize)]
struct Totals {
    unmarked: u64,
    /// Records that have no such mark any more.
    unchanged: u64,
    not_unmarked: u64,
}

/// Undoes the marks of a list, as far as the records still have them.
pub(in crate::cli) async fn unmark(
    file: &Path,
    config: &Config,
    client: &RegistrationClient,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<Exit, Failure> {
    let (at, alyx) = (file.to_owned(), config.alyx.url.to_string());
    let read = tokio::task::spawn_blocking(move || UndoList::read(&at, &alyx)).await;
    let records = read.unwrap_or_else(|error| Err(Failure::new(Exit::Io, error)))?;
    let mut totals = Totals::default();
    for record in &records {
        if shutdown.is_cancelled() {
            return Err(Failure::interrupted());
        }
        match client.unmark_record(record).await {
            Ok(RecordChange::Done) => {
                totals.unmarked += 1;
                report.unmarked(record);
            }
            Ok(RecordChange::Needless) => totals.unchanged += 1,
            Ok(RecordChange::LeftAlone(why) | RecordChange::Unconfirmed(why)) => {
                totals.not_unmarked += 1;
                report.left(record, &why);
            }
            Err(error) if is_for_all(&error) => return Err(failed(&error).log()),
            Err(error) => {
                totals.not_unmarked += 1;
                report.left(record, &error.to_string());
            }
        }
    }
    let exit = if totals.not_unmarked == 0 { Exit::Success } else { Exit::Incomplete };
    if report.json {
        let outcome = if exit == Exit::Success { "done" } else { "incomplete" };
        say!("{}", Document::new(report.command, outcome, totals, Vec::new()).line());
    } else {
        say!(
            "{} unmarked, {} unmarked before, {} left alone",
            count(totals.unmarked, "file"),
            totals.unchanged,
            totals.not_unmarked
        );
    }
    Ok(exit)
}
