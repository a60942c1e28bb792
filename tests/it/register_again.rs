//! Registering again: unchanged files are not posted, and protected ones are neither lost nor overwritten.

use crate::common;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_client::{self, NextStep};
use alyx_registration::{
    CreateSessionsOptions, Error, FilesToRegister, FlaggedOptions, ProtectedPolicy, RegisterFilesOptions,
    SessionDetails,
};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig, Session, with_files};
use serde_json::Value;

const ORIGINAL: &str = "alf/spikes.times.npy";
const OTHER: &str = "alf/spikes.clusters.npy";

fn today() -> String {
    jiff::Zoned::now().date().to_string()
}

/// Where `ORIGINAL` moves today.
fn revised() -> String {
    format!("alf/#{}#/spikes.times.npy", today())
}

fn policy(policy: ProtectedPolicy) -> FlaggedOptions {
    let mut options = with_files();
    options.files.protected = policy;
    options
}

/// Bodies of the `/register-file` requests since the last clear.
fn posts(alyx: &Alyx) -> Vec<Value> {
    let requests = alyx.control().requests().into_iter();
    requests.filter(|r| r.path == "/register-file").filter_map(|r| r.body).collect()
}

/// A registered session whose `ORIGINAL` is protected, flagged again.
async fn protected(alyx: &Alyx, rig: &Rig) -> Session {
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").file(OTHER, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let datasets = alyx.datasets(&session).await;
    let id = datasets.iter().find(|d| d.relative_path() == ORIGINAL).unwrap().as_registered().id;
    assert!(alyx.control().protect_dataset(&id));
    session.flag();
    alyx.control().clear_requests();
    session
}

fn read(session: &Session, name: &str) -> Option<String> {
    std::fs::read_to_string(session.folder.join(name)).ok()
}

#[tokio::test]
async fn a_second_run_posts_no_file_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").file(OTHER, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(posts(&alyx).len(), 1);
    alyx.control().clear_requests();
    session.flag();
    let registered = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!((registered.n_files, registered.n_unchanged), (2, 2));
    assert!(posts(&alyx).is_empty());
    assert!(!session.is_flagged());
}

#[tokio::test]
async fn a_second_run_posts_the_changed_file_alone() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").file(OTHER, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    alyx.control().clear_requests();
    session.file(OTHER, "abc").flag();
    let registered = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!((registered.n_files, registered.n_unchanged), (2, 1));
    let posts = posts(&alyx);
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0]["filenames"], serde_json::json!([OTHER]));
    let hashes: Vec<_> = alyx.datasets(&session).await.into_iter().map(|d| d.hash.unwrap()).collect();
    assert_eq!(hashes, [common::MD5_OF_ABC, common::MD5_OF_A]);
}

#[tokio::test]
async fn datasets_already_on_alyx_are_returned_as_records() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a");
    let (client, options) = (alyx.client(), RegisterFilesOptions::default());
    client.create_session(&session.folder, &SessionDetails::default()).await.unwrap();
    let files = [session.folder.join("none.such.npy"), session.folder.join(ORIGINAL)];
    let first = client.register_files(&files, &options).await.unwrap();
    let again = client.register_files(&files, &options).await.unwrap();
    assert_eq!((first.n_unchanged, again.n_unchanged), (0, 1));
    let records = |r: &alyx_registration::RegisteredFiles| {
        assert!(r.records[0].is_none());
        serde_json::to_value(&r.records[1].as_ref().unwrap().record).unwrap()
    };
    let (posted, read) = (records(&first), records(&again));
    for field in [
        "id",
        "name",
        "file_size",
        "created_by",
        "dataset_type",
        "data_format",
        "session",
        "collection",
        "revision",
        "default",
        "qc",
    ] {
        assert_eq!(posted[field], read[field], "{field}");
    }
}

#[tokio::test]
async fn force_posts_what_has_not_changed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    session.flag();
    let mut options = with_files();
    options.files.force = true;
    let registered = session.register(&alyx.client(), &options).await.unwrap();
    assert_eq!(registered.n_unchanged, 0);
    assert_eq!(posts(&alyx).len(), 2);
}

#[tokio::test]
async fn a_file_that_must_exist_in_a_repository_is_posted_although_it_has_not_changed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    alyx.control().clear_requests();
    session.flag();
    let mut options = with_files();
    options.files.repository = Some("flatiron_cortexlab".into());
    session.register(&alyx.client(), &options).await.unwrap();
    assert_eq!(posts(&alyx).len(), 1);
}

#[tokio::test]
async fn files_of_a_session_that_is_not_on_alyx_are_refused_before_they_are_sent() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a");
    let files = [session.folder.join(ORIGINAL)];
    let error = alyx.client().register_files(&files, &RegisterFilesOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("create it first"), "{error}");
    assert!(posts(&alyx).is_empty());
}

#[tokio::test]
async fn an_unchanged_protected_dataset_is_not_an_error_and_creates_no_revision() {
    for force in [false, true] {
        for protected_policy in [ProtectedPolicy::Refuse, ProtectedPolicy::Revise] {
            let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
            let session = protected(&alyx, &rig).await;
            session.file(OTHER, "abc");
            let mut options = policy(protected_policy);
            options.files.force = force;
            let registered = session.register(&alyx.client(), &options).await.unwrap();
            assert!(registered.moved.is_empty());
            assert_eq!(registered.n_unchanged, 1);
            assert_eq!(alyx.dataset_paths(&session).await, [OTHER, ORIGINAL]);
            assert_eq!(read(&session, ORIGINAL).as_deref(), Some("a"));
            assert!(!session.is_flagged());
        }
    }
}

#[tokio::test]
async fn a_large_protected_file_without_md5_is_read_before_it_is_called_changed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    let mut options = policy(ProtectedPolicy::Revise);
    options.files.max_md5_size = Some(1);
    let registered = session.register(&alyx.client(), &options).await.unwrap();
    assert!(registered.moved.is_empty(), "{:?}", registered.moved);
    assert_eq!(read(&session, ORIGINAL).as_deref(), Some("a"));
}

#[tokio::test]
async fn a_changed_protected_dataset_is_refused_by_name_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc").file(OTHER, "abc").file("alf/spikes.depths.npy", "a");
    let before = common::snapshot(&session.folder);
    let error = session.register(&alyx.client(), &policy(ProtectedPolicy::Refuse)).await.unwrap_err();
    assert!(matches!(error, Error::Alyx(alyx_client::Error::Protected { .. })), "{error}");
    let message = error.to_string();
    assert!(
        message.contains(ORIGINAL)
            && !message.contains(OTHER)
            && message.contains("datasets.protected: revise"),
        "{message}"
    );
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert_eq!(common::snapshot(&session.folder), before);
    assert!(session.is_flagged());
    let held: Vec<(String, String)> =
        alyx.datasets(&session).await.iter().map(|d| (d.relative_path(), d.hash.clone().unwrap())).collect();
    let expected = [
        (OTHER, common::MD5_OF_ABC),
        ("alf/spikes.depths.npy", common::MD5_OF_A),
        (ORIGINAL, common::MD5_OF_A),
    ];
    assert_eq!(held, expected.map(|(name, md5)| (name.to_owned(), md5.to_owned())));
}

#[tokio::test]
async fn a_changed_protected_dataset_is_revised_if_allowed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc");
    let registered = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    assert_eq!(registered.moved, [(session.folder.join(ORIGINAL), session.folder.join(revised()))]);
    assert!(!session.is_flagged());
    assert_eq!((read(&session, ORIGINAL), read(&session, &revised()).as_deref()), (None, Some("abc")));
    let held: Vec<(String, String)> =
        alyx.datasets(&session).await.iter().map(|d| (d.relative_path(), d.hash.clone().unwrap())).collect();
    let (original, revised) = (ORIGINAL.to_owned(), revised());
    assert!(held.contains(&(original, common::MD5_OF_A.to_owned())), "{held:?}");
    assert!(held.contains(&(revised, common::MD5_OF_ABC.to_owned())), "{held:?}");
    assert_eq!(held.len(), 3);

    // The next run has nothing to do.
    alyx.control().clear_requests();
    session.flag();
    let again = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    assert!(again.moved.is_empty() && posts(&alyx).is_empty());
}

/// Makes the second request of a revision fail.
async fn cut_off_after_the_move(alyx: &Alyx, session: &Session, options: &FlaggedOptions) {
    // The first `/register-file` answers 403; only the second one meets the fault.
    let fault = |fault, times| FaultRule {
        method: Some("POST".into()),
        path_prefix: "/register-file".into(),
        times,
        fault,
    };
    alyx.control().add_fault(fault(Fault::Delay(Duration::ZERO), 1));
    alyx.control().add_fault(fault(Fault::Drop, usize::MAX));
    let error = session.register(&alyx.client(), options).await.unwrap_err();
    assert!(error.is_outage(), "{error}");
    alyx.control().clear_faults();
    assert!(session.is_flagged());
    assert_eq!((read(session, ORIGINAL), read(session, &revised()).as_deref()), (None, Some("abc")));
    assert_eq!(alyx.dataset_paths(session).await, [OTHER, ORIGINAL]);
}

#[tokio::test]
async fn a_run_that_was_cut_off_after_the_move_is_completed_by_the_next() {
    for next in [ProtectedPolicy::Revise, ProtectedPolicy::Refuse] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = protected(&alyx, &rig).await;
        session.file(ORIGINAL, "abc");
        cut_off_after_the_move(&alyx, &session, &policy(ProtectedPolicy::Revise)).await;
        let registered = session.register(&alyx.client(), &policy(next)).await.unwrap();
        assert!(registered.moved.is_empty());
        assert!(!session.is_flagged());
        assert_eq!(alyx.dataset_paths(&session).await, [revised(), OTHER.to_owned(), ORIGINAL.to_owned()]);
    }
}

#[tokio::test]
async fn a_flag_that_names_the_file_still_finds_it_after_the_move() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc").flag_with(ORIGINAL);
    cut_off_after_the_move(&alyx, &session, &policy(ProtectedPolicy::Revise)).await;
    let registered = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    assert_eq!((registered.n_files, registered.unmatched.len()), (1, 0));
    assert_eq!(alyx.dataset_paths(&session).await, [revised(), OTHER.to_owned(), ORIGINAL.to_owned()]);
}

#[tokio::test]
async fn a_flag_that_names_a_protected_file_is_removed_in_one_run() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc").flag_with(ORIGINAL);
    let registered = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    assert_eq!((registered.moved.len(), registered.unmatched.len()), (1, 0));
    assert!(!session.is_flagged());
}

#[tokio::test]
async fn a_file_in_the_way_of_a_move_is_registered_as_itself_and_not_overwritten() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc").file(&revised(), "a");
    let registered = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    let lettered = format!("alf/#{}a#/spikes.times.npy", today());
    assert_eq!(registered.moved, [(session.folder.join(ORIGINAL), session.folder.join(&lettered))]);
    assert_eq!(
        (read(&session, &revised()).as_deref(), read(&session, &lettered).as_deref()),
        (Some("a"), Some("abc"))
    );
    let mut expected = vec![revised(), lettered, OTHER.to_owned(), ORIGINAL.to_owned()];
    expected.sort();
    assert_eq!(alyx.dataset_paths(&session).await, expected);
}

#[tokio::test]
async fn an_impossible_move_is_reported_and_loses_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc");
    // A file where the folder should be.
    session.file(&format!("alf/#{}#", today()), "in the way");
    let error = session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap_err();
    assert!(matches!(error, Error::CannotMove { .. }), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert_eq!(read(&session, ORIGINAL).as_deref(), Some("abc"));
    assert!(session.is_flagged());
}

#[tokio::test]
async fn records_keep_the_order_of_the_files_across_batches_moves_and_gaps() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc").file("alf/spikes.depths.npy", "a").file("alf/notes.txt", "x");
    let path = |name: &str| session.folder.join(name);
    let files: Vec<PathBuf> = [OTHER, "alf/notes.txt", ORIGINAL, "alf/spikes.depths.npy"].map(path).to_vec();
    let options = alyx_registration::RegistrationOptions { batch_size: 1, ..Default::default() };
    let client = alyx_registration::RegistrationClient::new(alyx.alyx(), options);
    let registered = client.register_files(&files, &RegisterFilesOptions::default()).await.unwrap();
    let paths: Vec<Option<String>> =
        registered.records.iter().map(|r| r.as_ref().map(|r| r.record.relative_path())).collect();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(paths, [some(OTHER), None, Some(revised()), some("alf/spikes.depths.npy")]);
    assert_eq!((registered.n_unchanged, registered.moved.len()), (1, 1));
}

#[tokio::test]
async fn a_session_folder_without_leading_zeros_keeps_its_name_in_the_paths_of_its_files() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    for number in ["7", "08", "009"] {
        let day = rig.session("cortexlab", "KS014");
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/{}/{number}", day.date()));
        session.file(ORIGINAL, "a").flag();
        session.register(&alyx.client(), &with_files()).await.unwrap();
        let datasets = alyx.datasets(&session).await;
        let on_disk = format!("KS014/{}/{number}/{ORIGINAL}", session.date());
        assert!(!datasets[0].file_records.is_empty());
        for record in &datasets[0].file_records {
            assert_eq!(record.other["relative_path"], on_disk);
        }
        // Again: the same session, and the same records.
        session.flag();
        let done = session.register(&alyx.client(), &with_files()).await.unwrap();
        assert!(!done.created);
        let files = datasets[0].file_records.len();
        assert_eq!(alyx.datasets(&session).await[0].file_records.len(), files);
    }
}

/// Revisions of one dataset, and their content.
fn write_revisions(session: &Session, content: &str) {
    for revision in ["", "#2024-03-01#/", "#2024-06-01#/", "#2024-06-01a#/"] {
        session.file(&format!("alf/{revision}spikes.times.npy"), content);
    }
}

/// Which revisions of a session's datasets are the default.
async fn defaults(alyx: &Alyx, session: &Session) -> Vec<String> {
    let datasets = alyx.datasets(session).await.into_iter();
    datasets.filter(|d| d.default_dataset == Some(true)).map(|d| d.relative_path()).collect()
}

const LATEST: &str = "alf/#2024-06-01a#/spikes.times.npy";

fn in_batches_of(alyx: &Alyx, batch_size: usize) -> alyx_registration::RegistrationClient {
    let options = alyx_registration::RegistrationOptions { batch_size, ..Default::default() };
    alyx_registration::RegistrationClient::new(alyx.alyx(), options)
}

#[tokio::test]
async fn of_several_revisions_registered_together_the_latest_is_the_default() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    for batch_size in [1, 2, 3, 100] {
        let session = rig.session("cortexlab", "KS014");
        write_revisions(&session, "a");
        session.file(OTHER, "a").flag();
        session.register(&in_batches_of(&alyx, batch_size), &with_files()).await.unwrap();
        assert_eq!(defaults(&alyx, &session).await, [LATEST, OTHER], "batches of {batch_size}");
    }
}

#[tokio::test]
async fn an_explicit_list_of_revisions_in_any_order_comes_back_in_that_order_with_the_latest_as_default() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    write_revisions(&session, "a");
    let client = in_batches_of(&alyx, 2);
    client.create_session(&session.folder, &SessionDetails::default()).await.unwrap();
    let names = [LATEST, ORIGINAL, "alf/#2024-06-01#/spikes.times.npy", "alf/#2024-03-01#/spikes.times.npy"];
    let files: Vec<PathBuf> = names.iter().map(|name| session.folder.join(name)).collect();
    let done = client.register_files(&files, &RegisterFilesOptions::default()).await.unwrap();
    let paths: Vec<String> = done.records.iter().flatten().map(|r| r.record.relative_path()).collect();
    assert_eq!(paths, names);
    assert_eq!(defaults(&alyx, &session).await, [LATEST]);
}

#[tokio::test]
async fn an_older_revision_that_changes_does_not_become_the_default() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    write_revisions(&session, "a");
    session.flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    // With the rest of the session, and alone.
    session.file(ORIGINAL, "abc").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [LATEST]);
    session.file(ORIGINAL, "ab");
    let alone = [session.folder.join(ORIGINAL)];
    alyx.client().register_files(&alone, &RegisterFilesOptions::default()).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [LATEST]);
}

/// A registered session with revisions of one dataset, of which the latest is protected, flagged again.
async fn protected_latest(alyx: &Alyx, rig: &Rig) -> Session {
    let session = rig.session("cortexlab", "KS014");
    write_revisions(&session, "a");
    session.flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let datasets = alyx.datasets(&session).await;
    let latest = datasets.iter().find(|d| d.relative_path() == LATEST).unwrap();
    assert!(alyx.control().protect_dataset(&latest.as_registered().id));
    session
}

#[tokio::test]
async fn a_latest_revision_that_is_refused_stays_the_default_when_older_ones_change() {
    for batch_size in [1, 100] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = protected_latest(&alyx, &rig).await;
        write_revisions(&session, "abc");
        session.flag();
        let client = in_batches_of(&alyx, batch_size);
        let refused = session.register(&client, &policy(ProtectedPolicy::Refuse)).await.unwrap_err();
        assert!(matches!(refused, Error::Alyx(alyx_client::Error::Protected { .. })), "{refused}");
        assert_eq!(defaults(&alyx, &session).await, [LATEST], "batches of {batch_size}");
    }
}

#[tokio::test]
async fn an_older_revision_that_is_posted_by_force_does_not_become_the_default() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    write_revisions(&session, "a");
    session.flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let force = RegisterFilesOptions { force: true, ..Default::default() };
    alyx.client().register_files(&[session.folder.join(ORIGINAL)], &force).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [LATEST]);
}

#[tokio::test]
async fn a_default_that_is_not_the_latest_revision_is_not_lost_when_it_changes() {
    let (alyx, rig) = (Alyx::start().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file(ORIGINAL, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let no_default = RegisterFilesOptions { default: false, ..Default::default() };
    session.file(LATEST, "a");
    alyx.client().register_files(&[session.folder.join(LATEST)], &no_default).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [ORIGINAL]);
    session.file(ORIGINAL, "abc").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [ORIGINAL]);
}

#[tokio::test]
async fn a_changed_protected_original_becomes_the_default_in_its_new_revision() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(LATEST, "a").flag();
    session.register(&alyx.client(), &with_files()).await.unwrap();
    session.file(ORIGINAL, "abc").flag();
    session.register(&alyx.client(), &policy(ProtectedPolicy::Revise)).await.unwrap();
    assert_eq!(defaults(&alyx, &session).await, [revised(), OTHER.to_owned()]);
}

#[tokio::test]
async fn python_s_defaults_revise_in_every_verb_of_the_library() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc");
    let (details, options) = (SessionDetails::default(), RegisterFilesOptions::default());
    let client = alyx.client();
    let (_, registered) =
        client.register_session(&session.folder, &details, &FilesToRegister::All, &options).await.unwrap();
    assert_eq!(registered.unwrap().moved.len(), 1);
    assert!(Path::new(&session.folder.join(revised())).exists());

    let session = protected(&alyx, &rig).await;
    session.file(ORIGINAL, "abc");
    let options = CreateSessionsOptions { flagged: with_files(), ..Default::default() };
    let created = client.create_sessions(&session.folder, &options).await.unwrap();
    assert!(created[0].session.is_ok(), "{created:?}");
    assert!(session.folder.join(revised()).exists());
}
