//! Sessions that are on Alyx: what is empty is filled, nothing is changed or erased.

use alyx_registration::{
    FilesToRegister, FlaggedOptions, MetadataOptions, RecordOutcome, RegisterFilesOptions, SessionDetails,
};
use serde_json::{Value, json};

use super::{changes, client, ibl, record, session};
use crate::common::{Alyx, Rig, Session, with_files};

/// Creates the session of a folder as another program does, with these fields.
async fn created_elsewhere(alyx: &Alyx, session: &Session, details: SessionDetails) {
    let other = client(alyx, MetadataOptions::none());
    other.create_session(&session.folder, &details).await.unwrap();
    alyx.control().clear_requests();
}

/// The bodies of the changes of sessions.
fn patches(alyx: &Alyx) -> Vec<Value> {
    let requests = alyx.control().requests().into_iter();
    requests.filter(|r| r.method == "PATCH").filter_map(|r| r.body).collect()
}

#[tokio::test]
async fn a_shell_is_filled_in_one_request_and_a_second_run_sends_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    created_elsewhere(&alyx, &session, SessionDetails::default()).await;
    session.flag();
    let client = client(&alyx, MetadataOptions::default());
    session.register(&client, &with_files()).await.unwrap();
    let filled = record(&alyx, &session).await;
    assert_eq!(filled["start_time"], "2024-05-01T10:00:00");
    assert_eq!((&filled["n_trials"], &filled["location"]), (&json!(4), &json!("rig1")));
    assert_eq!(filled["projects"], json!(["ibl_training"]));
    // It belongs to whoever created it.
    assert_eq!(filled["users"], json!(["test_user"]));
    assert_eq!(patches(&alyx).len(), 1, "{:?}", patches(&alyx));
    alyx.control().clear_requests();
    session.flag();
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(changes(&alyx), Vec::<String>::new());
    assert_eq!(record(&alyx, &session).await, filled);
}

#[tokio::test]
async fn what_a_person_wrote_on_alyx_is_kept_and_only_missing_keys_are_added() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file("alyx-session.yaml", "narrative: from the rig\nqc: FAIL\n");
    let details = SessionDetails {
        users: vec!["test_user".into()],
        projects: vec!["practice".into()],
        location: Some("rig2".into()),
        start_time: Some("2024-05-01T09:30:00".into()),
        narrative: Some("by hand".into()),
        n_trials: Some(7),
        qc: Some("PASS".into()),
        json: json!({"IS_MOCK": true, "mine": [1]}).as_object().cloned(),
        ..Default::default()
    };
    created_elsewhere(&alyx, &session, details).await;
    let before = record(&alyx, &session).await;
    session.flag();
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    let after = record(&alyx, &session).await;
    for field in ["users", "projects", "location", "start_time", "narrative", "n_trials", "qc"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["json"], json!({"IS_MOCK": true, "mine": [1], "IBLRIG_VERSION": "8.12.3"}));
    assert_eq!(after["procedures"], json!(["Behavior training/tasks"]));
    assert_eq!(after["n_correct_trials"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_difference_is_applied_by_name_and_no_other() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    let details =
        SessionDetails { n_trials: Some(9), location: Some("rig2".into()), ..SessionDetails::default() };
    created_elsewhere(&alyx, &session, details).await;
    let folder = session.folder.to_str().unwrap();
    let update = ["register-session", folder, "--no-files", "--update", "n_trials"];
    // Only the other difference is kept.
    let log = crate::verbs::verb(&alyx, &rig, &update).ends(0).err;
    assert!(log.contains("location is") && !log.contains("n_trials is"), "{log}");
    let after = record(&alyx, &session).await;
    assert_eq!((&after["n_trials"], &after["location"]), (&json!(4), &json!("rig2")));
    let unknown = ["register-session", folder, "--no-files", "--update", "qc"];
    crate::verbs::verb(&alyx, &rig, &unknown)
        .ends(1)
        .complains("no file of the session contains a qc; use --qc");
}

#[tokio::test]
async fn a_session_that_was_registered_before_its_sidecar_came_gets_its_users() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.flag();
    let client = client(&alyx, MetadataOptions::default());
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(record(&alyx, &session).await["users"], json!(["test_user"]));
    session.file("alyx-session.yaml", "users: [rig_user]\n").flag();
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(record(&alyx, &session).await["users"], json!(["rig_user"]));
}

#[tokio::test]
async fn a_session_that_is_filled_is_returned_with_its_datasets() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "abc").flag();
    let client = client(&alyx, MetadataOptions::default());
    session.register(&client, &with_files()).await.unwrap();
    session.file("alyx-session.yaml", "narrative: a short one\n");
    let (none, options) = (SessionDetails::default(), RegisterFilesOptions::default());
    let files = FilesToRegister::None;
    let (registered, _) = client.register_session(&session.folder, &none, &files, &options).await.unwrap();
    assert_eq!(registered.outcome, RecordOutcome::Updated);
    assert_eq!(registered.record.other["narrative"], "a short one");
    assert!(registered.record.lists_datasets());
}

#[tokio::test]
async fn a_passive_session_must_be_on_alyx_with_what_no_file_says() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("_ibl_experiment.description.yaml", "version: 1.0.0\ntasks: []\n").flag();
    let client = client(&alyx, MetadataOptions::default());
    let error = session.register(&client, &with_files()).await.unwrap_err().to_string();
    assert!(error.contains("has no task") && error.contains("must be on Alyx already"), "{error}");
    assert!(alyx.sessions(&session).await.is_empty() && session.is_flagged());
    created_elsewhere(&alyx, &session, SessionDetails::default()).await;
    let error = session.register(&client, &with_files()).await.unwrap_err().to_string();
    assert!(error.contains("lacks location; add that there"), "{error}");
    let located = SessionDetails { location: Some("rig1".into()), ..Default::default() };
    created_elsewhere(&alyx, &session, located).await;
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(record(&alyx, &session).await["n_trials"], 0);
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_filled_and_sends_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    created_elsewhere(&alyx, &session, SessionDetails { n_trials: Some(4), ..Default::default() }).await;
    let flag = alyx_registration::flag::FlagFile::load(session.flag()).unwrap().unwrap();
    let client = client(&alyx, MetadataOptions::default());
    let options = FlaggedOptions { register_files: false, ..with_files() };
    let planned = client.plan_flagged(&flag, &session.path(), &options).await.unwrap();
    assert_eq!((planned.request.n_trials, planned.request.n_correct_trials), (None, Some(2)));
    let sources = planned.known.unwrap().sources().unwrap();
    assert!(sources.contains("from raw_task_data_00/_iblrig_taskSettings.raw.json"), "{sources}");
    assert_eq!(changes(&alyx), Vec::<String>::new());
}
