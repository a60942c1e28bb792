//! Merges what all sources say of a session: the strongest source wins, key by key.

use alf::{SessionPath, SessionTime};
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::completeness;
use crate::files::{SessionFiles, unusable};
use crate::layer::{Field, Layer, Measurement, Water, Weight, texts};
use crate::metadata::SessionMetadata;
use crate::options::Options;
use crate::problem::{Problem, ProblemKind};
use crate::readers::{READERS, Subject};
use crate::sidecar::{self, SidecarFile};
use crate::source::{Origin, Source, Sourced};

/// All that is handed in of a session.
#[derive(Clone)]
pub struct Input<'a> {
    /// The session, by its folder.
    pub session: &'a SessionPath,
    /// Its files.
    pub files: &'a dyn SessionFiles,
    /// What the command line sets.
    pub command_line: Layer,
    /// The sidecars, the nearest first; a flag that is one comes before all others.
    pub sidecars: Vec<SidecarFile>,
    /// What the configuration sets: a data root's own sections before the global ones, already merged.
    pub configuration: Layer,
}

impl<'a> Input<'a> {
    /// A session with its files and nothing else.
    pub fn new(session: &'a SessionPath, files: &'a dyn SessionFiles) -> Self {
        Self {
            session,
            files,
            command_line: Layer::default(),
            sidecars: Vec::new(),
            configuration: Layer::default(),
        }
    }
}

/// Reads and merges all that is known of a session.
pub fn describe(input: &Input<'_>, options: &Options) -> SessionMetadata {
    let mut metadata = SessionMetadata::default();
    let mut stronger = vec![input.command_line.clone()];
    for file in &input.sidecars {
        let (layer, problems) = sidecar::read(file, &options.zone);
        stronger.push(layer);
        metadata.problems.extend(problems);
    }
    let accept: Vec<String> = stronger
        .iter()
        .find_map(|layer| layer.settings.get("accept"))
        .map(|accept| texts(&accept.value).into_iter().map(str::to_owned).collect())
        .unwrap_or_default();
    let subject =
        Subject { session: input.session, files: input.files, zone: &options.zone, accept: &accept };
    let mut layers = stronger;
    for reader in READERS.iter().filter(|reader| options.readers.iter().any(|name| name == reader.name)) {
        let reading = (reader.read)(subject);
        let mut layer = reading.layer;
        if accept.iter().any(|accepted| accepted == "date") {
            move_to_day(&mut layer, input.session.date());
        }
        layers.push(layer);
        metadata.problems.extend(unusable(input.files, reader.is_read));
        metadata.problems.extend(reading.problems);
        metadata.missing.extend(reading.missing);
        metadata.notes.extend(reading.notes);
    }
    // The command line and the configuration name users as Alyx does.
    for layer in layers.iter_mut().skip(1) {
        map_users(layer, options);
    }
    layers.push(input.configuration.clone());
    metadata.values = merge(&layers);
    metadata.problems.extend(contradictions(&metadata, input.session));
    metadata.problems.extend(nul_characters(&metadata));
    metadata.measurements = measurements(&metadata, input.session);
    metadata.missing.extend(completeness::missing(input.files, input.session, &metadata, options));
    metadata.missing.sort();
    metadata.missing.dedup();
    metadata
}

/// Merges layers, the strongest first. Pure.
///
/// Projects and procedures of the rig's files are united with those of the configuration. What the subject's record gives
/// is asked for only where no layer knows a field.
pub fn merge(layers: &[Layer]) -> Layer {
    let mut merged = Layer::default();
    for layer in layers {
        for (field, found) in &layer.fields {
            merged.fields.entry(*field).or_insert_with(|| found.clone());
        }
        for (key, found) in &layer.json {
            merged.json.entry(key.clone()).or_insert_with(|| found.clone());
        }
        for (key, found) in &layer.settings {
            merged.settings.entry(key.clone()).or_insert_with(|| found.clone());
        }
        for (field, source) in &layer.from_subject {
            merged.from_subject.entry(*field).or_insert_with(|| source.clone());
        }
        merged.weight = merged.weight.or_else(|| layer.weight.clone());
        merged.water = merged.water.or_else(|| layer.water.clone());
        merged.passive = merged.passive.or_else(|| layer.passive.clone());
    }
    for field in [Field::Projects, Field::Procedures] {
        let given = layers.iter().filter_map(|layer| layer.fields.get(&field));
        let configured = given.rev().find(|found| found.source.origin == Origin::Configuration);
        let Some(configured) = configured else { continue };
        if let Some(found) = merged.fields.get_mut(&field)
            && found.source.origin == Origin::RigFile
            && let (Value::Array(names), Value::Array(more)) = (&mut found.value, &configured.value)
        {
            let new: Vec<Value> = more.iter().filter(|name| !names.contains(name)).cloned().collect();
            if !new.is_empty() {
                found.source.key = format!("{} and {}", found.source.key, configured.source);
                names.extend(new);
            }
        }
    }
    merged.from_subject.retain(|field, _| !merged.fields.contains_key(field));
    merged
}

/// Moves the times of a layer by whole days, so that it begins on the day of a folder that was renamed: the rig's clock
/// was wrong.
fn move_to_day(layer: &mut Layer, day: Date) {
    let parsed = |value: &Value| SessionTime::parse(value.as_str()?, &TimeZone::UTC).ok();
    let Some(start) = layer.fields.get(&Field::StartTime).and_then(|found| parsed(&found.value)) else {
        return;
    };
    let days = start.date().until(day).map_or(0, |span| span.get_days());
    let moved = |time: SessionTime| {
        let civil = time.to_iso().parse::<DateTime>().ok();
        civil.and_then(|civil| civil.checked_add(days.days()).ok()).map_or(time, SessionTime::from_civil)
    };
    for field in [Field::StartTime, Field::EndTime] {
        if let Some(found) = layer.fields.get_mut(&field)
            && let Some(time) = parsed(&found.value)
        {
            found.value = moved(time).to_iso().into();
        }
    }
    if let Some(found) = &mut layer.weight {
        found.value.at = found.value.at.map(moved);
    }
    for found in layer.water.iter_mut().flatten() {
        found.value.at = found.value.at.map(moved);
    }
}

/// Translates the rig's names of users into Alyx's. A layer whose names are all dropped names no user.
fn map_users(layer: &mut Layer, options: &Options) {
    let Some(found) = layer.fields.get_mut(&Field::Users) else { return };
    let written = texts(&found.value);
    let mut users: Vec<String> = Vec::new();
    for name in &written {
        let user = options.users_map.get(*name).map_or(Some((*name).to_owned()), Clone::clone);
        users.extend(user.filter(|user| !users.contains(user)));
    }
    if users.is_empty() && !written.is_empty() {
        let source = found.source.clone();
        layer.fields.remove(&Field::Users);
        if source.origin == Origin::RigFile {
            layer.from_subject.insert(Field::Users, source);
        }
    } else {
        found.value = users.into();
    }
}

/// NUL characters, which Alyx cannot store: it would answer 500 each time.
fn nul_characters(metadata: &SessionMetadata) -> Vec<Problem> {
    let values = &metadata.values;
    let fields = values.fields.values().chain(values.json.values()).chain(values.settings.values());
    let texts = fields.filter(|found| has_nul(&found.value)).map(|found| &found.source);
    let keys = values.json.iter().filter(|(key, _)| key.contains('\0')).map(|(_, found)| &found.source);
    let kinds = values.water.iter().flatten().filter(|found| found.value.kind.contains('\0'));
    let sources = texts.chain(keys).chain(kinds.map(|found| &found.source));
    let mut problems: Vec<Problem> = sources
        .map(|source| {
            let message = "a NUL character, which Alyx cannot store; remove it";
            Problem::new(ProblemKind::Value, &source.file, source.key.clone(), message).on_line(source.line)
        })
        .collect();
    problems.dedup();
    problems
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Values that contradict the folder or each other.
fn contradictions(metadata: &SessionMetadata, session: &SessionPath) -> Vec<Problem> {
    let fields = &metadata.values.fields;
    let problem = |kind, field: Field, message: String| {
        let source = fields.get(&field).map(|found| &found.source);
        let file = source.map(|source| source.file.as_str()).unwrap_or_default();
        Problem::new(kind, file, field.name(), message).on_line(source.and_then(|source| source.line))
    };
    let mut found = Vec::new();
    let start = metadata.time(Field::StartTime);
    // The rig's own date has been compared already, with a better message.
    let is_told = metadata.problems.iter().any(|problem| problem.kind == ProblemKind::Date);
    if let Some(start) = start.filter(|start| start.date() != session.date() && !is_told) {
        let is_rigs =
            fields.get(&Field::StartTime).is_some_and(|found| found.source.origin == Origin::RigFile);
        let confirm = ", or, if the folder is right, confirm it with the line `accept: [date]` in its alyx-session.yaml";
        let message = format!(
            "the start {start} is not on the day of the folder {session}; correct it, or move the files to the right \
             folder{}",
            if is_rigs { confirm } else { "" }
        );
        found.push(problem(ProblemKind::Time, Field::StartTime, message));
    }
    let begins = start.unwrap_or(SessionTime::midnight(session.date()));
    if let Some(end) = metadata.time(Field::EndTime).filter(|end| *end < begins && !is_told) {
        let message = format!("the end {end} is before the start {begins}; correct one of them");
        found.push(problem(ProblemKind::Time, Field::EndTime, message));
    }
    if let (Some(all), Some(correct)) =
        (metadata.count(Field::NTrials), metadata.count(Field::NCorrectTrials))
        && correct > all
    {
        let message = format!("{correct} correct trials are more than {all} trials; correct one of them");
        found.push(problem(ProblemKind::Contradiction, Field::NCorrectTrials, message));
    }
    found
}

/// Weight and water with the times that they take from the session.
fn measurements(metadata: &SessionMetadata, session: &SessionPath) -> Vec<Sourced<Measurement>> {
    let start = metadata.time(Field::StartTime).unwrap_or(SessionTime::midnight(session.date()));
    let end = metadata.time(Field::EndTime).unwrap_or(start);
    let weight = metadata.values.weight.iter().map(|found| {
        let Weight { grams, at } = found.value;
        (Measurement::Weight(Weight { grams, at: Some(at.unwrap_or(start)) }), &found.source)
    });
    let water = metadata.values.water.iter().flatten().map(|found| {
        let water = Water { at: Some(found.value.at.unwrap_or(end)), ..found.value.clone() };
        (Measurement::Water(water), &found.source)
    });
    weight.chain(water).map(|(value, source): (_, &Source)| Sourced::new(value, source.clone())).collect()
}
