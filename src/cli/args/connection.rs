//! The options of every one-shot command that connects to Alyx: output format, address, login.

use std::path::PathBuf;

use clap::Args;

/// The address of Alyx and the login. There is no option for a secret, because the process list would show it.
///
/// The first of these sources applies, and no other:
///
/// 1. the arguments: `--config`, or any of `--url`, `--user` and `--one-settings`;
/// 2. the configuration that `ALYX_REGISTRAR_CONFIG` names;
/// 3. `/etc/alyx-registrar/config.yaml`;
/// 4. the default database of the ONE settings in `~/.one`.
///
/// With `--url` the secret is that of `--one-settings` if given, or else `ALYX_TOKEN` or `ALYX_PASSWORD`, or else that
/// of the ONE settings in `~/.one`. Without `--url`, address and secret are those of the ONE settings.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Configuration file with the server, login and limits
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "user", "one_settings"])]
    pub config: Option<PathBuf>,

    /// Address of Alyx; the secret comes from ALYX_PASSWORD, ALYX_TOKEN or ~/.one
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Alyx user who logs in
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Folder of a rig's ONE settings, read only [default: ~/.one]
    #[arg(long, value_name = "DIR")]
    pub one_settings: Option<PathBuf>,
}

/// The options that one-shot commands share.
#[derive(Args, Clone, Debug, Default)]
pub struct VerbArgs {
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,

    /// The connection.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
