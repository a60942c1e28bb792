//! The arguments of the commands about files.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::connection::VerbArgs;
use crate::cli::args::values::{protected, qc};
use alyx_registration::{ProtectedPolicy, RegisterFilesOptions, Relation, Versions};

const REGISTER_FILES_HELP: &str = "\
Examples:
  alyx-registrar register-files 001/alf/spikes.times.npy 001/alf/spikes.clusters.npy --versions 1.2.0
  alyx-registrar register-files 001/alf/*.npy --dry-run --json

The sessions must be on Alyx. Exits with 1 if a file was not registered.";

/// `register-files`: files of sessions, or of another object on Alyx.
#[derive(Args, Clone, Debug)]
#[command(after_help = REGISTER_FILES_HELP)]
pub struct RegisterFilesArgs {
    /// Files, of one session or several
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Version tag; repeat, or separate with commas: the files get them in turn
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub versions: Vec<String>,

    /// Do not make the files the default revision
    #[arg(long)]
    pub no_default: bool,

    /// User who registers [default: the logged-in user]
    #[arg(long = "by", value_name = "NAME", visible_alias = "created-by")]
    pub created_by: Option<String>,

    /// The files are on the server only, not in a repository of the lab
    #[arg(long)]
    pub server_only: bool,

    /// Repository that holds the files [default: those of the lab]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,

    /// The files are not in the repository yet
    #[arg(long)]
    pub no_exists: bool,

    /// Files of this size or larger get no checksum, such as 4GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_md5_size: Option<u64>,

    /// Lab of the files; repeat, or separate with commas [default: the one in the path]
    #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "lab")]
    pub labs: Vec<String>,

    /// QC outcome: CRITICAL, FAIL, WARNING, NOT_SET or PASS
    #[arg(long, value_parser = qc(), ignore_case = true, hide_possible_values = true)]
    pub qc: Option<String>,

    /// The owner of the files.
    #[command(flatten)]
    pub relation: RelationArgs,

    /// What to do with changed files of protected datasets: refuse, or revise to move them into a revision folder
    #[arg(long, value_parser = protected(), value_name = "WHAT", default_value = "refuse", hide_possible_values = true)]
    pub protected: ProtectedPolicy,

    /// Also post files that are already registered
    #[arg(long)]
    pub force: bool,

    /// Show what would be sent; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

/// The owner of files outside a session.
#[derive(Args, Clone, Debug, Default)]
pub struct RelationArgs {
    /// Model that files outside a session belong to, such as subject
    #[arg(long, value_name = "MODEL", requires = "object_id")]
    pub content_type: Option<String>,

    /// UUID of the object
    #[arg(long, value_name = "UUID", requires = "content_type")]
    pub object_id: Option<uuid::Uuid>,
}

impl RelationArgs {
    /// Whether the files belong to a session.
    pub fn is_none(&self) -> bool {
        self.content_type.is_none()
    }

    fn relation(&self) -> Option<Relation> {
        let (content_type, object_id) = (self.content_type.clone()?, self.object_id?.to_string());
        Some(Relation { content_type, object_id })
    }
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::parse_size(text).ok_or_else(|| "this is not a size (examples: 4GiB, 500MB, 0)".to_owned())
}

impl RegisterFilesArgs {
    /// These options with those of the command line before them. Whether protected files move, and what is posted again, the
    /// command line alone says.
    pub fn over(&self, options: RegisterFilesOptions) -> RegisterFilesOptions {
        RegisterFilesOptions {
            versions: match self.versions.as_slice() {
                [] => options.versions,
                typed => Versions::of_list(typed.to_vec()),
            },
            default: options.default && !self.no_default,
            created_by: self.created_by.clone().or(options.created_by),
            server_only: options.server_only || self.server_only,
            repository: self.repository.clone().or(options.repository),
            exists: options.exists && !self.no_exists,
            max_md5_size: self.max_md5_size.or(options.max_md5_size),
            labs: (!self.labs.is_empty()).then(|| self.labs.join(",")).or(options.labs),
            qc: self.qc.as_ref().map(|qc| qc.to_uppercase()).or(options.qc),
            relation: self.relation.relation(),
            protected: self.protected,
            force: self.force,
        }
    }

    /// The versions of some of the files, by their index among all: those of the command line are given to all in turn.
    pub fn versions_of(&self, indexes: &[usize]) -> Option<Versions> {
        let of = |index: &usize| self.versions.get(index.checked_rem(self.versions.len())?).cloned();
        (self.versions.len() > 1).then(|| Versions::of_list(indexes.iter().filter_map(of).collect()))
    }
}

const FIND_FILES_HELP: &str = "\
Examples:
  alyx-registrar find-files /data/cortexlab/Subjects/KS014/2024-05-01/001

Exits with 1 if a dataset cannot be registered, or a file that describes the session is broken.";

/// `find-files`: the datasets of a session folder, why other files are left out, and what is known of the session.
#[derive(Args, Clone, Debug)]
#[command(after_help = FIND_FILES_HELP)]
pub struct FindFilesArgs {
    /// Session folder
    pub folder: PathBuf,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

const CHECK_PROTECTED_HELP: &str = "\
Examples:
  alyx-registrar check-protected /data/cortexlab/Subjects/KS014/2024-05-01/001/alf/*.npy

Exits with 1 if a file is protected or is not a dataset.";

/// `check-protected`: whether files are protected on Alyx.
#[derive(Args, Clone, Debug)]
#[command(after_help = CHECK_PROTECTED_HELP)]
pub struct CheckProtectedArgs {
    /// Files, of one session or several
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// User to check for [default: the logged-in user]
    #[arg(long = "by", value_name = "NAME", visible_alias = "created-by")]
    pub created_by: Option<String>,

    /// The owner of the files.
    #[command(flatten)]
    pub relation: RelationArgs,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

impl CheckProtectedArgs {
    /// The arguments as the library's options.
    pub fn options(&self) -> RegisterFilesOptions {
        RegisterFilesOptions {
            created_by: self.created_by.clone(),
            relation: self.relation.relation(),
            ..RegisterFilesOptions::default()
        }
    }
}
