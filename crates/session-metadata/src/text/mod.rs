//! Texts from disks as values: bytes to text, text to YAML or JSON, each fault with its line.

pub mod locate;
pub(crate) mod not_a_number;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::text::locate::{KeyPath, Oddity, Syntax};
use crate::text::not_a_number::without_nan;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The key as a dotted path, or empty.
    pub key: String,
    /// What is wrong, and what to do about it; one line.
    pub message: String,
}

impl Fault {
    fn at(line: Option<usize>, message: impl Into<String>) -> Self {
        Self { line, key: String::new(), message: message.into() }
    }
}

/// Limit on open brackets.
const MAX_BRACKETS: usize = 2000;

/// UTF-8, without the byte order mark of Windows editors.
///
/// # Errors
/// The line that is not UTF-8; UTF-16 is named as such.
pub fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.get(1) == Some(&0) {
        return Err(Fault::at(None, "this is UTF-16; save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Fault::at(Some(line), "this line is not UTF-8; save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The text of UTF-16, with or without its byte order mark; `None` for anything else.
pub(crate) fn utf16(bytes: &[u8]) -> Option<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] | [_, 0, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] | [0, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|two| two.try_into().ok()).map(unit).collect();
    let text = String::from_utf16(&units).ok()?;
    Some(text.trim_start_matches('\u{feff}').to_owned())
}

/// Reads a text as one YAML document. Duplicate keys, anchors that multiply and a second document are faults.
///
/// # Errors
/// The first fault.
pub fn parse_yaml(text: &str) -> Result<serde_yaml::Value, Fault> {
    check(text, Syntax::Yaml)?;
    let value = value_of(text).map_err(|failure| syntax_error(text, &failure))?;
    match locate::second_document(text) {
        Some(line) => {
            Err(Fault::at(Some(line), "a second document begins here (after ---); write one document only"))
        }
        None => Ok(value),
    }
}

/// Reads a text as JSON. Duplicate keys are faults.
///
/// # Errors
/// The first fault.
pub fn parse_json(text: &str) -> Result<serde_json::Value, Fault> {
    check(text, Syntax::Json)?;
    serde_json::from_str(text).map_err(|failure| {
        if serde_json::from_str::<IgnoredAny>(&without_nan(text)).is_ok() {
            return no_number(text, Syntax::Json, &locate::broken_at(text, Syntax::Json));
        }
        let why = failure.to_string();
        // The line is printed before the message.
        let why = why.split(" at line ").next().unwrap_or_default();
        Fault::at(
            Some(failure.line()).filter(|line| *line > 0),
            format!("this is not valid JSON: {why}; look in this line and the one before for a missing quote, comma or bracket"),
        )
    })
}

/// The fault of a number that Alyx cannot store.
pub(crate) fn no_number(text: &str, syntax: Syntax, key: &KeyPath) -> Fault {
    let message = "NaN, infinity and numbers beyond 1e308 are no values here; leave the key out";
    Fault { line: locate::line_of(text, syntax, key), key: key.to_string(), message: message.to_owned() }
}

/// The faults that the parsers do not report.
fn check(text: &str, syntax: Syntax) -> Result<(), Fault> {
    if let Some(line) = endless_brackets(text) {
        return Err(Fault::at(Some(line), "too many brackets are open here; is it the right file?"));
    }
    let Some((oddity, line)) = locate::oddity(text, syntax) else { return Ok(()) };
    let (key, message) = match oddity {
        Oddity::Duplicate(path) => {
            (path.to_string(), "this key occurs twice in its section; keep one of them")
        }
        Oddity::WideNumber(path) => (
            path.to_string(),
            "this number does not fit into 64 bits and would be rounded; put it in quotes, as text",
        ),
        Oddity::TooMany => (String::new(), "this holds more than a million values; is it the right file?"),
    };
    Err(Fault { line, key, message: message.to_owned() })
}

/// The parser's message for invalid YAML, with its line.
fn syntax_error(text: &str, failure: &serde_yaml::Error) -> Fault {
    let line = locate::line_in(text, failure);
    let typed = line.and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or_default();
    let indent = typed.split(|c: char| c != ' ' && c != '\t').next().unwrap_or_default();
    let hint = match indent.contains('\t') {
        true => "indent with spaces, not with a tab",
        false => {
            "look in this line and the one before for a wrong indentation, a missing quote or bracket, or a colon \
             without a space after it"
        }
    };
    let mut why = failure.to_string();
    if let Some(at) = failure.location() {
        // The line is printed before the message.
        why = why.replacen(&format!(" at line {} column {}", at.line(), at.column()), "", 1);
    }
    Fault::at(line, format!("this is not valid YAML: {why}; {hint}"))
}

/// Reads the text as one value.
fn value_of(text: &str) -> Result<serde_yaml::Value, serde_yaml::Error> {
    let Some(first) = serde_yaml::Deserializer::from_str(text).next() else {
        return Ok(serde_yaml::Value::Null);
    };
    match serde_yaml::Value::deserialize(first) {
        Err(failure) if failure.to_string().starts_with("EOF while parsing") => Ok(serde_yaml::Value::Null),
        other => other,
    }
}

/// Whether a value has a YAML tag, which deserialization would ignore.
pub fn has_tag(value: &serde_yaml::Value) -> bool {
    match value {
        serde_yaml::Value::Tagged(_) => true,
        serde_yaml::Value::Sequence(items) => items.iter().any(has_tag),
        serde_yaml::Value::Mapping(mapping) => {
            mapping.iter().any(|(key, value)| has_tag(key) || has_tag(value))
        }
        _ => false,
    }
}

/// The line on which too many brackets are open, which would take the parser quadratic time. Brackets in strings and
/// comments count as well; the limit is high enough for them.
fn endless_brackets(text: &str) -> Option<usize> {
    let mut open = 0usize;
    let at = text.bytes().position(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MAX_BRACKETS
    })?;
    Some(1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count())
}
