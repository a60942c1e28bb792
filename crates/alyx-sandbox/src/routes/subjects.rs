//! `/subjects`.

use serde_json::{Map, Value};

use crate::fields::{Field, Rule, check, field, required};
use crate::filters::{By, Column, Parameter, Where, apply};
use crate::message::{Answer, Request, Stop};
use crate::page::page;
use crate::store::{Store, new_id};

fn nickname_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

const FIELDS: &[Field] = &[
    required(
        "nickname",
        Rule::Name {
            blank: false,
            words: Some((
                nickname_char,
                "Nicknames must only contain letters, numbers, hyphens and underscores. \
                 Dots are reserved for breeding subjects.",
            )),
        },
    ),
    field("responsible_user", Rule::Slug { of: "users", by: "username" }, "\"\""),
    field("birth_date", Rule::Date, "null"),
    field("death_date", Rule::Date, "null"),
    field("sex", Rule::Choice(&["M", "F", "U"]), "\"U\""),
    field("projects", Rule::Slugs { of: "projects", by: "name" }, "[]"),
    required("lab", Rule::Slug { of: "labs", by: "name" }),
    field("description", Rule::Text { max: 1023, blank: true }, "\"\""),
    field("json", Rule::Json, "null"),
];

const NICKNAME: Column = Column::Own("s.nickname");
const PARAMETERS: &[Parameter] = &[
    ("nickname", NICKNAME, By::Exact),
    ("id", Column::Own("s.id"), By::Uuid),
    ("lab", Column::Own("s.lab"), By::Exact),
    ("responsible_user", Column::Own("s.responsible_user"), By::Exact),
    ("sex", Column::Own("s.sex"), By::Exact),
    ("project", Column::Any("json_each(s.projects) p WHERE 1", "p.value"), By::Exact),
    ("alive", Column::Own("(s.death_date IS NULL OR s.death_date > date('now'))"), By::Bool),
];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("s.id")),
    ("id", Column::Own("s.id")),
    ("nickname", NICKNAME),
    ("lab__name", Column::Own("s.lab")),
    ("responsible_user__username", Column::Own("s.responsible_user")),
    ("projects__name", Column::Any("json_each(s.projects) p WHERE 1", "p.value")),
];

pub(super) fn list(store: &mut Store, request: &Request, method: &str, user: &str) -> Result<Answer, Stop> {
    if method == "POST" {
        return create(store, request, user);
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    let count = store.subject_count(&filter)?;
    page(request, count, |limit, offset| {
        Ok(store.subjects(&filter, (limit, offset), &request.base, &request.now)?)
    })
}

fn create(store: &mut Store, request: &Request, user: &str) -> Result<Answer, Stop> {
    let mut columns = check(store, FIELDS, request, false)?;
    let nickname = columns.get("nickname").and_then(Value::as_str).unwrap_or_default().to_owned();
    if store.exists("subjects", &nickname)? {
        let errors = serde_json::json!([
            "The fields nickname, lab must make a unique set.",
            "The fields nickname, responsible_user must make a unique set."
        ]);
        return Err(Answer::fields(Map::from_iter([("non_field_errors".to_owned(), errors)])).into());
    }
    let default = [("responsible_user", user.into()), ("sex", "U".into()), ("description", "".into())];
    for (name, value) in default {
        columns.entry(name).or_insert(value);
    }
    columns.entry("projects").or_insert_with(|| Value::Array(Vec::new()));
    columns.insert("id".into(), new_id().into());
    store.insert_subject(&columns)?;
    // A new subject is shown as lists show it, without her measurements.
    let mut record = found(store, request, &nickname)?;
    if let Value::Object(record) = &mut record {
        record.shift_remove("weighings");
        record.shift_remove("water_administrations");
    }
    Ok(Answer::json(201, record))
}

pub(super) fn one(store: &mut Store, request: &Request, name: &str, method: &str) -> Result<Answer, Stop> {
    if store.auto_create {
        store.plant_guest(name)?;
    }
    let Some(id) = store.subject_id(name)? else { return Err(Answer::no_such("Subject").into()) };
    match method {
        "DELETE" => {
            store.delete_subject(name)?;
            return Ok(Answer::empty());
        }
        "PUT" | "PATCH" => {
            let mut columns = check(store, FIELDS, request, method == "PATCH")?;
            if columns.shift_remove("nickname").is_some_and(|new| new.as_str() != Some(name)) {
                return Err(Answer::field("nickname", "The sandbox does not rename records.").into());
            }
            store.update_subject(&id, &columns)?;
        }
        _ => {}
    }
    Ok(Answer::json(200, found(store, request, name)?))
}

fn found(store: &Store, request: &Request, name: &str) -> Result<Value, Stop> {
    let record = store.subject(name, &request.base, &request.now)?;
    record.ok_or_else(|| Answer::no_such("Subject").into())
}
