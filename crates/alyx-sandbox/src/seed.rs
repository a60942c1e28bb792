//! The records of a new sandbox, read from YAML.

use serde::Deserialize;

use crate::error::SandboxError;

/// Users, labs, subjects, types … of a new sandbox. `Seed::default()` is the built-in one: the labs `cortexlab` and
/// `mainenlab`, four subjects, the users `test_user` and `rig_user`, and the dataset types and formats of the
/// public Alyx fixtures.
///
/// ```
/// use alyx_sandbox::Seed;
/// let seed = Seed::parse("labs: [{name: mylab}]\nsubjects: [{nickname: M1, lab: mylab}]\n").unwrap();
/// assert!(Seed::parse("lab: typo").is_err());
/// # let _ = seed;
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The users that can log in.
    #[serde(default)]
    pub users: Vec<SeedUser>,
    /// The labs and their data repositories.
    #[serde(default)]
    pub labs: Vec<SeedLab>,
    /// The data repositories.
    #[serde(default)]
    pub repositories: Vec<SeedRepository>,
    /// The subjects.
    #[serde(default)]
    pub subjects: Vec<SeedSubject>,
    /// Project names.
    #[serde(default)]
    pub projects: Vec<String>,
    /// Rooms and rigs.
    #[serde(default)]
    pub locations: Vec<SeedLocation>,
    /// Procedure names.
    #[serde(default)]
    pub procedures: Vec<String>,
    /// Water type names.
    #[serde(default)]
    pub water_types: Vec<String>,
    /// Tags of datasets.
    #[serde(default)]
    pub tags: Vec<SeedTag>,
    /// Data formats, each with a name and a file extension.
    #[serde(default)]
    pub data_formats: Vec<SeedFormat>,
    /// Dataset types, each with a name and a file name pattern.
    #[serde(default)]
    pub dataset_types: Vec<SeedType>,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedUser {
    /// The login name.
    pub username: String,
    /// The password, stored in clear text.
    pub password: String,
    /// The e-mail address.
    #[serde(default)]
    pub email: String,
    /// Without effect: Alyx's REST API does not distinguish superusers either.
    #[serde(default)]
    pub superuser: bool,
    /// A public user may only read.
    #[serde(default)]
    pub public: bool,
    /// The labs of which the user is a member.
    #[serde(default)]
    pub labs: Vec<String>,
}

/// A lab.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedLab {
    /// The lab's name.
    pub name: String,
    /// An IANA zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The repositories that hold the lab's files.
    #[serde(default)]
    pub repositories: Vec<String>,
}

/// A data repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRepository {
    /// The repository's name.
    pub name: String,
    /// The repository's type, such as `Fileserver` or `Local`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The host name.
    #[serde(default)]
    pub hostname: String,
    /// An IANA zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The folder on the host.
    #[serde(default)]
    pub globus_path: String,
    /// The base URL of downloads.
    #[serde(default)]
    pub data_url: Option<String>,
    /// True for a lab's own disk. False for a server: a session lists only datasets that a server has.
    pub personal: bool,
}

/// A subject.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedSubject {
    /// The subject's name, as in paths.
    pub nickname: String,
    /// The lab.
    pub lab: String,
    /// The user in charge.
    #[serde(default)]
    pub responsible_user: Option<String>,
    /// `YYYY-MM-DD`.
    #[serde(default)]
    pub birth_date: Option<String>,
}

/// A location.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedLocation {
    /// The location's name.
    pub name: String,
    /// The lab.
    pub lab: String,
}

/// A tag.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedTag {
    /// The tag's name.
    pub name: String,
    /// Whether datasets with this tag are protected from changes.
    #[serde(default)]
    pub protected: bool,
}

/// A data format.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFormat {
    /// The format's name.
    pub name: String,
    /// The file extension with its dot; may be empty.
    pub extension: String,
}

/// A dataset type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedType {
    /// The type's name.
    pub name: String,
    /// A shell pattern; if empty, the file's `object.attribute` must equal the name.
    #[serde(default)]
    pub pattern: String,
}

fn utc() -> String {
    "UTC".into()
}

impl Seed {
    /// The built-in seed as YAML text.
    pub const SHIPPED: &str = include_str!("seed.yaml");

    /// A new installation of Alyx: the public fixtures, the user `admin`, and the lab `cortexlab`, which Alyx's own
    /// migrations create. No subject, project, location or repository.
    pub fn empty() -> Seed {
        // The types of the fixtures come first; those of behaviour rigs follow.
        let fixtures = Self::SHIPPED.split("  # Further types").next().unwrap_or_default();
        let mut seed = Seed::parse(fixtures).expect("the shipped seed is whole");
        seed.users.truncate(1);
        for user in &mut seed.users {
            *user = SeedUser { username: "admin".into(), labs: Vec::new(), ..user.clone() };
        }
        seed.labs.truncate(1);
        for lab in &mut seed.labs {
            lab.repositories.clear();
        }
        (seed.repositories, seed.subjects) = Default::default();
        (seed.projects, seed.locations) = Default::default();
        seed
    }

    /// Reads a seed from YAML.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Seed`] for text that is not YAML, for an unknown key and for a missing one.
    pub fn parse(yaml: &str) -> Result<Seed, SandboxError> {
        serde_yaml::from_str(yaml).map_err(|e| SandboxError::Seed(e.to_string()))
    }
}

impl Default for Seed {
    fn default() -> Self {
        // The text is part of the program and a test parses it, so no input can make this fail.
        Seed::parse(Seed::SHIPPED).expect("the shipped seed is whole")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_seed_is_whole() {
        let seed = Seed::parse(Seed::SHIPPED).unwrap();
        assert_eq!(seed.data_formats.len(), 29);
        assert!(seed.dataset_types.len() >= 114);
        assert!(seed.subjects.iter().any(|s| s.nickname == "ZM_1743" && s.lab == "mainenlab"));
    }

    #[test]
    fn an_empty_alyx_has_its_fixtures_one_user_and_nothing_else() {
        let seed = Seed::empty();
        assert_eq!((seed.dataset_types.len(), seed.data_formats.len(), seed.users.len()), (114, 29, 1));
        assert!(!seed.procedures.is_empty() && !seed.water_types.is_empty());
        assert_eq!(seed.labs.iter().map(|lab| lab.name.as_str()).collect::<Vec<_>>(), ["cortexlab"]);
        assert!(seed.labs[0].repositories.is_empty());
        assert!(seed.subjects.is_empty() && seed.repositories.is_empty());
        assert!(seed.projects.is_empty() && seed.locations.is_empty() && seed.users[0].labs.is_empty());
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Seed::parse("users: [{username: a, password: b, emial: c}]").unwrap_err().to_string();
        assert!(error.contains("emial"), "{error}");
    }
}
