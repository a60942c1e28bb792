//! `retry` and `forget`: change the daemon's queue and ledger, whether it is running or not. Never touch a flag.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use jiff::Timestamp;

use crate::cli::args::{ForgetArgs, RetryArgs};
use crate::cli::exit::Exit;
use crate::cli::monitor::state::{State, blocking, session_typed};
use crate::cli::output::{report_error, say};
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::ledger::{Access, Ledger};

/// How many entries were changed, and where.
pub(crate) enum Done {
    ByDaemon(usize),
    InLedger(usize),
    /// There is neither a daemon nor a ledger.
    NoState,
}

/// Makes sessions due now.
pub(crate) async fn retry(args: &RetryArgs) -> Exit {
    let session = args.session.as_deref().map(session_typed);
    let request = Request::Retry { session: session.clone() };
    let in_ledger = {
        let session = session.clone();
        move |ledger: &Ledger| ledger.make_due(session.as_deref(), Timestamp::now())
    };
    let of_it =
        |all: &str, one: &str| session.as_ref().map_or(all.to_owned(), |name| format!("{name} {one}"));
    match change(&args.state, request, in_ledger).await {
        Ok(Done::ByDaemon(0)) => {
            nothing_to_do(&format!("{}; see `status`", of_it("no session is waiting", "is not waiting")))
        }
        Ok(Done::ByDaemon(n)) => succeed(&format!("{n} tried now; see `status`")),
        Ok(Done::InLedger(0) | Done::NoState) => nothing_to_do(&format!(
            "{}; the next start of the daemon tries every flag",
            of_it("no retry is pending", "has no pending retry")
        )),
        Ok(Done::InLedger(n)) => succeed(&format!("no daemon is running; {n} tried as soon as it starts")),
        Err(exit) => exit,
    }
}

/// Deletes the history of a session.
pub(crate) async fn forget(args: &ForgetArgs) -> Exit {
    let session = session_typed(&args.session);
    let request = Request::Forget { session: session.clone() };
    let in_ledger = {
        let session = session.clone();
        move |ledger: &Ledger| ledger.forget(&session)
    };
    match change(&args.state, request, in_ledger).await {
        Ok(Done::ByDaemon(0) | Done::InLedger(0) | Done::NoState) => {
            nothing_to_do(&format!("the ledger has no entry for {session}"))
        }
        Ok(Done::ByDaemon(n) | Done::InLedger(n)) => succeed(&format!(
            "{n} entries of {session} deleted. If its flag is still there, the session will be registered again; to \
             prevent that, remove the flag"
        )),
        Err(exit) => exit,
    }
}

fn succeed(text: &str) -> Exit {
    say!("{text}.");
    Exit::Success
}

fn nothing_to_do(text: &str) -> Exit {
    report_error(text);
    Exit::Incomplete
}

/// Sends a request to the daemon; without a daemon, changes the ledger.
pub(crate) async fn change(
    args: &crate::cli::args::StateArgs,
    request: Request,
    in_ledger: impl FnOnce(&Ledger) -> Option<usize> + Send + 'static,
) -> Result<Done, Exit> {
    let state = State::find(args)?;
    blocking(move || match ask(&state.folder, &request)? {
        Some(Answer::Done(n)) => Ok(Done::ByDaemon(n)),
        Some(Answer::Refused(reason)) => Err(reason),
        Some(Answer::Status(_)) => {
            Err("the daemon sent an unexpected answer (different version?)".to_owned())
        }
        None => match Ledger::open_existing(&state.folder, Access::Change)? {
            None => Ok(Done::NoState),
            Some(ledger) => in_ledger(&ledger).map(Done::InLedger).ok_or_else(|| {
                format!(
                    "this user cannot write to {}; use sudo, or run this as the service user",
                    ledger.path().display()
                )
            }),
        },
    })
    .await
}
