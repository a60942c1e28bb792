//! Sessions that lack files: the flag stays until they are there, or they are registered without, as configured.

use std::time::Duration;

use alyx_registration::{Error, MetadataOptions, OnMissing, RootMetadata};
use serde_json::json;

use super::{client, ibl, session, settings};
use crate::common::{Alyx, Rig, with_files};

#[tokio::test]
async fn a_session_waits_for_each_file_that_it_should_have_and_names_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    let mut options = MetadataOptions::default();
    options.readers.expect = vec![session_metadata::options::Expectation {
        files: vec!["raw_video_data/*.mp4".parse().unwrap()],
        subject: Some("KS*".parse().unwrap()),
        ..Default::default()
    }];
    let client = client(&alyx, options);
    session.file("_devices/left.status_pending", "").flag();
    let waits = async || match session.register(&client, &with_files()).await.unwrap_err() {
        Error::Incomplete { missing, wait } => {
            assert!(wait >= Duration::from_secs(1));
            missing.join("\n")
        }
        other => panic!("{other}"),
    };
    let text = waits().await;
    assert!(text.contains("_devices/left.status_pending") && text.contains("raw_video_data/*.mp4"), "{text}");
    std::fs::remove_file(session.folder.join("_devices/left.status_pending")).unwrap();
    session.file("raw_video_data/left.mp4", "");
    let text = waits().await;
    assert!(text.contains("raw_video_data/left.mp4: the file is still empty"), "{text}");
    assert!(alyx.control().sessions().is_empty() && session.is_flagged());
    session.file("raw_video_data/left.mp4", "x");
    session.register(&client, &with_files()).await.unwrap();
    assert!(!session.is_flagged());
}

#[tokio::test]
async fn a_lab_server_waits_for_every_declared_device_and_a_rig_does_not() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    let description = "version: 1.0.0\ndevices:\n  cameras:\n    left: {collection: raw_video_data, sync_label: audio}\n\
        tasks:\n- trainingChoiceWorld: {collection: raw_task_data_00}\n";
    session.file("_ibl_experiment.description_rig.yaml", description).flag();
    let server = RootMetadata { path: rig.root(), all_devices: true, ..Default::default() };
    let on_server = MetadataOptions { roots: vec![server], ..Default::default() };
    let error = session.register(&client(&alyx, on_server), &with_files()).await.unwrap_err().to_string();
    assert!(error.contains("raw_video_data: the folder is not there yet"), "{error}");
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_cut_off_is_registered_only_if_that_is_configured() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    let cut = settings(json!({"SESSION_END_TIME": null}));
    session.file("raw_behavior_data/_iblrig_taskSettings.raw.json", cut).flag();
    let wait = client(&alyx, MetadataOptions::default());
    let error = session.register(&wait, &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("the task was cut off"), "{error}");
    let flag = session.folder.join("create_me.flag");
    let late = error.never_quiet(&flag, Duration::from_secs(7200)).unwrap().to_string();
    assert!(late.contains("has waited 120 min for") && late.contains("cut off"), "{late}");
    let finish = MetadataOptions { on_missing: OnMissing::Finish, ..Default::default() };
    session.register(&client(&alyx, finish), &with_files()).await.unwrap();
}
