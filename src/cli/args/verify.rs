//! The arguments of `verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::scope::ScopeArgs;
use crate::config::{parse_duration, parse_size};

const VERIFY_HELP: &str = "\
Examples:
  alyx-registrar verify KS014 --since 30d
  alyx-registrar verify --older-than 300d --time-limit 5h
  alyx-registrar verify /data/cortexlab/Subjects/KS014/2024-05-01/001 --json

Without arguments, all sessions of the subjects in the data roots are verified. What was verified longest ago comes
first, and the next run continues. Nothing is changed without --mark. docs/verify.md explains each finding.
Exits with 0 if nothing differs, 1 if something does or could not be read, 69 no connection, 77 login refused.";

/// `verify`: reads files and compares them with Alyx.
#[derive(Args, Clone, Debug)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// Which sessions.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Only sessions of this time before today, such as 30d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,

    /// Only files that were not verified within this time, or have changed since
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub older_than: Option<Duration>,

    /// Stop after this time, such as 5h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub time_limit: Option<Duration>,

    /// Stop after this many bytes, such as 2TB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub bytes: Option<u64>,

    /// Read at most this much a second, such as 200MB, instead of reading.max_rate
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub rate: Option<u64>,

    /// Say on Alyx which copies are missing (`exists: false`) or bad (`mismatch_hash`), if seen twice, an hour apart
    #[arg(long)]
    pub mark: bool,

    /// With --mark: up to N files, not only 20 and 1 % of those compared
    #[arg(long, value_name = "N", requires = "mark", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub mark_many: Option<u64>,

    /// With --mark: the new file for audit --unmark [default: marks-TIME.jsonl in the state folder]
    #[arg(long, value_name = "FILE", requires = "mark")]
    pub undo_list: Option<PathBuf>,

    /// Print one JSON object per difference on standard output, and one with the totals
    #[arg(long)]
    pub json: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text).filter(|size| *size > 0);
    size.ok_or_else(|| "not a size (examples: 500 GB, 2TB)".to_owned())
}

/// As in the configuration: with less, a thread would be asleep for seconds.
fn rate(text: &str) -> Result<u64, String> {
    let rate = size(text.trim_end_matches("/s"))?;
    if rate < 1_000_000 { Err("at least 1 MB is needed".to_owned()) } else { Ok(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_have_units() {
        assert_eq!((size("2TB"), rate("200 MB/s")), (Ok(2_000_000_000_000), Ok(200_000_000)));
        assert!(size("0").is_err() && size("much").is_err() && rate("1kB").is_err());
    }
}
