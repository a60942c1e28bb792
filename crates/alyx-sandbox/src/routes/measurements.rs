//! `/weighings`, `/water-administrations` and `/water-requirement`. There is no uniqueness: a repeated POST makes a second record.

use serde_json::{Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::rules::django::Column;
use crate::rules::fields::{Field, Rule, check, field, required};
use crate::rules::filters::{By, Choice, Parameter, apply, apply_parameters, choices, inside};
use crate::rules::time;
use crate::store::{Store, Where, new_id};

/// A kind of measurement: its table and its fields.
pub(super) struct Measurement {
    table: &'static str,
    /// The model's name, as in Alyx's 404.
    model: &'static str,
    parameters: &'static [Parameter],
    choices: &'static [Choice],
    django: &'static [(&'static str, Column)],
    fields: &'static [Field],
}

pub(super) static WEIGHT: Measurement = Measurement {
    table: "weighing",
    model: "Weighing",
    parameters: &[("weight", Column::Own("m.weight"), By::Number)],
    choices: &[("user", "users", "m.user")],
    django: &[("weight", Column::Number("m.weight"))],
    fields: &[
        required("subject", Rule::Slug { of: "subjects", by: "nickname" }),
        field("date_time", Rule::Time, "null"),
        required("weight", Rule::PositiveFloat),
        field("user", Rule::Slug { of: "users", by: "username" }, "\"\""),
    ],
};

pub(super) static WATER: Measurement = Measurement {
    table: "water",
    model: "WaterAdministration",
    parameters: &[
        ("water_administered", Column::Own("m.water_administered"), By::Number),
        ("adlib", Column::Own("m.adlib"), By::Bool),
    ],
    choices: &[("user", "users", "m.user"), ("session", "sessions", "m.session")],
    django: &[
        ("water_administered", Column::Number("m.water_administered")),
        ("adlib", Column::Own("m.adlib")),
        ("session", Column::Id("m.session")),
        ("session__id", Column::Id("m.session")),
        ("water_type__name", Column::Own("m.water_type")),
    ],
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
    ("date_time", Column::Own("m.date_time"), By::Time),
];
const DJANGO: &[(&str, Column)] = &[
    ("pk", Column::Id("m.id")),
    ("id", Column::Id("m.id")),
    ("subject__nickname", Column::Own("m.subject")),
    ("subject__lab__name", Column::Own("(SELECT s.lab FROM subject s WHERE s.nickname = m.subject)")),
    ("user__username", Column::Own("m.user")),
    ("date_time", Column::Time("m.date_time")),
];
/// Parameters for which Alyx looks into a field that these records lack.
const FAILING: [(&str, &str); 4] =
    [("date_range", "start_time"), ("lab", "lab"), ("users", "users"), ("location", "location")];

pub(super) fn list(store: &mut Store, request: &Request, kind: &Measurement) -> Result<Reply, Error> {
    let mut filter = Where::default();
    if request.method != "POST" {
        if let Some((_, field)) = FAILING.iter().find(|(name, _)| request.param(name).is_some()) {
            return Err(Error::internal(format!("Cannot resolve keyword '{field}' into field.")));
        }
        apply(&mut filter, request, PARAMETERS, &[DJANGO, kind.django].concat())?;
        apply_parameters(&mut filter, request, kind.parameters)?;
        choices(store, &mut filter, request, kind.choices)?;
        inside(&mut filter, request, "json", "NULL")?;
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
    Ok(Reply::created(found(store, request, kind, &id)?))
}

pub(super) fn one(store: &mut Store, request: &Request, kind: &Measurement) -> Result<Reply, Error> {
    let id = request.name.as_str();
    found(store, request, kind, id)?;
    match request.method.as_str() {
        "DELETE" => {
            store.delete_measurement(kind.table, id)?;
            return Ok(Reply::empty());
        }
        "PUT" | "PATCH" => {
            let columns = check(store, kind.fields, request, request.method == "PATCH")?;
            store.update(kind.table, id, &columns)?;
        }
        _ => {}
    }
    Ok(Reply::json(200, found(store, request, kind, id)?))
}

fn found(store: &Store, request: &Request, kind: &Measurement, id: &str) -> Result<Value, Error> {
    let mut filter = Where::default();
    filter.and("m.id = ?", [id.to_owned().into()]);
    let found = store.measurements(kind.table, &filter, (1, 0), &request.base)?.pop();
    found.ok_or_else(|| Reply::not_found(kind.model).into())
}

/// `/water-requirement/<subject>`: weight and water of each day, from the first record, or `start_date`, on.
///
/// Nothing is known here of reference weights and implants, which are zero.
pub(super) fn requirement(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    if !store.exists("subjects", &request.name)? {
        return Err(Error::internal("Subject matching query does not exist."));
    }
    let day = |name: &str| match request.param(name) {
        None => Ok(None),
        Some(date) => time::real_date(date).map(Some).ok_or_else(|| {
            Error::internal(format!("time data '{date} 12:00:00' does not match format '%Y-%m-%d %H:%M:%S'"))
        }),
    };
    let first = match (day("start_date")?, store.first_measured(&request.name)?) {
        (Some(day), _) => Some(day),
        (None, first) => first.as_deref().and_then(time::real_date),
    };
    let last = match day("end_date")? {
        Some(day) => Some(day),
        None => request.now.get(..10).and_then(time::real_date),
    };
    let Some((first, last)) = first.zip(last) else {
        return Err(Error::internal("'NoneType' object has no attribute 'date'"));
    };
    let days = first.series(time::daily()).take_while(|day| *day <= last);
    let records: Result<Vec<Value>, Error> =
        days.map(|day| Ok(store.water_of(&request.name, &day.to_string())?)).collect();
    let body = json!({
        "subject": request.name, "implant_weight": 0, "reference_weight_pct": 0.0, "zscore_weight_pct": 0.0,
        "records": records?,
    });
    Ok(Reply::json(200, body))
}
