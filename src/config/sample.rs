//! Generates a configuration from the shipped sample and a rig's own values, so that the two cannot differ. Pure.

use crate::config::{Config, ConfigErrors};
use std::path::Path;

/// The shipped sample: every key with its meaning, unit and default.
pub const SAMPLE: &str = include_str!("../../config/alyx-registrar.yaml");

/// The values of a rig that differ from the defaults. Not validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The folders to watch.
    pub data_roots: Vec<String>,
    /// Address of Alyx.
    pub url: String,
    /// The Alyx user.
    pub username: Option<String>,
    /// Where the secret is.
    pub secret: SecretPlace,
    /// The lab of sessions whose path does not name one.
    pub lab: Option<String>,
    /// The name of the rig or room.
    pub location: Option<String>,
    /// Names of projects.
    pub projects: Vec<String>,
    /// The Alyx data repository.
    pub repository: Option<String>,
    /// The files are not in the repository until other software copies them there.
    pub not_served: bool,
    /// The metadata readers; `None` for the default.
    pub readers: Option<Vec<String>>,
    /// Sessions wait for every device that an experiment description declares.
    pub all_devices: bool,
}

/// The key for the secret, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// `alyx.password_file`.
    PasswordFile(String),
    /// `alyx.token_file`.
    TokenFile(String),
    /// `alyx.one_settings`.
    OneSettings(String),
    /// No key: the variables `ALYX_PASSWORD` and `ALYX_TOKEN`.
    Environment,
}

impl Answers {
    /// The text of the configuration.
    ///
    /// ```
    /// use alyx_registrar::config::{Answers, Config, SecretPlace};
    ///
    /// let answers = Answers {
    ///     data_roots: vec!["/data".into()],
    ///     url: "https://alyx.example.org".into(),
    ///     username: Some("rig".into()),
    ///     secret: SecretPlace::PasswordFile("/etc/alyx-registrar/password".into()),
    ///     lab: None,
    ///     location: Some("Room 1: \"the rig\"".into()),
    ///     projects: Vec::new(),
    ///     repository: None,
    ///     not_served: false,
    ///     readers: None,
    ///     all_devices: false,
    /// };
    /// let config = Config::parse(&answers.to_yaml(), "new.yaml".as_ref()).unwrap();
    /// assert_eq!(config.session.location.as_deref(), Some("Room 1: \"the rig\""));
    /// ```
    pub fn to_yaml(&self) -> String {
        let mut lines: Vec<String> = SAMPLE.lines().map(without_call).collect();
        let mut set = |key: &str, value: String| {
            if let Some(at) = find(&lines, key)
                && let Some((name, _)) = lines[at].split_once(':')
            {
                lines[at] = format!("{name}: {value}").trim_end().to_owned();
            }
        };
        let text = |value: &Option<String>| value.as_deref().map(scalar).unwrap_or_default();
        let only = |wanted: Option<&String>| wanted.map(|value| scalar(value)).unwrap_or_default();
        set("alyx.url", scalar(&self.url));
        set("alyx.username", text(&self.username));
        let secret = &self.secret;
        set(
            "alyx.password_file",
            only(if let SecretPlace::PasswordFile(f) = secret { Some(f) } else { None }),
        );
        set("alyx.token_file", only(if let SecretPlace::TokenFile(f) = secret { Some(f) } else { None }));
        set("alyx.one_settings", only(if let SecretPlace::OneSettings(f) = secret { Some(f) } else { None }));
        set("session.lab", text(&self.lab));
        set("session.location", text(&self.location));
        let projects: Vec<String> = self.projects.iter().map(|name| scalar(name)).collect();
        set("session.projects", format!("[{}]", projects.join(", ")));
        set("datasets.repository", text(&self.repository));
        set("datasets.exists", (!self.not_served).to_string());
        if let Some(readers) = &self.readers {
            set(
                "metadata.readers",
                format!("[{}]", readers.iter().map(|name| scalar(name)).collect::<Vec<_>>().join(", ")),
            );
        }
        self.set_roots(&mut lines);
        lines.join("\n") + "\n"
    }

    /// Writes the last root in the long form, which shows its other keys, and the others before it.
    fn set_roots(&self, lines: &mut Vec<String>) {
        let (Some(list), Some((last, others))) = (find(lines, "data_roots"), self.data_roots.split_last())
        else {
            return;
        };
        if let Some(path) = lines.iter_mut().skip(list).find(|line| line.starts_with("  - path:")) {
            *path = format!("  - path: {}", scalar(last));
        }
        let complete = self.all_devices.then(|| "    complete: all_devices".to_owned());
        if let Some(line) = lines.iter_mut().skip(list).find(|line| *line == "    complete:") {
            complete.iter().for_each(|complete| line.clone_from(complete));
        }
        let others = others.iter().flat_map(|root| {
            [Some(format!("  - path: {}", scalar(root))), complete.clone()].into_iter().flatten()
        });
        lines.splice(list + 1..list + 1, others);
    }

    /// Validates these values as a read of the file would.
    pub fn check(&self) -> Result<Config, ConfigErrors> {
        Config::parse(&self.to_yaml(), Path::new("answers"))
    }
}

/// The line of a key. The sample is indented by two spaces per level.
fn find(lines: &[String], key: &str) -> Option<usize> {
    let (mut from, mut indent) = (0, String::new());
    for part in key.split('.') {
        let begin = format!("{indent}{part}:");
        from = lines.iter().enumerate().skip(from).find(|(_, line)| line.starts_with(&begin))?.0;
        indent += "  ";
    }
    Some(from)
}

/// A line of comment without its CHANGE marker, because the value is set.
fn without_call(line: &str) -> String {
    match line {
        "# Copy this file to /etc/alyx-registrar/config.yaml and change what is marked with CHANGE." => {
            "# Generated by `alyx-registrar init` from your answers.".to_owned()
        }
        line => line
            .replace("# CHANGE. ", "# ")
            .replace("Apart from those marked, each", "Apart from those answers, each"),
    }
}

/// A text as a YAML scalar, quoted unless it is safe without.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c) || c == ':')
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is a YAML string too, whatever characters it contains.
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CredentialSource;

    fn answers() -> Answers {
        Answers {
            data_roots: vec!["/mnt/a: b".into(), "/mnt/no".into(), "/data".into()],
            url: "https://alyx.lab.org:8443/alyx".into(),
            username: Some("007".into()),
            secret: SecretPlace::OneSettings("/home/rig/.one".into()),
            lab: Some("no".into()),
            location: Some("Room \"1\" # left".into()),
            projects: vec!["a, b".into(), "ibl_neuropixel".into()],
            repository: Some("flatiron_lab".into()),
            not_served: true,
            readers: Some(vec!["iblrig".into(), "sidecar".into()]),
            all_devices: true,
        }
    }

    #[test]
    fn every_answer_is_read_back_unchanged() {
        let config = answers().check().unwrap();
        let roots: Vec<_> = config.data_roots.iter().map(|root| root.path.to_str().unwrap()).collect();
        assert_eq!(roots, ["/mnt/a: b", "/mnt/no", "/data"]);
        assert!(config.data_roots.iter().all(|root| root.all_devices));
        assert_eq!(config.alyx.url.as_str(), "https://alyx.lab.org:8443/alyx/");
        assert_eq!(config.alyx.username.as_deref(), Some("007"));
        assert!(matches!(config.alyx.credentials, CredentialSource::OneSettings { .. }));
        assert_eq!(config.session.lab.as_deref(), Some("no"));
        assert_eq!(config.session.location.as_deref(), Some("Room \"1\" # left"));
        assert_eq!(config.session.projects, ["a, b", "ibl_neuropixel"]);
        assert_eq!(config.datasets.repository.as_deref(), Some("flatiron_lab"));
        assert!(!config.datasets.exists);
        assert!(config.metadata.sidecars);
        assert_eq!(config.metadata.readers.readers, ["iblrig"]);
        let none = Answers { readers: Some(Vec::new()), ..answers() }.check().unwrap().metadata;
        assert!(!none.sidecars && none.readers.readers.is_empty());
    }

    #[test]
    fn the_answers_of_the_sample_give_the_sample_without_its_markers() {
        let shipped = Answers {
            data_roots: vec!["/data/subjects".into()],
            url: "https://alyx.example.org".into(),
            username: Some("rig".into()),
            secret: SecretPlace::PasswordFile("/etc/alyx-registrar/password".into()),
            lab: None,
            location: None,
            projects: Vec::new(),
            repository: None,
            not_served: false,
            readers: None,
            all_devices: false,
        };
        let text = shipped.to_yaml();
        assert!(!text.contains("CHANGE") && text.contains("alyx-registrar init"), "{text}");
        let values = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(values(&text), values(SAMPLE));
        assert_eq!(text.lines().count(), SAMPLE.lines().count());
        assert_eq!(shipped.check().unwrap(), Config::parse(SAMPLE, Path::new("sample")).unwrap());
    }

    #[test]
    fn a_bad_answer_is_reported_with_its_key() {
        let bad = Answers { url: "alyx.lab.org".into(), data_roots: vec!["data".into()], ..answers() };
        let bad = bad.check().unwrap_err();
        let keys: Vec<_> = bad.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["data_roots[0]", "alyx.url"]);
    }

    #[test]
    fn words_with_another_meaning_in_yaml_are_quoted() {
        assert_eq!(["rig", "/data/x", "https://a.org"].map(scalar), ["rig", "/data/x", "https://a.org"]);
        assert_eq!(
            ["no", "007", "a b", "", "x:"].map(scalar),
            ["\"no\"", "\"007\"", "\"a b\"", "\"\"", "\"x:\""]
        );
    }
}
