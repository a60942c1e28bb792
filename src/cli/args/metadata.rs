//! The arguments of `metadata`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::connection::VerbArgs;

const METADATA_HELP: &str = "\
Examples:
  alyx-registrar metadata /data/cortexlab/Subjects/KS014/2024-05-01/001
  alyx-registrar metadata 001 --alyx --json

Exits with 1 if a file is broken or contradicts the folder, or a file is missing.";

/// `metadata`: what is known of a session.
#[derive(Args, Clone, Debug)]
#[command(after_help = METADATA_HELP)]
pub struct MetadataArgs {
    /// Session folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Also ask Alyx: show what would be sent, and where Alyx holds other values
    #[arg(long)]
    pub alyx: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}
