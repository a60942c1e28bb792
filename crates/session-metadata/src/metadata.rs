//! What is known of a session, merged from all sources.

use std::collections::BTreeMap;

use alf::SessionTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::layer::{Field, Layer, Measurement, texts};
use crate::problem::{Missing, Problem};
use crate::source::{Origin, Source, Sourced};

/// What is known of a session. With a problem it is not registered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionMetadata {
    /// The merged values.
    pub values: Layer,
    /// Weight and water, each with its time.
    pub measurements: Vec<Sourced<Measurement>>,
    /// What keeps the session from being registered.
    pub problems: Vec<Problem>,
    /// What the session still waits for.
    pub missing: Vec<Missing>,
    /// What is worth a warning.
    pub notes: Vec<String>,
}

impl SessionMetadata {
    /// The text of a field.
    pub fn text(&self, field: Field) -> Option<&str> {
        self.values.fields.get(&field)?.value.as_str()
    }

    /// The names of a field; empty if it is unknown.
    pub fn names(&self, field: Field) -> Vec<&str> {
        self.values.fields.get(&field).map(|found| texts(&found.value)).unwrap_or_default()
    }

    /// The number of a field.
    pub fn count(&self, field: Field) -> Option<u32> {
        self.values.fields.get(&field)?.value.as_u64().and_then(|n| u32::try_from(n).ok())
    }

    /// The time of a field.
    pub fn time(&self, field: Field) -> Option<SessionTime> {
        SessionTime::parse(self.text(field)?, &TimeZone::UTC).ok()
    }

    /// The members for the session's `json`.
    pub fn json(&self) -> Map<String, Value> {
        self.values.json.iter().map(|(key, found)| (key.clone(), found.value.clone())).collect()
    }

    /// What a sidecar confirms although the rig's files say otherwise.
    pub fn accepts(&self, what: &str) -> bool {
        self.values.settings.get("accept").is_some_and(|accept| texts(&accept.value).contains(&what))
    }

    /// Fills users and projects from the subject's record on Alyx where a reader asked for it and no source knows them.
    pub fn fill_from_subject(&mut self, responsible_user: Option<&str>, projects: &[String]) {
        let asked = std::mem::take(&mut self.values.from_subject);
        for (field, source) in asked {
            let names: Vec<String> = match field {
                Field::Users => responsible_user.into_iter().map(str::to_owned).collect(),
                _ => projects.to_vec(),
            };
            if !names.is_empty() && self.names(field).is_empty() {
                let key = format!("the subject's on Alyx ({source})");
                self.values.set(field, names, Source::of(Origin::RigFile, "", key));
            }
        }
    }

    /// For a passive session, which Alyx must know already: the fields that its record lacks.
    pub fn lacking_for_passive(&self, record: Option<&Map<String, Value>>) -> Vec<&'static str> {
        let is_set =
            |field: &str| record.and_then(|record| record.get(field)).is_some_and(|value| !is_empty(value));
        let needed = ["location", "start_time", "lab", "users"];
        if self.values.passive.is_some() {
            needed.into_iter().filter(|field| !is_set(field)).collect()
        } else {
            Vec::new()
        }
    }
}

/// Whether a value on Alyx is as good as none.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Serialize for SessionMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: BTreeMap<&str, Value> = BTreeMap::new();
        for (field, found) in &self.values.fields {
            fields.insert(field.name(), serde_json::to_value(found).unwrap_or_default());
        }
        if !self.values.json.is_empty() {
            let mut sources: Vec<String> =
                self.values.json.values().map(|found| found.source.to_string()).collect();
            sources.sort();
            sources.dedup();
            fields.insert("json", serde_json::json!({"value": self.json(), "source": sources.join("; ")}));
        }
        let measurements: Vec<Value> = self.measurements.iter().map(measurement).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("fields", &fields)?;
        map.serialize_entry("settings", &self.values.settings)?;
        map.serialize_entry("from_subject", &self.values.from_subject)?;
        map.serialize_entry("passive", &self.values.passive)?;
        map.serialize_entry("measurements", &measurements)?;
        map.serialize_entry("missing", &self.missing)?;
        map.serialize_entry("problems", &self.problems)?;
        map.serialize_entry("notes", &self.notes)?;
        map.end()
    }
}

/// A measurement as one flat object.
fn measurement(found: &Sourced<Measurement>) -> Value {
    let mut value = serde_json::to_value(&found.value).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.insert("source".to_owned(), found.source.to_string().into());
    }
    value
}
