//! Records of Alyx as JSON: always the same fields, whether a record was posted now or was there.

use serde::Serialize;
use serde_json::{Map, Value};

use alyx_client::{RegisteredFileRecord, WaterRecord, WeighingRecord};
use alyx_registration::{RecordOutcome, RegisteredFile, RegisteredSession};

/// A session on Alyx.
#[derive(Debug, Clone, Serialize)]
pub struct SessionJson {
    outcome: RecordOutcome,
    id: String,
    url: String,
    subject: String,
    start_time: String,
    end_time: Value,
    number: Option<i64>,
    lab: Option<String>,
    location: Value,
    users: Vec<String>,
    projects: Value,
    procedures: Value,
    r#type: Value,
    task_protocol: Value,
    narrative: Value,
    n_trials: Value,
    n_correct_trials: Value,
    qc: Value,
    extended_qc: Value,
    parent_session: Value,
    json: Value,
}

/// A field that the client does not interpret; null if the server did not send it.
fn field(other: &Map<String, Value>, name: &str) -> Value {
    other.get(name).cloned().unwrap_or_default()
}

/// The UUID at the end of a record's address.
fn id_of(other: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| other.get(name).and_then(Value::as_str);
    let id = text("id").or_else(|| text("url")?.trim_end_matches('/').rsplit('/').next())?;
    Some(id.to_owned())
}

impl From<&RegisteredSession> for SessionJson {
    fn from(RegisteredSession { outcome, record, missing: _ }: &RegisteredSession) -> Self {
        let field = |name| field(&record.other, name);
        Self {
            outcome: *outcome,
            id: record.eid().to_owned(),
            url: record.url.clone(),
            subject: record.subject.clone(),
            start_time: record.start_time.clone(),
            end_time: field("end_time"),
            number: record.number,
            lab: record.lab.clone(),
            location: field("location"),
            users: record.users.clone(),
            projects: field("projects"),
            procedures: field("procedures"),
            r#type: field("type"),
            task_protocol: field("task_protocol"),
            narrative: field("narrative"),
            n_trials: field("n_trials"),
            n_correct_trials: field("n_correct_trials"),
            qc: field("qc"),
            extended_qc: field("extended_qc"),
            parent_session: field("parent_session"),
            json: record.json.clone(),
        }
    }
}

/// A dataset on Alyx.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetJson {
    outcome: RecordOutcome,
    id: String,
    name: String,
    collection: String,
    revision: String,
    file_size: Option<u64>,
    dataset_type: Value,
    data_format: Value,
    session: Value,
    created_by: Value,
    created_datetime: Value,
    default: Value,
    qc: Value,
    file_records: Vec<FileRecordJson>,
}

/// A copy of a dataset in a data repository.
#[derive(Debug, Clone, Serialize)]
struct FileRecordJson {
    id: Value,
    data_repository: Value,
    relative_path: Value,
    exists: Value,
}

impl From<&RegisteredFile> for DatasetJson {
    fn from(RegisteredFile { outcome, record, .. }: &RegisteredFile) -> Self {
        let RegisteredFileRecord { id, name, file_size, collection, revision, other } = record;
        let field = |name| field(other, name);
        let copies = other.get("file_records").and_then(Value::as_array).into_iter().flatten();
        let copy = |copy: &Value| FileRecordJson {
            id: copy["id"].clone(),
            data_repository: copy["data_repository"].clone(),
            relative_path: copy["relative_path"].clone(),
            exists: copy["exists"].clone(),
        };
        Self {
            outcome: *outcome,
            id: id.clone(),
            name: name.clone(),
            collection: collection.clone().unwrap_or_default(),
            revision: revision.clone().unwrap_or_default(),
            file_size: *file_size,
            dataset_type: field("dataset_type"),
            data_format: field("data_format"),
            session: field("session"),
            created_by: field("created_by"),
            created_datetime: field("created_datetime"),
            default: field("default"),
            qc: field("qc"),
            file_records: copies.map(copy).collect(),
        }
    }
}

/// A water administration on Alyx.
#[derive(Debug, Clone, Serialize)]
pub struct WaterJson {
    id: Option<String>,
    url: Value,
    subject: String,
    date_time: String,
    /// In millilitres.
    water_administered: Option<f64>,
    water_type: Option<String>,
    adlib: bool,
    user: Option<String>,
    session: Option<String>,
}

impl From<&WaterRecord> for WaterJson {
    fn from(record: &WaterRecord) -> Self {
        Self {
            id: id_of(&record.other),
            url: field(&record.other, "url"),
            subject: record.subject.clone(),
            date_time: record.date_time.clone(),
            water_administered: record.water_administered,
            water_type: record.water_type.clone(),
            adlib: record.adlib,
            user: record.user.clone(),
            session: record.session.clone(),
        }
    }
}

/// A weighing on Alyx.
#[derive(Debug, Clone, Serialize)]
pub struct WeighingJson {
    id: Option<String>,
    url: Value,
    subject: String,
    date_time: String,
    /// In grams.
    weight: Option<f64>,
    user: Option<String>,
}

impl From<&WeighingRecord> for WeighingJson {
    fn from(record: &WeighingRecord) -> Self {
        Self {
            id: id_of(&record.other),
            url: field(&record.other, "url"),
            subject: record.subject.clone(),
            date_time: record.date_time.clone(),
            weight: record.weight,
            user: record.user.clone(),
        }
    }
}
