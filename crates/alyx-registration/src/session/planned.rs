//! A planned session: what `register_session` would send to Alyx.

use std::path::Path;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::metadata::known::{KnownSession, with_sources};
use crate::session::details::SessionDetails;
use crate::session::names;
use crate::session::register::SessionSources;
use alf::SessionPath;
use alyx_client::SessionRequest;
use session_metadata::update::Difference;

/// What [`RegistrationClient::register_session`] would do with the session itself.
#[derive(Debug, Clone)]
pub struct PlannedSession {
    /// The session.
    pub session: SessionPath,
    /// Its eid if it is on Alyx; the request would then change it.
    pub eid: Option<String>,
    /// What would be sent. Empty if nothing would be changed.
    pub request: SessionRequest,
    /// Where Alyx holds another value than is known here, which is kept.
    pub differences: Vec<Difference>,
    /// The weight and water that would be recorded, one line each.
    pub measurements: Vec<String>,
    /// What is known of the session; `None` if no metadata is read.
    pub known: Option<KnownSession>,
}

impl RegistrationClient {
    /// What [`RegistrationClient::register_session`] would do with the session itself. Asks Alyx, but changes nothing.
    /// The `json` of the request contains the additions, not yet merged.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::SessionDetails;
    ///
    /// let details = SessionDetails { projects: vec!["practice".into()], ..Default::default() };
    /// let planned = client.plan_session(&root.join("KS014/2024-05-01/001"), &details).await?;
    /// assert_eq!((planned.eid, planned.request.lab.as_deref()), (None, Some("cortexlab")));
    /// assert!(sandbox.control().sessions().is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`RegistrationClient::register_session`] up to the first change.
    pub async fn plan_session(
        &self,
        folder: &Path,
        details: &SessionDetails,
    ) -> Result<PlannedSession, Error> {
        let session = SessionPath::parse(folder)?;
        let change = details.request(&session, &self.options().zone)?;
        let (known, defaults) = self.known_by_name(&session, details, false).await?;
        let sources = SessionSources { details, defaults: &defaults, known: known.as_ref() };
        let known = sources.known;
        self.check_day(&session, known)?;
        self.creation_of(&session, &sources).await?;
        self.check_measurements(known).await?;
        let found = self.find_session(&session, details.lab.as_deref().or(session.lab())).await?;
        let mut differences = Vec::new();
        let request = match (&found, known.filter(|known| known.adds_values())) {
            (Some(found), Some(known)) => {
                let planned = self.plan_fill(&session, found.eid(), known, &change).await?;
                differences.clone_from(&planned.plan.differences);
                planned.additions()
            }
            (Some(found), None) => {
                self.whole_change(&session, found.eid(), change.clone()).await?;
                change
            }
            (None, _) => self.whole_creation(&session, &sources).await?,
        };
        let repository = known.and_then(KnownSession::repository_name);
        let names = names::mentioned(&request).into_iter().chain(repository).collect();
        let asked = self.check_names(names).await;
        asked.map_err(|error| with_sources(known, error))?;
        let eid = found.map(|summary| summary.eid().to_owned());
        let measurements = self.planned_measurements(known, eid.as_deref()).await?;
        Ok(PlannedSession { session, eid, measurements, request, differences, known: known.cloned() })
    }
}
