//! The repository that a sidecar names, compared with those of the session's lab.

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::metadata::known::KnownSession;
use crate::repository::loadability::NotLoadable;
use alyx_client::{Endpoint, LabRecord};
use session_metadata::Sourced;

impl KnownSession {
    /// The repository that its sidecar names for its files.
    pub(crate) fn repository(&self) -> Option<(&str, &Sourced<Value>)> {
        let found = self.metadata.values.settings.get("datasets.repository")?;
        Some((found.value.as_str()?, found))
    }

    /// The same, as a name that Alyx must have.
    pub(crate) fn repository_name(&self) -> Option<(Endpoint, String)> {
        self.repository().map(|(name, _)| (Endpoint::Repositories, name.to_owned()))
    }

    /// The lab that its path or its files name.
    pub(crate) fn own_lab(&self) -> Option<String> {
        self.details().lab.or_else(|| self.session.lab().map(str::to_owned))
    }
}

/// Why files of a lab must not go into this repository: it is not the lab's. Pure.
pub(crate) fn foreign(repository: &str, lab: &LabRecord) -> Option<NotLoadable> {
    let is_linked = lab.repositories.iter().any(|linked| linked == repository);
    let (repository, lab) = (repository.to_owned(), lab.name.clone());
    (!is_linked).then_some(NotLoadable::NotLinked { repository, lab })
}

impl RegistrationClient {
    /// Refuses a repository of a sidecar that is not one of the session's lab: its files would be looked for in another
    /// lab's folder.
    ///
    /// # Errors
    /// [`Error::Metadata`]; those of the requests, which are made only for a sidecar that names a repository, and once as
    /// long as names are cached.
    pub(crate) async fn check_repository(&self, known: Option<&KnownSession>) -> Result<(), Error> {
        let Some((known, (repository, found))) = known.and_then(|known| Some((known, known.repository()?)))
        else {
            return Ok(());
        };
        let own_lab = known.own_lab();
        let subject = (Endpoint::Subjects, known.session.subject());
        let owner = own_lab.as_deref().map_or(subject, |lab| (Endpoint::Labs, lab));
        if self.known_names().is_linked(owner, repository) {
            return Ok(());
        }
        let lab = match &own_lab {
            Some(lab) => Some(lab.clone()),
            None => {
                let subject = self.alyx().find_member(Endpoint::Subjects, known.session.subject()).await?;
                subject.and_then(|record| record.get("lab")?.as_str().map(str::to_owned))
            }
        };
        let Some(lab) = lab else { return Ok(()) };
        // A lab that Alyx does not know is reported with the other names.
        let record = self.alyx().find_member(Endpoint::Labs, &lab).await?;
        let Some(lab) = record.and_then(|record| serde_json::from_value::<LabRecord>(record).ok()) else {
            return Ok(());
        };
        let Some(reason) = foreign(repository, &lab) else {
            self.known_names().link(owner, repository);
            return Ok(());
        };
        // So is a repository that Alyx does not know.
        if self.alyx().find_member(Endpoint::Repositories, repository).await?.is_none() {
            return Ok(());
        }
        Err(Error::Metadata(vec![format!("{}: {reason}; {}", found.source, reason.advice())]))
    }
}
