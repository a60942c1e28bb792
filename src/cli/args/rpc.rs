//! The arguments of `rpc`.

use clap::Args;

use crate::cli::args::connection::ConnectionArgs;

const RPC_HELP: &str = "\
Examples:
  alyx-registrar rpc --config /etc/alyx-registrar/config.yaml
  echo '{\"id\": 1, \"method\": \"exists\", \"params\": {\"endpoint\": \"labs\"}}' | alyx-registrar rpc

Reads one request a line and prints one answer a line, until its input ends. The first request may be `connect`.
docs/rpc.md describes the requests.";

/// `rpc`: answers requests on standard input.
#[derive(Args, Clone, Debug)]
#[command(after_help = RPC_HELP)]
pub struct RpcArgs {
    /// The connection, unless a request names another.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
