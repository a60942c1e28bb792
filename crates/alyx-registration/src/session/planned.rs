//! A planned session: what `register_session` would send to Alyx.

use std::path::Path;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::session::details::SessionDetails;
use crate::session::names;
use alf::SessionPath;
use alyx_client::SessionRequest;

/// What [`RegistrationClient::register_session`] would do with the session itself.
#[derive(Debug, Clone)]
pub struct PlannedSession {
    /// The session.
    pub session: SessionPath,
    /// Its eid if it is on Alyx; the request would then change it.
    pub eid: Option<String>,
    /// What would be sent. Empty if nothing would be changed.
    pub request: SessionRequest,
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
        self.check_day(&session)?;
        let creation = self.creation_of(&session, details, &SessionDetails::default()).await?;
        let change = details.request(&session, &self.options().zone)?;
        let found = self.find_session(&session, details.lab.as_deref().or(session.lab())).await?;
        if let Some(found) = &found {
            self.whole_change(&session, found.eid(), change.clone()).await?;
        }
        let request = if found.is_some() { change } else { creation };
        self.check_names(names::mentioned(&request)).await?;
        Ok(PlannedSession { session, eid: found.map(|summary| summary.eid().to_owned()), request })
    }
}
