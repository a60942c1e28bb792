//! `/sessions`.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::fields::{Field, QC, Rule, check, field, required};
use crate::filters::{By, Column, Parameter, Where, apply, date_range, inside};
use crate::message::{Answer, Request, Stop};
use crate::page::page;
use crate::store::{Store, new_id};

const FIELDS: &[Field] = &[
    required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
    field("users", Rule::Slugs { of: "users", by: "username" }, "[]"),
    field("location", Rule::Slug { of: "locations", by: "name" }, "null"),
    field("procedures", Rule::Slugs { of: "procedures", by: "name" }, "[]"),
    field("lab", Rule::Slug { of: "labs", by: "name" }, "\"\""),
    field("projects", Rule::Slugs { of: "projects", by: "name" }, "[]"),
    field("type", Rule::Text { max: 255, blank: true }, "null"),
    field("task_protocol", Rule::Text { max: 1023, blank: true }, "\"\""),
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
const USERS: Column = Column::Any("json_each(s.users) u WHERE 1", "u.value");
const DATASETS: &str = "dataset d WHERE d.session = s.id";
const TAGS: &str = "dataset d JOIN dataset_tag t ON t.dataset = d.id WHERE d.session = s.id";

/// The subject has had a session of this procedure, whichever.
const HISTOLOGY: &str = "EXISTS (SELECT 1 FROM session h, json_each(h.procedures) p \
                         WHERE h.subject = s.subject AND p.value = 'Histology')";

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
    ("n_trials", Column::Own("s.n_trials"), By::Number),
    ("n_correct_trials", Column::Own("s.n_correct_trials"), By::Number),
    ("start_time", Column::Own("s.start_time"), By::Time),
    ("end_time", Column::Own("s.end_time"), By::Time),
    ("narrative", Column::Own("s.narrative"), By::Exact),
    ("name", Column::Own("''"), By::Exact),
    ("qc", Column::Own("s.qc"), By::Qc),
    ("id", Column::Own("s.id"), By::Uuid),
    ("parent_session", Column::Own("s.parent_session"), By::Uuid),
    ("tag", Column::Any(TAGS, "t.tag"), By::IContains),
    ("histology", Column::Own(HISTOLOGY), By::Bool),
];

const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("s.id")),
    ("id", Column::Own("s.id")),
    ("subject", Column::Own("sub.id")),
    ("subject__nickname", Column::Own("s.subject")),
    ("lab__name", Column::Own("s.lab")),
    ("location__name", Column::Own("s.location")),
    ("number", Column::Own("s.number")),
    ("start_time", Column::Own("s.start_time")),
    ("end_time", Column::Own("s.end_time")),
    ("auto_datetime", Column::Own("s.auto_datetime")),
    ("type", Column::Own("s.type")),
    ("task_protocol", Column::Own("s.task_protocol")),
    ("narrative", Column::Own("s.narrative")),
    ("parent_session", Column::Own("s.parent_session")),
    ("n_trials", Column::Own("s.n_trials")),
    ("n_correct_trials", Column::Own("s.n_correct_trials")),
    ("qc", Column::Own("s.qc")),
    ("json", Column::Own("s.json")),
    ("extended_qc", Column::Own("s.extended_qc")),
    ("projects__name", PROJECTS),
    ("procedures__name", PROCEDURES),
    ("users__username", USERS),
    ("data_dataset_session_related__name", Column::Any(DATASETS, "d.name")),
    ("data_dataset_session_related__collection", Column::Any(DATASETS, "d.collection")),
    ("data_dataset_session_related__dataset_type__name", Column::Any(DATASETS, "d.dataset_type")),
    ("data_dataset_session_related__tags__name", Column::Any(TAGS, "t.tag")),
];

pub(super) fn list(store: &mut Store, request: &Request, method: &str, user: &str) -> Result<Answer, Stop> {
    if method == "POST" {
        return create(store, request, user);
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
    with_datasets(&mut filter, request)?;
    performance(&mut filter, request)?;
    let count = store.session_count(&filter)?;
    page(request, count, |limit, offset| Ok(store.sessions(&filter, (limit, offset), &request.base)?))
}

/// A parameter that names several things, all of which must be there.
fn every(filter: &mut Where, request: &Request, name: &str, condition: &str) {
    for value in request.param(name).into_iter().flat_map(|v| v.split(',')) {
        filter.and(format!("EXISTS ({condition})"), [Sql::Text(value.to_owned())]);
    }
}

/// `datasets=`: each must be on a server, and not worse than `dataset_qc_lte`.
fn with_datasets(filter: &mut Where, request: &Request) -> Result<(), Stop> {
    let worst = match request.param("dataset_qc_lte") {
        None => None,
        Some(name) => Some(grade(name)?),
    };
    let server = "EXISTS (SELECT 1 FROM file_record f JOIN member m ON m.kind = 'data-repository' AND \
                  m.name = f.repository WHERE f.dataset = d.id AND f.present AND \
                  json_extract(m.record, '$.globus_is_personal') = 0)";
    match (request.param("datasets"), worst) {
        (Some(names), worst) => {
            for name in names.split(',') {
                filter.and(
                    format!(
                        "EXISTS (SELECT 1 FROM dataset d WHERE d.session = s.id AND d.name = ? AND d.qc <= ? AND {server})"
                    ),
                    [Sql::Text(name.to_owned()), Sql::Integer(worst.unwrap_or(40))],
                );
            }
        }
        (None, Some(worst)) => filter.and(
            "EXISTS (SELECT 1 FROM dataset d WHERE d.session = s.id AND d.qc <= ?)",
            [Sql::Integer(worst)],
        ),
        (None, None) => {}
    }
    Ok(())
}

fn grade(name: &str) -> Result<i64, Stop> {
    let found = QC.iter().find(|(n, g)| n.eq_ignore_ascii_case(name) || g.to_string() == name);
    found.map(|(_, g)| *g).ok_or_else(|| Stop::broken(format!("{name} is not a valid QC")))
}

fn performance(filter: &mut Where, request: &Request) -> Result<(), Stop> {
    for (name, sign) in [("performance_gte", ">="), ("performance_lte", "<=")] {
        let Some(value) = request.param(name) else { continue };
        let Ok(value) = value.parse() else { return Err(Answer::field(name, "Enter a number.").into()) };
        // Whole numbers divide to a whole number in PostgreSQL as here.
        filter.and(format!("100 * s.n_correct_trials / s.n_trials {sign} ?"), [Sql::Real(value)]);
    }
    Ok(())
}

/// Makes a session. Nothing is unique: the same request again makes another.
fn create(store: &mut Store, request: &Request, user: &str) -> Result<Answer, Stop> {
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
        columns.insert("users".into(), json!([user]));
    }
    let id = new_id();
    columns.insert("id".into(), id.as_str().into());
    columns.insert("auto_datetime".into(), request.now.as_str().into());
    store.insert_session(&columns)?;
    Ok(Answer::json(201, found(store, request, &id)?))
}

pub(super) fn one(store: &mut Store, request: &Request, id: &str, method: &str) -> Result<Answer, Stop> {
    if !store.exists("sessions", id)? {
        return Err(Answer::no_such("Session").into());
    }
    match method {
        "DELETE" => {
            store.delete_session(id)?;
            return Ok(Answer::empty());
        }
        "PUT" | "PATCH" => {
            // Fields that are absent keep their values in a full update, too.
            let mut columns = check(store, FIELDS, request, method == "PATCH")?;
            sort_users(&mut columns);
            columns.insert("auto_datetime".into(), request.now.as_str().into());
            store.update_session(id, &columns)?;
        }
        _ => {}
    }
    Ok(Answer::json(200, found(store, request, id)?))
}

/// Users are shown by name, whatever the order in which they were given.
fn sort_users(columns: &mut Map<String, Value>) {
    if let Some(Value::Array(users)) = columns.get_mut("users") {
        users.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
}

fn found(store: &Store, request: &Request, id: &str) -> Result<Value, Stop> {
    store.session(id, &request.base)?.ok_or_else(|| Answer::no_such("Session").into())
}
