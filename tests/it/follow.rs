//! Copies in other repositories: Alyx says that they exist once they are complete, and not before.

use crate::common::{Alyx, Rig, Session, at_once, until, with_files};
use crate::program::{Configuration, Program, output, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_registration::{
    CopyKind, FlaggedOptions, FollowMode, FollowRules, FollowedRepository, Mount, QuietRules,
    RegisterFilesOptions,
};
use alyx_sandbox::{Fault, FaultRule, Gate};
use serde_json::{Value, json};

const RIG: &str = "cortexlab_local";
const SERVER: &str = "flatiron_cortexlab";
const SESSION: &str = "KS014/2024-05-01/001";

/// A rig whose disk is a repository, and a server whose disk is mounted.
struct World {
    alyx: Alyx,
    rig: Rig,
    server: PathBuf,
    config: PathBuf,
}

/// The lines of `follow --json`.
#[derive(Debug)]
struct Followed {
    code: Option<i32>,
    /// `kind path`, sorted by path; `-` for a session of which nothing is there.
    copies: Vec<String>,
    totals: Value,
    log: String,
}

impl World {
    async fn new() -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let server = rig.beside("server/cortexlab/Subjects");
        fs::create_dir_all(&server).unwrap();
        let more = format!(
            "datasets:\n  repository: {RIG}\nrepositories:\n  - {{path: {}, name: {SERVER}}}\n\
             watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 1 s\n",
            server.display()
        );
        let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
        let config =
            Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
        Self { alyx, rig, server, config }
    }

    fn session(&self, name: &str) -> Session {
        self.rig.session_at(&format!("cortexlab/Subjects/{name}"))
    }

    async fn register(&self, session: &Session) {
        session.flag();
        let files =
            RegisterFilesOptions { repository: Some(RIG.to_owned()), ..RegisterFilesOptions::default() };
        let options = FlaggedOptions { files, ..with_files() };
        session.register(&self.alyx.client(), &options).await.unwrap();
    }

    /// The place of a file on the server.
    fn place(&self, path: &str) -> PathBuf {
        let place = self.server.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    fn follow(&self, words: &[&str]) -> Followed {
        let mut command = program();
        command.arg("follow").args(words).arg("--json").arg("--config").arg(&self.config);
        let output = output(&mut command);
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let copies = lines.iter().filter(|line| line["outcome"] == "copy");
        let mut copies: Vec<String> = copies
            .map(|copy| {
                format!("{} {}", copy["path"].as_str().unwrap_or("-"), copy["kind"].as_str().unwrap())
            })
            .collect();
        copies.sort();
        let totals = lines.last().cloned().unwrap_or_default();
        Followed {
            code: output.status.code(),
            copies,
            totals,
            log: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Whether the copies of a session on the server exist, by dataset.
    async fn exists(&self, session: &Session) -> Vec<(String, bool)> {
        let datasets = self.alyx.datasets(session).await;
        let of = |dataset: &alyx_client::DatasetRecord| {
            let is_it = |copy: &&alyx_client::FileRecord| copy.data_repository.as_deref() == Some(SERVER);
            dataset.file_records.iter().find(is_it).unwrap().exists
        };
        datasets.iter().map(|dataset| (dataset.relative_path(), of(dataset))).collect()
    }

    async fn existing(&self, session: &Session) -> Vec<String> {
        let exists = self.exists(session).await;
        exists.into_iter().filter(|(_, exists)| *exists).map(|(path, _)| path).collect()
    }

    fn status(&self) -> Value {
        let mut command = program();
        let output = output(command.args(["status", "--json", "--config"]).arg(&self.config));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn name(attribute: &str) -> String {
    format!("alf/spikes.{attribute}.npy")
}

/// What another program does.
fn copy(world: &World, session: &str, from: &Path) {
    let to = world.place(&format!("{session}/{}", name("times")));
    fs::copy(from.join(name("times")), to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_complete_copy_of_its_own_exists_from_then_on() {
    let world = World::new().await;
    let session = world.session(SESSION);
    let all = ["amps", "clusters", "depths", "samples", "templates", "times"];
    for attribute in all {
        session.file(&name(attribute), format!("the {attribute}"));
    }
    world.register(&session).await;
    world.session("KS014/2024-05-02/001").file(&name("times"), "abc");
    world.register(&world.session("KS014/2024-05-02/001")).await;

    // The mount point is empty: nothing is said of any copy.
    let unmounted = world.follow(&[]);
    assert_eq!((unmounted.code, unmounted.copies.len()), (Some(1), 0), "{unmounted:?}");
    assert!(
        unmounted.log.contains("not mounted") && unmounted.log.contains("mount its disk"),
        "{unmounted:?}"
    );

    let source = |attribute: &str| session.folder.join(name(attribute));
    let at = |attribute: &str| world.place(&format!("{SESSION}/{}", name(attribute)));
    let id = {
        let datasets = world.alyx.datasets(&session).await;
        datasets.iter().find(|dataset| dataset.relative_path() == name("clusters")).unwrap().id().to_owned()
    };
    fs::copy(source("amps"), at("amps")).unwrap();
    fs::copy(source("clusters"), world.place(&format!("{SESSION}/alf/spikes.clusters.{id}.npy"))).unwrap();
    // The temporary names of rsync and rclone.
    fs::copy(source("depths"), world.place(&format!("{SESSION}/alf/.spikes.depths.npy.a1B2c3"))).unwrap();
    fs::copy(source("depths"), world.place(&format!("{SESSION}/alf/spikes.depths.npy.8f3a11c0.partial")))
        .unwrap();
    fs::write(at("samples"), "the sam").unwrap();
    symlink(source("templates"), at("templates")).unwrap();
    fs::write(at("times"), "the tomes").unwrap();
    let followed = world.follow(&[]);
    let expected = [
        "- absent",
        "alf/spikes.amps.npy confirmed",
        "alf/spikes.clusters.npy confirmed",
        "alf/spikes.depths.npy absent",
        "alf/spikes.samples.npy differs",
        "alf/spikes.templates.npy no_copy",
        "alf/spikes.times.npy differs",
    ];
    assert_eq!(
        (followed.code, followed.copies.as_slice()),
        (Some(1), &expected.map(str::to_owned)[..]),
        "{followed:?}"
    );
    assert_eq!(followed.totals["copies"]["confirmed"], 2);
    assert_eq!(world.existing(&session).await, [name("amps"), name("clusters")]);

    // The other program copies them again; of the second session, everything.
    for attribute in ["depths", "samples", "times"] {
        fs::copy(source(attribute), at(attribute)).unwrap();
    }
    fs::remove_file(at("templates")).unwrap();
    fs::hard_link(source("templates"), at("templates")).unwrap();
    let followed = world.follow(&["KS014/2024-05-01/001"]);
    let expected = ["depths confirmed", "samples confirmed", "templates no_copy", "times confirmed"];
    let expected = expected.map(|copy| format!("alf/spikes.{}", copy.replace(' ', ".npy ")));
    assert_eq!((followed.code, followed.copies.as_slice()), (Some(1), &expected[..]), "{followed:?}");
    fs::remove_file(at("templates")).unwrap();
    fs::copy(source("templates"), at("templates")).unwrap();
    let other = "KS014/2024-05-02/001/alf/spikes.times.npy";
    fs::copy(world.rig.root().join("cortexlab/Subjects").join(other), world.place(other)).unwrap();
    let followed = world.follow(&["KS014"]);
    assert_eq!((followed.code, followed.copies.len()), (Some(0), 2), "{followed:?}");
    assert_eq!(world.follow(&[]).code, Some(0));
    assert_eq!(world.existing(&session).await.len(), all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_compared_by_its_md5_counts_only_by_its_size() {
    let world = World::new().await;
    let session = world.session(SESSION);
    session.file(&name("times"), "abc");
    world.register(&session).await;
    fs::copy(session.folder.join(name("times")), world.place(&format!("{SESSION}/{}", name("times"))))
        .unwrap();
    let dataset = world.alyx.datasets(&session).await[0].id().to_owned();
    // The hash changes after the first look.
    let changed = json!({"hash": "0cc175b9c0f1b6a831c399e269772661"});
    world.alyx.rest("PATCH", &format!("/datasets/{dataset}"), changed).await;
    let followed = world.follow(&[]);
    assert_eq!(
        (followed.code, followed.copies.as_slice()),
        (Some(1), &["alf/spikes.times.npy differs".to_owned()][..])
    );
    let without = json!({"hash": "x"});
    world.alyx.rest("PATCH", &format!("/datasets/{dataset}"), without).await;
    assert_eq!(world.follow(&[]).copies, ["alf/spikes.times.npy unchecked"]);
    assert!(world.existing(&session).await.is_empty());
    // By size alone, it counts.
    let text = fs::read_to_string(&world.config).unwrap();
    fs::write(&world.config, format!("{text}follow: size\n")).unwrap();
    assert_eq!(world.follow(&[]).code, Some(0));
    assert_eq!(world.existing(&session).await, [name("times")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_may_still_grow_is_waited_for_and_what_alyx_does_not_keep_is_an_error() {
    let world = World::new().await;
    let session = world.session(SESSION);
    session.file(&name("times"), "abc");
    world.register(&session).await;
    copy(&world, SESSION, &session.folder);
    let mount = Mount { path: world.server.clone(), repository: SERVER.into() };
    let rules = |quiet| FollowRules {
        mode: FollowMode::Md5,
        repositories: vec![FollowedRepository { mount: mount.clone(), is_own: false }],
        quiet,
        hangs_after: Duration::from_secs(60),
    };
    let (client, eid) = (world.alyx.client(), world.alyx.the_session(&session).await.eid().to_owned());
    let an_hour = QuietRules { settle: Duration::from_hours(1), ..at_once() };
    let followed = client.follow_session(&eid, &rules(an_hour)).await.unwrap();
    assert_eq!((followed.count(CopyKind::Changing), followed.wait.is_some()), (1, true), "{followed:?}");
    assert!(world.existing(&session).await.is_empty());
    // An answer to a change that is not made.
    let body = json!({"exists": true}).to_string();
    let fault = Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    let rule = FaultRule { method: Some("PATCH".into()), path_prefix: "/files".into(), times: 1, fault };
    world.alyx.control().add_fault(rule);
    let error = client.follow_session(&eid, &rules(at_once())).await.unwrap_err().to_string();
    assert!(error.contains("says again that it does not"), "{error}");
    // The copy is replaced after it was read, and before Alyx hears of it.
    let gate = Gate::default();
    for fault in [Fault::Delay(Duration::ZERO), Fault::Hold(gate.clone())] {
        let rule = FaultRule { method: Some("GET".into()), path_prefix: "/datasets".into(), times: 1, fault };
        world.alyx.control().add_fault(rule);
    }
    let now = rules(at_once());
    let replaced = async {
        gate.reached().await;
        fs::write(world.place(&format!("{SESSION}/{}", name("times"))), "ab").unwrap();
        gate.open();
    };
    let (followed, ()) = tokio::join!(client.follow_session(&eid, &now), replaced);
    assert_eq!(followed.unwrap().count(CopyKind::Changing), 1);
    assert!(world.existing(&session).await.is_empty());
    copy(&world, SESSION, &session.folder);
    let before = world.alyx.control().requests().len();
    let followed = client.follow_session(&eid, &rules(at_once())).await.unwrap();
    let requests = world.alyx.control().requests().len() - before;
    assert_eq!((followed.count(CopyKind::Confirmed), requests), (1, 4), "{followed:?}");
    assert_eq!(world.existing(&session).await, [name("times")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_confirms_copies_when_they_come_and_reports_those_that_differ() {
    let world = World::new().await;
    let earlier = world.session("KS014/2024-05-03/001");
    earlier.file(&name("times"), "earlier");
    world.register(&earlier).await;
    // It was copied before the daemon knew of it.
    copy(&world, "KS014/2024-05-03/001", &earlier.folder);
    let mut command = program();
    let mut daemon = Program::start(command.args(["run", "--config"]).arg(&world.config));
    daemon.wait_for("copies confirmed: 1 in flatiron_cortexlab");
    let session = world.session(SESSION);
    session.file(&name("times"), "abc").flag();
    until("registered", || !session.is_flagged());
    fs::write(world.place(&format!("{SESSION}/{}", name("times"))), "abd").unwrap();
    let line = daemon.wait_for("copies need attention");
    assert!(line.contains("differs: Alyx holds MD5") && line.contains(SESSION), "{line}");
    let status = || world.status()["copies"].clone();
    until("in the status", || status()["differing"] == 1);
    assert_eq!(status()["problems"][0]["session"], SESSION);
    copy(&world, SESSION, &session.folder);
    daemon.wait_for("copies confirmed: 1 in flatiron_cortexlab");
    until("nothing is waited for", || {
        let status = status();
        status["differing"] == 0 && status["waiting"] == 0 && status["confirmed"] == 2
    });
    daemon.stop();
    for session in [&earlier, &session] {
        assert_eq!(world.existing(session).await, [name("times")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_the_repositories_and_what_contradicts_itself() {
    let world = World::new().await;
    let check = || {
        let mut command = program();
        let output = output(command.args(["check", "--json", "--config"]).arg(&world.config));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = said["checks"].as_array().unwrap().iter();
        let shown = |row: &Value| {
            format!("{} {}: {} {}", row["state"], row["check"], row["found"], row["what_to_do"])
        };
        rows.map(shown).collect::<Vec<_>>().join("\n").replace('"', "")
    };
    let unmounted = check();
    assert!(
        unmounted.contains("warning copies: flatiron_cortexlab: ") && unmounted.contains("mount its disk"),
        "{unmounted}"
    );
    fs::create_dir(world.server.join("KS014")).unwrap();
    let mounted = check();
    assert!(mounted.contains("ok copies: flatiron_cortexlab: copies are looked for in "), "{mounted}");
    let write = |mounts: &[(PathBuf, &str)]| {
        let text = fs::read_to_string(&world.config).unwrap();
        let (before, _) = text.split_once("repositories:\n").unwrap();
        let lines =
            mounts.iter().map(|(path, name)| format!("  - {{path: {}, name: {name}}}\n", path.display()));
        fs::write(&world.config, format!("{before}repositories:\n{}", lines.collect::<String>())).unwrap();
    };
    world.session(SESSION);
    let alias = world.rig.beside("alias");
    symlink(world.rig.root(), &alias).unwrap();
    for (mounts, expected) in [
        (vec![(alias, SERVER)], "problem copies: flatiron_cortexlab: "),
        (vec![(world.rig.beside("server"), SERVER)], "holds the folders of labs, but no subjects"),
        (vec![(world.server.clone(), "moon")], "moon"),
        (vec![(world.rig.root(), SERVER)], "are registered in \\cortexlab_local\\ (datasets.repository)"),
        (
            vec![(world.server.clone(), SERVER), (world.rig.beside("alias"), SERVER)],
            "a copy counts in either",
        ),
    ] {
        write(&mounts);
        let said = check();
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}
