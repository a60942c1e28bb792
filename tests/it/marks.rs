//! Marks and sums: what an audit says on Alyx of missing files, how that is undone, and the lists for other programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alyx_registrar::ledger::{Access, Ledger};
use alyx_registration::{Mark, MarkTarget, MarkedRecord, RecordChange};
use alyx_sandbox::{Fault, FaultRule};
use serde_json::{Value, json};

use crate::audit::here;
use crate::audit::{Audited, REPOSITORY, World};
use crate::common::rng::SeededRng;
use crate::common::{Alyx, Session, snapshot};
use crate::json_schema::Checker;
use crate::program::{output, program};

const TIMES: &str = "alf/spikes.times.npy";

impl World {
    fn state_folder(&self) -> PathBuf {
        self.rig.beside("etc/state")
    }

    /// The ledger of the daemon, as an audit writes to it.
    fn ledger_to_change(&self) -> Ledger {
        Ledger::open_existing(&self.state_folder(), Access::Change).unwrap().unwrap()
    }

    /// Makes all sightings two hours old.
    fn two_hours_later(&self) {
        let ledger = self.ledger_to_change();
        for mark in ["missing", "bad_copy"] {
            for eid in ledger.sighted(mark) {
                let mut rows = ledger.sightings(&eid, mark).unwrap();
                rows.iter_mut().for_each(|row| row.first -= jiff::SignedDuration::from_hours(2));
                ledger.set_sightings(&eid, mark, &rows).unwrap();
            }
        }
    }

    fn says(&self, words: &[&str]) -> String {
        String::from_utf8(output(&mut self.command(words)).stdout).unwrap()
    }

    /// The lists for undoing in the state folder.
    fn undo_lists(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.state_folder()).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect()
    }
}

fn number(audited: &Audited, name: &str) -> u64 {
    audited.totals[name].as_u64().unwrap_or_else(|| panic!("{name}: {audited:#?}"))
}

/// What the file record of this repository says of a file.
async fn copy(alyx: &Alyx, id: &str) -> Value {
    let found = alyx.alyx().file_record(id).await.unwrap();
    json!({"exists": found.exists, "json": found.other["json"]})
}

/// Everything of a dataset but its file records and the time of the last change.
async fn dataset(alyx: &Alyx, session: &Session, path: &str) -> Value {
    let datasets = alyx.datasets(session).await;
    let found = datasets.into_iter().find(|dataset| dataset.relative_path() == path).unwrap();
    let mut found = serde_json::to_value(found).unwrap();
    for changing in ["file_records", "auto_datetime"] {
        found.as_object_mut().unwrap().remove(changing);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_two_audits_miss_is_marked_in_its_file_record_only_and_that_is_undone() {
    let world = World::new().await;
    drop(Ledger::open(&world.state_folder()));
    let session = world.registered("2024-05-01/001").await;
    world.registered("2024-05-02/001").await;
    let (_, id) = world.ids(&session, TIMES).await;
    let before = dataset(&world.alyx, &session, TIMES).await;
    fs::remove_file(session.folder.join(TIMES)).unwrap();
    let on_disk = snapshot(&world.rig.root());

    // Once is not enough, however it is asked for.
    let said = world.says(&["--mark", "--mark-many", "1"]);
    assert!(said.contains("1 file must be seen again before audit --mark marks them, from "), "{said}");
    let first = world.audit(&["--mark", "--mark-many", "1"]);
    assert_eq!((number(&first, "marked"), copy(&world.alyx, &id).await["exists"].clone()), (0, json!(true)));

    // Seen twice: it is said what would be marked, and more than 1 % needs a word.
    world.two_hours_later();
    let said = world.says(&[]);
    let would = "would mark  KS014/2024-05-01/001  alf/spikes.times.npy  exists: false\n\
                 1 file could be marked in the file records of this repository: audit --mark --mark-many 1\n";
    assert!(said.contains(would), "{said}");
    let refused = world.audit(&["--mark"]);
    assert_eq!(
        (refused.code, number(&refused, "could_be_marked"), number(&refused, "marked")),
        (Some(1), 1, 0)
    );
    let why = refused.totals["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(why.contains("1 file of 4 could be marked") && why.contains("--mark-many 1"), "{why}");
    assert_eq!((copy(&world.alyx, &id).await["exists"].clone(), world.undo_lists()), (json!(true), vec![]));

    // A list for undoing is never below a data root.
    let inside = world.rig.root().join("undo.jsonl");
    let inside = world.audit(&["--mark", "--mark-many", "1", "--undo-list", inside.to_str().unwrap()]);
    assert_eq!((inside.code, number(&inside, "marked")), (Some(2), 0));

    // Alyx refuses one record: that is said, and there is a list of what was to be changed.
    let (method, path_prefix) = (Some("PATCH".to_owned()), "/files/".to_owned());
    let (code, body) = (403, json!({"detail": "You do not have permission."}).to_string());
    let fault = Fault::Status { code, body, content_type: "application/json".into(), retry_after: None };
    world.alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault });
    let refused = world.audit(&["--mark", "--mark-many", "1"]);
    assert_eq!((refused.code, number(&refused, "marked"), number(&refused, "not_marked")), (Some(1), 0, 1));
    let [list] = &world.undo_lists()[..] else { panic!("{:?}", world.undo_lists()) };
    fs::remove_file(list).unwrap();

    let marked = world.audit(&["--mark", "--mark-many", "1"]);
    assert_eq!((marked.code, number(&marked, "marked"), number(&marked, "not_marked")), (Some(1), 1, 0));
    let mut checker = Checker::new();
    let [mark] = marked.lines.iter().filter(|line| line["outcome"] == "marked").collect::<Vec<_>>()[..]
    else {
        panic!("{marked:#?}")
    };
    checker.check(mark);
    checker.check(&marked.totals);
    assert_eq!(
        (&mark["record"], &mark["path"], &mark["mark"]),
        (&json!(id), &json!(TIMES), &json!("missing"))
    );
    assert_eq!(copy(&world.alyx, &id).await, json!({"exists": false, "json": null}));
    assert_eq!(dataset(&world.alyx, &session, TIMES).await, before, "the dataset is the reference");
    assert_eq!(snapshot(&world.rig.root()), on_disk);
    let other = world.alyx.datasets(&session).await;
    let elsewhere = other.iter().flat_map(|dataset| &dataset.file_records);
    let changed =
        elsewhere.filter(|copy| copy.data_repository.as_deref() == Some(REPOSITORY) && !copy.exists);
    assert_eq!(changed.count(), 1, "no other record of this repository");
    let clean = world.audit(&[]);
    clean.finds(&[]);
    assert_eq!((clean.code, number(&clean, "elsewhere")), (Some(0), 1));
    assert!(
        world.ledger_to_change().sighted("missing").is_empty(),
        "what is no finding any more is forgotten"
    );

    let [list] = &world.undo_lists()[..] else { panic!("{:?}", world.undo_lists()) };
    let undone = world.audit(&["--unmark", list.to_str().unwrap()]);
    undone.lines.iter().for_each(|line| checker.check(line));
    assert_eq!((undone.code, &undone.totals["unmarked"]), (Some(0), &json!(1)), "{undone:#?}");
    assert_eq!(copy(&world.alyx, &id).await, json!({"exists": true, "json": null}));
    let again = world.says(&["--unmark", list.to_str().unwrap()]);
    assert!(again.contains("0 files unmarked, 1 unmarked before, 0 left alone"), "{again}");

    // On a disk that was replaced meanwhile, it is seen for the first time.
    world.audit(&[]);
    world.two_hours_later();
    let (root, away) = (world.rig.root(), world.rig.beside("away"));
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    for entry in fs::read_dir(&away).unwrap().map(|entry| entry.unwrap()) {
        fs::rename(entry.path(), root.join(entry.file_name())).unwrap();
    }
    let replaced = world.audit(&["--mark", "--mark-many", "1"]);
    assert_eq!((number(&replaced, "could_be_marked"), number(&replaced, "marked")), (0, 0), "{replaced:#?}");
    // Nor is a file whose folder is gone as well.
    world.two_hours_later();
    fs::remove_dir_all(session.folder.join("alf")).unwrap();
    let gone = world.audit(&["--mark", "--mark-many", "9"]);
    let reasons: Vec<&Value> = gone.lines.iter().filter(|line| line["outcome"] == "not_marked").collect();
    reasons.iter().for_each(|line| checker.check(line));
    assert_eq!((reasons.len(), number(&gone, "marked"), number(&gone, "not_marked")), (2, 0, 2));
    assert!(reasons[0]["reason"].as_str().unwrap().contains("is not there either"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_is_a_key_in_its_json_and_a_record_that_changes_meanwhile_is_left_alone() {
    let world = World::new().await;
    let session = world.registered("2024-05-01/001").await;
    let (client, (_, id)) = (world.alyx.client(), world.ids(&session, TIMES).await);
    let path = format!("/files/{id}");
    let target = MarkTarget {
        mark: Mark::BadCopy,
        eid: world.alyx.the_session(&session).await.eid().to_owned(),
        session: session.name(),
        folder: session.folder.clone(),
        path: TIMES.into(),
        repository: REPOSITORY.into(),
    };
    let look_up =
        async || client.records_to_mark(std::slice::from_ref(&target)).await.unwrap().pop().unwrap();
    let set = async |body: Value| drop(world.alyx.rest("PATCH", &path, body).await);
    for (json, marked) in [
        (Value::Null, json!({"mismatch_hash": true})),
        (json!({"globus": {"n": [1, 2.5]}}), json!({"globus": {"n": [1, 2.5]}, "mismatch_hash": true})),
    ] {
        set(json!({"json": json})).await;
        let record: MarkedRecord = look_up().await.unwrap();
        assert_eq!(client.mark_record(&record).await.unwrap(), RecordChange::Done);
        assert_eq!(copy(&world.alyx, &id).await, json!({"exists": true, "json": marked}));
        assert!(look_up().await.unwrap_err().why.contains("already"));
        assert_eq!(client.unmark_record(&record).await.unwrap(), RecordChange::Done);
        assert_eq!(copy(&world.alyx, &id).await["json"], json);
        assert_eq!(client.unmark_record(&record).await.unwrap(), RecordChange::Needless);
    }
    // What is no object would be lost.
    for lost in [json!([1]), json!("text"), json!(7)] {
        set(json!({"json": lost})).await;
        let why = look_up().await.unwrap_err().why;
        assert!(why.contains("not an object") && why.contains("correct it on Alyx"), "{why}");
        assert_eq!(copy(&world.alyx, &id).await["json"], lost);
    }
    // Between look-up and change.
    set(json!({"json": {"a": 1}})).await;
    let record = look_up().await.unwrap();
    set(json!({"json": {"a": 2}})).await;
    let RecordChange::LeftAlone(why) = client.mark_record(&record).await.unwrap() else { panic!("changed") };
    assert!(why.contains("another program has changed its file record"), "{why}");
    assert_eq!(copy(&world.alyx, &id).await["json"], json!({"a": 2}));
}

/// Whether a tool finds a tree as a list says; `None`: it is not installed here.
fn agrees(tool: &str, words: &[&str], tree: &Path) -> Option<bool> {
    Some(Command::new(tool).args(words).current_dir(tree).output().ok()?.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_check_any_copy_with_the_sums() {
    let world = World::new().await;
    let session = world.registered("2024-05-01/001").await;
    world.registered("2024-05-02/001").await;
    // Names that another program has registered.
    let names = [
        "alf/spikes.times.a b.npy",
        r"alf/spikes.times.a\b.npy",
        "alf/spikes.times.ü,.npy",
        "alf/spikes.times.a\nb.npy",
    ];
    let md5 = crate::common::MD5_OF_ABC;
    for name in names {
        session.file(name, "abc");
        let body = json!({"created_by": world.alyx.user, "path": session.name(), "filenames": [name],
            "hashes": [md5], "filesizes": [3], "name": REPOSITORY, "labs": "cortexlab"});
        world.alyx.rest("POST", "/register-file", body).await;
    }
    // A dataset without a hash cannot be listed.
    let name = "alf/spikes.depths.npy";
    session.file(name, "abc");
    let body = json!({"created_by": world.alyx.user, "path": session.name(), "filenames": [name],
        "name": REPOSITORY, "labs": "cortexlab"});
    world.alyx.rest("POST", "/register-file", body).await;
    let list = world.rig.beside("sums.md5");
    let (list, on_disk) = (list.to_str().unwrap(), snapshot(&world.rig.root()));
    let said = world.says(&["--sums", list]);
    let expected = "the MD5 of 8 files is in ";
    for wanted in [expected, "sums.md5.hashdeep", "sums.md5.line-breaks", "1 dataset without an MD5 on Alyx"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(snapshot(&world.rig.root()), on_disk);
    let text = fs::read_to_string(list).unwrap();
    assert!(text.contains(&format!("{md5}  KS014/2024-05-01/001/alf/spikes.times.a\\b.npy\n")), "{text}");
    assert_eq!(text.lines().count(), 7, "{text}");

    let tree = world.rig.root().join("cortexlab/Subjects");
    // Without what is in no list.
    fs::remove_file(session.folder.join(name)).unwrap();
    let (hashdeep, breaks) = (format!("{list}.hashdeep"), format!("{list}.line-breaks"));
    let md5sum = |list: &str| agrees("md5sum", &["-c", "--strict", "--quiet", list], &tree).unwrap();
    let rclone = || agrees("rclone", &["checksum", "md5", list, ".", "--one-way"], &tree);
    let deep = || {
        let line_break = session.folder.join(names[3]);
        fs::rename(&line_break, world.rig.beside("aside")).unwrap();
        let agrees = agrees("hashdeep", &["-r", "-l", "-a", "-k", &hashdeep, "KS014"], &tree);
        fs::rename(world.rig.beside("aside"), &line_break).unwrap();
        agrees
    };
    assert!(md5sum(list) && md5sum(&breaks));
    assert!(rclone() != Some(false) && deep() != Some(false));
    for (name, is_break) in [(names[1], false), (names[3], true)] {
        session.file(name, "abd");
        assert_eq!((md5sum(list), md5sum(&breaks)), (is_break, !is_break));
        assert!(is_break || rclone() != Some(true) && deep() != Some(true));
        session.file(name, "abc");
    }

    // A list is never overwritten, and never in a data root.
    let inside = world.rig.root().join("sums");
    for refused in [list, inside.to_str().unwrap()] {
        let audited = world.audit(&["--sums", refused]);
        assert_eq!(audited.code, Some(2), "{audited:#?}");
    }
    assert_eq!(fs::read_to_string(list).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_random_injuries_the_lists_miss_none_and_invent_none() {
    let world = World::new().await;
    let mut rng = SeededRng::of("SUMS_SEED");
    let mut whole = Vec::new();
    for day in 1..=4 {
        let session = world.session(&format!("2024-05-{day:02}/001"));
        for n in 0..50 {
            let path = format!("alf/probe{:02}/spikes.times.part{n:02}.npy", n % 3);
            session.file(&path, format!("{day} {n}"));
            whole.push((session.clone(), path));
        }
        world.register(&session, &here()).await;
    }
    let list = world.rig.beside("sums.md5");
    let list = list.to_str().unwrap();
    world.says(&["--sums", list]);
    let (tree, all) = (world.rig.root().join("cortexlab/Subjects"), whole.len());
    let mut injured = BTreeSet::new();
    for n in 0..100 {
        let (session, path) = whole.swap_remove(rng.below(whole.len()));
        injured.insert(format!("{}/{path}", session.name()));
        let file = session.folder.join(&path);
        let mut content = fs::read(&file).unwrap();
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        match n % 4 {
            0 => fs::remove_file(&file).unwrap(),
            1 => fs::rename(&file, file.with_extension("moved")).unwrap(),
            2 => fs::write(&file, &content[1..]).unwrap(),
            _ => {
                // A flipped bit, with the times of before.
                content[0] ^= 1 << rng.below(8);
                fs::write(&file, content).unwrap();
                fs::File::open(&file).unwrap().set_modified(modified).unwrap();
            }
        }
    }
    let run = |tool: &str, words: &[&str]| {
        let output = Command::new(tool).args(words).current_dir(&tree).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let said = run("md5sum", &["-c", "--quiet", list]).unwrap();
    let failed: BTreeSet<String> =
        said.lines().map(|line| line.split(": FAILED").next().unwrap().to_owned()).collect();
    assert_eq!(failed, injured);
    if let Some(said) = run("rclone", &["checksum", "md5", list, ".", "--one-way", "--combined", "-"]) {
        let differs = said.lines().filter(|line| !line.starts_with("= "));
        let failed: BTreeSet<String> = differs.map(|line| line[2..].to_owned()).collect();
        assert_eq!(failed, injured, "{said}");
    }
    let hashdeep = format!("{list}.hashdeep");
    if let Some(said) = run("hashdeep", &["-r", "-l", "-a", "-v", "-k", &hashdeep, "KS014"]) {
        let matched = said.lines().find(|line| line.contains("Files matched")).unwrap();
        assert_eq!(matched.split(": ").last().unwrap(), (all - injured.len()).to_string(), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_two_verifications_find_bad_is_marked_and_a_good_one_is_unmarked_with_the_list() {
    let world = World::new().await;
    drop(Ledger::open(&world.state_folder()));
    let session = world.registered("2024-05-01/001").await;
    let (_, id) = world.ids(&session, TIMES).await;
    let before = dataset(&world.alyx, &session, TIMES).await;
    world.alyx.rest("PATCH", &format!("/files/{id}"), json!({"json": {"globus": 1}})).await;
    session.file(TIMES, "abd");
    let verify = |words: &[&str]| {
        let mut command = program();
        command.arg("verify").args(words).args(["--json", "--config"]).arg(&world.config);
        Audited::of(&mut command)
    };
    let mark = ["--mark", "--mark-many", "1"];
    verify(&mark).finds(&["differs KS014/2024-05-01/001 alf/spikes.times.npy"]);
    assert_eq!(copy(&world.alyx, &id).await["json"], json!({"globus": 1}), "once is not enough");
    // An audit reads no file, and forgets nothing of a verification.
    world.audit(&[]);
    world.two_hours_later();
    let marked = verify(&mark);
    let mut checker = Checker::new();
    let line =
        marked.lines.iter().find(|line| line["outcome"] == "marked").unwrap_or_else(|| panic!("{marked:#?}"));
    checker.check(line);
    let now = copy(&world.alyx, &id).await;
    assert_eq!(now, json!({"exists": true, "json": {"globus": 1, "mismatch_hash": true}}));
    assert_eq!(dataset(&world.alyx, &session, TIMES).await, before);
    let list = line["undo_list"].as_str().unwrap();
    let undone = world.audit(&["--unmark", list]);
    assert_eq!((undone.code, &undone.totals["unmarked"]), (Some(0), &json!(1)), "{undone:#?}");
    assert_eq!(copy(&world.alyx, &id).await["json"], json!({"globus": 1}));
}
