//! From a flag to a confirmed session, against the sandbox or a real Alyx.

use crate::common;
use alyx_client::{self, Endpoint, NextStep, SessionRequest};
use alyx_registration::flag::Removal;
use alyx_registration::{
    CreateSessionsOptions, Error, FilesToRegister, FlaggedOptions, RegisterFilesOptions, RegistrationClient,
    RegistrationOptions, SessionDetails, Versions,
};
use common::{Alyx, MD5_OF_A, MD5_OF_ABC, MD5_OF_EMPTY, Rig, snapshot, with_files};
use serde_json::json;

#[tokio::test]
async fn a_flag_becomes_a_session_with_its_datasets_and_is_removed() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/probe00/spikes.times.npy", "abc").file("alf/probe00/spikes.clusters.npy", "a");
    session.file("alf/#2024-01-01#/spikes.depths.npy", "").file("notes.txt", "x").flag();

    let done = session.register(&alyx.client(), &with_files()).await.unwrap();

    assert!(done.created && done.flag == Removal::Removed && done.n_files == 3 && done.bytes == 4);
    assert!(!session.is_flagged());
    let record = alyx.the_session(&session).await;
    assert_eq!(record.eid(), done.eid);
    assert_eq!(record.start_time, format!("{}T00:00:00", session.date()));
    assert_eq!(
        (record.lab.as_deref(), record.users.as_slice()),
        (Some("cortexlab"), [alyx.user.clone()].as_slice())
    );
    let shown: Vec<_> = alyx
        .datasets(&session)
        .await
        .iter()
        .map(|d| (d.relative_path(), d.file_size, d.hash.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            ("alf/#2024-01-01#/spikes.depths.npy".to_owned(), Some(0), MD5_OF_EMPTY.to_owned()),
            ("alf/probe00/spikes.clusters.npy".to_owned(), Some(1), MD5_OF_A.to_owned()),
            ("alf/probe00/spikes.times.npy".to_owned(), Some(3), MD5_OF_ABC.to_owned()),
        ]
    );
}

#[tokio::test]
async fn nothing_is_written_below_the_data_root_but_the_flag_removed() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let before = snapshot(&session.folder.join("alf"));
    let names = |rig: &Rig| snapshot(&rig.root()).into_iter().map(|entry| entry.0).collect::<Vec<_>>();
    let all = names(&rig);
    session.flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(snapshot(&session.folder.join("alf")), before);
    assert_eq!(names(&rig), all);
}

#[tokio::test]
async fn files_that_are_not_datasets_are_left_out_and_counted_by_reason() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("mainenlab", "ZM_1085");
    session.file("alf/spikes.times.npy", "a").file("alf/._spikes.times.npy", "mac");
    session.file(".git/spikes.times.npy", "hidden").file("notes.txt", "x").file("readme", "x");
    session.file("alf/nobody.knows.npy", "x").file("alf/spikes.times.nobody", "x").flag();
    let done = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    let message = done.left_out.to_string();
    assert!(message.contains("2 hidden") && message.contains("2 no ALF name"), "{message}");
    assert!(message.contains("1 no dataset type") && message.contains("1 unknown extension"), "{message}");
}

#[tokio::test]
async fn all_unknown_names_are_reported_in_one_message_and_the_flag_stays() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("nolab", "nobody");
    session.file("alf/spikes.times.npy", "a").flag();
    let mut options = with_files();
    options.defaults.users = vec!["test_user".into(), "no_user".into()];
    options.defaults.projects = vec!["no_project".into()];
    options.defaults.procedures = vec!["no_procedure".into()];
    options.defaults.location = Some("no_location".into());
    options.files.repository = Some("no_repository".into());
    let error = session.register(&alyx.client(), &options).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    let message = error.to_string();
    for name in ["nobody", "nolab", "no_user", "no_project", "no_procedure", "no_location", "no_repository"] {
        assert!(message.contains(&format!("{name:?}")), "{name} is not in: {message}");
    }
    assert!(!message.contains("test_user"), "{message}");
    assert!(session.is_flagged());
}

#[tokio::test]
async fn a_second_run_creates_no_second_session_and_resets_nothing() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let client = alyx.client();
    let session = rig.session("cortexlab", "SWC_001");
    session.file("alf/spikes.times.npy", "a").flag();
    session.register(&client, &with_files()).await.unwrap();
    let precise = SessionDetails {
        start_time: Some(format!("{}T14:25:36", session.date())),
        task_protocol: Some("biased".into()),
        json: json!({"rig": "r1", "kept": true}).as_object().cloned(),
        ..Default::default()
    };
    client.create_session(&session.folder, &precise).await.unwrap();

    session.file("alf/spikes.times.npy", "abc").flag();
    let mut options = with_files();
    options.defaults.task_protocol = Some("default".into());
    let done = session.register(&client, &options).await.unwrap();

    assert!(!done.created);
    let record = alyx.the_session(&session).await;
    assert_eq!(record.start_time, format!("{}T14:25:36", session.date()));
    assert_eq!(record.other["task_protocol"], "biased");
    assert_eq!(record.json, json!({"rig": "r1", "kept": true}));
    let datasets = alyx.datasets(&session).await;
    assert_eq!(datasets.len(), 1);
    assert_eq!(datasets[0].hash.as_deref(), Some(MD5_OF_ABC));
}

#[tokio::test]
async fn json_of_a_session_is_merged() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let client = alyx.client();
    let session = rig.session("cortexlab", "KS014");
    for json in [json!({"a": 1, "b": 1}), json!({"b": 2})] {
        let details = SessionDetails { json: json.as_object().cloned(), ..Default::default() };
        client.create_session(&session.folder, &details).await.unwrap();
    }
    assert_eq!(alyx.the_session(&session).await.json, json!({"a": 1, "b": 2}));
}

#[tokio::test]
async fn two_sessions_on_alyx_are_reported_with_their_ids_and_not_guessed_at() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").flag();
    let path = alf::SessionPath::parse(&session.folder).unwrap();
    let request = SessionRequest {
        subject: Some("KS014".into()),
        number: Some(path.number()),
        start_time: Some(format!("{}T00:00:00", session.date())),
        ..Default::default()
    };
    let mut eids = Vec::new();
    for _ in 0..2 {
        eids.push(alyx.alyx().create_session(&request).await.unwrap().eid().to_owned());
    }
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(eids.iter().all(|eid| error.to_string().contains(eid.as_str())), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert!(session.is_flagged());
}

#[tokio::test]
async fn files_go_in_batches_and_come_back_in_order_with_gaps() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let options = RegistrationOptions { batch_size: 3, ..Default::default() };
    let client = RegistrationClient::new(alyx.alyx(), options);
    let session = rig.session("cortexlab", "KS014");
    client.create_session(&session.folder, &SessionDetails::default()).await.unwrap();
    let mut paths = Vec::new();
    for probe in 0..7 {
        let name = format!("alf/probe{probe:02}/spikes.times.npy");
        session.file(&name, format!("{probe}"));
        paths.push(session.folder.join(name));
        if probe % 3 == 0 {
            session.file(&format!("alf/probe{probe:02}/nobody.knows.npy"), "x");
            paths.push(session.folder.join(format!("alf/probe{probe:02}/nobody.knows.npy")));
        }
    }
    paths.push("/not/in/a/session/spikes.times.npy".into());
    let done = client.register_files(&paths, &RegisterFilesOptions::default()).await.unwrap();
    assert_eq!(done.records.len(), paths.len());
    for (path, record) in paths.iter().zip(&done.records) {
        match record {
            Some(file) => {
                assert!(path.ends_with(file.record.relative_path()), "{path:?} {file:?}")
            }
            None => assert!(path.ends_with("nobody.knows.npy") || path.starts_with("/not"), "{path:?}"),
        }
    }
    assert_eq!(done.left_out.len(), 4);
    assert_eq!(alyx.datasets(&session).await.len(), 7);
}

#[tokio::test]
async fn the_plan_of_files_is_the_request_and_nothing_is_sent() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy", "a");
    let paths = [session.folder.join("alf/spikes.times.npy"), session.folder.join("alf/spikes.clusters.npy")];
    let options = RegisterFilesOptions {
        versions: Versions::Cycle(vec!["1".into(), "2".into()]),
        max_md5_size: Some(3),
        repository: Some("cortexlab_local".into()),
        ..Default::default()
    };
    let requests = alyx.client().plan_files(&paths, &options).await.unwrap().requests;
    assert_eq!(
        serde_json::to_value(&requests).unwrap(),
        json!([{
            "created_by": alyx.user, "path": session.name(), "labs": "cortexlab",
            "filenames": ["alf/spikes.times.npy", "alf/spikes.clusters.npy"],
            "hashes": [null, MD5_OF_A], "filesizes": [3, 1], "versions": ["1", "2"],
            "name": "cortexlab_local", "exists": true, "server_only": false, "default": true,
            "check_protected": true,
        }])
    );
    assert!(alyx.sessions(&session).await.is_empty());
}

#[tokio::test]
async fn a_repository_that_is_named_is_where_the_files_exist() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let mut options = with_files();
    options.files.repository = Some("flatiron_cortexlab".into());
    session.register(&alyx.client(), &options).await.unwrap();
    let datasets = alyx.datasets(&session).await;
    let records = datasets[0].file_records.iter();
    let exists: Vec<&str> =
        records.filter(|r| r.exists).filter_map(|r| r.data_repository.as_deref()).collect();
    assert_eq!(exists, ["flatiron_cortexlab"]);
}

#[tokio::test]
async fn a_dataset_in_a_folder_that_alyx_would_lose_is_refused_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").file("al f/spikes.clusters.npy", "a").flag();
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("al f/spikes.clusters.npy"), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert!(session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test]
async fn a_flag_may_name_the_files_to_register() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session
        .file("alf/spikes.times.npy", "a")
        .file("alf/spikes.clusters.npy", "b")
        .file("alf/spikes.depths.npy", "c");
    session.flag_with("alf/spikes.times.npy\n\nclusters\nclusters\nmistyped\n");
    let done = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy", "alf/spikes.times.npy"]);
    assert_eq!(done.unmatched, ["mistyped"]);
}

#[tokio::test]
async fn excluded_files_are_left_out() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").file("scratch/spikes.times.npy", "b").flag();
    let options = FlaggedOptions { exclude: vec!["scratch/**".parse().unwrap()], ..with_files() };
    session.register(&alyx.client(), &options).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test]
async fn without_files_the_session_alone_is_created() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").flag();
    let done = session.register(&alyx.client(), &FlaggedOptions::default()).await.unwrap();
    assert_eq!(done.n_files, 0);
    assert!(!session.is_flagged() && alyx.datasets(&session).await.is_empty());
}

#[tokio::test]
async fn a_plan_of_a_flag_changes_nothing_on_disk_and_on_alyx() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").flag();
    let before = snapshot(&rig.root());
    let flag =
        alyx_registration::flag::FlagFile::load(session.folder.join("create_me.flag")).unwrap().unwrap();
    let plan = alyx.client().plan_flagged(&flag, &session.path(), &with_files()).await.unwrap();
    assert_eq!((plan.eid, plan.files.len()), (None, 1));
    assert_eq!(snapshot(&rig.root()), before);
    assert!(alyx.sessions(&session).await.is_empty());
}

#[tokio::test]
async fn one_bad_session_does_not_stop_create_sessions() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let good = [rig.session("cortexlab", "KS014"), rig.session("mainenlab", "ZM_1085")];
    let bad = rig.session("cortexlab", "nobody");
    for session in good.iter().chain([&bad]) {
        session.file("alf/spikes.times.npy", "a").flag();
    }
    let options = CreateSessionsOptions { flagged: with_files(), ..Default::default() };
    let listed = alyx
        .client()
        .create_sessions(&rig.root(), &CreateSessionsOptions { dry: true, ..options.clone() })
        .await
        .unwrap();
    for planned in listed {
        assert_eq!(planned.session.is_err(), planned.folder == bad.folder, "{planned:?}");
    }
    assert!(bad.is_flagged() && good.iter().all(common::Session::is_flagged));
    let done = alyx.client().create_sessions(&rig.root(), &options).await.unwrap();
    for created in done {
        assert_eq!(created.session.is_err(), created.folder == bad.folder, "{created:?}");
    }
    assert!(bad.is_flagged() && !good.iter().any(common::Session::is_flagged));
}

#[tokio::test]
async fn a_missing_member_and_a_missing_server_are_different_errors() {
    let alyx = Alyx::start().await;
    let client = alyx.client();
    let subject = client.assert_exists(Endpoint::Subjects, "KS014").await.unwrap();
    assert_eq!(subject["nickname"], "KS014");
    for (endpoint, name) in
        [(Endpoint::Subjects, "nobody"), (Endpoint::Users, "a/b?c"), (Endpoint::Labs, "..")]
    {
        let error = client.assert_exists(endpoint, name).await.unwrap_err();
        assert!(matches!(&error, Error::Missing(names) if names[0].name == name), "{error}");
    }
    let Err(Error::Missing(missing)) =
        client.assert_all_exist(Endpoint::Subjects, &["a", "KS014", "b"]).await
    else {
        panic!("found")
    };
    assert_eq!(missing.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn explicit_files_are_registered_with_their_session() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "a").file("alf/spikes.depths.npy", "a");
    let files = FilesToRegister::These(vec![session.folder.join("alf/spikes.times.npy")]);
    let details = SessionDetails { n_trials: Some(12), ..Default::default() };
    let (session_on_alyx, registered) = alyx
        .client()
        .register_session(&session.folder, &details, &files, &RegisterFilesOptions::default())
        .await
        .unwrap();
    assert_eq!(session_on_alyx.record.other["n_trials"], 12);
    assert_eq!(registered.unwrap().records.iter().flatten().count(), 1);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_never_shown() {
    let alyx = Alyx::start().await;
    let mut options = alyx.options();
    options.credentials = alyx_client::Credentials::Password {
        username: alyx.user.clone(),
        password: secrecy::SecretString::from("correct horse"),
    };
    let error = alyx_client::Client::new(options.clone()).unwrap().login().await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsCredentials);
    assert!(error.to_string().contains(&alyx.user), "{error}");
    assert!(!format!("{error} {error:?} {options:?}").contains("correct horse"));
}

#[tokio::test]
async fn a_path_that_is_not_a_session_is_refused_before_any_request() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    for place in ["cortexlab/Subjects/my mouse/2024-01-01/001", "cortexlab/Subjects/KS014/2024-02-30/001"] {
        let session = rig.session_at(place);
        session.file("alf/spikes.times.npy", "a").flag();
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
        assert!(matches!(error, Error::NotASession(_)), "{error}");
        assert!(session.is_flagged());
    }
}
