//! Files that change while their session is registered: the session waits until they are unchanged, and in the end
//! Alyx holds what is on disk.

use crate::{common, program};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use alyx_registration::Error;
use alyx_registration::{FlaggedOptions, QuietRules};
use common::{Alyx, MD5_OF_A, MD5_OF_ABC, Rig, Session, at_once, hold, with_files};
use program::{Configuration, Program, program};

/// Writes a file with a fixed time, so that no test depends on the clock's resolution.
fn write(session: &Session, content: &str, seconds: u64) {
    session.file("alf/spikes.times.npy", content);
    set_time(&session.folder.join("alf/spikes.times.npy"), seconds);
}

fn set_time(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[tokio::test]
async fn a_session_whose_files_still_change_waits_without_requests_to_alyx() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let client = alyx.client();
    let options = FlaggedOptions {
        quiet: QuietRules { settle: Duration::from_secs(3600), ..at_once() },
        ..with_files()
    };
    let error = session.register(&client, &options).await.unwrap_err();
    assert!(matches!(error, Error::StillChanging { .. }), "{error}");
    assert!(!alyx.control().requests().iter().any(|seen| seen.path == "/sessions"));
    assert!(session.is_flagged());
    session.register(&client, &with_files()).await.unwrap();
}

/// The size is the same as before: only the times differ.
#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_rewritten_before_the_flag_is_removed_is_registered_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    write(&session, "xyz", 7);
    session.flag();
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config = Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }
        .write(&rig.beside("etc"));
    let gate = hold(&alyx, "GET", "/datasets");
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    gate.reached().await;
    write(&session, "abc", 8);
    gate.open();
    daemon.wait_for("registered session");
    assert!(!session.is_flagged());
    assert_eq!(alyx.datasets(&session).await[0].hash.as_deref(), Some(MD5_OF_ABC));
    daemon.stop();
}

/// After the files were listed, and before they are read.
#[tokio::test]
async fn a_session_whose_dataset_is_rewritten_during_the_session_lookup_is_registered_the_next_time() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    write(&session, "abc", 7);
    session.flag();
    let (client, options) = (alyx.client(), with_files());
    let gate = hold(&alyx, "GET", "/sessions");
    let writing = async {
        gate.reached().await;
        write(&session, "a", 8);
        gate.open();
    };
    let (registered, ()) = tokio::join!(session.register(&client, &options), writing);
    let error = registered.unwrap_err();
    assert!(matches!(error, Error::StillChanging { .. }) && session.is_flagged(), "{error}");
    session.register(&client, &options).await.unwrap();
    let dataset = &alyx.datasets(&session).await[0];
    assert_eq!((dataset.hash.as_deref(), dataset.file_size), (Some(MD5_OF_A), Some(1)));
    assert!(!session.is_flagged());
}
