//! Single values: their parsers and error messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::civil::Date;
use serde_yaml::Value;

use crate::config::{LogFormat, LogLevel, WatchMode, WebhookKind};
use alyx_registration::{OnLate, OnLeftOut, OnRefused, ProtectedPolicy};
use session_metadata::text::locate::{printable, quoted};

/// Parses one value, or returns a message that says what it should be.
pub(super) trait FromYaml: Sized {
    fn from_yaml(value: &Value) -> Result<Self, String>;
}

/// A text that is not empty and has no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

/// A section whose keys are checked where it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section(pub(super) Value);

impl FromYaml for Section {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        match value.is_mapping() {
            true => Ok(Self(value.clone())),
            false => Err("this must be a section of `key: value` lines".to_owned()),
        }
    }
}

/// The word of a data root that gets the files of all computers of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllDevices;

impl FromYaml for AllDevices {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("all_devices", Self)])
    }
}

/// Users on Alyx by the names that a rig writes.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct UsersMap(pub(super) BTreeMap<String, Option<String>>);

impl FromYaml for UsersMap {
    /// `{Ana's login: ana, test: }`.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let entries = value.as_mapping().ok_or_else(|| {
            format!("{} is not a section of `name on the rig: user on Alyx` lines", shown(value))
        })?;
        let entry = |(from, to): (&Value, &Value)| {
            let from = Text::from_yaml(from)?.0;
            let to = match to {
                Value::Null => None,
                to => Some(Text::from_yaml(to).map_err(|why| format!("{from}: {why}"))?.0),
            };
            Ok((from, to))
        };
        entries.iter().map(entry).collect::<Result<_, String>>().map(Self)
    }
}

/// A JSON object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Json(pub(super) serde_json::Map<String, serde_json::Value>);

/// A value in a form for messages.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => quoted(s),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        Value::Tagged(tagged) => format!("a value with the tag {}", quoted(&tagged.tag.to_string())),
    }
}

impl FromYaml for Text {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(s) if s.trim().is_empty() => {
                Err("this is empty; leave the key out instead".to_owned())
            }
            Value::String(s) if s.chars().any(char::is_control) => {
                Err("this has a line break or another control character in it".to_owned())
            }
            Value::String(s) => Ok(Text(s.clone())),
            // Shown without quotes: YAML has already read 1.10 as 1.1.
            Value::Number(_) | Value::Bool(_) => {
                Err(format!("{} is not text; put it in quotes", shown(value)))
            }
            other => Err(format!("{} is not a text", shown(other))),
        }
    }
}

impl FromYaml for bool {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("{} is not true or false", shown(value)))
    }
}

impl FromYaml for u64 {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| format!("{} is not a whole number", shown(value)))
    }
}

impl FromYaml for f64 {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| format!("{} is not a number", shown(value)))
    }
}

impl FromYaml for Json {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        if !value.is_mapping() {
            return Err(format!("{} is not a section of `key: value` lines", shown(value)));
        }
        // It would become null.
        if let Some(key) = not_finite(value) {
            return Err(format!(
                "{key}: infinity and NaN cannot be sent as JSON; put them in quotes, or leave the key out"
            ));
        }
        // JSON has no tags, and its keys are strings.
        match serde_json::to_value(value) {
            Ok(serde_json::Value::Object(map)) => Ok(Json(map)),
            Ok(_) => Err("this cannot be sent as JSON".to_owned()),
            Err(err) => Err(format!("this cannot be sent as JSON: {err}")),
        }
    }
}

/// The path of the first number that is infinite or NaN.
fn not_finite(value: &Value) -> Option<String> {
    let below = |step: String, value: &Value| {
        let path = not_finite(value)?;
        Some(if path.is_empty() || path.starts_with('[') { step + &path } else { format!("{step}.{path}") })
    };
    match value {
        Value::Number(n) => n.as_f64().is_some_and(|n| !n.is_finite()).then(String::new),
        Value::Sequence(items) => {
            items.iter().enumerate().find_map(|(i, item)| below(format!("[{i}]"), item))
        }
        Value::Mapping(fields) => fields
            .iter()
            .find_map(|(key, value)| below(key.as_str().map_or_else(|| shown(key), printable), value)),
        _ => None,
    }
}

impl FromYaml for Date {
    /// `2000-01-01`.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let written = value.as_str().filter(|text| text.len() == "2000-01-01".len());
        written
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{} is not a date (example: 2000-01-01)", shown(value)))
    }
}

impl<T: FromYaml> FromYaml for Vec<T> {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| T::from_yaml(item).map_err(|why| format!("item {}: {why}", i + 1)))
                .collect(),
            Value::String(s) => Err(format!("this must be a list; write [{}]", quoted(s))),
            other => Err(format!("{} is not a list", shown(other))),
        }
    }
}

/// Why a text is not a plain file name, if it is not.
pub(super) fn file_name_fault(name: &str) -> Option<String> {
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        Some(format!("{} is not a file name; write the name alone, without a folder", quoted(name)))
    } else if name.len() > 255 {
        Some(format!("{} is longer than a file name may be (255 bytes)", quoted(name)))
    } else {
        None
    }
}

/// Parses one of several words.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let found = value.as_str().and_then(|typed| words.iter().find(|(word, _)| *word == typed));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{} is not one of: {}", shown(value), all.join(", "))
    })
}

impl FromYaml for WatchMode {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("auto", WatchMode::Auto), ("native", WatchMode::Native), ("poll", WatchMode::Poll)])
    }
}

impl FromYaml for ProtectedPolicy {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("refuse", ProtectedPolicy::Refuse), ("revise", ProtectedPolicy::Revise)])
    }
}

impl FromYaml for OnRefused {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("keep_flag", OnRefused::KeepFlag), ("finish", OnRefused::Finish)])
    }
}

impl FromYaml for OnLeftOut {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let words =
            [("warn", OnLeftOut::Warn), ("keep_flag", OnLeftOut::KeepFlag), ("ignore", OnLeftOut::Ignore)];
        word(value, &words)
    }
}

impl FromYaml for OnLate {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("report", OnLate::Report), ("register", OnLate::Register)])
    }
}

impl FromYaml for LogLevel {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let words = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        word(value, &words)
    }
}

impl FromYaml for WebhookKind {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let words =
            [("slack", WebhookKind::Slack), ("teams", WebhookKind::Teams), ("json", WebhookKind::Json)];
        word(value, &words)
    }
}

impl FromYaml for LogFormat {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    }
}

impl FromYaml for SocketAddr {
    /// `127.0.0.1:9174`, `[::1]:9174`, or `localhost:9174` for the first.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let typed = value.as_str().map(|typed| typed.replacen("localhost:", "127.0.0.1:", 1));
        typed.and_then(|typed| typed.parse().ok()).ok_or_else(|| {
            format!("{} is not an address with a port (example: 127.0.0.1:9174)", shown(value))
        })
    }
}

impl FromYaml for Duration {
    /// `10 s`, `5 min`, `1 h 30 min`, `PT5M`. A bare number has no unit and is refused, except 0.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(n) if n.as_u64() == Some(0) => Ok(Duration::ZERO),
            Value::Number(n) => Err(format!("{n} has no unit; write {n} s or {n} min")),
            Value::String(s) => duration(s),
            other => Err(format!("{} is not a duration (example: 60 s)", shown(other))),
        }
    }
}

/// Parses a duration, such as `10 s` or `30d`.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let no = || format!("{} is not a duration (example: 60 s)", quoted(text));
    let span: jiff::Span = text.trim().parse().map_err(|_| no())?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(format!("{}: months and years have no fixed length; write days or hours", quoted(text)));
    }
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let signed = span.to_duration(days).map_err(|_| no())?;
    Duration::try_from(signed).map_err(|_| format!("{} is negative", quoted(text)))
}

/// A duration in the configuration's notation.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0 s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{} d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

impl FromYaml for ByteSize {
    /// `4 GiB`, `500 MB`, `1.5 TB`, or a plain number of bytes.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        let no = || format!("{} is not a size (examples: 4 GiB, 500 MB, 0)", shown(value));
        match value {
            Value::Number(n) => n.as_u64().map(ByteSize).ok_or_else(no),
            Value::String(s) => byte_size(s).ok_or_else(no),
            _ => Err(no()),
        }
    }
}

/// Parses a size in the configuration's notation (`4 GiB`, `500 MB`, a number of bytes), in bytes.
///
/// ```
/// assert_eq!(alyx_registrar::config::parse_size("4 GiB"), Some(4 << 30));
/// assert_eq!(alyx_registrar::config::parse_size("much"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    byte_size(text).map(|size| size.0)
}

fn byte_size(text: &str) -> Option<ByteSize> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "tb" => 1000 * 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).map(ByteSize);
    }
    let bytes = (number.parse::<f64>().ok()? * factor as f64).round();
    // Above 2^53 a float is not exact.
    (bytes.is_finite() && (0.0..=9e15).contains(&bytes)).then_some(ByteSize(bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        let ms = |text: &str| duration(text).map(|d| d.as_millis());
        assert_eq!(ms("10 s"), Ok(10_000));
        assert_eq!(ms("5 min"), Ok(300_000));
        assert_eq!(ms("1 h 30 min"), Ok(5_400_000));
        assert_eq!(ms("PT5M"), Ok(300_000));
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("1 day"), Ok(86_400_000));
        assert_eq!(ms("1w"), Ok(7 * 86_400_000));
        for bad in
            ["", "5", "5 minuts", "s", "-1 s", "1 s ago", "1 month", "1e3 s", "9999999999999999999 s", "1 s;"]
        {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_duration_is_shown_in_a_form_that_can_be_parsed() {
        for text in ["0 s", "250 ms", "90 s", "5 min", "1 h", "3 d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_according_to_their_unit() {
        let read = |text: &str| byte_size(text).map(|b| b.0);
        assert_eq!(read("4 GiB"), Some(4 << 30));
        assert_eq!(read("500 MB"), Some(500_000_000));
        assert_eq!(read("1.5kib"), Some(1536));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("12b"), Some(12));
        for bad in ["", "GiB", "4 G", "-1", "1..2 MB", "99999999999 TiB", "1e3", "4 GiB 3", "."] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
