//! The records on Alyx that decide what sessions lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::listing::left_out::LeftOutReason;
use crate::metadata::known::KnownSession;
use crate::metadata::sources::Beside;
use crate::propose::dataset_types::KnownTypes;
use crate::propose::needs::Needs;
use crate::propose::survey::Survey;
use alf::{DatasetType, SessionPath};
use alyx_client::{Endpoint, LabRecord, RepositoryRecord};

/// A name that Alyx does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownName {
    pub(crate) endpoint: Endpoint,
    pub(crate) name: String,
    /// Names on Alyx that it was probably meant to be.
    pub(crate) near: Vec<String>,
    /// The file that names it; `None`: a path, the caller or the configuration.
    pub(crate) from: Option<String>,
}

/// The records on Alyx that decide what sessions lack.
#[derive(Debug, Clone, Default)]
pub struct KnownRecords {
    pub(crate) types: KnownTypes,
    pub(crate) labs: Vec<LabRecord>,
    pub(crate) repositories: Vec<RepositoryRecord>,
    /// The lab of each subject that Alyx knows.
    pub(crate) lab_of_subject: BTreeMap<String, String>,
    /// Names of subjects, users, projects, locations and procedures.
    pub(crate) unknown: Vec<UnknownName>,
    /// For a lab and a repository that Alyx does not know: names that were probably meant.
    pub(crate) near: BTreeMap<String, Vec<String>>,
}

impl RegistrationClient {
    /// Adds a session folder to a survey. Lists its files, and reads only those that describe the session. `exclude`: files
    /// that are no datasets.
    ///
    /// # Errors
    /// [`Error::NotASession`] for a path that is not a session folder; [`Error::Vanished`] or [`Error::Unreadable`] if
    /// it cannot be listed; those of the requests for the dataset types.
    pub async fn survey(
        &self,
        survey: &mut Survey,
        folder: &Path,
        exclude: &[glob::Pattern],
    ) -> Result<(), Error> {
        let session = SessionPath::parse(folder)?;
        let exclude = exclude.to_vec();
        let excluded = move |path: &str| {
            exclude.iter().any(|pattern| pattern.matches(path)).then_some(LeftOutReason::Excluded)
        };
        let found = self.find_datasets(&session, None, &[].into(), excluded).await?;
        survey.add(&session, &found);
        let (folder, flags) = (folder.to_owned(), self.options().flags.clone());
        let flag = tokio::task::spawn_blocking(move || KnownSession::sidecar_of_flag(&folder, &flags)).await;
        let flag = flag.map_err(|e| Error::Internal(format!("reading a flag: {e}")))?;
        if let Some(known) = self.read_metadata(&session, Beside { flag, ..Beside::default() }).await? {
            survey.add_known(&known, &self.options().zone);
        }
        Ok(())
    }

    /// Asks Alyx for everything that these sessions need. Changes nothing.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn known_records(&self, survey: &Survey, needs: &Needs) -> Result<KnownRecords, Error> {
        let alyx = self.alyx();
        let of_type = |kind: alyx_client::DatasetTypeRecord| DatasetType {
            name: kind.name,
            filename_pattern: kind.filename_pattern.unwrap_or_default(),
        };
        let types = alyx.dataset_types().await?.into_iter().map(of_type).collect();
        let formats = alyx.data_formats().await?;
        let formats = formats
            .into_iter()
            .map(|format| (format.name, format.file_extension.unwrap_or_default()))
            .collect();
        let mut known = KnownRecords {
            types: KnownTypes { types, formats },
            labs: alyx.labs().await?,
            repositories: alyx.repositories().await?,
            ..KnownRecords::default()
        };
        let subjects = survey.subjects().map(|name| ((Endpoint::Subjects, name.to_owned()), None));
        let needed = needs.names.iter().map(|name| (name.clone(), None));
        let of_files = survey.names.iter().filter(|(name, _)| !needs.names.contains(name));
        let of_files = of_files.map(|(name, from)| (name.clone(), Some(from.clone())));
        for ((endpoint, name), from) in subjects.chain(needed).chain(of_files) {
            match alyx.find_member(endpoint, &name).await? {
                Some(record) => {
                    if let (Endpoint::Subjects, Some(lab)) =
                        (endpoint, record.get("lab").and_then(Value::as_str))
                    {
                        known.lab_of_subject.insert(name, lab.to_owned());
                    }
                }
                None => {
                    let near = self.near_names(endpoint, &name).await;
                    known.unknown.push(UnknownName { endpoint, name, near, from });
                }
            }
        }
        let labs = known.labs_of(survey, needs).into_iter().map(|lab| (Endpoint::Labs, lab));
        let repository = needs.repository.clone().map(|name| (Endpoint::Repositories, name));
        let of_sidecars = survey.repositories.keys().map(|(name, ..)| (Endpoint::Repositories, name.clone()));
        for (endpoint, name) in labs.chain(repository).chain(of_sidecars) {
            if !known.has(endpoint, &name) {
                let near = self.near_names(endpoint, &name).await;
                known.near.insert(name, near);
            }
        }
        Ok(known)
    }
}

impl KnownRecords {
    /// Whether Alyx has a lab or a repository.
    fn has(&self, endpoint: Endpoint, name: &str) -> bool {
        match endpoint {
            Endpoint::Labs => self.labs.iter().any(|lab| lab.name == name),
            _ => self.repositories.iter().any(|repository| repository.name == name),
        }
    }

    /// The labs of the sessions: of the paths, else of the subject on Alyx, else the default.
    pub(crate) fn labs_of(&self, survey: &Survey, needs: &Needs) -> BTreeSet<String> {
        let mut labs: BTreeSet<String> = needs.lab.iter().cloned().collect();
        for (subject, of_paths) in &survey.subjects {
            let of_subject = self.lab_of_subject.get(subject).or(needs.lab.as_ref());
            labs.extend(of_paths.iter().filter_map(|lab| lab.as_ref().or(of_subject).cloned()));
        }
        labs
    }
}
