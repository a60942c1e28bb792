//! The arguments of `sandbox` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::{LogFormat, LogLevel};

const SANDBOX_HELP: &str = "\
Examples:
  alyx-registrar sandbox
  alyx-registrar sandbox --listen 127.0.0.1:9000 --db lab.sqlite

For practice only: every client that reaches the address may do anything. Ctrl-C stops it.";

/// `sandbox`: the embedded server alone.
#[derive(Args, Clone, Debug)]
#[command(after_help = SANDBOX_HELP)]
pub struct SandboxArgs {
    /// Address and port to listen on; port 0 chooses a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000", value_parser = address)]
    pub listen: SocketAddr,

    /// Keep the records in this SQLite file [default: in memory, lost at the end]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// YAML file with labs, users, subjects and dataset types, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,

    /// Start like a new Alyx, with only its dataset types, its data formats and the user admin
    #[arg(long, conflicts_with = "seed")]
    pub empty: bool,

    /// Print the built-in seed, as a template for your own, and exit
    #[arg(long)]
    pub print_seed: bool,

    /// Answer 429 to more than N requests per minute from one user [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub throttle: Option<u32>,

    /// Log level
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Log format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

const DEMO_HELP: &str = "\
Examples:
  alyx-registrar demo
  alyx-registrar demo --keep

Takes a few seconds and uses only a temporary folder on this computer.";

/// `demo`: an example from the flag to the confirmed files.
#[derive(Args, Clone, Debug)]
#[command(after_help = DEMO_HELP)]
pub struct DemoArgs {
    /// Keep the example folder, and say where it is
    #[arg(long)]
    pub keep: bool,
}

/// Parses an address with its port. The error for a port alone shows the full form.
fn address(typed: &str) -> Result<SocketAddr, String> {
    typed.parse().map_err(|_| {
        let port = typed.trim_start_matches(':').parse().unwrap_or(8000_u16);
        format!("write address and port, such as 127.0.0.1:{port}")
    })
}
