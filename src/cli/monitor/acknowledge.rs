//! `acknowledge`: takes gaps out of the status, the page and the alerts, in the daemon or in its ledger.

use crate::cli::args::AcknowledgeArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::retry::{Changed, Done, change, nothing_to_do};
use crate::cli::monitor::state::session_typed;
use crate::cli::output::Failure;
use crate::daemon::messages::Request;
use crate::humanize::count;
use crate::ledger::{Acknowledged, Ledger};

/// Acknowledges the gaps of a session, or of all sessions that concern a pattern.
pub(crate) async fn acknowledge(args: &AcknowledgeArgs) -> Exit {
    match acknowledge_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("acknowledge", args.json),
    }
}

async fn acknowledge_with(args: &AcknowledgeArgs) -> Result<Exit, Failure> {
    let what = match (&args.session, &args.pattern) {
        (Some(session), _) => Acknowledged::Session(session_typed(session)),
        (None, pattern) => Acknowledged::Pattern(pattern.clone().unwrap_or_default().to_string()),
    };
    let request = Request::Acknowledge(what.clone());
    let in_ledger = {
        let what = what.clone();
        move |ledger: &Ledger| {
            let (count, changes) = ledger.gap_book().acknowledge(&what);
            ledger.change_gaps(&changes).map(|()| count)
        }
    };
    let changed = match &what {
        Acknowledged::Session(session) => Changed { session: Some(session), pattern: None },
        Acknowledged::Pattern(pattern) => Changed { session: None, pattern: Some(pattern) },
    };
    let done = change(&args.state, request, in_ledger).await?;
    match (&done, changed.session) {
        (Done::NoState, session) => {
            Err(nothing_to_do(session, "there is no ledger yet, so nothing can be acknowledged"))
        }
        (Done::ByDaemon(0) | Done::InLedger(0), Some(session)) => Err(nothing_to_do(
            Some(session),
            format_args!("{session} has no open gaps; `status` lists the sessions that have some"),
        )),
        (Done::ByDaemon(n) | Done::InLedger(n), _) => {
            let text = format!("{} acknowledged", count(*n as u64, "session"));
            Ok(done.end("acknowledge", args.json, changed, &text))
        }
    }
}
