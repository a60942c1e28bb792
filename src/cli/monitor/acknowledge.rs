//! `acknowledge`: takes gaps out of the status, the page and the alerts, in the daemon or in its ledger.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::args::AcknowledgeArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::retry::{Changed, Done, change, nothing_to_do};
use crate::cli::monitor::state::{State, blocking, session_typed};
use crate::cli::output::{Failure, report_error, say};
use crate::daemon::messages::Request;
use crate::daemon::status::json::GapJson;
use crate::humanize::count;
use crate::json::document::Document;
use crate::ledger::{Access, Acknowledged, GapBook, Ledger};
use alyx_client::text::printable;

/// Acknowledges the gaps of a session, or of all sessions that concern a pattern; or withdraws that, or lists it.
pub(crate) async fn acknowledge(args: &AcknowledgeArgs) -> Exit {
    match acknowledge_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("acknowledge", args.json),
    }
}

async fn acknowledge_with(args: &AcknowledgeArgs) -> Result<Exit, Failure> {
    let what = match (&args.session, &args.pattern, &args.withdraw) {
        (Some(session), ..) => Acknowledged::Session(session_typed(session)),
        (_, Some(pattern), _) => Acknowledged::Pattern(pattern.to_string()),
        (_, _, Some(pattern)) => Acknowledged::Withdrawn(pattern.clone()),
        (None, None, None) => {
            let alyx = State::find(&args.state)?.alyx();
            list(&known(args).await?, alyx.as_deref(), args.json);
            return Ok(Exit::Success);
        }
    };
    if let Acknowledged::Withdrawn(pattern) = &what
        && !known(args).await?.patterns().iter().any(|known| known.as_str() == pattern)
    {
        return Err(nothing_to_do(
            None,
            format_args!(
                "{pattern} is not an acknowledged pattern; `acknowledge --list` shows those. A session is reported again when it is flagged again"
            ),
        ));
    }
    let request = Request::Acknowledge(what.clone());
    let in_ledger = {
        let what = what.clone();
        move |ledger: &Ledger| {
            let (count, changes) = ledger.gap_book().acknowledge(&what);
            ledger.change_gaps(&changes).map(|()| count)
        }
    };
    let done = change(&args.state, request, in_ledger).await?;
    let changed = match &what {
        Acknowledged::Session(session) => Changed { session: Some(session), pattern: None },
        Acknowledged::Pattern(pattern) | Acknowledged::Withdrawn(pattern) => {
            Changed { session: None, pattern: Some(pattern) }
        }
    };
    match (&done, &what) {
        (Done::NoState, _) => {
            Err(nothing_to_do(changed.session, "there is no ledger yet, so nothing can be acknowledged"))
        }
        (Done::ByDaemon(0) | Done::InLedger(0), Acknowledged::Session(session)) => Err(nothing_to_do(
            Some(session),
            format_args!("{session} has no open gaps; `status` lists the sessions that have some"),
        )),
        (Done::ByDaemon(n) | Done::InLedger(n), what) => {
            let sessions = count(*n as u64, "session");
            let text = match what {
                Acknowledged::Withdrawn(_) => format!("Withdrawn; {sessions} reported again"),
                Acknowledged::Session(_) | Acknowledged::Pattern(_) => format!("{sessions} acknowledged"),
            };
            if let Acknowledged::Pattern(pattern) = what {
                point_out(pattern, *n);
            }
            Ok(done.end("acknowledge", args.json, changed, &text))
        }
    }
}

/// Says that a pattern may not do what was meant.
fn point_out(pattern: &str, n_sessions: usize) {
    if matches_every_file(pattern) {
        report_error(format_args!(
            "the pattern {pattern} matches every file: gaps of all sessions are acknowledged, now and later; to undo that: \
             alyx-registrar acknowledge --withdraw '{pattern}'"
        ));
    } else if n_sessions == 0 {
        report_error(format_args!(
            "the pattern {pattern} matches no session with open gaps now; it is kept, and acknowledges those that come. It \
             applies to the path within the session, such as alf/licks.times.npy: {} matches a name in every folder",
            in_every_folder(pattern)
        ));
    }
}

fn matches_every_file(pattern: &str) -> bool {
    pattern.chars().all(|c| matches!(c, '*' | '/'))
}

/// The pattern for the same name in every folder.
fn in_every_folder(pattern: &str) -> String {
    format!("'**/{}'", pattern.rsplit('/').next().unwrap_or(pattern))
}

/// What the ledger knows of gaps.
async fn known(args: &AcknowledgeArgs) -> Result<GapBook, Failure> {
    let state = State::find(&args.state)?;
    blocking(move || {
        let ledger = Ledger::open_existing(&state.folder, Access::Read)?;
        Ok(ledger.map(|ledger| ledger.gap_book()).unwrap_or_default())
    })
    .await
}

/// The fields of `acknowledge --list`.
#[derive(Serialize)]
struct AcknowledgedJson<'a> {
    patterns: Vec<&'a str>,
    gaps: Vec<GapJson>,
}

fn list(book: &GapBook, alyx: Option<&str>, json: bool) {
    if json {
        let fields = AcknowledgedJson {
            patterns: book.patterns().iter().map(|pattern| pattern.as_str()).collect(),
            gaps: book.acknowledged().map(|row| GapJson::of(row.into(), alyx)).collect(),
        };
        say!("{}", Document::new("acknowledge", "done", fields, Vec::new()).line());
        return;
    }
    for pattern in book.patterns() {
        say!("pattern  {}", printable(pattern.as_str()));
    }
    // A session may have more than one row.
    let sessions: BTreeSet<&str> = book.acknowledged().map(|row| row.session.as_str()).collect();
    for session in sessions {
        say!("session  {}", printable(session));
    }
    if book.patterns().is_empty() && book.acknowledged().next().is_none() {
        say!("Nothing is acknowledged.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_for_every_file_is_told_from_one_for_some() {
        for (pattern, expected) in
            [("*", true), ("**", true), ("**/*", true), ("*.nwb", false), ("licks*", false)]
        {
            assert_eq!(matches_every_file(pattern), expected, "{pattern}");
        }
        assert_eq!(in_every_folder("licks*"), "'**/licks*'");
        assert_eq!(in_every_folder("alf/licks*"), "'**/licks*'");
    }
}
