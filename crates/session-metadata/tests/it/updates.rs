//! What is sent for a session that Alyx holds already.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use session_metadata::update::plan_update;
use session_metadata::{Field, Origin, SessionMetadata, Source, Sourced};

use crate::world::World;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn a_shell_is_filled_and_what_is_there_is_kept() {
    let known = World::rig().sidecar("projects: [p]\n").describe();
    let shell = object(json!({
        "users": ["rig"], "location": null, "projects": [], "procedures": [], "type": "Experiment", "narrative": "",
        "start_time": "2024-05-01T00:00:00", "end_time": null, "n_trials": null, "n_correct_trials": null,
        "task_protocol": "", "qc": "NOT_SET", "json": {"mine": 1, "POOP_COUNT": 9},
    }));
    let plan = plan_update(&known, &shell, "rig", true);
    assert_eq!(plan.send["users"], json!(["ana"]));
    assert_eq!(plan.send["start_time"], json!("2024-05-01T10:00:00.500000"));
    assert_eq!(plan.send["projects"], json!(["p"]));
    assert_eq!(
        plan.send["json"],
        json!({"mine": 1, "POOP_COUNT": 9, "IBLRIG_VERSION": "5.0.0", "IS_MOCK": false})
    );
    assert!(!plan.send.contains_key("type") && !plan.send.contains_key("qc"));
    let differing: Vec<&str> = plan.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(differing, ["json.POOP_COUNT"]);
    // What was sent is not sent again.
    let mut after = shell.clone();
    after.extend(plan.send);
    assert!(plan_update(&known, &after, "rig", true).send.is_empty());
    // Another's session keeps its users.
    assert!(!plan_update(&known, &shell, "rig", false).send.contains_key("users"));
    assert!(!plan_update(&known, &shell, "another", true).send.contains_key("users"));
}

#[test]
fn a_value_that_contradicts_its_counterpart_on_alyx_is_not_sent() {
    let known = World::rig().describe();
    let record = object(json!({"n_trials": 1, "start_time": "2024-05-01T12:00:00"}));
    let plan = plan_update(&known, &record, "rig", true);
    assert!(!plan.send.contains_key("n_correct_trials") && !plan.send.contains_key("end_time"), "{plan:?}");
    let differing: Vec<&str> = plan.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(differing, ["start_time", "n_trials", "n_correct_trials", "end_time"]);
}

#[test]
fn the_user_who_registered_the_files_is_no_difference() {
    let known = World::rig().describe();
    let plan = plan_update(&known, &object(json!({"users": ["ana", "rig"]})), "rig", true);
    assert!(!plan.send.contains_key("users"));
    assert!(plan.differences.iter().all(|difference| difference.field != "users"), "{plan:?}");
}

#[test]
fn json_that_is_no_object_is_left() {
    let known = World::rig().describe();
    let plan = plan_update(&known, &object(json!({"json": "{\"a\": 1}"})), "rig", true);
    assert!(!plan.send.contains_key("json"));
    assert!(plan.differences.iter().any(|difference| difference.field == "json"));
}

/// Values that Alyx or a person may hold.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!([])),
        Just(json!("NOT_SET")),
        Just(json!("2024-05-01T00:00:00")),
        Just(json!("2024-05-01T10:00:00")),
        Just(json!("2024-05-01T09:00:00.5")),
        (0u32..4).prop_map(|n| json!(n)),
        proptest::sample::subsequence(vec!["rig", "ana", "ben"], 0..=3).prop_map(|names| json!(names)),
        Just(json!({"a": 1})),
    ]
}

fn members() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("[a-c]", value(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn is_set(field: Field, value: &Value) -> bool {
    let is_empty = matches!(value, Value::Null) || [json!(""), json!([]), json!({})].contains(value);
    let is_default = field == Field::Qc && *value == json!("NOT_SET")
        || field == Field::StartTime && *value == json!("2024-05-01T00:00:00");
    !is_empty && !is_default
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn nothing_that_alyx_holds_is_changed_or_removed(
        record in proptest::collection::vec(value(), Field::ALL.len()),
        known in proptest::collection::vec(proptest::option::of(value()), Field::ALL.len()),
        stored in proptest::option::of(members()),
        ours in members(),
        created_by_us in any::<bool>(),
    ) {
        let source = || Source::of(Origin::Sidecar, "f", "k");
        let mut metadata = SessionMetadata::default();
        for (field, value) in Field::ALL.into_iter().zip(known) {
            if let Some(value) = value {
                metadata.values.set(field, value, source());
            }
        }
        metadata.values.json = ours.into_iter().map(|(key, value)| (key, Sourced::new(value, source()))).collect();
        let mut existing: Map<String, Value> =
            Field::ALL.iter().zip(record).map(|(field, value)| (field.name().to_owned(), value)).collect();
        existing.insert("json".to_owned(), stored.clone().map_or(Value::Null, Value::from));
        let plan = plan_update(&metadata, &existing, "rig", created_by_us);
        for field in Field::ALL {
            let Some(sent) = plan.send.get(field.name()) else { continue };
            let before = &existing[field.name()];
            let is_our_user = field == Field::Users && created_by_us && *before == json!(["rig"]);
            prop_assert!(!is_set(field, before) || is_our_user, "{}: {before} became {sent}", field.name());
            prop_assert!(![json!(null), json!(""), json!([])].contains(sent), "{} is erased", field.name());
        }
        if let Some(sent) = plan.send.get("json") {
            for (key, value) in stored.iter().flatten() {
                prop_assert_eq!(sent.get(key), Some(value), "the present one wins");
            }
        }
        // The same plan again has nothing to fill.
        existing.extend(plan.send);
        let again = plan_update(&metadata, &existing, "rig", false);
        prop_assert!(again.send.is_empty(), "{:?}", again.send);
    }
}
