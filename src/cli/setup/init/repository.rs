//! The choice of the Alyx repository that a disk is. Pure.

use alyx_client::{LabRecord, RepositoryRecord};
use alyx_registration::{NotLoadable, Placement};

/// A repository that may be chosen.
#[derive(Debug, PartialEq)]
pub(super) struct Choice<'a> {
    pub(super) repository: &'a RepositoryRecord,
    /// Which of several labs it belongs to; empty if there is one lab only.
    pub(super) labs: Vec<String>,
    /// Why ONE would not load files from it.
    pub(super) problems: Vec<NotLoadable>,
}

/// The repositories of these labs; all of them if the lab is not known.
pub(super) fn choices<'a>(
    labs: &[Option<&LabRecord>],
    repositories: &'a [RepositoryRecord],
) -> Vec<Choice<'a>> {
    let is_of =
        |lab: &Option<&LabRecord>, name: &String| lab.is_none_or(|lab| lab.repositories.contains(name));
    let of_labs =
        repositories.iter().filter(|repository| labs.iter().any(|lab| is_of(lab, &repository.name)));
    of_labs.map(|repository| choice(repository, labs, repositories)).collect()
}

/// One repository, whether it is one of the labs' or not.
pub(super) fn choice<'a>(
    repository: &'a RepositoryRecord,
    labs: &[Option<&LabRecord>],
    repositories: &[RepositoryRecord],
) -> Choice<'a> {
    let placement = Placement { repository: Some(repository.name.clone()), server_only: false, exists: true };
    let mut problems: Vec<NotLoadable> =
        labs.iter().flat_map(|lab| NotLoadable::judge(&placement, *lab, repositories)).collect();
    problems.dedup();
    let linked = labs.iter().flatten().filter(|lab| lab.repositories.contains(&repository.name));
    let labs = if labs.len() > 1 { linked.map(|lab| lab.name.clone()).collect() } else { Vec::new() };
    Choice { repository, labs, problems }
}

impl Choice<'_> {
    /// The repository with its address, and with its labs if there are several.
    pub(super) fn line(&self) -> String {
        let address = self.repository.address().unwrap_or("no address, so not served");
        let personal = if self.repository.globus_is_personal == Some(true) { ", personal" } else { "" };
        let labs = if self.labs.is_empty() {
            String::new()
        } else {
            format!(", of lab {}", self.labs.join(" and "))
        };
        format!("{}  {address}{personal}{labs}", self.repository.name)
    }
}

/// The only one from which ONE loads.
pub(super) fn fitting<'a, 'b>(choices: &'b [Choice<'a>]) -> Option<&'b Choice<'a>> {
    let mut fitting = choices.iter().filter(|choice| choice.problems.is_empty());
    fitting.next().filter(|_| fitting.next().is_none())
}

/// What the user answered to a numbered list whose last line is "not served".
#[derive(Debug, PartialEq)]
pub(super) enum Chosen {
    /// The repository at this index.
    Repository(usize),
    NotServed,
    Later,
}

/// Reads a number or a name. An empty answer is that of `default`.
pub(super) fn parse(answer: &str, choices: &[Choice<'_>], default: Option<usize>) -> Option<Chosen> {
    if answer.is_empty() {
        return Some(default.map_or(Chosen::Later, Chosen::Repository));
    }
    if let Some(index) = choices.iter().position(|choice| choice.repository.name == answer) {
        return Some(Chosen::Repository(index));
    }
    match answer.parse::<usize>().ok()?.checked_sub(1)? {
        index if index < choices.len() => Some(Chosen::Repository(index)),
        index if index == choices.len() => Some(Chosen::NotServed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn repository(name: &str, data_url: Value, personal: bool) -> RepositoryRecord {
        from_value(json!({"name": name, "data_url": data_url, "globus_is_personal": personal})).unwrap()
    }

    fn known() -> Vec<RepositoryRecord> {
        vec![
            repository("disk", Value::Null, true),
            repository("server", json!("https://data.org/lab/Subjects/"), false),
            repository("other", json!("https://data.org/other/Subjects/"), false),
        ]
    }

    fn lab(repositories: &[&str]) -> LabRecord {
        from_value(json!({"name": "lab", "repositories": repositories})).unwrap()
    }

    #[test]
    fn the_only_served_repository_of_the_lab_fits() {
        let (known, lab) = (known(), lab(&["disk", "server"]));
        let choices = choices(&[Some(&lab)], &known);
        assert_eq!(choices.len(), 2);
        assert_eq!(fitting(&choices).unwrap().repository.name, "server");
        assert!(choices[0].line().contains("not served, personal"), "{}", choices[0].line());
        assert!(choices[1].line().ends_with("https://data.org/lab/Subjects/"), "{}", choices[1].line());
    }

    #[test]
    fn if_none_or_several_fit_the_user_decides() {
        let known = known();
        assert!(fitting(&choices(&[Some(&lab(&["disk"]))], &known)).is_none());
        let of_all = choices(&[None], &known);
        assert_eq!((of_all.len(), fitting(&of_all)), (3, None));
    }

    #[test]
    fn a_number_a_name_and_enter_are_answers() {
        let known = known();
        let choices = choices(&[None], &known);
        assert_eq!(parse("2", &choices, None), Some(Chosen::Repository(1)));
        assert_eq!(parse("other", &choices, None), Some(Chosen::Repository(2)));
        assert_eq!(parse("4", &choices, None), Some(Chosen::NotServed));
        assert_eq!(parse("", &choices, None), Some(Chosen::Later));
        assert_eq!(parse("", &choices, Some(1)), Some(Chosen::Repository(1)));
        for bad in ["0", "5", "servr", "-1"] {
            assert_eq!(parse(bad, &choices, None), None, "{bad}");
        }
    }
}
