//! What the program prints: lines on standard output, and errors on standard error before there is a log.

use std::io::Write;

use crate::cli::exit::Exit;
use crate::config::ConfigErrors;

/// Prints a line on standard output. A reader that has gone (`| head`) does not stop the work, as it would with
/// `println!`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
pub(super) use say;

/// Prints an error on standard error. A full disk or a closed pipe does not change how the program ends.
pub(super) fn complain(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "alyx-registrar: {what}");
}

/// Prints what is wrong with the configuration, a line each, and returns the exit code for it.
pub(super) fn complain_of(errors: &ConfigErrors) -> Exit {
    let _ = writeln!(std::io::stderr(), "{errors}");
    Exit::Config
}
