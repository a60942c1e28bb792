//! Setting a rig up, as it is typed.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::config::ConfigArgs;

const CHECK_HELP: &str = "\
Examples:
  sudo -u alyx-registrar alyx-registrar check
  alyx-registrar check --config new.yaml --offline
  ExecStartPre=-/usr/bin/alyx-registrar check --before-start        (in a unit)

Run it as the user of the service: it sees what that user may do. It writes nothing, neither on disk nor on Alyx.
Ends with 0 where there is no problem (a warning is none), else with the first of these: 78 the configuration; 77 the
login; 74 the state folder, or another registrar at work; 1 all else; 69 the server is away, and nothing else.";

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

    /// Look at what is quick and on this computer; end with 0 whatever is found, so that the daemon starts
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

    /// File for the password [default: a file named password next to the configuration]
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
