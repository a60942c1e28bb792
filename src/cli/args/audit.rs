//! The arguments of `audit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::config::ConfigArgs;
use crate::config::parse_duration;

const AUDIT_HELP: &str = "\
Examples:
  alyx-registrar audit
  alyx-registrar audit KS014 --since 30d
  alyx-registrar audit /data/cortexlab/Subjects/KS014/2024-05-01/001 --json

Without arguments, all sessions of the subjects in the data roots are compared: path, size and file record of each
dataset. No file is read, and nothing is changed. docs/verify.md explains each finding.
Exits with 0 if nothing differs, 1 if something does or could not be compared, 69 no connection, 77 login refused.";

/// `audit`: compares Alyx with the disk.
#[derive(Args, Clone, Debug)]
#[command(after_help = AUDIT_HELP)]
pub struct AuditArgs {
    /// Folder in a data root, subject, or session (eid, or subject/date/number) [default: everything]
    #[arg(value_name = "FOLDER|SUBJECT|EID")]
    pub targets: Vec<String>,

    /// Configuration file [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE", env = "ALYX_REGISTRAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder with sessions, instead of the configured data_roots; repeat, or separate with commas
    #[arg(long = "data-root", value_name = "DIR", alias = "data-roots")]
    pub data_roots: Vec<PathBuf>,

    /// Only sessions of this time before today, such as 30d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,

    /// Continue an interrupted audit
    #[arg(long)]
    pub resume: bool,

    /// Put a flag into each session that registering would complete, after a question
    #[arg(long)]
    pub flag: bool,

    /// With --flag: ask nothing
    #[arg(long, requires = "flag")]
    pub yes: bool,

    /// Print one JSON object per difference on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}

impl AuditArgs {
    /// Where the configuration is, and what overrides it.
    pub fn config(&self) -> ConfigArgs {
        let (config, data_roots) = (self.config.clone(), self.data_roots.clone());
        ConfigArgs { config, data_roots, ..ConfigArgs::default() }
    }
}
