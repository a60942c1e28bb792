//! The flags that an audit puts: asked for, and created where there is none.

use std::path::PathBuf;

use crate::cli::args::AuditArgs;
use crate::cli::audit::scope::Task;
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::cli::output::terminal::{Terminal, TerminalError};
use crate::humanize::count;
use crate::json::error_report::{CommandKind, ErrorReport};
use alyx_registration::FlagNeed;
use alyx_registration::flag::FlagFile;

/// A flag that would complete a session.
pub(super) struct Flag {
    pub(super) path: PathBuf,
    pub(super) need: FlagNeed,
    pub(super) task: Task,
}

/// The flags that are to be put, after a question.
pub(super) async fn wanted(flags: Vec<Flag>, args: &AuditArgs) -> Result<Vec<Flag>, Failure> {
    if flags.is_empty() || args.yes {
        return Ok(flags);
    }
    let mut terminal = Terminal::new().map_err(|error| Failure::new(Exit::Io, error))?;
    for flag in &flags {
        terminal.print(&format!("  {}", alyx_client::text::printable(&flag.path.to_string_lossy())));
    }
    let flags_to_put = count(flags.len() as u64, "flag");
    match terminal.ask(&format!("Put {flags_to_put}, so that what Alyx lacks is registered? [y/N]")).await {
        Ok(answer) if matches!(answer.to_lowercase().as_str(), "y" | "yes") => Ok(flags),
        Ok(_) => Ok(Vec::new()),
        Err(TerminalError::Stopped) => Err(Failure::interrupted()),
        Err(error) => Err(Failure::new(Exit::Io, error)),
    }
}

/// Puts a flag where there is none. `false`: there is one.
pub(super) async fn create(flag: PathBuf, content: String) -> Result<bool, ErrorReport> {
    let path = flag.clone();
    let created = tokio::task::spawn_blocking(move || FlagFile::create(&path, content.as_bytes())).await;
    let created = created.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    created.map_err(|error| {
        let report = ErrorReport::command(
            CommandKind::Disk,
            format!(
                "the flag {flag:?} cannot be put ({error}); let the user who runs this write in its folder"
            ),
        );
        tracing::error!("{}", report.message);
        report.at(&flag)
    })
}
