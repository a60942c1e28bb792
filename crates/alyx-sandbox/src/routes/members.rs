//! Lists and records of the plain kinds.

use serde_json::{Map, Value};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::fields::check;
use crate::rules::kinds::Kind;
use crate::store::{Store, Where, path_segment};

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
    if kind.written.is_empty() {
        return Err(not_allowed("POST"));
    }
    let mut given = checked(store, request, kind, None)?;
    if kind.endpoint == "projects" && !given.contains_key("users") {
        return Err(Error::internal("'LabMember' object is not iterable"));
    }
    if kind.endpoint == "dataset-types" {
        given.entry("created_by").or_insert_with(|| request.user.as_str().into());
    }
    let record = kind.new_record(&given, &request.now);
    // Only an empty name comes this far.
    if store.member_exists(kind.endpoint, name_of(&record, kind))? {
        return Err(Error::internal("duplicate key value violates unique constraint"));
    }
    store.put_member(kind.endpoint, name_of(&record, kind), &record)?;
    Ok(Reply::created(view(store, kind, record, request)?))
}

/// The values that a client writes; `old` is the record that they change.
fn checked(
    store: &mut Store,
    request: &Request,
    kind: &Kind,
    old: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, Error> {
    let mut given = check(store, kind.written, request, request.method == "PATCH")?;
    if let Some(Value::String(pattern)) = given.get_mut("filename_pattern") {
        *pattern = pattern.to_lowercase();
    }
    for field in ["name", "filename_pattern"] {
        let value = given.get(field).and_then(Value::as_str).filter(|value| !value.is_empty());
        let is_new = old.and_then(|old| old.get(field)).and_then(Value::as_str) != value;
        if let Some(value) = value.filter(|_| is_new)
            && store.has_member_with(kind.endpoint, field, value)?
        {
            let (noun, field_noun) = (kind.noun(), field.replace('_', " "));
            return Err(Reply::field(field, format!("{noun} with this {field_noun} already exists.")).into());
        }
    }
    Ok(given)
}

fn name_of<'a>(record: &'a Map<String, Value>, kind: &Kind) -> &'a str {
    record.get(kind.slug).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn one(store: &mut Store, request: &Request, kind: &Kind) -> Result<Reply, Error> {
    if request.method != "GET" && kind.written.is_empty() {
        return Err(not_allowed(&request.method));
    }
    if store.auto_create && kind.endpoint == "labs" {
        store.insert_member(kind.endpoint, &request.name, Value::Object(Map::new()))?;
    }
    let mut record =
        store.member(kind.endpoint, &request.name)?.ok_or_else(|| Reply::not_found(kind.model))?;
    match request.method.as_str() {
        "GET" => {}
        "DELETE" => {
            store.delete_member(kind.endpoint, &request.name)?;
            return Ok(Reply { status: 204, ..Reply::empty() });
        }
        _ => {
            let given = checked(store, request, kind, Some(&record))?;
            if given.get("name").is_some_and(|name| name.as_str() != Some(&request.name)) {
                return Err(Reply::field("name", "The sandbox does not rename records.").into());
            }
            record.extend(given);
            store.put_member(kind.endpoint, &request.name, &record)?;
        }
    }
    Ok(Reply::json(200, view(store, kind, record, request)?))
}

/// A record as clients see it, with its URL and the fields computed from other records.
fn view(store: &Store, kind: &Kind, record: Map<String, Value>, request: &Request) -> Result<Value, Error> {
    let name = name_of(&record, kind);
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
