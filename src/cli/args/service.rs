//! `run` and `scan`.

use clap::Args;

use crate::cli::args::config::ConfigArgs;

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
