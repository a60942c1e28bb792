//! A layer: what one source says of a session.

use std::collections::BTreeMap;

use alf::SessionTime;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::source::{Source, Sourced};

/// A field of a session on Alyx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Alyx's")]
pub enum Field {
    Users,
    Lab,
    Projects,
    Procedures,
    Location,
    TaskProtocol,
    #[serde(rename = "type")]
    Kind,
    StartTime,
    EndTime,
    NTrials,
    NCorrectTrials,
    Narrative,
    Qc,
}

impl Field {
    /// All fields.
    pub const ALL: [Self; 13] = [
        Self::Users,
        Self::Lab,
        Self::Projects,
        Self::Procedures,
        Self::Location,
        Self::TaskProtocol,
        Self::Kind,
        Self::StartTime,
        Self::EndTime,
        Self::NTrials,
        Self::NCorrectTrials,
        Self::Narrative,
        Self::Qc,
    ];

    /// The name on Alyx.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Lab => "lab",
            Self::Projects => "projects",
            Self::Procedures => "procedures",
            Self::Location => "location",
            Self::TaskProtocol => "task_protocol",
            Self::Kind => "type",
            Self::StartTime => "start_time",
            Self::EndTime => "end_time",
            Self::NTrials => "n_trials",
            Self::NCorrectTrials => "n_correct_trials",
            Self::Narrative => "narrative",
            Self::Qc => "qc",
        }
    }
}

/// The weight of the subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// In grams, above zero.
    pub grams: f64,
    /// When it was taken; `None`: at the start of the session.
    pub at: Option<SessionTime>,
}

/// Water that the subject got in the session.
#[derive(Debug, Clone, PartialEq)]
pub struct Water {
    /// In millilitres, above zero.
    pub millilitres: f64,
    /// The water type on Alyx.
    pub kind: String,
    /// When it was given; `None`: at the end of the session.
    pub at: Option<SessionTime>,
    /// Whether the subject drank as much as it wanted.
    pub adlib: bool,
}

/// A measurement of the subject that belongs to a session.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the types say it")]
pub enum Measurement {
    Weight(Weight),
    Water(Water),
}

impl Serialize for Measurement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = |at: &Option<SessionTime>| at.map(|time| time.to_iso());
        match self {
            Self::Weight(Weight { grams, at }) => {
                serde_json::json!({"weight": grams, "date_time": time(at)}).serialize(serializer)
            }
            Self::Water(Water { millilitres, kind, at, adlib }) => serde_json::json!({
                "water_administered": millilitres, "water_type": kind, "date_time": time(at), "adlib": adlib,
            })
            .serialize(serializer),
        }
    }
}

/// What one source says of a session. A field that is absent says nothing; a list that is present and empty says that
/// there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// Fields: texts, lists of texts, numbers, and times in ISO 8601.
    pub fields: BTreeMap<Field, Sourced<Value>>,
    /// Members of the session's `json`, each by itself.
    pub json: BTreeMap<String, Sourced<Value>>,
    /// What is no field of the session but of its registration: `earliest`, `accept`, `datasets.repository`,
    /// `datasets.exclude`, `datasets.versions`.
    pub settings: BTreeMap<String, Sourced<Value>>,
    /// The weight.
    pub weight: Option<Sourced<Weight>>,
    /// Each gift of water; present and empty: none.
    pub water: Option<Vec<Sourced<Water>>>,
    /// Fields that the subject's record on Alyx gives where no source does: `users` (its responsible user) and
    /// `projects`.
    pub from_subject: BTreeMap<Field, Source>,
    /// Where the session has no task: it must be on Alyx already.
    pub passive: Option<Source>,
}

impl Layer {
    /// Sets a field.
    pub fn set(&mut self, field: Field, value: impl Into<Value>, source: Source) {
        self.fields.insert(field, Sourced::new(value.into(), source));
    }

    /// Sets a field if there is a value.
    pub(crate) fn set_some(&mut self, field: Field, value: Option<impl Into<Value>>, source: Source) {
        if let Some(value) = value {
            self.set(field, value, source);
        }
    }
}

/// The texts of a list, or a single text.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}
