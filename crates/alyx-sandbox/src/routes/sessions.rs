//! `/sessions`.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::rules::django::Column;
use crate::rules::fields::{Field, Rule, TEXT, check, field, required};
use crate::rules::filters::{By, Parameter, apply, choices, date_range, inside};
use crate::rules::qc::grade_named;
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

const DATASETS: &str = "dataset d WHERE d.session = s.id";
const TAGS: Column =
    Column::Any("dataset d JOIN dataset_tag t ON t.dataset = d.id WHERE d.session = s.id", "t.tag");
const SUBJECT_ID: Column = Column::Id("(SELECT a.id FROM subject a WHERE a.nickname = s.subject)");
const PERFORMANCE: Column = Column::Own("(100 * s.n_correct_trials / s.n_trials)");
const HISTOLOGY: Column = Column::Own(
    "EXISTS (SELECT 1 FROM session o, json_each(o.procedures) p \
     WHERE o.subject = s.subject AND p.value = 'Histology')",
);

/// A dataset of this name and of at most this grade that a server has.
const ON_SERVER: &str = "SELECT 1 FROM dataset d JOIN file_record f ON f.dataset = d.id AND f.present \
                         JOIN member m ON m.kind = 'data-repository' AND m.name = f.repository \
                         AND json_extract(m.record, '$.globus_is_personal') = 0 \
                         WHERE d.session = s.id AND d.name = ? AND d.qc <= ?";

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
    ("qc", Column::Own("s.qc"), By::Qc),
    ("tag", TAGS, By::IContains),
    ("performance_gte", PERFORMANCE, By::AtLeast),
    ("performance_lte", PERFORMANCE, By::AtMost),
    ("histology", HISTOLOGY, By::Bool),
    ("start_time", Column::Own("s.start_time"), By::Time),
    ("end_time", Column::Own("s.end_time"), By::Time),
    ("n_trials", Column::Own("s.n_trials"), By::Number),
    ("n_correct_trials", Column::Own("s.n_correct_trials"), By::Number),
    ("narrative", Column::Own("s.narrative"), By::Exact),
];

const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Id("s.id")),
    ("id", Column::Id("s.id")),
    ("subject", SUBJECT_ID),
    ("subject__nickname", Column::Own("s.subject")),
    ("subject__lab__name", Column::Own("(SELECT a.lab FROM subject a WHERE a.nickname = s.subject)")),
    ("users__username", Column::Any("json_each(s.users) u WHERE 1", "u.value")),
    ("projects__name", PROJECTS),
    ("procedures__name", PROCEDURES),
    ("lab__name", Column::Own("s.lab")),
    ("location__name", Column::Own("s.location")),
    ("parent_session", Column::Id("s.parent_session")),
    ("number", Column::Number("s.number")),
    ("qc", Column::Number("s.qc")),
    ("n_trials", Column::Number("s.n_trials")),
    ("n_correct_trials", Column::Number("s.n_correct_trials")),
    ("start_time", Column::Time("s.start_time")),
    ("end_time", Column::Time("s.end_time")),
    ("auto_datetime", Column::Time("s.auto_datetime")),
    ("type", Column::Own("s.type")),
    ("task_protocol", Column::Own("s.task_protocol")),
    ("narrative", Column::Own("s.narrative")),
    ("json", Column::Json("s.json")),
    ("extended_qc", Column::Json("s.extended_qc")),
    ("data_dataset_session_related", Column::Any(DATASETS, "d.id")),
    ("data_dataset_session_related__name", Column::Any(DATASETS, "d.name")),
    ("data_dataset_session_related__collection", Column::Any(DATASETS, "d.collection")),
    ("data_dataset_session_related__dataset_type__name", Column::Any(DATASETS, "d.dataset_type")),
    ("data_dataset_session_related__qc", Column::Any(DATASETS, "d.qc")),
    ("data_dataset_session_related__tags__name", TAGS),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return create(store, request);
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    choices(store, &mut filter, request, &[("parent_session", "sessions", "s.parent_session")])?;
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
    by_datasets(&mut filter, request)?;
    let count = store.count(SESSIONS, &filter)?;
    paginate(request, count, |limit, offset| Ok(store.sessions(&filter, (limit, offset), &request.base)?))
}

/// A parameter with several names, all of which must match.
fn every(filter: &mut Where, request: &Request, name: &str, condition: &str) {
    for value in request.param(name).into_iter().flat_map(|v| v.split(',')) {
        filter.and(format!("EXISTS ({condition})"), [Sql::Text(value.to_owned())]);
    }
}

/// `datasets=`: names that a server has; `dataset_qc_lte=`: the worst grade of these, or of any dataset.
fn by_datasets(filter: &mut Where, request: &Request) -> Result<(), Error> {
    let name = request.param("dataset_qc_lte").unwrap_or("FAIL");
    let grade = grade_named(name).ok_or_else(|| Error::internal(format!("{name} is not a valid QC")))?;
    match request.param("datasets") {
        Some(names) => {
            for name in names.split(',') {
                filter
                    .and(format!("EXISTS ({ON_SERVER})"), [Sql::Text(name.to_owned()), Sql::Integer(grade)]);
            }
        }
        None if request.param("dataset_qc_lte").is_some() => {
            filter.and(format!("EXISTS (SELECT 1 FROM {DATASETS} AND d.qc <= ?)"), [Sql::Integer(grade)]);
        }
        None => {}
    }
    Ok(())
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
    Ok(Reply::created(found(store, request, &id)?))
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
