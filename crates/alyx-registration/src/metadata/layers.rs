//! Details of a session as a layer of metadata, and back. Pure.

use serde_json::Value;

use crate::session::details::SessionDetails;
use alf::SessionPath;
use session_metadata::{Field, Layer, Origin, SessionMetadata, Source, Sourced};

/// What a caller or the configuration sets, as a layer.
pub(crate) fn layer_of(details: &SessionDetails, origin: Origin) -> Layer {
    let mut layer = Layer::default();
    let source = |key: &str| Source::of(origin, "", key);
    let lists = [
        (Field::Users, &details.users),
        (Field::Projects, &details.projects),
        (Field::Procedures, &details.procedures),
    ];
    for (field, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
        layer.set(field, names.clone(), source(field.name()));
    }
    let texts = [
        (Field::Lab, &details.lab),
        (Field::Location, &details.location),
        (Field::TaskProtocol, &details.task_protocol),
        (Field::Kind, &details.kind),
        (Field::StartTime, &details.start_time),
        (Field::EndTime, &details.end_time),
        (Field::Narrative, &details.narrative),
        (Field::Qc, &details.qc),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            layer.set(field, text.clone(), source(field.name()));
        }
    }
    for (field, n) in [(Field::NTrials, details.n_trials), (Field::NCorrectTrials, details.n_correct_trials)]
    {
        if let Some(n) = n {
            layer.set(field, n, source(field.name()));
        }
    }
    for (key, value) in details.json.iter().flatten() {
        let source = source(&format!("json.{key}"));
        layer.json.insert(key.clone(), Sourced::new(value.clone(), source));
    }
    layer
}

/// What is known, as details of the session that is created.
///
/// The lab of a path is certain; one of the configuration is for sessions without.
pub(crate) fn details_of(known: &SessionMetadata, path: &SessionPath) -> SessionDetails {
    let names = |field| known.names(field).into_iter().map(str::to_owned).collect();
    let text = |field| known.text(field).map(str::to_owned);
    let is_default = |field: Field| {
        known.values.fields.get(&field).is_some_and(|found| found.source.origin == Origin::Configuration)
    };
    SessionDetails {
        users: names(Field::Users),
        lab: text(Field::Lab).filter(|_| path.lab().is_none() || !is_default(Field::Lab)),
        projects: names(Field::Projects),
        procedures: names(Field::Procedures),
        location: text(Field::Location),
        task_protocol: text(Field::TaskProtocol),
        kind: text(Field::Kind),
        start_time: text(Field::StartTime),
        end_time: text(Field::EndTime),
        narrative: text(Field::Narrative),
        n_trials: known.count(Field::NTrials),
        n_correct_trials: known.count(Field::NCorrectTrials),
        qc: text(Field::Qc),
        json: Some(known.json()).filter(|json| !json.is_empty()),
    }
}

/// One field of the details, from its value. Unknown types are left out.
pub(crate) fn set_detail(details: &mut SessionDetails, field: Field, value: &Value) {
    let text = || value.as_str().map(str::to_owned);
    let names = || -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let count = || value.as_u64().and_then(|n| u32::try_from(n).ok());
    match field {
        Field::Users => details.users = names(),
        Field::Projects => details.projects = names(),
        Field::Procedures => details.procedures = names(),
        Field::Lab => details.lab = text(),
        Field::Location => details.location = text(),
        Field::TaskProtocol => details.task_protocol = text(),
        Field::Kind => details.kind = text(),
        Field::StartTime => details.start_time = text(),
        Field::EndTime => details.end_time = text(),
        Field::NTrials => details.n_trials = count(),
        Field::NCorrectTrials => details.n_correct_trials = count(),
        Field::Narrative => details.narrative = text(),
        Field::Qc => details.qc = text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn details_become_a_layer_and_come_back() {
        let details = SessionDetails {
            users: vec!["ana".into()],
            lab: Some("cortexlab".into()),
            projects: vec!["p".into()],
            procedures: vec!["q".into()],
            location: Some("rig".into()),
            task_protocol: Some("t".into()),
            kind: Some("Base".into()),
            start_time: Some("2024-05-01T10:00:00".into()),
            end_time: Some("2024-05-01T11:00:00".into()),
            narrative: Some("n".into()),
            n_trials: Some(2),
            n_correct_trials: Some(1),
            qc: Some("PASS".into()),
            json: serde_json::json!({"a": 1}).as_object().cloned(),
        };
        let known =
            SessionMetadata { values: layer_of(&details, Origin::Configuration), ..Default::default() };
        let path = SessionPath::parse(Path::new("/data/KS014/2024-05-01/001")).unwrap();
        assert_eq!(details_of(&known, &path), details);
        let mut again = SessionDetails { json: details.json.clone(), ..Default::default() };
        for (field, found) in &known.values.fields {
            set_detail(&mut again, *field, &found.value);
        }
        assert_eq!(again, details);
        // The lab of the path is certain.
        let path = SessionPath::parse(Path::new("/data/mainenlab/Subjects/KS014/2024-05-01/001")).unwrap();
        assert_eq!(details_of(&known, &path).lab, None);
    }
}
