//! The arguments of `propose`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::connection::VerbArgs;

const PROPOSE_HELP: &str = "\
Examples:
  alyx-registrar propose /data
  alyx-registrar propose /data --repository lab_server --data-url https://data.example.org/mylab/Subjects/
  ALYX_PASSWORD=$(pass alyx) alyx-registrar propose /data --url https://alyx.example.org --user admin --apply

Lists the files of the sessions, and reads only those that describe them. Subjects, users, locations and procedures
are created on Alyx's admin pages. Exits with 0 if Alyx lacks nothing, with 1 if it lacks something, or a record was
not created.";

/// `propose`: what Alyx lacks to register sessions.
#[derive(Args, Clone, Debug)]
#[command(after_help = PROPOSE_HELP)]
pub struct ProposeArgs {
    /// Data root, folder of a subject, or session
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Lab of sessions whose path does not name one
    #[arg(long, value_name = "NAME")]
    pub lab: Option<String>,

    /// Data repository that holds the files
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,

    /// Address of the files in the repository, if it is new or has none; ends with LAB/Subjects/
    #[arg(long, value_name = "URL")]
    pub data_url: Option<String>,

    /// Location of the rig
    #[arg(long, value_name = "NAME")]
    pub location: Option<String>,

    /// Project; repeat, or separate with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "project")]
    pub projects: Vec<String>,

    /// Experimenter, an Alyx user; repeat, or separate with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub users: Vec<String>,

    /// Print the REST requests, as curl commands
    #[arg(long, conflicts_with_all = ["apply", "json"])]
    pub rest: bool,

    /// Create what REST can create, after a question for each record; log in as a user who may write
    #[arg(long)]
    pub apply: bool,

    /// With --apply: ask nothing
    #[arg(long, requires = "apply")]
    pub yes: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}
