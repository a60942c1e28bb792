//! From the parameters of a query to a condition in SQL: exact and loose comparisons, dates, numbers, and the
//! `django=field__lookup,value` parameter. A parameter that nobody knows is passed over in silence.

use rusqlite::types::Value as Sql;

use crate::fields::{QC, is_uuid};
use crate::message::{Answer, Request, Stop};
use crate::time;

/// A condition under construction.
#[derive(Default)]
pub(super) struct Where {
    clauses: Vec<String>,
    pub values: Vec<Sql>,
}

impl Where {
    pub fn and(&mut self, clause: impl Into<String>, values: impl IntoIterator<Item = Sql>) {
        self.clauses.push(clause.into());
        self.values.extend(values);
    }

    /// ` WHERE …`, or nothing.
    pub fn sql(&self) -> String {
        if self.clauses.is_empty() { String::new() } else { format!(" WHERE {}", self.clauses.join(" AND ")) }
    }
}

/// Where a value that can be compared is found.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// An expression on the record itself.
    Own(&'static str),
    /// An expression on the members of a set: any one may match. First what follows FROM.
    Any(&'static str, &'static str),
}

/// How a parameter compares.
#[derive(Clone, Copy)]
pub(super) enum By {
    Exact,
    /// Without regard to case.
    IExact,
    /// Part of the text, without regard to case.
    IContains,
    Number,
    Time,
    Bool,
    Qc,
    Uuid,
}

/// A parameter of a list.
pub(super) type Parameter = (&'static str, Column, By);

/// Applies the parameters that the request carries, then `django=`.
pub(super) fn apply(
    filter: &mut Where,
    request: &Request,
    parameters: &[Parameter],
    django: &[(&str, Column)],
) -> Result<(), Stop> {
    for (name, column, by) in parameters {
        let Some(value) = request.param(name) else { continue };
        let wrong = |message: &str| Stop::from(Answer::field(name, message));
        let text = || Sql::Text(value.to_owned());
        let (condition, sql) = match by {
            By::Exact => ("{} = ?", text()),
            By::IExact => ("lower({}) = lower(?)", text()),
            By::IContains => ("instr(lower({}), lower(?)) > 0", text()),
            By::Number => match value.trim().parse::<f64>() {
                Ok(number) => ("{} = ?", Sql::Real(number)),
                Err(_) => return Err(wrong("Enter a number.")),
            },
            By::Time => match time::naive(value) {
                Some(time) => ("{} = ?", Sql::Text(time)),
                None => return Err(wrong("Enter a valid date/time.")),
            },
            By::Bool => match value.to_lowercase().as_str() {
                "true" | "1" => ("{} = ?", Sql::Integer(1)),
                "false" | "0" => ("{} = ?", Sql::Integer(0)),
                _ => continue,
            },
            By::Qc => match QC.iter().find(|(n, _)| n.eq_ignore_ascii_case(value.trim())) {
                Some((_, grade)) => ("{} = ?", Sql::Integer(*grade)),
                None => {
                    let choices = QC.map(|(n, _)| n).join(", ");
                    return Err(Stop::broken(format!("Invalid{name}, choices are: {choices}")));
                }
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

/// `field__lookup,value,field__lookup,value`; `~` before a field turns the condition round.
fn apply_django(filter: &mut Where, text: &str, fields: &[(&str, Column)]) -> Result<(), Stop> {
    let words = split(text);
    for pair in words.chunks(2) {
        let [field, value] = pair else { return Err(Stop::broken("list index out of range")) };
        let (negated, path) = match field.strip_prefix('~') {
            Some(path) => (true, path),
            None => (false, field.as_str()),
        };
        // The longest field that the path begins with; what is left is the lookup.
        let known = fields
            .iter()
            .filter(|(name, _)| path == *name || path.strip_prefix(name).is_some_and(|r| r.starts_with("__")))
            .max_by_key(|(name, _)| name.len());
        let Some((name, column)) = known else {
            let first = path.split("__").next().unwrap_or(path);
            let choices: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let choices = choices.join(", ");
            let text = format!("Cannot resolve keyword '{first}' into field. Choices are: {choices}");
            return Err(Stop::broken(text));
        };
        let lookup = path[name.len()..].trim_start_matches("__");
        let (condition, values) = match (name, column) {
            (&"json" | &"extended_qc", Column::Own(column)) => key_sql(column, lookup, value)?,
            _ => lookup_sql(lookup, value, path)?,
        };
        let condition = condition_on(*column, &condition);
        // As Django's exclude: what cannot be compared is not excluded.
        let condition = if negated { format!("NOT coalesce({condition}, 0)") } else { condition };
        filter.and(condition, values);
    }
    Ok(())
}

fn lookup_sql(lookup: &str, value: &str, path: &str) -> Result<(String, Vec<Sql>), Stop> {
    let (date, lookup) = match lookup.strip_prefix("date") {
        Some(rest) => (true, rest.trim_start_matches("__")),
        None => (false, lookup),
    };
    let subject = if date { "substr({}, 1, 10)" } else { "{}" };
    let one = || vec![scalar(value)];
    Ok(match lookup {
        "" | "exact" if value == "None" => (format!("{subject} IS NULL"), Vec::new()),
        "" | "exact" => (format!("{subject} = ?"), one()),
        "iexact" => (format!("lower({subject}) = lower(?)"), one()),
        "contains" => (format!("instr({subject}, ?) > 0"), one()),
        "icontains" => (format!("instr(lower({subject}), lower(?)) > 0"), one()),
        "startswith" => (format!("instr({subject}, ?) = 1"), one()),
        "gt" => (format!("{subject} > ?"), one()),
        "gte" => (format!("{subject} >= ?"), one()),
        "lt" => (format!("{subject} < ?"), one()),
        "lte" => (format!("{subject} <= ?"), one()),
        "isnull" if value.eq_ignore_ascii_case("true") => (format!("{subject} IS NULL"), Vec::new()),
        "isnull" => (format!("{subject} IS NOT NULL"), Vec::new()),
        "in" => {
            let inner = value.trim_matches(|c| "[]()".contains(c));
            let values: Vec<Sql> = inner
                .split(',')
                .map(|v| scalar(v.trim().trim_matches(|c| c == '\'' || c == '"')))
                .filter(|v| *v != Sql::Text(String::new()))
                .collect();
            (format!("{subject} IN ({})", vec!["?"; values.len()].join(",")), values)
        }
        other => {
            let text = format!("Unsupported lookup '{other}' in '{path}'.");
            return Err(Stop::broken(text));
        }
    })
}

/// `json=key__lookup,value,…`: conditions on what is inside a structured field.
pub(super) fn inside(filter: &mut Where, request: &Request, name: &str, column: &str) -> Result<(), Stop> {
    let Some(text) = request.param(name) else { return Ok(()) };
    for pair in split(text).chunks(2) {
        let [path, value] = pair else { return Err(Stop::broken("list index out of range")) };
        let (condition, values) = key_sql(column, path, value)?;
        filter.and(condition, values);
    }
    Ok(())
}

/// A condition on a key of a structured field, or on the field itself where the path is only a lookup.
fn key_sql(column: &str, path: &str, value: &str) -> Result<(String, Vec<Sql>), Stop> {
    const LOOKUPS: [&str; 9] =
        ["exact", "iexact", "contains", "icontains", "gt", "gte", "lt", "lte", "isnull"];
    let mut keys: Vec<&str> = path.split("__").filter(|k| !k.is_empty()).collect();
    let lookup = keys.pop_if(|k| LOOKUPS.contains(k)).unwrap_or("");
    let (condition, values) = lookup_sql(lookup, value, path)?;
    // The keys go into the text of the query: only plain ones may.
    if !keys.iter().all(|k| k.chars().all(|c| c.is_alphanumeric() || c == '_')) {
        return Err(Stop::broken(format!("Unsupported key in '{path}'.")));
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
pub(super) fn date_range(filter: &mut Where, request: &Request, column: &str) -> Result<(), Stop> {
    let Some(range) = request.param("date_range") else { return Ok(()) };
    let dates: Vec<&str> = range.split(',').collect();
    let [first, last, ..] = dates.as_slice() else { return Err(Stop::broken("list index out of range")) };
    for (date, sign) in [(first, ">="), (last, "<=")] {
        if time::real_date(date).is_none() {
            return Err(bad_date(date));
        }
        filter.and(format!("substr({column}, 1, 10) {sign} ?"), [Sql::Text((*date).to_owned())]);
    }
    Ok(())
}

/// Django's words about a date that is none: a 500, as nothing catches them.
pub(super) fn bad_date(date: &str) -> Stop {
    let shape = date.len() == 10
        && date
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    let why = if shape {
        "value has the correct format (YYYY-MM-DD) but it is an invalid date."
    } else {
        "value has an invalid date format. It must be in YYYY-MM-DD format."
    };
    Stop::broken(format!("['“{date}” {why}']"))
}
