//! `/subjects`.

use serde_json::{Map, Value};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::rules::django::Column;
use crate::rules::fields::{Field, Rule, TEXT, check, field, required};
use crate::rules::filters::{By, Parameter, apply};
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
    ("project", PROJECTS, By::Exact),
    ("sex", Column::Own("s.sex"), By::Exact),
    ("description", Column::Own("s.description"), By::Exact),
    ("birth_date", Column::Own("s.birth_date"), By::Day),
    ("death_date", Column::Own("s.death_date"), By::Day),
    ("stock", STOCK, By::Bool),
    ("alive", ALIVE, By::Bool),
    // The sandbox restricts no subject's water.
    ("water_restricted", Column::Own("0"), By::Bool),
];
const PROJECTS: Column = Column::Any("json_each(s.projects) p WHERE 1", "p.value");
const ALIVE: Column = Column::Own("(s.death_date IS NULL OR s.death_date > date('now'))");
const STOCK: Column = Column::Own(
    "EXISTS (SELECT 1 FROM member m WHERE m.kind = 'users' AND m.name = s.responsible_user \
     AND json_extract(m.record, '$.is_stock_manager'))",
);
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Id("s.id")),
    ("id", Column::Id("s.id")),
    ("nickname", NICKNAME),
    ("lab__name", Column::Own("s.lab")),
    ("responsible_user__username", Column::Own("s.responsible_user")),
    ("projects__name", PROJECTS),
    ("sex", Column::Own("s.sex")),
    ("description", Column::Own("s.description")),
    ("birth_date", Column::Own("s.birth_date")),
    ("death_date", Column::Own("s.death_date")),
    ("json", Column::Json("s.json")),
    ("actions_sessions", Column::Any("session a WHERE a.subject = s.nickname", "a.id")),
];

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
    Ok(Reply::created(record))
}

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if store.auto_create {
        store.insert_unknown_subject(&request.name)?;
    }
    let record = found(store, request, &request.name)?;
    match request.method.as_str() {
        "DELETE" => {
            store.delete_subject(&request.name)?;
            return Ok(Reply::empty());
        }
        "PUT" | "PATCH" => {
            let columns = check(store, FIELDS, request, request.method == "PATCH")?;
            if columns.get("nickname").is_some_and(|name| name.as_str() != Some(&request.name)) {
                return Err(Reply::field("nickname", "The sandbox does not rename records.").into());
            }
            store.update("subject", record["id"].as_str().unwrap_or_default(), &columns)?;
            return Ok(Reply::json(200, found(store, request, &request.name)?));
        }
        _ => {}
    }
    Ok(Reply::json(200, record))
}

fn found(store: &Store, request: &Request, name: &str) -> Result<Value, Error> {
    let record = store.subject(name, &request.base, &request.now)?;
    record.ok_or_else(|| Reply::not_found("Subject").into())
}
