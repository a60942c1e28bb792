//! Loadability: whether ONE lists and loads what is registered, judged by what Alyx knows of its repositories. Pure.
//!
//! ONE reads the record of a session. Alyx lists in it the datasets with a file record that says `exists: true`, in a
//! repository other than personal as soon as it has any such repository, and gives each the address of that file record,
//! which begins with the `data_url` of its repository. ONE asks its data server for `<lab>/Subjects/<session>/<dataset>`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::repository::placement::Placement;
use alf::SessionPath;
use alyx_client::text::{shortened, some_of};
use alyx_client::{LabRecord, RepositoryRecord};

/// A reason why ONE does not load what is registered, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotLoadable {
    /// No repository is named, so every file record says `exists: false`.
    #[error(
        "ONE cannot find the registered files: datasets.repository is empty, so Alyx records that the files exist nowhere, even with datasets.exists: true"
    )]
    NoRepository {
        /// Repositories that could be named.
        candidates: Vec<String>,
    },
    /// The files are not in the repository until other software copies them there.
    #[error("not loadable until copied: ONE can load a session once other software has copied its files to {} and updated Alyx", .repository.as_deref().unwrap_or("the lab's server"))]
    UntilCopied {
        /// The repository; `None`: the servers of the lab.
        repository: Option<String>,
    },
    /// Alyx does not have the repository.
    #[error("Alyx does not know the repository {repository:?}")]
    Unknown {
        /// Its name.
        repository: String,
        /// Repositories that could be named.
        candidates: Vec<String>,
    },
    /// The lab has no repositories.
    #[error("lab {lab:?} has no repository on Alyx")]
    LabWithoutRepositories {
        /// The lab.
        lab: String,
    },
    /// Only servers count, and the lab has none.
    #[error(
        "ONE cannot find the registered files: none of the repositories of lab {lab:?} is a server, and datasets.server_only is set"
    )]
    LabWithoutServer {
        /// The lab.
        lab: String,
    },
    /// The repository is not one of the lab's.
    #[error("the repository {repository:?} is not one of lab {lab:?} on Alyx")]
    NotLinked {
        /// Its name.
        repository: String,
        /// The lab.
        lab: String,
    },
    /// The repository has no address.
    #[error("ONE cannot load from the repository {repository:?}: it has no data_url on Alyx")]
    NoAddress {
        /// Its name.
        repository: String,
        /// Repositories that could be named.
        candidates: Vec<String>,
    },
    /// Alyx appends the path of a file to the address, which does not end with a slash.
    #[error(
        "ONE cannot load from the repository {repository:?}: its data_url {} does not end with a slash",
        shortened(.address)
    )]
    NoSlash {
        /// Its name.
        repository: String,
        /// Its address.
        address: String,
    },
    /// ONE looks for files of the lab in another folder of the server.
    #[error(
        "ONE cannot load from the repository {repository:?}: its data_url {} does not end with {lab}/Subjects/, where ONE looks",
        shortened(.address)
    )]
    OtherFolder {
        /// Its name.
        repository: String,
        /// Its address.
        address: String,
        /// The lab.
        lab: String,
    },
    /// ONE makes the folder of a session from its number, with three digits.
    #[error("ONE cannot load the session {session}: ONE asks for a folder with a number of three digits")]
    ShortNumber {
        /// The first such session, by its folder.
        session: String,
    },
    /// The repository is personal, or does not say, and Alyx has others, which alone count.
    #[error(
        "ONE does not list files in the repository {repository:?}: it is personal (globus_is_personal), and Alyx shows only the files in its other repositories"
    )]
    Personal {
        /// Its name.
        repository: String,
        /// Repositories that could be named.
        candidates: Vec<String>,
    },
}

impl NotLoadable {
    /// What the options alone say, without asking Alyx.
    pub fn of_options(placement: &Placement) -> Option<Self> {
        if placement.is_nowhere() {
            return Some(Self::NoRepository { candidates: Vec::new() });
        }
        (!placement.exists).then(|| Self::UntilCopied { repository: placement.repository.clone() })
    }

    /// What the folder of a session alone says.
    pub fn of_session(session: &SessionPath, placement: &Placement) -> Option<Self> {
        let folder = session.folder();
        let name = folder.file_name().filter(|name| name.len() != 3 && !placement.is_nowhere())?;
        let session = Path::new(session.subject()).join(session.date().to_string()).join(name);
        Some(Self::ShortNumber { session: session.display().to_string() })
    }

    /// What the options alone say of several placements.
    pub fn of_placements<'a>(placements: impl IntoIterator<Item = &'a Placement>) -> Vec<Self> {
        let found: BTreeSet<Self> = placements.into_iter().filter_map(Self::of_options).collect();
        Vec::from_iter(found)
    }

    /// All reasons for files of a lab. `lab`: `None` if it is not known which one it is. `known`: every repository of
    /// the Alyx.
    ///
    /// ```
    /// use alyx_registration::{NotLoadable, Placement};
    /// use serde_json::{from_value, json};
    ///
    /// let lab = from_value(json!({"name": "cortexlab", "repositories": ["flatiron"]})).unwrap();
    /// let url = "https://data.org/cortexlab/Subjects/";
    /// let flatiron = json!({"name": "flatiron", "data_url": url, "globus_is_personal": false});
    /// let known = [from_value(flatiron).unwrap()];
    /// let judge = |repository: Option<&str>, exists| {
    ///     let repository = repository.map(str::to_owned);
    ///     NotLoadable::judge(&Placement { repository, server_only: false, exists }, Some(&lab), &known)
    /// };
    /// assert!(judge(Some("flatiron"), true).is_empty());
    /// assert_eq!(judge(Some("flatiron"), false), [NotLoadable::UntilCopied { repository: Some("flatiron".into()) }]);
    /// assert_eq!(judge(None, true)[0].kind(), "no_repository");
    /// assert_eq!(judge(Some("moon"), true)[0].to_string(), "Alyx does not know the repository \"moon\"");
    /// ```
    pub fn judge(placement: &Placement, lab: Option<&LabRecord>, known: &[RepositoryRecord]) -> Vec<Self> {
        let candidates = candidates(lab, known);
        let mut found = Vec::new();
        let is_empty = lab.filter(|lab| lab.repositories.is_empty());
        found.extend(is_empty.map(|lab| Self::LabWithoutRepositories { lab: lab.name.clone() }));
        if placement.is_nowhere() {
            found.push(Self::NoRepository { candidates });
            return found;
        }
        if let Some(name) = &placement.repository {
            if !known.iter().any(|r| r.name == *name) {
                found.push(Self::Unknown { repository: name.clone(), candidates });
                return found;
            }
            let linked_elsewhere =
                lab.filter(|lab| is_empty.is_none() && !lab.repositories.iter().any(|linked| linked == name));
            found.extend(
                linked_elsewhere
                    .map(|lab| Self::NotLinked { repository: name.clone(), lab: lab.name.clone() }),
            );
        }
        let places = placement.repositories(lab, known);
        let per_place: Vec<Vec<Self>> =
            places.iter().map(|place| of_repository(place, lab, known, &candidates)).collect();
        // One repository from which the files can be loaded is enough.
        if !per_place.iter().any(Vec::is_empty) {
            found.extend(per_place.into_iter().flatten());
        }
        if let (true, Some(lab), None) = (places.is_empty(), lab, is_empty) {
            found.push(Self::LabWithoutServer { lab: lab.name.clone() });
        }
        found.extend(Self::of_options(placement));
        found
    }

    /// A word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoRepository { .. } => "no_repository",
            Self::UntilCopied { .. } => "until_copied",
            Self::Unknown { .. } => "unknown",
            Self::LabWithoutRepositories { .. } => "lab_without_repositories",
            Self::LabWithoutServer { .. } => "lab_without_server",
            Self::NotLinked { .. } => "not_linked",
            Self::NoAddress { .. } => "no_address",
            Self::NoSlash { .. } => "no_slash",
            Self::OtherFolder { .. } => "other_folder",
            Self::Personal { .. } => "personal",
            Self::ShortNumber { .. } => "short_number",
        }
    }

    /// What to do where several labs share a data root: the line of `repositories` for the folder of one lab.
    pub fn advice_for_folder(&self, folder: &Path) -> String {
        let Self::NoRepository { candidates } = self else { return self.advice() };
        let name = match candidates.as_slice() {
            [only] => only.split_once(" at ").map(|(name, _)| name),
            _ => None,
        };
        let folder = folder.display().to_string();
        let is_plain = folder.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
        let folder = if is_plain { folder } else { format!("{folder:?}") };
        format!(
            "add to repositories: - {{path: {folder}, name: {}}}{}",
            name.unwrap_or("NAME"),
            if name.is_some() { String::new() } else { listed(candidates) }
        )
    }

    /// What to do.
    pub fn advice(&self) -> String {
        const COPIED: &str = "if other software copies the files to a server, name the server's repository and set datasets.exists: false";
        match self {
            Self::NoRepository { candidates } => {
                format!("set datasets.repository to the repository of this disk{}; {COPIED}", listed(candidates))
            }
            Self::UntilCopied { .. } => {
                "if this disk is that repository, set datasets.exists: true".to_owned()
            }
            Self::Unknown { candidates, .. } => {
                format!("correct the name{}, or have the repository created on Alyx", listed(candidates))
            }
            Self::LabWithoutRepositories { lab } => {
                format!("have the repository that serves the lab's files added to lab {lab:?} on Alyx")
            }
            Self::LabWithoutServer { .. } => {
                "set datasets.repository to the repository that holds the files".to_owned()
            }
            Self::NotLinked { repository, lab } => {
                format!(
                    "have {repository} added to the repositories of lab {lab:?} on Alyx, or name one of the lab's repositories"
                )
            }
            Self::NoAddress { repository, candidates } => format!(
                "if this disk is served, have the data_url of {repository} set on Alyx; {COPIED}{}",
                listed(candidates)
            ),
            Self::NoSlash { repository, .. } => {
                format!("have a slash added to the end of the data_url of {repository} on Alyx")
            }
            Self::OtherFolder { repository, lab, .. } => {
                format!(
                    "have the data_url of {repository} on Alyx and the folders of the server end with {lab}/Subjects/"
                )
            }
            Self::Personal { repository, candidates } => format!(
                "if this disk is served, have globus_is_personal of {repository} set to false on Alyx; {COPIED}{}",
                listed(candidates)
            ),
            Self::ShortNumber { .. } => {
                "have the rig name its session folders 001, 002 … from now on; Alyx keeps the paths of registered files, \
                 so make the file server offer these files under 001 as well"
                    .to_owned()
            }
        }
    }
}

/// Candidates in brackets, as part of a sentence.
fn listed(candidates: &[String]) -> String {
    if candidates.is_empty() { String::new() } else { format!(" (on Alyx: {})", some_of(candidates, ", ")) }
}

/// The repositories from which ONE would load files of a lab, each with its address.
fn candidates(lab: Option<&LabRecord>, known: &[RepositoryRecord]) -> Vec<String> {
    let of_lab = |r: &RepositoryRecord| lab.is_none_or(|lab| lab.repositories.contains(&r.name));
    let good = known.iter().filter(|r| of_lab(r) && of_repository(r, lab, known, &[]).is_empty());
    good.map(|r| format!("{} at {}", r.name, r.address().unwrap_or_default())).collect()
}

/// Why ONE would not load files that are in a repository.
fn of_repository(
    repository: &RepositoryRecord,
    lab: Option<&LabRecord>,
    known: &[RepositoryRecord],
    candidates: &[String],
) -> Vec<NotLoadable> {
    let (name, candidates) = (repository.name.clone(), candidates.to_vec());
    let mut found = Vec::new();
    if !repository.is_server() && known.iter().any(RepositoryRecord::is_server) {
        found.push(NotLoadable::Personal { repository: name.clone(), candidates: candidates.clone() });
    }
    let address = repository.address().map(str::to_owned);
    found.extend(match (address, lab.map(|lab| lab.name.clone())) {
        (None, _) => Some(NotLoadable::NoAddress { repository: name, candidates }),
        (Some(address), _) if !address.ends_with('/') => {
            Some(NotLoadable::NoSlash { repository: name, address })
        }
        (Some(address), Some(lab)) if !address.ends_with(&format!("/{lab}/Subjects/")) => {
            Some(NotLoadable::OtherFolder { repository: name, address, lab })
        }
        _ => None,
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    const URL: &str = "https://data.org/lab/Subjects/";

    fn repository(name: &str, data_url: Option<&str>, personal: Option<bool>) -> RepositoryRecord {
        from_value(json!({"name": name, "data_url": data_url, "globus_is_personal": personal})).unwrap()
    }

    fn lab(repositories: &[&str]) -> LabRecord {
        from_value(json!({"name": "lab", "repositories": repositories})).unwrap()
    }

    fn place(repository: Option<&str>) -> Placement {
        Placement { repository: repository.map(str::to_owned), server_only: false, exists: true }
    }

    /// The kinds of reasons on an Alyx with a server, a personal repository, and several badly set up ones.
    fn kinds(placement: &Placement, lab: Option<&LabRecord>) -> Vec<&'static str> {
        let known = [
            repository("server", Some(URL), Some(false)),
            repository("rig", Some(URL), Some(true)),
            repository("unset", Some(URL), None),
            repository("closed", None, Some(false)),
            repository("blank", Some(""), Some(false)),
            repository("no_slash", Some("https://data.org/lab/Subjects"), Some(false)),
            repository("elsewhere", Some("https://data.org/"), Some(false)),
            repository("private", None, Some(true)),
        ];
        NotLoadable::judge(placement, lab, &known).iter().map(NotLoadable::kind).collect()
    }

    #[test]
    fn a_session_folder_without_three_digits_is_listed_and_not_loaded() {
        let of = |folder: &str, repository| {
            let session = SessionPath::parse(Path::new(folder)).unwrap();
            NotLoadable::of_session(&session, &place(repository)).map(|reason| reason.to_string())
        };
        let folder = "/data/lab/Subjects/KS014/2024-05-01/1";
        assert!(of(folder, Some("server")).unwrap().contains("KS014/2024-05-01/1:"));
        assert_eq!(of(folder, None), None, "nothing is loaded from nowhere");
        assert_eq!(of("/data/lab/Subjects/KS014/2024-05-01/001", Some("server")), None);
    }

    #[test]
    fn a_served_repository_of_the_lab_is_loadable() {
        assert!(kinds(&place(Some("server")), Some(&lab(&["rig", "server"]))).is_empty());
        assert!(kinds(&place(Some("server")), None).is_empty());
    }

    #[test]
    fn each_reason_is_found() {
        let all = ["server", "rig", "unset", "closed", "blank", "no_slash", "elsewhere", "private"];
        let lab_of_all = lab(&all);
        let of = |name: Option<&str>| kinds(&place(name), Some(&lab_of_all));
        assert_eq!(of(None), ["no_repository"]);
        assert_eq!(of(Some("moon")), ["unknown"]);
        assert_eq!(of(Some("rig")), ["personal"]);
        assert_eq!(of(Some("unset")), ["personal"]);
        assert_eq!(of(Some("closed")), ["no_address"]);
        assert_eq!(of(Some("blank")), ["no_address"]);
        assert_eq!(of(Some("no_slash")), ["no_slash"]);
        assert_eq!(of(Some("elsewhere")), ["other_folder"]);
        assert_eq!(of(Some("private")), ["personal", "no_address"]);
        assert_eq!(kinds(&place(Some("server")), Some(&lab(&["rig"]))), ["not_linked"]);
        assert_eq!(kinds(&place(Some("server")), Some(&lab(&[]))), ["lab_without_repositories"]);
        assert_eq!(kinds(&place(None), Some(&lab(&[]))), ["lab_without_repositories", "no_repository"]);
        let copied = Placement { exists: false, ..place(Some("server")) };
        assert_eq!(kinds(&copied, Some(&lab_of_all)), ["until_copied"]);
        assert_eq!(kinds(&Placement { exists: false, ..place(None) }, Some(&lab_of_all)), ["no_repository"]);
    }

    #[test]
    fn a_personal_repository_counts_where_there_is_no_server() {
        let known = [repository("rig", Some(URL), Some(true))];
        assert!(NotLoadable::judge(&place(Some("rig")), Some(&lab(&["rig"])), &known).is_empty());
    }

    #[test]
    fn with_server_only_one_served_server_of_the_lab_is_enough() {
        let servers = Placement { server_only: true, ..place(None) };
        assert!(kinds(&servers, Some(&lab(&["closed", "server"]))).is_empty());
        assert_eq!(kinds(&servers, Some(&lab(&["closed"]))), ["no_address"]);
        assert_eq!(kinds(&servers, Some(&lab(&["rig"]))), ["lab_without_server"]);
        assert_eq!(kinds(&servers, Some(&lab(&[]))), ["lab_without_repositories"]);
        let copied = Placement { exists: false, ..servers };
        assert_eq!(kinds(&copied, Some(&lab(&["server"]))), ["until_copied"]);
        let both = Placement { server_only: true, ..place(Some("rig")) };
        assert!(kinds(&both, Some(&lab(&["rig", "server"]))).is_empty());
    }

    #[test]
    fn the_advice_names_the_repositories_that_would_do() {
        let known = [repository("server", Some(URL), Some(false)), repository("rig", None, Some(true))];
        let found = NotLoadable::judge(&place(Some("rig")), Some(&lab(&["rig", "server"])), &known);
        assert!(found[0].advice().contains("server at https://data.org/lab/Subjects/"), "{found:?}");
        assert!(!found[0].advice().contains("rig at"), "{found:?}");
    }
}
