//! Setting a rig up, as it is typed.

use std::path::PathBuf;

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

const INIT_HELP: &str = "\
Examples:
  sudo alyx-registrar init
  sudo alyx-registrar init --yes --data-root /data --url https://alyx.example.org --user rig --password-stdin < FILE
  alyx-registrar init --config try.yaml --one-settings ~/.one --data-root ~/data

On a terminal it asks for what was not typed, and offers what it finds in a rig's ONE settings. A secret is never
typed on the command line. Nothing is overwritten without --force. Ends with 0 when the configuration is written, with
2 when an answer cannot be used or is missing, with 74 when a file is there already or cannot be written.";

/// `init`.
#[derive(Args, Clone, Debug)]
#[command(after_help = INIT_HELP)]
pub struct InitArgs {
    /// Where the configuration is written [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder with sessions; may be repeated
    #[arg(long = "data-root", value_name = "DIR")]
    pub data_roots: Vec<PathBuf>,

    /// Address of Alyx [default: that of the ONE settings, where there are any]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Alyx user who registers the sessions [default: that of the ONE settings, where there are any]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// File for the password [default: a file named password beside the configuration]
    #[arg(long, value_name = "FILE", group = "secret")]
    pub password_file: Option<PathBuf>,

    /// File that holds a token, in place of a password
    #[arg(long, value_name = "FILE", group = "secret")]
    pub token_file: Option<PathBuf>,

    /// Log in with what a rig's own ONE keeps in this folder, such as /home/rig/.one
    #[arg(long, value_name = "DIR", group = "secret")]
    pub one_settings: Option<PathBuf>,

    /// Read the password from standard input and write it to its file, with mode 600
    #[arg(long, conflicts_with_all = ["token_file", "one_settings"])]
    pub password_stdin: bool,

    /// Lab of sessions whose path does not name one
    #[arg(long, value_name = "NAME")]
    pub lab: Option<String>,

    /// Name of the rig or room, as Alyx has it
    #[arg(long, value_name = "NAME")]
    pub location: Option<String>,

    /// Project of the sessions; may be repeated
    #[arg(long = "project", value_name = "NAME")]
    pub projects: Vec<String>,

    /// Alyx data repository that holds the files
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,

    /// User of the service, who gets the password file
    #[arg(long, value_name = "NAME", default_value = "alyx-registrar")]
    pub service_user: String,

    /// Ask nothing: what is not typed is as ONE has it, or the default
    #[arg(long)]
    pub yes: bool,

    /// Replace a configuration, and a password, that are there
    #[arg(long)]
    pub force: bool,
}
