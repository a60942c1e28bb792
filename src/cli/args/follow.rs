//! The arguments of `follow`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::config::ConfigArgs;

const FOLLOW_HELP: &str = "\
Examples:
  alyx-registrar follow
  alyx-registrar follow KS014
  alyx-registrar follow /data/cortexlab/Subjects/KS014/2024-05-01/001 --json

Looks once into the folders of repositories for files whose file records say that they do not exist there. A copy that is
complete, and whose MD5 is the one on Alyx, exists from then on; nothing else is changed. The daemon does the same all the time.
docs/verify.md explains what is reported.
Exits with 0 if all copies are there, 1 if some are missing or differ, 69 no connection, 77 login refused.";

/// `follow`: looks for copies in other repositories.
#[derive(Args, Clone, Debug)]
#[command(after_help = FOLLOW_HELP)]
pub struct FollowArgs {
    /// Folder in a data root, subject, or session (eid, or subject/date/number) [default: everything]
    #[arg(value_name = "FOLDER|SUBJECT|EID")]
    pub targets: Vec<String>,

    /// Configuration file [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE", env = "ALYX_REGISTRAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder with sessions, instead of the configured data_roots; repeat, or separate with commas
    #[arg(long = "data-root", value_name = "DIR", alias = "data-roots")]
    pub data_roots: Vec<PathBuf>,

    /// Print one JSON object per copy on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}

impl FollowArgs {
    /// Where the configuration is, and what overrides it.
    pub fn config(&self) -> ConfigArgs {
        let (config, data_roots) = (self.config.clone(), self.data_roots.clone());
        ConfigArgs { config, data_roots, ..ConfigArgs::default() }
    }
}
