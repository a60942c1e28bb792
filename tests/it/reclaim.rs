//! `reclaim`: only files of which enough copies were read elsewhere are listed, and nothing is deleted.

use crate::common::{Alyx, Rig, Session, snapshot, with_files};
use crate::program::{Configuration, output, program};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alf::SessionPath;
use alyx_registrar::ledger::{Access, Ledger};
use alyx_registration::{
    FlaggedOptions, FollowedRepository, KeptReason, Mount, ReadCopies, ReadCopy, ReclaimNeeds, ReclaimRules,
    RegisterFilesOptions, RegistrationClient,
};
use alyx_sandbox::{Seed, SeedRepository};
use serde_json::{Value, json};
use tempfile::TempDir;

const RIG: &str = "cortexlab_local";
const SERVER: &str = "flatiron_cortexlab";
const OTHER: &str = "archive_cortexlab";
const SESSION: &str = "KS014/2024-05-01/001";

/// A rig, a server on another disk, and a second server on the rig's own.
struct World {
    alyx: Alyx,
    rig: Rig,
    server: TempDir,
    config: PathBuf,
}

#[derive(Debug)]
struct Reclaimed {
    code: Option<i32>,
    /// The files, relative to the data root.
    files: Vec<String>,
    /// The sessions that are kept, each with its reason and text.
    kept: Vec<(String, String)>,
    totals: Value,
}

impl World {
    async fn new() -> Self {
        let mut seed = Seed::default();
        let server = seed.repositories.iter().find(|repository| repository.name == SERVER).unwrap();
        let other = SeedRepository { name: OTHER.into(), ..server.clone() };
        seed.repositories.push(other);
        let lab = seed.labs.iter_mut().find(|lab| lab.name == "cortexlab").unwrap();
        lab.repositories.push(OTHER.into());
        let (alyx, rig) = (Alyx::seeded(seed).await, Rig::new());
        // Memory is a disk of its own.
        let server = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir_all(rig.beside("other")).unwrap();
        assert_ne!(fs::metadata(server.path()).unwrap().dev(), fs::metadata(rig.root()).unwrap().dev());
        let more = format!(
            "datasets:\n  repository: {RIG}\nrepositories:\n  - {{path: {}, name: {SERVER}}}\n  - {{path: {}, name: {OTHER}}}\n",
            server.path().display(),
            rig.beside("other").display()
        );
        let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
        let config =
            Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
        Self { alyx, rig, server, config }
    }

    /// A registered session with two datasets, whose copies are on the server and in the other repository.
    async fn session(&self, name: &str) -> Session {
        let session = self.rig.session_at(&format!("cortexlab/Subjects/{name}"));
        session.file("alf/spikes.times.npy", "abc").file("alf/spikes.amps.npy", "abcde");
        session.file("notes.txt", "not a dataset").flag();
        let files =
            RegisterFilesOptions { repository: Some(RIG.to_owned()), ..RegisterFilesOptions::default() };
        let options = FlaggedOptions { files, ..with_files() };
        session.register(&self.alyx.client(), &options).await.unwrap();
        for to in [self.server.path().to_owned(), self.rig.beside("other")] {
            for path in ["alf/spikes.times.npy", "alf/spikes.amps.npy"] {
                let to = to.join(name).join(path);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(session.folder.join(path), to).unwrap();
            }
        }
        let records = self.alyx.datasets(&session).await;
        for copy in records.iter().flat_map(|dataset| &dataset.file_records) {
            let repository = copy.data_repository.as_deref().unwrap();
            if [SERVER, OTHER].contains(&repository) {
                let path = format!("/files/{}", copy.id().unwrap());
                self.alyx.rest("PATCH", &path, json!({"exists": true})).await;
            }
        }
        session
    }

    fn reclaim(&self, words: &[&str]) -> Reclaimed {
        let mut command = program();
        command.args(["reclaim", "--json", "--config"]).arg(&self.config).args(words);
        if !words.contains(&"--older-than") {
            command.args(["--older-than", "14d"]);
        }
        let output = output(&mut command);
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |outcome: &'static str| lines.iter().filter(move |line| line["outcome"] == outcome);
        let root = self.rig.root().join("cortexlab/Subjects");
        let relative = |path: &Value| {
            let path = Path::new(path.as_str().unwrap()).strip_prefix(&root).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        Reclaimed {
            code: output.status.code(),
            files: of("free").flat_map(|line| line["files"].as_array().unwrap()).map(relative).collect(),
            kept: of("kept").map(|line| (text(line, "reason"), text(line, "text"))).collect(),
            totals: lines.last().cloned().unwrap_or_default(),
        }
    }

    /// Expects that the one session is kept for this reason.
    #[track_caller]
    fn keeps(&self, words: &[&str], reason: &str, text: &str) {
        let reclaimed = self.reclaim(words);
        assert_eq!((reclaimed.code, reclaimed.files.len()), (Some(0), 0), "{reclaimed:?}");
        let [(name, said)] = reclaimed.kept.as_slice() else { panic!("{reclaimed:?}") };
        assert!(name == reason && said.contains(text), "{reason} {text}: {reclaimed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_session_are_listed_only_with_enough_copies_that_were_read_and_nothing_changes() {
    let world = World::new().await;
    let session = world.session(SESSION).await;
    drop(Ledger::open(&world.rig.beside("etc/state")));
    let before = snapshot(world.rig.root().as_path());
    let listed = [format!("{SESSION}/alf/spikes.amps.npy"), format!("{SESSION}/alf/spikes.times.npy")];
    let reclaimed = world.reclaim(&[]);
    let mut files = reclaimed.files.clone();
    files.sort();
    assert_eq!((reclaimed.code, files.as_slice()), (Some(0), &listed[..]), "{reclaimed:?}");
    assert_eq!((&reclaimed.totals["bytes"], &reclaimed.totals["files"]), (&json!(8), &json!(2)));
    // What was read is remembered, and read again once that is too long ago.
    let copy = world.server.path().join(&listed[0]);
    let verified = || {
        let ledger = Ledger::open_existing(&world.rig.beside("etc/state"), Access::Read).unwrap().unwrap();
        ledger.verified(&copy).expect("not remembered").at
    };
    let first = verified();
    assert_eq!(world.reclaim(&[]).files.len(), 2);
    assert_eq!(verified(), first);
    assert_eq!(world.reclaim(&["--verified-within", "0s"]).files.len(), 2);
    assert!(verified() > first);
    // The other repository is on the same disk.
    world.keeps(&["--copies", "2"], "too_few_copies", "archive_cortexlab is on the same disk");
    world.keeps(&["--older-than", "99999d"], "recent", "--older-than");
    assert_eq!(snapshot(world.rig.root().as_path()), before);

    // For xargs -0.
    let mut command = program();
    command.args(["reclaim", "--older-than", "14d", "-0", "KS014", "--config"]).arg(&world.config);
    let said = output(&mut command);
    let mut names: Vec<&[u8]> =
        said.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let expected = ["alf/spikes.amps.npy", "alf/spikes.times.npy"].map(|path| session.folder.join(path));
    let expected: Vec<&[u8]> = expected.iter().map(|path| path.as_os_str().as_encoded_bytes()).collect();
    assert_eq!(names, expected);
    assert!(String::from_utf8(said.stderr).unwrap().contains("2 files of 1 session may be deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_doubt_about_a_session_or_a_copy_keeps_all_of_its_files() {
    let world = World::new().await;
    let session = world.session(SESSION).await;
    let copy = world.server.path().join(SESSION).join("alf/spikes.times.npy");
    let source = session.folder.join("alf/spikes.times.npy");
    // A bit of the copy flips, with its times restored.
    let modified = fs::metadata(&copy).unwrap().modified().unwrap();
    fs::write(&copy, "abd").unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    world.keeps(&[], "too_few_copies", "the copy in flatiron_cortexlab has MD5");
    fs::write(&copy, "ab").unwrap();
    world.keeps(&[], "too_few_copies", "the copy in flatiron_cortexlab has 2 bytes");
    fs::remove_file(&copy).unwrap();
    world.keeps(&[], "too_few_copies", "there is no copy in flatiron_cortexlab");
    fs::copy(&source, &copy).unwrap();

    session.flag();
    world.keeps(&[], "flagged", "flag");
    fs::remove_file(session.folder.join("create_me.flag")).unwrap();
    fs::write(&source, "xyz").unwrap();
    world.keeps(&[], "changed", "alf/spikes.times.npy was changed");
    fs::write(&source, "abc").unwrap();

    let datasets = world.alyx.datasets(&session).await;
    let times = datasets.iter().find(|dataset| dataset.name == "spikes.times.npy").unwrap();
    let server =
        times.file_records.iter().find(|copy| copy.data_repository.as_deref() == Some(SERVER)).unwrap();
    let file = format!("/files/{}", server.id().unwrap());
    world.alyx.rest("PATCH", &file, json!({"exists": false})).await;
    world.keeps(&[], "too_few_copies", "Alyx says that there is no copy in flatiron_cortexlab");
    world.alyx.rest("PATCH", &file, json!({"exists": true})).await;
    let repository = format!("/data-repository/{SERVER}");
    world.alyx.rest("PATCH", &repository, json!({"globus_is_personal": true})).await;
    world.keeps(&[], "too_few_copies", "is a personal repository");
    world.alyx.rest("PATCH", &repository, json!({"globus_is_personal": false})).await;
    world.alyx.control().protect_dataset(times.id());
    world.keeps(&[], "protected", "alf/spikes.times.npy is protected");
}

/// Writes to a file as soon as the copies were read.
#[derive(Debug)]
struct Writer(PathBuf, &'static str);

impl ReadCopies for Writer {
    fn find(&self, _: &Path) -> Option<ReadCopy> {
        None
    }

    fn keep(&self, _: &[(PathBuf, ReadCopy, bool)]) {
        fs::write(&self.0, self.1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_copies_are_read_keeps_the_session() {
    let world = World::new().await;
    let session = world.session(SESSION).await;
    let mount = Mount { path: world.server.path().to_owned(), repository: SERVER.to_owned() };
    let repositories = [FollowedRepository { mount, is_own: false }];
    let (flagged, servers) = (with_files(), [SERVER.to_owned()].into());
    let client: RegistrationClient = world.alyx.client();
    let folder = SessionPath::parse(&session.folder).unwrap();
    let pairs = client.sessions_to_audit("KS014", &[folder]).await.unwrap();
    let copy = world.server.path().join(SESSION).join("alf/spikes.times.npy");
    let source = session.folder.join("alf/spikes.times.npy");
    let reclaimed = async |writer: Writer| {
        let rules = ReclaimRules {
            flagged: &flagged,
            repositories: &repositories,
            servers: &servers,
            needs: ReclaimNeeds { copies: 1 },
            until: "2025-01-01".parse().unwrap(),
            verified_within: Duration::ZERO,
            memory: Some(Arc::new(writer)),
            hangs_after: Duration::from_secs(60),
        };
        client.reclaimable(&pairs[0], &rules).await.unwrap()
    };
    let path = || "alf/spikes.times.npy".to_owned();
    assert_eq!(reclaimed(Writer(world.rig.beside("other/x"), "")).await.unwrap().len(), 2);
    assert_eq!(reclaimed(Writer(source.clone(), "new")).await, Err(KeptReason::Changed(path())));
    fs::write(&source, "abc").unwrap();
    let kept = reclaimed(Writer(copy.clone(), "new")).await.unwrap_err();
    assert!(matches!(&kept, KeptReason::TooFewCopies { found: 0, .. }), "{kept}");
    fs::write(&copy, "abc").unwrap();
    let flag = session.folder.join("create_me.flag");
    assert_eq!(reclaimed(Writer(flag, "")).await, Err(KeptReason::Flagged));
}
