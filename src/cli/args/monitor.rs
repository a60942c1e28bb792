//! `status`, `history`, `retry`, `forget` and `acknowledge`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::cli::args::config::StateArgs;
use crate::cli::args::values;

const STATUS_HELP: &str = "\
Examples:
  alyx-registrar status
  alyx-registrar status --json

Asks the running daemon; without one, reads the flags on disk and the ledger.
Exits with 0 if the daemon runs and nothing needs attention, 1 if something does, a session was registered with gaps
that are not acknowledged, a flag is older than watch.warn_after, or ONE cannot load what is registered, 69 if no daemon
runs or it cannot be asked, 77 if Alyx refuses the login.";

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
  alyx-registrar history --subject KS014 --files
  alyx-registrar history --date 2024-05-01 --outcome needs-attention --json

Kept as long as history.keep says. Exits with 0, even if there are none, with 74 if there is no such state folder.";

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
    #[arg(long, value_name = "DATE", value_parser = values::day)]
    pub date: Option<jiff::civil::Date>,

    /// Only attempts with this outcome
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub outcome: Option<OutcomeWord>,

    /// Only sessions of which files were left out; also list these files
    #[arg(long)]
    pub left_out: bool,

    /// Also list the datasets of each outcome with size and MD5, and the files that were left out with the reason
    #[arg(long)]
    pub files: bool,

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
    /// A command recorded what is of no session, such as a weight
    #[value(hide = true)]
    Recorded,
}

impl OutcomeWord {
    /// The word in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Gaps => "gaps",
            Self::Retry => "retry",
            Self::NeedsAttention => "needs_attention",
            Self::Recorded => "recorded",
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

Deletes the attempts and outcomes of the session, and its planned checks for late files, from the ledger. Nothing
changes on Alyx or below the data roots: an existing flag stays, and the daemon registers its session again. Exits
with 0, or with 1 if the ledger has no entry.";

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
pattern, as in datasets.exclude, acknowledges all sessions whose files match it, now and later: '*.nwb' is a file in any
folder, 'notes.txt' only the file in the session folder itself. The ledger remembers it.
A flag that was kept because of its gaps is tried at once.
Exits with 0, or with 1 if the session has no open gaps, or the withdrawn pattern was not acknowledged.";

/// A pattern that can match a file.
fn file_pattern(text: &str) -> Result<glob::Pattern, String> {
    if text.trim().is_empty() {
        return Err("an empty pattern matches no file; write one such as '*.nwb'".to_owned());
    }
    glob::Pattern::new(text).map_err(|error| error.to_string())
}

/// `acknowledge`.
#[derive(Args, Clone, Debug)]
#[command(after_help = ACKNOWLEDGE_HELP, group = ArgGroup::new("what").args(["session", "pattern", "list", "withdraw"]).required(true))]
pub struct AcknowledgeArgs {
    /// The session, as subject/date/number or as its folder
    #[arg(value_name = "SESSION")]
    pub session: Option<PathBuf>,

    /// All sessions whose files match a pattern for the path within the session
    #[arg(long, value_name = "PATTERN", value_parser = file_pattern)]
    pub pattern: Option<glob::Pattern>,

    /// List what is acknowledged
    #[arg(long)]
    pub list: bool,

    /// Withdraw this pattern: sessions that no other pattern matches are reported again
    #[arg(long, value_name = "PATTERN")]
    pub withdraw: Option<String>,

    /// Where the state is.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}
