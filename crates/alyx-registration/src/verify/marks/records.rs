//! The file records of copies: looked up, marked, and restored. A record that another program changes meanwhile is left
//! alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::session::register::may_be_rounded;
use crate::verify::marks::target::{Mark, MarkTarget, NotMarked};
use alyx_client::{DatasetRecord, FileRecord};

/// The key that ONE and Alyx's own transfers look for: whether it is there, whatever its value.
const MISMATCH: &str = "mismatch_hash";

/// One file record before it was marked: what a mark is compared with and undone from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkedRecord {
    /// What it says then.
    pub mark: Mark,
    /// The UUID of the file record.
    pub record: String,
    /// The UUID of its dataset.
    pub dataset: String,
    /// `subject/date/number`.
    pub session: String,
    /// The file, relative to the session.
    pub path: String,
    /// The repository.
    pub repository: String,
    /// What the record said before.
    pub before: RecordState,
}

/// What became of a change of a file record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// Alyx has taken it.
    Done,
    /// The record says so without it.
    Needless,
    /// The record was left alone: why, with the next step.
    LeftAlone(String),
    /// The change was sent, and Alyx does not show it: what to do.
    Unconfirmed(String),
}

/// What a file record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordState {
    /// Whether the file exists.
    pub exists: bool,
    /// Its `json`; `None`: the server sends none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub json: Option<Value>,
    /// Its path in the repository, if the server sends that.
    pub relative_path: Option<String>,
}

/// A `null` on Alyx is not the same as no answer.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(json: &Option<Value>, to: S) -> Result<S::Ok, S::Error> {
        json.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(from).map(Some)
    }
}

impl RecordState {
    fn of(record: &FileRecord) -> Self {
        let relative_path = record.other.get("relative_path").and_then(Value::as_str).map(str::to_owned);
        Self { exists: record.exists, json: record.other.get("json").cloned(), relative_path }
    }

    /// The same, marked. `Ok(None)`: it says so already. As the error, why it cannot be changed. Pure.
    fn marked(&self, mark: Mark) -> Result<Option<Self>, String> {
        match mark {
            Mark::Missing if !self.exists => Ok(None),
            Mark::Missing => Ok(Some(Self { exists: false, ..self.clone() })),
            Mark::BadCopy => {
                let mut fields = self.fields()?;
                if fields.contains_key(MISMATCH) {
                    return Ok(None);
                }
                fields.insert(MISMATCH.to_owned(), true.into());
                Ok(Some(Self { json: Some(Value::Object(fields)), ..self.clone() }))
            }
        }
    }

    /// The same without the mark; `before`: what it said before. Pure.
    fn unmarked(&self, mark: Mark, before: &Self) -> Result<Option<Self>, String> {
        match mark {
            Mark::Missing if self.exists => Ok(None),
            Mark::Missing => Ok(Some(Self { exists: true, ..self.clone() })),
            Mark::BadCopy => {
                let mut fields = self.fields()?;
                if fields.remove(MISMATCH).is_none() {
                    return Ok(None);
                }
                let json = match (fields.is_empty(), &before.json) {
                    (true, Some(Value::Null)) => Value::Null,
                    _ => Value::Object(fields),
                };
                Ok(Some(Self { json: Some(json), ..self.clone() }))
            }
        }
    }

    /// The fields of its json, if they can be sent back as they are.
    fn fields(&self) -> Result<Map<String, Value>, String> {
        let fields = match &self.json {
            None => {
                return Err("this Alyx sends no json of file records; update Alyx".to_owned());
            }
            Some(Value::Null) => Map::new(),
            Some(Value::Object(fields)) => fields.clone(),
            Some(_) => {
                return Err(
                    "the json of its file record is not an object, and nothing in it is overwritten; \
                            correct it on Alyx"
                        .to_owned(),
                );
            }
        };
        match fields.values().any(may_be_rounded) {
            true => Err("the json of its file record has a number beyond 64 bits, which would be rounded; store it as \
                         text on Alyx"
                .to_owned()),
            false => Ok(fields),
        }
    }
}

impl RegistrationClient {
    /// Looks up the records of copies of one session. One request for the session, one for each record. A copy whose
    /// record is not the only one, or cannot be marked, is an error of its own.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn records_to_mark(
        &self,
        targets: &[MarkTarget],
    ) -> Result<Vec<Result<MarkedRecord, NotMarked>>, Error> {
        let Some(first) = targets.first() else { return Ok(Vec::new()) };
        let mut found: BTreeMap<String, Vec<DatasetRecord>> =
            targets.iter().map(|target| (target.path.clone(), Vec::new())).collect();
        let take = |record: DatasetRecord| {
            if let Some(own) = found.get_mut(&record.relative_path()) {
                own.push(record);
            }
        };
        self.alyx().for_each_dataset_of_session(&first.eid, take).await?;
        let mut records = Vec::new();
        for target in targets {
            let datasets = found.get(&target.path).map(Vec::as_slice).unwrap_or_default();
            let (dataset, record) = match the_record(target, datasets) {
                Ok(ids) => ids,
                Err(why) => {
                    records.push(Err(target.not_marked(why)));
                    continue;
                }
            };
            let before = RecordState::of(&self.alyx().file_record(&record).await?);
            records.push(match before.marked(target.mark) {
                Ok(Some(_)) => Ok(MarkedRecord {
                    mark: target.mark,
                    record,
                    dataset,
                    session: target.session.clone(),
                    path: target.path.clone(),
                    repository: target.repository.clone(),
                    before,
                }),
                Ok(None) => Err(target.not_marked("its file record says so already")),
                Err(why) => Err(target.not_marked(why)),
            });
        }
        Ok(records)
    }

    /// Marks a record, if it still is as it was looked up, and reads it back.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn mark_record(&self, marked: &MarkedRecord) -> Result<RecordChange, Error> {
        let now = RecordState::of(&self.alyx().file_record(&marked.record).await?);
        if now != marked.before {
            return Ok(RecordChange::LeftAlone(
                "another program has changed its file record meanwhile; run this again".to_owned(),
            ));
        }
        self.change_record(marked, now.marked(marked.mark)).await
    }

    /// Undoes a mark, and reads the record back; what else it says by now stays.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn unmark_record(&self, marked: &MarkedRecord) -> Result<RecordChange, Error> {
        let now = RecordState::of(&self.alyx().file_record(&marked.record).await?);
        if now.relative_path != marked.before.relative_path {
            return Ok(RecordChange::LeftAlone(
                "its file record is of another file by now; correct it on Alyx".to_owned(),
            ));
        }
        self.change_record(marked, now.unmarked(marked.mark, &marked.before)).await
    }

    /// Sends only the field of the mark.
    async fn change_record(
        &self,
        marked: &MarkedRecord,
        wanted: Result<Option<RecordState>, String>,
    ) -> Result<RecordChange, Error> {
        let wanted = match wanted {
            Ok(Some(wanted)) => wanted,
            Ok(None) => return Ok(RecordChange::Needless),
            Err(why) => return Ok(RecordChange::LeftAlone(why)),
        };
        let id = &marked.record;
        match (marked.mark, &wanted.json) {
            (Mark::BadCopy, Some(json)) => self.alyx().replace_file_record_json(id, json).await?,
            _ => self.alyx().update_file_record(id, wanted.exists).await?,
        }
        if RecordState::of(&self.alyx().file_record(id).await?) == wanted {
            return Ok(RecordChange::Done);
        }
        Ok(RecordChange::Unconfirmed(
            "Alyx holds something else than was sent; look at its file record on Alyx".to_owned(),
        ))
    }
}

/// The only record of a copy: the ids of its dataset and of itself. Pure.
fn the_record(target: &MarkTarget, datasets: &[DatasetRecord]) -> Result<(String, String), String> {
    let dataset = match datasets {
        [dataset] => dataset,
        [] => return Err("Alyx holds no such dataset any more".to_owned()),
        _ => return Err("Alyx holds several datasets of this path; delete all but one".to_owned()),
    };
    let is_own = |copy: &&FileRecord| copy.data_repository.as_ref() == Some(&target.repository);
    let mut own = dataset.file_records.iter().filter(is_own);
    let copy = match (own.next(), own.next()) {
        (Some(copy), None) => copy,
        (None, _) => return Err("this repository has no file record of it any more".to_owned()),
        _ => return Err("this repository has several file records of it; delete all but one".to_owned()),
    };
    if !copy.has_path(&target.repository_path()) {
        return Err("its file record names another path; correct it on Alyx".to_owned());
    }
    match copy.id() {
        Some(id) => Ok((dataset.id().to_owned(), id.to_owned())),
        None => Err("this Alyx does not say which file record it is; update Alyx".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(exists: bool, json: Option<Value>) -> RecordState {
        RecordState { exists, json, relative_path: None }
    }

    #[test]
    fn a_mark_changes_one_field_and_keeps_the_rest_of_the_json() {
        let marked = |before: &RecordState, mark| before.marked(mark);
        let before = state(true, Some(json!({"globus": {"n": 1}})));
        assert_eq!(marked(&before, Mark::Missing), Ok(Some(state(false, before.json.clone()))));
        assert_eq!(marked(&state(false, None), Mark::Missing), Ok(None));
        let bad = state(true, Some(json!({"globus": {"n": 1}, "mismatch_hash": true})));
        assert_eq!(marked(&before, Mark::BadCopy), Ok(Some(bad.clone())));
        assert_eq!(
            marked(&state(true, Some(Value::Null)), Mark::BadCopy),
            Ok(Some(state(true, Some(json!({"mismatch_hash": true})))))
        );
        // Alyx asks whether the key is there: `false` still means bad.
        let is_bad = state(true, Some(json!({"mismatch_hash": false})));
        assert_eq!(marked(&is_bad, Mark::BadCopy), Ok(None));
        for lost in [None, Some(json!([1])), Some(json!("x")), Some(json!({"n": 1e30}))] {
            assert!(marked(&state(true, lost.clone()), Mark::BadCopy).is_err(), "{lost:?}");
        }
        assert_eq!(bad.unmarked(Mark::BadCopy, &before), Ok(Some(before.clone())));
    }

    #[test]
    fn undoing_deletes_the_key_and_keeps_what_came_meanwhile() {
        let before = state(true, Some(Value::Null));
        let undone = |json: Value| state(true, Some(json)).unmarked(Mark::BadCopy, &before);
        assert_eq!(undone(json!({"mismatch_hash": true})), Ok(Some(before.clone())));
        let more = json!({"mismatch_hash": true, "new": 1});
        assert_eq!(undone(more), Ok(Some(state(true, Some(json!({"new": 1}))))));
        assert_eq!(undone(json!({})), Ok(None));
        assert!(undone(json!("text")).is_err());
        assert_eq!(state(false, None).unmarked(Mark::Missing, &before), Ok(Some(state(true, None))));
        assert_eq!(before.unmarked(Mark::Missing, &before), Ok(None));
    }

    #[test]
    fn null_in_a_list_for_undoing_stays_null() {
        for state in [state(true, Some(Value::Null)), state(true, None), state(false, Some(json!({"a": 1})))]
        {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<RecordState>(&text).unwrap(), state, "{text}");
        }
    }

    #[test]
    fn a_record_that_is_not_the_only_one_is_left_alone() {
        let target = MarkTarget {
            mark: Mark::Missing,
            eid: "e".into(),
            session: "KS014/2024-05-01/001".into(),
            folder: "/data/KS014/2024-05-01/001".into(),
            path: "alf/x.npy".into(),
            repository: "rig".into(),
        };
        let copy = |repository: &str, path: &str| {
            json!({"id": "1", "data_repository": repository, "exists": true,
                "relative_path": format!("{path}/alf/x.npy")})
        };
        let dataset = |copies: Value| -> DatasetRecord {
            let url = "http://x/datasets/11111111-2222-3333-4444-555555555555";
            let record = json!({"url": url, "name": "x.npy", "collection": "alf", "file_records": copies});
            serde_json::from_value(record).unwrap()
        };
        let own = || copy("rig", "KS014/2024-05-01/001");
        let good = dataset(json!([own(), copy("server", "KS014/2024-05-01/001")]));
        assert_eq!(the_record(&target, std::slice::from_ref(&good)).unwrap().1, "1");
        assert!(the_record(&target, &[good.clone(), good]).is_err());
        for copies in [json!([]), json!([own(), own()]), json!([copy("rig", "KS014/2024-05-01/1")])] {
            assert!(the_record(&target, &[dataset(copies.clone())]).is_err(), "{copies}");
        }
    }
}
