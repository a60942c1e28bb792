//! Sessions that are created.

use std::sync::Arc;

use alyx_registration::{
    FilesToRegister, FlaggedOptions, LookRules, MetadataOptions, Pace, RegisterFilesOptions, RootMetadata,
    SessionDetails, StatRate,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{client, ibl, record, session, settings};
use crate::common::{Alyx, Rig, with_files};

#[tokio::test]
async fn a_session_of_an_ibl_rig_arrives_with_all_that_the_rig_knows() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file("narrative.txt", "The left camera was out of focus.\n").flag();
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    let record = record(&alyx, &session).await;
    for (field, value) in [
        // Alyx adds the user who registers files.
        ("users", json!(["rig_user", "test_user"])),
        ("location", json!("rig1")),
        ("projects", json!(["ibl_training"])),
        ("procedures", json!(["Behavior training/tasks"])),
        ("task_protocol", json!("trainingChoiceWorld8.12.3")),
        ("start_time", json!("2024-05-01T10:00:00")),
        ("end_time", json!("2024-05-01T11:00:00")),
        ("n_trials", json!(4)),
        ("n_correct_trials", json!(2)),
        ("narrative", json!("The left camera was out of focus.")),
        ("type", json!("Experiment")),
        ("json", json!({"IS_MOCK": false, "IBLRIG_VERSION": "8.12.3"})),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert!(!session.is_flagged());
}

#[tokio::test]
async fn spikeglx_and_open_ephys_give_the_times() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (glx, open) = (session(&rig), rig.session_at("cortexlab/Subjects/KS014/2024-05-01/002"));
    let meta = "fileCreateTime=2024-05-01T12:30:00\nfileTimeSecs=60.5\n";
    glx.file("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.meta", meta).flag();
    let xml = "<?xml version=\"1.0\"?>\n<SETTINGS><INFO><DATE>1 May 2024 17:30:12</DATE></INFO></SETTINGS>";
    open.file("raw/settings.xml", xml).flag();
    let client = client(&alyx, MetadataOptions::default());
    for session in [&glx, &open] {
        session.register(&client, &with_files()).await.unwrap();
    }
    let (glx, open) = (record(&alyx, &glx).await, record(&alyx, &open).await);
    assert_eq!(
        (&glx["start_time"], &glx["end_time"]),
        (&json!("2024-05-01T12:30:00"), &json!("2024-05-01T12:31:00.500000"))
    );
    assert_eq!(open["start_time"], json!("2024-05-01T17:30:12"));
}

#[tokio::test]
async fn the_command_line_then_the_sidecar_then_the_rig_then_the_root_then_the_configuration() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file("alyx-session.yaml", "location: rig2\nnarrative: by hand\njson: {IS_MOCK: true}\n");
    std::fs::write(
        rig.root().join("cortexlab/Subjects/KS014/alyx-session.yaml"),
        "location: rig1\nqc: PASS\n",
    )
    .unwrap();
    let of = |location: &str, project: &str, key: &str| SessionDetails {
        location: Some(location.into()),
        projects: vec![project.into()],
        task_protocol: Some("configured".into()),
        json: json!({key: 1, "both": key}).as_object().cloned(),
        ..Default::default()
    };
    let root =
        RootMetadata { path: rig.root(), defaults: of("rig1", "practice", "root"), ..Default::default() };
    let defaults = of("rig1", "ibl_neuropixel_brainwide_01", "general");
    let options = MetadataOptions { roots: vec![root], defaults, ..Default::default() };
    let details = SessionDetails { narrative: Some("typed".into()), ..Default::default() };
    client(&alyx, options)
        .register_session(&session.folder, &details, &FilesToRegister::None, &RegisterFilesOptions::default())
        .await
        .unwrap();
    let record = record(&alyx, &session).await;
    assert_eq!(record["narrative"], "typed");
    assert_eq!((&record["location"], &record["qc"]), (&json!("rig2"), &json!("PASS")));
    assert_eq!(record["task_protocol"], "trainingChoiceWorld8.12.3");
    // Those of the rig with those of the configuration, of which the root's come first.
    assert_eq!(record["projects"], json!(["ibl_training", "practice"]));
    let expected =
        json!({"IS_MOCK": true, "IBLRIG_VERSION": "8.12.3", "root": 1, "general": 1, "both": "root"});
    assert_eq!(record["json"], expected);
}

#[tokio::test]
async fn a_flag_may_describe_its_session_and_choose_its_files() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "a").file("scratch/spikes.clusters.npy", "b");
    session.flag_with("projects: [practice]\ndatasets: {exclude: [scratch/**]}\n");
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    assert_eq!(record(&alyx, &session).await["projects"], json!(["practice"]));
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    assert!(!session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sidecar_excludes_is_not_late() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "a").file("scratch/spikes.clusters.npy", "b");
    session.file("alyx-session.yaml", "datasets: {exclude: [scratch/**]}\n").flag();
    let client = client(&alyx, MetadataOptions::default());
    let registered = session.register(&client, &with_files()).await.unwrap();
    let flagged = with_files();
    let rules = LookRules { every_file: true, flagged: &flagged, late_exclude: &[] };
    let pace = Pace { rate: Arc::new(StatRate::new(100_000)), stop: CancellationToken::new() };
    let path = session.path();
    let look = client.find_late_files(&path, &registered.eid, &registered.snapshot, &rules, pace).await;
    assert!(look.unwrap().unwrap().late.is_none());
}

#[tokio::test]
async fn without_readers_a_session_has_what_the_configuration_says() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file("alyx-session.yaml", "projcts: [x]\n").flag();
    let defaults = SessionDetails { projects: vec!["practice".into()], ..Default::default() };
    let options = FlaggedOptions { defaults, ..with_files() };
    session.register(&client(&alyx, MetadataOptions::none()), &options).await.unwrap();
    let record = record(&alyx, &session).await;
    assert_eq!(
        (&record["projects"], &record["start_time"]),
        (&json!(["practice"]), &json!("2024-05-01T00:00:00"))
    );
    assert_eq!((&record["n_trials"], &record["users"]), (&json!(null), &json!(["test_user"])));
}

#[tokio::test]
async fn the_rigs_login_is_translated_and_a_task_without_a_user_has_the_subjects() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (mapped, dropped) = (session(&rig), rig.session_at("cortexlab/Subjects/KS014/2024-05-01/002"));
    ibl(&mapped);
    ibl(&dropped);
    let users = |user: &str| json!({"ALYX_USER": user});
    mapped.file(super::SETTINGS, settings(users("Rig Login"))).flag();
    let second = json!({"ALYX_USER": "nobody at all", "SESSION_NUMBER": 2});
    dropped.file(super::SETTINGS, settings(second)).flag();
    let mut options = MetadataOptions::default();
    options.readers.users_map = [("Rig Login", Some("rig_user")), ("nobody at all", None)]
        .into_iter()
        .map(|(from, to)| (from.to_owned(), to.map(str::to_owned)))
        .collect();
    let client = client(&alyx, options);
    for session in [&mapped, &dropped] {
        session.register(&client, &with_files()).await.unwrap();
    }
    // Alyx adds the user who registers files.
    assert_eq!(record(&alyx, &mapped).await["users"], json!(["rig_user", "test_user"]));
    assert_eq!(record(&alyx, &dropped).await["users"], json!(["test_user"]));
}
