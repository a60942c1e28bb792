//! A command line that is not valid, and the texts of `--help` and `--version`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ContextKind;

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};

/// Prints what clap found, with `--json` also as a document, and returns the exit code.
pub(super) fn end(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Success.into();
    }
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    if typed.iter().take_while(|word| *word != "--").any(|word| word == "--json") {
        say!("{}", document(error, &typed));
    }
    Exit::Usage.into()
}

fn document(error: &clap::Error, typed: &[OsString]) -> String {
    let cli = Cli::definition();
    let is_command = |word: &&OsString| cli.get_subcommands().any(|command| command.get_name() == **word);
    let command = typed.iter().find(is_command).map(|word| word.to_string_lossy().into_owned());
    let report = report(error, command.as_deref());
    Document::failed(command.as_deref().unwrap_or("alyx-registrar"), vec![report]).line()
}

/// What clap found, as an error of this command.
pub(super) fn report(error: &clap::Error, command: Option<&str>) -> ErrorReport {
    // The first paragraph; the others are the usage and where to find help.
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let message = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut report = ErrorReport::command(CommandKind::Usage, message);
    if let Some(command) = command {
        report.next_step = format!("see `alyx-registrar {command} --help`");
    }
    if let Some(suggested) = error.get(ContextKind::SuggestedArg) {
        report.next_step = format!("did you mean `{suggested}`? See `--help`");
    }
    report
}
