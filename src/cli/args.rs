//! The definition of the command line.

use std::ffi::OsString;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

mod audit;
mod config;
mod connection;
mod files;
mod follow;
mod manual;
mod members;
mod metadata;
mod monitor;
#[cfg(feature = "sandbox")]
mod practice;
mod propose;
mod reclaim;
mod rpc;
mod scope;
mod service;
mod sessions;
mod setup;
mod values;
mod verify;

pub use crate::cli::args::audit::AuditArgs;
pub use crate::cli::args::config::{ConfigArgs, StateArgs};
pub(super) use crate::cli::args::config::{absolute, paths};
pub use crate::cli::args::connection::{ConnectionArgs, VerbArgs};
pub use crate::cli::args::files::{CheckProtectedArgs, FindFilesArgs, RegisterFilesArgs, RelationArgs};
pub use crate::cli::args::follow::FollowArgs;
pub use crate::cli::args::manual::{CompletionsArgs, ManArgs, ShellChoice};
pub use crate::cli::args::members::{ExistsArgs, WaterArgs, WeightArgs};
pub use crate::cli::args::metadata::MetadataArgs;
pub use crate::cli::args::monitor::{
    AcknowledgeArgs, ForgetArgs, HistoryArgs, OutcomeWord, RetryArgs, StatusArgs,
};
#[cfg(feature = "sandbox")]
pub use crate::cli::args::practice::{DemoArgs, SandboxArgs};
pub use crate::cli::args::propose::ProposeArgs;
pub use crate::cli::args::reclaim::ReclaimArgs;
pub use crate::cli::args::rpc::RpcArgs;
pub use crate::cli::args::scope::ScopeArgs;
pub use crate::cli::args::service::{RunArgs, ScanArgs};
pub use crate::cli::args::sessions::{
    CreateSessionArgs, CreateSessionsArgs, NewSessionArgs, RegisterSessionArgs, SessionDetailsArgs,
};
pub use crate::cli::args::setup::{CheckArgs, InitArgs};
pub(super) use crate::cli::args::values::endpoint_word;
pub use crate::cli::args::verify::VerifyArgs;

/// Registers finished experiments on Alyx, with their files.
///
/// A rig puts an empty create_me.flag into the folder of a finished session. This program finds it, creates
/// the session on the lab's Alyx, registers its files, and removes the flag when Alyx has confirmed them all.
#[derive(Clone, Debug, Parser)]
#[command(name = "alyx-registrar", version, about, long_about, arg_required_else_help = true, after_help = EXIT_HELP)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The definition of the command line. Every option is also accepted as Python spells it, with underscores.
    pub fn definition() -> clap::Command {
        let underscores = |arg: Arg| {
            let names = arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten());
            let names = names.filter(|name| name.contains('-'));
            let in_python: Vec<String> = names.map(|name| name.replace('-', "_")).collect();
            arg.aliases(in_python)
        };
        Cli::command().mut_subcommands(move |command| command.mut_args(underscores))
    }

    /// Parses the words of a command line, the first of which is the program.
    ///
    /// # Errors
    /// For a command line that is not valid, and for `--help` and `--version`.
    pub fn parse_words(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Cli, clap::Error> {
        let mut matches = Cli::definition().try_get_matches_from(words)?;
        Cli::from_arg_matches_mut(&mut matches)
    }
}

const EXIT_HELP: &str = "\
Exit codes:
    0  success
    1  something was not registered, or a check was negative
    2  the command line is invalid
   69  the server, or the daemon, cannot be reached
   74  a folder or file of the program cannot be used
   77  the server refuses the user, password or token
   78  the configuration is invalid
  130  stopped before it was done";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch the data roots and register sessions until stopped
    Run(RunArgs),
    /// Write a configuration, after a few questions
    Init(InitArgs),
    /// Check the setup before anything is registered
    Check(CheckArgs),
    /// Register the sessions flagged now, then exit
    Scan(ScanArgs),
    /// Compare what Alyx holds with what is on disk
    Audit(AuditArgs),
    /// Read files and compare them with their hashes on Alyx
    Verify(VerifyArgs),
    /// Look for copies in other repositories, and tell Alyx of those that are complete
    Follow(FollowArgs),
    /// List the files here that have enough verified copies elsewhere
    Reclaim(ReclaimArgs),
    /// Create a session on Alyx, without its files
    CreateSession(CreateSessionArgs),
    /// Create a session for every flag below a folder
    CreateSessions(CreateSessionsArgs),
    /// Create the folder of a new session, and the session on Alyx
    NewSession(NewSessionArgs),
    /// Create a session on Alyx and register its files
    RegisterSession(RegisterSessionArgs),
    /// Register files of sessions that are on Alyx
    RegisterFiles(RegisterFilesArgs),
    /// List the datasets of a session folder, and why other files are left out
    FindFiles(FindFilesArgs),
    /// Show what is known about a session, and where each value comes from
    Metadata(MetadataArgs),
    /// Check which files are protected on Alyx
    CheckProtected(CheckProtectedArgs),
    /// Show what Alyx lacks to register sessions, and create it
    Propose(ProposeArgs),
    /// Check whether subjects, users, labs … are on Alyx
    Exists(ExistsArgs),
    /// Record the water that a subject was given
    Water(WaterArgs),
    /// Record the weight of a subject
    Weight(WeightArgs),
    /// Answer requests of other programs, one a line
    Rpc(RpcArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
    /// Show which sessions wait, run, or need attention
    Status(StatusArgs),
    /// List earlier outcomes
    History(HistoryArgs),
    /// Retry waiting sessions now
    Retry(RetryArgs),
    /// Delete the history of a session; its flag stays
    Forget(ForgetArgs),
    /// Stop reporting the gaps of registered sessions
    Acknowledge(AcknowledgeArgs),
    /// Serve a built-in Alyx for practice
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxArgs),
    /// Run an example, without an Alyx and without your data
    #[cfg(feature = "sandbox")]
    Demo(DemoArgs),
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::exit::Exit;
    use crate::config::LogLevel;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn every_help_fits_a_screen_and_has_an_example() {
        let mut cli = Cli::command();
        cli.build();
        let commands: Vec<String> = cli
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .filter(|name| name != "help")
            .collect();
        assert!(commands.len() >= 14);
        for name in commands {
            // As printed: `--help` is the long form only if a command has one.
            let printed = |flag| Cli::parse_words(["alyx-registrar", &name, flag]).unwrap_err().to_string();
            let help = printed("--help");
            assert!(help.contains(&format!("alyx-registrar {name}")) && help.contains("Examples:"), "{help}");
            assert!(help.lines().count() <= 50, "{name}: {} lines", help.lines().count());
            let short = printed("-h");
            assert!(short.lines().count() <= 40, "{name}: {} lines\n{short}", short.lines().count());
        }
    }

    #[test]
    fn the_help_lists_every_exit_code_with_its_meaning() {
        for exit in Exit::ALL {
            let line = format!("{:>5}  {}", exit.code(), exit.meaning());
            assert!(EXIT_HELP.lines().any(|printed| printed == line), "{line}");
        }
    }

    #[test]
    fn arguments_override_the_configuration_and_paths_become_absolute() {
        let typed =
            ["alyx-registrar", "scan", "--data-root", "rig", "--data-root", "/abs", "--log-level", "debug"];
        let Command::Scan(scan) = Cli::try_parse_from(typed).unwrap().command else { panic!("not scan") };
        let overrides = scan.config.overrides(Path::new("/home/me"));
        assert_eq!(overrides.data_roots, [Path::new("/home/me/rig"), Path::new("/abs")]);
        assert_eq!(overrides.log_level, Some(LogLevel::Debug));
    }

    #[test]
    fn two_dots_are_resolved_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        assert_eq!(absolute(Path::new("../a"), &real.join("a")), real.join("a"));
        assert_eq!(absolute(Path::new("."), &real), real);
    }

    #[test]
    fn no_command_or_a_wrong_one_is_a_usage_error() {
        for typed in
            [vec!["alyx-registrar"], vec!["alyx-registrar", "fly"], vec!["alyx-registrar", "scan", "--x"]]
        {
            let failure = Cli::try_parse_from(typed).unwrap_err();
            assert_eq!(failure.exit_code(), i32::from(Exit::Usage.code()));
        }
    }

    /// The arguments of a command, as they are after parsing.
    fn parsed(words: &[&str]) -> String {
        let parsed = Cli::parse_words([&["alyx-registrar"], words].concat());
        format!("{:?}", parsed.unwrap_or_else(|error| panic!("{words:?}: {error}")).command)
    }

    #[test]
    fn a_list_is_repeated_or_has_commas_and_every_name_of_an_option_means_the_same() {
        let commands: [(&[&str], &[&[&str]]); 7] = [
            (&["create-session", "x"], &[&["--users"], &["--projects"], &["--procedures"]]),
            (&["register-session", "x"], &[&["--users"], &["--projects", "--project"]]),
            (&["new-session", "s", "x"], &[&["--users"], &["--projects", "--project"], &["--procedures"]]),
            (&["register-files", "x"], &[&["--versions"], &["--labs", "--lab"]]),
            (&["propose", "x"], &[&["--users"], &["--projects", "--project"]]),
            (&["init"], &[&["--projects", "--project"]]),
            (&["exists", "labs"], &[&[""]]),
        ];
        for (command, options) in commands {
            for names in options {
                let first = names[0];
                let with_commas = if first.is_empty() {
                    [command, &["a,b"]].concat()
                } else {
                    [command, &[first, "a,b"]].concat()
                };
                let expected = parsed(&with_commas);
                for name in *names {
                    let repeated = match *name {
                        "" => [command, &["a", "b"]].concat(),
                        name => [command, &[name, "a", name, "b"]].concat(),
                    };
                    assert_eq!(parsed(&repeated), expected, "{repeated:?}");
                }
            }
        }
    }

    #[test]
    fn the_names_of_python_and_of_earlier_versions_mean_the_same_as_the_option() {
        for (command, option, aliases, value) in [
            (&["register-files", "x"][..], "--by", &["--created-by", "--created_by"][..], Some("ana")),
            (&["check-protected", "x"], "--by", &["--created-by", "--created_by"], Some("ana")),
            (&["water", "s", "1"], "--by", &["--created-by", "--created_by"], Some("ana")),
            (&["weight", "s", "1"], "--by", &["--created-by"], Some("ana")),
            (&["water", "s", "1"], "--date-time", &["--date_time"], Some("2024-05-01")),
            (&["create-session", "x"], "--task-protocol", &["--task_protocol"], Some("p")),
            (&["create-session", "x"], "--n-trials", &["--n_trials"], Some("1")),
            (&["register-session", "x"], "--file", &["--file-list", "--file_list", "--files"], Some("a.b.c")),
            (&["create-sessions", "x"], "--glob-pattern", &["--glob_pattern"], Some("*")),
            (&["create-sessions", "x"], "--register-files", &["--register_files"], None),
            (&["register-files", "x"], "--max-md5-size", &["--max_md5_size"], Some("1")),
            (&["scan"], "--data-root", &["--data-roots", "--data_root"], Some("/x")),
            (&["init"], "--data-root", &["--data-roots"], Some("/x")),
            (&["scan"], "--dry-run", &["--dry", "--dry_run"], None),
            (&["create-session", "x"], "--dry-run", &["--dry"], None),
            (&["register-session", "x"], "--dry-run", &["--dry"], None),
            (&["create-sessions", "x"], "--dry-run", &["--dry"], None),
            (&["new-session", "s", "x"], "--dry-run", &["--dry"], None),
            (&["register-files", "x"], "--dry-run", &["--dry"], None),
            (&["water", "s", "1"], "--dry-run", &["--dry"], None),
            (&["weight", "s", "1"], "--dry-run", &["--dry"], None),
        ] {
            let with = |name| {
                let typed: Vec<&str> = [name].into_iter().chain(value).collect();
                parsed(&[command, &typed].concat())
            };
            for alias in aliases {
                assert_eq!(with(alias), with(option), "{command:?} {alias}");
            }
        }
    }

    /// Options of the same name mean the same on every command, so they have the same value.
    #[test]
    fn the_same_thing_has_the_same_option_on_every_command() {
        let definition = Cli::definition();
        let mut options = std::collections::BTreeMap::new();
        for command in definition.get_subcommands() {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let value = arg.get_value_names().map(|names| format!("{names:?}"));
                let shape = (value, format!("{:?}", arg.get_action()), arg.get_value_delimiter());
                let earlier = options.entry(long.to_owned()).or_insert_with(|| shape.clone());
                assert_eq!(*earlier, shape, "--{long} of {} differs from other commands", command.get_name());
            }
        }
        for hidden in ["project", "procedure", "created-by", "dry", "data-roots"] {
            assert!(!options.contains_key(hidden), "--{hidden} is only another name");
        }
    }

    #[test]
    fn a_folder_whose_name_has_a_comma_is_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("a,b");
        std::fs::create_dir(&whole).unwrap();
        assert_eq!(paths(std::slice::from_ref(&whole)), [whole]);
        assert_eq!(paths(&["/none,/such".into()]), [Path::new("/none"), Path::new("/such")]);
    }
}
