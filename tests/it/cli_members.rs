//! `exists`, `water`, `weight` on the command line.

use crate::{common, verbs};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig};
use serde_json::json;
use verbs::{verb, word};

#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_are_looked_up() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (kind, name) in [
        ("subjects", "KS014"),
        ("users", "test_user"),
        ("labs", "cortexlab"),
        ("projects", "practice"),
        ("procedures", "Behavior training/tasks"),
        ("locations", "rig1"),
        ("repositories", "flatiron_cortexlab"),
        ("data-repository", "flatiron_cortexlab"),
    ] {
        let said = verb(&alyx, &rig, &["exists", kind, name, "no such thing", "--json"]).ends(1).json();
        assert_eq!(said["outcome"], "incomplete");
        let there: Vec<_> = said["members"].as_array().unwrap().iter().map(|m| m["exists"].clone()).collect();
        assert_eq!(there, [true, false], "{kind}: {said}");
        assert!(said["members"][0]["record"].is_object() && said["members"][1]["record"].is_null());
        verb(&alyx, &rig, &["exists", kind, name]).ends(0);
    }
    let text = verb(&alyx, &rig, &["exists", "subjects", "KS014", "nobody"]).ends(1).out;
    assert_eq!(text, "subject \"KS014\" is on Alyx\nsubject \"nobody\" is not on Alyx\n");
    verb(&alyx, &rig, &["exists", "planets", "mars"]).ends(2).complains("planets");
}

#[tokio::test(flavor = "multi_thread")]
async fn water_is_recorded_as_typed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    verb(&alyx, &rig, &["create-session", word(&session.folder)]).ends(0);
    let eid = alyx.the_session(&session).await.eid().to_owned();
    let by_folder = word(&session.folder).to_owned();
    let by_address = format!("{}/sessions/{eid}", alyx.url);
    for reference in [&eid, &by_folder, &by_address] {
        let words = [
            "water",
            "KS014",
            "1.23456",
            "--date-time",
            "2024-05-01T10:00:00",
            "--water-type",
            "Hydrogel",
            "--by",
            "rig_user",
            "--session",
            reference,
            "--adlib",
            "--force",
            "--json",
        ];
        let said = verb(&alyx, &rig, &words).ends(0).json();
        let expected = json!({
            "subject": "KS014", "water_administered": 1.235, "date_time": "2024-05-01T10:00:00",
            "water_type": "Hydrogel", "user": "rig_user", "adlib": true, "session": eid,
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&said["measurements"][0]["record"][field], value, "{field}");
        }
    }
    assert_eq!(alyx.alyx().waters_of("KS014").await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_is_recorded_as_typed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let words = ["weight", "KS014", "21.34567", "--date-time", "2024-05-01", "--by", "rig_user", "--json"];
    let said = verb(&alyx, &rig, &words).ends(0).json();
    let record = &said["measurements"][0]["record"];
    assert_eq!((&record["weight"], &record["user"]), (&json!(21.35), &json!("rig_user")));
    assert_eq!(record["date_time"], "2024-05-01T00:00:00");
    let text = verb(&alyx, &rig, &["weight", "KS014", "20"]).ends(0).out;
    assert!(text.starts_with("recorded 20 g for KS014 at "), "{text}");
    assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_records_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let water = verb(&alyx, &rig, &["water", "KS014", "1.5", "--dry-run", "--json"]).ends(0).json();
    let request = &water["measurements"][0]["request"];
    assert_eq!((&water["outcome"], &request["water_administered"]), (&json!("planned"), &json!(1.5)));
    assert_eq!(request["water_type"], "Water");
    let weight = verb(&alyx, &rig, &["weight", "KS014", "21", "--dry-run"]).ends(0).out;
    assert!(weight.starts_with("would record 21 g for KS014"), "{weight}");
    verb(&alyx, &rig, &["weight", "nobody", "21", "--dry-run"]).ends(1).complains("nobody");
    assert!(!alyx.control().requests().iter().any(|r| r.method == "POST" && r.path != "/auth-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn water_is_recorded_once_when_the_answer_to_a_verb_is_lost() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let path_prefix = "/water-administrations".to_owned();
    let rule = FaultRule { method: Some("POST".into()), path_prefix, times: 1, fault: Fault::ApplyThenDrop };
    alyx.control().add_fault(rule);
    verb(&alyx, &rig, &["water", "KS014", "1.5"]).ends(0);
    assert_eq!(alyx.alyx().waters_of("KS014").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_one_clear_error() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["water", "KS014", "0"], 2, "greater than zero"),
        (&["water", "KS014", "-1"], 2, "greater than zero"),
        (&["water", "KS014", "much"], 2, "this is not a number"),
        (&["water", "KS014"], 2, "<VOLUME>"),
        (&["water", "KS014,,SWC_001", "1"], 2, "a name is missing"),
        (&["water", "KS014,KS014", "1"], 2, "KS014 occurs twice"),
        (&["weight", "KS014,nobody", "21"], 1, "subject \"nobody\""),
        (&["water", "SWC_001,nobody", "--adlib"], 1, "subject \"nobody\""),
        (&["water", "nobody", "1"], 1, "subject \"nobody\""),
        (&["water", "KS014", "1", "--by", "nobody"], 1, "user \"nobody\""),
        (&["water", "KS014", "1", "--date-time", "noon"], 1, "noon"),
        (&["water", "KS014", "1", "--session", "NaN"], 2, "does not name a session"),
        (&["water", "KS014", "1", "--session", "/x/KS014/2024-05-01/001"], 1, "is not on Alyx"),
        (&["water", "KS014", "1", "--water-type", "Citric"], 1, "no water type \"Citric\""),
        (&["water", "KS014", "1", "--water-type", "Citric", "--dry-run"], 1, "Hydrogel 5% Citric Acid"),
        (&["weight", "KS014", "0"], 2, "greater than zero"),
        (&["weight", "KS014", "inf"], 2, "greater than zero"),
    ];
    for (words, code, text) in cases {
        verb(&alyx, &rig, words).ends(*code).complains(text);
    }
    for subject in ["KS014", "SWC_001"] {
        assert!(alyx.alyx().waters_of(subject).await.unwrap().is_empty());
        assert!(alyx.alyx().weighings_of(subject).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cage_is_watered_in_one_call() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let words = ["water", "KS014, SWC_001,ZM_1085", "--adlib", "--json"];
    let said = verb(&alyx, &rig, &words).ends(0).json();
    for (i, name) in ["KS014", "SWC_001", "ZM_1085"].into_iter().enumerate() {
        let one = &said["measurements"][i];
        assert_eq!((&one["subject"], &one["record"]["subject"]), (&json!(name), &json!(name)));
        let record = alyx.alyx().waters_of(name).await.unwrap().pop().unwrap();
        assert_eq!((record.water_administered, record.adlib), (None, true));
    }
    let text = verb(&alyx, &rig, &["water", "KS014,ZM_1743", "--adlib"]).ends(0).out;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("recorded already: Water ad libitum for KS014 at "), "{text}");
    assert!(lines[1].starts_with("recorded Water ad libitum for ZM_1743 at "), "{text}");
    verb(&alyx, &rig, &["weight", "KS014,SWC_001", "21.3"]).ends(0);
    assert_eq!(alyx.alyx().weighings_of("SWC_001").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cage_that_was_recorded_in_part_is_completed_by_the_same_command() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let at = ["--date-time", "2024-05-01T10:00", "--json"];
    let words = [&["weight", "KS014,SWC_001,ZM_1085", "21.3"], &at[..]].concat();
    let outcomes = |said: &serde_json::Value| -> Vec<String> {
        let list = said["measurements"].as_array().unwrap();
        list.iter().map(|one| one["outcome"].as_str().unwrap().to_owned()).collect()
    };
    verb(&alyx, &rig, &[&["weight", "KS014", "21.3"], &at[..]].concat()).ends(0);
    let fault = Fault::Status {
        code: 400,
        body: json!({"detail": "not today"}).to_string(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    let path_prefix = "/weighings".to_owned();
    alyx.control().add_fault(FaultRule { method: Some("POST".into()), path_prefix, times: 1, fault });
    let said = verb(&alyx, &rig, &words).ends(1).json();
    assert_eq!(outcomes(&said), ["unchanged", "failed", "not_recorded"]);
    assert!(said["measurements"][1]["error"]["message"].as_str().unwrap().contains("not today"), "{said}");
    let said = verb(&alyx, &rig, &words).ends(0).json();
    assert_eq!(outcomes(&said), ["unchanged", "created", "created"]);
}
