//! `/weighings` and `/water-administrations`. Nothing is unique: a repeated post is a second drink.

use serde_json::Value;

use crate::fields::{Field, Rule, check, field, required};
use crate::filters::{By, Column, Parameter, Where, apply};
use crate::kinds::DETAIL;
use crate::message::{Answer, Request, Stop};
use crate::page::page;
use crate::store::{Store, new_id};

/// One of the two.
pub(super) struct Measured {
    table: &'static str,
    model: &'static str,
    pub detail: &'static str,
    fields: &'static [Field],
}

pub(super) static WEIGHT: Measured = Measured {
    table: "weighing",
    model: "Weighing",
    detail: "GET, DELETE, HEAD, OPTIONS",
    fields: &[
        required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
        field("date_time", Rule::Time, "null"),
        required("weight", Rule::Float { at_least_zero: true }),
        field("user", Rule::Slug { of: "users", by: "username" }, "\"\""),
    ],
};

pub(super) static WATER: Measured = Measured {
    table: "water",
    model: "WaterAdministration",
    detail: DETAIL,
    fields: &[
        required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
        field("date_time", Rule::Time, "null"),
        field("water_administered", Rule::Float { at_least_zero: true }, "null"),
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
    ("date_time", Column::Own("m.date_time"), By::Time),
];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Own("m.id")),
    ("id", Column::Own("m.id")),
    ("subject__nickname", Column::Own("m.subject")),
    ("user__username", Column::Own("m.user")),
    ("date_time", Column::Own("m.date_time")),
];

pub(super) fn list(
    store: &mut Store,
    request: &Request,
    measured: &Measured,
    method: &str,
    user: &str,
) -> Result<Answer, Stop> {
    if method == "POST" {
        let mut columns = check(store, measured.fields, request, false)?;
        let id = new_id();
        columns.entry("user").or_insert_with(|| user.into());
        columns.entry("date_time").or_insert_with(|| request.now.as_str().into());
        if measured.table == "water" {
            columns.entry("adlib").or_insert(Value::Bool(false));
            columns.entry("water_type").or_insert_with(|| "Water".into());
        }
        columns.insert("id".into(), id.as_str().into());
        store.insert_measurement(measured.table, &columns)?;
        return Ok(Answer::json(201, found(store, request, measured, &id)?));
    }
    let mut filter = Where::default();
    apply(&mut filter, request, PARAMETERS, DJANGO)?;
    let count = store.measurement_count(measured.table, &filter)?;
    page(request, count, |limit, offset| {
        Ok(store.measurements(measured.table, &filter, (limit, offset), &request.base)?)
    })
}

pub(super) fn one(
    store: &mut Store,
    request: &Request,
    measured: &Measured,
    id: &str,
    method: &str,
    user: &str,
) -> Result<Answer, Stop> {
    let record = found(store, request, measured, id)?;
    match method {
        "DELETE" => {
            store.delete_measurement(measured.table, id)?;
            Ok(Answer::empty())
        }
        "PUT" | "PATCH" => {
            let mut columns = check(store, measured.fields, request, method == "PATCH")?;
            if method == "PUT" {
                columns.entry("user").or_insert_with(|| user.into());
            }
            store.update_measurement(measured.table, id, &columns)?;
            Ok(Answer::json(200, found(store, request, measured, id)?))
        }
        _ => Ok(Answer::json(200, record)),
    }
}

fn found(store: &Store, request: &Request, measured: &Measured, id: &str) -> Result<Value, Stop> {
    let record = store.measurement(measured.table, id, &request.base)?;
    record.ok_or_else(|| Answer::no_such(measured.model).into())
}
