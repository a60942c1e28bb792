//! `/subjects`.

use serde_json::{Map, Value};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::fields::{Field, Rule, TEXT, check, field, required};
use crate::rules::filters::{By, Column, Parameter, apply};
use crate::store::{Store, Where, new_id};

const FIELDS: &[Field] = &[
    required("nickname", Rule::Nickname),
    field("responsible_user", Rule::Slug { of: "users", by: "username" }, "\"\""),
    field("birth_date", Rule::Date, "null"),
    field("death_date", Rule::Date, "null"),
    field("sex", Rule::Text { max: 1, blank: false }, "\"U\""),
    field("projects", Rule::Slugs { of: "projects", by: "name" }, "[]"),
    required("lab", Rule::Slug { of: "labs", by: "name" }),
    field("description", TEXT, "\"\""),
    field("json", Rule::Json, "null"),
];

const NICKNAME: Column = Column::Own("s.nickname");
const PARAMETERS: &[Parameter] = &[
    ("nickname", NICKNAME, By::Exact),
    ("id", Column::Own("s.id"), By::Uuid),
    ("lab", Column::Own("s.lab"), By::Exact),
    ("responsible_user", Column::Own("s.responsible_user"), By::Exact),
    ("project", Column::Any("json_each(s.projects) p WHERE 1", "p.value"), By::Exact),
];
const DJANGO: &[(&str, Column)] = &[("pk", Column::Own("s.id")), ("nickname", NICKNAME)];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return create(store, request);
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    let count = store.count("FROM subject s", &filter)?;
    paginate(request, count, |limit, offset| {
        Ok(store.subjects(&filter, (limit, offset), &request.base, &request.now)?)
    })
}

fn create(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let mut columns = check(store, FIELDS, request, false)?;
    let nickname = columns.get("nickname").and_then(Value::as_str).unwrap_or_default().to_owned();
    if store.exists("subjects", &nickname)? {
        let errors = serde_json::json!([
            "The fields nickname, lab must make a unique set.",
            "The fields nickname, responsible_user must make a unique set."
        ]);
        return Err(Reply::fields(Map::from_iter([("non_field_errors".to_owned(), errors)])).into());
    }
    let default =
        [("responsible_user", request.user.as_str().into()), ("sex", "U".into()), ("description", "".into())];
    for (name, value) in default {
        columns.entry(name).or_insert(value);
    }
    columns.entry("projects").or_insert_with(|| Value::Array(Vec::new()));
    columns.insert("id".into(), new_id().into());
    store.insert("subject", &columns)?;
    // A new subject is returned as in a list, without its measurements.
    let mut record = found(store, request, &nickname)?;
    if let Value::Object(record) = &mut record {
        record.shift_remove("weighings");
        record.shift_remove("water_administrations");
    }
    Ok(Reply::json(201, record))
}

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method != "GET" {
        return Err(not_allowed(&request.method));
    }
    if store.auto_create {
        store.insert_unknown_subject(&request.name)?;
    }
    Ok(Reply::json(200, found(store, request, &request.name)?))
}

fn found(store: &Store, request: &Request, name: &str) -> Result<Value, Error> {
    let record = store.subject(name, &request.base, &request.now)?;
    record.ok_or_else(|| Reply::not_found("Subject").into())
}
