//! `metadata`: what is known of a session, field by field, with its source; without an Alyx, or compared with it.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::args::MetadataArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::cli::service::wiring;
use crate::cli::verbs::connect::{config_of, connect};
use crate::cli::verbs::output::{Answer, run_verb, session_folder};
use crate::config::Config;
use crate::json::path_text::PathText;
use alf::SessionPath;
use alyx_client::SessionRequest;
use alyx_registration::flag::{FlagContent, FlagFile};
use alyx_registration::{
    Beside, DataFolders, Error, KnownSession, MetadataOptions, PlannedSession, RegistrationOptions,
};
use session_metadata::update::Difference;
use session_metadata::{Field, Measurement, SidecarFile};

/// The fields of `metadata`.
#[derive(Debug, Serialize)]
struct MetadataJson {
    folder: PathText,
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
    /// What would be sent; null if the session would not be registered.
    request: Option<SessionRequest>,
    /// Its UUID on Alyx; null without `--alyx`, or if it is not there.
    eid: Option<String>,
    /// Where Alyx holds another value, which is kept.
    differences: Vec<Difference>,
}

/// Shows what is known of a session.
pub(crate) async fn metadata(args: &MetadataArgs) -> Exit {
    run_verb("metadata", args.verb.json, async {
        let folder = session_folder(&args.folder)?;
        let config = config_of(&args.verb.connection)?;
        let known = read(&folder, config.as_ref())?;
        let is_sound = known.metadata.problems.is_empty();
        let planned = match args.alyx && is_sound {
            true => Some(connect(&args.verb.connection)?.plan_session(&folder, &Default::default()).await?),
            false => None,
        };
        let request = match &planned {
            Some(planned) => Some(planned.request.clone()),
            None if is_sound && !args.alyx => Some(known.request(&zone(config.as_ref()))?),
            None => None,
        };
        let text = lines(&known, planned.as_ref(), request.as_ref());
        let incomplete = !is_sound || !known.metadata.missing.is_empty();
        Ok(Answer::new(text, json(&folder, &known, planned, request))?.incomplete_if(incomplete))
    })
    .await
}

fn zone(config: Option<&Config>) -> TimeZone {
    config.and_then(|config| config.timezone.clone()).unwrap_or_else(TimeZone::system)
}

/// Reads the folder as a registration would.
fn read(folder: &Path, config: Option<&Config>) -> Result<KnownSession, Failure> {
    let session = SessionPath::parse(folder).map_err(Error::from)?;
    let (options, flags) = match config {
        Some(config) => (wiring::metadata(config), config.flags.clone()),
        None => (MetadataOptions::default(), RegistrationOptions::default().flags),
    };
    let flag = flags.iter().find_map(|name| flag_of(&folder.join(name)));
    let data = match config {
        Some(config) => wiring::data_folders(config),
        None => DataFolders { private: wiring::private_paths(Vec::new()), ..DataFolders::default() },
    };
    let beside = Beside { flag, defaults: options.defaults.clone(), ..Beside::default() };
    Ok(KnownSession::read(&session, beside, &options, &zone(config), Arc::new(data))?)
}

/// A flag that describes its session.
fn flag_of(path: &Path) -> Option<SidecarFile> {
    let flag = FlagFile::load(path).ok()??;
    match flag.content().ok()? {
        FlagContent::Sidecar(content) => {
            Some(SidecarFile { name: path.file_name()?.to_string_lossy().into_owned(), content })
        }
        FlagContent::Everything | FlagContent::Only(_) => None,
    }
}

fn json(
    folder: &Path,
    known: &KnownSession,
    planned: Option<PlannedSession>,
    request: Option<SessionRequest>,
) -> MetadataJson {
    let mut whole = serde_json::to_value(&known.metadata).unwrap_or_default();
    let mut part = |name: &str| whole.get_mut(name).map(Value::take).unwrap_or_default();
    let mut found = part("fields");
    let names = Field::ALL.map(Field::name).into_iter().chain(["json"]);
    let unknown = || serde_json::json!({"value": null, "source": null});
    let field = |name: &str| (name.to_owned(), found.get_mut(name).map_or_else(unknown, Value::take));
    let (eid, differences) = planned.map(|p| (p.eid, p.differences)).unwrap_or_default();
    MetadataJson {
        folder: folder.into(),
        session: known.session.to_string(),
        fields: names.map(field).collect(),
        settings: part("settings"),
        from_subject: part("from_subject"),
        passive: part("passive"),
        measurements: part("measurements"),
        missing: part("missing"),
        problems: part("problems"),
        notes: part("notes"),
        request,
        eid,
        differences,
    }
}

/// The same as text.
fn lines(
    known: &KnownSession,
    planned: Option<&PlannedSession>,
    request: Option<&SessionRequest>,
) -> Vec<String> {
    let values = &known.metadata.values;
    let mut rows: Vec<(String, String, String)> = Vec::new();
    for field in Field::ALL {
        let (value, source) = match values.fields.get(&field) {
            Some(found) => (shown(&found.value), found.source.to_string()),
            None => match values.from_subject.get(&field) {
                Some(source) => ("from the subject on Alyx".to_owned(), source.to_string()),
                None => ("-".to_owned(), String::new()),
            },
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
    text.extend(known.missing().into_iter().map(|missing| format!("missing  {missing}")));
    text.extend(known.metadata.notes.iter().map(|note| format!("note     {note}")));
    for d in planned.into_iter().flat_map(|planned| &planned.differences) {
        text.push(format!(
            "differs  {}: {} on Alyx is kept, {} here ({})",
            d.field, d.on_alyx, d.known, d.source
        ));
    }
    let sent = request.map(|request| serde_json::to_string(request).unwrap_or_default());
    text.push(match (planned.map(|planned| &planned.eid), sent) {
        (_, None) => "nothing would be registered".to_owned(),
        (Some(Some(eid)), Some(sent)) if sent == "{}" => format!("session {eid} is left as it is"),
        (Some(Some(eid)), Some(sent)) => format!("session {eid} would be filled with {sent}"),
        (Some(None), Some(sent)) => format!("a session would be created with {sent}"),
        (None, Some(sent)) => format!("a new session would be created with {sent}"),
    });
    text
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
