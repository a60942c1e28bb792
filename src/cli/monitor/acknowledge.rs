//! `acknowledge`: takes gaps out of the status, the page and the alerts, in the daemon or in its ledger.

use crate::cli::args::AcknowledgeArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::retry::{Done, change};
use crate::cli::monitor::state::session_typed;
use crate::cli::output::{report_error, say};
use crate::daemon::messages::Request;
use crate::humanize::count;
use crate::ledger::{Acknowledged, Ledger};

/// Acknowledges the gaps of a session, or of all sessions that concern a pattern.
pub(crate) async fn acknowledge(args: &AcknowledgeArgs) -> Exit {
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
    match (change(&args.state, request, in_ledger).await, what) {
        (Ok(Done::NoState), _) => {
            report_error("there is no ledger yet, so nothing can be acknowledged");
            Exit::Incomplete
        }
        (Ok(Done::ByDaemon(0) | Done::InLedger(0)), Acknowledged::Session(session)) => {
            report_error(format_args!(
                "{session} has no open gaps; `status` lists the sessions that have some"
            ));
            Exit::Incomplete
        }
        (Ok(Done::ByDaemon(n) | Done::InLedger(n)), Acknowledged::Session(_) | Acknowledged::Pattern(_)) => {
            say!("{} acknowledged.", count(n as u64, "session"));
            Exit::Success
        }
        (Err(exit), _) => exit,
    }
}
