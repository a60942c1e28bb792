//! What `status`, `history`, `retry` and `forget` have in common: where the state folder is, which session is meant,
//! and how times are shown.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::args::StateArgs;
use super::complain;
use super::exit::Exit;
use crate::config::{Config, Environment, Overrides};
use crate::daemon::worker::session_name;

/// Where the state is, and the configuration if it was needed to find out.
pub(super) struct State {
    pub(super) folder: PathBuf,
    pub(super) config: Option<Config>,
}

impl State {
    /// A folder that was typed needs no configuration.
    pub(super) fn find(args: &StateArgs) -> Result<Self, Exit> {
        if let Some(folder) = &args.state_dir {
            return Ok(Self { folder: folder.clone(), config: None });
        }
        let path = args.config.as_deref().unwrap_or(Path::new(crate::config::DEFAULT_PATH));
        let config = Config::load_with(path, &Overrides::default(), &Environment::from_process());
        let config = config.map_err(|errors| {
            eprintln!("{errors}");
            Exit::Config
        })?;
        Ok(Self { folder: config.state_dir.clone(), config: Some(config) })
    }

    /// The zone in which times are shown.
    pub(super) fn zone(&self) -> TimeZone {
        let configured = self.config.as_ref().and_then(|config| config.timezone.clone());
        configured.unwrap_or_else(TimeZone::system)
    }
}

/// Runs what blocks; a fault in it is an error for a person.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Exit> {
    let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
    outcome.map_err(|error| {
        complain(error);
        Exit::Io
    })
}

/// The name by which a session is known, from what was typed: `subject/date/number` or its folder.
pub(super) fn session_typed(typed: &Path) -> String {
    let whole = std::path::absolute(typed).unwrap_or_else(|_| typed.to_owned());
    match crate::alf::SessionPath::parse(typed) {
        Ok(session) => session.to_string(),
        Err(_) => session_name(&whole),
    }
}

/// A length of time with its two largest units.
pub(super) fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// How long ago.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    length(now.duration_since(then))
}

/// How long until then.
pub(super) fn until(then: Timestamp, now: Timestamp) -> String {
    if then <= now { "now".to_owned() } else { format!("in {}", length(then.duration_since(now))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_name_or_its_folder() {
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

    #[test]
    fn times_are_shown_with_two_units() {
        let told = |seconds| length(SignedDuration::from_secs(seconds));
        assert_eq!([told(-5), told(59), told(61), told(7500)], ["0 s", "59 s", "1 min", "2 h 5 min"]);
        assert_eq!(told(3 * 86_400 + 4000), "3 d 1 h");
    }
}
