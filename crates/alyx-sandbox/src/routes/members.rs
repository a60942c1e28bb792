//! Lists and records of the plain kinds. Only tags and dataset types can be created.

use serde_json::{Map, Value};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::fields::{Field, Rule, TEXT, check, field, required};
use crate::rules::kinds::Kind;
use crate::store::{Store, Where, path_segment};

const TAG: &[Field] = &[
    field("json", Rule::Json, "null"),
    required("name", Rule::Text { max: 255, blank: false }),
    field("description", TEXT, "\"\""),
    field("protected", Rule::Bool, "false"),
    field("public", Rule::Bool, "false"),
    field("hash", Rule::Text { max: 64, blank: true }, "null"),
];
const DATASET_TYPE: &[Field] = &[
    required("name", Rule::Text { max: 255, blank: false }),
    field("created_by", Rule::Slug { of: "users", by: "username" }, "null"),
    field("description", TEXT, "\"\""),
    field("filename_pattern", Rule::Text { max: 255, blank: true }, "null"),
];

pub(super) fn list(store: &mut Store, request: &Request, kind: &Kind) -> Result<Reply, Error> {
    if request.method == "POST" {
        return create(store, request, kind);
    }
    let mut filter = Where::default();
    filter.and("kind = ?", [kind.endpoint.to_owned().into()]);
    for field in kind.filters {
        let Some(value) = request.param(field) else { continue };
        let value = match value.to_lowercase().as_str() {
            "true" => "1",
            "false" => "0",
            _ => value,
        };
        let condition = format!("CAST(json_extract(record, '$.{field}') AS TEXT) = ?");
        filter.and(condition, [value.to_owned().into()]);
    }
    let count = store.count("FROM member", &filter)?;
    paginate(request, count, |limit, offset| {
        let found = store.members(kind, &filter, (limit, offset))?;
        found.into_iter().map(|record| view(store, kind, record, request)).collect()
    })
}

fn create(store: &mut Store, request: &Request, kind: &Kind) -> Result<Reply, Error> {
    let (fields, label) = match kind.endpoint {
        "tags" => (TAG, "tag"),
        "dataset-types" => (DATASET_TYPE, "dataset type"),
        _ => return Err(not_allowed("POST")),
    };
    let mut given = check(store, fields, request, false)?;
    let name = given.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if store.exists(kind.endpoint, &name)? {
        return Err(Reply::field("name", format!("{label} with this name already exists.")).into());
    }
    if kind.endpoint == "dataset-types" {
        given.entry("created_by").or_insert_with(|| request.user.as_str().into());
        let pattern = given.get("filename_pattern").and_then(Value::as_str).unwrap_or_default();
        let pattern = pattern.to_lowercase();
        given.insert("filename_pattern".into(), pattern.into());
    }
    let record = kind.new_record(&given, &request.now);
    store.put_member(kind.endpoint, &name, &record)?;
    Ok(Reply::json(201, view(store, kind, record, request)?))
}

pub(super) fn one(store: &mut Store, request: &Request, kind: &Kind) -> Result<Reply, Error> {
    if request.method != "GET" {
        return Err(not_allowed(&request.method));
    }
    if store.auto_create && kind.endpoint == "labs" {
        store.insert_member(kind.endpoint, &request.name, Value::Object(Map::new()))?;
    }
    let record = store.member(kind.endpoint, &request.name)?.ok_or_else(|| Reply::not_found(kind.model))?;
    Ok(Reply::json(200, view(store, kind, record, request)?))
}

/// A record as clients see it, with its URL and the fields computed from other records.
fn view(store: &Store, kind: &Kind, record: Map<String, Value>, request: &Request) -> Result<Value, Error> {
    let name = record.get(kind.slug).and_then(Value::as_str).unwrap_or_default();
    let mut out = Map::new();
    for (field, default) in kind.fields() {
        let value = match default.as_str() {
            Some("<url>") => format!("{}/{}/{}", request.base, kind.endpoint, path_segment(name)).into(),
            Some("<subjects>") => store.subjects_of(name)?.into(),
            _ => record.get(&field).cloned().unwrap_or(Value::Null),
        };
        out.insert(field, value);
    }
    Ok(Value::Object(out))
}
