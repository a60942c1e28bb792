//! `alyx-registrar metadata FOLDER`.

use serde_json::{Value, json};

use super::{SETTINGS, client, ibl, session, settings};
use crate::common::{Alyx, Rig};
use crate::verbs::{at_home, run, verb, word};
use alyx_registration::{MetadataOptions, SessionDetails};

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_every_field_with_its_source_without_an_alyx() {
    let rig = Rig::new();
    let session = session(&rig);
    ibl(&session);
    session.flag_with("narrative: by hand\n");
    let said = run(&mut at_home(&rig, &["metadata", word(&session.folder)])).ends(0);
    let plain = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "location rig1 (raw_task_data_00/_iblrig_taskSettings.raw.json: RIG_NAME)",
        "narrative by hand (create_me.flag:1: narrative)",
        "projects ibl_training (_ibl_experiment.description_rig.yaml: projects)",
        "lab cortexlab (the folder)",
        "qc -",
    ] {
        assert!(plain.contains(line), "{line}: {}", said.out);
    }
    assert!(said.out.contains("a new session would be created with {\"subject\":\"KS014\""), "{}", said.out);
    let document = run(&mut at_home(&rig, &["metadata", word(&session.folder), "--json"])).ends(0).json();
    let fields = document["fields"].as_object().unwrap();
    assert_eq!(fields.len(), 14, "{fields:#?}");
    assert_eq!(fields["lab"], json!({"value": "cortexlab", "source": "the folder"}));
    assert_eq!(fields["qc"], json!({"value": null, "source": null}));
    assert_eq!(fields["n_trials"]["value"], 4);
    assert_eq!(document["measurements"][1]["water_administered"], 0.012);
    assert_eq!(document["request"]["n_correct_trials"], 2);
    assert_eq!((&document["eid"], &document["outcome"]), (&Value::Null, &"done".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_its_file_and_nothing_would_be_sent() {
    let rig = Rig::new();
    let session = session(&rig);
    ibl(&session);
    session.file(SETTINGS, settings(json!({"SUBJECT_NAME": "SWC_001", "SESSION_END_TIME": null})));
    session.file("raw_video_data/left.mp4", "");
    let said = run(&mut at_home(&rig, &["metadata", word(&session.folder)])).ends(1);
    assert!(
        said.out.contains("problem  raw_task_data_00/_iblrig_taskSettings.raw.json:1: SUBJECT_NAME"),
        "{}",
        said.out
    );
    assert!(said.out.contains("missing  raw_video_data/left.mp4"), "{}", said.out);
    let document = run(&mut at_home(&rig, &["metadata", word(&session.folder), "--json"])).ends(1).json();
    assert_eq!(document["problems"][0]["kind"], "subject");
    assert_eq!((&document["request"], &document["outcome"]), (&Value::Null, &"incomplete".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_alyx_it_shows_what_would_be_filled_and_what_differs() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    let details = SessionDetails { n_trials: Some(9), ..Default::default() };
    let other = client(&alyx, MetadataOptions::none());
    let eid = other.create_session(&session.folder, &details).await.unwrap().eid().to_owned();
    alyx.control().clear_requests();
    let said = verb(&alyx, &rig, &["metadata", word(&session.folder), "--alyx"]).ends(0);
    assert!(said.out.contains("differs  n_trials: 9 on Alyx is kept, 4 here ("), "{}", said.out);
    assert!(said.out.contains(&format!("session {eid} would be filled with {{")), "{}", said.out);
    let document = verb(&alyx, &rig, &["metadata", word(&session.folder), "--alyx", "--json"]).ends(0).json();
    assert_eq!((&document["eid"], &document["request"]["location"]), (&eid.into(), &"rig1".into()));
    let differences = document["differences"].as_array().unwrap();
    assert!(
        differences.iter().any(|one| one["field"] == "n_trials" && one["on_alyx"] == 9),
        "{differences:?}"
    );
    assert_eq!(super::changes(&alyx), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_alyx_stands_below_the_table_and_does_not_replace_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alyx-session.yaml", "projects: [no_such]\nlocation: rig1\n");
    let said = verb(&alyx, &rig, &["metadata", word(&session.folder), "--alyx"]).ends(1);
    let lines: Vec<&str> = said.out.lines().collect();
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    let (table, problem) = (at("alyx-session.yaml:2: location"), at("problem  Alyx does not know project"));
    assert!(table.is_some() && table < problem, "{}", said.out);
    assert!(lines.last().unwrap().contains("nothing would be registered"), "{}", said.out);
    let said = verb(&alyx, &rig, &["metadata", word(&session.folder), "--alyx", "--json"]).ends(1).json();
    assert_eq!((&said["outcome"], &said["errors"][0]["kind"]), (&"incomplete".into(), &"Missing".into()));
    assert_eq!(said["fields"]["location"]["value"], "rig1");
    // Without Alyx too: what contradicts itself.
    session.file("alyx-session.yaml", "lab: mainenlab\nlocation: rig1\n");
    let said = run(&mut at_home(&rig, &["metadata", word(&session.folder)])).ends(1);
    assert!(said.out.contains("location") && said.out.contains("problem  session"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn find_files_shows_what_is_known_of_the_session_too() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "abc").file("alyx-session.yaml", "location: rig1\n");
    let said = verb(&alyx, &rig, &["find-files", word(&session.folder)]).ends(0);
    let plain = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains("location rig1 (alyx-session.yaml:1: location)"), "{}", said.out);
    assert!(plain.contains("lab cortexlab (the folder)") && !plain.contains(" qc "), "{}", said.out);
    let json = verb(&alyx, &rig, &["find-files", word(&session.folder), "--json"]).ends(0).json();
    assert_eq!(json["metadata"]["fields"]["location"]["source"], "alyx-session.yaml:1: location");
    session.file("alyx-session.yaml", "loction: rig1\n");
    let said = verb(&alyx, &rig, &["find-files", word(&session.folder)]).ends(1);
    assert!(said.out.contains("problem  alyx-session.yaml:1: loction"), "{}", said.out);
}
