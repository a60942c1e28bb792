//! A sidecar: `alyx-session.yaml` or `.json`, in which a person or a program writes what is known of a session.
//!
//! It lies in the session folder or in any folder above it, up to the data root; the nearest one wins, key by key. The
//! flag itself may be one. Each is read up to [`MAX_BYTES`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use alf::SessionTime;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::layer::{Field, Layer, Water, Weight};
use crate::problem::{Problem, ProblemKind, shown};
use crate::source::{Origin, Source, Sourced};
use crate::text::locate::{KeyPath, Syntax, line_of, quoted};
use crate::text::not_a_number::without_nan;
use crate::text::{self, has_tag};

/// Limit on the errors that are listed; the rest are counted.
const MAX_PROBLEMS: usize = 50;

/// The waters of a session. Each is a record on Alyx, and costs requests.
const MAX_WATERS: usize = 100;

/// Limit on the bytes that are read again to look up lines: enough for each key of a usual sidecar.
const MAX_READ_AGAIN: usize = 2 * 1024 * 1024;

/// The names of sidecars.
pub const NAMES: [&str; 2] = ["alyx-session.yaml", "alyx-session.json"];

/// A sidecar is half a page; a larger file is the wrong file.
pub const MAX_BYTES: u64 = 256 * 1024;

/// A sidecar as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarFile {
    /// The file as messages name it.
    pub name: String,
    /// At most [`MAX_BYTES`] and one more.
    pub content: Vec<u8>,
}

/// What a key takes.
#[derive(Clone, Copy)]
enum Takes {
    Text(Field),
    /// A text of several lines.
    Prose(Field),
    Texts(Field),
    Count(Field),
    Time(Field),
    Qc,
    Json,
    Date,
    Accept,
    Weight,
    Water,
    Datasets,
}

const KEYS: [(&str, Takes); 19] = [
    ("users", Takes::Texts(Field::Users)),
    ("lab", Takes::Text(Field::Lab)),
    ("projects", Takes::Texts(Field::Projects)),
    ("procedures", Takes::Texts(Field::Procedures)),
    ("location", Takes::Text(Field::Location)),
    ("task_protocol", Takes::Text(Field::TaskProtocol)),
    ("type", Takes::Text(Field::Kind)),
    ("json", Takes::Json),
    ("earliest", Takes::Date),
    ("start_time", Takes::Time(Field::StartTime)),
    ("end_time", Takes::Time(Field::EndTime)),
    ("n_trials", Takes::Count(Field::NTrials)),
    ("n_correct_trials", Takes::Count(Field::NCorrectTrials)),
    ("narrative", Takes::Prose(Field::Narrative)),
    ("qc", Takes::Qc),
    ("weight", Takes::Weight),
    ("water", Takes::Water),
    ("datasets", Takes::Datasets),
    ("accept", Takes::Accept),
];

const WATER_KEYS: [&str; 4] = ["volume", "type", "time", "adlib"];
const DATASETS_KEYS: [&str; 3] = ["repository", "exclude", "versions"];
const ACCEPTABLE: [&str; 3] = ["subject", "date", "number"];
const QC: [&str; 5] = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"];

/// The keys of a sidecar.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Whether a flag is a sidecar: its first non-blank character is `{`, or its first line that is no comment is a known
/// key. Any other flag is a list of files.
///
/// ```
/// use session_metadata::sidecar::is_sidecar;
/// assert!(is_sidecar(b"# by the rig\nprojects: [practice]\n") && is_sidecar(b" {\"users\": []}"));
/// assert!(!is_sidecar(b"- alf/spikes.times.npy\n") && !is_sidecar(b"note: to self\n") && !is_sidecar(b""));
/// ```
pub fn is_sidecar(flag: &[u8]) -> bool {
    let text = text::decode(flag).ok().map(Cow::Borrowed);
    // It is refused when it is read, with the reason; as a list it would name no file.
    let Some(text) = text.or_else(|| text::utf16(flag).map(Cow::Owned)) else { return false };
    if text.trim_start().starts_with('{') {
        return true;
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some((key, rest)) = lines.find(|line| *line != "---").and_then(|line| line.split_once(':')) else {
        return false;
    };
    let key = key.trim_end().trim_matches(['"', '\'']);
    (rest.is_empty() || rest.starts_with([' ', '\t'])) && keys().any(|known| known == key)
}

/// The settings of sidecars, the nearest first. What is wrong with them is reported by [`describe`](crate::describe).
pub fn settings(files: &[SidecarFile], zone: &TimeZone) -> BTreeMap<String, Sourced<Value>> {
    let mut settings = BTreeMap::new();
    for (layer, _) in files.iter().map(|file| read(file, zone)) {
        for (key, found) in layer.settings {
            settings.entry(key).or_insert(found);
        }
    }
    settings
}

/// Reads a sidecar.
pub fn read(file: &SidecarFile, zone: &TimeZone) -> (Layer, Vec<Problem>) {
    let problem =
        |kind, message: String| (Layer::default(), vec![Problem::new(kind, &file.name, "", message)]);
    if file.content.len() as u64 > MAX_BYTES {
        let message = format!("the file is larger than {MAX_BYTES} bytes; is it the right file?");
        return problem(ProblemKind::TooLarge, message);
    }
    let parsed = text::decode(&file.content).and_then(|text| {
        let is_json = file.name.ends_with(".json")
            || (text.trim_start().starts_with('{')
                && serde_json::from_str::<serde::de::IgnoredAny>(&without_nan(text)).is_ok());
        let syntax = if is_json { Syntax::Json } else { Syntax::Yaml };
        let value = match syntax {
            Syntax::Json => text::parse_json(text)?,
            Syntax::Yaml => {
                let broken = |fault| broken_json(text).unwrap_or(fault);
                text::parse_yaml(text).map_err(broken).and_then(|value| as_json(value, text))?
            }
        };
        Ok((text, syntax, value))
    });
    let (text, syntax, value) = match parsed {
        Ok(parsed) => parsed,
        Err(fault) => return (Layer::default(), vec![Problem::syntax(&file.name, fault)]),
    };
    let keys = match value {
        Value::Null => Map::new(),
        Value::Object(keys) => keys,
        _ => return problem(ProblemKind::Value, "this must be a section of `key: value` lines".to_owned()),
    };
    let mut reading =
        Reading { file, text, syntax, zone, read_again: 0, layer: Layer::default(), problems: Vec::new() };
    for (key, value) in &keys {
        reading.top(key, value);
    }
    let more = reading.problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        reading.problems.truncate(MAX_PROBLEMS);
        let message = format!("and {more} more errors");
        reading.problems.push(Problem::new(ProblemKind::Value, &file.name, "", message));
    }
    (reading.layer, reading.problems)
}

/// What is wrong with a text that begins as JSON does, if it is neither JSON nor YAML.
fn broken_json(text: &str) -> Option<text::Fault> {
    let inside = text.trim_start().strip_prefix('{')?;
    if inside.trim_start().starts_with(['"', '}']) { text::parse_json(text).err() } else { None }
}

/// A YAML value as JSON, which has neither tags nor infinity nor keys other than texts.
fn as_json(value: serde_yaml::Value, text: &str) -> Result<Value, text::Fault> {
    let fault = |message: &str| text::Fault { line: None, key: String::new(), message: message.to_owned() };
    if has_tag(&value) {
        return Err(fault("a tag (a word after !) means nothing here; leave it out"));
    }
    if let Some(key) = not_finite(&value, &KeyPath::default()) {
        return Err(text::no_number(text, Syntax::Yaml, &key));
    }
    serde_json::to_value(value).map_err(|_| fault("a key must be a plain word"))
}

/// Where a number is infinite or NaN.
fn not_finite(value: &serde_yaml::Value, path: &KeyPath) -> Option<KeyPath> {
    use serde_yaml::Value;
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|n| !n.is_finite()).then(|| path.clone()),
        Value::Sequence(items) => {
            items.iter().enumerate().find_map(|(index, item)| not_finite(item, &path.index(index)))
        }
        Value::Mapping(keys) => keys
            .iter()
            .find_map(|(key, value)| not_finite(value, &path.key(key.as_str().unwrap_or_default()))),
        _ => None,
    }
}

/// A sidecar while it is read.
struct Reading<'a> {
    file: &'a SidecarFile,
    text: &'a str,
    syntax: Syntax,
    zone: &'a TimeZone,
    read_again: usize,
    layer: Layer,
    problems: Vec<Problem>,
}

/// A value, or what is wrong with it.
type Checked<T> = Result<T, String>;

impl Reading<'_> {
    fn refuse(&mut self, kind: ProblemKind, path: &KeyPath, message: String) {
        let line = self.line(path);
        self.problems.push(Problem::new(kind, &self.file.name, path.to_string(), message).on_line(line));
    }

    fn unknown(&mut self, path: &KeyPath, key: &str, known: &[&str]) {
        self.refuse(ProblemKind::UnknownKey, path, unknown_key(key, known));
    }

    /// The line of a key. It is found by reading the text again, which is not done for each key of a huge file.
    fn line(&mut self, path: &KeyPath) -> Option<usize> {
        self.read_again += self.text.len();
        (self.read_again <= MAX_READ_AGAIN).then(|| line_of(self.text, self.syntax, path)).flatten()
    }

    fn source(&mut self, path: &KeyPath) -> Source {
        let line = self.line(path);
        Source { line, ..Source::of(Origin::Sidecar, &self.file.name, path.to_string()) }
    }

    /// The value with its source; a fault becomes a problem.
    fn take<T>(&mut self, path: &KeyPath, checked: Checked<T>) -> Option<Sourced<T>> {
        match checked {
            Ok(value) => Some(Sourced::new(value, self.source(path))),
            Err(message) => {
                self.refuse(ProblemKind::Value, path, message);
                None
            }
        }
    }

    fn top(&mut self, key: &str, value: &Value) {
        let path = KeyPath::default().key(key);
        let Some((_, takes)) = KEYS.iter().find(|(known, _)| *known == key) else {
            return self.unknown(&path, key, &keys().collect::<Vec<_>>());
        };
        // As in the configuration: an empty key is an absent one.
        if value.is_null() {
            return;
        }
        let (field, checked) = match *takes {
            Takes::Text(field) => (field, text_of(value).map(Value::from)),
            Takes::Prose(field) => (field, prose(value).map(Value::from)),
            Takes::Texts(field) => (field, texts_of(value).map(Value::from)),
            Takes::Count(field) => (field, count(value).map(Value::from)),
            Takes::Time(field) => (field, time(value, self.zone).map(|time| Value::from(time.to_iso()))),
            Takes::Qc => (Field::Qc, one_of(value, &QC).map(Value::from)),
            Takes::Json => return self.json(&path, value),
            Takes::Date => return self.setting(&path, date(value).map(|_| value.clone())),
            Takes::Accept => return self.accept(&path, value),
            Takes::Weight => {
                let weight = positive(value, "grams").map(|grams| Weight { grams, at: None });
                self.layer.weight = self.take(&path, weight);
                return;
            }
            Takes::Water => return self.water(&path, value),
            Takes::Datasets => return self.datasets(&path, value),
        };
        if let Some(value) = self.take(&path, checked) {
            self.layer.fields.insert(field, value);
        }
    }

    fn setting(&mut self, path: &KeyPath, checked: Checked<Value>) {
        if let Some(value) = self.take(path, checked) {
            self.layer.settings.insert(path.to_string(), value);
        }
    }

    fn json(&mut self, path: &KeyPath, value: &Value) {
        let Value::Object(members) = value else {
            let message = format!("{} is not a section of `key: value` lines", shown(value));
            return self.refuse(ProblemKind::Value, path, message);
        };
        for (key, value) in members {
            let source = self.source(&path.key(key));
            self.layer.json.insert(key.clone(), Sourced::new(value.clone(), source));
        }
    }

    fn accept(&mut self, path: &KeyPath, value: &Value) {
        let checked = texts_of(value).and_then(|texts| {
            let wrong = texts.iter().find(|text| !ACCEPTABLE.contains(&text.as_str()));
            wrong.map_or(Ok(Value::from(texts.clone())), |wrong| Err(unknown_key(wrong, &ACCEPTABLE)))
        });
        self.setting(path, checked);
    }

    fn datasets(&mut self, path: &KeyPath, value: &Value) {
        let Value::Object(keys) = value else {
            let message = format!("{} is not a section of `key: value` lines", shown(value));
            return self.refuse(ProblemKind::Value, path, message);
        };
        for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
            let path = path.key(key);
            let checked = match key.as_str() {
                "repository" => text_of(value).map(Value::from),
                "versions" => texts_of(value).map(Value::from),
                "exclude" => texts_of(value).and_then(|patterns| {
                    let wrong =
                        patterns.iter().find_map(|text| Some((text, glob::Pattern::new(text).err()?)));
                    match wrong {
                        Some((text, why)) => Err(format!("{} is not a pattern: {}", quoted(text), why.msg)),
                        None => Ok(Value::from(patterns)),
                    }
                }),
                _ => {
                    self.unknown(&path, key, &DATASETS_KEYS);
                    continue;
                }
            };
            self.setting(&path, checked);
        }
    }

    fn water(&mut self, path: &KeyPath, value: &Value) {
        let Value::Array(items) = value else {
            let message = format!("{} is not a list; write water: [{{volume: 0.5}}]", shown(value));
            return self.refuse(ProblemKind::Value, path, message);
        };
        if items.len() > MAX_WATERS {
            let message = format!("{} entries, more than {MAX_WATERS}; write sums", items.len());
            return self.refuse(ProblemKind::Value, path, message);
        }
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let Value::Object(keys) = item else {
                let message = format!("{} is not a section; write {{volume: 0.5}}", shown(item));
                self.refuse(ProblemKind::Value, &path, message);
                continue;
            };
            for key in keys.keys().filter(|key| !WATER_KEYS.contains(&key.as_str())) {
                self.unknown(&path.key(key), key, &WATER_KEYS);
            }
            let given = |key: &str| keys.get(key).filter(|value| !value.is_null());
            let volume = given("volume").ok_or_else(|| "the volume (in ml) is missing".to_owned());
            let volume =
                self.take(&path.key("volume"), volume.and_then(|value| positive(value, "millilitres")));
            let kind = given("type").map_or(Ok("Water".to_owned()), text_of);
            let kind = self.take(&path.key("type"), kind);
            let zone = self.zone;
            let at = given("time").map_or(Ok(None), |value| time(value, zone).map(Some));
            let at = self.take(&path.key("time"), at);
            let adlib = given("adlib").map_or(Ok(false), |value| {
                value.as_bool().ok_or_else(|| format!("{} is not true or false", shown(value)))
            });
            let adlib = self.take(&path.key("adlib"), adlib);
            if let (Some(volume), Some(kind), Some(at), Some(adlib)) = (volume, kind, at, adlib) {
                let water =
                    Water { millilitres: volume.value, kind: kind.value, at: at.value, adlib: adlib.value };
                all.push(Sourced::new(water, self.source(&path)));
            }
        }
        self.layer.water = Some(all);
    }
}

/// What to do about an unknown word.
fn unknown_key(typed: &str, known: &[&str]) -> String {
    // A key may be as long as the file.
    let start: String = typed.chars().take(64).collect::<String>().to_lowercase().replace(['-', ' '], "_");
    let near = known.iter().map(|known| (strsim::osa_distance(&start, known), known));
    match near.filter(|(n, known)| *n <= 1 + known.len() / 5).min() {
        Some((_, known)) => format!("unknown key {}; did you mean {known}?", quoted(typed)),
        None => format!("unknown key {}; known here: {}", quoted(typed), known.join(", ")),
    }
}

fn text_of(value: &Value) -> Checked<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            Err("this is empty; leave the key out instead".to_owned())
        }
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("this has a line break or another control character in it".to_owned())
        }
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Err(format!("{} is not text; put it in quotes", shown(value))),
        other => Err(format!("{} is not a text", shown(other))),
    }
}

fn prose(value: &Value) -> Checked<String> {
    match value {
        Value::String(text) => Ok(text.trim_end().to_owned()),
        other => Err(format!("{} is not a text; put it in quotes", shown(other))),
    }
}

fn texts_of(value: &Value) -> Checked<Vec<String>> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| text_of(item).map_err(|why| format!("item {}: {why}", i + 1)))
            .collect(),
        Value::String(text) => Err(format!("this must be a list; write [{}]", quoted(text))),
        other => Err(format!("{} is not a list", shown(other))),
    }
}

fn count(value: &Value) -> Checked<u32> {
    value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| format!("{} is not a whole number", shown(value)))
}

fn positive(value: &Value, unit: &str) -> Checked<f64> {
    let number = value.as_f64().filter(|number| *number > 0.0);
    number.ok_or_else(|| format!("{} is not a number of {unit} above zero", shown(value)))
}

fn time(value: &Value, zone: &TimeZone) -> Checked<SessionTime> {
    let text = value.as_str().ok_or_else(|| format!("{} is not a time; put it in quotes", shown(value)))?;
    SessionTime::parse(text.trim(), zone).map_err(|error| error.to_string())
}

fn date(value: &Value) -> Checked<Date> {
    let date = value.as_str().and_then(alf::session_path::parse_date_folder);
    date.ok_or_else(|| format!("{} is not a date (example: 2000-01-01)", shown(value)))
}

fn one_of(value: &Value, known: &[&str]) -> Checked<String> {
    let text = value.as_str().filter(|text| known.contains(text)).map(str::to_owned);
    text.ok_or_else(|| format!("{} is none of {}", shown(value), known.join(", ")))
}
