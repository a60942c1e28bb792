//! The arguments of `reclaim`.

use std::time::Duration;

use clap::Args;

use crate::cli::args::scope::ScopeArgs;
use crate::config::parse_duration;

const RECLAIM_HELP: &str = "\
Examples:
  alyx-registrar reclaim --older-than 14d --copies 2
  alyx-registrar reclaim --older-than 14d --copies 2 -0 | xargs -0 rm --
  alyx-registrar reclaim --older-than 90d KS014 --json

Prints the files of sessions whose every file is what Alyx holds, and has been read with equal MD5 in that many other
repositories; what was not read within --verified-within is read now. Deletes nothing. Two copies are recommended.
docs/verify.md explains what keeps a session.
Exits with 0, or 1 if a session could not be looked at, 69 no connection, 77 login refused.";

/// `reclaim`: lists the files that have enough verified copies elsewhere.
#[derive(Args, Clone, Debug)]
#[command(after_help = RECLAIM_HELP)]
pub struct ReclaimArgs {
    /// Which sessions.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Only sessions of this time before today, or earlier, such as 14d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub older_than: Duration,

    /// In how many other repositories each file must have a verified copy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub copies: u8,

    /// Count only copies that were read within this time; others are read again
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30d")]
    pub verified_within: Duration,

    /// End each path with a null byte instead of a line break, for xargs -0
    #[arg(short = '0', long, conflicts_with = "json")]
    pub null: bool,

    /// Print one JSON object per session on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}
