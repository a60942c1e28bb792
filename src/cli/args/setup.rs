//! The arguments of `check` and `init`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::config::ConfigArgs;

const CHECK_HELP: &str = "\
Examples:
  sudo -u alyx-registrar alyx-registrar check
  alyx-registrar check --config new.yaml --offline
  ExecStartPre=-/usr/bin/alyx-registrar check --before-start        (in a unit)

Run it as the service user: it checks what that user may do. It writes nothing, neither on disk nor on Alyx.
Exits with 0 if there are no problems (warnings do not count), or else with the first of these: 78 the configuration;
77 the login; 74 the state folder, or another running registrar; 1 any other problem; 69 only the server is down.";

/// `check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Do not contact the server
    #[arg(long)]
    pub offline: bool,

    /// Check only this computer, and quickly; always exit with 0, so that the daemon starts
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

On a terminal it asks for missing options, and offers the values of a rig's ONE settings and of Alyx. There is no option
for a secret. Nothing is overwritten without --force. At the end it runs check. Exits with 0 if the configuration is
written, with 69 if it is written but Alyx could not be asked (not with --offline), with 2 if an answer is invalid,
missing or not on Alyx, with 77 if Alyx refuses the login, with 74 if a file exists already or cannot be written.";

/// `init`.
#[derive(Args, Clone, Debug)]
#[command(after_help = INIT_HELP)]
pub struct InitArgs {
    /// Configuration file to write [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder with sessions; repeat, or separate with commas
    #[arg(long = "data-root", value_name = "DIR", alias = "data-roots")]
    pub data_roots: Vec<PathBuf>,

    /// Address of Alyx [default: from the ONE settings, if any]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Alyx user who registers the sessions [default: from the ONE settings, if any]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// File for the password [default: a file named password next to the configuration]
    #[arg(long, value_name = "FILE", group = "secret")]
    pub password_file: Option<PathBuf>,

    /// File that holds a token, instead of a password
    #[arg(long, value_name = "FILE", group = "secret")]
    pub token_file: Option<PathBuf>,

    /// Log in with the ONE settings in this folder, such as /home/rig/.one
    #[arg(long, value_name = "DIR", group = "secret")]
    pub one_settings: Option<PathBuf>,

    /// Read the password from standard input and write it to its file, with mode 600
    #[arg(long, conflicts_with_all = ["token_file", "one_settings"])]
    pub password_stdin: bool,

    /// Lab of sessions whose path does not name one
    #[arg(long, value_name = "NAME")]
    pub lab: Option<String>,

    /// Name of the rig or room on Alyx
    #[arg(long, value_name = "NAME")]
    pub location: Option<String>,

    /// Project of the sessions; repeat, or separate with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "project")]
    pub projects: Vec<String>,

    /// Alyx data repository that the data roots are in; without one, ONE does not find the sessions
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,

    /// The data roots are not in the repository: other software copies the files there
    #[arg(long)]
    pub not_served: bool,

    /// Files that describe the sessions: sidecar, iblrig, spikeglx, open_ephys, or none; separate with commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub metadata_readers: Option<Vec<String>>,

    /// The data roots are on a lab server: sessions wait for every device that their experiment description declares
    #[arg(long)]
    pub all_devices: bool,

    /// Do not contact Alyx: its address, the login and the names are not checked
    #[arg(long)]
    pub offline: bool,

    /// Service user, who will own the password file
    #[arg(long, value_name = "NAME", default_value = "alyx-registrar")]
    pub service_user: String,

    /// Ask nothing: use the ONE settings, or the defaults, for missing options
    #[arg(long)]
    pub yes: bool,

    /// Replace an existing configuration and password file
    #[arg(long)]
    pub force: bool,
}
