//! The cases of the Python client's own registration tests, against the sandbox or a real Alyx.
//!
//! Each test creates its own subject, so that today's date is free.

use crate::common;
use std::path::{Path, PathBuf};

use alf::revision::next_revision;
use alf::{DatasetType, DatasetTypes};
use alyx_client::Endpoint;
use alyx_registration::{
    CreateSessionsOptions, Error, FilesToRegister, LeftOutReason, NewSessionOptions, PlannedFiles,
    RegisterFilesOptions, RegisteredFiles, RegistrationClient, SessionDetails, SessionReference, Versions,
    WaterOptions, WeightOptions,
};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig};
use jiff::civil::date;
use serde_json::{Value, json};

/// An Alyx with a subject and a protecting tag for this test alone, and a data root.
struct World {
    alyx: Alyx,
    rig: Rig,
    client: RegistrationClient,
    subject: String,
    tag: String,
}

impl World {
    async fn new() -> Self {
        Self::with(Alyx::start().await).await
    }

    async fn with(alyx: Alyx) -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let (subject, tag) = (format!("S{}", &random[..10]), format!("T{}", &random[10..16]));
        let client = alyx.client();
        let world = Self { alyx, rig: Rig::new(), client, subject, tag };
        world.alyx.rest("POST", "/subjects", json!({"nickname": world.subject, "lab": "mainenlab"})).await;
        world.alyx.rest("POST", "/tags", json!({"name": world.tag, "protected": true})).await;
        world
    }

    async fn protect(&self, dataset: &str) {
        self.alyx.rest("PATCH", &format!("/datasets/{dataset}"), json!({"tags": [self.tag]})).await;
    }

    fn root(&self) -> PathBuf {
        self.rig.root()
    }

    /// A session of this subject, on Alyx and on disk.
    async fn session(&self) -> PathBuf {
        let options = NewSessionOptions::default();
        self.client.create_new_session(&self.subject, &self.root(), &options).await.unwrap().folder
    }

    async fn register(&self, files: &[PathBuf]) -> RegisteredFiles {
        self.client.register_files(files, &RegisterFilesOptions::default()).await.unwrap()
    }
}

fn write(path: &Path, content: &str) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    path.to_owned()
}

/// Ids of the records, in order.
fn ids(registered: &RegisteredFiles) -> Vec<String> {
    registered.records.iter().map(|r| r.as_ref().expect("a record").record.id.clone()).collect()
}

/// Revisions of the records, in order.
fn revisions(registered: &RegisteredFiles) -> Vec<String> {
    registered
        .records
        .iter()
        .map(|r| r.as_ref().expect("a record").record.revision.clone().unwrap())
        .collect()
}

fn today() -> String {
    jiff::Zoned::now().date().to_string()
}

#[test]
fn a_dataset_type_is_found_by_its_pattern_or_by_its_name() {
    let of =
        |(name, pattern): (&str, &str)| DatasetType { name: name.into(), filename_pattern: pattern.into() };
    let mut all: Vec<DatasetType> =
        [("obj.attr", ""), ("foo.bar", "*FOO.b?r*"), ("bar.baz", ""), ("some_file", "some_file.*")]
            .map(of)
            .to_vec();
    let extensions = || [".npy", ".ext", ".bor"].map(str::to_owned).to_vec();
    let types = DatasetTypes::new(all.clone(), extensions());
    for (file, name) in [
        ("foo.bar.npy", "foo.bar"),
        ("foo.bir.npy", "foo.bar"),
        ("_ns_obj.attr_clock.extra.npy", "obj.attr"),
        ("bar.baz.ext", "bar.baz"),
        ("some_file.ext", "some_file"),
    ] {
        assert_eq!(types.find(file).unwrap().name, name, "{file}");
    }
    assert!(types.find("no_match.npy").is_err());
    assert_eq!(types.find("foo.bor").unwrap().name, "foo.bar");
    all.push(of(("foo.bor", "foo.bor*")));
    assert!(DatasetTypes::new(all, extensions()).find("foo.bor").is_err());
}

#[tokio::test]
async fn water_is_recorded_with_four_figures_and_its_session() {
    let world = World::new().await;
    let (client, subject) = (&world.client, world.subject.as_str());
    let record = client
        .register_water_administration(subject, 35.10000000235, &WaterOptions::default())
        .await
        .unwrap()
        .record;
    assert_eq!(record.subject, subject);
    assert_eq!(record.water_administered, Some(35.1));
    assert_eq!(record.water_type.as_deref(), Some("Water"));
    assert_eq!(record.user.as_deref(), Some(world.alyx.user.as_str()));
    assert_eq!((record.adlib, record.session), (false, None));

    let folder = world.session().await;
    let session = client.create_session(&folder, &SessionDetails::default()).await.unwrap();
    let eid = session.eid().to_owned();
    for reference in [
        SessionReference::parse(&session.url).unwrap(),
        SessionReference::parse(&eid).unwrap(),
        SessionReference::from(folder.as_path()),
        SessionReference::try_from(&session).unwrap(),
    ] {
        let options = WaterOptions { session: Some(reference), adlib: true, ..Default::default() };
        let record = client.register_water_administration(subject, 0.123456, &options).await.unwrap().record;
        assert_eq!(record.session.as_deref(), Some(eid.as_str()));
        assert_eq!((record.water_administered, record.adlib), (Some(0.1235), true));
    }
}

#[tokio::test]
async fn water_of_no_volume_or_of_no_session_is_refused() {
    let world = World::new().await;
    let give = |subject: &str, volume: f64, options: WaterOptions<'static>| {
        let (client, subject) = (world.client.clone(), subject.to_owned());
        async move { client.register_water_administration(&subject, volume, &options).await.unwrap_err() }
    };
    assert!(SessionReference::parse("NaN").is_err());
    assert!(matches!(give(&world.subject, 0.0, WaterOptions::default()).await, Error::Invalid(_)));
    let nowhere = SessionReference::from(world.root().join(&world.subject).join("2001-01-01/001"));
    let options = WaterOptions { session: Some(nowhere), ..Default::default() };
    assert!(matches!(give(&world.subject, 3.6, options).await, Error::Invalid(_)));
    assert!(matches!(give("nobody", 3.6, WaterOptions::default()).await, Error::Missing(_)));
    let options = WaterOptions { user: Some("nobody".into()), ..Default::default() };
    assert!(matches!(give(&world.subject, 3.6, options).await, Error::Missing(_)));
    let options = WaterOptions { date_time: Some("07/14/21".into()), ..Default::default() };
    assert!(matches!(give(&world.subject, 3.6, options).await, Error::Invalid(_)));
    let recorded = world.client.alyx().waters_of(&world.subject).await.unwrap();
    assert!(recorded.is_empty(), "{recorded:?}");
}

#[tokio::test]
async fn a_weight_is_recorded_with_four_figures_and_zero_is_refused() {
    let world = World::new().await;
    let (client, subject) = (&world.client, world.subject.as_str());
    let record = client.register_weight(subject, 35.10000000235, &WeightOptions::default()).await;
    let record = record.unwrap().record;
    assert_eq!((record.subject.as_str(), record.weight), (subject, Some(35.1)));
    assert_eq!(record.user.as_deref(), Some(world.alyx.user.as_str()));
    let error = client.register_weight(subject, 0.0, &WeightOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn dates_become_iso_8601() {
    let client = Alyx::start().await.client();
    let time = date(2021, 7, 14).at(15, 53, 15, 525_119_000);
    assert_eq!(client.ensure_iso8601(time).unwrap(), "2021-07-14T15:53:15.525119");
    assert_eq!(client.ensure_iso8601(time.date()).unwrap(), "2021-07-14T00:00:00");
    assert_eq!(client.ensure_iso8601("2021-07-14T15:53:15.525119").unwrap(), "2021-07-14T15:53:15.525119");
    assert!(client.ensure_iso8601("07/14/21").is_err());
    assert!(client.ensure_iso8601(None).unwrap().starts_with("20"));
}

#[tokio::test]
async fn a_missing_member_is_named() {
    let world = World::new().await;
    let missing = |result: Result<Value, Error>| match result {
        Err(Error::Missing(names)) => names,
        other => panic!("{other:?}"),
    };
    let subject = missing(world.client.assert_exists(Endpoint::Subjects, "foobar").await);
    assert_eq!(subject[0].endpoint, Endpoint::Subjects);
    world.client.assert_exists(Endpoint::Subjects, &world.subject).await.unwrap();
    let users = [world.alyx.user.as_str(), "foobar"];
    let error = world.client.assert_all_exist(Endpoint::Users, &users).await.unwrap_err();
    assert!(error.to_string().contains("foobar") && !error.to_string().contains(users[0]), "{error}");
}

#[tokio::test]
async fn a_server_error_is_not_mistaken_for_a_missing_member() {
    let alyx = Alyx::sandbox().await;
    let client = alyx.client();
    client.alyx().login().await.unwrap();
    let fault = Fault::Html(500);
    alyx.control().add_fault(FaultRule { method: None, path_prefix: "/subjects".into(), times: 9, fault });
    let error = client.assert_exists(Endpoint::Subjects, "foobar").await.unwrap_err();
    assert!(matches!(error, Error::Alyx(_)), "{error}");
}

#[tokio::test]
async fn files_of_known_types_are_found_and_others_are_not() {
    let world = World::new().await;
    let session = world.root().join(&world.subject).join("2020-01-01/001");
    let known = [
        "alf/_ibl_wheel.position.npy",
        "alf/_ibl_wheel.timestamps.npy",
        "alf/_ibl_wheelMoves.intervals.npy",
        "alf/_ibl_wheelMoves.peakAmplitude.npy",
        "raw_behavior_data/_iblrig_taskData.raw.jsonable",
    ];
    for name in known {
        write(&session.join(name), "");
    }
    write(&session.join("alf/nobody.knows.npy"), "");
    let found = world.client.find_files(&session).await.unwrap();
    let paths: Vec<PathBuf> = found.files.iter().map(|f| f.path.clone()).collect();
    assert_eq!(paths, known.map(|name| session.join(name)));
    assert!(paths.iter().all(|path| path.is_file()));
    assert_eq!(found.left_out.len(), 1);
}

#[tokio::test]
async fn a_new_session_gets_the_next_folder_and_a_record() {
    let world = World::new().await;
    let details =
        SessionDetails { projects: vec!["ibl_neuropixel_brainwide_01".into()], ..Default::default() };
    let options = NewSessionOptions { date: Some("2020-01-01".into()), details, ..Default::default() };
    let first = world.client.create_new_session(&world.subject, &world.root(), &options).await.unwrap();
    let day = world.root().join(&world.subject).join("2020-01-01");
    assert_eq!(first.folder, day.join("001"));
    let record = world.client.alyx().session(&first.eid.unwrap().to_string()).await.unwrap();
    assert_eq!(record.other["projects"], json!(["ibl_neuropixel_brainwide_01"]));

    let options = NewSessionOptions { register: false, ..options };
    let second = world.client.create_new_session(&world.subject, &world.root(), &options).await.unwrap();
    assert_eq!((second.folder.clone(), second.eid), (day.join("002"), None));
    assert!(second.folder.is_dir());

    let error = world.client.create_new_session("nobody", &world.root(), &options).await.unwrap_err();
    assert!(matches!(error, Error::Missing(_)), "{error}");
    assert!(!world.root().join("nobody").exists());
}

#[tokio::test]
async fn a_new_session_never_replaces_one_of_another_rig() {
    let world = World::new().await;
    let options = NewSessionOptions { date: Some("2020-01-01".into()), ..Default::default() };
    let other_rig = Rig::new();
    let theirs = world.client.create_new_session(&world.subject, &other_rig.root(), &options).await.unwrap();
    let ours = world.client.create_new_session(&world.subject, &world.root(), &options).await.unwrap();
    assert_ne!(theirs.eid, ours.eid);
    assert!(ours.folder.ends_with("2020-01-01/002"), "{:?}", ours.folder);
    let taken = NewSessionOptions { number: Some(1), ..options };
    let error = world.client.create_new_session(&world.subject, &world.root(), &taken).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn a_session_is_registered_with_its_files_and_changed_where_asked() {
    let world = World::new().await;
    let session = world.root().join("mainenlab/Subjects").join(&world.subject).join("2020-01-01/001");
    for name in ["alf/_ibl_wheel.position.npy", "raw_behavior_data/_iblrig_taskData.raw.jsonable"] {
        write(&session.join(name), "");
    }
    let options = RegisterFilesOptions::default();
    let details = SessionDetails {
        end_time: Some("2020-01-02".into()),
        procedures: vec!["Behavior training/tasks".into()],
        ..Default::default()
    };
    let (session_on_alyx, registered) =
        world.client.register_session(&session, &details, &FilesToRegister::All, &options).await.unwrap();
    assert_eq!(registered.unwrap().records.iter().flatten().count(), 2);
    let record = session_on_alyx.record;
    assert_eq!(record.other["procedures"], json!(["Behavior training/tasks"]));
    assert_eq!(record.other["end_time"], "2020-01-02T00:00:00");
    assert_eq!(record.lab.as_deref(), Some("mainenlab"));

    let other_lab = SessionDetails { lab: Some("cortexlab".into()), ..Default::default() };
    let none = FilesToRegister::None;
    let error = world.client.register_session(&session, &other_lab, &none, &options).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");

    let start = SessionDetails { start_time: Some("2020-01-01T10:36:10".into()), ..Default::default() };
    let record = world.client.register_session(&session, &start, &none, &options).await.unwrap().0.record;
    assert_eq!(record.start_time, "2020-01-01T10:36:10");
    // What was not given is unchanged.
    assert_eq!(record.other["procedures"], json!(["Behavior training/tasks"]));
    assert_eq!(record.other["end_time"], "2020-01-02T00:00:00");
}

#[tokio::test]
async fn flags_are_listed_then_become_sessions() {
    let world = World::new().await;
    let session = world.root().join(&world.subject).join("2020-01-03/002");
    let flag = write(&session.join("create_me.flag"), "");
    let dry = CreateSessionsOptions { dry: true, ..Default::default() };
    let listed = world.client.create_sessions(&world.root(), &dry).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(matches!(listed[0].session, Ok(None)));
    assert!(flag.exists());

    let done = world.client.create_sessions(&world.root(), &CreateSessionsOptions::default()).await.unwrap();
    assert_eq!((done.len(), &done[0].folder), (1, &session));
    assert_eq!(done[0].session.as_ref().unwrap().as_ref().unwrap().record.number, Some(2));
    assert!(!flag.exists());
}

#[tokio::test]
async fn files_are_grouped_by_session_each_with_its_version() {
    let world = World::new().await;
    let day = world.root().join(&world.subject).join("2020-01-04");
    let files = ["001/wheel.position.npy", "001/wheel.timestamps.npy", "002/wheel.position.npy"];
    let files = files.map(|name| write(&day.join(name), ""));
    let plan = async |versions| {
        let options = RegisterFilesOptions { versions, ..Default::default() };
        let PlannedFiles { requests, left_out, .. } =
            world.client.plan_files(&files, &options).await.unwrap();
        assert!(left_out.is_empty());
        requests.into_iter().map(|request| request.versions).collect::<Vec<_>>()
    };
    assert_eq!(plan(Versions::None).await, [vec![None, None], vec![None]]);
    let some = |version: &str| Some(version.to_owned());
    let three = ["1.2.2", "v1.2", "1.3.4"].map(str::to_owned).to_vec();
    assert_eq!(plan(Versions::Cycle(three)).await, [vec![some("1.2.2"), some("v1.2")], vec![some("1.3.4")]]);
    assert_eq!(plan(Versions::One("1".into())).await, [vec![some("1"), some("1")], vec![some("1")]]);
}

#[tokio::test]
async fn whether_files_are_protected_can_be_asked() {
    let world = World::new().await;
    let file = write(&world.session().await.join("wheel.timestamps.npy"), "");
    let id = ids(&world.register(std::slice::from_ref(&file)).await).remove(0);
    let options = RegisterFilesOptions::default();
    let ask = async || {
        let (mut statuses, _) =
            world.client.check_protected_files(std::slice::from_ref(&file), &options).await.unwrap();
        assert_eq!(statuses.len(), 1);
        statuses.remove(0)
    };
    assert!(!ask().await.is_protected());
    world.protect(&id).await;
    let status = ask().await;
    assert!(status.is_protected());
    assert_eq!(status.details[0].file, "wheel.timestamps.npy");
    assert_eq!(status.details[0].revisions, [(String::new(), true)]);
}

#[tokio::test]
async fn a_dry_run_returns_the_request_and_registers_nothing() {
    let world = World::new().await;
    let session = world.session().await;
    let file = write(&session.join("wheel.position.npy"), "");
    let labs = "mainenlab,cortexlab";
    let options = RegisterFilesOptions { default: false, labs: Some(labs.into()), ..Default::default() };
    let requests = world.client.plan_files(&[file], &options).await.unwrap().requests;
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].default, requests[0].labs.as_deref()), (false, Some(labs)));
    let held = world.alyx.dataset_paths(&common::Session { folder: session }).await;
    assert!(held.is_empty(), "{held:?}");
}

#[tokio::test]
async fn what_cannot_be_registered_leaves_a_gap_and_a_reason() {
    let world = World::new().await;
    let session = world.session().await;
    // Two types for this test alone, which match the same name.
    for (name, pattern) in [("a", "*.attr.*"), ("b", "*.attr.npy")] {
        let (name, pattern) = (format!("{}.{name}", world.tag), format!("{}{pattern}", world.tag));
        world.alyx.rest("POST", "/dataset-types", json!({"name": name, "filename_pattern": pattern})).await;
    }
    let files = [
        session.join("wheel.position.xxx"),
        session.join("foo.bar.npy"),
        session.join(format!("{}.attr.npy", world.tag)),
        session.with_file_name("foo").join("spikes.times.npy"),
    ];
    let files = files.map(|path| write(&path, ""));
    let options = RegisterFilesOptions { versions: Versions::One("1.2.9".into()), ..Default::default() };
    let registered = world.client.register_files(&files, &options).await.unwrap();
    assert!(registered.records.iter().all(Option::is_none) && registered.records.len() == 4);
    let reasons: Vec<String> = registered.left_out.iter().map(|l| l.reason.to_string()).collect();
    assert!(reasons[0].contains(".xxx"), "{reasons:?}");
    assert!(reasons[1].contains("no dataset type"), "{reasons:?}");
    assert!(reasons[2].contains("several dataset types"), "{reasons:?}");
    assert!(matches!(registered.left_out[3].reason, LeftOutReason::NotInSession(_)), "{reasons:?}");
}

#[tokio::test]
async fn changed_files_of_protected_datasets_move_through_the_revisions() {
    let world = World::new().await;
    let session = world.session().await;
    let today = today();
    let original = write(&session.join("wheel.position.npy"), "1");
    let first = world.register(std::slice::from_ref(&original)).await;
    world.protect(&ids(&first)[0]).await;

    // An explicit revision is used unchanged.
    let own = format!("{}1", world.tag);
    let in_own = write(&session.join(format!("#{own}#/wheel.position.npy")), "2");
    let second = world.register(std::slice::from_ref(&in_own)).await;
    assert_eq!(revisions(&second)[0], own);
    let record = &second.records[0].as_ref().unwrap().record;
    assert_eq!((record.collection.as_deref(), &record.other["default"]), (Some(""), &json!(true)));

    // If protected, it gets a letter; the original goes into today's revision; the third is free.
    world.protect(&ids(&second)[0]).await;
    write(&in_own, "3");
    write(&original, "4");
    let free = write(&session.join("wheel.position.ssv"), "5");
    let third = world.register(&[in_own.clone(), original.clone(), free.clone()]).await;
    assert_eq!(revisions(&third), [format!("{own}a"), today.clone(), String::new()]);
    let in_letter = session.join(format!("#{own}a#/wheel.position.npy"));
    let in_today = session.join(format!("#{today}#/wheel.position.npy"));
    assert_eq!(third.moved, [(in_own.clone(), in_letter.clone()), (original.clone(), in_today.clone())]);
    assert!(
        !in_own.exists() && !original.exists() && in_letter.exists() && in_today.exists() && free.exists()
    );

    // The same day again.
    world.protect(&ids(&third)[1]).await;
    write(&in_today, "6");
    let fourth = world.register(std::slice::from_ref(&in_today)).await;
    assert_eq!(revisions(&fourth), [format!("{today}a")]);
    assert!(!in_today.exists() && session.join(format!("#{today}a#/wheel.position.npy")).exists());

    // And again: `a` is protected now.
    world.protect(&ids(&fourth)[0]).await;
    write(&in_today, "7");
    let fifth = world.register(std::slice::from_ref(&in_today)).await;
    assert_eq!(revisions(&fifth), [format!("{today}b")]);
}

#[tokio::test]
async fn the_path_of_each_file_follows_from_its_revisions_on_alyx() {
    let world = World::with(Alyx::sandbox().await).await;
    let session = world.session().await;
    let today = today();
    let said = [
        ("wheel.position.ssv", vec![("", false), ("puHIt1", true)]),
        ("wheel.position.npy", vec![(today.as_str(), false), ("puHIt1", true)]),
        ("wheel.timestamps.npy", vec![(today.as_str(), true), ("puHIt1", true)]),
        ("wheel.timestamps.ssv", vec![("TODAYa", true), (today.as_str(), true)]),
        ("wheel.velocity.ssv", vec![("puHIt1", false), ("foo", true)]),
        ("wheel.velocity.npy", vec![("TODAYA", true), (today.as_str(), true)]),
    ];
    let details: Vec<Value> = said
        .iter()
        .map(|(file, revisions)| {
            let list: Vec<Value> =
                revisions.iter().map(|(r, p)| json!({r.replace("TODAY", &today): p})).collect();
            json!({*file: list})
        })
        .collect();
    let body = json!({"status_code": 403, "error": "One or more datasets is protected", "details": details});
    let files: Vec<PathBuf> = said.iter().map(|(file, _)| write(&session.join(file), "x")).collect();
    world.client.dataset_types().await.unwrap();
    let control = world.alyx.control();
    let fault = Fault::Status {
        code: 403,
        body: body.to_string(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    control.add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/register-file".into(),
        times: 1,
        fault,
    });
    control.clear_requests();
    let registered = world.register(&files).await;
    let expected = [
        "wheel.position.ssv".to_owned(),
        format!("#{today}#/wheel.position.npy"),
        format!("#{today}a#/wheel.timestamps.npy"),
        format!("#{today}b#/wheel.timestamps.ssv"),
        format!("#{today}#/wheel.velocity.ssv"),
        format!("#{today}B#/wheel.velocity.npy"),
    ];
    let posts: Vec<Value> = control
        .requests()
        .into_iter()
        .filter(|r| r.path == "/register-file")
        .map(|r| r.body.unwrap())
        .collect();
    assert_eq!(posts.len(), 2);
    assert_eq!((&posts[1]["filenames"], &posts[1]["check_protected"]), (&json!(expected), &json!(false)));
    assert_eq!(registered.records.iter().flatten().count(), 6);

    // Another error must not move anything.
    let fault = Fault::Status {
        code: 404,
        body: body.to_string().replace("403", "404"),
        content_type: "application/json".into(),
        retry_after: None,
    };
    control.add_fault(FaultRule {
        method: Some("POST".into()),
        path_prefix: "/register-file".into(),
        times: 1,
        fault,
    });
    let other = write(&session.join("wheel.times.npy"), "y");
    let error =
        world.client.register_files(std::slice::from_ref(&other), &RegisterFilesOptions::default()).await;
    assert!(matches!(error, Err(Error::Alyx(_))), "{error:?}");
    assert!(other.exists());
}

#[test]
fn the_next_revision_is_one_that_is_not_reserved() {
    assert_eq!(next_revision("2020-01-01", &[], 'a').unwrap(), "2020-01-01a");
    let reserved = ["2020-01-01a", "2020-01-01b"];
    assert_eq!(next_revision("2020-01-01", &reserved, 'a').unwrap(), "2020-01-01c");
    // ONE continues in any alphabet; here a revision stays within letters and digits.
    assert!(next_revision("2020-01-01", &[], 'α').is_err());
}

#[tokio::test]
async fn creating_a_client_sends_no_request() {
    let alyx = Alyx::sandbox().await;
    let _client = alyx.client();
    assert_eq!(alyx.control().count_requests(), 0);
}
