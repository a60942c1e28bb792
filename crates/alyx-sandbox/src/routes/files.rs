//! `/files`: file records, of which `/register-file` makes new ones.

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::django::Column;
use crate::rules::fields::{Field, Rule, check, field};
use crate::rules::filters::{By, Choice, Parameter, apply, choices};
use crate::store::{FILES, Store, Where};

/// The fields that an update can set, and their columns.
const FIELDS: &[Field] = &[field("exists", Rule::Bool, "false"), field("json", Rule::Json, "null")];

const PERSONAL: Column = Column::Own(
    "(SELECT json_extract(m.record, '$.globus_is_personal') FROM member m \
     WHERE m.kind = 'data-repository' AND m.name = f.repository)",
);
const PARAMETERS: &[Parameter] = &[
    ("id", Column::Own("f.id"), By::Uuid),
    ("exists", Column::Own("f.present"), By::Bool),
    ("lab", Column::Own("s.lab"), By::Exact),
    ("data_repository", Column::Own("f.repository"), By::Exact),
    ("globus_is_personal", PERSONAL, By::Bool),
    ("relative_path", Column::Own("f.relative_path"), By::Exact),
    ("name", Column::Own("''"), By::Exact),
];
const CHOICES: &[Choice] = &[("dataset", "datasets", "f.dataset")];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Id("f.id")),
    ("id", Column::Id("f.id")),
    ("exists", Column::Own("f.present")),
    ("relative_path", Column::Own("f.relative_path")),
    ("json", Column::Json("f.json")),
    ("data_repository__name", Column::Own("f.repository")),
    ("data_repository__globus_is_personal", PERSONAL),
    ("dataset", Column::Id("f.dataset")),
    ("dataset__id", Column::Id("f.dataset")),
    ("dataset__name", Column::Own("d.name")),
    ("dataset__collection", Column::Own("d.collection")),
    ("dataset__session", Column::Id("d.session")),
    ("dataset__session__id", Column::Id("d.session")),
    ("dataset__session__lab__name", Column::Own("s.lab")),
    ("dataset__session__subject__nickname", Column::Own("s.subject")),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return Err(not_allowed("POST"));
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    choices(store, &mut filter, request, CHOICES)?;
    let count = store.count(FILES, &filter)?;
    paginate(request, count, |limit, offset| Ok(store.files(&filter, (limit, offset), &request.base)?))
}

pub(super) fn one(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let mut filter = Where::default();
    filter.and("f.id = ?", [request.name.clone().into()]);
    let find = |store: &Store| -> Result<_, Error> {
        let found = store.files(&filter, (1, 0), &request.base)?.pop();
        found.ok_or_else(|| Reply::not_found("FileRecord").into())
    };
    let found = find(store)?;
    match request.method.as_str() {
        "GET" => Ok(Reply::json(200, found)),
        "PATCH" => {
            let mut given = check(store, FIELDS, request, true)?;
            if let Some(exists) = given.shift_remove("exists") {
                given.insert("present".into(), exists);
            }
            store.update("file_record", &request.name, &given)?;
            store.touch_dataset_of(&request.name, &request.now)?;
            Ok(Reply::json(200, find(store)?))
        }
        "DELETE" => {
            store.delete_file(&request.name)?;
            Ok(Reply::empty())
        }
        other => Err(not_allowed(other)),
    }
}
