//! What people write into sidecars, and the messages that answer it.

use serde_json::json;
use session_metadata::{Field, Measurement, Water};

use crate::world::{SIDECAR, World, field};

#[test]
fn every_key_is_read_with_its_line() {
    let metadata = World::default()
        .sidecar(
            "# by hand\nusers: [ana]\nlab: l\nprojects: [p, q]\nprocedures: []\nlocation: rig\ntask_protocol: t\ntype: Base\n\
             json: {a: 1}\nearliest: 2020-01-01\nstart_time: 2024-05-01 10:00\nend_time: 2024-05-01T11:00:00\nn_trials: 10\n\
             n_correct_trials: 9\nnarrative: |\n  one\n  two\nqc: PASS\nweight: 21.5\n\
             water: [{volume: 0.5, type: Hydrogel, time: 2024-05-01T12:00, adlib: true}, {volume: 1}]\n\
             datasets: {repository: r, exclude: ['*.tmp'], versions: ['1.0']}\naccept: [date]\n",
        )
        .describe();
    assert_eq!(metadata.problems, []);
    let fields = Field::ALL.iter().filter(|field| metadata.values.fields.contains_key(field)).count();
    assert_eq!(fields, Field::ALL.len());
    assert_eq!(field(&metadata, Field::Projects), (json!(["p", "q"]), format!("{SIDECAR}:4: projects")));
    assert_eq!(metadata.text(Field::Narrative), Some("one\ntwo"));
    assert!(metadata.accepts("date") && !metadata.accepts("number"));
    assert_eq!(metadata.values.settings["datasets.exclude"].value, json!(["*.tmp"]));
    let water: Vec<_> = metadata
        .measurements
        .iter()
        .filter_map(|found| match &found.value {
            Measurement::Water(Water { millilitres, at, adlib, .. }) => {
                Some((*millilitres, at.unwrap().to_iso(), *adlib))
            }
            Measurement::Weight(_) => None,
        })
        .collect();
    let wanted =
        [(0.5, "2024-05-01T12:00:00".to_owned(), true), (1.0, "2024-05-01T11:00:00".to_owned(), false)];
    assert_eq!(water, wanted, "water without a time is given at the end");
}

#[test]
fn more_waters_than_a_session_has_are_refused_in_one_line() {
    let waters =
        |n| World::default().sidecar(format!("water: [{}]\n", vec!["{volume: 1}"; n].join(", "))).describe();
    assert_eq!(waters(100).measurements.len(), 100);
    let metadata = waters(101);
    let [problem] = metadata.problems.as_slice() else { panic!("{:?}", metadata.problems) };
    assert!(problem.to_string().ends_with(":1: water: 101 entries, more than 100; write sums"), "{problem}");
}

#[test]
fn a_mistake_is_named_with_file_line_and_key() {
    for (text, wanted) in [
        ("lab: l\nprojcts: [a]\n", ":2: projcts: unknown key \"projcts\"; did you mean projects?"),
        ("xyz: 1\n", "unknown key \"xyz\"; known here: users"),
        ("users: ana\n", "users: this must be a list; write [\"ana\"]"),
        ("\nn_trials: many\n", ":2: n_trials: \"many\" is not a whole number"),
        ("n_trials: -1\n", "-1 is not a whole number"),
        ("location: 12\n", "12 is not text; put it in quotes"),
        ("weight: 0\n", "0 is not a number of grams above zero"),
        ("lab: l\nweight: .nan\n", ":2: weight: NaN, infinity"),
        ("json:\n  a: [1, .inf]\n", ":2: json.a[1]: NaN, infinity"),
        ("{\"json\": {\n\"a\": 1,\n\"b\": NaN}}", ":3: json.b: NaN, infinity"),
        ("{\"json\": {\"b\": [0, 1e400]}}", ":1: json.b[1]: NaN, infinity"),
        ("weight: !x 3\n", "a tag"),
        ("qc: good\n", "is none of NOT_SET"),
        ("start_time: noon\n", "start_time: \"noon\" is not an ISO 8601"),
        ("earliest: soon\n", "is not a date"),
        ("water: 0.5\n", "write water: [{volume: 0.5}]"),
        ("water:\n- volume: 1\n  kind: x\n", ":3: water[0].kind: unknown key"),
        ("water:\n- type: x\n", "the volume (in ml) is missing"),
        ("datasets: {repo: x}\n", "datasets.repo: unknown key"),
        ("datasets: {exclude: ['[']}\n", "is not a pattern"),
        ("accept: [dates]\n", "did you mean date?"),
        ("lab: a\nlab: b\n", ":2: lab: this key occurs twice"),
        ("- a\n", "must be a section"),
        ("lab: [\n", "not valid YAML"),
        ("lab: a\n---\nlab: b\n", "second document"),
        ("start_time: 2024-05-02T10:00\n", "not on the day of the folder"),
        (
            "start_time: 2024-05-01T10:00\nend_time: 2024-05-01T09:00\n",
            ":2: end_time: the end 2024-05-01T09:00:00 is before",
        ),
        ("n_trials: 1\nn_correct_trials: 2\n", ":2: n_correct_trials: 2 correct trials are more"),
    ] {
        let problem = World::default().sidecar(text).problem();
        assert!(problem.starts_with(SIDECAR) && problem.contains(wanted), "{text:?}: {problem}");
    }
}

#[test]
fn json_is_read_as_yaml_is() {
    let name = "/data/alyx-session.json";
    let metadata = World::default()
        .sidecar_at(name, "{\n\t\"users\": [\"ana \\ud83d\\ude00\"],\n\t\"n_trials\": 3}")
        .describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(field(&metadata, Field::NTrials), (json!(3), format!("{name}:3: n_trials")));
    for (text, wanted) in [
        ("{\"lab\": \"a\",\n \"lab\": \"b\"}", ":2: lab: this key occurs twice"),
        ("{\"users\": [1,\n}", ":2: this is not valid JSON"),
        ("{\"weight\": NaN}", ":1: weight: NaN, infinity"),
        ("{\n\"labb\": 1}", ":2: labb: unknown key"),
    ] {
        let problem = World::default().sidecar_at(name, text).problem();
        assert!(problem.contains(wanted), "{text:?}: {problem}");
    }
}

#[test]
fn an_empty_key_is_absent_and_an_empty_list_is_a_value() {
    let world = World::rig()
        .sidecar("users: []\nlab:\n")
        .sidecar_at("/data/alyx-session.yaml", "users: [ben]\nlab: l\n");
    let metadata = world.describe();
    assert!(metadata.names(Field::Users).is_empty());
    assert_eq!(metadata.text(Field::Lab), Some("l"));
}

#[test]
fn a_flag_that_begins_as_json_is_told_what_is_wrong_with_its_json() {
    for flag in [
        "{\"projects\": [\"p\"]} by ana",
        "{\"projects\": [\"p\"}",
        "{\"projects\": [\"p\"]}\nby ana\n",
        "{} x",
    ] {
        assert!(session_metadata::sidecar::is_sidecar(flag.as_bytes()));
        let problem = World::default().sidecar_at("create_me.flag", flag).problem();
        assert!(problem.contains("not valid JSON"), "{problem}");
    }
    let problem = World::default().sidecar_at("create_me.flag", "{projects: [p}").problem();
    assert!(problem.contains("not valid YAML"), "{problem}");
}

#[test]
fn a_sidecar_in_utf_16_is_one_and_is_refused() {
    for text in ["{\"projects\": [\"p\"]}", "projects: [p]\r\n"] {
        for (mark, unit) in [
            (vec![0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]),
            (vec![0xfe, 0xff], u16::to_be_bytes),
            (vec![], u16::to_le_bytes),
        ] {
            let flag: Vec<u8> = mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect();
            assert!(session_metadata::sidecar::is_sidecar(&flag), "{flag:?}");
            let problem = World::default().sidecar(&flag).problem();
            assert!(problem.contains("UTF-16"), "{problem}");
        }
    }
    let list: Vec<u8> = "a.npy\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(!session_metadata::sidecar::is_sidecar(&list));
}
