//! The command line: parses the arguments and runs the commands.

pub mod args;
mod audit;
pub mod exit;
mod follow;
mod loadable;
pub mod logging;
mod marks;
mod monitor;
mod new_file;
mod output;
#[cfg(feature = "sandbox")]
mod practice;
mod reclaim;
mod remembered;
mod rpc;
mod scan;
mod service;
mod setup;
mod usage;
mod verbs;
mod verify;

use std::process::ExitCode;

use crate::cli::args::{Cli, Command};
use crate::cli::exit::Exit;
use crate::cli::output::report_error;

/// The entry point of the program: parses the arguments and runs the command.
pub fn main() -> ExitCode {
    service::core_dumps::forbid();
    let cli = match Cli::parse_words(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage::end(&error),
    };
    // Before threads are started, which inherit it.
    if matches!(
        cli.command,
        Command::CreateSessions(_)
            | Command::RegisterSession(_)
            | Command::RegisterFiles(_)
            | Command::Verify(_)
            | Command::Follow(_)
            | Command::Reclaim(_)
    ) {
        service::io_priority::lower();
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A dead data root may keep two dozen of them for ever, and must leave some to the others, however many are dead.
    runtime.worker_threads(2).max_blocking_threads(8192).enable_all();
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report_error(format_args!("the program cannot be started: {error}"));
            return Exit::Io.into();
        }
    };
    let exit = runtime.block_on(async {
        match cli.command {
            #[cfg(feature = "sandbox")]
            Command::Run(args) if args.sandbox => practice::sandbox::run(&args.config).await,
            Command::Run(args) => service::run::run(&args).await,
            Command::Init(args) => setup::init::init(&args).await,
            Command::Check(args) => setup::check::check(&args).await,
            Command::Scan(args) if args.orphans => scan::orphans::orphans(&args).await,
            Command::Scan(args) => scan::scan(&args).await,
            Command::Audit(args) if args.unmark.is_some() => audit::unmark(&args).await,
            Command::Audit(args) => audit::audit(&args).await,
            Command::Verify(args) => verify::verify(&args).await,
            Command::Follow(args) => follow::follow(&args).await,
            Command::Reclaim(args) => reclaim::reclaim(&args).await,
            Command::Metadata(args) => verbs::metadata(&args).await,
            Command::Propose(args) => verbs::propose(&args).await,
            command @ (Command::CreateSession(_)
            | Command::CreateSessions(_)
            | Command::NewSession(_)
            | Command::RegisterSession(_)
            | Command::RegisterFiles(_)
            | Command::FindFiles(_)
            | Command::CheckProtected(_)
            | Command::Exists(_)
            | Command::Water(_)
            | Command::Weight(_)) => verbs::run(&command).await,
            Command::Rpc(args) => rpc::rpc(&args).await,
            Command::Completions(args) => verbs::completions(&args),
            Command::Man(args) => verbs::man(&args),
            Command::Status(args) => monitor::status::status(&args).await,
            Command::History(args) => monitor::history::history(&args).await,
            Command::Retry(args) => monitor::retry::retry(&args).await,
            Command::Forget(args) => monitor::retry::forget(&args).await,
            Command::Acknowledge(args) => monitor::acknowledge::acknowledge(&args).await,
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => practice::sandbox::sandbox(&args).await,
            #[cfg(feature = "sandbox")]
            Command::Demo(args) => practice::demo::demo(&args).await,
        }
    });
    // A thread that hangs in a dead network drive must not keep the program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}
