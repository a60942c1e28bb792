//! The definition of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

mod config;
mod connection;
mod files;
mod manual;
mod members;
#[cfg(feature = "sandbox")]
mod practice;
mod propose;
mod sessions;
mod setup;
mod values;

pub use crate::cli::args::config::{ConfigArgs, StateArgs};
pub(super) use crate::cli::args::config::{absolute, paths};
pub use crate::cli::args::connection::{ConnectionArgs, VerbArgs};
pub use crate::cli::args::files::{CheckProtectedArgs, FindFilesArgs, RegisterFilesArgs, RelationArgs};
pub use crate::cli::args::manual::{CompletionsArgs, ManArgs, ShellChoice};
pub use crate::cli::args::members::{ExistsArgs, WaterArgs, WeightArgs};
#[cfg(feature = "sandbox")]
pub use crate::cli::args::practice::{DemoArgs, SandboxArgs};
pub use crate::cli::args::propose::ProposeArgs;
pub use crate::cli::args::sessions::{
    CreateSessionArgs, CreateSessionsArgs, NewSessionArgs, RegisterSessionArgs, SessionDetailsArgs,
};
pub use crate::cli::args::setup::{CheckArgs, InitArgs};
pub(super) use crate::cli::args::values::endpoint_word;

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
    /// Report the gaps of registered sessions no longer
    Acknowledge(AcknowledgeArgs),
    /// Serve a built-in Alyx for practice
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxArgs),
    /// Run an example, without an Alyx and without your data
    #[cfg(feature = "sandbox")]
    Demo(DemoArgs),
}

#[cfg(not(feature = "sandbox"))]
const RUN_HELP: &str = "\
Examples:
  alyx-registrar run --config /etc/alyx-registrar/config.yaml

SIGTERM or Ctrl-C stops it within seconds; nothing is lost. SIGHUP reads the configuration again, SIGUSR1 scans.";

#[cfg(feature = "sandbox")]
const RUN_HELP: &str = "\
Examples:
  alyx-registrar run --config /etc/alyx-registrar/config.yaml
  alyx-registrar run --sandbox --data-root ~/mydata

With --sandbox nothing reaches a real Alyx: a built-in Alyx takes its place, and no configuration is needed. A
configuration named by --config or ALYX_REGISTRAR_CONFIG applies, except for its address, credentials and state folder.
Flags are removed as usual.

SIGTERM or Ctrl-C stops it within seconds; nothing is lost. SIGHUP reads the configuration again, SIGUSR1 scans.";

/// `run`: the daemon.
#[derive(Args, Clone, Debug)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Register on a built-in Alyx, not on a real one
    #[cfg(feature = "sandbox")]
    #[arg(long)]
    pub sandbox: bool,
}

const SCAN_HELP: &str = "\
Examples:
  alyx-registrar scan --dry-run
  alyx-registrar scan --orphans --data-root /data/subjects

Exits with 0; 1 if a session was not registered, has gaps, or (--orphans) is not on Alyx; 69 no connection; 77 login refused.";

/// `scan`: registers once and exits.
#[derive(Args, Clone, Debug)]
#[command(after_help = SCAN_HELP)]
pub struct ScanArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Show what would be registered; change nothing on Alyx or on disk
    #[arg(long, alias = "dry")]
    pub dry_run: bool,

    /// Create the sessions only, without their files
    #[arg(long)]
    pub no_files: bool,

    /// Register nothing; list the session folders without a flag that are not on Alyx
    #[arg(long, conflicts_with = "no_files")]
    pub orphans: bool,

    /// Print one JSON object per session on standard output
    #[arg(long)]
    pub json: bool,
}

const STATUS_HELP: &str = "\
Examples:
  alyx-registrar status
  alyx-registrar status --json

Asks the running daemon; without one, reads the flags on disk and the ledger.
Exits with 0 if the daemon runs and nothing needs attention, 1 if something does, a session was registered with gaps
that are not acknowledged, or a flag is older than watch.warn_after, 69 if no daemon runs, 77 if Alyx refuses the login.";

/// `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = STATUS_HELP)]
pub struct StatusArgs {
    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

const HISTORY_HELP: &str = "\
Examples:
  alyx-registrar history --subject KS014
  alyx-registrar history --date 2024-05-01 --outcome needs-attention --json
  alyx-registrar history --left-out

Outcomes are kept for 180 days. Exits with 0, even if there are none.";

/// `history`.
#[derive(Args, Clone, Debug)]
#[command(after_help = HISTORY_HELP)]
pub struct HistoryArgs {
    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Only sessions of this subject
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,

    /// Only sessions of this day, as in their path
    #[arg(long, value_name = "DATE")]
    pub date: Option<jiff::civil::Date>,

    /// Only attempts with this outcome
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub outcome: Option<OutcomeWord>,

    /// Only sessions of which files were left out; also list these files
    #[arg(long)]
    pub left_out: bool,

    /// Show the latest N outcomes; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,

    /// Print one JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutcomeWord {
    /// Everything was confirmed
    Registered,
    /// It was registered, but files are missing or have names that no dataset type takes
    Gaps,
    /// It failed and was tried again
    Retry,
    /// It failed, and needs attention before it can succeed
    #[value(aliases = ["needs_attention", "needs-person", "needs_person"])]
    NeedsAttention,
}

impl OutcomeWord {
    /// The word in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Gaps => "gaps",
            Self::Retry => "retry",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

const RETRY_HELP: &str = "\
Examples:
  alyx-registrar retry KS014/2024-05-01/001
  alyx-registrar retry --all

Without a running daemon, the sessions are tried when it starts. Exits with 0, or with 1 if no session is waiting.";

/// `retry`.
#[derive(Args, Clone, Debug)]
#[command(after_help = RETRY_HELP, group = ArgGroup::new("which").args(["session", "all"]).required(true))]
pub struct RetryArgs {
    /// The session, as subject/date/number or as its folder
    #[arg(value_name = "SESSION")]
    pub session: Option<PathBuf>,

    /// All waiting sessions
    #[arg(long)]
    pub all: bool,

    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

const FORGET_HELP: &str = "\
Examples:
  alyx-registrar forget KS014/2024-05-01/001

Deletes the attempts and outcomes of the session from the ledger. Nothing changes on Alyx or below the data roots: a
flag that is there stays, and its session will be registered again. Exits with 0, or with 1 if the ledger has no entry.";

/// `forget`.
#[derive(Args, Clone, Debug)]
#[command(after_help = FORGET_HELP)]
pub struct ForgetArgs {
    /// The session, as subject/date/number or as its folder
    #[arg(value_name = "SESSION")]
    pub session: PathBuf,

    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

const ACKNOWLEDGE_HELP: &str = "\
Examples:
  alyx-registrar acknowledge KS014/2024-05-01/001
  alyx-registrar acknowledge --pattern '*.nwb'
  alyx-registrar acknowledge --list
  alyx-registrar acknowledge --withdraw '*.nwb'

A session that was registered with gaps stays in `status`, on the page and in the alerts until it is acknowledged. A
pattern, as in datasets.exclude, acknowledges all sessions whose files match it, now and later. The ledger remembers it.
A flag that was kept because of its gaps is tried at once.
Exits with 0, or with 1 if the session has no open gaps, or the withdrawn pattern was not acknowledged.";

/// `acknowledge`.
#[derive(Args, Clone, Debug)]
#[command(after_help = ACKNOWLEDGE_HELP, group = ArgGroup::new("what").args(["session", "pattern", "list", "withdraw"]).required(true))]
pub struct AcknowledgeArgs {
    /// The session, as subject/date/number or as its folder
    #[arg(value_name = "SESSION")]
    pub session: Option<PathBuf>,

    /// All sessions whose files match a pattern for the path within the session
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<glob::Pattern>,

    /// List what is acknowledged
    #[arg(long)]
    pub list: bool,

    /// Acknowledge this pattern no longer: the sessions that only it matches are reported again
    #[arg(long, value_name = "PATTERN")]
    pub withdraw: Option<String>,

    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
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
        for hidden in ["project", "procedure", "created-by", "dry", "data-roots", "files"] {
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
