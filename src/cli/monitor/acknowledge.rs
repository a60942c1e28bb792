//! `acknowledge`: takes gaps out of the status, the page and the alerts, in the daemon or in its ledger.

use crate::cli::args::AcknowledgeArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::retry::{Done, change};
use crate::cli::monitor::state::{State, blocking, session_typed};
use crate::cli::output::{report_error, say};
use crate::daemon::messages::Request;
use crate::humanize::count;
use crate::ledger::{Access, Acknowledged, GapBook, Ledger};
use alyx_client::text::printable;

/// Acknowledges the gaps of a session, or of all sessions that concern a pattern; or withdraws that, or lists it.
pub(crate) async fn acknowledge(args: &AcknowledgeArgs) -> Exit {
    match acknowledge_with(args).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn acknowledge_with(args: &AcknowledgeArgs) -> Result<Exit, Exit> {
    let what = match (&args.session, &args.pattern, &args.withdraw) {
        (Some(session), ..) => Acknowledged::Session(session_typed(session)),
        (_, Some(pattern), _) => Acknowledged::Pattern(pattern.to_string()),
        (_, _, Some(pattern)) => Acknowledged::Withdrawn(pattern.clone()),
        (None, None, None) => {
            list(&known(args).await?);
            return Ok(Exit::Success);
        }
    };
    if let Acknowledged::Withdrawn(pattern) = &what
        && !known(args).await?.patterns().iter().any(|known| known.as_str() == pattern)
    {
        report_error(format_args!("{pattern} is not acknowledged; `acknowledge --list` shows what is"));
        return Ok(Exit::Incomplete);
    }
    let request = Request::Acknowledge(what.clone());
    let in_ledger = {
        let what = what.clone();
        move |ledger: &Ledger| {
            let (count, changes) = ledger.gap_book().acknowledge(&what);
            ledger.change_gaps(&changes).map(|()| count)
        }
    };
    Ok(match (change(&args.state, request, in_ledger).await?, what) {
        (Done::NoState, _) => {
            report_error("there is no ledger yet, so nothing can be acknowledged");
            Exit::Incomplete
        }
        (Done::ByDaemon(0) | Done::InLedger(0), Acknowledged::Session(session)) => {
            report_error(format_args!(
                "{session} has no open gaps; `status` lists the sessions that have some"
            ));
            Exit::Incomplete
        }
        (Done::ByDaemon(n) | Done::InLedger(n), Acknowledged::Withdrawn(_)) => {
            say!("Withdrawn; {} reported again.", count(n as u64, "session"));
            Exit::Success
        }
        (Done::ByDaemon(n) | Done::InLedger(n), Acknowledged::Session(_) | Acknowledged::Pattern(_)) => {
            say!("{} acknowledged.", count(n as u64, "session"));
            Exit::Success
        }
    })
}

/// What the ledger knows of gaps.
async fn known(args: &AcknowledgeArgs) -> Result<GapBook, Exit> {
    let state = State::find(&args.state)?;
    blocking(move || {
        let ledger = Ledger::open_existing(&state.folder, Access::Read)?;
        Ok(ledger.map(|ledger| ledger.gap_book()).unwrap_or_default())
    })
    .await
}

fn list(book: &GapBook) {
    for pattern in book.patterns() {
        say!("pattern  {}", printable(pattern.as_str()));
    }
    for row in book.acknowledged() {
        say!("session  {}", printable(&row.session));
    }
    if book.patterns().is_empty() && book.acknowledged().next().is_none() {
        say!("Nothing is acknowledged.");
    }
}
