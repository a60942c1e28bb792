//! Late files: datasets that appear or change after their session was registered and its flag removed. They are found by
//! looking at names, sizes and times, and reported or registered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alyx_registration::flag::FlagFile;
use alyx_registration::flagged::Registered;
use alyx_registration::{
    Error, Gap, LateLook, LookRules, Mount, Pace, RegistrationClient, SessionSnapshot, StatRate,
};
use alyx_sandbox::{Fault, FaultRule};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::common;
use crate::program::{Configuration, Program, output, program};
use common::{Alyx, MD5_OF_ABC, Rig, Session, hold, until, with_files};

/// An option of the looks at one session.
struct Looks<'a> {
    client: RegistrationClient,
    session: &'a Session,
    registered: Registered,
    late_exclude: Vec<glob::Pattern>,
    snapshot: SessionSnapshot,
}

fn patterns(texts: &[&str]) -> Vec<glob::Pattern> {
    texts.iter().map(|text| glob::Pattern::new(text).unwrap()).collect()
}

impl<'a> Looks<'a> {
    /// Registers a session with a flag of this content.
    async fn after_registration(alyx: &Alyx, session: &'a Session, flag: &str) -> Self {
        session.flag_with(flag);
        let client = alyx.client();
        let registered = session.register(&client, &with_files()).await.unwrap();
        let snapshot = registered.snapshot.clone();
        Self { client, session, registered, late_exclude: Vec::new(), snapshot }
    }

    async fn look(&self, every_file: bool, exclude: &[&str]) -> Result<Option<LateLook>, Error> {
        let flagged = alyx_registration::FlaggedOptions { exclude: patterns(exclude), ..with_files() };
        let rules = LookRules { every_file, flagged: &flagged, late_exclude: &self.late_exclude };
        let pace = Pace { rate: Arc::new(StatRate::new(100_000)), stop: CancellationToken::new() };
        let path = self.session.path();
        self.client.find_late_files(&path, &self.registered.eid, &self.snapshot, &rules, pace).await
    }

    /// The late files of the next look, and whether each has changed.
    async fn late(&mut self, every_file: bool) -> Vec<String> {
        let look = self.look(every_file, &[]).await.unwrap().unwrap();
        self.snapshot = look.snapshot;
        names(look.late.as_ref())
    }
}

fn names(late: Option<&Gap>) -> Vec<String> {
    let Some(Gap::LateFiles { files, .. }) = late else { return Vec::new() };
    let name = |file: &alyx_registration::LateFile| {
        format!("{}{}", file.path.display(), if file.is_changed { " changed" } else { "" })
    };
    files.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_known_and_new_folders_are_late_until_alyx_holds_them() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("raw_behavior_data/_iblrig_taskData.raw.jsonable", "x");
    let mut looks = Looks::after_registration(&alyx, &session, "").await;
    let before = alyx.control().requests().len();
    assert_eq!(looks.late(false).await, [""; 0]);
    assert_eq!(looks.late(true).await, [""; 0]);
    assert_eq!(alyx.control().requests().len(), before, "Alyx was asked although nothing came");
    session
        .file("alf/clusters.depths.npy", "ab")
        .file("alf/probe00/a/spikes.depths.npy", "ab")
        .file("notes.txt", "x");
    let late = ["alf/clusters.depths.npy", "alf/probe00/a/spikes.depths.npy"];
    assert_eq!(looks.late(false).await, late);
    assert_eq!(looks.late(false).await, late, "forgotten at the second look");
    // A pipeline registers one of them.
    let options = alyx_registration::RegisterFilesOptions::default();
    looks.client.register_files(&[session.folder.join(late[0])], &options).await.unwrap();
    assert_eq!(looks.late(false).await, late[1..]);
    session.flag();
    session.register(&looks.client, &with_files()).await.unwrap();
    assert_eq!(looks.late(false).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_from_a_hidden_one_is_late_and_a_changed_size_is_found_at_the_last_look() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/.clusters.depths.npy.aside", "abc");
    let mut looks = Looks::after_registration(&alyx, &session, "").await;
    let folder = session.folder.join("alf");
    std::fs::rename(folder.join(".clusters.depths.npy.aside"), folder.join("clusters.depths.npy")).unwrap();
    assert_eq!(looks.late(false).await, ["alf/clusters.depths.npy"]);
    std::fs::remove_file(folder.join("clusters.depths.npy")).unwrap();
    assert_eq!(looks.late(false).await, [""; 0]);
    // The folder's times do not move.
    session.file("alf/spikes.times.npy", "abcd");
    assert_eq!(looks.late(false).await, [""; 0]);
    assert_eq!(looks.late(true).await, ["alf/spikes.times.npy changed"]);
    let gap = looks.look(true, &[]).await.unwrap().unwrap().late.unwrap();
    assert!(gap.to_string().contains("alf/spikes.times.npy (changed); flag the session again"), "{gap}");
    // A deleted file is not late.
    std::fs::remove_file(session.folder.join("alf/spikes.times.npy")).unwrap();
    assert_eq!(looks.late(true).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_and_what_the_flag_did_not_list_is_not_late() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/spikes.depths.npy", "ab");
    let mut looks = Looks::after_registration(&alyx, &session, "alf/spikes.times.npy").await;
    session.file("alf/clusters.depths.npy", "ab");
    assert_eq!(names(looks.look(true, &["*clusters*"]).await.unwrap().unwrap().late.as_ref()), [""; 0]);
    // What its data root excludes.
    let exclude = Some(patterns(&["*clusters*"]));
    let root = alyx_registration::RootDatasets { path: rig.root(), exclude, ..Default::default() };
    let flagged = alyx_registration::FlaggedOptions { roots: vec![root], ..with_files() };
    let rules = LookRules { every_file: true, flagged: &flagged, late_exclude: &[] };
    let pace = Pace { rate: Arc::new(StatRate::new(100_000)), stop: CancellationToken::new() };
    let (path, eid) = (session.path(), &looks.registered.eid);
    let look = looks.client.find_late_files(&path, eid, &looks.snapshot, &rules, pace).await;
    assert_eq!(names(look.unwrap().unwrap().late.as_ref()), [""; 0]);
    looks.late_exclude = patterns(&["alf/clusters.*"]);
    assert_eq!(looks.late(true).await, [""; 0]);
    // It has changed since.
    session.file("alf/spikes.depths.npy", "abc");
    assert_eq!(looks.late(true).await, ["alf/spikes.depths.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_and_an_alyx_that_is_away_are_errors_and_report_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let looks = Looks::after_registration(&alyx, &session, "").await;
    session.file("alf/clusters.depths.npy", "ab");
    let body = "{\"detail\": \"the database is away\"}".into();
    let fault = Fault::Status { code: 503, body, content_type: "application/json".into(), retry_after: None };
    let rule = FaultRule { method: None, path_prefix: "/datasets".into(), times: usize::MAX, fault };
    alyx.control().add_fault(rule);
    assert!(looks.look(false, &[]).await.unwrap_err().is_outage());
    alyx.control().clear_faults();
    std::fs::remove_dir_all(&session.folder).unwrap();
    assert!(matches!(looks.look(false, &[]).await, Err(Error::Vanished { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_look_ends_at_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let looks = Looks::after_registration(&alyx, &session, "").await;
    // One call a second: the look would take seconds.
    let pace = Pace { rate: Arc::new(StatRate::new(1)), stop: CancellationToken::new() };
    pace.stop.cancel();
    let flagged = with_files();
    let rules = LookRules { every_file: true, flagged: &flagged, late_exclude: &[] };
    let path = session.path();
    let look = looks.client.find_late_files(&path, &looks.registered.eid, &looks.snapshot, &rules, pace);
    assert!(look.await.unwrap().is_none());
}

/// A daemon that looks once, soon after the registration.
struct World {
    alyx: Alyx,
    rig: Rig,
    config: PathBuf,
}

impl World {
    async fn new(late_files: &str, datasets: &str) -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
        let more = format!(
            "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  late_files: {late_files}\ndatasets:\n  versions: []\n{datasets}"
        );
        let config =
            Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
        Self { alyx, rig, config }
    }

    fn daemon(&self) -> Program {
        Program::start(program().arg("run").arg("--config").arg(&self.config))
    }

    /// A session with one dataset and a flag.
    fn session(&self) -> Session {
        let session = self.rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag();
        session
    }

    async fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = program();
        command.args(words).arg("--config").arg(&self.config);
        let output = tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    async fn gaps(&self) -> Vec<Value> {
        let (_, text) = self.run(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&text).unwrap();
        status["gaps"].as_array().unwrap().clone()
    }

    /// What the ledger knows of looks.
    fn looks(&self) -> Vec<alyx_registrar::ledger::LookRow> {
        let access = alyx_registrar::ledger::Access::Read;
        let ledger = alyx_registrar::ledger::Ledger::open_existing(&self.rig.beside("etc/state"), access);
        ledger.unwrap().unwrap().looks()
    }
}

fn late_file(session: &Session) -> &Path {
    session.file("alf/clusters.depths.npy", "abc");
    Path::new("alf/clusters.depths.npy")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_file_is_reported_until_the_session_is_flagged_again() {
    let world = World::new("2 s", "").await;
    let session = world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    late_file(&session);
    let line = daemon.wait_for("late files: ");
    assert!(
        line.contains(&session.name()) && line.contains("alf/clusters.depths.npy; flag the session"),
        "{line}"
    );
    assert!(line.contains(r#"datasets.late_exclude: - "**/clusters.depths.npy""#), "{line}");
    let gaps = world.gaps().await;
    assert_eq!((gaps.len(), &gaps[0]["kind"]), (1, &"late_files".into()), "{gaps:?}");
    let (code, status) = world.run(&["status"]).await;
    assert!(code == 1 && status.contains("alf/clusters.depths.npy; flag the session again"), "{status}");
    // Nobody has registered it, and a restart does not forget it.
    assert_eq!(world.alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    daemon.stop();
    assert_eq!(world.gaps().await.len(), 1);
    session.flag();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    assert_eq!(world.gaps().await, [Value::Null; 0]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn late_files_are_acknowledged_by_session_and_by_pattern() {
    for words in [&["acknowledge", "SESSION"][..], &["acknowledge", "--pattern", "alf/clusters.*"]] {
        let world = World::new("1 s", "").await;
        let session = world.session();
        let mut daemon = world.daemon();
        daemon.wait_for("registered session");
        late_file(&session);
        daemon.wait_for("late files: ");
        let name = session.name();
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "SESSION" { &name } else { *word }).collect();
        assert_eq!(world.run(&words).await.0, 0);
        assert_eq!(world.gaps().await, [Value::Null; 0]);
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_register_a_late_file_is_registered_and_no_flag_is_made() {
    let world = World::new("2 s", "  late: register\n").await;
    let session = world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    let late = late_file(&session);
    daemon.wait_for("late files registered");
    let datasets = world.alyx.datasets(&session).await;
    let found = datasets.iter().find(|dataset| Path::new(&dataset.relative_path()) == late).unwrap();
    assert_eq!(found.hash.as_deref(), Some(MD5_OF_ABC));
    assert!(!session.is_flagged());
    assert_eq!(world.gaps().await, [Value::Null; 0]);
    daemon.stop();
    let (_, history) = world.run(&["history", "--json"]).await;
    assert_eq!(history.lines().count(), 2, "{history}");
}

/// From the start, such a link would have kept the flag.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_link_that_cannot_be_registered_is_reported_until_it_is_gone() {
    for (datasets, target, why) in [
        ("", "etc/password", "this program's own configuration"),
        ("  late: register\n", "etc/password", "this program's own configuration"),
        ("", "elsewhere/clusters.depths.npy", "leads out of the data roots"),
        ("", "etc/nowhere", "a broken link"),
    ] {
        let world = World::new("2 s", datasets).await;
        let session = world.session();
        let elsewhere = world.rig.beside("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("clusters.depths.npy"), "abc").unwrap();
        let mut daemon = world.daemon();
        daemon.wait_for("registered session");
        let link = session.folder.join("alf/clusters.depths.npy");
        std::os::unix::fs::symlink(world.rig.beside(target), link).unwrap();
        let line = daemon.wait_for("late files");
        assert!(line.contains(&session.name()) && line.contains("alf/clusters.depths.npy"), "{line}");
        assert!(line.contains(why), "{line}");
        let gaps = world.gaps().await;
        assert!(gaps.len() == 1 && gaps[0]["kind"] == "late_files", "{gaps:?}");
        daemon.stop();
        assert_eq!(world.alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    }
}

/// What was left out with the flag is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_refused_at_the_registration_is_not_late() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    for (name, target) in [("alf/spikes.depths.npy", "/nowhere"), ("alf/spikes.amps.npy", "/etc/hostname")] {
        std::os::unix::fs::symlink(target, session.folder.join(name)).unwrap();
    }
    let client = alyx.client();
    let finish = alyx_registration::FlaggedOptions {
        on_refused: alyx_registration::OnRefused::Finish,
        ..with_files()
    };
    let registered = session.register(&client, &finish).await.unwrap();
    assert_eq!(registered.refused.len(), 2, "{:?}", registered.refused);
    let snapshot = registered.snapshot.clone();
    let mut looks = Looks { client, session: &session, registered, late_exclude: Vec::new(), snapshot };
    assert_eq!(looks.late(false).await, [""; 0]);
    assert_eq!(looks.late(true).await, [""; 0]);
    session.file("alf/clusters.depths.npy", "ab");
    assert_eq!(looks.late(false).await, ["alf/clusters.depths.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_files_are_registered_only_when_nothing_in_the_session_arrives_any_more() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let looks = Looks::after_registration(&alyx, &session, "").await;
    session.file("alf/clusters.depths.npy", "ab").file("alf/spikes.depths.npy.part", "ab");
    let late = looks.look(false, &[]).await.unwrap().unwrap().late.unwrap();
    let path = session.path();
    let register = async || looks.client.register_late(&path, &late, &with_files()).await;
    assert!(matches!(register().await, Err(Error::CopyInProgress { .. })));
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    std::fs::remove_file(session.folder.join("alf/spikes.depths.npy.part")).unwrap();
    let before = common::snapshot(&session.folder);
    assert_eq!(register().await.unwrap().n_files, 1);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/clusters.depths.npy", "alf/spikes.times.npy"]);
    assert_eq!(common::snapshot(&session.folder), before, "something was written to the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_files_are_registered_in_the_repository_of_their_mount_and_not_beside_a_program_that_holds_the_flag()
 {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let looks = Looks::after_registration(&alyx, &session, "").await;
    let late = late_file(&session).to_owned();
    let late = looks.look(false, &[]).await.unwrap().unwrap().late.unwrap_or_else(|| panic!("{late:?}"));
    let mounts = vec![Mount { path: rig.root(), repository: "flatiron_cortexlab".into() }];
    let options = alyx_registration::FlaggedOptions { mounts, ..with_files() };
    let path = session.path();
    let held = FlagFile::load(session.flag()).unwrap().unwrap().hold().unwrap();
    let refused = looks.client.register_late(&path, &late, &options).await;
    assert!(matches!(refused, Err(Error::RegisteredElsewhere { .. })), "{refused:?}");
    drop(held);
    looks.client.register_late(&path, &late, &options).await.unwrap();
    let datasets = alyx.datasets(&session).await;
    let dataset = datasets.iter().find(|dataset| dataset.name == "clusters.depths.npy").unwrap();
    let is_there = |copy: &&alyx_client::FileRecord| copy.exists;
    let there: Vec<_> =
        dataset.file_records.iter().filter(is_there).map(|copy| &copy.data_repository).collect();
    assert_eq!(there, [&Some("flatiron_cortexlab".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_files_of_a_session_that_alyx_no_longer_has_do_not_create_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let looks = Looks::after_registration(&alyx, &session, "").await;
    session.file("alf/clusters.depths.npy", "ab");
    let late = looks.look(false, &[]).await.unwrap().unwrap().late.unwrap();
    // Another Alyx, without the session.
    let other = Alyx::sandbox().await;
    let refused = other.client().register_late(&session.path(), &late, &with_files()).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert!(other.sessions(&session).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn late_files_of_a_session_that_was_deleted_on_alyx_are_reported_once_with_what_to_do() {
    for late in ["report", "register"] {
        let world = World::new("2 s", &format!("  late: {late}\n")).await;
        let session = world.session();
        let mut daemon = world.daemon();
        daemon.wait_for("registered session");
        let eid = world.alyx.the_session(&session).await.eid().to_owned();
        world.alyx.control().delete_session(&eid);
        late_file(&session);
        let line = daemon.wait_for("the session was deleted on Alyx");
        assert!(
            line.contains("WARN") && line.contains("flag the session again to create it again"),
            "{line}"
        );
        let gaps = world.gaps().await;
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0]["text"].as_str().unwrap().contains("was deleted on Alyx"), "{gaps:?}");
        assert!(world.looks().is_empty() && world.alyx.sessions(&session).await.is_empty());
        session.flag();
        daemon.wait_for("registered session");
        assert_eq!(world.gaps().await, [Value::Null; 0]);
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_looks_after_its_restart_and_forgets_the_session_after_the_last_look() {
    let world = World::new("3 s", "").await;
    let session = world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    until("the look is planned", || !world.looks().is_empty());
    daemon.signal("KILL");
    daemon.wait();
    late_file(&session);
    let mut daemon = world.daemon();
    daemon.wait_for("late files: ");
    until("the last look is over", || world.looks().is_empty());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_the_middle_of_a_check_repeats_it() {
    let world = World::new("1 s", "").await;
    let session = world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    // The check asks Alyx what it holds, when it has found the file.
    let gate = hold(&world.alyx, "GET", "/datasets");
    late_file(&session);
    gate.reached().await;
    daemon.signal("KILL");
    daemon.wait();
    gate.open();
    assert_eq!(world.looks().len(), 1, "the check counts, although it did not end");
    let mut daemon = world.daemon();
    daemon.wait_for("late files: ");
    until("the check is over", || world.looks().is_empty());
    assert_eq!(world.gaps().await.len(), 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_check_waits_for_a_disk_that_is_not_mounted() {
    for mount_point_stays in [true, false] {
        let world = World::new("1 s", "retry:\n  initial: 1 s\n  max: 1 s\n").await;
        let mut daemon = world.daemon();
        daemon.wait_for("data root scanned");
        daemon.stop();
        let session = world.session();
        // It plans the check, and does not check.
        assert_eq!(world.run(&["scan"]).await.0, 0);
        // As an unmounted disk looks: nothing there, or an empty folder.
        let (root, elsewhere) = (world.rig.root(), world.rig.beside("unmounted"));
        std::fs::rename(&root, &elsewhere).unwrap();
        if mount_point_stays {
            std::fs::create_dir(&root).unwrap();
        }
        let due = world.looks()[0].due;
        let mut daemon = world.daemon();
        until("the check was tried", || world.looks().first().is_some_and(|look| look.due > due));
        assert_eq!(world.gaps().await, [Value::Null; 0]);
        if mount_point_stays {
            std::fs::remove_dir(&root).unwrap();
        }
        std::fs::rename(&elsewhere, &root).unwrap();
        late_file(&session);
        daemon.wait_for("late files: ");
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_ledger_or_with_looks_switched_off_nothing_is_planned_and_all_is_registered() {
    let world = World::new("0", "").await;
    let session = world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    daemon.stop();
    assert_eq!(world.looks(), []);
    assert!(!session.is_flagged());
    let world = World::new("7 d", "  register: false\n").await;
    world.session();
    let mut daemon = world.daemon();
    daemon.wait_for("registered session");
    daemon.stop();
    assert_eq!(world.looks(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leaves_the_looks_to_the_daemon() {
    let world = World::new("7 d", "").await;
    let mut daemon = world.daemon();
    daemon.wait_for("data root scanned");
    daemon.stop();
    let session = world.session();
    assert_eq!(world.run(&["scan"]).await.0, 0);
    let looks = world.looks();
    assert_eq!((looks.len(), looks[0].done), (1, 0));
    assert_eq!(looks[0].folder, session.folder);
    let wait = looks[0].due.duration_since(jiff::Timestamp::now());
    assert!(
        wait > jiff::SignedDuration::from_mins(5) && wait < jiff::SignedDuration::from_mins(13),
        "{wait:?}"
    );
}
