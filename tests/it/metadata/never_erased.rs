//! Registering again never erases, whatever a person has left on Alyx and whatever the files of the rig say now.

use std::cell::Cell;

use alyx_registration::{MetadataOptions, SessionDetails};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::{DESCRIPTION, SETTINGS, TRIALS, client, settings, trials};
use crate::common::{Alyx, Rig, Session, with_files};

/// The user who logs in, whom Alyx adds to the users of a session with files.
const LOGIN: &str = "test_user";

/// Some of the fields, each with one of its values.
fn fields(of: Vec<(&'static str, Vec<Value>)>) -> impl Strategy<Value = Map<String, Value>> {
    let each: Vec<_> =
        of.into_iter().map(|(name, values)| (Just(name), proptest::option::of(select(values)))).collect();
    each.prop_map(|fields| {
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

fn lists(names: &'static [&'static str]) -> Vec<Value> {
    let mut lists = vec![json!([])];
    for (i, name) in names.iter().enumerate() {
        lists.extend([json!([name]), json!(&names[..=i])]);
    }
    lists
}

/// What another program or a person writes on Alyx, also what no rig would write.
fn edits() -> impl Strategy<Value = Map<String, Value>> {
    fields(vec![
        ("users", lists(&["rig_user", LOGIN])),
        ("location", vec![json!(null), json!("rig1"), json!("rig2")]),
        ("projects", lists(&["practice", "ibl_training"])),
        ("procedures", lists(&["Imaging", "Behavior training/tasks"])),
        ("type", vec![json!(null), json!(""), json!("Experiment"), json!("Base")]),
        ("task_protocol", vec![json!(""), json!("by hand")]),
        ("narrative", vec![json!(""), json!("by hand")]),
        (
            "start_time",
            ["00:00:00", "00:00:01", "09:30:00", "10:00:00"].map(|t| json!(format!("2024-05-01T{t}"))).into(),
        ),
        ("end_time", vec![json!(null), json!("2024-05-01T08:00:00"), json!("2024-05-01T11:00:00")]),
        ("n_trials", vec![json!(null), json!(0), json!(3), json!(900)]),
        ("n_correct_trials", vec![json!(null), json!(0), json!(2), json!(5)]),
        ("qc", vec![json!("NOT_SET"), json!("PASS"), json!("CRITICAL")]),
        ("extended_qc", vec![json!(null), json!({"a": 0.5})]),
        (
            "json",
            vec![
                json!(null),
                json!({}),
                json!("a text"),
                json!([1]),
                json!({"large": 1e25, "small": 0.1}),
                json!({"mine": [1, {"deep": null}], "IS_MOCK": true}),
                json!({"IBLRIG_VERSION": null, "POOP_COUNT": 0, "empty": ""}),
            ],
        ),
    ])
}

/// A sidecar. An empty key counts as omitted, an empty list means none.
fn sidecar() -> impl Strategy<Value = Map<String, Value>> {
    fields(vec![
        ("users", vec![json!(null), json!([]), json!(["rig_user"])]),
        ("location", vec![json!(null), json!("rig2")]),
        ("projects", vec![json!(null), json!([]), json!(["practice"])]),
        ("procedures", vec![json!([]), json!(["Imaging"])]),
        ("task_protocol", vec![json!("sidecar")]),
        ("narrative", vec![json!(null), json!("sidecar")]),
        ("start_time", vec![json!("2024-05-01T09:00:00"), json!("2024-05-01 10:30:00")]),
        ("end_time", vec![json!("2024-05-01T12:00:00")]),
        ("n_trials", vec![json!(null), json!(0), json!(50)]),
        ("n_correct_trials", vec![json!(0), json!(20)]),
        ("qc", vec![json!("NOT_SET"), json!("FAIL")]),
        ("json", vec![json!({}), json!({"mine": "sidecar", "new": 1}), json!({"IS_MOCK": null})]),
    ])
}

/// The files of a session, some of them absent.
fn files() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names =
        |of: &'static [&'static str]| subsequence(of, 0..=of.len()).prop_map(|names| names.join(", "));
    let description = (names(&["practice", "ibl_training"]), names(&["Imaging", "Behavior training/tasks"]));
    let rig = fields(vec![
        ("ALYX_USER", vec![json!(null), json!("rig_user"), json!(LOGIN)]),
        ("RIG_NAME", vec![json!("rig1"), json!("rig2")]),
        ("IS_MOCK", vec![json!(true)]),
        ("POOP_COUNT", vec![json!(null), json!(7)]),
        ("SESSION_END_TIME", vec![json!(null)]),
        ("SESSION_START_TIME", vec![json!("2024-05-01T10:00:00.5")]),
    ]);
    let option = proptest::option::of::<BoxedStrategy<String>>;
    (
        option(
            description
                .prop_map(|(projects, procedures)| {
                    format!("version: 1.0.0\ntasks:\n- a: {{collection: raw_task_data_00}}\nprojects: [{projects}]\nprocedures: [{procedures}]\n")
                })
                .boxed(),
        ),
        option(rig.prop_map(|rig| settings(rig.into())).boxed()),
        option((0u32..5).prop_map(trials).boxed()),
        option(select(vec!["", "from the rig\n"]).prop_map(str::to_owned).boxed()),
        option(select(vec!["fileTimeSecs=60\n", ""]).prop_map(|more| format!("fileCreateTime=2024-05-01T07:00:00\n{more}")).boxed()),
        option(sidecar().prop_map(|keys| Value::from(keys).to_string()).boxed()),
    )
        .prop_map(|(description, settings, trials, narrative, meta, sidecar)| {
            let all = [
                (DESCRIPTION, description),
                (SETTINGS, settings),
                (TRIALS, trials),
                ("narrative.txt", narrative),
                ("raw_ephys_data/probe00/a.imec0.ap.meta", meta),
                ("alyx-session.json", sidecar),
            ];
            all.into_iter().filter_map(|(name, content)| Some((name, content?))).collect()
        })
}

/// A session from its first registration to the next.
#[derive(Debug, Clone)]
struct History {
    /// Whether this program creates it.
    is_ours: bool,
    first: Vec<(&'static str, String)>,
    /// What a person changes on Alyx.
    edits: Map<String, Value>,
    /// The files when it is registered again.
    then: Vec<(&'static str, String)>,
    /// Whether the program has been restarted without its state meanwhile.
    is_forgotten: bool,
}

fn histories() -> impl Strategy<Value = History> {
    (any::<bool>(), files(), edits(), files(), any::<bool>()).prop_map(
        |(is_ours, first, edits, then, is_forgotten)| History { is_ours, first, edits, then, is_forgotten },
    )
}

fn write(session: &Session, files: &[(&str, String)]) {
    std::fs::remove_dir_all(&session.folder).unwrap();
    session.file("alf/spikes.times.npy", "abc");
    for (name, content) in files {
        // The number of the session is that of its folder.
        let number = session.path().number().to_string();
        session.file(name, content.replace("\"SESSION_NUMBER\":1", &format!("\"SESSION_NUMBER\":{number}")));
    }
    session.flag();
}

/// The record on Alyx, without the time of its last change.
fn stored(alyx: &Alyx, session: &Session) -> Option<Map<String, Value>> {
    let number = json!(session.path().number());
    let found = alyx.control().sessions().into_iter().rfind(|record| record["number"] == number)?;
    let mut record = found.as_object().unwrap().clone();
    record.remove("auto_datetime");
    Some(record)
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || [json!(""), json!([]), json!({})].contains(value)
}

/// What the rules allow to be filled.
fn may_be_filled(field: &str, value: &Value) -> bool {
    is_empty(value)
        || field == "qc" && value == "NOT_SET"
        || field == "start_time" && value.as_str().is_some_and(|time| time.contains("T00:00:00"))
}

/// Fails for what was erased or changed against the rules.
fn judge(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    may_set_users: bool,
) -> Result<(), TestCaseError> {
    for (field, old) in before {
        let new = &after[field];
        prop_assert!(is_empty(old) || !is_empty(new), "{field}: {old} was erased");
        if field == "users" && !is_empty(old) {
            let users = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let (old, new) = (users(old), users(new));
            let is_kept = old.iter().all(|user| new.contains(user));
            let is_added = |user: &&Value| !old.contains(user) && *user != LOGIN;
            let is_same = is_kept && new.iter().filter(is_added).count() == 0;
            prop_assert!(is_same || may_set_users && old == [LOGIN], "users: {old:?} became {new:?}");
        } else if let ("json", Value::Object(members)) = (field.as_str(), old) {
            for (key, value) in members {
                prop_assert_eq!(new.get(key), Some(value), "json.{}", key);
            }
        } else if !may_be_filled(field, old) {
            prop_assert_eq!(new, old, "{}", field);
        }
    }
    Ok(())
}

/// Counts what happened, so that the test is not about nothing.
#[derive(Default)]
struct Seen {
    sessions: Cell<u16>,
    filled: Cell<u32>,
    kept: Cell<u32>,
    refused: Cell<u32>,
}

fn count(of: &Cell<u32>) {
    of.set(of.get() + 1);
}

async fn registered_again(
    alyx: &Alyx,
    rig: &Rig,
    history: &History,
    seen: &Seen,
) -> Result<(), TestCaseError> {
    let number = seen.sessions.get() + 1;
    seen.sessions.set(number);
    let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}"));
    let ours = || client(alyx, MetadataOptions::default());
    let first = ours();
    write(&session, &history.first);
    let is_ours = history.is_ours && session.register(&first, &with_files()).await.is_ok();
    if !is_ours {
        let other = client(alyx, MetadataOptions::none());
        other.create_session(&session.folder, &SessionDetails::default()).await.unwrap();
    }
    let eid = stored(alyx, &session).unwrap()["id"].as_str().unwrap().to_owned();
    alyx.rest("PATCH", &format!("/sessions/{eid}"), history.edits.clone().into()).await;

    let before = stored(alyx, &session).unwrap();
    write(&session, &history.then);
    let again = if history.is_forgotten { ours() } else { first };
    let outcome = session.register(&again, &with_files()).await;
    let after = stored(alyx, &session).unwrap();
    if let Err(error) = outcome {
        count(&seen.refused);
        prop_assert_eq!(&after, &before, "refused, but changed: {}", error);
        return Ok(());
    }
    judge(&before, &after, is_ours && !history.is_forgotten)?;
    if after != before {
        count(&seen.filled);
    }
    if before.iter().any(|(field, value)| history.edits.contains_key(field) && !may_be_filled(field, value)) {
        count(&seen.kept);
    }
    // And what the second time has filled, the third one leaves.
    session.flag();
    session.register(&again, &with_files()).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&stored(alyx, &session).unwrap(), &after);
    Ok(())
}

fn register_again(cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (alyx, rig, seen) = (runtime.block_on(Alyx::sandbox()), Rig::new(), Seen::default());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::with_cases(cases)
    });
    let result =
        runner.run(&histories(), |history| runtime.block_on(registered_again(&alyx, &rig, &history, &seen)));
    result.unwrap();
    let (filled, kept, refused) = (seen.filled.get(), seen.kept.get(), seen.refused.get());
    println!("{cases} sessions: {filled} filled, {kept} with edits that were kept, {refused} refused");
    assert!(filled > 0 && kept > 0, "of {cases} sessions, {filled} were filled and {kept} had edits");
}

#[test]
fn registering_again_erases_nothing_that_is_on_alyx() {
    register_again(16);
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn registering_a_great_many_sessions_again_erases_nothing_that_is_on_alyx() {
    register_again(800);
}
