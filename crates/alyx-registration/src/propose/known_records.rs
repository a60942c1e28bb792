//! The records on Alyx that decide what sessions lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::flag::FlagContent;
use crate::flagged::listing::exclusion;
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
    /// Adds a session folder to a survey. Lists its files, and reads only those that describe the session. `options`: those
    /// with which it would be registered.
    ///
    /// # Errors
    /// [`Error::NotASession`] for a path that is not a session folder; [`Error::Vanished`] or [`Error::Unreadable`] if
    /// it cannot be listed; those of the requests for the dataset types.
    pub async fn survey(
        &self,
        survey: &mut Survey,
        folder: &Path,
        options: &FlaggedOptions,
    ) -> Result<(), Error> {
        let session = SessionPath::parse(folder)?;
        let options = self.options_in(&session, options).await?;
        let exclude = exclusion(&FlagContent::Everything, &options);
        let found = self.find_datasets(&session, None, &[].into(), exclude).await?;
        survey.add(&session, &found, &options.quiet.copy_signs);
        let flag = self.sidecar_of_flag(&session).await?;
        let known = self.read_metadata(&session, Beside { flag, ..Beside::default() }).await?;
        if let Some(known) = &known {
            survey.add_known(known, &self.options().zone);
        }
        // The repository of a sidecar comes first.
        let is_named = known.as_ref().is_some_and(|known| known.repository().is_some());
        let repository = options.files.repository.clone();
        if let Some(repository) = repository.filter(|_| options.register_files && !is_named) {
            let lab = match &known {
                Some(known) => known.own_lab(),
                None => session.lab().map(str::to_owned),
            };
            survey.placed.insert((repository, session.subject().to_owned(), lab));
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
        let of_sidecars = survey.repositories.keys().map(|(name, ..)| name);
        let placed = survey.placed.iter().map(|(name, ..)| name);
        let repositories: BTreeSet<&String> =
            needs.repository.iter().chain(of_sidecars).chain(placed).collect();
        let repositories = repositories.into_iter().map(|name| (Endpoint::Repositories, name.clone()));
        for (endpoint, name) in labs.chain(repositories) {
            if !known.has(endpoint, &name) {
                let near = self.near_names(endpoint, &name).await;
                known.near.insert(name, near);
            }
        }
        Ok(known)
    }
}

impl KnownRecords {
    /// The repositories that hold the files of the sessions, each with the labs whose sessions these are: the one that is
    /// named, else that of the folder in which each session is.
    pub(crate) fn repositories_of(
        &self,
        survey: &Survey,
        needs: &Needs,
    ) -> BTreeMap<String, BTreeSet<String>> {
        if let Some(repository) = &needs.repository {
            return BTreeMap::from([(repository.clone(), self.labs_of(survey, needs))]);
        }
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (repository, subject, lab) in &survey.placed {
            let lab = lab.as_ref().or_else(|| self.lab_of_subject.get(subject)).or(needs.lab.as_ref());
            found.entry(repository.clone()).or_default().extend(lab.cloned());
        }
        found
    }

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
