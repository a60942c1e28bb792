//! Request and response bodies of water administrations and weighings. Types only.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The time of a record may be null.
fn text_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A kind of water, of `GET /water-type`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WaterTypeRecord {
    pub(crate) name: String,
}

/// Body of `POST /water-administrations`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaterRequest {
    /// Nickname of the subject.
    pub subject: String,
    /// Naive local time, ISO 8601.
    pub date_time: String,
    /// In millilitres; may be unknown if the subject could drink at will.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub water_administered: Option<f64>,
    /// Name of the kind of water.
    pub water_type: String,
    /// The user who gave it.
    pub user: String,
    /// Whether the subject could drink at will.
    pub adlib: bool,
    /// eid of the session in which it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A water administration, of `/water-administrations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaterRecord {
    /// Nickname of the subject.
    pub subject: String,
    /// Naive local time, ISO 8601; empty if Alyx has none.
    #[serde(default, deserialize_with = "text_or_none")]
    pub date_time: String,
    /// In millilitres.
    #[serde(default)]
    pub water_administered: Option<f64>,
    /// Name of the kind of water.
    #[serde(default)]
    pub water_type: Option<String>,
    /// The user who gave it.
    #[serde(default)]
    pub user: Option<String>,
    /// Whether the subject could drink at will.
    #[serde(default)]
    pub adlib: bool,
    /// eid of the session.
    #[serde(default)]
    pub session: Option<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Body of `POST /weighings`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeighingRequest {
    /// Nickname of the subject.
    pub subject: String,
    /// Naive local time, ISO 8601.
    pub date_time: String,
    /// In grams.
    pub weight: f64,
    /// The user who weighed.
    pub user: String,
}

/// A weighing, of `/weighings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeighingRecord {
    /// Nickname of the subject.
    pub subject: String,
    /// Naive local time, ISO 8601; empty if Alyx has none.
    #[serde(default, deserialize_with = "text_or_none")]
    pub date_time: String,
    /// In grams.
    #[serde(default)]
    pub weight: Option<f64>,
    /// The user who weighed.
    #[serde(default)]
    pub user: Option<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
