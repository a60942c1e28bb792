//! Shared by `status`, `history`, `retry` and `forget`: finds the state folder and the name of a session.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::cli::args::StateArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::config::{Config, Environment, Overrides};
use crate::daemon::run_loop::worker::session_name;
use crate::daemon::tree::lock::{LockFolders, state_in_use};

/// The state folder, and the configuration if it was read to find the folder.
pub(crate) struct State {
    pub(crate) folder: PathBuf,
    pub(crate) config: Option<Config>,
}

impl State {
    /// Reads no configuration if `--state-dir` is given.
    pub(crate) fn find(args: &StateArgs) -> Result<Self, Failure> {
        if let Some(folder) = &args.state_dir {
            if matches!(folder.try_exists(), Ok(false)) {
                let text =
                    format!("there is no state folder {folder:?}; name the state_dir of the configuration");
                return Err(Failure::new(Exit::Io, text));
            }
            return Ok(Self { folder: folder.clone(), config: None });
        }
        let path = args.config.as_deref().unwrap_or(Path::new(crate::config::DEFAULT_PATH));
        let config = Config::load_with(path, &Overrides::default(), &Environment::from_process());
        let config = config.map_err(|errors| Failure::of_config(&errors))?;
        Ok(Self { folder: config.state_dir.clone(), config: Some(config) })
    }

    /// The address of Alyx, if the configuration was read.
    pub(crate) fn alyx(&self) -> Option<String> {
        self.config.as_ref().map(|config| config.alyx.url.to_string())
    }

    /// The time zone of the output.
    pub(crate) fn zone(&self) -> TimeZone {
        let configured = self.config.as_ref().and_then(|config| config.timezone.clone());
        configured.unwrap_or_else(TimeZone::system)
    }
}

/// Who uses a state folder, if there is no socket in it by which to ask. Blocks.
pub(crate) fn without_socket(folder: &Path) -> Option<String> {
    let holder = state_in_use(folder, &LockFolders::existing(Some(folder)))?;
    Some(format!(
        "Another alyx-registrar ({holder}) uses the state folder {}, but has no socket there by which to ask it. A daemon \
         makes a new one within seconds, so run this again; if that does not help, look at its log. A `scan` has none",
        folder.display()
    ))
}

/// Runs blocking work, whose errors concern the state folder.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Failure> {
    let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
    outcome.map_err(|error| Failure::new(Exit::Io, error))
}

/// The name of a session in the ledger, from an argument: `subject/date/number` or its folder.
pub(crate) fn session_typed(typed: &Path) -> String {
    let absolute = std::path::absolute(typed).unwrap_or_else(|_| typed.to_owned());
    match alf::SessionPath::parse(typed) {
        Ok(session) => session.to_string(),
        Err(_) => session_name(&absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_given_by_its_name_or_its_folder() {
        assert_eq!(session_typed(Path::new("KS014/2024-05-01/001")), "KS014/2024-05-01/001");
        assert_eq!(
            session_typed(Path::new("/data/lab/Subjects/KS014/2024-05-01/001/")),
            "KS014/2024-05-01/001"
        );
        assert_eq!(
            session_typed(Path::new("/data/my mouse/2024-05-01/001")),
            "/data/my mouse/2024-05-01/001"
        );
    }
}
