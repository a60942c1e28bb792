//! `/weighings` and `/water-administrations`. There is no uniqueness: a repeated POST makes a second record.

use serde_json::Value;

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::rules::fields::{Field, Rule, check, field, required};
use crate::rules::filters::{By, Column, Parameter, apply};
use crate::store::{Store, Where, new_id};

/// A kind of measurement: its table and its fields.
pub(super) struct Measurement {
    table: &'static str,
    fields: &'static [Field],
}

pub(super) static WEIGHT: Measurement = Measurement {
    table: "weighing",
    fields: &[
        required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
        field("date_time", Rule::Time, "null"),
        required("weight", Rule::PositiveFloat),
        field("user", Rule::Slug { of: "users", by: "username" }, "\"\""),
    ],
};

pub(super) static WATER: Measurement = Measurement {
    table: "water",
    fields: &[
        required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
        field("date_time", Rule::Time, "null"),
        field("water_administered", Rule::PositiveFloat, "null"),
        field("water_type", Rule::Slug { of: "water-type", by: "name" }, "\"Water\""),
        field("user", Rule::Slug { of: "users", by: "username" }, "\"\""),
        field("session", Rule::Slug { of: "sessions", by: "id" }, "\"\""),
        field("adlib", Rule::Bool, "false"),
    ],
};

const PARAMETERS: &[Parameter] = &[
    ("subject", Column::Own("m.subject"), By::IExact),
    ("nickname", Column::Own("m.subject"), By::IExact),
    ("id", Column::Own("m.id"), By::Uuid),
];

pub(super) fn list(store: &mut Store, request: &Request, kind: &Measurement) -> Result<Reply, Error> {
    let mut filter = Where::default();
    if request.method != "POST" {
        apply(&mut filter, request, PARAMETERS, &[("pk", Column::Own("m.id"))])?;
        let count = store.count(&format!("FROM {} m", kind.table), &filter)?;
        return paginate(request, count, |limit, offset| {
            Ok(store.measurements(kind.table, &filter, (limit, offset), &request.base)?)
        });
    }
    let mut columns = check(store, kind.fields, request, false)?;
    let id = new_id();
    columns.entry("user").or_insert_with(|| request.user.as_str().into());
    columns.entry("date_time").or_insert_with(|| request.now.as_str().into());
    if kind.table == "water" {
        columns.entry("adlib").or_insert(Value::Bool(false));
        columns.entry("water_type").or_insert_with(|| "Water".into());
    }
    columns.insert("id".into(), id.as_str().into());
    store.insert(kind.table, &columns)?;
    filter.and("m.id = ?", [id.into()]);
    let created = store.measurements(kind.table, &filter, (1, 0), &request.base)?.pop();
    Ok(Reply::json(201, created.unwrap_or_default()))
}
