//! SQL conditions from the parameters of a query. Ignores unknown parameters.

use rusqlite::types::Value as Sql;

use crate::http::message::{Error, Reply, Request};
use crate::rules::django::{Column, apply_django, split};
use crate::rules::fields::is_uuid;
use crate::rules::qc::grade_named;
use crate::rules::time;
use crate::store::{Store, Where};

/// How a parameter compares.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Exact,
    /// Without regard to case.
    IExact,
    /// Part of the text, without regard to case.
    IContains,
    Number,
    AtLeast,
    AtMost,
    Bool,
    Uuid,
    Time,
    /// The day, which must exist: an invalid one is a 500, not a 400.
    Day,
    /// From the day of a time on.
    Since,
    /// Up to the day of a time.
    Until,
    /// A quality grade, by name.
    Qc,
}

/// A parameter of a list.
pub(crate) type Parameter = (&'static str, Column, By);

/// A parameter that names a record by its id, and is refused if there is none: its name, the kind of the record, and
/// the column that holds the record's id or, for a plain record, its name.
pub(crate) type Choice = (&'static str, &'static str, &'static str);

/// Applies the parameters that the request carries, then `django=`.
pub(crate) fn apply(
    filter: &mut Where,
    request: &Request,
    parameters: &[Parameter],
    django: &[(&str, Column)],
) -> Result<(), Error> {
    apply_parameters(filter, request, parameters)?;
    request.param("django").map_or(Ok(()), |text| apply_django(filter, text, django))
}

/// Applies the parameters that the request carries.
pub(crate) fn apply_parameters(
    filter: &mut Where,
    request: &Request,
    parameters: &[Parameter],
) -> Result<(), Error> {
    for (name, column, by) in parameters {
        let Some(value) = request.param(name) else { continue };
        let wrong = |message: &str| Error::from(Reply::field(name, message));
        let text = || Sql::Text(value.to_owned());
        let (condition, sql) = match by {
            // A column of numbers refuses other text with a 500.
            By::Exact => (
                "{} = ?",
                if let Column::Number(_) = column { column.value(value, "exact")? } else { text() },
            ),
            By::IExact => ("lower({}) = lower(?)", text()),
            By::IContains => ("instr(lower({}), lower(?)) > 0", text()),
            By::Number | By::AtLeast | By::AtMost => {
                let number = value.trim().parse::<f64>().map_err(|_| wrong("Enter a number."))?;
                let condition = match by {
                    By::AtLeast => "{} >= ?",
                    By::AtMost => "{} <= ?",
                    _ => "{} = ?",
                };
                (condition, Sql::Real(number))
            }
            By::Bool => match value.to_lowercase().as_str() {
                "true" | "1" => ("{} = ?", Sql::Integer(1)),
                "false" | "0" => ("{} = ?", Sql::Integer(0)),
                _ => continue,
            },
            By::Uuid if is_uuid(value) => ("{} = ?", text()),
            By::Uuid => return Err(wrong("Enter a valid UUID.")),
            By::Day if time::real_date(value).is_none() => return Err(time::bad_date(value)),
            By::Day => ("substr({}, 1, 10) = ?", text()),
            By::Time | By::Since | By::Until => {
                let time = time::naive(value).ok_or_else(|| wrong("Enter a valid date/time."))?;
                let condition = match by {
                    By::Since => "substr({}, 1, 10) >= substr(?, 1, 10)",
                    By::Until => "substr({}, 1, 10) <= substr(?, 1, 10)",
                    _ => "{} = ?",
                };
                (condition, Sql::Text(time))
            }
            By::Qc => {
                // The message of Alyx lacks a space.
                let message = "Invalidqc, choices are: CRITICAL, FAIL, WARNING, NOT_SET, PASS";
                let grade = grade_named(value.trim()).ok_or_else(|| Error::internal(message))?;
                ("{} = ?", Sql::Integer(grade))
            }
        };
        filter.and(column.holds(condition), [sql]);
    }
    Ok(())
}

/// Applies the parameters that name a record: an unknown id is refused instead of returning an empty list.
pub(crate) fn choices(
    store: &Store,
    filter: &mut Where,
    request: &Request,
    choices: &[Choice],
) -> Result<(), Error> {
    for (name, kind, column) in choices {
        let Some(id) = request.param(name) else { continue };
        if !is_uuid(id) {
            return Err(Reply::field(name, format!("“{id}” is not a valid UUID.")).into());
        }
        let Some(value) = store.by_id(kind, id)? else {
            let text = "Select a valid choice. That choice is not one of the available choices.";
            return Err(Reply::field(name, text).into());
        };
        filter.and(format!("{column} = ?"), [Sql::Text(value)]);
    }
    Ok(())
}

/// `json=key__lookup,value,…`: conditions on keys inside a structured field.
pub(crate) fn inside(
    filter: &mut Where,
    request: &Request,
    name: &'static str,
    column: &'static str,
) -> Result<(), Error> {
    let Some(text) = request.param(name) else { return Ok(()) };
    let inner: Vec<String> = split(text)
        .into_iter()
        .enumerate()
        .map(|(i, word)| if i % 2 == 0 { format!("{name}__{word}") } else { word })
        .collect();
    apply_django(filter, &inner.join(","), &[(name, Column::Json(column))])
}

/// `date_range=first,last`, both days included.
pub(crate) fn date_range(filter: &mut Where, request: &Request, column: &str) -> Result<(), Error> {
    let Some(range) = request.param("date_range") else { return Ok(()) };
    let dates: Vec<&str> = range.split(',').collect();
    let [first, last, ..] = dates.as_slice() else { return Err(Error::internal("list index out of range")) };
    for (date, sign) in [(first, ">="), (last, "<=")] {
        if time::real_date(date).is_none() {
            return Err(time::bad_date(date));
        }
        filter.and(format!("substr({column}, 1, 10) {sign} ?"), [Sql::Text((*date).to_owned())]);
    }
    Ok(())
}
