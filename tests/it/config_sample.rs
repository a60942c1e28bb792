//! The shipped sample documents the configuration, so it must be complete and correct.

use std::path::{Path, PathBuf};

use alyx_registrar::config::{Config, CredentialSource, known_keys};
use serde_yaml::Value;

fn sample_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/alyx-registrar.yaml")
}

fn sample_text() -> String {
    std::fs::read_to_string(sample_path()).unwrap()
}

/// Walks to a key: `data_roots[].path` goes through the first item.
fn find<'a>(value: &'a mut Value, key: &str) -> Option<(&'a mut Value, String)> {
    let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = value;
    for section in sections.split('.').filter(|s| !s.is_empty()) {
        at = match section.strip_suffix("[]") {
            Some(list) => at.get_mut(list)?.get_mut(0)?,
            None => at.get_mut(section)?,
        };
    }
    Some((at, last.to_owned()))
}

/// The keys without a default, and those that need an example value in the sample.
const NO_DEFAULT: [&str; 5] =
    ["data_roots[].path", "alyx.url", "alyx.username", "alyx.password_file", "metadata.skip_subjects"];

#[test]
fn the_sample_is_accepted_unchanged() {
    let config = Config::load(&sample_path()).unwrap();
    assert_eq!(config.alyx.url.as_str(), "https://alyx.example.org/");
    let file = PathBuf::from("/etc/alyx-registrar/password");
    assert_eq!(config.alyx.credentials, CredentialSource::PasswordFile(file));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn every_known_key_is_in_the_sample() {
    let mut sample: Value = serde_yaml::from_str(&sample_text()).unwrap();
    let keys = known_keys();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let found = find(&mut sample, &key).and_then(|(section, name)| section.get(&name));
        assert!(found.is_some(), "{key} is not in config/alyx-registrar.yaml");
    }
}

#[test]
fn every_value_in_the_sample_is_the_default() {
    let file = sample_path();
    let as_shipped = Config::parse(&sample_text(), &file).unwrap();
    for key in known_keys() {
        let mut without: Value = serde_yaml::from_str(&sample_text()).unwrap();
        let removed = find(&mut without, &key)
            .and_then(|(section, name)| section.as_mapping_mut()?.remove(name.as_str()));
        assert!(removed.is_some(), "{key} is not in config/alyx-registrar.yaml");
        let text = serde_yaml::to_string(&without).unwrap();
        let parsed = Config::parse(&text, &file);
        if NO_DEFAULT.contains(&key.as_str()) {
            assert_ne!(parsed.ok().as_ref(), Some(&as_shipped), "{key} has a default after all");
        } else {
            assert_eq!(parsed.as_ref(), Ok(&as_shipped), "{key} is not at its default in the sample");
        }
    }
}

#[test]
fn every_key_of_the_sample_is_explained_right_above_it() {
    let text = sample_text();
    let lines: Vec<&str> = text.lines().collect();
    for key in known_keys() {
        let name = key.rsplit('.').next().unwrap();
        let explained = lines.windows(3).any(|three| {
            let typed = three[2].trim_start();
            let comment = |line: &str| line.trim_start().starts_with("# ");
            typed.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
                && comment(three[0])
                && comment(three[1])
        });
        // The path is explained with its list.
        assert!(explained || key == "data_roots[].path", "{key} has no two lines of explanation");
    }
}
