//! Lists and records of the plain kinds.

use serde_json::{Map, Value};

use crate::fields::{Rule, check};
use crate::kinds::Kind;
use crate::message::{Answer, Request, Stop};
use crate::page::{page, quote};
use crate::store::{Store, new_id};

/// A new record: what was given, and the defaults of the rest.
pub(crate) fn new_member(kind: &Kind, given: Map<String, Value>, now: &str) -> Map<String, Value> {
    let mut record = Map::new();
    for field in kind.fields {
        let value = match (given.get(field.name), &field.rule) {
            (Some(value), _) => value.clone(),
            (None, Rule::Id) => new_id().into(),
            (None, Rule::Created) => now.into(),
            (None, Rule::Url) => continue,
            (None, _) => serde_json::from_str(field.default).unwrap_or(Value::Null),
        };
        record.insert(field.name.into(), value);
    }
    record
}

pub(super) fn list(
    store: &mut Store,
    request: &Request,
    kind: &'static Kind,
    method: &str,
    user: &str,
) -> Result<Answer, Stop> {
    if method == "POST" {
        return create(store, request, kind, user);
    }
    let filters: Vec<(&str, String)> =
        kind.filters.iter().filter_map(|f| Some((*f, request.param(f)?.to_owned()))).collect();
    let (count, _) = store.members(kind, &filters, None)?;
    page(request, count, |limit, offset| {
        let (_, found) = store.members(kind, &filters, Some((limit, offset)))?;
        found.into_iter().map(|record| shown(store, kind, record, request)).collect()
    })
}

fn create(store: &mut Store, request: &Request, kind: &'static Kind, user: &str) -> Result<Answer, Stop> {
    let mut given = check(store, kind.fields, request, false)?;
    let name = given.get(kind.slug).and_then(Value::as_str).unwrap_or_default().to_owned();
    if store.member_exists(kind.endpoint, &name)? {
        let text = format!("{} with this {} already exists.", kind.label, kind.slug);
        return Err(Answer::field(kind.slug, text).into());
    }
    given.insert(kind.slug.into(), name.clone().into());
    if kind.endpoint == "dataset-types" {
        given.entry("created_by").or_insert_with(|| user.into());
        let pattern =
            given.get("filename_pattern").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        given.insert("filename_pattern".into(), pattern.into());
    }
    let record = new_member(kind, given, &request.now);
    store.put_member(kind.endpoint, &name, &record)?;
    Ok(Answer::json(201, shown(store, kind, record, request)?))
}

pub(super) fn one(
    store: &mut Store,
    request: &Request,
    kind: &'static Kind,
    name: &str,
    method: &str,
) -> Result<Answer, Stop> {
    if store.auto_create && kind.endpoint == "labs" {
        store.plant_member(kind.endpoint, name, Value::Object(Map::new()))?;
    }
    let Some(mut record) = store.member(kind.endpoint, name)? else {
        return Err(Answer::no_such(kind.model).into());
    };
    match method {
        "DELETE" => {
            store.delete_member(kind.endpoint, name)?;
            return Ok(Answer::empty());
        }
        "PUT" | "PATCH" => {
            let given = check(store, kind.fields, request, method == "PATCH")?;
            if given.get(kind.slug).is_some_and(|new| new.as_str() != Some(name)) {
                return Err(Answer::field(kind.slug, "The sandbox does not rename records.").into());
            }
            record.extend(given);
            store.put_member(kind.endpoint, name, &record)?;
        }
        _ => {}
    }
    Ok(Answer::json(200, shown(store, kind, record, request)?))
}

/// A record as clients see it: with its address and what is counted from other records.
fn shown(store: &Store, kind: &Kind, record: Map<String, Value>, request: &Request) -> Result<Value, Stop> {
    let name = record.get(kind.slug).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut out = Map::new();
    for field in kind.fields {
        let value = match field.rule {
            Rule::Url => format!("{}/{}/{}", request.base, kind.endpoint, quote(&name, false)).into(),
            Rule::Computed if field.name == "subjects_responsible" => store.subjects_of(&name)?.into(),
            _ => record.get(field.name).cloned().unwrap_or(Value::Null),
        };
        out.insert(field.name.into(), value);
    }
    Ok(Value::Object(out))
}
