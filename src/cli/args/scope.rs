//! The arguments of commands that look at registered sessions: which, and where the configuration is.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::config::ConfigArgs;

/// Which sessions are looked at. Shared by `audit`, `verify`, `follow` and `reclaim`.
#[derive(Args, Clone, Debug)]
pub struct ScopeArgs {
    /// Folder in a data root, subject, or session (eid, or subject/date/number) [default: everything]
    #[arg(value_name = "FOLDER|SUBJECT|EID")]
    pub targets: Vec<String>,

    /// Configuration file [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE", env = "ALYX_REGISTRAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder with sessions, instead of the configured data_roots; repeat, or separate with commas
    #[arg(long = "data-root", value_name = "DIR", alias = "data-roots")]
    pub data_roots: Vec<PathBuf>,
}

impl ScopeArgs {
    /// Where the configuration is, and what overrides it.
    pub fn config(&self) -> ConfigArgs {
        let (config, data_roots) = (self.config.clone(), self.data_roots.clone());
        ConfigArgs { config, data_roots, ..ConfigArgs::default() }
    }
}
