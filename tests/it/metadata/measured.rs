//! Weight and water: recorded only where the configuration says so, and once.

use alyx_registration::{Measured, MetadataOptions};
use serde_json::{Value, json};

use super::{client, ibl, session, settings};
use crate::common::{Alyx, Rig, Session, with_files};
use alyx_sandbox::{Fault, FaultRule};

/// The posts to an endpoint since the last clear.
fn posts(alyx: &Alyx, path: &str) -> Vec<Value> {
    let requests = alyx.control().requests().into_iter();
    requests.filter(|r| r.method == "POST" && r.path == path).filter_map(|r| r.body).collect()
}

#[tokio::test]
async fn weight_and_water_are_recorded_once_and_by_default_not_at_all() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.flag();
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    let all = || (posts(&alyx, "/weighings"), posts(&alyx, "/water-administrations"));
    assert_eq!(all(), (Vec::new(), Vec::new()));
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    for _ in 0..2 {
        session.flag();
        session.register(&client, &with_files()).await.unwrap();
        let (weights, waters) = all();
        let ([weight], [water]) = (weights.as_slice(), waters.as_slice()) else { panic!("{:?}", all()) };
        assert_eq!((&weight["weight"], &weight["date_time"]), (&20.5.into(), &"2024-05-01T10:00:00".into()));
        assert_eq!((&water["water_administered"], &water["adlib"]), (&0.012.into(), &false.into()));
        assert_eq!(
            (&water["water_type"], &water["date_time"]),
            (&"Water".into(), &"2024-05-01T11:00:00".into())
        );
        assert_eq!(water["session"], alyx.the_session(&session).await.eid());
    }
}

#[tokio::test]
async fn a_weight_of_that_day_and_water_of_that_session_are_not_doubled() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.flag();
    let by_hand = client(&alyx, MetadataOptions::none());
    session.register(&by_hand, &with_files()).await.unwrap();
    let eid = alyx_registration::SessionReference::parse(alyx.the_session(&session).await.eid()).unwrap();
    let at = || Some("2024-05-01T09:00:00".into());
    let weight = alyx_registration::WeightOptions { date_time: at(), ..Default::default() };
    by_hand.register_weight("KS014", 21.0, &weight).await.unwrap();
    let water = alyx_registration::WaterOptions { date_time: at(), session: Some(eid), ..Default::default() };
    by_hand.register_water_administration("KS014", 0.5, &water).await.unwrap();
    alyx.control().clear_requests();
    session.flag();
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(posts(&alyx, "/weighings").len() + posts(&alyx, "/water-administrations").len(), 0);
}

fn with_water() -> MetadataOptions {
    MetadataOptions { measured: Measured { weight: false, water: true }, ..Default::default() }
}

/// The volumes of the session on Alyx, sorted.
async fn volumes(alyx: &Alyx, session: &Session) -> Vec<f64> {
    let eid = alyx.the_session(session).await.eid().to_owned();
    let found = alyx.alyx().waters_of("KS014").await.unwrap().into_iter();
    let of_session = found.filter(|water| water.session.as_deref() == Some(eid.as_str()));
    let mut volumes: Vec<f64> = of_session.filter_map(|water| water.water_administered).collect();
    volumes.sort_by(f64::total_cmp);
    volumes
}

/// A second task in which the subject drank 0.4 ml, after 0.3 ml in the first.
fn two_tasks(session: &Session) {
    let settings = |start: &str, end: &str, microlitres: u32| {
        settings(
            json!({"SESSION_START_TIME": start, "SESSION_END_TIME": end, "TOTAL_WATER_DELIVERED": microlitres}),
        )
    };
    session
        .file(
            "_ibl_experiment.description_rig.yaml",
            "version: 1.0.0\ntasks:\n- a: {collection: raw_task_data_00}\n- b: {collection: raw_task_data_01}\n",
        )
        .file(super::SETTINGS, settings("2024-05-01T10:00:00", "2024-05-01T11:00:00", 300))
        .file(
            "raw_task_data_01/_iblrig_taskSettings.raw.json",
            settings("2024-05-01T11:00:00", "2024-05-01T12:00:00", 400),
        );
}

#[tokio::test]
async fn after_an_interruption_the_waters_that_are_missing_are_recorded_and_no_other() {
    let listed = "water: [{volume: 0.2}, {volume: 0.3, time: '2024-05-01T10:30:00'}, {volume: 0.4}]\n";
    type Make = fn(&Session, &str);
    let sidecar: Make = |session, listed| {
        session.file("alyx-session.yaml", listed);
    };
    let tasks: Make = |session, _| two_tasks(session);
    for (make, n_before, all) in
        [(sidecar, 1, vec![0.2, 0.3, 0.4]), (sidecar, 2, vec![0.2, 0.3, 0.4]), (tasks, 1, vec![0.3, 0.4])]
    {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = session(&rig);
        make(&session, listed);
        let (method, path_prefix) = (Some("POST".to_owned()), "/water-administrations".to_owned());
        let fault = |times, fault| FaultRule {
            method: method.clone(),
            path_prefix: path_prefix.clone(),
            times,
            fault,
        };
        // The first ones pass, then the server refuses.
        alyx.control().add_fault(fault(n_before, Fault::Delay(std::time::Duration::ZERO)));
        let refused = Fault::Status {
            code: 400,
            body: "{\"detail\": \"no\"}".into(),
            content_type: "application/json".into(),
            retry_after: None,
        };
        alyx.control().add_fault(fault(usize::MAX, refused));
        session.flag();
        session.register(&client(&alyx, with_water()), &with_files()).await.unwrap_err();
        assert!(session.is_flagged());
        assert_eq!(volumes(&alyx, &session).await.len(), n_before);
        alyx.control().clear_faults();
        for _ in 0..2 {
            session.flag();
            session.register(&client(&alyx, with_water()), &with_files()).await.unwrap();
            assert_eq!(volumes(&alyx, &session).await, all);
        }
    }
}

#[tokio::test]
async fn equal_drinks_of_a_list_are_as_many_records_also_after_a_lost_answer() {
    for (listed, n) in
        [("{volume: 0.25}, {volume: 0.25}".to_owned(), 2), (["{volume: 0.001}"; 20].join(", "), 20)]
    {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = session(&rig);
        session.file("alyx-session.yaml", format!("water: [{listed}]\n"));
        let method = Some("POST".to_owned());
        for fault in [Fault::Delay(std::time::Duration::ZERO), Fault::ApplyThenDrop] {
            let path_prefix = "/water-administrations".to_owned();
            alyx.control().add_fault(FaultRule { method: method.clone(), path_prefix, times: 1, fault });
        }
        for _ in 0..2 {
            session.flag();
            session.register(&client(&alyx, with_water()), &with_files()).await.unwrap();
            assert_eq!(volumes(&alyx, &session).await.len(), n);
        }
    }
}

#[tokio::test]
async fn water_that_no_file_names_beside_some_that_one_names_needs_attention() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alyx-session.yaml", "water: [{volume: 0.2}]\n").flag();
    let client = client(&alyx, with_water());
    session.register(&client, &with_files()).await.unwrap();
    let eid = alyx_registration::SessionReference::parse(alyx.the_session(&session).await.eid()).unwrap();
    let at = Some("2024-05-01T09:00:00".into());
    let water = alyx_registration::WaterOptions { date_time: at, session: Some(eid), ..Default::default() };
    client.register_water_administration("KS014", 0.5, &water).await.unwrap();
    session.file("alyx-session.yaml", "water: [{volume: 0.2}, {volume: 0.3}]\n").flag();
    let error = session.register(&client, &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), alyx_client::NextStep::NeedsAttention);
    let text = error.to_string();
    assert!(text.contains("alyx-session.yaml:1: water[1]") && text.contains("0.5 ml at"), "{text}");
    assert!(session.is_flagged());
    assert_eq!(volumes(&alyx, &session).await, [0.2, 0.5]);
    // All that the file names is there.
    session.file("alyx-session.yaml", "water: [{volume: 0.2}, {volume: 0.5}]\n");
    session.register(&client, &with_files()).await.unwrap();
}

#[tokio::test]
async fn weight_and_water_may_be_as_early_as_the_session() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/1998-05-01/001");
    session.file("alyx-session.yaml", "earliest: 1998-01-01\nweight: 20.5\nwater: [{volume: 0.5}]\n");
    session.flag();
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!((posts(&alyx, "/weighings").len(), posts(&alyx, "/water-administrations").len()), (1, 1));
}
