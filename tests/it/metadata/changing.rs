//! Files that describe a session and change while it is registered: what is on Alyx in the end is what they say in the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alyx_client::Client;
use alyx_registration::{
    Error, InFlightCreations, MetadataOptions, RegistrationClient, RegistrationOptions, RunContext,
};
use serde_json::json;

use super::{SETTINGS, client, ibl, record, session, settings};
use crate::common::{Alyx, Rig, Session, hold, with_files};

/// Where a sidecar of a session may lie: in it, and with its subject.
fn sidecars(session: &Session) -> [PathBuf; 2] {
    let subject = session.folder.ancestors().nth(2).unwrap();
    [session.folder.join("alyx-session.yaml"), subject.join("alyx-session.yaml")]
}

/// The dataset types are asked for after the sidecars are read, and before the session is listed.
#[tokio::test]
async fn a_sidecar_that_changes_or_appears_after_its_reading_is_read_again_before_anything_is_sent() {
    for (n, before) in [(0, Some("qc: FAIL")), (0, None), (1, Some("qc: FAIL")), (1, None)] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = session(&rig);
        session.file("alf/spikes.times.npy", "abc").flag();
        let sidecar = sidecars(&session)[n].clone();
        before.into_iter().for_each(|content| std::fs::write(&sidecar, content).unwrap());
        let (client, options) = (client(&alyx, MetadataOptions::default()), with_files());
        let gate = hold(&alyx, "GET", "/dataset-types");
        let writing = async {
            gate.reached().await;
            std::fs::write(&sidecar, "qc: WARNING").unwrap();
            gate.open();
        };
        let (registered, ()) = tokio::join!(session.register(&client, &options), writing);
        let error = registered.unwrap_err();
        assert!(matches!(&error, Error::StillChanging { path, .. } if *path == sidecar), "{error}");
        assert!(session.is_flagged() && alyx.control().sessions().is_empty());
        session.register(&client, &options).await.unwrap();
        assert_eq!(record(&alyx, &session).await["qc"], "WARNING", "{n} {before:?}");
        assert!(!session.is_flagged());
    }
}

#[tokio::test]
async fn a_sidecar_above_the_session_that_changes_during_the_run_keeps_the_flag_until_it_is_read() {
    for before in [Some("location: rig1"), None] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = session(&rig);
        session.file("alf/spikes.times.npy", "abc").flag();
        let [_, sidecar] = sidecars(&session);
        before.into_iter().for_each(|content| std::fs::write(&sidecar, content).unwrap());
        let (client, options) = (client(&alyx, MetadataOptions::default()), with_files());
        let gate = hold(&alyx, "POST", "/register-file");
        let writing = async {
            gate.reached().await;
            std::fs::write(&sidecar, "location: rig1\nnarrative: late\n").unwrap();
            gate.open();
        };
        let (registered, ()) = tokio::join!(session.register(&client, &options), writing);
        let error = registered.unwrap_err();
        assert!(matches!(&error, Error::StillChanging { path, .. } if *path == sidecar), "{error}");
        assert!(session.is_flagged());
        session.register(&client, &options).await.unwrap();
        assert_eq!(record(&alyx, &session).await["narrative"], "late", "{before:?}");
        assert!(!session.is_flagged());
    }
}

/// At the first start no session is created for as long as a request of an earlier process may take.
#[tokio::test]
async fn a_session_that_waited_for_its_creation_is_created_with_what_its_files_say_then() {
    type Change = (fn(&Session), &'static str, &'static str);
    let changes: [Change; 4] = [
        (|session| std::fs::write(&sidecars(session)[0], "location: rig2").unwrap(), "location", "rig2"),
        (|session| std::fs::write(&sidecars(session)[1], "narrative: above").unwrap(), "narrative", "above"),
        (
            |session| {
                session.file(SETTINGS, settings(json!({"RIG_NAME": "rig2"})));
            },
            "location",
            "rig2",
        ),
        (
            |session| {
                session.file("narrative.txt", "written late\n");
            },
            "narrative",
            "written late",
        ),
    ];
    for (change, field, value) in changes {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = session(&rig);
        ibl(&session);
        session.flag();
        let mut options = alyx.options();
        options.timeouts.request = Duration::from_secs(3);
        let zone = jiff::tz::TimeZone::UTC;
        let creations = Arc::new(InFlightCreations::after_unclean_stop(Instant::now()));
        let client = RegistrationClient::new(
            Client::new(options).unwrap(),
            RegistrationOptions { zone, ..Default::default() },
        )
        .in_context(RunContext { creations, ..RunContext::default() });
        let flagged = with_files();
        let gate = hold(&alyx, "GET", "/sessions");
        let writing = async {
            gate.reached().await;
            change(&session);
            gate.open();
        };
        let (registered, ()) = tokio::join!(session.register(&client, &flagged), writing);
        let error = registered.unwrap_err();
        assert!(matches!(error, Error::StillChanging { .. }), "{error}");
        assert!(session.is_flagged() && alyx.control().sessions().is_empty());
        session.register(&client, &flagged).await.unwrap();
        assert_eq!(record(&alyx, &session).await[field], value);
        assert!(!session.is_flagged());
    }
}
