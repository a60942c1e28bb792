//! The one-shot commands, one for each method of the registration client, and `propose` and `metadata`.
//!
//! A command calls the library once, on a connection that is open, and returns an [`Answer`] with text and JSON, of which one
//! is printed. `rpc` gives many commands the same connection.

pub(super) mod connect;
mod create_sessions;
mod files;
mod manual;
mod measurements;
mod members;
mod metadata;
pub(super) mod output;
mod propose;
mod record;
mod sessions;

pub(super) use crate::cli::verbs::manual::{completions, man};
pub(super) use crate::cli::verbs::metadata::metadata;
pub(super) use crate::cli::verbs::propose::propose;

use crate::cli::args::{Command, VerbArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::cli::verbs::connect::run_connected;
use crate::cli::verbs::output::Answer;
use crate::config::Config;
use alyx_registration::RegistrationClient;

/// The name of a command that [`answer`] knows, and its connection.
fn verb(command: &Command) -> Option<(&'static str, &VerbArgs)> {
    Some(match command {
        Command::CreateSession(args) => ("create-session", &args.verb),
        Command::CreateSessions(args) => ("create-sessions", &args.verb),
        Command::NewSession(args) => ("new-session", &args.verb),
        Command::RegisterSession(args) => ("register-session", &args.verb),
        Command::RegisterFiles(args) => ("register-files", &args.verb),
        Command::FindFiles(args) => ("find-files", &args.verb),
        Command::Metadata(args) => ("metadata", &args.verb),
        Command::CheckProtected(args) => ("check-protected", &args.verb),
        Command::Exists(args) => ("exists", &args.verb),
        Command::Water(args) => ("water", &args.verb),
        Command::Weight(args) => ("weight", &args.verb),
        _ => return None,
    })
}

/// Runs a command on an open connection; `None` if it is not a command that needs no more than that.
pub(super) async fn answer(
    command: &Command,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Option<Result<Answer, Failure>> {
    Some(match command {
        Command::CreateSession(args) => sessions::create_session(args, client, config).await,
        Command::CreateSessions(args) => create_sessions::create_sessions(args, client, config).await,
        Command::NewSession(args) => sessions::new_session(args, client, config).await,
        Command::RegisterSession(args) => sessions::register_session(args, client, config).await,
        Command::RegisterFiles(args) => files::register_files(args, client, config).await,
        Command::FindFiles(args) => files::find_files(args, client, config).await,
        Command::Metadata(args) => metadata::answer(args, || Ok(client.clone()), config).await,
        Command::CheckProtected(args) => files::check_protected(args, client).await,
        Command::Exists(args) => members::exists(args, client).await,
        Command::Water(args) => measurements::water(args, client, config).await,
        Command::Weight(args) => measurements::weight(args, client, config).await,
        _ => return None,
    })
}

/// Connects, runs a command of which [`answer`] knows, and prints its result.
pub(super) async fn run(command: &Command) -> Exit {
    let Some((name, args)) = verb(command) else { return Exit::Usage };
    run_connected(name, args, async |client, config| match answer(command, client, config).await {
        Some(answer) => answer,
        None => Err(Failure::new(Exit::Usage, format!("{name} runs alone"))),
    })
    .await
}
