//! `/sessions`.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::rules::fields::{Field, Rule, TEXT, check, field, required};
use crate::rules::filters::{By, Column, Parameter, apply, date_range, inside};
use crate::store::{SESSIONS, Store, Where, new_id};

const FIELDS: &[Field] = &[
    required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
    field("users", Rule::Slugs { of: "users", by: "username" }, "[]"),
    field("location", Rule::Slug { of: "locations", by: "name" }, "null"),
    field("procedures", Rule::Slugs { of: "procedures", by: "name" }, "[]"),
    field("lab", Rule::Slug { of: "labs", by: "name" }, "\"\""),
    field("projects", Rule::Slugs { of: "projects", by: "name" }, "[]"),
    field("type", Rule::Text { max: 255, blank: true }, "null"),
    field("task_protocol", TEXT, "\"\""),
    field("number", Rule::Integer, "null"),
    field("start_time", Rule::Time, "null"),
    field("end_time", Rule::Time, "null"),
    field("narrative", Rule::Text { max: usize::MAX, blank: true }, "\"\""),
    field("parent_session", Rule::SessionLink, "null"),
    field("n_correct_trials", Rule::Integer, "null"),
    field("n_trials", Rule::Integer, "null"),
    field("extended_qc", Rule::Json, "null"),
    field("qc", Rule::Qc, "0"),
    field("json", Rule::Json, "null"),
];

const PROJECTS: Column = Column::Any("json_each(s.projects) p WHERE 1", "p.value");
const PROCEDURES: Column = Column::Any("json_each(s.procedures) p WHERE 1", "p.value");

/// A dataset of this name that a server has.
const ON_SERVER: &str = "SELECT 1 FROM dataset d JOIN file_record f ON f.dataset = d.id AND f.present \
                         JOIN member m ON m.kind = 'data-repository' AND m.name = f.repository \
                         AND json_extract(m.record, '$.globus_is_personal') = 0 \
                         WHERE d.session = s.id AND d.name = ? AND d.qc <= 40";

const PARAMETERS: &[Parameter] = &[
    ("subject", Column::Own("s.subject"), By::IExact),
    ("nickname", Column::Own("s.subject"), By::IExact),
    ("number", Column::Own("s.number"), By::Number),
    ("lab", Column::Own("s.lab"), By::IExact),
    ("location", Column::Own("s.location"), By::IContains),
    ("type", Column::Own("s.type"), By::IExact),
    ("task_protocol", Column::Own("s.task_protocol"), By::IContains),
    ("procedures", PROCEDURES, By::IContains),
    ("projects", PROJECTS, By::IContains),
    ("project", PROJECTS, By::IContains),
    ("id", Column::Own("s.id"), By::Uuid),
    ("parent_session", Column::Own("s.parent_session"), By::Uuid),
];

const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("s.id")),
    ("subject__nickname", Column::Own("s.subject")),
    ("number", Column::Own("s.number")),
    ("start_time", Column::Own("s.start_time")),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return create(store, request);
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    date_range(&mut filter, request, "s.start_time")?;
    inside(&mut filter, request, "json", "s.json")?;
    inside(&mut filter, request, "extended_qc", "s.extended_qc")?;
    every(&mut filter, request, "users", "SELECT 1 FROM json_each(s.users) u WHERE u.value = ?");
    every(
        &mut filter,
        request,
        "dataset_types",
        "SELECT 1 FROM dataset d WHERE d.session = s.id AND d.dataset_type = ?",
    );
    every(&mut filter, request, "datasets", ON_SERVER);
    let count = store.count(SESSIONS, &filter)?;
    paginate(request, count, |limit, offset| Ok(store.sessions(&filter, (limit, offset), &request.base)?))
}

/// A parameter with several names, all of which must match.
fn every(filter: &mut Where, request: &Request, name: &str, condition: &str) {
    for value in request.param(name).into_iter().flat_map(|v| v.split(',')) {
        filter.and(format!("EXISTS ({condition})"), [Sql::Text(value.to_owned())]);
    }
}

/// Creates a session. There is no uniqueness: a repeated request creates another.
fn create(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let given = check(store, FIELDS, request, false)?;
    let subject = given.get("subject").and_then(Value::as_str).unwrap_or_default();
    let mut columns = Map::new();
    for field in FIELDS {
        let default = || match field.name {
            "lab" => store.subject_lab(subject).map(Value::from),
            "start_time" => Ok(request.now.as_str().into()),
            _ => Ok(serde_json::from_str(field.default).unwrap_or(Value::Null)),
        };
        let value = given.get(field.name).cloned().map_or_else(default, Ok)?;
        columns.insert(field.name.into(), value);
    }
    sort_users(&mut columns);
    if columns.get("users") == Some(&json!([])) {
        columns.insert("users".into(), json!([request.user]));
    }
    let id = new_id();
    columns.insert("id".into(), id.as_str().into());
    columns.insert("auto_datetime".into(), request.now.as_str().into());
    store.insert("session", &columns)?;
    Ok(Reply::json(201, found(store, request, &id)?))
}

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let id = request.name.as_str();
    if !store.exists("sessions", id)? {
        return Err(Reply::not_found("Session").into());
    }
    match request.method.as_str() {
        "DELETE" => {
            store.delete_session(id)?;
            return Ok(Reply::empty());
        }
        "PUT" | "PATCH" => {
            // Absent fields keep their values in a full update, too.
            let mut columns = check(store, FIELDS, request, request.method == "PATCH")?;
            sort_users(&mut columns);
            columns.insert("auto_datetime".into(), request.now.as_str().into());
            store.update("session", id, &columns)?;
        }
        _ => {}
    }
    Ok(Reply::json(200, found(store, request, id)?))
}

/// Users are sorted by name.
fn sort_users(columns: &mut Map<String, Value>) {
    if let Some(Value::Array(users)) = columns.get_mut("users") {
        users.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
}

fn found(store: &Store, request: &Request, id: &str) -> Result<Value, Error> {
    store.session(id, &request.base)?.ok_or_else(|| Reply::not_found("Session").into())
}
