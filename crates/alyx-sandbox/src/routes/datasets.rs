//! `/datasets`.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value};

use crate::fields::{Field, Rule, check, field, is_uuid, required};
use crate::filters::{By, Column, Parameter, Where, apply};
use crate::message::{Answer, Request, Stop};
use crate::page::page;
use crate::routes::protected::{NoOwner, Owner, session_owner};
use crate::store::{DatasetKey, Store, new_id};

const FIELDS: &[Field] = &[
    required("name", Rule::Name { blank: false, words: None }),
    field("created_by", Rule::Slug { of: "users", by: "username" }, "\"\""),
    required("dataset_type", Rule::Slug { of: "dataset-types", by: "name" }),
    field("data_format", Rule::Slug { of: "data-formats", by: "name" }, "\"unknown\""),
    field("collection", Rule::Text { max: 255, blank: true }, "\"\""),
    field("session", Rule::SessionLink, "\"\""),
    field("file_size", Rule::Integer, "null"),
    field("hash", Rule::Text { max: 64, blank: false }, "\"\""),
    field("version", Rule::Text { max: 64, blank: false }, "\"\""),
    field("revision", Rule::Slug { of: "revisions", by: "name" }, "\"\""),
    field("default_dataset", Rule::Bool, "true"),
    field("tags", Rule::Slugs { of: "tags", by: "name" }, "[]"),
    field("qc", Rule::Qc, "0"),
    field("json", Rule::Json, "null"),
    field("subject", Rule::Slug { of: "subjects", by: "nickname" }, "\"\""),
    field("date", Rule::Date, "\"\""),
    field("number", Rule::Integer, "\"\""),
];
/// These only find the session of a new dataset.
const WAY: [&str; 3] = ["subject", "date", "number"];

const TAGS: &str = "dataset_tag t WHERE t.dataset = d.id";
const PARAMETERS: &[Parameter] = &[
    ("name", Column::Own("d.name"), By::Exact),
    ("collection", Column::Own("d.collection"), By::Exact),
    ("revision", Column::Own("d.revision"), By::Exact),
    ("subject", Column::Own("s.subject"), By::Exact),
    ("lab", Column::Own("s.lab"), By::Exact),
    ("created_by", Column::Own("d.created_by"), By::Exact),
    ("dataset_type", Column::Own("d.dataset_type"), By::Exact),
    ("date", Column::Own("substr(s.start_time, 1, 10)"), By::Exact),
    ("created_date", Column::Own("substr(d.created_datetime, 1, 10)"), By::Exact),
    ("experiment_number", Column::Own("s.number"), By::Number),
    ("tag", Column::Any(TAGS, "t.tag"), By::Exact),
    ("qc", Column::Own("d.qc"), By::Qc),
    ("default_dataset", Column::Own("d.default_dataset"), By::Bool),
    ("hash", Column::Own("d.hash"), By::Exact),
    ("version", Column::Own("d.version"), By::Exact),
    ("file_size", Column::Own("d.file_size"), By::Number),
    ("id", Column::Own("d.id"), By::Uuid),
    ("object_id", Column::Own("d.object_id"), By::Uuid),
    ("protected", Column::Own(PROTECTED), By::Bool),
    ("public", Column::Own(PUBLIC), By::Bool),
];
const PROTECTED: &str = "EXISTS (SELECT 1 FROM dataset_tag t JOIN member m ON m.kind = 'tags' AND m.name = t.tag \
                         WHERE t.dataset = d.id AND json_extract(m.record, '$.protected'))";
const PUBLIC: &str = "EXISTS (SELECT 1 FROM dataset_tag t JOIN member m ON m.kind = 'tags' AND m.name = t.tag \
                      WHERE t.dataset = d.id AND json_extract(m.record, '$.public'))";
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("d.id")),
    ("id", Column::Own("d.id")),
    ("name", Column::Own("d.name")),
    ("collection", Column::Own("d.collection")),
    ("session", Column::Own("d.session")),
    ("session__id", Column::Own("d.session")),
    ("session__subject__nickname", Column::Own("s.subject")),
    ("session__start_time", Column::Own("s.start_time")),
    ("session__number", Column::Own("s.number")),
    ("session__lab__name", Column::Own("s.lab")),
    ("dataset_type__name", Column::Own("d.dataset_type")),
    ("data_format__name", Column::Own("d.data_format")),
    ("revision", Column::Own("d.revision")),
    ("revision__name", Column::Own("d.revision")),
    ("default_dataset", Column::Own("d.default_dataset")),
    ("created_by__username", Column::Own("d.created_by")),
    ("created_datetime", Column::Own("d.created_datetime")),
    ("content_type", Column::Own("d.content_type")),
    ("object_id", Column::Own("d.object_id")),
    ("file_size", Column::Own("d.file_size")),
    ("hash", Column::Own("d.hash")),
    ("qc", Column::Own("d.qc")),
    ("json", Column::Own("d.json")),
    ("tags__name", Column::Any(TAGS, "t.tag")),
];

pub(super) fn list(store: &mut Store, request: &Request, method: &str, user: &str) -> Result<Answer, Stop> {
    if method == "POST" {
        return create(store, request, user);
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    of_session(store, &mut filter, request)?;
    on_server(&mut filter, request);
    for (name, sign) in [("created_date_gte", ">="), ("created_date_lte", "<=")] {
        if let Some(date) = request.param(name) {
            let date = Sql::Text(date.chars().take(10).collect());
            filter.and(format!("substr(d.created_datetime, 1, 10) {sign} ?"), [date]);
        }
    }
    let count = store.dataset_count(&filter)?;
    page(request, count, |limit, offset| Ok(store.datasets(&filter, (limit, offset), &request.base)?))
}

/// `session=`: here an id that leads nowhere is refused, not answered with an empty list.
fn of_session(store: &Store, filter: &mut Where, request: &Request) -> Result<(), Stop> {
    let Some(id) = request.param("session") else { return Ok(()) };
    if !is_uuid(id) {
        return Err(Answer::field("session", format!("“{id}” is not a valid UUID.")).into());
    }
    if !store.exists("sessions", id)? {
        let text = "Select a valid choice. That choice is not one of the available choices.";
        return Err(Answer::field("session", text).into());
    }
    filter.and("d.session = ?", [Sql::Text(id.to_owned())]);
    Ok(())
}

/// `exists=`: some server says so of its file record.
fn on_server(filter: &mut Where, request: &Request) {
    let present = match request.param("exists").map(str::to_lowercase).as_deref() {
        Some("true" | "1") => 1,
        Some("false" | "0") => 0,
        _ => return,
    };
    filter.and(
        "EXISTS (SELECT 1 FROM file_record f JOIN member m ON m.kind = 'data-repository' AND \
         m.name = f.repository WHERE f.dataset = d.id AND f.present = ? AND \
         json_extract(m.record, '$.globus_is_personal') = 0)",
        [Sql::Integer(present)],
    );
}

fn create(store: &mut Store, request: &Request, user: &str) -> Result<Answer, Stop> {
    let mut given = check(store, FIELDS, request, false)?;
    let mut user = Value::from(user);
    if !given.contains_key("session")
        && let Some(session) =
            session_on_the_way(store, &given, user.as_str().unwrap_or_default(), &request.now)?
    {
        given.insert("session".into(), session.into());
        // Alyx uses the creator up in looking for the session.
        given.shift_remove("created_by");
        user = Value::Null;
    }
    let mut columns = Map::new();
    for field in FIELDS.iter().filter(|f| f.name != "tags" && !WAY.contains(&f.name)) {
        let value = match (given.get(field.name), field.name) {
            (Some(value), _) => value.clone(),
            (None, "created_by") => user.clone(),
            (None, "session" | "revision") => Value::Null,
            (None, _) => serde_json::from_str(field.default).unwrap_or(Value::Null),
        };
        columns.insert(field.name.into(), value);
    }
    let text = |key: &str| columns.get(key).and_then(Value::as_str).map(str::to_owned);
    if given.get("default_dataset") != Some(&Value::Bool(false)) {
        let key = DatasetKey {
            session: text("session"),
            content_type: None,
            object_id: None,
            collection: text("collection").unwrap_or_default(),
            name: text("name").unwrap_or_default(),
        };
        if key.session.is_some() {
            store.clear_default(&key, &request.now)?;
        }
    }
    let id = new_id();
    columns.insert("id".into(), id.as_str().into());
    columns.insert("created_datetime".into(), request.now.as_str().into());
    columns.insert("auto_datetime".into(), request.now.as_str().into());
    store.insert_dataset(&columns)?;
    tag(store, &id, &given)?;
    collection(&given)?;
    Ok(Answer::json(201, found(store, request, &id)?))
}

/// The session that subject, date and number lead to.
fn session_on_the_way(
    store: &Store,
    given: &Map<String, Value>,
    user: &str,
    now: &str,
) -> Result<Option<String>, Stop> {
    let text = |key: &str| given.get(key).and_then(Value::as_str);
    let (Some(subject), Some(date)) = (text("subject"), text("date")) else { return Ok(None) };
    let number = given.get("number").and_then(Value::as_i64).unwrap_or(0);
    let user = text("created_by").unwrap_or(user);
    match session_owner(store, &format!("{subject}/{date}/{number}"), user, now) {
        Ok(Owner::Session { id, .. }) => Ok(Some(id)),
        Ok(Owner::Object { .. }) => Ok(None),
        Err(NoOwner::Stop(stop)) => Err(stop),
        Err(NoOwner::Path(text) | NoOwner::Subject(text)) => Err(Stop::broken(text)),
    }
}

/// Alyx looks at the characters of a collection after it has stored it: the answer is a 500, the change stays.
fn collection(given: &Map<String, Value>) -> Result<(), Stop> {
    let text = given.get("collection").and_then(Value::as_str).unwrap_or_default();
    if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')) {
        return Ok(());
    }
    let why = "Collections must only contain letters, numbers, hyphens, underscores and forward slashes.";
    Err(Stop::broken(format!("{{'collection': ['{why}']}}")))
}

pub(super) fn one(
    store: &mut Store,
    request: &Request,
    id: &str,
    method: &str,
    user: &str,
) -> Result<Answer, Stop> {
    let record = found(store, request, id)?;
    match method {
        "DELETE" => {
            let tags = store.protecting_tags(id)?;
            if !tags.is_empty() {
                let name = record["name"].as_str().unwrap_or_default();
                let tags = tags.join("\", \"");
                let text = format!("Failed to delete dataset {name} due to protected tag(s) \"{tags}\"");
                return Err(Stop::file(403, "detail", text));
            }
            store.delete_dataset(id)?;
            Ok(Answer::empty())
        }
        "PUT" | "PATCH" => {
            let mut given = check(store, FIELDS, request, method == "PATCH")?;
            if method == "PUT" {
                given.entry("created_by").or_insert_with(|| user.into());
            }
            tag(store, id, &given)?;
            given.retain(|key, _| key != "tags" && !WAY.contains(&key.as_str()));
            given.insert("auto_datetime".into(), request.now.as_str().into());
            store.update_dataset(id, &given)?;
            collection(&given)?;
            Ok(Answer::json(200, found(store, request, id)?))
        }
        _ => Ok(Answer::json(200, record)),
    }
}

fn tag(store: &Store, id: &str, given: &Map<String, Value>) -> Result<(), Stop> {
    if let Some(Value::Array(tags)) = given.get("tags") {
        let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
        store.tag_dataset(id, &tags)?;
    }
    Ok(())
}

fn found(store: &Store, request: &Request, id: &str) -> Result<Value, Stop> {
    store.dataset(id, &request.base, false)?.ok_or_else(|| Answer::no_such("Dataset").into())
}
