//! What the program prints: lines on standard output, and errors on standard error before there is a log.

use std::io::Write;
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::config::ConfigErrors;
use alyx_client::text::printable;

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

/// Prints the errors of a configuration, one per line, and returns their exit code.
pub(super) fn report_config_errors(errors: &ConfigErrors) -> Exit {
    let _ = writeln!(std::io::stderr(), "{errors}");
    Exit::Config
}
