//! The section `metadata`: what is read of a session folder, what a session must have, and what is recorded with it.

use serde_yaml::Value;

use crate::config::document::{Given, MetadataDocument};
use crate::config::findings::Findings;
use crate::config::values::{FromYaml, Text, shown, word};
use alyx_registration::{Measured, MetadataOptions, OnMissing};
use session_metadata::Options as ReaderOptions;
use session_metadata::READERS;
use session_metadata::options::Expectation;
use session_metadata::text::locate::{KeyPath, quoted};

/// The reader of `alyx-session.yaml`; the others are those of rig files.
const SIDECAR: &str = "sidecar";

/// The names of the metadata readers, each with the files that it reads.
pub fn metadata_readers() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sidecar = (SIDECAR, "alyx-session.yaml, in the session folder or above it");
    std::iter::once(sidecar).chain(READERS.iter().map(|reader| (reader.name, reader.files)))
}

impl FromYaml for OnMissing {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("wait", Self::Wait), ("finish", Self::Finish)])
    }
}

/// A pattern for a text.
fn pattern(text: &str) -> Result<glob::Pattern, String> {
    glob::Pattern::new(text).map_err(|err| format!("{} is not a pattern: {}", quoted(text), err.msg))
}

/// A pattern for a path relative to the session.
fn path_pattern(text: &str) -> Result<glob::Pattern, String> {
    match text.starts_with('/') {
        true => Err("a pattern is relative to the session folder; leave out the first slash".to_owned()),
        false => pattern(text),
    }
}

impl FromYaml for Expectation {
    /// `{files: [raw_video_data/*.mp4], project: practice}`, or a pattern alone.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        const EXAMPLE: &str = "(example: {files: [\"raw_video_data/*.mp4\"], project: practice})";
        if value.is_string() {
            let files = vec![path_pattern(&Text::from_yaml(value)?.0)?];
            return Ok(Self { files, ..Self::default() });
        }
        let entry =
            value.as_mapping().ok_or_else(|| format!("{} is not a pattern {EXAMPLE}", shown(value)))?;
        let mut expectation = Self::default();
        for (key, value) in entry.iter().filter(|(_, value)| !value.is_null()) {
            let one = |value| pattern(&Text::from_yaml(value)?.0).map(Some);
            match key.as_str() {
                Some("files") => {
                    let files: Vec<Text> = FromYaml::from_yaml(value)?;
                    expectation.files =
                        files.iter().map(|text| path_pattern(&text.0)).collect::<Result<_, _>>()?;
                }
                Some("project") => expectation.project = one(value)?,
                Some("protocol") => expectation.protocol = one(value)?,
                Some("subject") => expectation.subject = one(value)?,
                _ => {
                    return Err(format!(
                        "{} is not a key here; the keys are files, project, protocol and subject {EXAMPLE}",
                        shown(key)
                    ));
                }
            }
        }
        if expectation.files.is_empty() {
            return Err(format!("the files are missing {EXAMPLE}"));
        }
        Ok(expectation)
    }
}

impl Findings {
    /// The section `metadata`, without the data roots.
    pub(crate) fn metadata(&mut self, from: MetadataDocument) -> MetadataOptions {
        let mut readers = ReaderOptions { readers: self.readers(from.readers), ..ReaderOptions::default() };
        let sidecars = readers.readers.iter().any(|name| name == SIDECAR);
        readers.readers.retain(|name| name != SIDECAR);
        readers.users_map =
            self.take(&KeyPath::of("metadata.users_map"), from.users_map).unwrap_or_default().0;
        readers.expect = self.take(&KeyPath::of("metadata.expect"), from.expect).unwrap_or_default();
        let at = KeyPath::of("metadata.wait_for");
        if let Some(patterns) = self.take(&at, from.wait_for) {
            readers.wait_for.clear();
            for (i, Text(text)) in patterns.iter().enumerate() {
                match path_pattern(text) {
                    Ok(pattern) => readers.wait_for.push(pattern),
                    Err(why) => self.refuse(at.index(i), why),
                }
            }
        } else if !sidecars && readers.readers.is_empty() {
            // Nothing is read, and nothing is waited for.
            readers.wait_for.clear();
        }
        let on_missing = self.take(&KeyPath::of("metadata.on_missing"), from.on_missing).unwrap_or_default();
        let measured = from.measurements.unwrap_or_default();
        let measured = Measured {
            weight: self.yes_no("metadata.measurements.weight", measured.weight, false),
            water: self.yes_no("metadata.measurements.water", measured.water, false),
        };
        MetadataOptions { sidecars, readers, on_missing, measured, ..MetadataOptions::default() }
    }

    fn readers(&mut self, given: Given<Vec<Text>>) -> Vec<String> {
        let at = KeyPath::of("metadata.readers");
        let known: Vec<&str> = metadata_readers().map(|(name, _)| name).collect();
        let Some(names) = self.take(&at, given) else {
            return known.into_iter().map(str::to_owned).collect();
        };
        for (i, Text(name)) in names.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let why = format!("{} is not a reader; the readers are {}", quoted(name), known.join(", "));
                self.refuse(at.index(i), why);
            }
        }
        names.into_iter().map(|Text(name)| name).collect()
    }
}
