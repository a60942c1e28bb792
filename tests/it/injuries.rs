//! A thousand random injuries to registered files: `verify` names exactly the files that `hashdeep` and `rclone` do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::audit::{Audited, World, here};
use crate::common::Session;
use crate::common::rng::SeededRng;
use crate::program::program;

const FILES: usize = 40;
const SESSIONS: usize = 60;
const INJURIES: usize = 1000;

/// What was done to a tree.
#[derive(Default)]
struct Injured {
    /// Registered files that are no longer what they were, relative to the subjects' folder.
    files: BTreeSet<String>,
    /// Files that Alyx does not know.
    extra: BTreeSet<String>,
}

struct Tree {
    world: World,
    rng: SeededRng,
    whole: Vec<(Session, String)>,
    folder: PathBuf,
}

impl Tree {
    async fn new() -> Self {
        let world = World::new().await;
        let mut rng = SeededRng::of("INJURIES_SEED");
        let mut whole = Vec::new();
        for number in 0..SESSIONS {
            let session = world.session(&format!("2024-{:02}-{:02}/001", 1 + number / 28, 1 + number % 28));
            for file in 0..FILES {
                let path = format!("alf/probe{:02}/spikes.times.part{file:02}.npy", file % 3);
                // Some of the same size, so that only their content tells them apart.
                let length = if file % 2 == 0 { 64 } else { 1 + rng.below(3000) };
                let content: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
                fs::create_dir_all(session.folder.join(&path).parent().unwrap()).unwrap();
                fs::write(session.folder.join(&path), content).unwrap();
                whole.push((session.clone(), path));
            }
            world.register(&session, &here()).await;
        }
        let folder = world.rig.root().join("cortexlab/Subjects");
        Self { world, rng, whole, folder }
    }

    fn take(&mut self) -> (String, PathBuf) {
        let (session, path) = self.whole.swap_remove(self.rng.below(self.whole.len()));
        (format!("{}/{path}", session.name()), session.folder.join(path))
    }

    /// One random injury.
    fn injure(&mut self, injured: &mut Injured) {
        match self.rng.below(6) {
            0 => {
                let (name, file) = self.take();
                let modified = fs::metadata(&file).unwrap().modified().unwrap();
                let mut content = fs::read(&file).unwrap();
                let at = self.rng.below(content.len());
                content[at] ^= 1 << self.rng.below(8);
                fs::write(&file, content).unwrap();
                fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
                injured.files.insert(name);
            }
            1 => {
                let (name, file) = self.take();
                let length = fs::metadata(&file).unwrap().len();
                let shorter = self.rng.below(length as usize) as u64;
                fs::File::options().write(true).open(&file).unwrap().set_len(shorter).unwrap();
                injured.files.insert(name);
            }
            2 => {
                let (name, file) = self.take();
                fs::remove_file(&file).unwrap();
                injured.files.insert(name);
            }
            3 => {
                let ((one, first), (other, second)) = (self.take(), self.take());
                let aside = first.with_extension("aside");
                fs::rename(&first, &aside).unwrap();
                fs::rename(&second, &first).unwrap();
                fs::rename(&aside, &second).unwrap();
                injured.files.extend([one, other]);
            }
            4 => {
                let (name, file) = self.take();
                let new = file.with_file_name(format!("spikes.amps.new{:06}.npy", injured.extra.len()));
                fs::rename(&file, &new).unwrap();
                injured.extra.insert(self.relative(&new));
                injured.files.insert(name);
            }
            _ => {
                let (session, path) = &self.whole[self.rng.below(self.whole.len())];
                let file = session.folder.join(path);
                let new = file.with_file_name(format!("spikes.depths.new{:06}.npy", injured.extra.len()));
                fs::write(&new, "not registered").unwrap();
                injured.extra.insert(self.relative(&new));
            }
        }
    }

    fn relative(&self, file: &Path) -> String {
        file.strip_prefix(&self.folder).unwrap().to_str().unwrap().to_owned()
    }

    fn run(&self, command: &str) -> Audited {
        let mut command_line = program();
        command_line.args([command, "--json", "--config"]).arg(&self.world.config);
        Audited::of(&mut command_line)
    }

    /// What another program prints in the subjects' folder.
    fn judge(&self, tool: &str, words: &[&str]) -> String {
        let output = Command::new(tool).args(words).current_dir(&self.folder).output();
        let output = output.unwrap_or_else(|error| panic!("{tool}: {error}; install it for this test"));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The files that a command names: those that differ, and those that Alyx does not know.
fn named(audited: &Audited) -> (BTreeSet<String>, BTreeSet<String>) {
    let findings = audited.lines.iter().filter(|line| line["kind"].is_string() && line["path"].is_string());
    let name = |line: &serde_json::Value| {
        format!("{}/{}", line["session"].as_str().unwrap(), line["path"].as_str().unwrap())
    };
    let (unknown, differ): (Vec<_>, Vec<_>) = findings.partition(|line| line["kind"] == "unknown_to_alyx");
    (differ.into_iter().map(name).collect(), unknown.into_iter().map(name).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and needs hashdeep and rclone: run by night"]
async fn of_a_thousand_random_injuries_none_is_missed_and_none_invented_also_while_a_writer_works() {
    let mut tree = Tree::new().await;
    let all: BTreeSet<String> =
        tree.whole.iter().map(|(session, path)| format!("{}/{path}", session.name())).collect();
    let mut injured = Injured::default();
    (0..INJURIES).for_each(|_| tree.injure(&mut injured));

    let list = tree.world.rig.beside("sums.md5").to_str().unwrap().to_owned();
    tree.world.audit(&["--sums", &list]);
    let rclone = tree.judge("rclone", &["checksum", "md5", &list, ".", "--combined", "-"]);
    let (mut differ, mut extra) = (BTreeSet::new(), BTreeSet::new());
    for line in rclone.lines() {
        match line.split_at(2) {
            ("= ", _) => {}
            ("- ", name) if !all.contains(name) => drop(extra.insert(name.to_owned())),
            ("+ " | "* " | "! ", name) => drop(differ.insert(name.to_owned())),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(differ, injured.files, "rclone");
    assert_eq!(extra, injured.extra, "rclone");
    let hashdeep =
        tree.judge("hashdeep", &["-r", "-l", "-a", "-v", "-k", &format!("{list}.hashdeep"), "KS014"]);
    let matched = hashdeep.lines().find(|line| line.contains("Files matched")).unwrap();
    assert_eq!(
        matched.rsplit(": ").next().unwrap(),
        (all.len() - injured.files.len()).to_string(),
        "{hashdeep}"
    );

    // While a writer adds files that are not registered yet, and touches others that are.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let busy = tree.world.session("2024-12-31/001");
    let folder = busy.folder.clone();
    let writer = std::thread::spawn(move || {
        let mut number = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            fs::create_dir_all(folder.join("alf")).unwrap();
            fs::write(folder.join(format!("alf/spikes.times.part{:03}.npy", number % 300)), vec![7; number])
                .unwrap();
            number += 1;
        }
        number
    });
    let verified = tree.run("verify");
    let audited = tree.run("audit");
    drop(stop);
    assert!(writer.join().unwrap() > 0);
    let busy = format!("{}/", busy.name());
    let (differ, _) = named(&verified);
    assert_eq!(differ, injured.files, "verify");
    let (_, extra) = named(&audited);
    let extra: BTreeSet<String> = extra.into_iter().filter(|name| !name.starts_with(&busy)).collect();
    assert_eq!(extra, injured.extra, "audit");

    // A hundred more, while it runs: those that came too late are found by the next run.
    let mut later = Injured::default();
    let mut command_line = program();
    command_line.args(["verify", "--json", "--config"]).arg(&tree.world.config);
    let running = std::thread::spawn(move || Audited::of(&mut command_line));
    (0..100).for_each(|_| tree.injure(&mut later));
    let (during, _) = named(&running.join().unwrap());
    assert!(during.is_superset(&injured.files));
    let both: BTreeSet<String> = injured.files.union(&later.files).cloned().collect();
    assert!(during.is_subset(&both), "{:?}", during.difference(&both));
    let (afterwards, _) = named(&tree.run("verify"));
    assert_eq!(afterwards, both);
}
