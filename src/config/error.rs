//! The errors of a configuration: file, line, key and a next step.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::DEFAULT_PATH;

/// One error, printed on one line: `file:line: key: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or `command line`.
    pub file: PathBuf,
    /// Counted from 1. Absent if there is no line, as for a missing key.
    pub line: Option<usize>,
    /// Path of the key, such as `alyx.timeouts.request` or `data_roots[1].path`. Empty for the whole file.
    pub key: String,
    /// What is wrong and what to write instead. Never contains a line break.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// What to do about a configuration file that does not exist.
pub fn missing_file_advice(path: &Path) -> String {
    if path == Path::new(DEFAULT_PATH) {
        "create it with `sudo alyx-registrar init`, or name another file with --config FILE".to_owned()
    } else {
        let path = path.display();
        format!("correct the path, or create the file with `alyx-registrar init --config {path}`")
    }
}

/// The errors of a configuration, in the order of the lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(first: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![first])
    }

    /// `None` if there are no errors.
    pub(super) fn collect(mut errors: Vec<ConfigError>) -> Option<ConfigErrors> {
        errors.sort_by_key(|e| e.line.unwrap_or(usize::MAX));
        (!errors.is_empty()).then_some(ConfigErrors(errors))
    }

    pub(super) fn unreadable(path: &Path, err: &std::io::Error) -> ConfigErrors {
        let advice = match err.kind() {
            std::io::ErrorKind::NotFound => {
                format!("does not exist; {}", missing_file_advice(path))
            }
            std::io::ErrorKind::PermissionDenied => {
                "this user may not read it; let the service user read it (chgrp alyx-registrar, chmod 640)"
                    .to_owned()
            }
            _ => format!("it cannot be read: {err}"),
        };
        ConfigErrors::new(ConfigError {
            file: path.to_owned(),
            line: None,
            key: String::new(),
            message: advice,
        })
    }

    pub(super) fn not_utf8(path: &Path, bytes: &[u8], valid_up_to: usize) -> ConfigErrors {
        let line = 1 + bytes.iter().take(valid_up_to).filter(|b| **b == b'\n').count();
        ConfigErrors::new(ConfigError {
            file: path.to_owned(),
            line: Some(line),
            key: String::new(),
            message: "this line is not UTF-8 text; save the file as UTF-8".to_owned(),
        })
    }

    /// The errors, in the order of the lines.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
