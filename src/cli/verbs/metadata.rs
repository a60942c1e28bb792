//! `metadata`: what is known of a session, field by field, with its source; without an Alyx, or compared with it.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::args::MetadataArgs;
use crate::cli::exit::Exit;
use crate::cli::output::described::difference_lines;
use crate::cli::output::{Failure, exit_of};
use crate::cli::service::wiring;
use crate::cli::verbs::connect::{config_of, connect};
use crate::cli::verbs::output::{Answer, missing_lines, run_verb, session_folder};
use crate::config::Config;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::PathText;
use alf::SessionPath;
use alyx_client::SessionRequest;
use alyx_registration::{
    Beside, DataFolders, Error, KnownSession, MetadataOptions, OnMissing, PlannedSession, RegistrationClient,
    RegistrationOptions,
};
use session_metadata::update::Difference;
use session_metadata::{Field, Measurement, Origin};

/// The fields of `metadata`.
#[derive(Debug, Serialize)]
struct MetadataJson {
    folder: PathText,
    #[serde(flatten)]
    known: KnownJson,
    /// What would be sent; null if the session would not be registered.
    request: Option<SessionRequest>,
    /// Its UUID on Alyx; null without `--alyx`, or if it is not there.
    eid: Option<String>,
    /// Where Alyx holds another value, which is kept.
    differences: Vec<Difference>,
}

/// What is known of a session.
#[derive(Debug, Serialize)]
pub(super) struct KnownJson {
    session: String,
    /// Every field of a session, with value and source; null where nothing is known.
    fields: Map<String, Value>,
    settings: Value,
    from_subject: Value,
    passive: Value,
    measurements: Value,
    missing: Value,
    problems: Value,
    notes: Value,
}

/// Shows what is known of a session.
pub(crate) async fn metadata(args: &MetadataArgs) -> Exit {
    run_verb("metadata", args.verb.json, async {
        let config = config_of(&args.verb.connection)?;
        answer(args, || connect(&args.verb.connection), config.as_ref()).await
    })
    .await
}

/// What is known of a session. `connect`: called only if Alyx is asked.
pub(super) async fn answer(
    args: &MetadataArgs,
    connect: impl FnOnce() -> Result<RegistrationClient, Failure>,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let folder = session_folder(&args.folder)?;
    let known = read(&folder, config)?;
    let is_sound = known.metadata.problems.is_empty();
    let mut text = known_lines(&known, true);
    let (mut planned, mut request, mut refused) = (None, None, None);
    if is_sound && args.alyx {
        let client = connect()?;
        match client.plan_session(&folder, &Default::default()).await {
            Ok(plan) => (request, planned) = (Some(plan.request.clone()), Some(plan)),
            Err(error) => refused = Some(error),
        }
    } else if is_sound {
        let day = check_day(&known, config);
        match day.and_then(|()| known.request(&zone(config))) {
            Ok(new) => request = Some(new),
            Err(error) => refused = Some(error),
        }
    }
    text.extend(refused.iter().map(|error| format!("problem  {error}")));
    text.extend(planned.iter().flat_map(difference_lines));
    let waits = !known.metadata.missing.is_empty() && on_missing(config) == OnMissing::Wait;
    text.push(verdict(planned.as_ref(), request.as_ref(), waits));
    let incomplete = !is_sound || !known.metadata.missing.is_empty();
    let (eid, differences) = planned.map(|plan| (plan.eid, plan.differences)).unwrap_or_default();
    let json = MetadataJson { folder: (&folder).into(), known: (&known).into(), request, eid, differences };
    let mut answer = Answer::new(text, json)?.incomplete_if(incomplete);
    let problems = known.metadata.problems.iter().map(ToString::to_string);
    answer.errors.extend(problems.map(|problem| ErrorReport::from(&Error::Metadata(vec![problem]))));
    if let Some(error) = &refused {
        answer.exit = exit_of(error);
        answer.errors.push(ErrorReport::from(error));
    }
    Ok(answer)
}

/// Refuses the day of a session that a wrong clock made.
fn check_day(known: &KnownSession, config: Option<&Config>) -> Result<(), Error> {
    let (options, earliest) = match config {
        Some(config) => (wiring::metadata(config), config.earliest),
        None => (MetadataOptions::default(), RegistrationOptions::default().earliest),
    };
    let today = jiff::Timestamp::now().to_zoned(zone(config)).date();
    known.check_day(&options, today, earliest)
}

fn on_missing(config: Option<&Config>) -> OnMissing {
    config.map(|config| config.metadata.on_missing).unwrap_or_default()
}

fn zone(config: Option<&Config>) -> TimeZone {
    config.and_then(|config| config.timezone.clone()).unwrap_or_else(TimeZone::system)
}

/// Reads the folder as a registration would.
pub(super) fn read(folder: &Path, config: Option<&Config>) -> Result<KnownSession, Failure> {
    let session = SessionPath::parse(folder).map_err(Error::from)?;
    let (options, flags) = match config {
        Some(config) => (wiring::metadata(config), config.flags.clone()),
        None => (MetadataOptions::default(), RegistrationOptions::default().flags),
    };
    let flag = KnownSession::sidecar_of_flag(folder, &flags);
    let data = match config {
        Some(config) => wiring::data_folders(config),
        None => DataFolders { private: wiring::private_paths(Vec::new()), ..DataFolders::default() },
    };
    let beside = Beside { flag, defaults: options.defaults.clone(), ..Beside::default() };
    let known = KnownSession::read(&session, beside, &options, &zone(config), Arc::new(data));
    Ok(known.map_err(|error| error.or_no_folder(folder))?)
}

impl From<&KnownSession> for KnownJson {
    fn from(known: &KnownSession) -> Self {
        let mut whole = serde_json::to_value(&known.metadata).unwrap_or_default();
        let mut part = |name: &str| whole.get_mut(name).map(Value::take).unwrap_or_default();
        let mut found = part("fields");
        if let Some(lab) = lab_of_folder(known) {
            found["lab"] = serde_json::json!({"value": lab, "source": FOLDER});
        }
        let names = Field::ALL.map(Field::name).into_iter().chain(["json"]);
        let unknown = || serde_json::json!({"value": null, "source": null});
        let field = |name: &str| (name.to_owned(), found.get_mut(name).map_or_else(unknown, Value::take));
        Self {
            session: known.session.to_string(),
            fields: names.map(field).collect(),
            settings: part("settings"),
            from_subject: part("from_subject"),
            passive: part("passive"),
            measurements: part("measurements"),
            missing: part("missing"),
            problems: part("problems"),
            notes: part("notes"),
        }
    }
}

/// The source of what the path of a session says.
const FOLDER: &str = "the folder";

/// The lab of the path, unless a stronger source names one: that of the configuration is for paths without.
fn lab_of_folder(known: &KnownSession) -> Option<&str> {
    let found = known.metadata.values.fields.get(&Field::Lab);
    let is_weaker = found.is_none_or(|found| found.source.origin == Origin::Configuration);
    known.session.lab().filter(|_| is_weaker)
}

/// The same as text. `all`: also the fields of which nothing is known.
pub(super) fn known_lines(known: &KnownSession, all: bool) -> Vec<String> {
    let values = &known.metadata.values;
    let mut rows: Vec<(String, String, String)> = Vec::new();
    for field in Field::ALL {
        let of_folder = lab_of_folder(known).filter(|_| field == Field::Lab);
        let (value, source) = match (of_folder, values.fields.get(&field), values.from_subject.get(&field)) {
            (Some(lab), ..) => (lab.to_owned(), FOLDER.to_owned()),
            (None, Some(found), _) => (shown(&found.value), found.source.to_string()),
            (None, None, Some(source)) => ("from the subject on Alyx".to_owned(), source.to_string()),
            (None, None, None) if all => ("-".to_owned(), String::new()),
            (None, None, None) => continue,
        };
        rows.push((field.name().to_owned(), value, source));
    }
    for (key, found) in &values.json {
        rows.push((format!("json.{key}"), shown(&found.value), found.source.to_string()));
    }
    for (key, found) in &values.settings {
        rows.push((key.clone(), shown(&found.value), found.source.to_string()));
    }
    for found in &known.metadata.measurements {
        let (what, value) = match &found.value {
            Measurement::Weight(weight) => ("weight", format!("{} g", weight.grams)),
            Measurement::Water(water) => ("water", format!("{} ml of {}", water.millilitres, water.kind)),
        };
        rows.push((what.to_owned(), value, found.source.to_string()));
    }
    let width = rows.iter().map(|(name, _, _)| name.chars().count()).max().unwrap_or_default();
    let mut text = vec![format!("session {}", known.session)];
    text.extend(rows.into_iter().map(|(name, value, source)| {
        let source = if source.is_empty() { source } else { format!("  ({source})") };
        format!("  {name:width$}  {value}{source}")
    }));
    text.extend(known.metadata.problems.iter().map(|problem| format!("problem  {problem}")));
    text.extend(missing_lines(&known.metadata.missing));
    text.extend(known.metadata.notes.iter().map(|note| format!("note     {note}")));
    text
}

/// What would be done. `waits`: for files that are missing.
fn verdict(planned: Option<&PlannedSession>, request: Option<&SessionRequest>, waits: bool) -> String {
    let sent = request.map(|request| serde_json::to_string(request).unwrap_or_default());
    let would = match (planned.map(|planned| &planned.eid), sent) {
        (_, None) => return "nothing would be registered".to_owned(),
        (Some(Some(eid)), Some(sent)) if sent == "{}" => format!("session {eid} is left as it is"),
        (Some(Some(eid)), Some(sent)) => format!("session {eid} would be filled with {sent}"),
        (Some(None), Some(sent)) => format!("a session would be created with {sent}"),
        (None, Some(sent)) => format!("a new session would be created with {sent}"),
    };
    let first = if waits { "a flagged session would wait for what is missing; then " } else { "" };
    format!("{first}{would}")
}

/// A value for people: names without brackets.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', " "),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
