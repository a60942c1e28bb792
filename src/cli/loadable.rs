//! Whether ONE loads what a command has registered: Alyx is asked once, at the end, and the log says what the daemon says.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::time::Instant;

use crate::config::Config;
use crate::daemon::run_loop::loadability::Loadability;
use alf::SessionPath;
use alyx_registration::{Placement, RegistrationClient};

/// A session, its lab if it is known, and where its files are.
pub(super) type Place = (SessionPath, Option<String>, Placement);

/// The place of a session; `lab`: that of its record.
pub(super) fn place_of(session: &SessionPath, lab: Option<String>, placement: Placement) -> Place {
    (session.clone(), session.lab().map(str::to_owned).or(lab), placement)
}

/// Logs why ONE does not load the files of these sessions. Without a configuration nothing says that they are to be loaded
/// from anywhere, and Alyx is asked only about a repository that is named.
pub(super) async fn report(client: &RegistrationClient, config: Option<&Config>, places: Vec<Place>) {
    let placements = places.iter().map(|(_, _, placement)| placement);
    let known = match config {
        Some(_) => Loadability::of_placements(placements),
        None => Loadability::default(),
    };
    ask(client, known, places).await;
}

/// Logs what Alyx adds to what is known already.
pub(super) async fn ask(client: &RegistrationClient, mut known: Loadability, places: Vec<Place>) {
    let now = Instant::now();
    for (session, lab, placement) in places {
        known.registered(&session, (lab, placement), now);
    }
    let Some(places) = known.take_due(now) else { return };
    let found = client.why_not_loadable(&places).await;
    // The sessions are registered, whatever else can be found out about them.
    let found =
        found.inspect_err(|error| tracing::debug!("whether ONE loads the files is not known: {error}"));
    known.on_answer(found.ok(), now);
}
