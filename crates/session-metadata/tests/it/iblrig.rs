//! What the files of a behaviour rig say.

use serde_json::{Value, json};
use session_metadata::Field;

use crate::world::{DESCRIPTION, SETTINGS, TRIALS, World, field, trials, version_5, version_8};

fn changed(mut settings: Value, changes: Value) -> String {
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings.to_string()
}

#[test]
fn a_session_of_version_5_fills_every_field() {
    let metadata = World::rig().file("narrative.txt", "went well\r\n").describe();
    assert_eq!((&metadata.problems, &metadata.missing, &metadata.notes), (&vec![], &vec![], &vec![]));
    let shown = serde_json::to_value(&metadata).unwrap();
    let value = |field: &str| shown["fields"][field]["value"].clone();
    for (field, wanted) in [
        ("users", json!(["ana"])),
        ("location", json!("rig_1")),
        ("task_protocol", json!("biasedChoiceWorld5.0.0")),
        ("type", json!("Experiment")),
        ("start_time", json!("2024-05-01T10:00:00.500000")),
        ("end_time", json!("2024-05-01T10:00:40.500000")),
        ("n_trials", json!(4)),
        ("n_correct_trials", json!(2)),
        ("narrative", json!("went well")),
        ("json", json!({"IS_MOCK": false, "IBLRIG_VERSION": "5.0.0", "POOP_COUNT": 1})),
    ] {
        assert_eq!(value(field), wanted, "{field}");
    }
    assert_eq!(shown["fields"]["location"]["source"], json!(format!("{SETTINGS}: PYBPOD_BOARD")));
    assert_eq!(shown["measurements"][0]["weight"], json!(22.5));
    assert_eq!(shown["measurements"][1]["water_administered"], json!(0.012));
    assert_eq!(shown["measurements"][1]["water_type"], json!("Water 10% Sucrose"));
    assert_eq!(shown["measurements"][1]["date_time"], json!("2024-05-01T10:00:40.500000"));
    // Without a description, the projects are the subject's.
    assert!(shown["from_subject"]["projects"].is_string());
}

#[test]
fn a_session_of_version_8_needs_no_sound_device_and_keeps_its_user() {
    let settings = changed(version_8(), json!({"IBLRIG_VERSION_TAG": "8.0.0"}));
    let metadata = World::default().file(SETTINGS, settings).file(TRIALS, trials(0..=3)).describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(field(&metadata, Field::Users), (json!(["ana"]), format!("{SETTINGS}: ALYX_USER")));
    assert_eq!(field(&metadata, Field::Location).0, json!("rig_8"));
    assert_eq!(
        field(&metadata, Field::EndTime),
        (json!("2024-05-01T11:00:00"), format!("{SETTINGS}: SESSION_END_TIME"))
    );
    assert_eq!(field(&metadata, Field::TaskProtocol).0, json!("trainingChoiceWorld8.12.3"));
    assert_eq!(metadata.count(Field::NTrials), Some(4), "trials counted from 0");
}

#[test]
fn without_a_user_the_responsible_one_is_asked_for() {
    for (name, settings) in [
        ("no user", changed(version_8(), json!({"ALYX_USER": null}))),
        ("no id", changed(version_5(), json!({"PYBPOD_CREATOR": ["_iblrig_test_user", ""]}))),
    ] {
        let mut metadata = World::default().file(SETTINGS, settings).file(TRIALS, trials(1..=2)).describe();
        assert!(metadata.names(Field::Users).is_empty(), "{name}");
        metadata.fill_from_subject(Some("pi"), &["its project".to_owned()]);
        assert_eq!(metadata.names(Field::Users), ["pi"], "{name}");
        assert_eq!(metadata.names(Field::Projects), ["its project"], "{name}");
    }
}

#[test]
fn a_description_gives_projects_procedures_and_the_collections_of_chained_tasks() {
    let description = "version: 1.0.0\nprojects: [p]\nprocedures:\ntasks:\n- second: {collection: raw_task_data_01}\n\
                       - first: {collection: raw_task_data_00}\ndevices: {cameras: {left: {collection: raw_video_data}}}\n";
    let later = changed(
        version_8(),
        json!({
            "SESSION_START_TIME": "2024-05-01T23:50:00", "SESSION_END_TIME": "2024-05-02T00:20:00",
            "PYBPOD_PROTOCOL": "passive", "POOP_COUNT": 2, "ALYX_USER": "ben",
        }),
    );
    let world = World::default()
        .file(DESCRIPTION, description)
        .file(
            "raw_task_data_00/_iblrig_taskSettings.raw.json",
            changed(version_8(), json!({"POOP_COUNT": 3})),
        )
        .file("raw_task_data_00/_iblrig_taskData.raw.jsonable", trials(1..=4))
        .file("raw_task_data_01/_iblrig_taskSettings.raw.json", later)
        .file("raw_task_data_01/_iblrig_taskData.raw.jsonable", trials(1..=2));
    let metadata = world.describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(metadata.text(Field::TaskProtocol), Some("trainingChoiceWorld8.12.3/passive8.12.3"));
    assert_eq!((metadata.count(Field::NTrials), metadata.count(Field::NCorrectTrials)), (Some(6), Some(3)));
    assert_eq!(metadata.names(Field::Users), ["ana", "ben"]);
    assert_eq!(metadata.names(Field::Projects), ["p"]);
    assert_eq!(metadata.json()["POOP_COUNT"], json!(5));
    assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T10:00:00"));
    assert_eq!(
        metadata.text(Field::EndTime),
        Some("2024-05-02T00:20:00"),
        "past midnight it is still its day's session"
    );
    // A description of before 0.1.0 has a plain map of tasks.
    let old = "version: 0.0.1\ntasks: {first: {collection: raw_task_data_00}, second: {collection: raw_task_data_01}}\n";
    assert_eq!(world.file(DESCRIPTION, old).describe().count(Field::NTrials), Some(6));
}

#[test]
fn a_description_without_tasks_is_a_passive_session() {
    for description in
        ["", "---\n", "tasks:\nprojects:\n", "version: 1.0.0\ntasks:\n- passive: {sync_label: bpod}\n"]
    {
        let metadata = World::default().file(DESCRIPTION, description).describe();
        assert_eq!(metadata.problems, [], "{description:?}");
        assert_eq!(
            (metadata.count(Field::NTrials), metadata.count(Field::NCorrectTrials)),
            (Some(0), Some(0))
        );
        assert_eq!(metadata.lacking_for_passive(None), ["location", "start_time", "lab", "users"]);
        let record = json!({"location": "rig", "start_time": "2024-05-01T10:00:00", "lab": "l", "users": []});
        assert_eq!(metadata.lacking_for_passive(record.as_object()), ["users"]);
    }
    assert!(World::rig().describe().lacking_for_passive(None).is_empty());
}

#[test]
fn wrong_animals_days_and_numbers_are_named_with_both_values_and_can_be_confirmed() {
    for (key, value, accept, kind) in [
        ("SUBJECT_NAME", json!("other"), "subject", "\"other\", but the folder m/2024-05-01/001 says \"m\""),
        ("SESSION_NUMBER", json!("002"), "number", "2, but the folder m/2024-05-01/001 says 1"),
        ("SESSION_DATETIME", json!("2024-04-30T23:00:00"), "date", "2024-04-30, but"),
    ] {
        let world = World::rig().file(SETTINGS, changed(version_5(), json!({key: value})));
        let problem = world.problem();
        assert!(
            problem.starts_with(&format!("{SETTINGS}:1: {key}: ")) && problem.contains(kind),
            "{problem}"
        );
        assert!(problem.contains(&format!("`accept: [{accept}]`")), "{problem}");
        let accepted = world.sidecar(format!("accept: [{accept}]\n")).describe();
        assert_eq!(accepted.problems, [], "{key}");
        assert_eq!(accepted.time(Field::StartTime).unwrap().date().to_string(), "2024-05-01", "{key}");
    }
}

#[test]
fn all_times_of_a_session_move_to_the_day_that_is_confirmed() {
    let tasks = "tasks:\n- a: {collection: raw_task_data_00}\n- b: {collection: raw_task_data_01}\n";
    let first =
        json!({"SESSION_START_TIME": "2023-12-31T23:00:00", "SESSION_END_TIME": "2023-12-31T23:30:00"});
    let second =
        json!({"SESSION_START_TIME": "2023-12-31T23:40:00", "SESSION_END_TIME": "2024-01-01T00:30:00"});
    let world = World::default()
        .file(DESCRIPTION, tasks)
        .file("raw_task_data_00/_iblrig_taskSettings.raw.json", changed(version_8(), first))
        .file("raw_task_data_01/_iblrig_taskSettings.raw.json", changed(version_8(), second))
        .sidecar("accept: [date]\n");
    let metadata = world.describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T23:00:00"));
    assert_eq!(metadata.text(Field::EndTime), Some("2024-05-02T00:30:00"));
    assert_eq!(
        serde_json::to_value(&metadata).unwrap()["measurements"][0]["date_time"],
        json!("2024-05-01T23:00:00")
    );
}

#[test]
fn a_task_of_another_day_in_the_folder_is_named() {
    let tasks = "tasks:\n- a: {collection: raw_task_data_00}\n- b: {collection: raw_task_data_01}\n";
    let second =
        json!({"SESSION_START_TIME": "2024-05-03T23:40:00", "SESSION_END_TIME": "2024-05-04T00:30:00"});
    let problem = World::default()
        .file(DESCRIPTION, tasks)
        .file("raw_task_data_00/_iblrig_taskSettings.raw.json", version_8().to_string())
        .file("raw_task_data_01/_iblrig_taskSettings.raw.json", changed(version_8(), second))
        .problem();
    assert!(
        problem.starts_with("raw_task_data_01/_iblrig_taskSettings.raw.json:1: SESSION_START_TIME: "),
        "{problem}"
    );
}

#[test]
fn a_time_with_an_offset_becomes_the_rigs_local_time() {
    let mut world = World::default().file(TRIALS, trials(1..=2)).file(
        SETTINGS,
        changed(version_8(), json!({"SESSION_START_TIME": "2024-05-01T23:30:00+00:00", "SESSION_END_TIME": "2024-05-01 20:30:00"})),
    );
    world.options.zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(-5));
    let metadata = world.describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T18:30:00"));
    assert_eq!(metadata.text(Field::EndTime), Some("2024-05-01T20:30:00"), "a blank in place of T is read");
    world.options.zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(5));
    assert!(world.problem().contains("2024-05-02"));
}

#[test]
fn trials_that_do_not_agree_with_their_numbers_leave_their_number_unknown() {
    let metadata = World::rig().file(TRIALS, trials(38..=41)).describe();
    assert_eq!((metadata.count(Field::NTrials), metadata.count(Field::NCorrectTrials)), (None, None));
    assert!(
        metadata.notes.iter().any(|note| note.contains("4 trials, but its last number is 41")),
        "{:?}",
        metadata.notes
    );
    assert_eq!(
        metadata.measurements.len(),
        1,
        "the water of a part of the trials is not the water of the session"
    );
    assert_eq!(metadata.problems, []);
}

#[test]
fn trials_that_are_corrupt_at_the_end_do_not_set_the_end() {
    let late = r#"{"trial_num": 5, "trial_correct": true, "behavior_data": {"Bpod start timestamp": 0, "Trial end timestamp": 90000}}"#;
    let metadata = World::rig().file(TRIALS, trials(1..=4) + late).describe();
    assert_eq!(metadata.text(Field::EndTime), Some("2024-05-01T10:00:40.500000"));
}

#[test]
fn the_last_trial_may_hold_the_sums() {
    let last = r#"{"trial_num": 5, "ntrials_correct": 4, "water_delivered": 1500.0, "no_go": [[NaN, Infinity, -Infinity, "NaN \" NaN"]]}"#;
    let metadata = World::rig().file(TRIALS, trials(1..=4) + last).describe();
    assert_eq!((metadata.count(Field::NTrials), metadata.count(Field::NCorrectTrials)), (Some(5), Some(4)));
    let water = serde_json::to_value(&metadata).unwrap()["measurements"][1]["water_administered"].clone();
    assert_eq!(water, json!(1.5));
    let settings = changed(version_5(), json!({"PYBPOD_PROTOCOL": "habituationChoiceWorld"}));
    assert_eq!(World::rig().file(SETTINGS, settings).describe().count(Field::NCorrectTrials), Some(0));
}

#[test]
fn a_session_without_an_end_and_without_trials_was_cut_off() {
    for world in [
        World::default().file(SETTINGS, changed(version_8(), json!({"SESSION_END_TIME": null}))),
        World::rig().file(TRIALS, ""),
    ] {
        let metadata = world.describe();
        assert!(
            metadata.missing.iter().any(|missing| missing.why.contains("cut off")),
            "{:?}",
            metadata.missing
        );
        assert_eq!(metadata.problems, []);
    }
    let metadata = World::default()
        .file(SETTINGS, changed(version_8(), json!({"NTRIALS": 7, "NTRIALS_CORRECT": 5})))
        .describe();
    assert_eq!((metadata.count(Field::NTrials), metadata.missing.len()), (Some(7), 0));
}

#[test]
fn values_of_the_wrong_type_are_named() {
    for (settings, wanted) in [
        (changed(version_5(), json!({"PYBPOD_BOARD": 4})), "PYBPOD_BOARD: 4 is not a text"),
        (
            changed(version_5(), json!({"SESSION_DATETIME": "soon"})),
            "SESSION_DATETIME: \"soon\" is not a time",
        ),
        ("[1]".to_owned(), "not the settings of a task"),
    ] {
        let problem = World::rig().file(SETTINGS, settings).problem();
        assert!(problem.contains(wanted), "{problem}");
    }
    let problem = World::rig().file(DESCRIPTION, "a: 1\ntasks: 3\n").problem();
    assert!(problem.starts_with(&format!("{DESCRIPTION}:2: tasks: ")), "{problem}");
}

#[test]
fn a_weight_that_is_none_is_not_a_weight() {
    for weight in [json!(0), json!(-1.5)] {
        let metadata =
            World::rig().file(SETTINGS, changed(version_5(), json!({"SUBJECT_WEIGHT": weight}))).describe();
        assert!(metadata.values.weight.is_none() && !metadata.notes.is_empty());
    }
}

#[test]
fn a_reader_can_be_switched_off() {
    let mut world = World::rig();
    world.options.readers.clear();
    assert!(world.describe().values.fields.is_empty());
}

/// The settings of version 5 with one value, which may be no JSON, such as `NaN`.
fn settings_with(key: &str, value: &str) -> String {
    let mut settings = version_5();
    settings.as_object_mut().unwrap().remove(key);
    format!("{{\"{key}\": {value},{}", &settings.to_string()[1..])
}

#[test]
fn a_count_is_exact_or_refused() {
    for value in ["1e30", "9007199254740993", "-1e300", "[1e30]"] {
        let world = World::rig().file(SETTINGS, settings_with("POOP_COUNT", value));
        if value.starts_with('[') {
            let metadata = world.describe();
            assert!(metadata.notes[0].contains("POOP_COUNT a list is no number"), "{:?}", metadata.notes);
            assert!(!metadata.json().contains_key("POOP_COUNT"));
        } else {
            let problem = world.problem();
            assert!(problem.starts_with(&format!("{SETTINGS}:1: POOP_COUNT: ")), "{problem}");
        }
    }
    let metadata = World::rig().file(SETTINGS, settings_with("POOP_COUNT", "9007199254740991")).describe();
    assert_eq!(metadata.json()["POOP_COUNT"], json!(9_007_199_254_740_991_u64));
}

#[test]
fn a_weight_that_is_none_is_a_warning() {
    for (value, shown) in [
        ("0", "0"),
        ("-1", "-1"),
        ("NaN", "NaN"),
        ("-Infinity", "NaN"),
        ("\"abc\"", "\"abc\""),
        ("[1]", "a list"),
    ] {
        let metadata = World::rig().file(SETTINGS, settings_with("SUBJECT_WEIGHT", value)).describe();
        assert_eq!(metadata.values.weight, None);
        let wanted = format!("{SETTINGS}: SUBJECT_WEIGHT {shown} is no weight");
        assert_eq!(metadata.notes, [wanted], "{value}");
    }
    for value in ["null", "\"\""] {
        let metadata = World::rig().file(SETTINGS, settings_with("SUBJECT_WEIGHT", value)).describe();
        assert_eq!((metadata.values.weight, metadata.notes), (None, vec![]), "{value}");
    }
}

#[test]
fn water_that_is_not_a_number_is_unknown_and_never_a_sum_of_something_else() {
    let trial = |rest: &str| format!("{{\"trial_num\": 1, \"trial_correct\": true{rest}}}\n");
    for (rest, is_known) in [
        (", \"reward_amount\": 3.0, \"water_delivered\": NaN", false),
        (", \"reward_amount\": 3.0, \"water_delivered\": -Infinity", false),
        (", \"reward_amount\": 3.0, \"water_delivered\": \"much\"", false),
        (", \"reward_amount\": 3.0, \"water_delivered\": -2", false),
        (", \"reward_amount\": NaN", false),
        (", \"reward_amount\": -3", false),
        (", \"reward_amount\": 3.0, \"water_delivered\": null", true),
        (", \"reward_amount\": 3.0", true),
    ] {
        let metadata = World::rig().file(TRIALS, trial(rest)).describe();
        assert_eq!(metadata.problems, []);
        assert_eq!(metadata.values.water.is_some(), is_known, "{rest}");
        let has_note =
            metadata.notes.iter().any(|note| note.starts_with(TRIALS) && note.contains("is no water"));
        assert_eq!(has_note, !is_known, "{rest}: {:?}", metadata.notes);
    }
    let none = World::rig().file(TRIALS, trial(", \"reward_amount\": 0")).describe();
    assert_eq!((none.values.water, none.notes), (None, vec![]));
    let correct = World::rig().file(TRIALS, trial(", \"ntrials_correct\": NaN")).describe();
    assert_eq!((correct.count(Field::NTrials), correct.count(Field::NCorrectTrials)), (Some(1), None));
    assert!(correct.notes[0].contains("which trials are correct"), "{:?}", correct.notes);
    for value in [json!("x"), json!(-5)] {
        let mut settings = version_8();
        settings["TOTAL_WATER_DELIVERED"] = value;
        let metadata = World::default().file(SETTINGS, settings.to_string()).describe();
        assert!(metadata.notes[0].contains("TOTAL_WATER_DELIVERED"), "{:?}", metadata.notes);
        assert_eq!(metadata.values.water, None);
    }
}

#[test]
fn a_version_that_is_none_loses_neither_start_nor_rig() {
    for version in [json!("latest"), json!(8), json!("")] {
        let mut settings = version_8();
        settings["IBLRIG_VERSION"] = version.clone();
        let metadata = World::default().file(SETTINGS, settings.to_string()).describe();
        assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T10:00:00"));
        assert_eq!(
            (metadata.text(Field::Location), metadata.names(Field::Users)),
            (Some("rig_8"), vec!["ana"])
        );
        let is_noted = metadata.notes.iter().any(|note| note.contains("is no version"));
        assert!(is_noted || version == "", "{:?}", metadata.notes);
        let mut settings = version_5();
        settings["IBLRIG_VERSION_TAG"] = version;
        let metadata = World::default().file(SETTINGS, settings.to_string()).describe();
        assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T10:00:00.500000"));
        assert_eq!(metadata.text(Field::Location), Some("rig_1"));
    }
}
