//! `/datasets`.

use rusqlite::types::Value as Sql;
use serde_json::Value;

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::fields::{Field, Rule, check, field, is_uuid};
use crate::rules::filters::{By, Column, Parameter, apply};
use crate::store::{DATASETS, Store, Where};

/// The fields that an update can set.
const FIELDS: &[Field] = &[
    field("file_size", Rule::Integer, "null"),
    field("hash", Rule::Text { max: 64, blank: false }, "\"\""),
    field("version", Rule::Text { max: 64, blank: false }, "\"\""),
    field("default_dataset", Rule::Bool, "true"),
    field("tags", Rule::Slugs { of: "tags", by: "name" }, "[]"),
    field("qc", Rule::Qc, "0"),
    field("json", Rule::Json, "null"),
];

const TAGS: &str = "dataset_tag t WHERE t.dataset = d.id";
const PARAMETERS: &[Parameter] = &[
    ("name", Column::Own("d.name"), By::Exact),
    ("collection", Column::Own("d.collection"), By::Exact),
    ("revision", Column::Own("d.revision"), By::Exact),
    ("subject", Column::Own("s.subject"), By::Exact),
    ("dataset_type", Column::Own("d.dataset_type"), By::Exact),
    ("date", Column::Own("substr(s.start_time, 1, 10)"), By::Exact),
    ("experiment_number", Column::Own("s.number"), By::Number),
    ("tag", Column::Any(TAGS, "t.tag"), By::Exact),
    ("default_dataset", Column::Own("d.default_dataset"), By::Bool),
    ("id", Column::Own("d.id"), By::Uuid),
    ("object_id", Column::Own("d.object_id"), By::Uuid),
];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("d.id")),
    ("id", Column::Own("d.id")),
    ("session", Column::Own("d.session")),
    ("session__id", Column::Own("d.session")),
    ("dataset_type__name", Column::Own("d.dataset_type")),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return Err(not_allowed("POST"));
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    of_session(store, &mut filter, request)?;
    let count = store.count(DATASETS, &filter)?;
    paginate(request, count, |limit, offset| Ok(store.datasets(&filter, (limit, offset), &request.base)?))
}

/// `session=`: an unknown id is refused instead of returning an empty list.
fn of_session(store: &Store, filter: &mut Where, request: &Request) -> Result<(), Error> {
    let Some(id) = request.param("session") else { return Ok(()) };
    if !is_uuid(id) {
        return Err(Reply::field("session", format!("“{id}” is not a valid UUID.")).into());
    }
    if !store.exists("sessions", id)? {
        let text = "Select a valid choice. That choice is not one of the available choices.";
        return Err(Reply::field("session", text).into());
    }
    filter.and("d.session = ?", [Sql::Text(id.to_owned())]);
    Ok(())
}

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let id = request.name.as_str();
    let record = found(store, request, id)?;
    match request.method.as_str() {
        "DELETE" => {
            let tags = store.protecting_tags(id)?;
            if !tags.is_empty() {
                let name = record["name"].as_str().unwrap_or_default();
                let tags = tags.join("\", \"");
                let text = format!("Failed to delete dataset {name} due to protected tag(s) \"{tags}\"");
                return Err(Error::file(403, "detail", text));
            }
            store.delete_dataset(id)?;
            Ok(Reply::empty())
        }
        "PATCH" => {
            let mut given = check(store, FIELDS, request, true)?;
            if let Some(Value::Array(tags)) = given.shift_remove("tags") {
                let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
                store.tag_dataset(id, &tags)?;
            }
            given.insert("auto_datetime".into(), request.now.as_str().into());
            store.update("dataset", id, &given)?;
            Ok(Reply::json(200, found(store, request, id)?))
        }
        "GET" => Ok(Reply::json(200, record)),
        other => Err(not_allowed(other)),
    }
}

fn found(store: &Store, request: &Request, id: &str) -> Result<Value, Error> {
    store.dataset(id, &request.base, false)?.ok_or_else(|| Reply::not_found("Dataset").into())
}
