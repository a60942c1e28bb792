//! `/files`: the file records, to read and to mark as present.

use rusqlite::types::Value as Sql;
use serde_json::Value;

use crate::filters::{By, Column, Parameter, Where, apply};
use crate::message::{Answer, Request, Stop};
use crate::page::page;
use crate::store::Store;

const PERSONAL: &str = "(SELECT json_extract(m.record, '$.globus_is_personal') FROM member m \
                        WHERE m.kind = 'data-repository' AND m.name = f.repository)";
const PARAMETERS: &[Parameter] = &[
    ("id", Column::Own("f.id"), By::Uuid),
    ("dataset", Column::Own("f.dataset"), By::Uuid),
    ("exists", Column::Own("f.present"), By::Bool),
    ("data_repository", Column::Own("f.repository"), By::Exact),
    ("relative_path", Column::Own("f.relative_path"), By::Exact),
    ("globus_is_personal", Column::Own(PERSONAL), By::Bool),
];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("f.id")),
    ("id", Column::Own("f.id")),
    ("dataset", Column::Own("f.dataset")),
    ("exists", Column::Own("f.present")),
    ("relative_path", Column::Own("f.relative_path")),
    ("data_repository__name", Column::Own("f.repository")),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Answer, Stop> {
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    let count = store.file_count(&filter)?;
    page(request, count, |limit, offset| Ok(store.files(&filter, (limit, offset), &request.base)?))
}

pub(super) fn one(store: &mut Store, request: &Request, id: &str, method: &str) -> Result<Answer, Stop> {
    let mut only = Where::default();
    only.and("f.id = ?", [Sql::Text(id.to_owned())]);
    let find = |store: &Store| -> Result<Value, Stop> {
        let found = store.files(&only, (1, 0), &request.base)?.pop();
        found.ok_or_else(|| Answer::no_such("FileRecord").into())
    };
    let record = find(store)?;
    match method {
        "DELETE" => {
            store.delete_file(id)?;
            Ok(Answer::empty())
        }
        "PUT" | "PATCH" => {
            match request.data()?.get("exists") {
                None => {}
                Some(Value::Bool(present)) => store.mark_file(id, *present)?,
                Some(_) => return Err(Answer::field("exists", "Must be a valid boolean.").into()),
            }
            Ok(Answer::json(200, find(store)?))
        }
        _ => Ok(Answer::json(200, record)),
    }
}
