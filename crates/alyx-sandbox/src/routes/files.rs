//! `/files/<id>`: one file record.

use serde_json::Value;

use crate::http::message::{Error, Reply, Request};
use crate::routes::not_allowed;
use crate::rules::fields::{Field, Rule, check, field};
use crate::store::Store;

/// The fields that an update can set.
const FIELDS: &[Field] = &[field("exists", Rule::Bool, "false")];

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let found = found(store, request)?;
    match request.method.as_str() {
        "GET" => Ok(Reply::json(200, found)),
        "PATCH" => {
            let given = check(store, FIELDS, request, true)?;
            if let Some(exists) = given.get("exists").and_then(Value::as_bool) {
                store.set_present(&request.name, exists, &request.now)?;
            }
            Ok(Reply::json(200, self::found(store, request)?))
        }
        other => Err(not_allowed(other)),
    }
}

fn found(store: &Store, request: &Request) -> Result<Value, Error> {
    store.file(&request.name, &request.base)?.ok_or_else(|| Reply::not_found("FileRecord").into())
}
