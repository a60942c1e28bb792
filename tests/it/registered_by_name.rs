//! Sessions that are registered by name, with a command: the same files as for a flag, the same patience, and the same
//! memory in history and status.

use std::path::PathBuf;

use alyx_client::DatasetRecord;
use alyx_registrar::ledger::Ledger;
use alyx_registration::{FilesToRegister, RegisterFilesOptions, SessionDetails};
use serde_json::Value;

use crate::common::{Alyx, Rig, Session, hold};
use crate::program::{Configuration, Program, program};
use crate::verbs::{Said, at_home, run, verb, word};

/// An Alyx, a rig, and a configuration with these sections and a ledger.
struct World {
    alyx: Alyx,
    rig: Rig,
    config: PathBuf,
}

impl World {
    async fn new(more: &str) -> Self {
        let world = Self::without_ledger(more).await;
        drop(Ledger::open(&world.rig.beside("etc/state")));
        world
    }

    async fn without_ledger(more: &str) -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
        let more = more.to_owned();
        let config =
            Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
        Self { alyx, rig, config }
    }

    async fn run(&self, words: &[&str]) -> Said {
        let mut command = at_home(&self.rig, &[words, &["--config", word(&self.config)]].concat());
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    }

    async fn register(&self, session: &Session, more: &[&str]) -> Said {
        self.run(&[&["register-session", word(&session.folder)], more].concat()).await
    }

    async fn gaps(&self) -> Vec<Value> {
        let status = self.run(&["status", "--json"]).await.json();
        status["gaps"].as_array().unwrap().clone()
    }

    /// The latest outcome.
    async fn outcome(&self) -> Value {
        self.run(&["history", "--limit", "1", "--json"]).await.json()
    }

    fn daemon(&self) -> Program {
        Program::start(program().arg("run").arg("--config").arg(&self.config))
    }
}

fn is_in_flatiron(dataset: &DatasetRecord) -> bool {
    let there = dataset.file_records.iter().filter(|copy| copy.exists);
    there.map(|copy| copy.data_repository.as_deref()).eq([Some("flatiron_cortexlab")])
}

const SPIKES: [&str; 2] = ["alf/spikes.clusters.npy", "alf/spikes.times.npy"];

fn spikes(session: &Session) {
    SPIKES.iter().for_each(|name| _ = session.file(name, "abc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_registers_the_files_that_the_daemon_would() {
    let world = World::new("datasets: {exclude: ['*clusters*'], repository: flatiron_cortexlab}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    let planned = world.register(&session, &["--dry-run"]).await.ends(0).out;
    assert!(!planned.contains("clusters.npy  "), "{planned}");
    world.register(&session, &[]).await.ends(0);
    assert_eq!(world.alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    assert!(is_in_flatiron(&world.alyx.datasets(&session).await[0]));
    // A file that is named is meant.
    let clusters = session.folder.join(SPIKES[0]);
    world.register(&session, &["--file", word(&clusters)]).await.ends(0);
    assert_eq!(world.alyx.dataset_paths(&session).await, SPIKES);
    let outcome = world.outcome().await;
    assert_eq!((&outcome["datasets"], &outcome["outcome"]), (&1.into(), &"registered".into()), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sidecar_says_of_the_files_applies_to_commands_and_to_the_library() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let says = "datasets: {exclude: ['*clusters*'], versions: ['1.2'], repository: flatiron_cortexlab}\n";
    for by_library in [true, false] {
        let session = rig.session("cortexlab", "KS014");
        spikes(&session);
        session.file("alyx-session.yaml", says);
        if by_library {
            let (all, options) = (FilesToRegister::All, RegisterFilesOptions::default());
            let details = SessionDetails::default();
            alyx.client().register_session(&session.folder, &details, &all, &options).await.unwrap();
        } else {
            let folder = word(&session.folder);
            let found = verb(&alyx, &rig, &["find-files", folder]).ends(0).out;
            assert!(found.contains("sidecar   alyx-session.yaml: describes the session"), "{found}");
            assert!(found.contains("alf/spikes.clusters.npy: excluded"), "{found}");
            let planned = verb(&alyx, &rig, &["register-session", folder, "--dry-run", "--json"]).ends(0);
            let request = &planned.json()["files"]["requests"][0];
            assert_eq!(
                (&request["name"], &request["versions"][0]),
                (&"flatiron_cortexlab".into(), &"1.2".into())
            );
            verb(&alyx, &rig, &["register-session", folder]).ends(0);
        }
        assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
        let dataset = &alyx.datasets(&session).await[0];
        assert!(is_in_flatiron(dataset));
        assert_eq!(dataset.version.as_deref(), Some("1.2"));
    }
    // A flag that describes its session is a sidecar too.
    let session = rig.session("cortexlab", "KS014");
    spikes(&session);
    session.flag_with(says);
    verb(&alyx, &rig, &["register-session", word(&session.folder)]).ends(0);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sessions_leaves_out_what_the_configuration_excludes() {
    let world = World::new("datasets: {exclude: ['*clusters*']}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    session.flag();
    let root = world.rig.root();
    world.run(&["create-sessions", word(&root), "--register-files"]).await.ends(0);
    assert_eq!(world.alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    assert_eq!(world.outcome().await["by"], "create-sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_names_no_repository_of_another_lab_and_none_that_alyx_does_not_know() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let above = rig.session_at("cortexlab/Subjects/KS014");
    let subjects = rig.root().join("cortexlab/Subjects");
    for (name, why) in [
        ("flatiron_mainenlab", "the repository \"flatiron_mainenlab\" is not one of lab \"cortexlab\""),
        ("nowhere", "Alyx does not know repository \"nowhere\""),
    ] {
        above.file("alyx-session.yaml", format!("datasets: {{repository: {name}}}\n"));
        for words in [
            &["create-session", word(&session.folder)][..],
            &["create-session", word(&session.folder), "--dry-run"],
            &["register-session", word(&session.folder)],
            &["new-session", "KS014", word(&subjects), "--date", "2024-05-02", "--dry-run"],
        ] {
            verb(&alyx, &rig, words).ends(1).complains(why);
        }
    }
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_needs_a_folder_that_is_there() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let missing = rig.root().join("disk/Subjects");
    for more in [&[][..], &["--dry-run"], &["--no-register"]] {
        let words = [&["new-session", "KS014", word(&missing)], more].concat();
        let said = verb(&alyx, &rig, &words).ends(1).complains("mount its disk");
        assert!(said.err.contains(word(&missing)), "{said:?}");
    }
    assert!(!missing.exists() && alyx.control().sessions().is_empty());
    let world = World::new("watch: {require_marker: .mounted, settle: 50 ms}\n").await;
    let root = world.rig.root();
    let words = ["new-session", "KS014", word(&root), "--date", "2024-05-01"];
    world.run(&words).await.ends(1).complains(".mounted");
    std::fs::write(root.join(".mounted"), "").unwrap();
    world.run(&words).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_files_that_change_and_ends_after_five_attempts() {
    let world = World::new("").await;
    let session = world.rig.session("cortexlab", "KS014");
    let sidecar = |n: usize| _ = session.file("alyx-session.yaml", format!("narrative: {}\n", "x".repeat(n)));
    let start = || {
        let words = ["register-session", word(&session.folder), "--config", word(&world.config)];
        Program::start(&mut at_home(&world.rig, &words))
    };
    sidecar(1);
    let mut gate = hold(&world.alyx, "GET", "/sessions");
    let mut command = start();
    for n in 2..=6 {
        gate.reached().await;
        sidecar(n);
        let next = (n < 6).then(|| hold(&world.alyx, "GET", "/sessions"));
        gate.open();
        if n == 2 {
            command.wait_for("alyx-session.yaml\" is still changing");
        }
        let Some(next) = next else { break };
        gate = next;
    }
    command.wait_for("run the command again when no program writes to it any more");
    assert_eq!(command.wait().code(), Some(1));
    assert!(world.alyx.sessions(&session).await.is_empty());

    let gate = hold(&world.alyx, "GET", "/sessions");
    let mut command = start();
    gate.reached().await;
    sidecar(1);
    gate.open();
    command.wait_for(&format!("{} waits: ", session.name()));
    assert_eq!(command.wait().code(), Some(0), "{}", command.text());
    assert_eq!(world.alyx.the_session(&session).await.other["narrative"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_the_gaps_that_a_command_finds_until_it_has_registered_them() {
    let world = World::new("datasets: {repository: flatiron_cortexlab}\n").await;
    for with_daemon in [false, true] {
        let mut daemon = with_daemon.then(|| world.daemon());
        if let Some(daemon) = &mut daemon {
            daemon.wait_for("data root scanned");
        }
        let session = world.rig.session("cortexlab", "KS014");
        spikes(&session);
        session.file("raw_video_data/_iblrig_leftCamera.raw.MP4", "x");
        world.register(&session, &[]).await.ends(1);
        let gaps = world.gaps().await;
        assert_eq!((gaps.len(), &gaps[0]["kind"]), (1, &"near_miss".into()), "{gaps:?}");
        let outcome = world.outcome().await;
        assert_eq!((&outcome["outcome"], &outcome["by"]), (&"gaps".into(), &"register-session".into()));
        assert_eq!(outcome["datasets"], 2, "{outcome}");
        let videos = session.folder.join("raw_video_data");
        let wrong = videos.join("_iblrig_leftCamera.raw.MP4");
        std::fs::rename(wrong, videos.join("_iblrig_leftCamera.raw.mp4")).unwrap();
        world.register(&session, &[]).await.ends(0);
        assert_eq!(world.gaps().await, [Value::Null; 0], "with a daemon: {with_daemon}");
        let history = world.run(&["history"]).await.ends(0).out;
        assert!(history.contains("by register-session"), "{history}");
        if let Some(daemon) = daemon {
            daemon.stop();
        }
    }
    let said = world.run(&["acknowledge", "--pattern", "*.nwb"]).await.ends(0);
    assert!(said.err.contains("it is kept, and acknowledges those that come"), "{said:?}");
    // A dry run is not remembered.
    let before = world.outcome().await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    world.register(&session, &["--dry-run"]).await.ends(0);
    world.run(&["create-session", word(&session.folder), "--dry-run"]).await.ends(0);
    assert_eq!(world.outcome().await, before);
    // Of a session without its files nothing is known to be missing.
    world.run(&["create-session", word(&session.folder)]).await.ends(0);
    assert_eq!(world.outcome().await["by"], "create-session");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_shows_the_folder_where_two_have_one_name_and_how_many_outcomes_it_does_not_show() {
    let world = World::new("").await;
    let day = "cortexlab/Subjects/KS014/2024-05-01";
    for number in ["001", "1"] {
        let session = world.rig.session_at(&format!("{day}/{number}"));
        session.file("alf/spikes.times.npy", "abc");
        world.register(&session, &[]).await;
        // The daemon refuses two such folders side by side; a person may have moved one away.
        std::fs::rename(&session.folder, world.rig.beside(&format!("moved_{number}"))).unwrap();
    }
    let out = world.run(&["history"]).await.ends(0).out;
    for number in ["001", "1"] {
        let folder = world.rig.root().join(day).join(number);
        assert!(out.contains(&format!("KS014/2024-05-01/001 in {}  ", word(&folder))), "{out}");
    }
    let out = world.run(&["history", "--limit", "1"]).await.ends(0).out;
    assert!(out.ends_with("\nand 1 earlier; --limit 0 shows all\n") && !out.contains(" in /"), "{out}");
    assert!(!world.run(&["history", "--limit", "0"]).await.ends(0).out.contains("earlier;"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_command_created_is_completed_as_its_own() {
    let world = World::new("").await;
    let session = world.rig.session("cortexlab", "KS014");
    world.run(&["create-session", word(&session.folder)]).await.ends(0);
    let eid = world.alyx.the_session(&session).await.eid().to_owned();
    let ledger = Ledger::open(&world.rig.beside("etc/state"));
    assert!(alyx_registration::CreatedSessions::contains(&ledger, &eid));
}

#[tokio::test(flavor = "multi_thread")]
async fn register_files_keeps_a_dataset_loadable_as_the_configuration_and_the_sidecars_say() {
    let more = "datasets: {repository: flatiron_cortexlab, versions: ['1.2'], max_md5_size: 2 B}\n";
    let world = World::new(more).await;
    let (session, other) = (world.rig.session("cortexlab", "KS014"), world.rig.session("cortexlab", "KS014"));
    for session in [&session, &other] {
        spikes(session);
        world.register(session, &[]).await.ends(0);
    }
    other.file("alyx-session.yaml", "datasets: {versions: ['2.0']}\n");
    let paths = [&session, &other].map(|session| session.file(SPIKES[1], "longer").folder.join(SPIKES[1]));
    let words = ["register-files", word(&paths[0]), word(&paths[1])];
    let planned = world.run(&[&words[..], &["--dry-run", "--json"]].concat()).await.ends(0).json();
    let version = |of: usize| planned["requests"][of]["versions"][0].clone();
    assert_eq!((version(0), version(1)), ("1.2".into(), "2.0".into()), "{planned}");
    assert_eq!(planned["requests"][0]["hashes"][0], Value::Null, "max_md5_size");
    let said = world.run(&[&words[..], &["--json"]].concat()).await.ends(0).json();
    let file = |of: usize| said["records"][of]["file"].as_str().map(PathBuf::from);
    assert_eq!([file(0), file(1)], paths.clone().map(Some), "in the order of the command line");
    for (session, version) in [(&session, "1.2"), (&other, "2.0")] {
        let datasets = world.alyx.datasets(session).await;
        let times = datasets.iter().find(|dataset| dataset.name == "spikes.times.npy").unwrap();
        assert!(is_in_flatiron(times), "{times:?}");
        assert_eq!((times.file_size, times.version.as_deref()), (Some(6), Some(version)));
    }
    // The command line says more, to all files in turn.
    let words =
        [&words[..], &["--versions", "a,b", "--no-exists", "--force", "--dry-run", "--json"]].concat();
    let planned = world.run(&words).await.ends(0).json();
    let said = |of: usize| {
        let request = &planned["requests"][of];
        (request["versions"][0].clone(), request["exists"].clone(), request["name"].clone())
    };
    for (of, version) in ["a", "b"].into_iter().enumerate() {
        // Files that are registered in the same way share a request only within a session.
        assert_eq!(said(of), (version.into(), false.into(), "flatiron_cortexlab".into()), "{planned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sessions_waits_for_files_that_still_arrive_and_lets_the_others_go_first() {
    let world = World::new("watch: {settle: 1 h, empty_grace: 1 h}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    session.flag();
    let empty = world.rig.session("cortexlab", "KS014");
    empty.flag();
    let root = world.rig.root();
    let words = ["create-sessions", word(&root), "--register-files", "--config", word(&world.config)];
    let mut command = Program::start(&mut at_home(&world.rig, &words));
    // Both wait at the same time.
    for _ in 0..2 {
        command.wait_for(" waits, and the other sessions go first: ");
    }
    for session in [&session, &empty] {
        assert!(command.text().contains(&format!("{} waits, and", session.name())), "{}", command.text());
    }
    command.signal("KILL");
    command.wait();
    assert!(session.is_flagged() && empty.is_flagged() && world.alyx.control().sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sessions_shows_what_is_registered_and_left_out_and_who_would_wait() {
    let world = World::new("watch: {settle: 1 s}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    session.file("notes.txt", "x").flag();
    let copied = world.rig.session("cortexlab", "KS014");
    copied.file("alf/spikes.times.npy.part", "x").flag();
    let root = world.rig.root();
    let words = ["create-sessions", word(&root), "--register-files", "--dry-run"];
    let sign = |out: &str, folder: &PathBuf| {
        let is_of = |line: &&str| line.contains(&format!(" {}  ", word(folder)));
        out.lines().find(is_of).unwrap_or_else(|| panic!("{out}")).to_owned()
    };
    let json = world.run(&[&words[..], &["--json"]].concat()).await.ends(1).json();
    let row = |folder: &PathBuf| {
        let rows = json["sessions"].as_array().unwrap();
        rows.iter().find(|row| row["folder"] == word(folder)).unwrap()["outcome"].clone()
    };
    assert_eq!((row(&session.folder), row(&copied.folder)), ("planned".into(), "waits".into()), "{json}");
    assert_eq!(json["outcome"], "planned");
    std::fs::remove_file(copied.folder.join("alf/spikes.times.npy.part")).unwrap();
    std::fs::remove_file(copied.folder.join("create_me.flag")).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let words = ["create-sessions", word(&root), "--register-files"];
        let out = world.run(&[&words[..], more].concat()).await.ends(0).out;
        let line = sign(&out, &session.folder);
        assert!(line.contains("  2 datasets, 6 B; left out: 1 "), "{out}");
    }
    session.flag();
    let json =
        world.run(&["create-sessions", word(&root), "--register-files", "--json"]).await.ends(0).json();
    let row = &json["sessions"][0];
    assert_eq!((&row["datasets"], &row["bytes"]), (&2.into(), &6.into()), "{row}");
    assert_eq!(row["left_out_files"][0]["path"], "notes.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_declared_incomplete_is_registered_by_name_with_what_it_lacks() {
    let world = World::new("metadata: {expect: ['raw_video_data/*.mp4']}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    let words = |more: &[&'static str]| more.to_vec();
    for more in [&["--dry-run"][..], &[]] {
        let out = world.register(&session, &words(more)).await.ends(1).out;
        assert!(out.contains("missing  raw_video_data/*.mp4: "), "{out}");
        let json = world.register(&session, &[&words(more)[..], &["--json"]].concat()).await.ends(1).json();
        assert_eq!(json["missing"][0]["what"], "raw_video_data/*.mp4", "{json}");
    }
    assert_eq!(world.alyx.dataset_paths(&session).await, SPIKES);
    let out = world.run(&["metadata", word(&session.folder)]).await.ends(1).out;
    assert!(
        out.contains("a flagged session would wait for what is missing; then a new session would be"),
        "{out}"
    );
    world.register(&session, &["--no-files"]).await.ends(0);
    session.file("raw_video_data/_iblrig_leftCamera.raw.mp4", "x");
    let json = world.register(&session, &["--json"]).await.ends(0).json();
    assert_eq!(json["missing"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_and_the_commands_say_once_that_one_cannot_load_what_they_register() {
    for (repository, why) in [
        ("flatiron_mainenlab", "the repository \"flatiron_mainenlab\" is not one of lab \"cortexlab\""),
        ("cortexlab_local", "it has no data_url"),
    ] {
        let world =
            World::new(&format!("datasets: {{repository: {repository}}}\nwatch: {{settle: 0 s}}\n")).await;
        let root = world.rig.root();
        let session = world.rig.session("cortexlab", "KS014");
        spikes(&session);
        let file = session.folder.join(SPIKES[1]);
        for words in [
            &["register-session", word(&session.folder)][..],
            &["register-files", word(&file), "--force"],
            &["create-sessions", word(&root), "--register-files"],
            &["scan"],
        ] {
            if matches!(words[0], "create-sessions" | "scan") {
                session.flag();
            }
            let err = world.run(words).await.ends(0).err;
            assert_eq!(err.matches(why).count(), 1, "{words:?}: {err}");
        }
    }
    // A repository that the command line names needs no configuration.
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    spikes(&session);
    verb(&alyx, &rig, &["create-session", word(&session.folder)]).ends(0);
    let file = session.folder.join(SPIKES[1]);
    let words = ["register-files", word(&file), "--repository", "flatiron_mainenlab"];
    let err = verb(&alyx, &rig, &words).ends(0).err;
    assert!(err.contains("is not one of lab \"cortexlab\""), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_skipped_subjects_are_left_alone_by_every_command() {
    let world = World::new("metadata: {skip_subjects: [test]}\nwatch: {settle: 0 s}\n").await;
    let root = world.rig.root();
    let session = world.rig.session("cortexlab", "test");
    spikes(&session);
    session.flag();
    let said = world.run(&["create-sessions", word(&root), "--register-files"]).await.ends(0);
    assert!(said.err.contains("skipped: its subject is in metadata.skip_subjects"), "{said:?}");
    let status = world.run(&["status", "--json"]).await.json();
    assert_eq!(status["sessions"], Value::Array(Vec::new()), "{status}");
    let checked = world.run(&["check"]).await.out;
    assert!(checked.contains("1 session, 0 flags"), "{checked}");
    assert!(session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_gaps_and_the_waits_of_a_run() {
    let world = World::new("metadata: {expect: [done.txt]}\nwatch: {settle: 0 s}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    session.file("alf/_ibl_unheard.of.npy", "x").flag();
    let scan = async |more: &[&str]| world.run(&[&["scan", "--json"], more].concat()).await.ends(1).json();
    let waits = scan(&["--dry-run"]).await;
    assert_eq!(
        (&waits["outcome"], &waits["error"]["kind"]),
        (&"waits".into(), &"Incomplete".into()),
        "{waits}"
    );
    session.file("done.txt", "x");
    let planned = scan(&["--dry-run"]).await;
    let gap = planned["gaps"].as_str().unwrap_or_default();
    assert!(gap.contains("no dataset type of Alyx matches alf/_ibl_unheard.of.npy"), "{planned}");
    let root = world.rig.root();
    let words = ["create-sessions", word(&root), "--register-files", "--dry-run", "--json"];
    assert_eq!(world.run(&words).await.ends(1).json()["sessions"][0]["gaps"], gap);
    assert_eq!(scan(&[]).await["gaps"], gap);
    session.flag();
    let again = world.run(&["scan", "--dry-run", "--json"]).await.ends(0).json();
    assert_eq!(again["gaps"], Value::Null, "reported once in a data root");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_remembers_what_it_has_done_and_what_a_session_lacks() {
    let world = World::without_ledger("watch: {settle: 0 s}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    session.file("raw_video_data/_iblrig_leftCamera.raw.MP4", "x").flag();
    world.run(&["scan", "--dry-run"]).await.ends(1);
    assert!(!world.rig.beside("etc/state/ledger.sqlite").exists(), "a dry run writes nothing");
    world.run(&["scan"]).await.ends(1);
    assert_eq!(world.gaps().await.len(), 1);
    assert_eq!(world.outcome().await["outcome"], "gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_weight_and_water_that_the_run_records() {
    let world =
        World::new("metadata: {measurements: {weight: true, water: true}}\nwatch: {settle: 0 s}\n").await;
    let session = world.rig.session("cortexlab", "KS014");
    spikes(&session);
    let says = "weight: 20.5\nwater: [{volume: 0.7}]\nend_time: 2024-05-01T11:00:00\n";
    session.file("alyx-session.yaml", says).flag();
    let root = world.rig.root();
    let weight = "the weight of 20.5 g at ";
    for words in [
        &["register-session", word(&session.folder), "--dry-run"][..],
        &["create-sessions", word(&root), "--dry-run"],
        &["scan", "--dry-run"],
    ] {
        let out = world.run(words).await.ends(0).out;
        assert!(
            out.contains(&format!("would record {weight}"))
                && out.contains("would record 0.7 ml of Water at "),
            "{words:?}: {out}"
        );
        let json = world.run(&[words, &["--json"]].concat()).await.ends(0).json();
        let row = if words[0] == "create-sessions" { &json["sessions"][0] } else { &json };
        assert_eq!(row["measurements"].as_array().map(Vec::len), Some(2), "{json}");
    }
    let said = world.run(&["scan"]).await.ends(0);
    assert!(said.err.contains(&format!("recorded {weight}")), "{said:?}");
    session.flag();
    let out = world.run(&["scan", "--dry-run"]).await.ends(0).out;
    assert!(!out.contains("would record"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updated_field_does_not_differ() {
    let world = World::new("").await;
    let session = world.rig.session("cortexlab", "KS014");
    world.run(&["create-session", word(&session.folder), "--n-trials", "5"]).await.ends(0);
    session.file("alyx-session.yaml", "n_trials: 6\nnarrative: x\n");
    let words = ["--no-files", "--update", "n_trials"];
    let out = world.register(&session, &[&words[..], &["--dry-run"]].concat()).await.ends(0).out;
    assert!(out.contains("\"n_trials\":6") && !out.contains("differs"), "{out}");
    let said = world.register(&session, &words).await.ends(0);
    assert!(!said.err.contains("n_trials"), "{said:?}");
}

#[test]
fn metadata_refuses_a_missing_folder_and_a_day_of_a_wrong_clock_as_a_registration_does() {
    let rig = Rig::new();
    let missing = rig.root().join("nothere/KS014/2024-05-10/001");
    let said = run(&mut at_home(&rig, &["metadata", word(&missing), "--json"])).ends(1).json();
    assert_eq!(
        (&said["errors"][0]["kind"], &said["errors"][0]["retryable"]),
        (&"Invalid".into(), &false.into())
    );
    for day in ["1970-01-01", "2094-01-01"] {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/{day}/001"));
        let out = run(&mut at_home(&rig, &["metadata", word(&session.folder)])).ends(1).out;
        assert!(out.contains("nothing would be registered") && out.contains("problem  "), "{out}");
    }
}
