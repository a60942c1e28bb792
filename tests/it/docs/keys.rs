//! `docs/configure.md`: every key with the sample's explanation, its default, and a working example.

use std::collections::BTreeMap;
use std::path::Path;

use alyx_registrar::config::{Config, known_keys};
use serde_yaml::{Mapping, Value};

use super::root;

/// The keys without a default, because the sample's value is only an example.
const NO_DEFAULT: [&str; 5] =
    ["data_roots[].path", "alyx.url", "alyx.username", "alyx.password_file", "metadata.skip_subjects"];

/// A minimal configuration.
const LEAST: &str = "data_roots: [/data]\nalyx: {url: 'https://alyx.example.org', username: rig}\n";

/// A key of the sample: the explanation above it, and its value as written.
struct Key {
    comment: String,
    typed: String,
}

fn sample() -> BTreeMap<String, Key> {
    let text = std::fs::read_to_string(root().join("config/alyx-registrar.yaml")).unwrap();
    let mut found = BTreeMap::new();
    let mut sections: Vec<(usize, String)> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let typed = line.trim_start();
        if typed.is_empty() {
            comment.clear();
        } else if let Some(words) = typed.strip_prefix('#') {
            comment = format!("{comment} {}", words.trim());
        } else {
            let item = typed.strip_prefix("- ");
            let typed = item.unwrap_or(typed);
            let indent = line.len() - typed.len();
            sections.retain(|(outer, _)| *outer < indent);
            if let (Some(_), Some((_, list))) = (item, sections.last_mut()) {
                list.push_str("[]");
            }
            let (name, value) = typed.split_once(':').unwrap();
            let path = sections.iter().map(|(_, section)| section.as_str()).chain([name]);
            let path = path.collect::<Vec<_>>().join(".");
            if item.is_some() {
                // The only key of a list is explained with its list.
                let list = path.split("[]").next().unwrap();
                comment = found.get(list).map_or(comment, |list: &Key| list.comment.clone());
            }
            let key = Key { comment: std::mem::take(&mut comment), typed: value.trim().to_owned() };
            found.insert(path, key);
            sections.push((indent, name.to_owned()));
        }
    }
    found
}

/// The sections of the manual, by key.
fn manual() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("docs/configure.md")).unwrap();
    let mut sections = Vec::new();
    for part in text.split("\n### `").skip(1) {
        let (key, rest) = part.split_once("`\n").unwrap();
        let rest = rest.split("\n## ").next().unwrap();
        sections.push((key.to_owned(), rest.to_owned()));
    }
    sections
}

fn section(key: &str) -> String {
    manual().into_iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("{key} is not there")).1
}

fn plain(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_key_has_a_section_and_every_section_a_key() {
    let mut wanted = known_keys();
    let mut there: Vec<String> = manual().into_iter().map(|(key, _)| key).collect();
    wanted.sort();
    there.sort();
    let missing: Vec<&String> = wanted.iter().filter(|key| !there.contains(key)).collect();
    assert!(missing.is_empty(), "docs/configure.md lacks a section \"### `KEY`\" for {missing:?}");
    assert_eq!(there, wanted, "a section for a key that does not exist, or two for one");
}

#[test]
fn a_section_repeats_the_explanation_of_the_sample() {
    for (key, Key { comment, .. }) in sample().into_iter().filter(|(key, _)| known_keys().contains(key)) {
        let section = plain(&section(&key));
        for sentence in plain(&comment).replace("CHANGE. ", "").split_inclusive(". ") {
            let sentence = sentence.trim().trim_end_matches('.');
            let left_out = sentence == "Not set by default";
            assert!(left_out || section.contains(sentence), "docs/configure.md, {key}: lacks \"{sentence}\"");
        }
    }
}

#[test]
fn a_section_shows_the_default() {
    for (key, Key { typed, .. }) in sample().into_iter().filter(|(key, _)| known_keys().contains(key)) {
        let wanted = if NO_DEFAULT.contains(&key.as_str()) {
            "No default.".to_owned()
        } else if typed.is_empty() {
            "Default: none.".to_owned()
        } else {
            format!("Default: `{typed}`.")
        };
        assert!(
            section(&key).contains(&format!("\n{wanted}\n")),
            "docs/configure.md, {key}: lacks \"{wanted}\""
        );
    }
}

#[test]
fn a_pattern_of_files_matches_what_the_manual_says() {
    let section = section("datasets.exclude");
    for (pattern, matched, not) in [
        (
            "raw_video_data/*",
            &["raw_video_data/a.mp4", "raw_video_data/b/c.mp4"][..],
            &["b/raw_video_data/a"][..],
        ),
        ("*.nwb", &["a.nwb", "alf/probe00/a.nwb"], &["a.nwb.txt", "a.NWB"]),
        ("notes.txt", &["notes.txt"], &["alf/notes.txt"]),
        ("**/notes.txt", &["notes.txt", "alf/notes.txt", "a/b/notes.txt"], &["my_notes.txt"]),
    ] {
        assert!(section.contains(&format!("`{pattern}`")), "docs/configure.md does not explain {pattern}");
        let matches = |path: &&str| glob::Pattern::new(pattern).unwrap().matches(path);
        assert!(matched.iter().all(matches) && !not.iter().any(matches), "{pattern}");
    }
}

#[test]
fn the_example_of_a_section_changes_the_configuration() {
    let file = Path::new("example.yaml");
    let least = Config::parse(LEAST, file).unwrap();
    for (key, section) in manual() {
        let example = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let example = example.unwrap_or_else(|| panic!("docs/configure.md, {key}: no example"));
        let mut whole: Value = serde_yaml::from_str(LEAST).unwrap();
        put(&mut whole, serde_yaml::from_str(example).unwrap());
        let text = serde_yaml::to_string(&whole).unwrap();
        let parsed =
            Config::parse(&text, file).unwrap_or_else(|errors| panic!("docs/configure.md, {key}: {errors}"));
        assert_ne!(parsed, least, "docs/configure.md, {key}: the example is the default");
        assert!(
            example.contains(key.rsplit('.').next().unwrap()),
            "docs/configure.md, {key}: of another key"
        );
    }
}

/// Merges one document into another; a list replaces a list.
fn put(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Mapping(into), Value::Mapping(from)) => {
            for (key, value) in from {
                put(into.entry(key).or_insert(Value::Mapping(Mapping::new())), value);
            }
        }
        (into, from) => *into = from,
    }
}
