//! Files that Alyx refuses: the others are registered, and the flag stays or is removed as configured.

use crate::common;
use alyx_client::NextStep;
use alyx_registration::flag::Removal;
use alyx_registration::{Error, FlaggedOptions, OnRefused, RegistrationClient, RegistrationOptions};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig, Session, with_files};
use serde_json::json;

/// A client that knows a dataset type which Alyx does not have (any more).
async fn misled(alyx: &Alyx, batch_size: usize) -> RegistrationClient {
    let known = alyx.alyx().dataset_types().await.unwrap();
    let mut types: Vec<_> =
        known.into_iter().map(|t| json!({"name": t.name, "filename_pattern": t.filename_pattern})).collect();
    types.push(json!({"name": "nobody.knows", "filename_pattern": "nobody.knows*"}));
    let list = Fault::Status {
        code: 200,
        body: json!(types).to_string(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    alyx.control().add_fault(FaultRule {
        method: Some("GET".into()),
        path_prefix: "/dataset-types".into(),
        times: 1,
        fault: list,
    });
    let client = RegistrationClient::new(
        alyx.alyx(),
        RegistrationOptions { batch_size, ..RegistrationOptions::default() },
    );
    client.dataset_types().await.unwrap();
    client
}

fn rig_session(rig: &Rig) -> Session {
    let session = rig.session("cortexlab", "KS014");
    for probe in 0..20 {
        session.file(&format!("alf/probe{probe:02}/spikes.times.npy"), format!("{probe}"));
    }
    session.file("alf/probe07/nobody.knows.npy", "x").file("alf/probe13/nobody.knows.npy", "x").flag();
    session
}

#[tokio::test]
async fn files_that_alyx_refuses_are_named_with_the_reason_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for batch_size in [100, 7, 1] {
        let session = rig_session(&rig);
        let client = misled(&alyx, batch_size).await;
        alyx.control().clear_requests();
        let error = session.register(&client, &with_files()).await.unwrap_err();
        assert_eq!(error.next_step(), NextStep::NeedsAttention);
        let Error::FilesRefused { registered, refused } = error else { panic!("{error}") };
        assert_eq!((registered, refused.len()), (20, 2));
        for (line, name) in
            refused.iter().zip(["alf/probe07/nobody.knows.npy", "alf/probe13/nobody.knows.npy"])
        {
            assert!(line.starts_with(name) && line.contains("No dataset type found"), "{line}");
        }
        assert!(session.is_flagged());
        assert_eq!(alyx.datasets(&session).await.len(), 20);
        let posts = alyx.control().requests().iter().filter(|r| r.path == "/register-file").count();
        assert!(posts <= 22, "{posts} requests");
    }
}

#[tokio::test]
async fn with_on_refused_finish_the_flag_is_removed_and_refused_files_are_reported() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig_session(&rig);
    let client = misled(&alyx, 100).await;
    let options = FlaggedOptions { on_refused: OnRefused::Finish, ..with_files() };
    let done = session.register(&client, &options).await.unwrap();
    assert_eq!((done.flag, done.n_files, done.refused.len()), (Removal::Removed, 20, 2));
    assert!(!session.is_flagged());
    assert_eq!(alyx.datasets(&session).await.len(), 20);
}

#[tokio::test]
async fn a_reason_shared_by_all_files_costs_few_requests_and_keeps_its_wording() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    for probe in 0..64 {
        session.file(&format!("alf/probe{probe:02}/spikes.times.npy"), "a");
    }
    session.flag();
    let refusal = Fault::Status {
        code: 400,
        body: json!({"detail": "The lab is closed", "status_code": 400}).to_string(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    alyx.control().add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/register-file".into(),
        times: usize::MAX,
        fault: refusal,
    });
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert!(error.to_string().contains("The lab is closed"), "{error}");
    let posts = alyx.control().requests().iter().filter(|r| r.path == "/register-file").count();
    assert!(posts <= 16, "{posts} requests");
    assert!(session.is_flagged());
}

/// The results of a plan and of a run for the same flag.
async fn planned_and_done(alyx: &Alyx, session: &Session, options: &FlaggedOptions) -> [Option<String>; 2] {
    let flag =
        alyx_registration::flag::FlagFile::load(session.folder.join("create_me.flag")).unwrap().unwrap();
    let planned = alyx.client().plan_flagged(&flag, &session.path(), options).await.err();
    let done = session.register(&alyx.client(), options).await.err();
    [planned, done].map(|error| error.map(|error| error.to_string()))
}

#[tokio::test]
async fn a_plan_and_a_run_refuse_with_the_same_words() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.clusters.npy", "a").file("alf/b c/spikes.amps.npy", "b").flag();
    std::os::unix::fs::symlink("/nowhere/at/all", session.folder.join("alf/spikes.times.npy")).unwrap();
    let [planned, done] = planned_and_done(&alyx, &session, &with_files()).await;
    assert_eq!(planned, done);
    let message = planned.unwrap();
    assert!(
        message.contains("2 of the session's 3 datasets") && message.contains("spikes.times.npy"),
        "{message}"
    );
    let finish = FlaggedOptions { on_refused: OnRefused::Finish, ..with_files() };
    assert_eq!(planned_and_done(&alyx, &session, &finish).await, [None, None]);
}

/// A flagged session of 25 datasets, at which the server fails where a file has this text in its path.
fn broken_session(alyx: &Alyx, rig: &Rig, text: &str) -> Session {
    let session = rig.session("cortexlab", "KS014");
    for probe in 0..25 {
        session.file(&format!("alf/probe{probe:02}/spikes.times.npy"), format!("{probe}"));
    }
    session.flag();
    alyx.control().add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/register-file".into(),
        times: usize::MAX,
        fault: Fault::ServerErrorFor(text.into()),
    });
    session
}

#[tokio::test]
async fn a_file_that_breaks_the_server_is_isolated_at_the_second_attempt() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = broken_session(&alyx, &rig, "probe13");
    let options = RegistrationOptions { batch_size: 10, ..RegistrationOptions::default() };
    let client = RegistrationClient::new(alyx.alyx(), options);
    let error = session.register(&client, &with_files()).await.unwrap_err();
    assert!(matches!(error.next_step(), NextStep::TryAgain { .. }), "the server may be restarting: {error}");
    let error = session.register(&client, &with_files()).await.unwrap_err();
    let Error::FilesRefused { registered, refused } = error else { panic!("{error}") };
    assert_eq!((registered, refused.len()), (24, 1));
    assert!(
        refused[0].starts_with("alf/probe13/spikes.times.npy: ") && refused[0].contains("500"),
        "{refused:?}"
    );
    assert!(session.is_flagged());
    assert_eq!(alyx.datasets(&session).await.len(), 24);
}

#[tokio::test]
async fn a_server_that_fails_at_every_file_is_tried_again_and_no_file_is_blamed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = broken_session(&alyx, &rig, "spikes");
    let client = alyx.client();
    for attempt in 1..=3 {
        alyx.control().clear_requests();
        let error = session.register(&client, &with_files()).await.unwrap_err();
        assert!(matches!(error.next_step(), NextStep::TryAgain { .. }), "attempt {attempt}: {error}");
        let posts = alyx.control().requests().iter().filter(|seen| seen.path == "/register-file").count();
        assert!(posts <= 16, "attempt {attempt}: {posts} requests");
    }
}
