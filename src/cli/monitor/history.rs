//! `history`: the outcomes of earlier attempts.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;

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
use alyx_registration::TrailFile;

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
        measurements: true,
        limit: args.limit,
    };
    let with_files = args.files;
    let found = blocking(move || {
        let Some(ledger) = Ledger::open_existing(&state.folder, Access::Read)? else { return Ok(None) };
        let n_all = ledger.count_history(&filter);
        let rows = ledger.history_with_ids(&filter).into_iter();
        let with_trail = |(id, row): (i64, OutcomeRow)| match with_files {
            true => OutcomeRow { trail: Arc::new(ledger.trail(id)), ..row },
            false => row,
        };
        Ok(Some((rows.map(with_trail).collect::<Vec<_>>(), n_all)))
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
            let outcome = OutcomeJson::of(row, alyx.as_deref());
            let files = with_files.then(|| row.trail.files.iter().map(FileJson::from).collect());
            let fields = HistoryJson { outcome, files };
            say!("{}", Document::new("history", &row.outcome, fields, Vec::new()).line());
        } else {
            say!("{}", outcome_line(row, &names, &zone, alyx.as_deref()));
            if with_files {
                file_lines(row).iter().for_each(|line| say!("    {line}"));
                continue;
            }
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

/// The fields of an outcome, with its files if they are asked for.
#[derive(Serialize)]
struct HistoryJson<'a> {
    #[serde(flatten)]
    outcome: OutcomeJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<FileJson<'a>>>,
}

/// A file of an outcome.
#[derive(Serialize)]
struct FileJson<'a> {
    path: &'a str,
    size: Option<u64>,
    md5: Option<String>,
    /// Why it was left out; null if it was registered.
    left_out: Option<&'a str>,
}

impl<'a> From<&'a TrailFile> for FileJson<'a> {
    fn from(file: &'a TrailFile) -> Self {
        let md5 = file.md5.map(|md5| md5.to_string());
        Self { path: &file.path, size: file.size, md5, left_out: file.left_out.as_deref() }
    }
}

/// The files of an outcome as text, and how many are not known by name. Pure.
fn file_lines(row: &OutcomeRow) -> Vec<String> {
    let line = |file: &TrailFile| {
        let path = printable(&file.path);
        match &file.left_out {
            Some(reason) => format!("left out: {path}: {reason}"),
            None => {
                let md5 = file.md5.map_or_else(|| "no MD5".to_owned(), |md5| md5.to_string());
                format!("{md5}  {:>12}  {path}", file.size.unwrap_or_default())
            }
        }
    };
    let mut lines: Vec<String> = row.trail.files.iter().map(line).collect();
    let named = row.trail.files.iter().filter(|file| file.left_out.is_none()).count() as u64;
    if row.n_files > named {
        lines.push(format!(
            "and {}, whose names are not kept",
            humanize::count(row.n_files - named, "dataset")
        ));
    }
    lines
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
    } else if row.outcome == "recorded" {
        line += &format!("  {}", printable(row.described.as_deref().unwrap_or_default()));
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
