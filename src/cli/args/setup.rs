//! Setting a rig up, as it is typed.

use clap::Args;

use super::ConfigArgs;

const CHECK_HELP: &str = "\
Examples:
  sudo -u alyx-registrar alyx-registrar check
  alyx-registrar check --config new.yaml --offline
  ExecStartPre=-/usr/bin/alyx-registrar check --before-start        (in a unit)

Run it as the user of the service: it sees what that user may do. It writes nothing, neither on disk nor on Alyx.
Ends with 0 when there is no problem; a warning is none. Otherwise with the first that applies:
   78  the configuration cannot be understood
   77  there is no login, or the server refuses it
   74  the state folder cannot be used, or another registrar is at work on the data
    1  something else, such as a name that Alyx does not know, or a folder in which no flag could be removed
   69  the server cannot be reached, and nothing else is wrong";

/// `check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Ask nothing of the server
    #[arg(long)]
    pub offline: bool,

    /// Look only at what is quick and on this computer, and end with 0 whatever is found
    ///
    /// For ExecStartPre=: the lines stand in the journal, and the start is neither held up nor prevented, neither by a
    /// server that is away nor by a disk that is not mounted yet. What keeps the daemon from running it says itself.
    #[arg(long)]
    pub before_start: bool,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}
