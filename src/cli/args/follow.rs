//! The arguments of `follow`.

use clap::Args;

use crate::cli::args::scope::ScopeArgs;

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
    /// Which sessions.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Print one JSON object per copy on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}
