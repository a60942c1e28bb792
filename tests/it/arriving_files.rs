//! Files that arrive after the flag, by whatever means: the session is registered when all of them are there.

use crate::{common, program};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use alyx_registration::flag::FlagFile;
use alyx_registration::{Error, FlaggedOptions, QuietRules};
use common::{Alyx, Rig, Session, at_once, with_files};
use program::{Configuration, Program, program};

const OLD: Duration = Duration::from_secs(1_700_000_000);

/// A daemon with a section `watch`.
fn daemon(alyx: &Alyx, rig: &Rig, watch: &str) -> Program {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = format!("watch:\n  poll_interval: 100 ms\n{watch}");
    let config =
        Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
    Program::start(program().arg("run").arg("--config").arg(config))
}

fn set_time(path: &Path, since_1970: Duration) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + since_1970).unwrap();
}

/// Name and size of the datasets on Alyx.
async fn datasets(alyx: &Alyx, session: &Session) -> Vec<(String, Option<u64>)> {
    let mut found: Vec<_> =
        alyx.datasets(session).await.into_iter().map(|dataset| (dataset.name, dataset.file_size)).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_temporary_name_holds_the_session_back_until_it_has_its_final_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let temporary = "alf/.spikes.clusters.npy.a1B2c3";
    session.file("alf/spikes.times.npy", "abc").file(temporary, "12");
    // As rsync leaves it: nothing has changed for long, and the file is not complete.
    set_time(&session.folder.join(temporary), OLD);
    session.flag();
    let mut daemon = daemon(&alyx, &rig, "  settle: 50 ms\n");
    let line = daemon.wait_for("a copy is in progress");
    assert!(line.contains(temporary), "{line}");
    std::fs::write(session.folder.join(temporary), "123456").unwrap();
    set_time(&session.folder.join(temporary), OLD);
    std::fs::rename(session.folder.join(temporary), session.folder.join("alf/spikes.clusters.npy")).unwrap();
    // So that the test need not wait for the next look.
    session.flag();
    daemon.wait_for("registered session");
    let expected = [("spikes.clusters.npy".to_owned(), Some(6)), ("spikes.times.npy".to_owned(), Some(3))];
    assert_eq!(datasets(&alyx, &session).await, expected);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_file_with_an_old_time_is_registered_with_its_final_size() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let path = session.folder.join("alf/spikes.times.npy");
    let ends = Arc::new(AtomicBool::new(false));
    let copying = std::thread::spawn({
        let (path, ends) = (path.clone(), Arc::clone(&ends));
        move || {
            while !ends.load(Ordering::Relaxed) {
                File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap();
                set_time(&path, OLD);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    session.flag();
    let mut daemon = daemon(&alyx, &rig, "  settle: 500 ms\n");
    daemon.wait_for("waiting: ");
    ends.store(true, Ordering::Relaxed);
    copying.join().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    daemon.wait_for("registered session");
    assert_eq!(datasets(&alyx, &session).await, [("spikes.times.npy".to_owned(), Some(size))]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_files_waits_for_its_first_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.flag();
    let mut daemon = daemon(&alyx, &rig, "  settle: 50 ms\n  empty_grace: 1 h\n");
    daemon.wait_for("the session has no file yet");
    assert!(alyx.sessions(&session).await.is_empty());
    session.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for("registered session");
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_session_is_registered_when_it_has_waited_long_enough() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.flag();
    let client = alyx.client();
    let within =
        |empty_grace| FlaggedOptions { quiet: QuietRules { empty_grace, ..at_once() }, ..with_files() };
    let error = session.register(&client, &within(Duration::from_secs(3600))).await.unwrap_err();
    assert!(matches!(error, Error::NoFilesYet { .. }), "{error}");
    assert!(alyx.sessions(&session).await.is_empty());
    session.register(&client, &within(Duration::from_nanos(1))).await.unwrap();
    alyx.the_session(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_or_a_hidden_file_does_not_end_the_wait_for_the_first_file() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("session.log", "x").file(".hidden", "").file(".cache/a.b.npy", "").flag();
    let quiet = QuietRules { empty_grace: Duration::from_secs(3600), ..at_once() };
    let options = FlaggedOptions { quiet, ..with_files() };
    let error = session.register(&alyx.client(), &options).await.unwrap_err();
    assert!(matches!(error, Error::NoFilesYet { .. }), "{error}");
    session.file("alf/spikes.times.npy", "abc");
    session.register(&alyx.client(), &options).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_costs_a_second_look_and_no_more() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    set_time(&session.folder.join("alf/spikes.times.npy"), Duration::from_secs(3_900_000_000));
    let quiet = QuietRules { settle: Duration::from_millis(50), ..at_once() };
    let options = FlaggedOptions { quiet, ..with_files() };
    let client = alyx.client();
    let error = session.register(&client, &options).await.unwrap_err();
    assert!(matches!(error, Error::StillChanging { .. }), "{error}");
    tokio::time::sleep(error.wait_to_settle().unwrap()).await;
    session.register(&client, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_files_and_those_of_a_desktop_do_not_hold_a_session_back() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let excluded = ["alf/spikes.times.npy.part", "rig.log", ".DS_Store", "alf/Thumbs.db"];
    let quiet = QuietRules { settle: Duration::from_secs(3600), ..at_once() };
    let patterns = ["**/*.part", "*.log"].map(|pattern| glob::Pattern::new(pattern).unwrap());
    let options = FlaggedOptions { quiet, exclude: patterns.to_vec(), ..with_files() };
    // The change times of what is there cannot be set back: only the files that are made now are new.
    for name in excluded {
        session.file(name, "x");
    }
    let error = session.register(&alyx.client(), &options).await.unwrap_err();
    let Error::StillChanging { path, .. } = &error else { panic!("{error}") };
    assert!(!excluded.iter().any(|name| path.ends_with(name)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_written_again_does_not_hold_its_session_back() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let quiet = QuietRules { settle: Duration::from_secs(3600), ..QuietRules::default() };
    let options = FlaggedOptions { quiet, ..with_files() };
    for name in ["alyx-session.yaml", "alyx-session.json"] {
        session.file(name, "{}");
        let error = session.register(&alyx.client(), &options).await.unwrap_err();
        let Error::StillChanging { path, .. } = &error else { panic!("{error}") };
        // Neither it nor the folder that it is in.
        assert!(!path.ends_with(name) && *path != session.folder.join(""), "{error}");
        let busy = Error::StillChanging { path: session.folder.join(name), wait: Duration::ZERO };
        let flag = session.folder.join("create_me.flag");
        let text = busy.never_quiet(&flag, Duration::from_secs(7200)).unwrap().to_string();
        assert!(text.contains(name) && !text.contains("datasets.exclude"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_safari_is_no_dataset_but_a_copy_in_progress() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy.download/spikes.times.npy", "ab").flag();
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(matches!(error, Error::CopyInProgress { .. }), "{error}");
    let download = session.folder.join("alf/spikes.times.npy.download");
    std::fs::rename(download.join("spikes.times.npy"), session.folder.join("alf/spikes.times.npy")).unwrap();
    std::fs::remove_dir(download).unwrap();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_waits_as_the_run_does() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let flag = FlagFile::load(session.flag()).unwrap().unwrap();
    let plan = async |quiet: QuietRules| {
        let options = FlaggedOptions { quiet, ..with_files() };
        alyx.client().plan_flagged(&flag, &session.path(), &options).await
    };
    let hour = Duration::from_secs(3600);
    let busy = plan(QuietRules { settle: hour, ..at_once() }).await.unwrap_err();
    assert!(matches!(busy, Error::StillChanging { .. }), "{busy}");
    assert_eq!(plan(at_once()).await.unwrap().files.len(), 1);
    for sign in ["alf/spikes.clusters.npy.PART", "alf/.goutputstream-A1B2C3"] {
        session.file(sign, "12");
        let busy = plan(at_once()).await.unwrap_err();
        assert!(matches!(busy, Error::CopyInProgress { .. }), "{sign}: {busy}");
        std::fs::remove_file(session.folder.join(sign)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exclude_line_for_a_busy_folder_makes_its_session_quiet() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("my [cache]/a", "b");
    let flag = FlagFile::load(session.flag()).unwrap().unwrap();
    for file in ["alf/spikes.times.npy", "my [cache]/a", "create_me.flag"] {
        set_time(&session.folder.join(file), OLD);
    }
    std::fs::remove_file(session.folder.join("my [cache]/a")).unwrap();
    let hour = Duration::from_secs(3600);
    let busy =
        alyx_registration::Error::StillChanging { path: session.folder.join("my [cache]/"), wait: hour };
    let Some(Error::NeverQuiet { exclude: Some(line), .. }) = busy.never_quiet(&flag.path, hour) else {
        panic!("no line")
    };
    let pattern = line.trim_start_matches("- \"").trim_end_matches('"');
    assert_eq!(pattern, "my [[]cache[]]/**");
    let text = busy.never_quiet(&flag.path, hour).unwrap().to_string();
    assert!(text.contains("my [cache]/") && text.ends_with(&line), "{text}");
    for path in [&flag.path, &session.folder.join("")] {
        let busy = alyx_registration::Error::StillChanging { path: path.clone(), wait: hour };
        let text = busy.never_quiet(&flag.path, hour).unwrap().to_string();
        assert!(!text.contains("datasets.exclude"), "{text}");
    }
    // A change in the folder no longer counts. Long enough that a slow machine lists the folder within it.
    let settle = Duration::from_secs(4);
    let digest = async |exclude: Vec<glob::Pattern>| {
        let options = FlaggedOptions { exclude, ..with_files() };
        let flag = FlagFile::load(&flag.path).unwrap().unwrap();
        let quiet = QuietRules { settle, ..at_once() };
        let options = FlaggedOptions { quiet, ..options };
        session.file("my [cache]/b", "c");
        std::fs::remove_file(session.folder.join("my [cache]/b")).unwrap();
        alyx.client().plan_flagged(&flag, &session.path(), &options).await
    };
    tokio::time::sleep(settle).await;
    assert!(matches!(digest(Vec::new()).await, Err(Error::StillChanging { .. })));
    let excluded = digest(vec![glob::Pattern::new(pattern).unwrap()]).await;
    assert!(excluded.is_ok(), "{excluded:?}");
}
