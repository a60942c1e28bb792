//! Questions on a terminal, and answers from it. A password is not shown while it is typed.

use std::io;
use std::io::{BufRead, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::init::Refusal;

/// The terminal of this process.
pub(super) struct Terminal {
    /// Heard from the beginning, so that no Ctrl-C leaves a terminal behind that shows nothing.
    interrupts: Signal,
}

impl Terminal {
    pub(super) fn new() -> Result<Self, Refusal> {
        let interrupts =
            signal(SignalKind::interrupt()).map_err(|source| Refusal::System { doing: "signals", source })?;
        Ok(Self { interrupts })
    }

    /// Says a line.
    pub(super) fn tell(&mut self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Asks, and returns the answer without the blanks around it; empty where only Enter was typed.
    pub(super) async fn ask(&mut self, question: &str) -> Result<String, Refusal> {
        Ok(self.line(question).await?.trim().to_owned())
    }

    /// Asks for a password; `None` where only Enter was typed.
    pub(super) async fn ask_password(&mut self, question: &str) -> Result<Option<SecretString>, Refusal> {
        let hidden = Hidden::begin();
        let line = self.line(question).await;
        drop(hidden);
        // The line break was not shown either.
        self.tell("");
        let line = line?;
        let password = SecretString::from(line.trim_end_matches(['\r', '\n']));
        Ok(Some(password).filter(|password| !password.expose_secret().is_empty()))
    }

    async fn line(&mut self, question: &str) -> Result<String, Refusal> {
        let _ = write!(io::stderr(), "{question} ");
        let _ = io::stderr().flush();
        let reading = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = tokio::select! {
            line = reading => line,
            _ = self.interrupts.recv() => return Err(Refusal::Stopped),
        };
        match line {
            Ok(Ok(line)) if !line.is_empty() => Ok(line),
            // Ctrl-D, or the terminal is gone.
            _ => Err(Refusal::Stopped),
        }
    }
}

/// While it lives, what is typed is not shown.
struct Hidden {
    before: Termios,
}

impl Hidden {
    /// `None`: the terminal cannot hide what is typed.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The password on the first line of standard input.
pub(super) fn password_from_pipe() -> Result<SecretString, Refusal> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    let line = line.trim_end_matches(['\r', '\n']);
    match read {
        Ok(_) if !line.trim().is_empty() => Ok(SecretString::from(line)),
        Ok(_) => Err(Refusal::NoPassword),
        Err(source) => Err(Refusal::System { doing: "standard input", source }),
    }
}
