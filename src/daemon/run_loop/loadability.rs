//! Loadability: why ONE does not load what this daemon registers, as far as it is known. Pure, but for the log.
//!
//! The options alone may say it, from the start. The rest is asked of Alyx when a session was registered in a place that
//! is not known yet, and again from time to time while there is something to report.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::daemon::options::Options;
use alf::SessionPath;
use alyx_registration::{NotLoadable, Placement};

/// How soon Alyx is asked again while there is something to report.
const ASK_AGAIN: Duration = Duration::from_secs(3600);

/// A lab, if it is known, and where its files are.
pub(crate) type Place = (Option<String>, Placement);

/// What is known, and when to ask Alyx again.
#[derive(Debug, Default)]
pub(crate) struct Loadability {
    places: BTreeSet<Place>,
    of_options: Vec<NotLoadable>,
    of_alyx: Vec<NotLoadable>,
    /// What the first session says that ONE does not load for its folder's name.
    of_session: Option<NotLoadable>,
    ask_at: Option<Instant>,
}

impl Loadability {
    /// What the options say; logs it.
    pub(crate) fn of(options: &Options) -> Self {
        let placements = options.flagged.placements(options.roots.iter().map(|root| root.path.as_path()));
        Self::of_placements(&placements)
    }

    /// As [`of`](Self::of), of the placements that the options say.
    pub(crate) fn of_placements<'a>(placements: impl IntoIterator<Item = &'a Placement>) -> Self {
        let of_options = NotLoadable::of_placements(placements);
        log(&of_options);
        Self { of_options, ..Self::default() }
    }

    /// Files of a session were registered. Alyx has nothing to add where they are nowhere.
    pub(crate) fn registered(&mut self, session: &SessionPath, place: Place, now: Instant) {
        if self.of_session.is_none() {
            self.of_session = NotLoadable::of_session(session, &place.1);
            log(self.of_session.as_slice());
        }
        if !place.1.is_nowhere() && self.places.insert(place) {
            self.ask_at = Some(now);
        }
    }

    /// When to ask Alyx.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.ask_at
    }

    /// The places to ask Alyx about, if that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Vec<Place>> {
        self.ask_at.take_if(|at| *at <= now).map(|_| self.places.iter().cloned().collect())
    }

    /// Alyx has answered, or not (`None`). Logs what is new.
    pub(crate) fn on_answer(&mut self, found: Option<Vec<NotLoadable>>, now: Instant) {
        let again = found.as_ref().is_none_or(|found| !found.is_empty());
        if let Some(mut found) = found {
            found.retain(|reason| !self.of_options.iter().any(|known| known.kind() == reason.kind()));
            let is_new = |reason: &&NotLoadable| !self.of_alyx.contains(reason);
            log(&found.iter().filter(is_new).cloned().collect::<Vec<_>>());
            self.of_alyx = found;
        }
        if again && self.ask_at.is_none() {
            self.ask_at = Some(now + ASK_AGAIN);
        }
    }

    /// Everything that is known.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &NotLoadable> {
        self.of_options.iter().chain(&self.of_alyx).chain(&self.of_session)
    }
}

fn log(reasons: &[NotLoadable]) {
    for reason in reasons {
        tracing::warn!("{reason}; {}", reason.advice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::watch::{RootOptions, WatchMode};

    fn options(repository: Option<&str>, exists: bool) -> Options {
        let mut options = Options::default();
        options.flagged.register_files = true;
        options.flagged.files.repository = repository.map(str::to_owned);
        options.flagged.files.exists = exists;
        let root = RootOptions { path: "/data".into(), mode: WatchMode::Auto, require_marker: None };
        options.roots.push(root);
        options
    }

    fn session(number: &str) -> SessionPath {
        let folder = format!("/data/lab/Subjects/KS014/2024-05-01/{number}");
        SessionPath::parse(folder.as_ref()).unwrap()
    }

    #[test]
    fn the_first_session_folder_without_three_digits_is_reported_once() {
        let (now, options) = (Instant::now(), options(Some("server"), true));
        let mut loadability = Loadability::of(&options);
        let place = (None, options.flagged.placement_in("/data".as_ref()));
        for number in ["001", "1", "2"] {
            loadability.registered(&session(number), place.clone(), now);
        }
        assert_eq!(kinds(&loadability), ["short_number"]);
        assert!(loadability.reasons().next().unwrap().to_string().contains("2024-05-01/1:"));
    }

    fn kinds(loadability: &Loadability) -> Vec<&'static str> {
        loadability.reasons().map(NotLoadable::kind).collect()
    }

    #[test]
    fn what_the_options_say_is_known_without_alyx() {
        assert_eq!(kinds(&Loadability::of(&options(None, true))), ["no_repository"]);
        assert_eq!(kinds(&Loadability::of(&options(Some("server"), false))), ["until_copied"]);
        assert!(kinds(&Loadability::of(&options(Some("server"), true))).is_empty());
    }

    #[test]
    fn alyx_is_asked_once_a_place_and_again_while_there_is_something_to_report() {
        let (now, options) = (Instant::now(), options(Some("server"), true));
        let mut loadability = Loadability::of(&options);
        let place = (Some("lab".to_owned()), options.flagged.placement_in("/data".as_ref()));
        loadability.registered(&session("001"), place.clone(), now);
        assert_eq!(loadability.take_due(now), Some(vec![place.clone()]));
        let unlinked = NotLoadable::NotLinked { repository: "server".into(), lab: "lab".into() };
        loadability.on_answer(Some(vec![unlinked]), now);
        loadability.registered(&session("001"), place, now);
        assert_eq!(loadability.take_due(now), None);
        assert_eq!(kinds(&loadability), ["not_linked"]);
        assert!(loadability.take_due(now + ASK_AGAIN).is_some());
        loadability.on_answer(None, now + ASK_AGAIN);
        assert_eq!(kinds(&loadability), ["not_linked"]);
        assert!(loadability.take_due(now + 2 * ASK_AGAIN).is_some());
        loadability.on_answer(Some(Vec::new()), now + 2 * ASK_AGAIN);
        assert!(kinds(&loadability).is_empty() && loadability.next_wake().is_none());
    }

    #[test]
    fn without_a_repository_alyx_is_not_asked() {
        let (now, options) = (Instant::now(), options(None, true));
        let mut loadability = Loadability::of(&options);
        let place = (None, options.flagged.placement_in("/data".as_ref()));
        loadability.registered(&session("001"), place, now);
        assert_eq!(loadability.take_due(now), None);
    }
}
