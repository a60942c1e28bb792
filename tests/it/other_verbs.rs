//! Lost answers of water and weight, tokens that are kept, and files outside a session.

use crate::common;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use alyx_client::{Client, ClientOptions};
use alyx_registration::{
    Error, ProtectedPolicy, RegisterFilesOptions, RegistrationClient, RegistrationOptions, Relation,
    WaterOptions, WeightOptions,
};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig};

fn on(path: &str, times: usize, fault: Fault) -> FaultRule {
    FaultRule { method: Some("POST".into()), path_prefix: path.into(), times, fault }
}

#[tokio::test]
async fn water_is_recorded_once_when_its_answer_is_lost() {
    for fault in [Fault::ApplyThenDrop, Fault::Drop, Fault::Html(502)] {
        let alyx = Alyx::sandbox().await;
        alyx.control().add_fault(on("/water-administrations", 1, fault));
        let record = alyx
            .impatient_client()
            .register_water_administration("KS014", 1.2, &WaterOptions::default())
            .await
            .unwrap()
            .record;
        assert_eq!(record.water_administered, Some(1.2));
        assert_eq!(alyx.alyx().waters_of("KS014").await.unwrap(), [record]);
    }
}

#[tokio::test]
async fn a_weight_is_recorded_once_when_its_answer_is_lost() {
    for fault in [Fault::ApplyThenDrop, Fault::Drop, Fault::Html(504)] {
        let alyx = Alyx::sandbox().await;
        alyx.control().add_fault(on("/weighings", 1, fault));
        let record = alyx.impatient_client().register_weight("KS014", 21.2, &WeightOptions::default()).await;
        let record = record.unwrap().record;
        assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap(), [record]);
    }
}

#[tokio::test]
async fn water_that_may_have_been_recorded_is_not_guessed_at() {
    let alyx = Alyx::sandbox().await;
    let client = alyx.impatient_client();
    client.alyx().login().await.unwrap();
    alyx.control().add_fault(on("/water-administrations", usize::MAX, Fault::Drop));
    let error =
        client.register_water_administration("KS014", 1.2, &WaterOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unsure { .. }), "{error}");
    let posts = alyx
        .control()
        .requests()
        .iter()
        .filter(|r| r.method == "POST" && r.path == "/water-administrations")
        .count();
    assert_eq!(posts, 2);
}

fn logins(alyx: &Alyx) -> usize {
    alyx.control().requests().iter().filter(|r| r.path == "/auth-token").count()
}

#[tokio::test]
async fn a_kept_token_saves_the_login_until_it_expires() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let folder = rig.root();
    let options = ClientOptions { token_folder: Some(folder.clone()), ..alyx.options() };
    for _ in 0..3 {
        Client::new(options.clone()).unwrap().ping().await.unwrap();
    }
    assert_eq!(logins(&alyx), 1);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(file.path()).unwrap();
    assert!(!kept.contains(&alyx.password));

    assert!(alyx.control().invalidate_tokens());
    Client::new(options.clone()).unwrap().ping().await.unwrap();
    assert_eq!(logins(&alyx), 2);
    assert_ne!(std::fs::read_to_string(file.path()).unwrap(), kept);

    std::fs::write(file.path(), "{\"tok").unwrap();
    Client::new(options).unwrap().ping().await.unwrap();
    assert_eq!(logins(&alyx), 3);
}

#[tokio::test]
async fn a_token_alone_determines_its_user_or_asks_for_the_name() {
    let alyx = Alyx::start().await;
    let http = crate::common::http();
    let login = [("username", &alyx.user), ("password", &alyx.password)];
    let answer = http.post(format!("{}/auth-token", alyx.url)).form(&login).send().await.unwrap();
    let token: serde_json::Value = answer.json().await.unwrap();
    let token = token["token"].as_str().unwrap();
    let credentials = alyx_client::Credentials::Token { username: None, token: token.into() };
    let client = Client::new(ClientOptions { credentials, ..alyx.options() }).unwrap();
    match client.username().await {
        Ok(name) => assert_eq!(name, alyx.user),
        Err(error) => assert!(error.to_string().contains("alyx.username"), "{error}"),
    }
}

/// A file of the subject itself, and the options for it.
async fn of_subject(alyx: &Alyx, rig: &Rig) -> (PathBuf, RegisterFilesOptions) {
    let subject = alyx.client().assert_exists(alyx_client::Endpoint::Subjects, "KS014").await.unwrap();
    let relation =
        Relation { content_type: "subject".into(), object_id: subject["id"].as_str().unwrap().into() };
    // A real Alyx keeps the records of earlier tests.
    let place = format!("Subjects/cortexlab/KS014/x{}", uuid::Uuid::new_v4().simple());
    let file = rig.root().join(place).join("wheel.position.npy");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "a").unwrap();
    let options = RegisterFilesOptions {
        relation: Some(relation),
        repository: Some("flatiron_cortexlab".into()),
        ..Default::default()
    };
    (file, options)
}

#[tokio::test]
async fn a_file_of_a_subject_is_registered_once() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (file, options) = of_subject(&alyx, &rig).await;
    let files = [file.clone()];
    let registered = alyx.client().register_files(&files, &options).await.unwrap();
    let record = &registered.records[0].as_ref().unwrap().record;
    let collection = file.parent().unwrap().strip_prefix(rig.root()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(record.collection.as_deref(), Some(collection.as_str()));
    assert_eq!(record.other["subject"], "KS014");
    let again = alyx.client().register_files(&files, &options).await.unwrap();
    assert_eq!(again.n_unchanged, 1);
    assert_eq!(again.records[0].as_ref().unwrap().record.id, record.id);
}

#[tokio::test]
async fn a_file_outside_a_session_needs_a_repository() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let (file, options) = of_subject(&alyx, &rig).await;
    let options = RegisterFilesOptions { repository: None, ..options };
    let error = alyx.client().register_files(&[file], &options).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn a_protected_file_of_a_subject_moves_like_any_other() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (file, options) = of_subject(&alyx, &rig).await;
    let files = [file.clone()];
    let client = alyx.client();
    let registered = client.register_files(&files, &options).await.unwrap();
    assert!(alyx.control().protect_dataset(&registered.records[0].as_ref().unwrap().record.id));
    let (status, _) = client.check_protected_files(&files, &options).await.unwrap();
    assert!(status[0].is_protected());
    assert_eq!(client.register_files(&files, &options).await.unwrap().n_unchanged, 1);

    std::fs::write(&file, "abc").unwrap();
    let refuse = RegisterFilesOptions { protected: ProtectedPolicy::Refuse, ..options.clone() };
    assert!(client.register_files(&files, &refuse).await.is_err());
    let moved = client.register_files(&files, &options).await.unwrap();
    let today = jiff::Zoned::now().date();
    let to = file.parent().unwrap().join(format!("#{today}#/wheel.position.npy"));
    assert_eq!(moved.moved, [(file, to.clone())]);
    assert_eq!(
        moved.records[0].as_ref().unwrap().record.revision.as_deref(),
        Some(today.to_string().as_str())
    );
    assert_eq!(std::fs::read_to_string(to).unwrap(), "abc");
}

#[tokio::test]
async fn a_new_session_whose_registration_fails_reports_its_folder() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = RegistrationClient::new(alyx.alyx(), RegistrationOptions::default());
    alyx.control().add_fault(on("/sessions", usize::MAX, Fault::Html(503)));
    let options = alyx_registration::NewSessionOptions::default();
    let error = client.create_new_session("KS014", &rig.root(), &options).await.unwrap_err();
    let Error::NewSession { folder, .. } = &error else { panic!("{error}") };
    assert!(folder.is_dir() && error.to_string().contains("001"), "{error}");
}
