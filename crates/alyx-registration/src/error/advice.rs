//! Advice: how each kind of error is handled, and what the operator can do. One table, for the program and for
//! `docs/errors.md`. Pure.

use crate::error::Error;

/// How the daemon handles a kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Retried after a delay that grows from `retry.initial` to `retry.max`.
    TryAgain,
    /// Retried as soon as the files have not changed for `watch.settle`. Not a failure.
    Settle,
    /// Retried after a delay that grows from `retry.initial` to `retry.max`. Not a failure.
    Elsewhere,
    /// Retried after `retry.permanent`, when the flag is touched, or on request.
    NeedsAttention,
    /// All sessions wait until the credentials are accepted.
    NeedsCredentials,
}

impl Handling {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::TryAgain => "retried with growing delays; the flag stays",
            Self::Settle => "retried when the files have not changed for `watch.settle`; the flag stays",
            Self::Elsewhere => {
                "not a failure; retried with growing delays; needs attention after `watch.warn_after`"
            }
            Self::NeedsAttention => {
                "needs attention; retried every hour, when the flag is touched, or by `retry`"
            }
            Self::NeedsCredentials => {
                "all sessions wait; retried when the file of the secret changes, or every hour"
            }
        }
    }
}

/// The next step where the message itself says what to do. JSON has it; people are not told to read what they just read.
pub const FOLLOW_MESSAGE: &str = "do what the message says";

/// All kinds of errors in one list, so that none is forgotten.
macro_rules! kinds {
    ($($kind:ident, $handling:ident, $means:literal, $next:literal;)*) => {
        /// A kind of error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $means] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Its name in the table, in the log and in the ledger.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            /// The kind of this name.
            pub fn named(name: &str) -> Option<Kind> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }

            /// What it means.
            pub fn means(self) -> &'static str {
                match self { $(Self::$kind => $means,)* }
            }

            /// How it is handled.
            pub fn handling(self) -> Handling {
                match self { $(Self::$kind => Handling::$handling,)* }
            }

            /// What the operator can do.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$kind => $next,)* }
            }
        }
    };
}

kinds! {
    Unreachable, TryAgain, "no answer from the server",
        "nothing, if it is temporary; otherwise check the network, `alyx.url` and the server";
    Busy, TryAgain, "the server, or the proxy in front of it, is overloaded or down (429, 502, 503, 504, 520 to 530)",
        "nothing, if it is temporary; otherwise inform the Alyx administrator";
    Server, TryAgain, "an error inside the server (500) that may be temporary",
        "nothing, if it is temporary; otherwise send the log line to the Alyx administrator";
    NotAlyx, TryAgain, "the answer is not from Alyx but from a proxy, a redirect or another program",
        "check `alyx.url`; sign in to the network if it requires that";
    Login, NeedsCredentials, "the login is refused",
        "correct the password or token; the daemon reads it again";
    Forbidden, NeedsAttention, "the user lacks the permission (403)",
        "ask the Alyx administrator for the permission";
    Protected, NeedsAttention, "datasets have changed that are protected on Alyx",
        "put the new version into a revision folder (#YYYY-MM-DD#), or have the protection lifted";
    NotFound, NeedsAttention, "Alyx has no such record (404)",
        "check whether the session was deleted on Alyx";
    Refused, NeedsAttention, "Alyx refuses the request (400, or a 500 known to be permanent)",
        "do what the message says, on Alyx or in the configuration";
    Options, NeedsAttention, "the options of the connection contradict each other",
        "correct the configuration and reload it";
    NotASession, NeedsAttention, "the flag is not in a session folder, subject/YYYY-MM-DD/number",
        "rename the folder as the message says, or remove the flag";
    Missing, NeedsAttention, "Alyx does not know a subject, user, lab, project, procedure, location or repository",
        "correct the name where the message says; create it on Alyx only if it is really new";
    Ambiguous, NeedsAttention, "Alyx has several sessions of this subject, day and number",
        "delete or renumber all but one on Alyx";
    Invalid, NeedsAttention, "the request contradicts itself or the records on Alyx",
        "do what the message says";
    Metadata, NeedsAttention, "a file that describes the session is broken, or contradicts its folder",
        "correct the file, or move the files to the right folder, as the message says";
    Incomplete, Settle, "the session lacks files that it should have",
        "nothing, if they are still to come; otherwise do what the message says, or set `metadata.on_missing: finish`";
    NeverComplete, NeedsAttention, "the session has lacked files for longer than `watch.warn_after`",
        "bring the files, or remove what the message names; `metadata.on_missing: finish` registers such sessions without them";
    Clock, NeedsAttention, "the day of the session is in the future, or before `session.earliest`",
        "check the clocks of the recorder and of this computer, and rename the folder of the day; for older sessions, set `session.earliest`";
    Implausible, NeedsAttention, "a water administration or weighing seems to be in another unit",
        "correct the value, or record it with `--force`";
    Unreadable, NeedsAttention, "a file or folder cannot be read",
        "give the service user read access";
    Vanished, TryAgain, "a file or folder disappeared while it was processed",
        "nothing, if it was moved on purpose";
    StillChanging, Settle, "a file is still being written",
        "nothing; if it persists, find the program that writes to it";
    CopyInProgress, Settle, "a file is still being copied into the session",
        "nothing; if it is a leftover of an aborted copy, remove it, or list it in `datasets.exclude`";
    NoFilesYet, Settle, "the session has no file yet",
        "nothing, if its files are being copied; without files it is registered after `watch.empty_grace`";
    NeverQuiet, NeedsAttention, "the files of the session have been changing for longer than `watch.warn_after`",
        "find the program that writes the file; if the file does not belong to the session, list it in `datasets.exclude`";
    FilesRefused, NeedsAttention, "some datasets cannot be registered; the others are",
        "repair the files as the message says; set `datasets.on_refused: finish` only if such files are never to be registered";
    Gaps, NeedsAttention, "the session lacks datasets that it probably should have, and `datasets.on_left_out` is `keep_flag`",
        "rename or add the files as the message says, or exclude them";
    CannotMove, NeedsAttention, "a protected file cannot be moved into its revision folder",
        "give the service user write access there, or move the file yourself";
    CannotMake, NeedsAttention, "the folder of a new session cannot be created",
        "give the service user write access there";
    Unsure, NeedsAttention, "a water administration or weighing may or may not be on Alyx",
        "check on Alyx before you enter it again";
    NotConfirmed, TryAgain, "Alyx does not show what was registered",
        "nothing, if it is temporary; otherwise inform the Alyx administrator";
    RegisteredElsewhere, Elsewhere, "another program or computer holds the flag and registers its session, or sends the same request",
        "nothing; if it persists, find out what that program is doing, or why it does not end";
    Flag, NeedsAttention, "the flag cannot be used",
        "correct it as the message says; an empty flag, made by `touch`, means the whole session";
    FlagStays, NeedsAttention, "everything is registered, but the flag cannot be removed",
        "give the service user write access to the session folder";
    Internal, TryAgain, "a bug in this program",
        "report it with the log line";
}

/// The kind of an error. Exhaustive: a new error needs a row in the table.
pub fn kind(error: &Error) -> Kind {
    match error {
        Error::Alyx(error) => kind_of_answer(error),
        Error::NotASession(_) => Kind::NotASession,
        Error::Missing(_) => Kind::Missing,
        Error::Ambiguous { .. } | Error::CreatedTwice { .. } => Kind::Ambiguous,
        Error::Invalid(_) => Kind::Invalid,
        Error::Metadata(_) => Kind::Metadata,
        Error::Incomplete { .. } => Kind::Incomplete,
        Error::NeverComplete { .. } => Kind::NeverComplete,
        Error::Clock { .. } => Kind::Clock,
        Error::Implausible(_) => Kind::Implausible,
        Error::Unreadable { .. } => Kind::Unreadable,
        Error::Vanished { .. } => Kind::Vanished,
        Error::StillChanging { .. } => Kind::StillChanging,
        Error::CopyInProgress { .. } => Kind::CopyInProgress,
        Error::NoFilesYet { .. } => Kind::NoFilesYet,
        Error::NeverQuiet { .. } => Kind::NeverQuiet,
        Error::FilesRefused { .. } => Kind::FilesRefused,
        Error::Gaps(_) => Kind::Gaps,
        Error::CannotMove { .. } => Kind::CannotMove,
        // The folder was created; the cause is in the error of its session.
        Error::NewSession { source, .. } => kind(source),
        Error::CannotMake { .. } => Kind::CannotMake,
        Error::Unsure { .. } => Kind::Unsure,
        Error::NotConfirmed(_) => Kind::NotConfirmed,
        Error::RegisteredElsewhere { .. } | Error::SentElsewhere { .. } => Kind::RegisteredElsewhere,
        Error::Flag { .. } => Kind::Flag,
        Error::FlagStays { .. } => Kind::FlagStays,
        Error::Internal(_) => Kind::Internal,
    }
}

fn kind_of_answer(error: &alyx_client::Error) -> Kind {
    match error {
        alyx_client::Error::Options(_) => Kind::Options,
        alyx_client::Error::Unreachable { .. } => Kind::Unreachable,
        alyx_client::Error::Busy { .. } => Kind::Busy,
        alyx_client::Error::Login { .. } | alyx_client::Error::NoCredentials(_) => Kind::Login,
        alyx_client::Error::Forbidden { .. } => Kind::Forbidden,
        alyx_client::Error::Protected { .. } => Kind::Protected,
        alyx_client::Error::NotFound { .. } => Kind::NotFound,
        alyx_client::Error::Refused { .. } => Kind::Refused,
        alyx_client::Error::Server { .. } => Kind::Server,
        alyx_client::Error::NotAlyx { .. } => Kind::NotAlyx,
    }
}

impl Error {
    /// Its kind: the row of the table with its handling and the next step.
    pub fn kind(&self) -> Kind {
        kind(self)
    }
}

/// The table of `docs/errors.md`.
pub fn table() -> String {
    let mut table = String::from("| error | means | what is done | what you do |\n|---|---|---|---|\n");
    for kind in Kind::ALL {
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        table += &format!(
            "| {} | {} | {} | {} |\n",
            kind.name(),
            cell(kind.means()),
            cell(kind.handling().text()),
            cell(kind.next_step())
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_client::NextStep;
    use std::time::Duration;

    /// One error of each kind.
    fn examples() -> Vec<Error> {
        let (what, path, reason) = (|| "GET /x".to_owned(), || "/x".into(), || "so".to_owned());
        let answers = vec![
            alyx_client::Error::Options(reason()),
            alyx_client::Error::Unreachable {
                url: what(),
                reason: reason(),
                maybe_done: true,
                connected: true,
            },
            alyx_client::Error::Busy { what: what(), status: 429, retry_after: None, body: reason() },
            alyx_client::Error::Login { url: what(), username: None, reason: reason(), advice: "" },
            alyx_client::Error::NoCredentials(reason()),
            alyx_client::Error::Forbidden { what: what(), detail: reason() },
            alyx_client::Error::Protected { files: Vec::new(), details: Vec::new() },
            alyx_client::Error::NotFound { what: what(), detail: reason() },
            alyx_client::Error::Refused { what: what(), status: 400, detail: reason() },
            alyx_client::Error::Server { what: what(), status: 500, body: reason() },
            alyx_client::Error::NotAlyx { what: what(), reason: reason() },
        ];
        let unsure = answers[1].clone();
        let mut all: Vec<Error> = answers.into_iter().map(Error::from).collect();
        all.extend([
            Error::NotASession(alf::SessionPath::parse(std::path::Path::new("x")).unwrap_err()),
            Error::Missing(Vec::new()),
            Error::Ambiguous { session: what(), eids: Vec::new() },
            Error::CreatedTwice { session: what(), ours: reason(), others: Vec::new(), is_empty: true },
            Error::Invalid(reason()),
            Error::Metadata(Vec::new()),
            Error::Incomplete { missing: Vec::new(), wait: Duration::ZERO },
            Error::NeverComplete { missing: Vec::new(), since: Duration::ZERO },
            Error::Clock { session: what(), reason: reason() },
            Error::Implausible(reason()),
            Error::Unreadable { path: path(), reason: reason() },
            Error::Vanished { path: path() },
            Error::StillChanging { path: path(), wait: Duration::ZERO },
            Error::CopyInProgress { path: path(), wait: Duration::ZERO },
            Error::NoFilesYet { wait: Duration::ZERO, grace: Duration::ZERO },
            Error::NeverQuiet { path: path(), exclude: None, since: Duration::ZERO },
            Error::FilesRefused { registered: 0, refused: Vec::new() },
            Error::Gaps(crate::Gap::NoFile),
            Error::CannotMove { from: path(), to: path(), reason: reason() },
            Error::NewSession { folder: path(), source: Box::new(Error::Invalid(reason())) },
            Error::CannotMake { path: path(), reason: reason() },
            Error::Unsure { what: what(), source: unsure },
            Error::NotConfirmed(Vec::new()),
            Error::RegisteredElsewhere { path: path(), holder: None },
            Error::SentElsewhere { doing: what(), left: Duration::ZERO },
            Error::Flag { path: path(), reason: reason() },
            Error::FlagStays { path: path(), reason: reason() },
            Error::Internal(reason()),
        ]);
        all
    }

    #[test]
    fn the_table_agrees_with_the_program_for_every_error() {
        let mut seen = Vec::new();
        for error in examples() {
            let kind = error.kind();
            seen.push(kind);
            let agrees = match kind.handling() {
                Handling::NeedsAttention => error.next_step() == NextStep::NeedsAttention,
                Handling::NeedsCredentials => error.next_step() == NextStep::NeedsCredentials,
                Handling::Settle => matches!(error.next_step(), NextStep::TryAgain { after: Some(_) }),
                Handling::TryAgain | Handling::Elsewhere => {
                    error.next_step() == NextStep::TryAgain { after: None }
                }
            };
            assert!(agrees, "{kind:?}: {:?} is not {:?}", error.next_step(), kind.handling());
        }
        assert!(Kind::ALL.iter().all(|kind| seen.contains(kind)), "an example is missing");
    }

    #[test]
    fn the_table_in_the_manual_is_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
        let manual = std::fs::read_to_string(path).unwrap();
        for line in table().lines() {
            assert!(manual.lines().any(|row| row == line), "docs/errors.md lacks this line:\n{line}");
        }
        let rows = manual.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(rows, table().lines().filter(|line| line.starts_with("| ")).count(), "an extra row");
    }
}
