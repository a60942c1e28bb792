//! The arguments of `audit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::scope::ScopeArgs;
use crate::config::parse_duration;

const AUDIT_HELP: &str = "\
Examples:
  alyx-registrar audit
  alyx-registrar audit KS014 --since 30d
  alyx-registrar audit /data/cortexlab/Subjects/KS014/2024-05-01/001 --json
  alyx-registrar audit --sums /var/tmp/cortexlab.md5

Without arguments, all sessions of the subjects in the data roots are compared: path, size and file record of each
dataset. No file is read, and nothing is changed without --flag or --mark. docs/verify.md explains each finding.
Exits with 0 if nothing differs, 1 if something does or could not be compared, 69 no connection, 77 login refused.";

/// `audit`: compares Alyx with the disk.
#[derive(Args, Clone, Debug)]
#[command(after_help = AUDIT_HELP)]
pub struct AuditArgs {
    /// Which sessions.
    #[command(flatten)]
    pub scope: ScopeArgs,

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

    /// Say on Alyx which files are missing here (`exists: false`), if two audits, an hour apart, have missed them
    #[arg(long, conflicts_with = "resume")]
    pub mark: bool,

    /// With --mark: up to N files, not only 20 and 1 % of those compared
    #[arg(long, value_name = "N", requires = "mark", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub mark_many: Option<u64>,

    /// With --mark: the new file for --unmark [default: marks-TIME.jsonl in the state folder]
    #[arg(long, value_name = "FILE", requires = "mark")]
    pub undo_list: Option<PathBuf>,

    /// Undo the marks of an undo list, and compare nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "since", "resume", "flag", "mark", "sums"])]
    pub unmark: Option<PathBuf>,

    /// Write the MD5 sums that Alyx holds into a new FILE, for md5sum and rclone, and FILE.hashdeep, for hashdeep
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub sums: Option<PathBuf>,

    /// Print one JSON object per difference on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}
