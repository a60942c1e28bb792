//! `django=field__lookup,value,…`: any condition that Django can express, for the fields and lookups in use.

use rusqlite::types::Value as Sql;

use crate::http::message::Error;
use crate::rules::fields::is_uuid;
use crate::rules::time;
use crate::store::Where;

/// Where to find the value to compare, and its type.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// An expression on the record itself: text or a boolean.
    Own(&'static str),
    Number(&'static str),
    Time(&'static str),
    Id(&'static str),
    /// A structured field, of which a path names a key.
    Json(&'static str),
    /// The `FROM` clause of a set, and an expression on its members, of which any may match.
    Any(&'static str, &'static str),
}

impl Column {
    /// A condition, in which `{}` is the value.
    pub fn holds(self, condition: &str) -> String {
        match self {
            Column::Own(x) | Column::Number(x) | Column::Time(x) | Column::Id(x) | Column::Json(x) => {
                condition.replace("{}", x)
            }
            Column::Any(from, x) => {
                format!("EXISTS (SELECT 1 FROM {from} AND {})", condition.replace("{}", x))
            }
        }
    }

    /// The type's name in Django's messages.
    fn type_name(self) -> &'static str {
        match self {
            Column::Number(_) => "IntegerField",
            Column::Time(_) => "DateTimeField",
            Column::Id(_) => "UUIDField",
            Column::Json(_) => "JSONField",
            Column::Own(_) | Column::Any(..) => "CharField",
        }
    }

    /// A value as this column holds it.
    pub fn value(self, text: &str, lookup: &str) -> Result<Sql, Error> {
        match self {
            // The patterns compare with a number as if it were text.
            Column::Number(_) if !lookup.contains("contains") && !lookup.contains("with") => {
                let field = self.holds("{}");
                let field = field.rsplit('.').next().unwrap_or_default();
                text.parse::<f64>()
                    .map(Sql::Real)
                    .map_err(|_| Error::internal(format!("Field '{field}' expected a number but got '{text}'.")))
            }
            Column::Time(_) if matches!(lookup, "exact" | "gt" | "gte" | "lt" | "lte" | "in" | "range") => {
                time::naive(text).map(Sql::Text).ok_or_else(|| {
                    Error::internal(format!(
                        "['“{text}” value has an invalid format. It must be in YYYY-MM-DD HH:MM[:ss[.uuuuuu]][TZ] \
                         format.']"
                    ))
                })
            }
            Column::Id(_) if !is_uuid(text) => {
                Err(Error::internal(format!("['“{text}” is not a valid UUID.']")))
            }
            _ => Ok(scalar(text)),
        }
    }
}

/// Applies `field__lookup,value,…`; `~` before a field negates its condition.
pub(super) fn apply_django(filter: &mut Where, text: &str, fields: &[(&str, Column)]) -> Result<(), Error> {
    let words = split(text);
    let mut seen: Vec<&str> = Vec::new();
    for pair in words.chunks(2) {
        let [field, value] = pair else { return Err(Error::internal("list index out of range")) };
        if seen.contains(&field.as_str()) {
            return Err(Error::internal(format!("Duplicated fields in \"{text}\"")));
        }
        seen.push(field);
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
        let (condition, values) = comparison(*column, path[name.len()..].trim_start_matches("__"), value)?;
        let condition = column.holds(&condition);
        // As in Django's exclude, a value that cannot be compared is not excluded.
        let negated = field.starts_with('~');
        filter.and(if negated { format!("NOT coalesce({condition}, 0)") } else { condition }, values);
    }
    Ok(())
}

/// The lookups, and their conditions; `?` occurs as often as the value is needed.
const LOOKUPS: &[(&str, &str)] = &[
    ("exact", "{} = ?"),
    ("iexact", "lower({}) = lower(?)"),
    ("contains", "instr({}, ?) > 0"),
    ("icontains", "instr(lower({}), lower(?)) > 0"),
    ("startswith", "instr({}, ?) = 1"),
    ("istartswith", "instr(lower({}), lower(?)) = 1"),
    ("endswith", "substr({}, -length(?)) = ?"),
    ("iendswith", "substr(lower({}), -length(?)) = lower(?)"),
    ("gt", "{} > ?"),
    ("gte", "{} >= ?"),
    ("lt", "{} < ?"),
    ("lte", "{} <= ?"),
    ("range", "{} BETWEEN ? AND ?"),
    ("isnull", "{} IS NULL = ?"),
    ("in", "{} IN (?)"),
];

/// What a time can be reduced to before it is compared.
const PARTS: &[(&str, &str)] = &[
    ("date", "substr({}, 1, 10)"),
    ("year", "CAST(substr({}, 1, 4) AS INTEGER)"),
    ("month", "CAST(substr({}, 6, 2) AS INTEGER)"),
    ("day", "CAST(substr({}, 9, 2) AS INTEGER)"),
];

/// The condition, in which `{}` is the column, of what follows a field's name: keys or a part of a time, then a lookup.
fn comparison(column: Column, rest: &str, value: &str) -> Result<(String, Vec<Sql>), Error> {
    let mut steps: Vec<&str> = rest.split("__").filter(|step| !step.is_empty()).collect();
    let lookup = steps.pop_if(|step| LOOKUPS.iter().any(|(name, _)| name == step)).unwrap_or("exact");
    let unsupported = |step: &str| {
        let kind = column.type_name();
        let text = format!("Unsupported lookup '{step}' for {kind} or join on the field not permitted.");
        Error::internal(text)
    };
    let (subject, whole) = match (column, steps.as_slice()) {
        (_, []) => ("{}".to_owned(), true),
        (Column::Json(_), keys) => {
            // Keys become part of the SQL text, so only plain ones are allowed.
            let plain = |key: &&&str| !key.chars().all(|c| c.is_alphanumeric() || c == '_');
            if let Some(key) = keys.iter().find(plain) {
                return Err(unsupported(key));
            }
            let keys: String = keys.iter().map(|key| format!(".\"{key}\"")).collect();
            (format!("json_extract({{}}, '${keys}')"), false)
        }
        (Column::Time(_), [part]) => {
            let known = PARTS.iter().find(|(name, _)| name == part).ok_or_else(|| unsupported(part))?;
            if *part == "date" && lookup != "isnull" {
                list(value)
                    .into_iter()
                    .find(|day| time::real_date(day).is_none())
                    .map_or(Ok(()), |day| Err(time::bad_date(day)))?;
            }
            (known.1.to_owned(), false)
        }
        (_, [step, ..]) => return Err(unsupported(step)),
    };
    let (_, condition) =
        LOOKUPS.iter().find(|(name, _)| *name == lookup).ok_or_else(|| unsupported(lookup))?;
    let condition = condition.replace("{}", &subject);
    let typed = |text: &str| if whole { column.value(text, lookup) } else { Ok(scalar(text)) };
    Ok(match lookup {
        "isnull" => (condition, vec![scalar(value)]),
        "exact" if value == "None" => (format!("{subject} IS NULL"), Vec::new()),
        "in" => {
            let values = list(value).into_iter().map(typed).collect::<Result<Vec<_>, _>>()?;
            (condition.replace('?', &vec!["?"; values.len()].join(",")), values)
        }
        "range" => match list(value).as_slice() {
            [first, last] => (condition, vec![typed(first)?, typed(last)?]),
            _ => return Err(Error::internal("not enough values to unpack (expected 2)")),
        },
        _ => {
            let value = typed(value)?;
            let times = condition.matches('?').count();
            (condition, vec![value; times])
        }
    })
}

/// The words of `['a','b']`, or the text itself.
fn list(text: &str) -> Vec<&str> {
    let words = text.trim_matches(|c| "[]()".contains(c)).split(',');
    words.map(|word| word.trim().trim_matches(['\'', '"'])).filter(|word| !word.is_empty()).collect()
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
pub(super) fn split(text: &str) -> Vec<String> {
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
