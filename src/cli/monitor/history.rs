//! `history`: the outcomes of earlier attempts.

use jiff::tz::TimeZone;

use crate::cli::args::HistoryArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::names::{SharedNames, folder_of};
use crate::cli::monitor::state::{State, blocking};
use crate::cli::output::{Failure, say};
use crate::daemon::status::json::OutcomeJson;
use crate::humanize;
use crate::json::document::Document;
use crate::ledger::{Access, HistoryFilter, Ledger, OutcomeRow};
use alyx_client::text::{printable, session_page};

/// Shows earlier outcomes, the latest first.
pub(crate) async fn history(args: &HistoryArgs) -> Exit {
    match history_with(args).await {
        Ok(()) => Exit::Success,
        Err(failure) => failure.end("history", args.json),
    }
}

async fn history_with(args: &HistoryArgs) -> Result<(), Failure> {
    let state = State::find(&args.state)?;
    let (zone, alyx) = (state.zone(), state.alyx());
    let filter = HistoryFilter {
        subject: args.subject.clone(),
        date: args.date.map(|date| date.to_string()),
        outcome: args.outcome.map(|outcome| outcome.word().to_owned()),
        session: None,
        left_out: args.left_out,
        limit: args.limit,
    };
    let found = blocking(move || {
        let ledger = Ledger::open_existing(&state.folder, Access::Read)?;
        Ok(ledger.map(|ledger| (ledger.history(&filter), ledger.count_history(&filter))))
    })
    .await?;
    let (rows, n_all) = found.unzip();
    let sessions = rows.iter().flatten().map(|row| (row.session.as_str(), folder_of(&row.flag)));
    let names = SharedNames::of(sessions);
    match &rows {
        _ if args.json => {}
        None => say!("Nothing is recorded yet: the daemon has not run with this state folder."),
        Some(rows) if rows.is_empty() => say!("No outcome matches."),
        Some(_) => {}
    }
    for row in rows.iter().flatten() {
        if args.json {
            let fields = OutcomeJson::of(row, alyx.as_deref());
            say!("{}", Document::new("history", &row.outcome, fields, Vec::new()).line());
        } else {
            say!("{}", outcome_line(row, &names, &zone, alyx.as_deref()));
            for file in row.files.iter().filter(|_| args.left_out) {
                say!("    {}: {}", printable(&file.path), file.reason);
            }
        }
    }
    let n_more = n_all.unwrap_or_default().saturating_sub(rows.iter().flatten().count());
    if n_more > 0 && !args.json {
        say!("and {n_more} earlier; --limit 0 shows all");
    }
    Ok(())
}

/// One line of text for an outcome, with the session's page if the address of Alyx is known.
pub(super) fn outcome_line(
    row: &OutcomeRow,
    names: &SharedNames<'_>,
    zone: &TimeZone,
    alyx: Option<&str>,
) -> String {
    let at = row.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let mut line = format!("{at}  {:<15}  {}", row.outcome, names.text(&row.session, folder_of(&row.flag)));
    if row.is_registered() {
        line += &format!(
            "  {}, {}, {:.1} s",
            humanize::count(row.n_files, "dataset"),
            humanize::bytes(row.bytes),
            row.took.as_secs_f64()
        );
        if !row.left_out.is_empty() {
            line += &format!("; left out: {}", row.left_out);
        }
    } else {
        line += &format!("  attempt {}", row.attempt);
    }
    if let Some(command) = &row.by {
        line += &format!("  by {command}");
    }
    if let Some(error) = &row.error {
        line += &format!(": {error}");
    }
    if let (Some(alyx), Some(eid)) = (alyx, &row.eid) {
        line += &format!("  {}", session_page(alyx, eid));
    }
    line
}
