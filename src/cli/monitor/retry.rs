//! `retry` and `forget`: change the daemon's queue and ledger, whether it is running or not. Never touch a flag.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::args::{ForgetArgs, RetryArgs};
use crate::cli::exit::Exit;
use crate::cli::monitor::state::{State, blocking, session_typed, without_socket};
use crate::cli::output::{Failure, say};
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::humanize::count;
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};
use crate::ledger::{Access, Ledger};

/// How many entries were changed, and where.
pub(crate) enum Done {
    ByDaemon(usize),
    InLedger(usize),
    /// There is neither a daemon nor a ledger.
    NoState,
}

impl Done {
    /// How many, and by whom.
    fn count(&self) -> (usize, &'static str) {
        match self {
            Self::ByDaemon(n) => (*n, "daemon"),
            Self::InLedger(n) => (*n, "ledger"),
            Self::NoState => (0, "ledger"),
        }
    }

    /// Prints what was done, and returns the exit code.
    pub(crate) fn end(&self, command: &str, json: bool, what: Changed<'_>, text: &str) -> Exit {
        let (count, by) = self.count();
        if json {
            let fields = ChangeJson { session: what.session, pattern: what.pattern, count, by };
            say!("{}", Document::new(command, "done", fields, Vec::new()).line());
        } else {
            say!("{text}.");
        }
        Exit::Success
    }
}

/// What was to be changed; neither: all sessions.
#[derive(Clone, Copy)]
pub(crate) struct Changed<'a> {
    pub(crate) session: Option<&'a str>,
    pub(crate) pattern: Option<&'a str>,
}

/// The fields of `retry`, `forget` and `acknowledge`.
#[derive(Serialize)]
struct ChangeJson<'a> {
    session: Option<&'a str>,
    pattern: Option<&'a str>,
    count: usize,
    /// `daemon`, or `ledger` if none is running.
    by: &'static str,
}

/// The failure of a command that finds nothing to change.
pub(crate) fn nothing_to_do(session: Option<&str>, text: impl std::fmt::Display) -> Failure {
    let report = ErrorReport::command(CommandKind::NothingToDo, text);
    let report = match session {
        Some(session) => report.of_session(session),
        None => report,
    };
    Failure::reported(Exit::Incomplete, report)
}

/// Makes sessions due now.
pub(crate) async fn retry(args: &RetryArgs) -> Exit {
    match retry_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("retry", args.json),
    }
}

async fn retry_with(args: &RetryArgs) -> Result<Exit, Failure> {
    let session = args.session.as_deref().map(session_typed);
    let request = Request::Retry { session: session.clone() };
    let in_ledger = {
        let session = session.clone();
        move |ledger: &Ledger| ledger.make_due(session.as_deref(), Timestamp::now())
    };
    let of_it =
        |all: &str, one: &str| session.as_ref().map_or(all.to_owned(), |name| format!("{name} {one}"));
    let done = change(&args.state, request, in_ledger).await?;
    let what = Changed { session: session.as_deref(), pattern: None };
    match done {
        Done::ByDaemon(0) => {
            let text = format!("{}; see `status`", of_it("no session is waiting", "is not waiting"));
            Err(nothing_to_do(session.as_deref(), text))
        }
        Done::ByDaemon(n) => {
            let text = format!("Retrying {} now", count(n as u64, "session"));
            Ok(done.end("retry", args.json, what, &text))
        }
        Done::InLedger(0) | Done::NoState => {
            let none = of_it("no retry is pending", "has no pending retry");
            Err(nothing_to_do(
                session.as_deref(),
                format_args!("{none}; the next start of the daemon tries every flag"),
            ))
        }
        Done::InLedger(n) => {
            let text =
                format!("No daemon is running; it will retry {} when it starts", count(n as u64, "session"));
            Ok(done.end("retry", args.json, what, &text))
        }
    }
}

/// Deletes the history of a session.
pub(crate) async fn forget(args: &ForgetArgs) -> Exit {
    match forget_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("forget", args.json),
    }
}

async fn forget_with(args: &ForgetArgs) -> Result<Exit, Failure> {
    let session = session_typed(&args.session);
    let request = Request::Forget { session: session.clone() };
    let in_ledger = {
        let session = session.clone();
        move |ledger: &Ledger| ledger.forget(&session)
    };
    let done = change(&args.state, request, in_ledger).await?;
    match done.count() {
        (0, _) => Err(nothing_to_do(Some(&session), format_args!("the ledger has no entry for {session}"))),
        (n, _) => {
            let text = format!(
                "Deleted {n} entries of {session}. If its flag is still there, the daemon registers the session again; to \
                 prevent that, remove the flag"
            );
            Ok(done.end("forget", args.json, Changed { session: Some(&session), pattern: None }, &text))
        }
    }
}

/// Sends a request to the daemon; without a daemon, changes the ledger.
pub(crate) async fn change(
    args: &crate::cli::args::StateArgs,
    request: Request,
    in_ledger: impl FnOnce(&Ledger) -> Option<usize> + Send + 'static,
) -> Result<Done, Failure> {
    let state = State::find(args)?;
    let in_folder = move |folder: &Path| {
        // A daemon that cannot be asked would not see what is changed in its ledger.
        without_socket(folder).map_or(Ok(()), Err)?;
        let Some(ledger) = Ledger::open_existing(folder, Access::Change)? else { return Ok(Done::NoState) };
        in_ledger(&ledger).map(Done::InLedger).ok_or_else(|| {
            format!(
                "this user cannot write to {}; use sudo, or run this as the service user",
                ledger.path().display()
            )
        })
    };
    blocking(move || match ask(&state.folder, &request)? {
        Some(Answer::Done(n)) => Ok(Done::ByDaemon(n)),
        Some(Answer::Refused(reason)) => Err(reason),
        Some(Answer::Status(_)) => {
            Err("the daemon sent an unexpected answer (different version?)".to_owned())
        }
        // It would not see what is changed in its ledger.
        None if let Some(problem) = without_socket(&state.folder) => Err(problem),
        None => in_folder(&state.folder),
    })
    .await
}
