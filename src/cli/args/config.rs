//! The options for the configuration and the state folder, shared by several commands.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{LogFormat, LogLevel, Overrides};

/// Where the configuration is, and what overrides it. Shared by `run`, `check` and `scan`.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE", env = "ALYX_REGISTRAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder with sessions, instead of the configured data_roots; repeat, or separate with commas
    #[arg(long = "data-root", value_name = "DIR", alias = "data-roots")]
    pub data_roots: Vec<PathBuf>,

    /// Log level, instead of log.level
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Log format, instead of log.format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl ConfigArgs {
    /// The named file, or else the default path.
    pub fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(crate::config::DEFAULT_PATH))
    }

    /// The arguments that override the file. Paths are made absolute with `working_folder`.
    pub fn overrides(&self, working_folder: &Path) -> Overrides {
        Overrides {
            data_roots: paths(&self.data_roots).iter().map(|typed| absolute(typed, working_folder)).collect(),
            log_level: self.log_level,
            log_format: self.log_format,
            ..Overrides::default()
        }
    }
}

/// The paths of an option that is repeated or has commas. A path that exists with its comma is one.
pub(in crate::cli) fn paths(typed: &[PathBuf]) -> Vec<PathBuf> {
    let split = |path: &PathBuf| match path.to_str() {
        Some(text) if text.contains(',') && !path.exists() => text.split(',').map(PathBuf::from).collect(),
        _ => vec![path.clone()],
    };
    typed.iter().flat_map(split).collect()
}

/// Makes a path absolute. `..` is resolved on disk if the folder exists, so that a link means the same as to `cd`.
pub(in crate::cli) fn absolute(typed: &Path, working_folder: &Path) -> PathBuf {
    let joined = working_folder.join(typed);
    let plain = |path: &Path| path.components().all(|part| part != std::path::Component::ParentDir);
    if plain(&joined) { joined } else { std::fs::canonicalize(&joined).unwrap_or(joined) }
}

/// Where the state folder is. Shared by `status`, `history`, `retry` and `forget`.
#[derive(Args, Clone, Debug, Default)]
pub struct StateArgs {
    /// Configuration file [default: /etc/alyx-registrar/config.yaml]
    #[arg(long, value_name = "FILE", env = "ALYX_REGISTRAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// State folder, instead of the configured one; no configuration is read
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}
