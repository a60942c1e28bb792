//! SQL conditions from the parameters of a query, including `django=field__lookup,value`. Ignores unknown parameters.

use rusqlite::types::Value as Sql;

use crate::http::message::{Error, Reply, Request};
use crate::rules::fields::is_uuid;
use crate::rules::time;
use crate::store::Where;

/// Where to find the value to compare.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// An expression on the record itself.
    Own(&'static str),
    /// The `FROM` clause of a set, and an expression on its members, of which any may match.
    Any(&'static str, &'static str),
}

/// How a parameter compares.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Exact,
    /// Without regard to case.
    IExact,
    /// Part of the text, without regard to case.
    IContains,
    Number,
    Bool,
    Uuid,
}

/// A parameter of a list.
pub(crate) type Parameter = (&'static str, Column, By);

/// Applies the parameters that the request carries, then `django=`.
pub(crate) fn apply(
    filter: &mut Where,
    request: &Request,
    parameters: &[Parameter],
    django: &[(&str, Column)],
) -> Result<(), Error> {
    for (name, column, by) in parameters {
        let Some(value) = request.param(name) else { continue };
        let wrong = |message: &str| Error::from(Reply::field(name, message));
        let text = || Sql::Text(value.to_owned());
        let (condition, sql) = match by {
            By::Exact => ("{} = ?", text()),
            By::IExact => ("lower({}) = lower(?)", text()),
            By::IContains => ("instr(lower({}), lower(?)) > 0", text()),
            By::Number => match value.trim().parse::<f64>() {
                Ok(number) => ("{} = ?", Sql::Real(number)),
                Err(_) => return Err(wrong("Enter a number.")),
            },
            By::Bool => match value.to_lowercase().as_str() {
                "true" | "1" => ("{} = ?", Sql::Integer(1)),
                "false" | "0" => ("{} = ?", Sql::Integer(0)),
                _ => continue,
            },
            By::Uuid if is_uuid(value) => ("{} = ?", text()),
            By::Uuid => return Err(wrong("Enter a valid UUID.")),
        };
        filter.and(condition_on(*column, condition), [sql]);
    }
    match request.param("django") {
        Some(text) => apply_django(filter, text, django),
        None => Ok(()),
    }
}

fn condition_on(column: Column, condition: &str) -> String {
    match column {
        Column::Own(expression) => condition.replace("{}", expression),
        Column::Any(from, expression) => {
            format!("EXISTS (SELECT 1 FROM {from} AND {})", condition.replace("{}", expression))
        }
    }
}

/// `field__lookup,value,…`; `~` before a field negates its condition.
fn apply_django(filter: &mut Where, text: &str, fields: &[(&str, Column)]) -> Result<(), Error> {
    for pair in split(text).chunks(2) {
        let [field, value] = pair else { return Err(Error::internal("list index out of range")) };
        let path = field.strip_prefix('~').unwrap_or(field);
        // The longest field that the path begins with; the rest is the lookup.
        let known = fields
            .iter()
            .filter(|(name, _)| path == *name || path.strip_prefix(name).is_some_and(|r| r.starts_with("__")))
            .max_by_key(|(name, _)| name.len());
        let Some((name, column)) = known else {
            let first = path.split("__").next().unwrap_or(path);
            return Err(Error::internal(format!("Cannot resolve keyword '{first}' into field.")));
        };
        let lookup = path[name.len()..].trim_start_matches("__");
        let (condition, values) = lookup_sql(lookup, value, path)?;
        let condition = condition_on(*column, &condition);
        // As in Django's exclude, a value that cannot be compared is not excluded.
        let negated = field.starts_with('~');
        filter.and(if negated { format!("NOT coalesce({condition}, 0)") } else { condition }, values);
    }
    Ok(())
}

/// The lookups of Django that registration clients use.
fn lookup_sql(lookup: &str, value: &str, path: &str) -> Result<(String, Vec<Sql>), Error> {
    let one = |condition: &str| Ok((condition.to_owned(), vec![scalar(value)]));
    match lookup {
        "" | "exact" => one("{} = ?"),
        "date" => one("substr({}, 1, 10) = ?"),
        "icontains" => one("instr(lower({}), lower(?)) > 0"),
        "gt" => one("{} > ?"),
        "gte" => one("{} >= ?"),
        "lt" => one("{} < ?"),
        "lte" => one("{} <= ?"),
        "isnull" => {
            let not = if value.eq_ignore_ascii_case("true") { "" } else { "NOT " };
            Ok((format!("{{}} IS {not}NULL"), Vec::new()))
        }
        "in" => {
            let words = value.trim_matches(|c| "[]()".contains(c)).split(',');
            let words = words.map(|v| v.trim().trim_matches(['\'', '"'])).filter(|v| !v.is_empty());
            let values: Vec<Sql> = words.map(scalar).collect();
            Ok((format!("{{}} IN ({})", vec!["?"; values.len()].join(",")), values))
        }
        other => Err(Error::internal(format!("Unsupported lookup '{other}' in '{path}'."))),
    }
}

/// `json=key__lookup,value,…`: conditions on keys inside a structured field.
pub(crate) fn inside(filter: &mut Where, request: &Request, name: &str, column: &str) -> Result<(), Error> {
    let Some(text) = request.param(name) else { return Ok(()) };
    for pair in split(text).chunks(2) {
        let [path, value] = pair else { return Err(Error::internal("list index out of range")) };
        let (condition, values) = key_sql(column, path, value)?;
        filter.and(condition, values);
    }
    Ok(())
}

/// A condition on a key of a structured field, or on the field itself if the path is only a lookup.
fn key_sql(column: &str, path: &str, value: &str) -> Result<(String, Vec<Sql>), Error> {
    const LOOKUPS: [&str; 7] = ["exact", "icontains", "gt", "gte", "lt", "lte", "isnull"];
    let mut keys: Vec<&str> = path.split("__").filter(|k| !k.is_empty()).collect();
    let lookup = keys.pop_if(|k| LOOKUPS.contains(k)).unwrap_or("");
    let (condition, values) = lookup_sql(lookup, value, path)?;
    // Keys become part of the SQL text, so only plain ones are allowed.
    if !keys.iter().all(|k| k.chars().all(|c| c.is_alphanumeric() || c == '_')) {
        return Err(Error::internal(format!("Unsupported key in '{path}'.")));
    }
    if keys.is_empty() {
        return Ok((condition.replace("{}", column), values));
    }
    let keys: String = keys.iter().map(|k| format!(".\"{k}\"")).collect();
    Ok((condition.replace("{}", &format!("json_extract({column}, '${keys}')")), values))
}

fn scalar(text: &str) -> Sql {
    match text.to_lowercase().as_str() {
        "true" => Sql::Integer(1),
        "false" => Sql::Integer(0),
        lower => match lower.parse::<f64>() {
            Ok(number) if lower.starts_with(|c: char| c.is_ascii_digit()) => Sql::Real(number),
            _ => Sql::Text(text.to_owned()),
        },
    }
}

/// Splits at the commas outside brackets.
fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0_u32);
    for c in text.chars() {
        match c {
            ',' if depth == 0 => words.push(std::mem::take(&mut word)),
            _ => {
                depth = match c {
                    '[' | '(' => depth + 1,
                    ']' | ')' => depth.saturating_sub(1),
                    _ => depth,
                };
                word.push(c);
            }
        }
    }
    words.push(word);
    words
}

/// `date_range=first,last`, both days included.
pub(crate) fn date_range(filter: &mut Where, request: &Request, column: &str) -> Result<(), Error> {
    let Some(range) = request.param("date_range") else { return Ok(()) };
    let dates: Vec<&str> = range.split(',').collect();
    let [first, last, ..] = dates.as_slice() else { return Err(Error::internal("list index out of range")) };
    for (date, sign) in [(first, ">="), (last, "<=")] {
        if time::real_date(date).is_none() {
            return Err(bad_date(date));
        }
        filter.and(format!("substr({column}, 1, 10) {sign} ?"), [Sql::Text((*date).to_owned())]);
    }
    Ok(())
}

/// Django's error for an invalid date: a 500, because Alyx does not catch the exception.
pub(crate) fn bad_date(date: &str) -> Error {
    let why = if time::is_date_shaped(date) {
        "value has the correct format (YYYY-MM-DD) but it is an invalid date."
    } else {
        "value has an invalid date format. It must be in YYYY-MM-DD format."
    };
    Error::internal(format!("['“{date}” {why}']"))
}
