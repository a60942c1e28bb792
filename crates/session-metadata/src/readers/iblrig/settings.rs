//! The settings of a task, `_iblrig_taskSettings.raw*.json`, in the shape that all versions of iblrig share here.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use alf::SessionTime;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::{Map, Value};

use crate::files::{SessionFiles, named, read_text};
use crate::problem::{Problem, ProblemKind, shown};
use crate::text::locate::{KeyPath, Syntax, line_of};
use crate::text::not_a_number::{NOT_A_NUMBER, without_nan};
use crate::text::parse_json;

/// Settings have a few ten thousand bytes, with the positions of an ephys session 200,000.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The settings of one task, as written; the accessors know where each version keeps a value.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The path in the session.
    pub path: String,
    text: String,
    keys: Map<String, Value>,
    /// `IBLRIG_VERSION`, or what stands for it; empty if no version is known.
    pub version: String,
    release: [u64; 3],
    /// What is written as the version and is none.
    pub no_version: Option<String>,
    /// The keys whose values are `NaN` or infinite.
    not_numbers: BTreeSet<String>,
}

/// A value with the key under which this version of iblrig keeps it.
pub type Keyed<T> = (T, &'static str);

/// The settings in a collection; `None` without any.
///
/// # Errors
/// What is wrong with the file.
pub fn load(files: &dyn SessionFiles, collection: &str) -> Result<Option<Settings>, Problem> {
    let Some(path) = named(files, collection, "_iblrig_taskSettings.raw", ".json").next() else {
        return Ok(None);
    };
    let text = without_nan(&read_text(files, path, MAX_BYTES)?).into_owned();
    let value = parse_json(&text).map_err(|fault| Problem::syntax(path, fault))?;
    let Value::Object(mut keys) = value else {
        let message = "these are not the settings of a task (a JSON object); restore the file";
        return Err(Problem::new(ProblemKind::Value, path, "", message));
    };
    let not_numbers =
        keys.iter_mut().filter_map(|(key, value)| drop_nan(value).then(|| key.clone())).collect();
    let written = |key: &str| keys.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let version = match (written("IBLRIG_VERSION"), written("IBLRIG_VERSION_TAG")) {
        ("", tag) => known_version(tag),
        (version, _) => known_version(version),
    };
    let release = release(&version);
    let no_version = ["IBLRIG_VERSION", "IBLRIG_VERSION_TAG"].into_iter().find_map(|key| keys.get(key));
    let no_version = no_version.filter(|value| version.is_empty() && !value.is_null()).map(shown);
    Ok(Some(Settings { path: path.to_owned(), text, keys, version, release, no_version, not_numbers }))
}

/// Replaces what is no number by null, also further down; whether the value itself is none.
fn drop_nan(value: &mut Value) -> bool {
    let is_nan = value.as_str() == Some(NOT_A_NUMBER);
    match value {
        _ if is_nan => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(|item| _ = drop_nan(item)),
        Value::Object(members) => members.values_mut().for_each(|member| _ = drop_nan(member)),
        _ => {}
    }
    is_nan
}

/// The version if it is one for Python's `packaging`, else its leading three numbers, else nothing.
fn known_version(written: &str) -> String {
    static PEP_440: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let pattern = r"^v?([0-9]+!)?[0-9]+(\.[0-9]+)*([-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?[0-9]*)?(-[0-9]+|[-_.]?(post|rev|r)[-_.]?[0-9]*)?([-_.]?dev[-_.]?[0-9]*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?$";
        Regex::new(pattern).ok()
    });
    if PEP_440.as_ref().is_some_and(|regex| regex.is_match(&written.to_ascii_lowercase())) {
        return written.to_owned();
    }
    let mut numbers = written.splitn(3, '.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        (part.get(..digits).unwrap_or_default(), digits == part.len())
    });
    match [numbers.next(), numbers.next(), numbers.next()] {
        [Some((major, true)), Some((minor, true)), Some((patch, _))]
            if ![major, minor, patch].contains(&"") =>
        {
            format!("{major}.{minor}.{patch}")
        }
        _ => String::new(),
    }
}

/// The first three numbers of a version.
fn release(version: &str) -> [u64; 3] {
    let mut numbers = version.trim_start_matches(['v', 'V']).split('.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    });
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

impl Settings {
    /// Whether these are settings of version 8 or later. Where no version is known, the keys tell.
    pub fn is_v8(&self) -> bool {
        if self.version.is_empty() {
            let has = |key: &str| self.value(key).is_some();
            has("SESSION_START_TIME") && !has("SESSION_DATETIME")
        } else {
            self.release >= [8, 0, 0]
        }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A problem with the value of a key.
    pub fn problem(&self, kind: ProblemKind, key: &str, message: String) -> Problem {
        let line = line_of(&self.text, Syntax::Json, &KeyPath::default().key(key));
        Problem::new(kind, &self.path, key, message).on_line(line)
    }

    /// A text; a value of another type is a problem.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let message = format!("{} is not a text; correct it", shown(other));
                Err(self.problem(ProblemKind::Value, key, message))
            }
        }
    }

    /// A list of texts; anything else is absent.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let items = self.value(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A number or a truth value, if there is any.
    ///
    /// # Errors
    /// What is written in its place.
    pub fn quantity(&self, key: &str) -> Result<Option<f64>, String> {
        match (self.number(key), self.value(key)) {
            (None, Some(other)) => Err(shown(other)),
            (None, None) if self.not_numbers.contains(key) => Err("NaN".to_owned()),
            (number, _) => Ok(number),
        }
    }

    /// A number or a truth value; anything else is absent.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
            other => other.as_f64(),
        }
    }

    /// A value as it is.
    pub fn any(&self, key: &str) -> Option<&Value> {
        self.value(key)
    }

    /// The key of a time that is kept in another place since version 8.
    pub fn start_key(&self) -> &'static str {
        if self.is_v8() && self.value("SESSION_START_TIME").is_some() {
            "SESSION_START_TIME"
        } else {
            "SESSION_DATETIME"
        }
    }

    /// The time under a key.
    pub fn time(&self, key: &str, zone: &TimeZone) -> Result<Option<SessionTime>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let time = SessionTime::parse(text.trim(), zone).ok();
        // Up to this version the time was whatever the rig's locale made of it.
        let is_free = self.release <= [3, 2, 3] && !self.version.is_empty();
        let time = time.or_else(|| free_form(text.trim()).filter(|_| is_free));
        time.map(Some).ok_or_else(|| {
            let message = format!(
                "{} is not a time such as 2024-05-01T10:00:00; correct it",
                shown(&Value::from(text))
            );
            self.problem(ProblemKind::Time, key, message)
        })
    }

    /// The day under `SESSION_DATE`, which version 8 does not need.
    pub fn day(&self) -> Option<Date> {
        let day = self.value("SESSION_DATE").filter(|_| !self.is_v8())?.as_str()?;
        alf::session_path::parse_date_folder(day.get(..10)?)
    }

    /// The session number.
    pub fn session_number(&self) -> Option<u64> {
        match self.value("SESSION_NUMBER")? {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        }
    }

    /// The experimenter.
    pub fn user(&self) -> Result<Option<Keyed<&str>>, Problem> {
        if self.is_v8() {
            return Ok(self.text("ALYX_USER")?.map(|name| (name, "ALYX_USER")));
        }
        // Name and id; without an id the name is only the rig's default.
        let creator = self.value("PYBPOD_CREATOR").and_then(Value::as_array);
        let part = |index: usize| {
            creator.and_then(|list| list.get(index)?.as_str()).filter(|text: &&str| !text.is_empty())
        };
        Ok(part(0).filter(|_| part(1).is_some()).map(|name| (name, "PYBPOD_CREATOR")))
    }

    /// The rig.
    pub fn location(&self) -> Result<Option<Keyed<&str>>, Problem> {
        let key = if self.is_v8() && self.value("RIG_NAME").is_some() { "RIG_NAME" } else { "PYBPOD_BOARD" };
        Ok(self.text(key)?.map(|name| (name, key)))
    }
}

/// A time as rigs wrote it before they wrote ISO 8601. Forms in which day and month may be confused are not read.
fn free_form(text: &str) -> Option<SessionTime> {
    const FORMS: [&str; 8] = [
        "%Y-%m-%d_%H-%M-%S",
        "%Y%m%d-%H%M%S",
        "%Y-%m-%d %H.%M.%S",
        "%Y/%m/%d %H:%M:%S%.f",
        "%a %b %d %H:%M:%S %Y",
        "%d %b %Y %H:%M:%S%.f",
        "%d %B %Y %H:%M:%S%.f",
        "%b %d %Y %H:%M:%S%.f",
    ];
    let form = FORMS.iter().find_map(|form| DateTime::strptime(form, text).ok());
    form.map(SessionTime::from_civil)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_python_reads_it() {
        for (written, version, numbers) in [
            ("8.12.3", "8.12.3", [8, 12, 3]),
            ("6.4.2rc1", "6.4.2rc1", [6, 4, 2]),
            ("v5", "v5", [5, 0, 0]),
            ("8.0.0-dev+abc", "8.0.0-dev+abc", [8, 0, 0]),
            ("7.2.1 (dirty)", "7.2.1", [7, 2, 1]),
            ("4.0-x", "", [0, 0, 0]),
            ("none", "", [0, 0, 0]),
            ("", "", [0, 0, 0]),
        ] {
            assert_eq!(
                (known_version(written).as_str(), release(&known_version(written))),
                (version, numbers)
            );
        }
    }

    #[test]
    fn a_free_form_time_is_read_unless_day_and_month_may_be_confused() {
        for text in [
            "2018-05-07_19-34-24",
            "Mon May  7 19:34:24 2018",
            "7 May 2018 19:34:24",
            "2018/05/07 19:34:24.0",
        ] {
            assert_eq!(
                free_form(text).map(|time| time.to_iso()).as_deref(),
                Some("2018-05-07T19:34:24"),
                "{text}"
            );
        }
        assert_eq!(free_form("05/07/2018 19:34:24"), None);
    }
}
