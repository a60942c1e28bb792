//! What the program prints: lines on standard output, and errors on standard error before there is a log.

pub(super) mod described;
pub(super) mod progress;
pub(super) mod terminal;

use std::io::Write;
use std::time::Duration;

use crate::cli::args::endpoint_word;
use crate::cli::exit::Exit;
use crate::config::{ConfigError, ConfigErrors};
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};
use alyx_client::text::printable;
use alyx_client::{Endpoint, NextStep};
use alyx_registration::advice::Kind;
use alyx_registration::{ELSEWHERE, Error, MissingName};

/// How long a stopped command waits for the answers to what it has sent.
pub(super) const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Prints a line on standard output. A closed pipe (`| head`) does not stop the work, unlike with `println!`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
pub(super) use say;

/// Prints an error on standard error. A full disk or a closed pipe does not change the exit code.
pub(super) fn report_error(what: impl std::fmt::Display) {
    // A file name may control the terminal.
    let text: Vec<String> = what.to_string().lines().map(printable).collect();
    let _ = writeln!(std::io::stderr(), "alyx-registrar: {}", text.join("\n"));
}

/// Why a command failed as a whole.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) errors: Vec<ErrorReport>,
    /// Whether it was logged or printed where it occurred.
    is_logged: bool,
    /// The names that Alyx does not know, if that is the error.
    missing: Vec<MissingName>,
}

impl Failure {
    /// A failure that has this exit code; the kind of its error follows from the code.
    pub(super) fn new(exit: Exit, error: impl ToString) -> Self {
        let report = match exit {
            Exit::Usage => ErrorReport::command(CommandKind::Usage, error),
            Exit::Config => ErrorReport::command(CommandKind::Configuration, error),
            Exit::Io => ErrorReport::command(CommandKind::Program, error),
            Exit::Interrupted => ErrorReport::command(CommandKind::Interrupted, error),
            Exit::Unavailable => ErrorReport::of_kind(Kind::Unreachable, error),
            Exit::Refused => ErrorReport::of_kind(Kind::Login, error),
            Exit::Success | Exit::Incomplete => ErrorReport::of_kind(Kind::Invalid, error),
        };
        Self::reported(exit, report)
    }

    /// A failure with this error.
    pub(super) fn reported(exit: Exit, report: ErrorReport) -> Self {
        Self::of_errors(exit, vec![report])
    }

    /// A failure with these errors.
    pub(super) fn of_errors(exit: Exit, errors: Vec<ErrorReport>) -> Self {
        Self { exit, errors, is_logged: false, missing: Vec::new() }
    }

    /// An invalid configuration. Prints its errors, one per line.
    pub(super) fn of_config(errors: &ConfigErrors) -> Self {
        let _ = writeln!(std::io::stderr(), "{errors}");
        let report =
            |error: &ConfigError| ErrorReport::command(CommandKind::Configuration, error).at(&error.file);
        Self::of_errors(Exit::Config, errors.iter().map(report).collect()).logged()
    }

    /// The command was stopped by a signal.
    pub(super) fn interrupted() -> Self {
        Failure::new(Exit::Interrupted, "stopped before it was done; run it again")
    }

    /// The command was stopped by a signal while a record was being created. The mark of the request makes the next
    /// command wait.
    pub(super) fn unanswered() -> Self {
        let report = ErrorReport::command(
            CommandKind::Unanswered,
            "stopped while Alyx was creating a record, which may still appear there; run the command again: it waits until it cannot create a second record",
        );
        Self::reported(Exit::Interrupted, report)
    }

    /// The same failure, of this record.
    pub(super) fn of_record(mut self, record: impl std::fmt::Display) -> Self {
        self.errors.iter_mut().for_each(|error| error.message = format!("{record}: {}", error.message));
        self
    }

    /// Signals cannot be received.
    pub(super) fn no_signals(error: &std::io::Error) -> Self {
        Failure::new(Exit::Io, format!("signals cannot be received: {error}"))
    }

    /// The same failure, which is not printed again.
    pub(super) fn logged(self) -> Self {
        Self { is_logged: true, ..self }
    }

    /// Logs the failure as an error.
    pub(super) fn log(self) -> Self {
        self.errors.iter().for_each(|error| tracing::error!("{}", error.message));
        self.logged()
    }

    /// Prints the failure, on standard output as JSON or else on standard error, and returns its exit code.
    pub(super) fn end(self, command: &str, json: bool) -> Exit {
        let failure = self.of_command(command);
        if json {
            say!("{}", Document::failed(command, failure.errors).line());
        } else if !failure.is_logged {
            failure.errors.iter().for_each(|error| report_error(&error.message));
        }
        failure.exit
    }

    /// The same failure, whose messages say where this command has the names that Alyx does not know.
    pub(super) fn of_command(mut self, command: &str) -> Self {
        let elsewhere: Vec<MissingName> =
            self.missing.iter().filter(|name| name.from.is_none()).cloned().collect();
        if !elsewhere.is_empty() {
            let place = format!("in {}", places(command, &elsewhere));
            let named = |error: &mut ErrorReport| error.message = error.message.replace(ELSEWHERE, &place);
            self.errors.iter_mut().for_each(named);
        }
        self
    }

    /// The names that Alyx does not know, if that is the error.
    pub(super) fn missing(&self) -> &[MissingName] {
        &self.missing
    }
}

/// For commands without `--json`: the failure was logged.
impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        if !failure.is_logged {
            failure.errors.iter().for_each(|error| report_error(&error.message));
        }
        failure.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut report = ErrorReport::from(&error);
        let mut missing = Vec::new();
        if let Error::Missing(names) = &error {
            report.message += &format!("; {} lists those on Alyx", lists(names));
            missing.extend(names.iter().cloned());
        }
        if matches!(&error, Error::Alyx(alyx_client::Error::Options(_))) {
            report.message += "; on the command line that is --user";
        }
        Self { missing, ..Self::reported(exit_of(&error), report) }
    }
}

/// Where the names of a command are written.
fn places(command: &str, names: &[MissingName]) -> String {
    let is_about_files = matches!(command, "register-files" | "check-protected");
    let is_about_sessions = matches!(command, "create-session" | "register-session" | "new-session");
    if !is_about_files && !is_about_sessions && !matches!(command, "water" | "weight") {
        return "the folder or the configuration".to_owned();
    }
    let place = |name: &MissingName| match name.endpoint {
        Endpoint::Subjects => "the subject or its folder",
        Endpoint::Labs if is_about_files => "--labs or the folder",
        Endpoint::Labs => "--lab or the folder",
        Endpoint::Users if is_about_sessions => "--users",
        Endpoint::Users => "--by",
        Endpoint::Projects => "--projects",
        Endpoint::Procedures => "--procedures",
        Endpoint::Locations => "--location",
        Endpoint::Repositories => "--repository",
        Endpoint::DatasetTypes | Endpoint::DataFormats => "the configuration",
    };
    let mut places: Vec<&str> = names.iter().map(place).collect();
    places.dedup();
    places.join(" and ")
}

/// The commands that list the names on Alyx.
fn lists(names: &[MissingName]) -> String {
    let list = |name: &MissingName| format!("`alyx-registrar exists {}`", endpoint_word(name.endpoint));
    let mut lists: Vec<String> = names.iter().map(list).collect();
    lists.dedup();
    lists.join(" or ")
}

impl From<alyx_client::Error> for Failure {
    fn from(error: alyx_client::Error) -> Self {
        Error::from(error).into()
    }
}

/// The exit code for an error. Pure.
pub(super) fn exit_of(error: &Error) -> Exit {
    if error.next_step() == NextStep::NeedsCredentials {
        return Exit::Refused;
    }
    match error {
        error if error.is_outage() => Exit::Unavailable,
        Error::Alyx(alyx_client::Error::Options(_)) => Exit::Config,
        _ => Exit::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_login_outage_and_configuration_apart() {
        let login = alyx_client::Error::Login {
            url: "http://x".into(),
            username: None,
            reason: "no".into(),
            advice: "",
        };
        assert_eq!(exit_of(&login.into()), Exit::Refused);
        let (url, reason) = ("http://x".into(), "refused".into());
        let away = alyx_client::Error::Unreachable { url, reason, maybe_done: false, connected: false };
        assert_eq!(exit_of(&away.into()), Exit::Unavailable);
        assert_eq!(exit_of(&Error::Invalid("x".into())), Exit::Incomplete);
        assert_eq!(exit_of(&alyx_client::Error::Options("x".into()).into()), Exit::Config);
    }
}
