//! Request and response bodies: what Alyx returns (`…Record`) and what it is sent (`…Request`). Types only.

pub(crate) mod measurements;
pub(crate) mod page;
pub(crate) mod repository;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A dataset type, of `GET /dataset-types`.
#[derive(Debug, Clone, Deserialize)]
pub struct DatasetTypeRecord {
    /// Name, such as `spikes.times`.
    pub name: String,
    /// `fnmatch` pattern of file names; empty if the name decides.
    #[serde(default)]
    pub filename_pattern: Option<String>,
}

/// A data format, of `GET /data-formats`.
#[derive(Debug, Clone, Deserialize)]
pub struct DataFormatRecord {
    /// Name, such as `npy`.
    pub name: String,
    /// Extension with its dot; empty for two formats of the standard database.
    #[serde(default)]
    pub file_extension: Option<String>,
}

/// A session in a list, of `GET /sessions`.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionSummary {
    /// The eid; older servers leave it out and `url` ends with it.
    #[serde(default)]
    pub id: Option<String>,
    /// Address of the record.
    #[serde(default)]
    pub url: Option<String>,
    /// Nickname of the subject.
    pub subject: String,
    /// Naive local time, ISO 8601.
    pub start_time: String,
    /// Number of that day.
    #[serde(default)]
    pub number: Option<i64>,
    /// Name of the lab.
    #[serde(default)]
    pub lab: Option<String>,
}

/// A session, of `POST /sessions`, `PATCH` and `GET /sessions/<eid>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Nickname of the subject.
    pub subject: String,
    /// User names.
    #[serde(default)]
    pub users: Vec<String>,
    /// Name of the lab.
    #[serde(default)]
    pub lab: Option<String>,
    /// Number of that day.
    #[serde(default)]
    pub number: Option<i64>,
    /// Naive local time, ISO 8601.
    pub start_time: String,
    /// Address of the record; it ends with the eid.
    pub url: String,
    /// The `json` field: an object, or any value that another program stored there.
    #[serde(default)]
    pub json: Value,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The eid at the end of a record's address.
fn eid_of(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap_or(url)
}

impl SessionRecord {
    /// The session's UUID, as text.
    pub fn eid(&self) -> &str {
        eid_of(&self.url)
    }
}

impl SessionSummary {
    /// The session's UUID, as text; empty if the server sent neither `id` nor `url`.
    pub fn eid(&self) -> &str {
        self.id.as_deref().or(self.url.as_deref().map(eid_of)).unwrap_or_default()
    }

    /// The day of `start_time`, `YYYY-MM-DD`.
    pub fn date(&self) -> &str {
        self.start_time.get(..10).unwrap_or(&self.start_time)
    }
}

/// Body of `POST /sessions` and of `PATCH`, which leaves the absent fields unchanged.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SessionRequest {
    /// Nickname of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// User names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// Number of that day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// Naive local time, ISO 8601: a time with an offset would be stored as UTC, maybe on another day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Naive local time, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// Kind of session, such as `Experiment`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    pub kind: Option<String>,
    /// Name of the lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    /// Name of the location inside the lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Names of projects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// Names of procedures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub procedures: Option<Vec<String>>,
    /// Task protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_protocol: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrative: Option<String>,
    /// Completed trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_trials: Option<u32>,
    /// Correct trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_correct_trials: Option<u32>,
    /// QC outcome, such as `PASS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qc: Option<String>,
    /// The whole `json` field: the server replaces the old value, so the caller must merge the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Map<String, Value>>,
}

/// Body of `POST /register-file`: some files of one session. The lists run in parallel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegisterFileRequest {
    /// The user who registers.
    pub created_by: String,
    /// `subject/YYYY-MM-DD/NNN`.
    pub path: String,
    /// Files relative to the session, with collection and `#revision#`.
    pub filenames: Vec<String>,
    /// MD5 in hexadecimal; null for a file above the size limit.
    pub hashes: Vec<Option<String>>,
    /// Sizes in bytes.
    pub filesizes: Vec<u64>,
    /// Version tags.
    pub versions: Vec<Option<String>>,
    /// Name of the repository that holds the files; null: the lab's repositories.
    pub name: Option<String>,
    /// Whether the files exist there.
    pub exists: bool,
    /// Only records in online repositories.
    pub server_only: bool,
    /// Whether this becomes the default revision.
    pub default: bool,
    /// Whether the server checks for protected datasets first.
    pub check_protected: bool,
    /// Comma-separated labs, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labs: Option<String>,
    /// QC outcome for each file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qc: Option<String>,
    /// The model of Alyx that files outside a session belong to, such as `subject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// UUID of that object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
}

/// Body of `GET /check-protected`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckProtectedRequest {
    /// The user who asks.
    pub created_by: String,
    /// `subject/YYYY-MM-DD/NNN`, or the common folder of files outside a session.
    pub path: String,
    /// Files relative to `path`.
    pub filenames: Vec<String>,
    /// As in [`RegisterFileRequest`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// As in [`RegisterFileRequest`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
}

/// A dataset as `POST /register-file` returns it. It has no hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegisteredFileRecord {
    /// UUID of the dataset.
    pub id: String,
    /// File name.
    pub name: String,
    /// Size in bytes.
    #[serde(default)]
    pub file_size: Option<u64>,
    /// Collection; empty for none.
    #[serde(default)]
    pub collection: Option<String>,
    /// Revision; empty for none.
    #[serde(default)]
    pub revision: Option<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The datasets of a session in its record.
const DATASETS_OF_SESSION: &str = "data_dataset_session_related";

impl SessionRecord {
    /// Whether the record lists the datasets of the session.
    pub fn lists_datasets(&self) -> bool {
        self.other.contains_key(DATASETS_OF_SESSION)
    }
}

/// A session without its datasets. They are skipped as they are read: a session may have 100,000.
#[derive(Debug, Deserialize)]
pub(crate) struct BriefSession {
    #[serde(rename = "data_dataset_session_related", default)]
    _datasets: IgnoredAny,
    #[serde(flatten)]
    pub(crate) record: SessionRecord,
}

/// A dataset, of `GET /datasets`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// Address of the record; it ends with the UUID.
    #[serde(default)]
    pub url: Option<String>,
    /// File name.
    pub name: String,
    /// Collection; empty or null for none.
    #[serde(default)]
    pub collection: Option<String>,
    /// Revision; empty or null for none.
    #[serde(default)]
    pub revision: Option<String>,
    /// Size in bytes.
    #[serde(default)]
    pub file_size: Option<u64>,
    /// MD5 in hexadecimal.
    #[serde(default)]
    pub hash: Option<String>,
    /// Address of the session.
    #[serde(default)]
    pub session: Option<String>,
    /// The user who registered it last.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Version tag; empty or null for none.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether it is the default revision.
    #[serde(default)]
    pub default_dataset: Option<bool>,
    /// QC outcome: its name, such as `NOT_SET`, or its number.
    #[serde(default)]
    pub qc: Value,
    /// The registered copies of the file.
    #[serde(default)]
    pub file_records: Vec<FileRecord>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file of a dataset in one repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileRecord {
    /// Name of the repository.
    #[serde(default)]
    pub data_repository: Option<String>,
    /// Whether the file is there.
    #[serde(default)]
    pub exists: bool,
    /// Address of the file; only in online repositories.
    #[serde(default)]
    pub data_url: Option<String>,
    /// Every other field, as the server sent it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file of a dataset in one repository, of `GET /files`.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedFileRecord {
    /// Address of the dataset; it ends with the UUID.
    #[serde(default)]
    pub dataset: String,
    /// Name of the repository.
    #[serde(default)]
    pub data_repository: String,
    /// The path in the repository.
    #[serde(default)]
    pub relative_path: String,
    /// Whether the file is there.
    pub exists: bool,
}

impl ListedFileRecord {
    /// The UUID of the dataset, as text.
    pub fn dataset_id(&self) -> &str {
        eid_of(&self.dataset)
    }
}

/// Names of QC outcomes and the numbers that `/register-file` returns for them.
const QC: [(&str, u64); 5] = [("NOT_SET", 0), ("PASS", 10), ("WARNING", 30), ("FAIL", 40), ("CRITICAL", 50)];

/// The number of a QC outcome, from its name or its digits; `None` if there is no such outcome.
pub fn qc_number(outcome: &str) -> Option<u64> {
    let named =
        |(name, number): &(&str, u64)| name.eq_ignore_ascii_case(outcome) || number.to_string() == outcome;
    QC.iter().find(|known| named(known)).map(|(_, number)| *number)
}

impl DatasetRecord {
    /// The QC outcome as a number; `None` if it is absent or unknown.
    pub fn qc_number(&self) -> Option<u64> {
        match &self.qc {
            Value::String(name) => qc_number(name),
            other => other.as_u64(),
        }
    }

    /// The dataset's UUID, as text; empty if the server sent no address.
    pub fn id(&self) -> &str {
        self.url.as_deref().map(eid_of).unwrap_or_default()
    }

    /// The same dataset in the form of `/register-file`'s answer.
    pub fn as_registered(&self) -> RegisteredFileRecord {
        let mut other = Map::new();
        let session = self.session.as_deref().map(eid_of);
        other.insert("created_by".into(), self.created_by.clone().into());
        for key in ["created_datetime", "dataset_type", "data_format"] {
            other.insert(key.into(), self.other.get(key).cloned().unwrap_or_default());
        }
        other.insert("session".into(), session.into());
        other.insert("default".into(), self.default_dataset.into());
        other.insert("qc".into(), self.qc_number().into());
        other.insert("file_records".into(), serde_json::to_value(&self.file_records).unwrap_or_default());
        RegisteredFileRecord {
            id: self.id().to_owned(),
            name: self.name.clone(),
            file_size: self.file_size,
            collection: Some(self.collection.clone().unwrap_or_default()),
            revision: Some(self.revision.clone().unwrap_or_default()),
            other,
        }
    }

    /// The path relative to the session, as it is sent in `filenames`.
    pub fn relative_path(&self) -> String {
        relative_path(self.collection.as_deref(), self.revision.as_deref(), &self.name)
    }
}

impl DatasetRecord {
    /// The UUID of its session, as text; `None` outside a session.
    pub fn eid(&self) -> Option<&str> {
        self.session.as_deref().map(eid_of).filter(|eid| !eid.is_empty())
    }
}

impl FileRecord {
    /// The UUID of the record.
    pub fn id(&self) -> Option<&str> {
        self.other.get("id").and_then(Value::as_str)
    }

    /// Whether it is the copy of a file in a repository. `path`: as it was posted; Alyx keeps the records of other paths.
    pub fn is_at(&self, repository: &str, path: &str) -> bool {
        self.data_repository.as_deref() == Some(repository) && self.has_path(path)
    }

    /// Whether it is the copy of a file that was posted with this path.
    pub fn has_path(&self, path: &str) -> bool {
        self.other.get("relative_path").is_none_or(|own| own == path)
    }
}

impl RegisteredFileRecord {
    /// The registered copies of the file.
    pub fn file_records(&self) -> Vec<FileRecord> {
        let records = self.other.get("file_records").cloned();
        records.and_then(|records| serde_json::from_value(records).ok()).unwrap_or_default()
    }

    /// The path relative to the session, as it is sent in `filenames`.
    pub fn relative_path(&self) -> String {
        relative_path(self.collection.as_deref(), self.revision.as_deref(), &self.name)
    }
}

fn relative_path(collection: Option<&str>, revision: Option<&str>, name: &str) -> String {
    let mut path = String::new();
    if let Some(collection) = collection.filter(|c| !c.is_empty()) {
        path.push_str(collection);
        path.push('/');
    }
    if let Some(revision) = revision.filter(|r| !r.is_empty()) {
        path.push_str(&format!("#{revision}#/"));
    }
    path.push_str(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_knows_its_path_in_its_session() {
        assert_eq!(relative_path(Some("alf/probe00"), Some("a"), "x.y.npy"), "alf/probe00/#a#/x.y.npy");
        assert_eq!(relative_path(None, Some(""), "x.y.npy"), "x.y.npy");
    }

    #[test]
    fn a_session_keeps_unknown_fields() {
        let text =
            r#"{"subject":"a","start_time":"2024-05-01T00:00:00","url":"http://x/sessions/1-2/","new":7}"#;
        let record: SessionRecord = serde_json::from_str(text).unwrap();
        assert_eq!(record.eid(), "1-2");
        assert_eq!(serde_json::to_value(&record).unwrap()["new"], 7);
    }

    #[test]
    fn a_brief_session_has_all_but_its_datasets() {
        let text = r#"{"subject":"a","start_time":"2024-05-01T00:00:00","url":"http://x/sessions/1-2/","n_trials":7,
            "data_dataset_session_related":[{"id":"x"}],"json":{"POOP_COUNT":1}}"#;
        let whole: SessionRecord = serde_json::from_str(text).unwrap();
        let brief: BriefSession = serde_json::from_str(text).unwrap();
        assert!(whole.lists_datasets() && !brief.record.lists_datasets());
        let (mut whole, brief) =
            (serde_json::to_value(&whole).unwrap(), serde_json::to_value(&brief.record).unwrap());
        whole.as_object_mut().unwrap().remove(DATASETS_OF_SESSION);
        assert_eq!(brief, whole);
    }
}
