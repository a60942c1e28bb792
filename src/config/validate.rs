//! From the document as typed to the configuration as meant.

use std::path::Path;

use super::{Config, ConfigErrors, Environment, Overrides, SandboxSetup};

pub(super) fn config(
    _text: &str,
    _file: &Path,
    _overrides: &Overrides,
    _environment: &Environment,
) -> Result<Config, ConfigErrors> {
    todo!()
}

pub(super) fn sandbox(_setup: &SandboxSetup) -> Result<Config, ConfigErrors> {
    todo!()
}
