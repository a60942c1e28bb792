//! `/datasets`.

use serde_json::Value;

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::routes::not_allowed;
use crate::rules::django::Column;
use crate::rules::fields::{Field, Rule, check, field};
use crate::rules::filters::{By, Choice, Parameter, apply, apply_parameters, choices};
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
const PROTECTED: Column = Column::Own(
    "EXISTS (SELECT 1 FROM dataset_tag t JOIN member m ON m.kind = 'tags' AND m.name = t.tag \
     WHERE t.dataset = d.id AND json_extract(m.record, '$.protected'))",
);
const PUBLIC: Column = Column::Own(
    "EXISTS (SELECT 1 FROM dataset_tag t JOIN member m ON m.kind = 'tags' AND m.name = t.tag \
     WHERE t.dataset = d.id AND json_extract(m.record, '$.public'))",
);
const FILES: &str = "file_record f WHERE f.dataset = d.id";
const PARAMETERS: &[Parameter] = &[
    ("name", Column::Own("d.name"), By::Exact),
    ("collection", Column::Own("d.collection"), By::Exact),
    ("revision", Column::Own("d.revision"), By::Exact),
    ("subject", Column::Own("s.subject"), By::Exact),
    ("dataset_type", Column::Own("d.dataset_type"), By::Exact),
    ("date", Column::Own("s.start_time"), By::Day),
    ("experiment_number", Column::Number("s.number"), By::Exact),
    ("lab", Column::Own("s.lab"), By::Exact),
    ("created_by", Column::Own("d.created_by"), By::Exact),
    ("created_date", Column::Own("d.created_datetime"), By::Day),
    ("created_date_gte", Column::Own("d.created_datetime"), By::Since),
    ("created_date_lte", Column::Own("d.created_datetime"), By::Until),
    ("created_datetime", Column::Own("d.created_datetime"), By::Time),
    ("auto_datetime", Column::Own("d.auto_datetime"), By::Time),
    ("hash", Column::Own("d.hash"), By::Exact),
    ("version", Column::Own("d.version"), By::Exact),
    ("file_size", Column::Own("d.file_size"), By::Number),
    ("qc", Column::Own("d.qc"), By::Qc),
    ("protected", PROTECTED, By::Bool),
    ("public", PUBLIC, By::Bool),
    ("tag", Column::Any(TAGS, "t.tag"), By::Exact),
    ("default_dataset", Column::Own("d.default_dataset"), By::Bool),
    ("id", Column::Own("d.id"), By::Uuid),
    ("object_id", Column::Own("d.object_id"), By::Uuid),
];
/// Only servers count.
const EXISTS: &[Parameter] = &[(
    "exists",
    Column::Any(
        "file_record f JOIN member m ON m.kind = 'data-repository' AND m.name = f.repository \
         WHERE f.dataset = d.id AND json_extract(m.record, '$.globus_is_personal') = 0",
        "f.present",
    ),
    By::Bool,
)];
const CHOICES: &[Choice] =
    &[("session", "sessions", "d.session"), ("data_format", "data-formats", "d.data_format")];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Id("d.id")),
    ("id", Column::Id("d.id")),
    ("name", Column::Own("d.name")),
    ("collection", Column::Own("d.collection")),
    ("hash", Column::Own("d.hash")),
    ("version", Column::Own("d.version")),
    ("file_size", Column::Number("d.file_size")),
    ("qc", Column::Number("d.qc")),
    ("default_dataset", Column::Own("d.default_dataset")),
    ("created_datetime", Column::Time("d.created_datetime")),
    ("auto_datetime", Column::Time("d.auto_datetime")),
    ("created_by__username", Column::Own("d.created_by")),
    ("json", Column::Json("d.json")),
    ("object_id", Column::Id("d.object_id")),
    ("session", Column::Id("d.session")),
    ("session__id", Column::Id("d.session")),
    ("session__number", Column::Number("s.number")),
    ("session__start_time", Column::Time("s.start_time")),
    ("session__qc", Column::Number("s.qc")),
    ("session__subject__nickname", Column::Own("s.subject")),
    ("session__lab__name", Column::Own("s.lab")),
    ("session__task_protocol", Column::Own("s.task_protocol")),
    ("session__projects__name", Column::Any("json_each(s.projects) p WHERE 1", "p.value")),
    ("dataset_type__name", Column::Own("d.dataset_type")),
    ("data_format__name", Column::Own("d.data_format")),
    ("revision", Column::Own("d.revision")),
    ("revision__name", Column::Own("d.revision")),
    ("tags__name", Column::Any(TAGS, "t.tag")),
    ("tags__protected", PROTECTED),
    ("file_records__exists", Column::Any(FILES, "f.present")),
    ("file_records__relative_path", Column::Any(FILES, "f.relative_path")),
    ("file_records__data_repository__name", Column::Any(FILES, "f.repository")),
];

pub(super) fn list(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if request.method == "POST" {
        return Err(not_allowed("POST"));
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    choices(store, &mut filter, request, CHOICES)?;
    // Ignored by an Alyx without a server.
    if store.has_servers()? {
        apply_parameters(&mut filter, request, EXISTS)?;
    }
    let count = store.count(DATASETS, &filter)?;
    paginate(request, count, |limit, offset| Ok(store.datasets(&filter, (limit, offset), &request.base)?))
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
