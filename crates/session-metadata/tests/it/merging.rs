//! Which source wins.

use serde_json::json;
use session_metadata::merge::merge;
use session_metadata::{Field, Layer, Origin, Source};

use crate::world::{DESCRIPTION, World, field};

fn layer(origin: Origin, field: Field, value: serde_json::Value) -> Layer {
    let mut layer = Layer::default();
    layer.set(field, value, Source::of(origin, "", field.name()));
    layer
}

#[test]
fn the_strongest_source_wins_key_by_key() {
    let origins = [Origin::CommandLine, Origin::Sidecar, Origin::RigFile, Origin::Configuration];
    for first in 0..origins.len() {
        let layers: Vec<Layer> = origins[first..]
            .iter()
            .map(|origin| layer(*origin, Field::Location, json!(format!("{origin:?}"))))
            .collect();
        let merged = merge(&layers);
        assert_eq!(merged.fields[&Field::Location].source.origin, origins[first]);
    }
    let merged = merge(&[
        layer(Origin::Sidecar, Field::Lab, json!("a")),
        layer(Origin::RigFile, Field::Location, json!("b")),
    ]);
    assert_eq!(merged.fields.len(), 2);
}

#[test]
fn the_nearest_sidecar_wins_and_the_rig_fills_the_rest() {
    let metadata = World::rig()
        .sidecar("location: here\njson: {POOP_COUNT: 7}\n")
        .sidecar_at("/data/m/alyx-session.yaml", "location: above\nprojects: [p]\njson: {extra: x}\n")
        .describe();
    assert_eq!(metadata.text(Field::Location), Some("here"));
    assert_eq!(
        field(&metadata, Field::Projects),
        (json!(["p"]), "/data/m/alyx-session.yaml:2: projects".to_owned())
    );
    assert_eq!(metadata.names(Field::Users), ["ana"]);
    assert_eq!(
        serde_json::Value::from(metadata.json()),
        json!({"IBLRIG_VERSION": "5.0.0", "IS_MOCK": false, "POOP_COUNT": 7, "extra": "x"})
    );
    // The projects are known: the subject's are not asked for.
    assert!(!metadata.values.from_subject.contains_key(&Field::Projects));
}

#[test]
fn projects_of_the_description_are_united_with_the_configured_ones_but_not_with_a_persons() {
    let mut world =
        World::rig().file(DESCRIPTION, "projects: [p, q]\ntasks:\n- t: {collection: raw_behavior_data}\n");
    world.configuration = layer(Origin::Configuration, Field::Projects, json!(["q", "r"]));
    assert_eq!(world.describe().names(Field::Projects), ["p", "q", "r"]);
    assert_eq!(world.sidecar("projects: [s]\n").describe().names(Field::Projects), ["s"]);
}

#[test]
fn names_of_users_are_translated_and_dropped() {
    let mut world = World::rig();
    world.options.users_map.insert("ana".to_owned(), Some("ana.l".to_owned()));
    assert_eq!(world.describe().names(Field::Users), ["ana.l"]);
    world.options.users_map.insert("ana".to_owned(), None);
    let metadata = world.describe();
    assert!(
        metadata.names(Field::Users).is_empty() && metadata.values.from_subject.contains_key(&Field::Users)
    );
    world.command_line = layer(Origin::CommandLine, Field::Users, json!(["ana"]));
    assert_eq!(world.describe().names(Field::Users), ["ana"]);
}
