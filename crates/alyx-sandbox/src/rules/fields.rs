//! The fields that a client may write, and the messages with which Alyx refuses a value.
//!
//! One description per field serves creation (required fields and defaults), update and partial update.

use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::rules::qc::QC;
use crate::rules::time;
use crate::store::Store;

/// Text of the usual length.
pub(crate) const TEXT: Rule = Rule::Text { max: 1023, blank: true };

/// What a field accepts.
pub(crate) enum Rule {
    /// Text of at most `max` characters; trimmed; blank only if allowed.
    Text {
        max: usize,
        blank: bool,
    },
    /// Text of a certain form; an optional field may be blank.
    Checked {
        max: usize,
        is_valid: fn(&str) -> bool,
        message: &'static str,
    },
    /// The name of a subject.
    Nickname,
    Integer,
    PositiveFloat,
    Bool,
    Time,
    Date,
    Json,
    /// A quality grade, given by name and stored by number.
    Qc,
    /// The name of a record of another kind.
    Slug {
        of: &'static str,
        by: &'static str,
    },
    /// A list of such names.
    Slugs {
        of: &'static str,
        by: &'static str,
    },
    /// A session, by URL.
    SessionLink,
}

/// A field of a record, in the order in which records show it.
pub(crate) struct Field {
    pub name: &'static str,
    pub rule: Rule,
    pub required: bool,
    pub null: bool,
    /// JSON text.
    pub default: &'static str,
}

/// An optional field.
pub(crate) const fn field(name: &'static str, rule: Rule, default: &'static str) -> Field {
    let null = matches!(default.as_bytes(), b"null");
    Field { name, rule, required: false, null, default }
}

/// A field that a new record must have.
pub(crate) const fn required(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, required: true, null: false, default: "null" }
}

const NOT_NULL: &str = "This field may not be null.";

/// Validates a body against the fields.
///
/// Returns the given values in their stored form, or a message for each invalid field. Ignores unknown fields, as Alyx
/// does.
pub(crate) fn check(
    store: &Store,
    fields: &[Field],
    request: &Request,
    partial: bool,
) -> Result<Map<String, Value>, Error> {
    let body = request.data()?;
    let Value::Object(body) = body else {
        let kind = python_type(body);
        let text = format!("Invalid data. Expected a dictionary, but got {kind}.");
        return Err(Reply::field("non_field_errors", text).into());
    };
    let (mut clean, mut errors) = (Map::new(), Map::new());
    for field in fields {
        let outcome = match body.get(field.name) {
            None if field.required && !partial => Err("This field is required.".into()),
            None => continue,
            Some(Value::Null) if field.null => Ok(Value::Null),
            Some(Value::Null) => Err(NOT_NULL.into()),
            Some(Value::String(blank)) if field.required && blank.trim().is_empty() => {
                Err("This field may not be blank.".into())
            }
            Some(value) => accept(store, &field.rule, value)?,
        };
        match outcome {
            Ok(value) => clean.insert(field.name.into(), value),
            Err(message) => errors.insert(field.name.into(), json!([message])),
        };
    }
    if errors.is_empty() { Ok(clean) } else { Err(Reply::fields(errors).into()) }
}

fn accept(store: &Store, rule: &Rule, value: &Value) -> rusqlite::Result<Result<Value, String>> {
    Ok(match rule {
        Rule::Text { max, blank } => text(value, *max, *blank).map(Value::from),
        Rule::Checked { max, is_valid, message } => text(value, *max, true).and_then(|text| {
            if text.is_empty() || is_valid(&text) { Ok(text.into()) } else { Err((*message).into()) }
        }),
        Rule::Nickname => text(value, 255, false).and_then(|name| {
            if name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
                return Ok(name.into());
            }
            Err("Nicknames must only contain letters, numbers, hyphens and underscores. \
                 Dots are reserved for breeding subjects."
                .into())
        }),
        Rule::Integer => integer(value).map(Value::from),
        Rule::PositiveFloat => float(value).map(Value::from),
        Rule::Bool => boolean(value).map(Value::from),
        Rule::Time => value.as_str().and_then(time::naive).map(Value::from).ok_or_else(|| {
            "Datetime has wrong format. Use one of these formats instead: \
             YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
                .into()
        }),
        Rule::Date => match value.as_str().filter(|v| time::real_date(v).is_some()) {
            Some(date) => Ok(date.into()),
            None => Err("Date has wrong format. Use one of these formats instead: YYYY-MM-DD.".into()),
        },
        Rule::Json => Ok(value.clone()),
        Rule::Qc => match QC.iter().find(|(name, _)| value.as_str() == Some(name)) {
            Some((_, grade)) => Ok((*grade).into()),
            None => Err("Invalid qc, choices are: CRITICAL, FAIL, WARNING, NOT_SET, PASS".into()),
        },
        Rule::Slug { of, by } => slug(store, of, by, value)?,
        Rule::Slugs { of, by } => slugs(store, of, by, value)?,
        Rule::SessionLink => session_link(store, value)?,
    })
}

fn text(value: &Value, max: usize, blank: bool) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err("Not a valid string.".into()),
    };
    match text.chars().count() {
        0 if !blank => Err("This field may not be blank.".into()),
        n if n > max => Err(format!("Ensure this field has no more than {max} characters.")),
        _ => Ok(text),
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        _ => text.as_str(),
    };
    match whole.parse::<i64>().map_err(|_| "A valid integer is required.".to_owned())? {
        n if n > i64::from(i32::MAX) => Err("Ensure this value is less than or equal to 2147483647.".into()),
        n if n < i64::from(i32::MIN) => {
            Err("Ensure this value is greater than or equal to -2147483648.".into())
        }
        n => Ok(n),
    }
}

fn float(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        _ => None,
    };
    match number {
        None => Err("A valid number is required.".into()),
        Some(n) if n < 0.0 => Err("Ensure this value is greater than or equal to 0.".into()),
        Some(n) => Ok(n),
    }
}

fn boolean(value: &Value) -> Result<bool, String> {
    let text = match value {
        Value::Bool(yes) => return Ok(*yes),
        other => python_text(other).to_lowercase(),
    };
    match text.as_str() {
        "t" | "y" | "yes" | "true" | "on" | "1" => Ok(true),
        "f" | "n" | "no" | "false" | "off" | "0" => Ok(false),
        _ => Err("Must be a valid boolean.".into()),
    }
}

fn slug(store: &Store, of: &str, by: &str, value: &Value) -> rusqlite::Result<Result<Value, String>> {
    let name = python_text(value);
    if by == "id" && !is_uuid(&name) {
        return Ok(Err(format!("“{name}” is not a valid UUID.")));
    }
    let exists = !value.is_null() && store.exists(of, &name)?;
    Ok(if exists { Ok(name.into()) } else { Err(format!("Object with {by}={name} does not exist.")) })
}

fn slugs(store: &Store, of: &str, by: &str, value: &Value) -> rusqlite::Result<Result<Value, String>> {
    let Value::Array(items) = value else {
        let kind = python_type(value);
        return Ok(Err(format!("Expected a list of items but got type \"{kind}\".")));
    };
    let mut names: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        match slug(store, of, by, item)? {
            Ok(name) if !names.contains(&name) => names.push(name),
            Ok(_) => {}
            Err(message) => return Ok(Err(message)),
        }
    }
    Ok(Ok(names.into()))
}

fn session_link(store: &Store, value: &Value) -> rusqlite::Result<Result<Value, String>> {
    let Value::String(link) = value else {
        let kind = python_type(value);
        return Ok(Err(format!("Incorrect type. Expected URL string, received {kind}.")));
    };
    let path = match link.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => link.as_str(),
    };
    let Some(id) = path.strip_prefix("/sessions/").filter(|id| is_uuid(id)) else {
        return Ok(Err("Invalid hyperlink - No URL match.".into()));
    };
    let exists = store.exists("sessions", id)?;
    Ok(if exists { Ok(id.into()) } else { Err("Invalid hyperlink - Object does not exist.".into()) })
}

/// Whether text is a UUID in the form of a URL's path: hyphens, lower case.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// How Python prints a value inside a message.
pub(crate) fn python_text(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The name of a value's type in Python.
pub(crate) fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}
