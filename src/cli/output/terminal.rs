//! Asks questions on a terminal. A password is not echoed.

use std::io;
use std::io::{BufRead, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum TerminalError {
    /// Ctrl-C, or the end of input.
    #[error("stopped")]
    Stopped,
    /// A system call failed.
    #[error("{doing} cannot be used ({source})")]
    System { doing: &'static str, source: io::Error },
    /// The standard input that should hold a password is empty.
    #[error("standard input holds no password; pipe it in, or leave --password-stdin out")]
    NoPassword,
}

/// The terminal of this process.
pub(in crate::cli) struct Terminal {
    /// Registered before the first question, so that Ctrl-C never leaves the terminal without echo.
    interrupts: Signal,
}

impl Terminal {
    pub(in crate::cli) fn new() -> Result<Self, TerminalError> {
        let interrupts = signal(SignalKind::interrupt())
            .map_err(|source| TerminalError::System { doing: "signals", source })?;
        Ok(Self { interrupts })
    }

    /// Prints a line.
    pub(in crate::cli) fn print(&mut self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Asks a question and returns the trimmed answer, which may be empty.
    pub(in crate::cli) async fn ask(&mut self, question: &str) -> Result<String, TerminalError> {
        Ok(self.line(question).await?.trim().to_owned())
    }

    /// Asks for a password; `None` for an empty answer.
    pub(in crate::cli) async fn ask_password(
        &mut self,
        question: &str,
    ) -> Result<Option<SecretString>, TerminalError> {
        let hidden = EchoOff::begin();
        let line = self.line(question).await;
        drop(hidden);
        // The line break was not echoed either.
        self.print("");
        let line = line?;
        let password = SecretString::from(line.trim_end_matches(['\r', '\n']));
        Ok(Some(password).filter(|password| !password.expose_secret().is_empty()))
    }

    async fn line(&mut self, question: &str) -> Result<String, TerminalError> {
        let _ = write!(io::stderr(), "{question} ");
        let _ = io::stderr().flush();
        let reading = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = tokio::select! {
            line = reading => line,
            _ = self.interrupts.recv() => return Err(TerminalError::Stopped),
        };
        match line {
            Ok(Ok(line)) if !line.is_empty() => Ok(line),
            // Ctrl-D, or the terminal was closed.
            _ => Err(TerminalError::Stopped),
        }
    }
}

/// Turns off the terminal's echo until dropped.
struct EchoOff {
    before: Termios,
}

impl EchoOff {
    /// `None` if the terminal cannot turn off its echo.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self { before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The password on the first line of standard input.
pub(in crate::cli) fn password_from_pipe() -> Result<SecretString, TerminalError> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    let line = line.trim_end_matches(['\r', '\n']);
    match read {
        Ok(_) if !line.trim().is_empty() => Ok(SecretString::from(line)),
        Ok(_) => Err(TerminalError::NoPassword),
        Err(source) => Err(TerminalError::System { doing: "standard input", source }),
    }
}
