//! `audit`: every difference between Alyx and the disk is found, and nothing else is reported.

use crate::common::locking_fs::{Share, Silent};
use crate::common::rng::SeededRng;
use crate::common::terminal::Terminal;
use crate::{common, program};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use alyx_registration::{
    AuditRoots, AuditRules, DataFolders, FindingKind, FlaggedOptions, RegisterFilesOptions,
    RegistrationClient, RegistrationOptions,
};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig, Session, hold, http, snapshot, with_files};
use program::{Configuration, Program, output, program};
use serde_json::{Value, json};

const REPOSITORY: &str = "cortexlab_local";
const SECOND: &str = "flatiron_cortexlab";
const DATASETS: &str = "datasets:\n  repository: cortexlab_local\n";

/// A rig whose disk is a repository on Alyx.
pub(crate) struct World {
    pub(crate) alyx: Alyx,
    pub(crate) rig: Rig,
    pub(crate) config: PathBuf,
}

/// The lines of `audit --json`.
#[derive(Debug)]
pub(crate) struct Audited {
    pub(crate) code: Option<i32>,
    /// `kind session path`, `-` for the session itself.
    findings: BTreeSet<String>,
    lines: Vec<Value>,
    pub(crate) totals: Value,
    pub(crate) log: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(DATASETS).await
    }

    async fn with(more: &str) -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let config = configure(&alyx, &rig, more);
        Self { alyx, rig, config }
    }

    fn session(&self, day: &str) -> Session {
        self.rig.session_at(&format!("cortexlab/Subjects/KS014/{day}"))
    }

    /// A session with two datasets, registered.
    pub(crate) async fn registered(&self, day: &str) -> Session {
        let session = self.session(day);
        session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "abcde");
        self.register(&session, &here()).await;
        session
    }

    async fn register(&self, session: &Session, options: &FlaggedOptions) {
        session.flag();
        session.register(&self.alyx.client(), options).await.unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = program();
        command.arg("audit").args(words).arg("--config").arg(&self.config);
        command
    }

    fn audit(&self, words: &[&str]) -> Audited {
        Audited::of(&mut self.command(&[words, &["--json"]].concat()))
    }

    async fn delete(&self, path: &str) {
        let login = [("username", &self.alyx.user), ("password", &self.alyx.password)];
        let answer = http().post(format!("{}/auth-token", self.alyx.url)).form(&login).send().await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        let request = http().delete(format!("{}{path}", self.alyx.url));
        let answer = request.header("Authorization", format!("Token {token}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
    }

    /// The id of a dataset and of its file record here.
    async fn ids(&self, session: &Session, path: &str) -> (String, String) {
        let datasets = self.alyx.datasets(session).await;
        let dataset = datasets.iter().find(|dataset| dataset.relative_path() == path).unwrap();
        let is_here = |copy: &&alyx_client::FileRecord| copy.data_repository.as_deref() == Some(REPOSITORY);
        let copy = dataset.file_records.iter().find(is_here).unwrap();
        (dataset.id().to_owned(), copy.id().unwrap().to_owned())
    }
}

fn configure(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config = Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("alyx:\n", "alyx:\n  max_requests_per_minute: 100000\n", 1)).unwrap();
    config
}

/// Makes all files of a folder two hours old: a session whose files have just changed gets no flag.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            age(&entry);
        } else if let Ok(file) = fs::File::open(&entry) {
            file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(2)).unwrap();
        }
    }
}

/// As the configuration registers.
fn here() -> FlaggedOptions {
    let repository = Some(REPOSITORY.to_owned());
    let files = RegisterFilesOptions { repository, ..RegisterFilesOptions::default() };
    FlaggedOptions { files, ..with_files() }
}

impl Audited {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = output(command);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let differences: Vec<&Value> = lines.iter().filter(|line| line["outcome"] == "difference").collect();
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let shown = |line: &&Value| {
            format!("{} {} {}", word(&line["kind"]), word(&line["session"]), word(&line["path"]))
        };
        let findings: BTreeSet<String> = differences.iter().map(shown).collect();
        assert_eq!(findings.len(), differences.len(), "reported twice: {text}");
        let totals = lines.last().cloned().unwrap_or_default();
        Self { code: output.status.code(), findings, lines, totals, log }
    }

    #[track_caller]
    pub(crate) fn finds(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(self.findings, expected, "{self:#?}");
    }

    pub(crate) fn line(&self, kind: &str) -> &Value {
        self.lines.iter().find(|line| line["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {self:#?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_is_as_alyx_says_and_nothing_is_written() {
    let world = World::new().await;
    world.registered("2024-05-01/001").await;
    world.registered("2024-05-02/001").await.file("notes.txt", "x").file("alf/.hidden.npy", "x");
    let before = snapshot(&world.rig.root());
    world.alyx.control().clear_requests();
    let audited = world.audit(&[]);
    audited.finds(&[]);
    assert_eq!(audited.code, Some(0), "{audited:#?}");
    assert_eq!(audited.totals["outcome"], "done");
    let counted =
        ["sessions", "datasets", "ok", "not_compared"].map(|name| audited.totals[name].as_u64().unwrap());
    assert_eq!(counted, [2, 4, 4, 0]);
    assert_eq!(snapshot(&world.rig.root()), before);
    let requests = world.alyx.control().requests();
    assert!(requests.iter().all(|seen| seen.method == "GET" || seen.path == "/auth-token"), "{requests:?}");
    let count = |path: &str| requests.iter().filter(|seen| seen.path == path).count();
    assert_eq!((count("/sessions"), count("/datasets")), (1, 2), "{requests:?}");

    let said = String::from_utf8(output(&mut world.command(&[])).stdout).unwrap();
    for wanted in [
        "comparing 2 sessions of 1 subject: less than a minute",
        "2 sessions compared, with 4 datasets: 4 as on disk",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_one_finding() {
    let world = World::new().await;
    let path = "alf/spikes.times.npy";
    let day = |n: usize| format!("2024-05-{n:02}/001");
    let named = |kind: &str, n: usize, path: &str| format!("{kind} KS014/2024-05-{n:02}/001 {path}");
    let mut expected = Vec::new();
    let mut expect = |kind: &str, n: usize, path: &str| expected.push(named(kind, n, path));

    fs::remove_file(world.registered(&day(1)).await.folder.join(path)).unwrap();
    expect("missing", 1, path);
    world.registered(&day(2)).await.file("alf/spikes.depths.npy", "new");
    expect("unknown_to_alyx", 2, "alf/spikes.depths.npy");
    world.registered(&day(3)).await.file(path, "ab");
    expect("size_differs", 3, path);
    let session = world.registered(&day(4)).await;
    fs::rename(session.folder.join("alf"), session.folder.join("Alf")).unwrap();
    expect("path_differs", 4, path);
    expect("path_differs", 4, "alf/spikes.amps.npy");
    let session = world.session(&day(5));
    session.file(path, "abc");
    let files = RegisterFilesOptions { max_md5_size: Some(1), ..here().files };
    world.register(&session, &FlaggedOptions { files, ..here() }).await;
    expect("no_hash", 5, path);
    let session = world.registered(&day(6)).await;
    let (_, copy) = world.ids(&session, path).await;
    world.alyx.rest("PATCH", &format!("/files/{copy}"), json!({"exists": false})).await;
    expect("exists_false", 6, path);
    let session = world.registered(&day(7)).await;
    let again =
        json!({"subject": "KS014", "start_time": "2024-05-07T10:00:00", "number": 1, "users": ["test_user"]});
    world.alyx.rest("POST", "/sessions", again).await;
    expect("twice_on_alyx", 7, "-");
    drop(session);
    let session = world.session(&day(8));
    session.file(path, "abc");
    world.register(&session, &FlaggedOptions { register_files: false, ..here() }).await;
    expect("session_without_datasets", 8, "-");
    world.session(&day(9)).file(path, "abc");
    expect("folder_without_session", 9, "-");
    fs::remove_dir_all(world.registered(&day(10)).await.folder).unwrap();
    expect("session_without_folder", 10, "-");
    let session = world.registered(&day(11)).await;
    fs::remove_file(session.folder.join(path)).unwrap();
    symlink("spikes.times.npy", session.folder.join(path)).unwrap();
    expect("unreadable", 11, path);
    // The folder of the number has another name than when it was registered.
    let session = world.registered(&day(12)).await;
    fs::rename(&session.folder, session.folder.with_file_name("1")).unwrap();
    expect("path_differs", 12, "-");
    // Said to be elsewhere, and not here: no finding.
    let session = world.registered(&day(13)).await;
    let (_, copy) = world.ids(&session, path).await;
    world.alyx.rest("PATCH", &format!("/files/{copy}"), json!({"exists": false})).await;
    fs::remove_file(session.folder.join(path)).unwrap();

    age(&world.rig.root());
    let audited = world.audit(&[]);
    audited.finds(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(audited.code, Some(1));
    assert_eq!((&audited.totals["elsewhere"], &audited.totals["sessions"]), (&json!(1), &json!(13)));
    assert_eq!(audited.totals["findings"]["path_differs"], 3);
    let sides = |kind: &str| {
        let line = audited.line(kind);
        (line["expected"].clone(), line["found"].clone(), line["repository"].clone())
    };
    assert_eq!(sides("missing"), (json!(3), Value::Null, json!(REPOSITORY)));
    assert_eq!(sides("size_differs"), (json!(3), json!(2), json!(REPOSITORY)));
    assert_eq!(sides("unknown_to_alyx"), (Value::Null, json!(3), json!(REPOSITORY)));
    assert_eq!(sides("session_without_folder"), (json!("2 datasets"), Value::Null, json!(REPOSITORY)));

    let said = String::from_utf8(output(&mut world.command(&[])).stdout).unwrap();
    for wanted in [
        "KS014/2024-05-01/001\n  missing                   alf/spikes.times.npy  Alyx: 3 bytes; disk: no such file",
        "13 sessions compared",
        "would be completed by registering: audit --flag",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_of_one_file_are_reported() {
    let world = World::new().await;
    let session = world.registered("2024-05-01/001").await;
    let mut datasets = world.alyx.control().datasets();
    let mut twin = datasets[0].clone();
    twin["url"] = json!("http://x/datasets/11111111-2222-3333-4444-555555555555");
    let path = format!("twice_on_alyx {} alf/{}", session.name(), twin["name"].as_str().unwrap());
    datasets.push(twin);
    let body = json!({"count": 3, "next": null, "previous": null, "results": datasets}).to_string();
    let fault = Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    let rule = FaultRule { method: Some("GET".into()), path_prefix: "/datasets".into(), times: 2, fault };
    world.alyx.control().add_fault(rule);
    world.audit(&[]).finds(&[&path]);
}

/// What was done to a file, and what an audit must say of it.
struct Injuries {
    expected: BTreeSet<String>,
    done: usize,
}

impl Injuries {
    fn add(&mut self, kind: &str, session: &Session, path: &str) {
        self.expected.insert(format!("{kind} {} {path}", session.name()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_random_injuries_none_is_missed_and_none_is_invented() {
    let world = World::new().await;
    let mut rng = SeededRng::of("AUDIT_SEED");
    // Each file has its own size.
    let mut whole = Vec::new();
    for day in 1..=12 {
        let session = world.session(&format!("2024-05-{day:02}/001"));
        for n in 0..40 {
            let path = format!("alf/probe{:02}/spikes.times.part{n:02}.npy", n % 3);
            session.file(&path, vec![b'x'; 1 + whole.len()]);
            whole.push((session.clone(), path));
        }
        world.register(&session, &here()).await;
    }
    world.audit(&[]).finds(&[]);
    let mut injuries = Injuries { expected: BTreeSet::new(), done: 0 };
    while injuries.done < 200 {
        let (session, path) = whole.swap_remove(rng.below(whole.len()));
        let file = session.folder.join(&path);
        match rng.below(9) {
            0 => {
                fs::remove_file(&file).unwrap();
                injuries.add("missing", &session, &path);
            }
            1 => {
                let size = fs::metadata(&file).unwrap().len();
                let other = rng.below(size as usize) as u64;
                fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(other).unwrap();
                injuries.add("size_differs", &session, &path);
            }
            2 => {
                let new = path.replace("part", "moved");
                fs::rename(&file, session.folder.join(&new)).unwrap();
                injuries.add("missing", &session, &path);
                injuries.add("unknown_to_alyx", &session, &new);
            }
            3 => {
                let other = [("part", "PART"), ("spikes", "Spikes"), ("npy", "NPY")];
                let (from, to) = *rng.one_of(&other);
                fs::rename(&file, session.folder.join(path.replace(from, to))).unwrap();
                injuries.add("path_differs", &session, &path);
            }
            4 => {
                let extra = path.replace("part", "extra");
                session.file(&extra, "");
                injuries.add("unknown_to_alyx", &session, &extra);
            }
            5 => {
                let (other, other_path) = whole.swap_remove(rng.below(whole.len()));
                let there = other.folder.join(&other_path);
                fs::rename(&file, file.with_extension("swap")).unwrap();
                fs::rename(&there, &file).unwrap();
                fs::rename(file.with_extension("swap"), there).unwrap();
                injuries.add("size_differs", &session, &path);
                injuries.add("size_differs", &other, &other_path);
            }
            6 => {
                let (id, _) = world.ids(&session, &path).await;
                world.delete(&format!("/datasets/{id}")).await;
                injuries.add("unknown_to_alyx", &session, &path);
            }
            7 => {
                let (_, copy) = world.ids(&session, &path).await;
                world.alyx.rest("PATCH", &format!("/files/{copy}"), json!({"exists": false})).await;
                injuries.add("exists_false", &session, &path);
            }
            // No injury: the same bytes again, or a file that is no dataset.
            _ if rng.one_in(2) => fs::write(&file, fs::read(&file).unwrap()).unwrap(),
            _ => drop(session.file(&format!("{path}.log"), "x")),
        }
        injuries.done += 1;
    }
    let audited = world.audit(&[]);
    let (missed, invented): (Vec<_>, Vec<_>) = (
        injuries.expected.difference(&audited.findings).collect(),
        audited.findings.difference(&injuries.expected).collect(),
    );
    assert!(missed.is_empty() && invented.is_empty(), "missed {missed:#?}, invented {invented:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_root_is_one_error_and_no_finding() {
    let world = World::new().await;
    for day in 1..=3 {
        world.registered(&format!("2024-05-{day:02}/001")).await;
    }
    let (root, away) = (world.rig.root(), world.rig.beside("away"));
    fs::rename(&root, &away).unwrap();
    for words in [&[][..], &["KS014"]] {
        fs::create_dir(&root).unwrap();
        let audited = world.audit(words);
        audited.finds(&[]);
        assert_eq!((audited.code, audited.lines.len()), (Some(1), 2), "{audited:#?}");
        assert_eq!(audited.lines[0]["errors"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&audited.lines[0]["errors"][0]["kind"], &audited.totals["not_compared"]),
            (&json!("Disk"), &json!(1))
        );
        fs::remove_dir(&root).unwrap();
        let audited = world.audit(words);
        audited.finds(&[]);
        assert_eq!((audited.code, audited.lines.len()), (Some(1), 2), "{audited:#?}");
    }
    // A marker tells an empty mount point from a disk.
    fs::rename(&away, &root).unwrap();
    let marked =
        configure(&world.alyx, &world.rig, &format!("{DATASETS}watch:\n  require_marker: .mounted\n"));
    let world = World { config: marked, ..world };
    let audited = world.audit(&[]);
    audited.finds(&[]);
    assert!(audited.code == Some(1) && audited.log.contains(".mounted"), "{audited:#?}");
    fs::write(root.join(".mounted"), "").unwrap();
    assert_eq!(world.audit(&[]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_lost_during_the_audit_is_one_error() {
    let world = World::new().await;
    for day in 1..=8 {
        world.registered(&format!("2024-05-{day:02}/001")).await;
    }
    let gate = hold(&world.alyx, "GET", "/sessions");
    let (root, mut command) = (world.rig.root(), world.command(&["--json"]));
    let audit = tokio::task::spawn_blocking(move || Audited::of(&mut command));
    gate.reached().await;
    fs::rename(&root, world.rig.beside("away")).unwrap();
    fs::create_dir(&root).unwrap();
    gate.open();
    let audited = audit.await.unwrap();
    audited.finds(&[]);
    assert_eq!((audited.code, &audited.totals["not_compared"]), (Some(1), &json!(8)), "{audited:#?}");
    let failed: Vec<&Value> = audited.lines.iter().filter(|line| line["outcome"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{audited:#?}");
    assert!(failed[0]["errors"][0]["message"].as_str().unwrap().contains("was lost during the audit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_user_may_not_see_is_unreadable_and_not_missing() {
    let world = World::new().await;
    let (file, folder) = (world.registered("2024-05-01/001").await, world.registered("2024-05-02/001").await);
    let closed = |path: &PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    closed(&file.folder.join("alf"));
    closed(&folder.folder);
    let is_root = rustix::process::geteuid().is_root();
    let mut command = world.command(&["--json"]);
    if is_root {
        let binary = world.rig.beside("etc/alyx-registrar");
        crate::common::program::copy_program(&binary);
        fs::set_permissions(world.rig.beside(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(world.rig.beside("etc/password"), fs::Permissions::from_mode(0o644)).unwrap();
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        if !Command::new("setpriv").args(nobody).arg("true").status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: root may do everything, and setpriv cannot change the user");
            return;
        }
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new("setpriv");
        command.args(nobody).arg(binary).args(words);
    }
    let audited = Audited::of(&mut command);
    for session in [&file, &folder] {
        let path =
            if session.folder == file.folder { session.folder.join("alf") } else { session.folder.clone() };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    audited.finds(&["unreadable KS014/2024-05-01/001 alf", "unreadable KS014/2024-05-02/001 -"]);
    assert_eq!((audited.code, audited.line("unreadable")["found"].as_str().is_some()), (Some(1), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_disk_and_a_disk_that_hangs_are_unreadable_and_not_missing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let behind = rig.root();
    let Some(share) = Share::of(&behind) else { return };
    let session = Session { folder: share.path().join("cortexlab/Subjects/KS014/2024-05-01/001") };
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "abcde");
    let config = configure(&alyx, &rig, DATASETS);
    let text = fs::read_to_string(&config).unwrap();
    let shared = text.replacen(behind.to_str().unwrap(), share.path().to_str().unwrap(), 1);
    fs::write(&config, shared).unwrap();
    let world = World { alyx, rig, config };
    world.register(&session, &here()).await;
    world.audit(&[]).finds(&[]);
    let named = |name: &str| format!("unreadable KS014/2024-05-01/001 alf/{name}");
    let both = [named("spikes.times.npy"), named("spikes.amps.npy")];
    for error in [libc::EIO, libc::ESTALE, libc::ETIMEDOUT, libc::EACCES] {
        share.set(Silent::Failing(error));
        world.audit(&[]).finds(&both.each_ref().map(String::as_str));
    }
    // With less patience than the command has.
    share.set(Silent::Datasets);
    let data = DataFolders { roots: vec![share.path().to_owned()], ..DataFolders::default() };
    let options = RegistrationOptions { data: data.into(), ..RegistrationOptions::default() };
    let client = RegistrationClient::new(world.alyx.alyx(), options);
    let roots = AuditRoots::load([share.path()]);
    let (flagged, hangs_after) = (here(), std::time::Duration::from_millis(300));
    let rules =
        AuditRules { flagged: &flagged, roots: &roots, hangs_after, has_all_folders: true, contents: false };
    let pairs = client.sessions_to_audit("KS014", &[session.path()]).await.unwrap();
    let audit = client.audit_session(&pairs[0], &rules).await.unwrap();
    let found: Vec<_> = audit.findings.iter().map(|finding| (finding.kind, finding.path.clone())).collect();
    assert_eq!(found, [(FindingKind::Unreadable, None)], "{audit:?}");
    assert!(audit.flag.is_none());
    share.set(Silent::Nothing);
    world.audit(&[]).finds(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_daemon_registers_new_sessions_nothing_is_invented_and_nothing_is_missed() {
    let world = World::new().await;
    let old = world.registered("2024-05-01/001").await;
    fs::remove_file(old.folder.join("alf/spikes.times.npy")).unwrap();
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&world.config));
    daemon.wait_for("data root scanned");
    let (root, copies) = (world.rig.root(), world.rig.beside("copies"));
    let day = |number: usize| format!("cortexlab/Subjects/KS014/2024-06-{number:02}");
    let writer = std::thread::spawn(move || {
        for number in 1..=12 {
            // It appears whole, with its flag.
            let session = Session { folder: copies.join(day(number)).join("001") };
            session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "x").flag();
            fs::rename(copies.join(day(number)), root.join(day(number))).unwrap();
        }
    });
    let missing = "missing KS014/2024-05-01/001 alf/spikes.times.npy";
    let mut audits = 0;
    loop {
        let audited = world.audit(&[]);
        audited.finds(&[missing]);
        audits += 1;
        let is_complete = audited.totals["sessions"] == 13 && audited.totals["flagged"] == 0;
        if writer.is_finished() && is_complete {
            break;
        }
        assert!(audits < 1000 && daemon.is_alive(), "{audited:#?}");
    }
    writer.join().unwrap();
    daemon.stop();
    assert!(audits > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_today_gets_a_flag_only_if_it_is_named() {
    let world = World::new().await;
    let today = world.session(&format!("{}/001", jiff::Zoned::now().date()));
    today.file("alf/spikes.times.npy", "abc");
    let recent = world.audit(&[&today.name(), "--flag", "--yes"]);
    assert!(!today.is_flagged() && recent.log.contains("changed within the last hour"), "{recent:#?}");
    age(&today.folder);
    let audited = world.audit(&["--flag", "--yes"]);
    audited.finds(&[&format!("folder_without_session {} -", today.name())]);
    assert!(!today.is_flagged() && audited.totals["flag_would_complete"] == 0, "it may still be recorded");
    assert_eq!(world.audit(&[&today.name(), "--flag", "--yes"]).totals["flags_put"], 1);
    assert!(today.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_which_the_server_fails_does_not_end_the_audit() {
    let world = World::new().await;
    for day in 1..=3 {
        fs::remove_file(
            world.registered(&format!("2024-05-{day:02}/001")).await.folder.join("alf/spikes.times.npy"),
        )
        .unwrap();
    }
    let body = r#"{"detail": "division by zero"}"#.to_owned();
    let fault = Fault::Status { code: 500, body, content_type: "application/json".into(), retry_after: None };
    let rule = FaultRule { method: None, path_prefix: "/datasets".into(), times: 1, fault };
    world.alyx.control().add_fault(rule);
    let audited = world.audit(&[]);
    assert_eq!((audited.code, audited.findings.len()), (Some(1), 2), "{audited:#?}");
    assert_eq!(audited.totals["not_compared"], 1);
    let failed = audited.lines.iter().find(|line| line["outcome"] == "failed").unwrap();
    assert!(failed["errors"][0]["session"].as_str().unwrap().starts_with("KS014/"), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_audit_is_resumed_and_counts_everything_once() {
    let world = World::new().await;
    for day in 1..=9 {
        let session = world.registered(&format!("2024-05-{day:02}/001")).await;
        fs::remove_file(session.folder.join("alf/spikes.times.npy")).unwrap();
        session.file("alf/spikes.depths.npy", "new");
    }
    // Slow from the start, and unreachable from the fifth session on.
    let all = |times, fault| FaultRule { method: None, path_prefix: "/datasets".into(), times, fault };
    let slow = Fault::Delay(std::time::Duration::from_millis(20));
    world.alyx.control().add_fault(all(8, slow));
    world.alyx.control().add_fault(all(usize::MAX, Fault::Html(503)));
    let first = world.audit(&[]);
    assert_eq!((first.code, &first.totals["outcome"]), (Some(69), &json!("incomplete")), "{first:#?}");
    assert_eq!(first.totals["errors"].as_array().unwrap().len(), 1);
    world.alyx.control().clear_faults();
    world.alyx.control().clear_requests();
    let refused = world.audit(&["--resume", "--flag", "--yes"]);
    assert_eq!(refused.code, Some(2), "flags are computed from the first session on: {refused:#?}");
    let second = world.audit(&["--resume"]);
    assert_eq!(second.code, Some(1), "{second:#?}");
    assert!(first.findings.is_disjoint(&second.findings), "{first:#?} {second:#?}");
    assert_eq!(first.findings.len() + second.findings.len(), 18, "{first:#?} {second:#?}");
    let total = |name: &str| second.totals[name].as_u64().unwrap();
    assert_eq!(["sessions", "datasets", "not_compared", "flags_put"].map(total), [9, 18, 0, 0]);
    assert_eq!(second.totals["findings"]["missing"], 9);
    let asked = world.alyx.control().requests().iter().filter(|seen| seen.path == "/datasets").count();
    assert_eq!(asked, second.findings.len(), "the first part was not asked again");
    // Complete: there is nothing to resume.
    assert_eq!(world.audit(&["--resume"]).findings.len(), 18);

    // Stopped by a person.
    let gate = hold(&world.alyx, "GET", "/datasets");
    let mut stopped = Program::start(&mut world.command(&[]));
    gate.reached().await;
    stopped.signal("TERM");
    assert_eq!(stopped.wait().code(), Some(130), "{}", stopped.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_registered_meanwhile_is_no_finding() {
    let world = World::new().await;
    let session = world.session("2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc");
    // The first look finds no session; before the second one it is registered.
    let first = hold(&world.alyx, "GET", "/sessions");
    let mut command = world.command(&["--json"]);
    let audit = tokio::task::spawn_blocking(move || Audited::of(&mut command));
    first.reached().await;
    let second = hold(&world.alyx, "GET", "/sessions");
    first.open();
    second.reached().await;
    world.register(&session, &here()).await;
    second.open();
    let audited = audit.await.unwrap();
    audited.finds(&[]);
    assert_eq!(audited.code, Some(0), "{audited:#?}");

    // With a flag, what registering will add is no finding; what it cannot bring back is.
    fs::remove_file(session.folder.join("alf/spikes.times.npy")).unwrap();
    session.file("alf/spikes.amps.npy", "new").flag();
    world.session("2024-05-02/001").file("alf/spikes.times.npy", "abc").flag();
    let audited = world.audit(&[]);
    audited.finds(&["missing KS014/2024-05-01/001 alf/spikes.times.npy"]);
    assert_eq!(audited.totals["flagged"], 2);
    // What the flag does not list is, and so is a size, which registering would overwrite.
    session
        .file("alf/spikes.times.npy", "ab")
        .file("alf/spikes.depths.npy", "x")
        .flag_with("alf/spikes.amps.npy");
    world.audit(&["KS014/2024-05-01/001"]).finds(&[
        "size_differs KS014/2024-05-01/001 alf/spikes.times.npy",
        "unknown_to_alyx KS014/2024-05-01/001 alf/spikes.depths.npy",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_several_pages_is_compared_whole() {
    let world = World::new().await;
    let session = world.session("2024-05-01/001");
    for n in 0..1030 {
        session.file(&format!("alf/spikes.times.part{n:04}.npy"), "x");
    }
    world.register(&session, &here()).await;
    assert!(world.alyx.control().shuffle_datasets());
    fs::remove_file(session.folder.join("alf/spikes.times.part0707.npy")).unwrap();
    let audited = world.audit(&[]);
    audited.finds(&["missing KS014/2024-05-01/001 alf/spikes.times.part0707.npy"]);
    assert_eq!(audited.totals["datasets"], 1030);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_choose_what_is_compared() {
    let world = World::new().await;
    for day in ["2024-05-01/001", "2024-05-02/001"] {
        fs::remove_file(world.registered(day).await.folder.join("alf/spikes.times.npy")).unwrap();
    }
    let today = jiff::Zoned::now().date();
    fs::remove_dir_all(world.registered(&format!("{today}/001")).await.folder).unwrap();
    world.rig.session_at("mainenlab/Subjects/ZM_1085/2024-05-01/001").file("alf/spikes.times.npy", "abc");
    let [first, second] =
        ["2024-05-01", "2024-05-02"].map(|day| format!("missing KS014/{day}/001 alf/spikes.times.npy"));
    let gone = format!("session_without_folder KS014/{today}/001 -");
    let orphan = "folder_without_session ZM_1085/2024-05-01/001 -";
    let root = world.rig.root();
    let at = |path: &str| root.join("cortexlab/Subjects").join(path).to_str().unwrap().to_owned();
    let eid = world.alyx.control().sessions()[0]["id"].as_str().unwrap().to_owned();
    let (subject, day) = (at("KS014"), at("KS014/2024-05-02"));
    for (words, expected) in [
        (vec![], vec![&*first, &second, &gone, orphan]),
        (vec!["KS014"], vec![&*first, &second, &gone]),
        (vec!["KS014", "--since", "30d"], vec![&*gone]),
        (vec![&*subject], vec![&*first, &second, &gone]),
        (vec![&*day], vec![&*second]),
        (vec!["KS014/2024-05-01/001"], vec![&*first]),
        (vec![&*eid], vec![&*first]),
        (vec!["ZM_1085", &*day], vec![&*second, orphan]),
        (vec!["SWC_001"], vec![]),
    ] {
        world.audit(&words).finds(&expected);
    }
    // Subjects that are never registered are compared only by name.
    let config =
        configure(&world.alyx, &world.rig, &format!("{DATASETS}metadata: {{skip_subjects: [ZM_1085]}}\n"));
    let world = World { config, ..world };
    world.audit(&[]).finds(&[&first, &second, &gone]);
    world.audit(&["ZM_1085"]).finds(&[orphan]);
    let nowhere = world.audit(&["/nowhere/at/all"]);
    assert!(
        nowhere.code == Some(1) && nowhere.totals.to_string().contains("is in no data root"),
        "{nowhere:#?}"
    );
    let unknown = world.audit(&["25153d98-699c-4cf2-a73c-73e0ff6eb985"]);
    assert_eq!((unknown.code, &unknown.totals["outcome"]), (Some(1), &json!("failed")), "{unknown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_are_put_after_a_question_and_complete_what_alyx_lacks() {
    let world = World::new().await;
    let session = world.registered("2024-05-01/001").await;
    // Alyx must not be made to agree with a truncated file.
    session.file("alf/spikes.times.npy", "a").file("alf/spikes.depths.npy", "new");
    let orphan = world.session("2024-05-02/001");
    orphan.file("alf/spikes.times.npy", "abc");
    let both = [
        "size_differs KS014/2024-05-01/001 alf/spikes.times.npy",
        "folder_without_session KS014/2024-05-02/001 -",
    ];

    age(&world.rig.root());
    let refused = world.audit(&["--flag"]);
    assert_eq!(refused.code, Some(2), "no terminal to ask on: {refused:#?}");
    // While the question is open, one of the two no longer needs its flag.
    let (new, away) = (session.folder.join("alf/spikes.depths.npy"), world.rig.beside("away.npy"));
    let mut terminal = Terminal::start(&mut world.command(&["--flag"]));
    terminal.wait_for("Put 2 flags");
    fs::rename(&new, &away).unwrap();
    terminal.answer("y");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.said);
    assert_eq!((session.is_flagged(), orphan.is_flagged()), (false, true), "{}", terminal.said);
    fs::rename(&away, &new).unwrap();
    fs::remove_file(orphan.folder.join("create_me.flag")).unwrap();
    for (answer, put) in [("n", false), ("y", true)] {
        let mut terminal = Terminal::start(&mut world.command(&["--flag"]));
        terminal.wait_for("Put 2 flags");
        terminal.answer(answer);
        assert_eq!(terminal.end().code(), Some(1), "{}", terminal.said);
        assert_eq!((session.is_flagged(), orphan.is_flagged()), (put, put), "{}", terminal.said);
    }
    let flag = |session: &Session| fs::read_to_string(session.folder.join("create_me.flag")).unwrap();
    assert_eq!(flag(&session), "alf/spikes.depths.npy\n");
    assert_eq!(flag(&orphan), "");
    // A flag that is there stays as it is.
    session.flag_with("alf/spikes.amps.npy");
    world.audit(&["--flag", "--yes"]);
    assert_eq!(flag(&session), "alf/spikes.amps.npy");

    session.flag_with("alf/spikes.depths.npy\n");
    let scan = output(program().args(["scan", "--config"]).arg(&world.config));
    assert_eq!(scan.status.code(), Some(0), "{}", String::from_utf8_lossy(&scan.stderr));
    world.audit(&[]).finds(&both[..1]);
    fs::remove_file(session.folder.join("alf/spikes.depths.npy")).unwrap();
    let audited = world.audit(&["--flag", "--yes"]);
    audited.finds(&[both[0], "missing KS014/2024-05-01/001 alf/spikes.depths.npy"]);
    assert!(!session.is_flagged() && audited.totals["flags_put"] == 0, "registering would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_two_data_roots_is_compared_as_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let other = rig.beside("other");
    let path = "cortexlab/Subjects/KS014/2024-05-01/001";
    let (one, two) = (rig.session_at(path), Session { folder: other.join(path) });
    one.file("alf/spikes.times.npy", "abc");
    two.file("alf/spikes.amps.npy", "abcde").file("alf/spikes.depths.npy", "x");
    let config = configure(&alyx, &rig, DATASETS);
    let text = fs::read_to_string(&config).unwrap();
    let roots = format!("data_roots:\n  - {}\n", other.display());
    fs::write(&config, text.replacen("data_roots:\n", &roots, 1)).unwrap();
    let world = World { alyx, rig, config };
    world.register(&one, &here()).await;
    world.register(&two, &here()).await;
    world.audit(&[]).finds(&[]);

    fs::remove_file(two.folder.join("alf/spikes.amps.npy")).unwrap();
    two.file("alf/spikes.clusters.npy", "new");
    age(&world.rig.root());
    age(&other);
    let audited = world.audit(&["--flag", "--yes"]);
    let named = |kind: &str, file: &str| format!("{kind} KS014/2024-05-01/001 alf/{file}");
    audited.finds(&[&named("missing", "spikes.amps.npy"), &named("unknown_to_alyx", "spikes.clusters.npy")]);
    assert_eq!(audited.totals["sessions"], 1);
    // Which of the two is registered is for a person to say.
    assert!(!one.is_flagged() && !two.is_flagged(), "{audited:#?}");
    one.file("alf/spikes.clusters.npy", "newer");
    let audited = world.audit(&[]);
    let found = audited.line("size_differs")["found"].as_str().unwrap().to_owned();
    for folder in [&one.folder, &two.folder] {
        assert!(found.contains(folder.to_str().unwrap()), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_named_repository_a_dataset_is_expected_here_unless_another_holds_it() {
    let world = World::with("").await;
    let session = world.session("2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "abcde");
    world.register(&session, &with_files()).await;
    world.audit(&[]).finds(&[]);
    for name in ["alf/spikes.times.npy", "alf/spikes.amps.npy"] {
        fs::remove_file(session.folder.join(name)).unwrap();
    }
    // A server has one of the two.
    let datasets = world.alyx.datasets(&session).await;
    let dataset = datasets.iter().find(|dataset| dataset.name == "spikes.amps.npy").unwrap();
    let server = dataset.file_records.iter().find(|copy| copy.data_url.is_some()).unwrap();
    world.alyx.rest("PATCH", &format!("/files/{}", server.id().unwrap()), json!({"exists": true})).await;
    let audited = world.audit(&[]);
    audited.finds(&["missing KS014/2024-05-01/001 alf/spikes.times.npy"]);
    assert_eq!(audited.totals["elsewhere"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_disappears_from_one_of_two_repositories_is_missing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (other, path) = (rig.beside("other"), "cortexlab/Subjects/KS014/2024-05-01/001");
    let (one, two) = (rig.session_at(path), Session { folder: other.join(path) });
    let mapped = format!(
        "repositories:\n  - {{path: {}, name: {REPOSITORY}}}\n  - {{path: {}, name: {SECOND}}}\n",
        rig.root().display(),
        other.display()
    );
    let config = configure(&alyx, &rig, &mapped);
    let text = fs::read_to_string(&config).unwrap();
    let roots = format!("data_roots:\n  - {}\n", other.display());
    fs::write(&config, text.replacen("data_roots:\n", &roots, 1)).unwrap();
    let world = World { alyx, rig, config };
    for (session, repository) in [(&one, REPOSITORY), (&two, SECOND)] {
        session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "abcde");
        let repository = Some(repository.to_owned());
        let files = RegisterFilesOptions { repository, ..RegisterFilesOptions::default() };
        world.register(session, &FlaggedOptions { files, ..with_files() }).await;
    }
    world.audit(&[]).finds(&[]);
    fs::remove_file(two.folder.join("alf/spikes.amps.npy")).unwrap();
    let audited = world.audit(&[]);
    audited.finds(&["missing KS014/2024-05-01/001 alf/spikes.amps.npy"]);
    assert_eq!(audited.line("missing")["repository"], SECOND);
    fs::remove_dir_all(&two.folder).unwrap();
    let audited = world.audit(&[]);
    audited.finds(&["session_without_folder KS014/2024-05-01/001 -"]);
    assert_eq!(audited.line("session_without_folder")["repository"], SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_does_not_end_the_audit() {
    let world = World::new().await;
    for day in 1..=3 {
        world.registered(&format!("2024-05-{day:02}/001")).await;
    }
    let mut record = world.alyx.control().datasets()[0].clone();
    record["file_size"] = json!(-1);
    let body = json!({"count": 1, "next": null, "previous": null, "results": [record]}).to_string();
    let fault = Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    let rule = FaultRule { method: Some("GET".into()), path_prefix: "/datasets".into(), times: 1, fault };
    world.alyx.control().add_fault(rule);
    let audited = world.audit(&[]);
    audited.finds(&[]);
    let counted = ["sessions", "not_compared"].map(|name| audited.totals[name].as_u64().unwrap());
    assert_eq!((audited.code, counted), (Some(1), [2, 1]), "{audited:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_a_broken_link_is_not_compared_and_nothing_behind_it_is_missing() {
    let world = World::new().await;
    let session = world.registered("2024-05-01/001").await;
    world.registered("2024-05-02/001").await;
    let (day, away) = (session.folder.parent().unwrap(), world.rig.beside("away"));
    fs::rename(day, &away).unwrap();
    symlink(&away, day).unwrap();
    world.audit(&[]).finds(&[]);
    fs::rename(&away, world.rig.beside("unmounted")).unwrap();
    let audited = world.audit(&[]);
    audited.finds(&[]);
    assert_eq!((audited.code, &audited.totals["not_compared"]), (Some(1), &json!(1)), "{audited:#?}");
    assert!(audited.log.contains("leads nowhere"), "{audited:#?}");
}
