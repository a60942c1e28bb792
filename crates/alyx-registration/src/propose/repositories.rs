//! The labs and repositories that sessions lack, and the links between them. Pure.

use serde_json::{Value, json};

use crate::metadata::repository::foreign;
use crate::propose::change::Change;
use crate::propose::known_records::KnownRecords;
use crate::propose::needs::Needs;
use crate::propose::survey::Survey;
use crate::repository::loadability::NotLoadable;
use crate::repository::placement::Placement;
use alyx_client::{Endpoint, LabRecord, RepositoryRecord};

/// What the labs of sessions lack.
#[derive(Debug, Default)]
pub(super) struct LabChanges {
    pub(super) changes: Vec<Change>,
    /// What must be decided first.
    pub(super) open: Vec<String>,
}

impl LabChanges {
    /// Decides what the labs lack, and the repository that holds their files.
    pub(super) fn of(labs: &[String], survey: &Survey, needs: &Needs, known: &KnownRecords) -> Self {
        let mut found = Self::default();
        found.add_labs(labs, survey, needs, known);
        found
    }

    /// Adds the repositories that sidecars name and that Alyx or the lab of the session lacks.
    pub(super) fn add_sidecars(&mut self, survey: &Survey, needs: &Needs, known: &KnownRecords) {
        for ((name, subject, lab), from) in &survey.repositories {
            let lab = lab.as_ref().or_else(|| known.lab_of_subject.get(subject)).or(needs.lab.as_ref());
            let lab = lab.and_then(|lab| known.labs.iter().find(|known| known.name == *lab));
            let line = match lab.and_then(|lab| foreign(name, lab)) {
                // The proposal says what becomes of it.
                _ if needs.repository.as_ref() == Some(name) => continue,
                _ if !known.repositories.iter().any(|repository| repository.name == *name) => {
                    let near = known.near.get(name).map(|near| near.join(", "));
                    let near = near.filter(|near| !near.is_empty());
                    let meant = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                    format!(
                        "Alyx has no repository {name}{meant}, which is named in {from}: correct the name, or propose the \
                         repository with --repository {name} --data-url URL"
                    )
                }
                Some(reason) => format!("{reason}, but named in {from}: {}", reason.advice()),
                None => continue,
            };
            self.open.push(line);
        }
    }

    fn add_labs(&mut self, labs: &[String], survey: &Survey, needs: &Needs, known: &KnownRecords) {
        let near = |name: &str| known.near.get(name).cloned().unwrap_or_default();
        let wanted = known.repositories_of(survey, needs);
        let data_url = needs.data_url.as_ref().filter(|_| wanted.len() == 1);
        if let (None, Some(url)) = (data_url, &needs.data_url)
            && !wanted.is_empty()
        {
            let names = Vec::from_iter(wanted.keys().map(String::as_str)).join(", ");
            self.open.push(format!(
                "these sessions are in several repositories ({names}), and {url} is the address of one: run this for the folder of one repository"
            ));
        }
        let mut repositories = Vec::new();
        for (name, of_labs) in &wanted {
            let record = self.add_repository(name, data_url, needs, known, &near);
            repositories.extend(record.map(|record| (record, of_labs)));
        }
        let mut after = Vec::new();
        for name in labs {
            let old = known.labs.iter().find(|lab| lab.name == *name);
            let mut lab = old.cloned().unwrap_or_else(|| LabRecord {
                name: name.clone(),
                repositories: Vec::new(),
                other: serde_json::Map::new(),
            });
            let before = lab.repositories.clone();
            let own =
                repositories.iter().filter(|(_, labs)| labs.contains(name)).map(|(r, _)| r.name.clone());
            let new: Vec<String> = own.filter(|name| !before.contains(name)).collect();
            lab.repositories.extend(new.iter().cloned());
            match old {
                None => {
                    let mut body = json!({"name": name, "repositories": lab.repositories});
                    if let (Some(zone), Some(body)) = (&needs.timezone, body.as_object_mut()) {
                        body.insert("timezone".to_owned(), zone.as_str().into());
                    }
                    let why = "the lab of these sessions".to_owned();
                    self.changes.push(Change::create(Endpoint::Labs, name, body, why).near(near(name)));
                }
                Some(_) if !new.is_empty() => {
                    let noun = if new.len() == 1 { "repository" } else { "repositories" };
                    let why = format!("links the {noun} {}; those that it has stay", new.join(", "));
                    let (old, new) =
                        (json!({"repositories": before}), json!({"repositories": lab.repositories}));
                    self.changes.push(Change::update(Endpoint::Labs, name, old, new, why));
                }
                Some(_) => {}
            }
            if lab.repositories.is_empty() && !wanted.values().any(|labs| labs.contains(name)) {
                self.open.push(format!(
                    "lab {name} has no repository, and ONE would not find its files: name one with --repository NAME and, if it is new, --data-url URL, which ends with {name}/Subjects/"
                ));
            }
            after.push(lab);
        }
        for (repository, of_labs) in &repositories {
            let labs = after.iter().filter(|lab| of_labs.contains(&lab.name));
            self.judge(repository, labs, known);
        }
    }

    /// Adds what a repository lacks. Returns it as it will be.
    fn add_repository(
        &mut self,
        name: &str,
        data_url: Option<&String>,
        needs: &Needs,
        known: &KnownRecords,
        near: &impl Fn(&str) -> Vec<String>,
    ) -> Option<RepositoryRecord> {
        let old = known.repositories.iter().find(|repository| repository.name == *name);
        let with_address =
            |old: &RepositoryRecord| RepositoryRecord { data_url: data_url.cloned(), ..old.clone() };
        match (old, data_url) {
            (None, None) => {
                let meant = match near(name).as_slice() {
                    [] => String::new(),
                    near => format!(" (did you mean {}?)", near.join(", ")),
                };
                self.open.push(format!(
                "Alyx has no repository {name}{meant}: if it is to be created, give the address of its files with --data-url URL, which ends with <lab>/Subjects/"
            ));
                None
            }
            (None, Some(url)) => {
                let host = url
                    .split("://")
                    .nth(1)
                    .and_then(|rest| rest.split(['/', ':']).next())
                    .unwrap_or_default();
                let mut body =
                    json!({"name": name, "data_url": url, "hostname": host, "globus_is_personal": false});
                if let (Some(zone), Some(body)) = (&needs.timezone, body.as_object_mut()) {
                    body.insert("timezone".to_owned(), zone.as_str().into());
                }
                let why = format!("files at {url}");
                self.changes.push(Change::create(Endpoint::Repositories, name, body, why).near(near(name)));
                Some(RepositoryRecord {
                    name: name.to_owned(),
                    data_url: Some(url.clone()),
                    globus_is_personal: Some(false),
                    globus_path: None,
                    hostname: None,
                    other: serde_json::Map::new(),
                })
            }
            (Some(old), Some(url)) if old.address().is_none() => {
                let before: Value = json!({"data_url": old.data_url});
                let why = format!("files at {url}");
                let new = json!({"data_url": url});
                self.changes.push(Change::update(Endpoint::Repositories, name, before, new, why));
                Some(with_address(old))
            }
            (Some(old), Some(url)) if old.address() != Some(url) => {
                self.open.push(format!(
                    "the repository {name} has the data_url {}, not {url}: change it on Alyx if it is wrong",
                    old.address().unwrap_or_default()
                ));
                Some(old.clone())
            }
            (Some(old), _) => Some(old.clone()),
        }
    }

    /// Adds why ONE would not load the files of these labs from the repository, as far as the proposal does not change it.
    fn judge<'a>(
        &mut self,
        repository: &RepositoryRecord,
        labs: impl Iterator<Item = &'a LabRecord>,
        known: &KnownRecords,
    ) {
        let placement =
            Placement { repository: Some(repository.name.clone()), server_only: false, exists: true };
        let others = known.repositories.iter().filter(|other| other.name != repository.name).cloned();
        let all: Vec<RepositoryRecord> = others.chain([repository.clone()]).collect();
        for lab in labs {
            for problem in NotLoadable::judge(&placement, Some(lab), &all) {
                let advice = match &problem {
                    NotLoadable::NoAddress { .. } => "give it with --data-url URL".to_owned(),
                    other => other.advice(),
                };
                let line = format!("{problem}: {advice}");
                if !self.open.contains(&line) {
                    self.open.push(line);
                }
            }
        }
    }
}
