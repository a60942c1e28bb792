//! The world that a new sandbox starts with, as read from YAML.

use serde::Deserialize;

use crate::error::SandboxError;

/// Users, labs, subjects, types … of a new sandbox. `Seed::default()` is the shipped one: the labs `cortexlab` and
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
    /// Who may log in.
    #[serde(default)]
    pub users: Vec<SeedUser>,
    /// The labs and their data repositories.
    #[serde(default)]
    pub labs: Vec<SeedLab>,
    /// Where files may live.
    #[serde(default)]
    pub repositories: Vec<SeedRepository>,
    /// The animals.
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
    /// Data formats: a name and a file extension each.
    #[serde(default)]
    pub data_formats: Vec<SeedFormat>,
    /// Dataset types: a name and a file name pattern each.
    #[serde(default)]
    pub dataset_types: Vec<SeedType>,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedUser {
    /// The login name.
    pub username: String,
    /// The password of a practice account: it is kept in clear.
    pub password: String,
    /// An address.
    #[serde(default)]
    pub email: String,
    /// Taken from the file and without effect: in Alyx, too, the REST interface makes no difference.
    #[serde(default)]
    pub superuser: bool,
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
    /// The repositories to which the lab's files belong.
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
    /// The machine.
    #[serde(default)]
    pub hostname: String,
    /// An IANA zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The folder on the machine.
    #[serde(default)]
    pub globus_path: String,
    /// The root of download addresses.
    #[serde(default)]
    pub data_url: Option<String>,
    /// True: a lab's own disk. False: a server, which decides what a session shows as its datasets.
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
    /// Whether datasets with it may no longer be changed.
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
    /// A shell pattern; empty: the file's `object.attribute` must be the name.
    #[serde(default)]
    pub pattern: String,
}

fn utc() -> String {
    "UTC".into()
}

impl Seed {
    /// The shipped seed, as it is written.
    pub const SHIPPED: &str = include_str!("seed.yaml");

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
        // Part of the program, and parsed by a test: not something that input can break.
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
    fn an_unknown_key_is_named() {
        let error = Seed::parse("users: [{username: a, password: b, emial: c}]").unwrap_err().to_string();
        assert!(error.contains("emial"), "{error}");
    }
}
