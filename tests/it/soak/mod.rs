//! The built daemon on a rig on which everything happens at once: sessions are made, changed, flagged, moved and
//! deleted by chance, the server fails by chance, and the daemon itself is killed. At the end every flag that was put
//! and not withdrawn is registered exactly once, and gone.
//!
//! A few seconds each time; a minute with `cargo test --test it soak:: -- --ignored`. `SOAK_SEED=number` repeats what the
//! writers do.

use crate::{chance, common, program};
mod truth;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alyx_sandbox::{Fault, FaultRule, SandboxHandle};
use chance::Chance;
use common::{Alyx, Rig};
use program::{Program, program};
use tokio_util::sync::CancellationToken;
use writer::Writer;

const WRITERS: usize = 4;
const SUBJECTS_OF_A_WRITER: usize = 3;
/// Until all that is left is registered, when nobody disturbs any more.
const CALM_WITHIN: Duration = Duration::from_secs(180);

/// How much happens.
struct Soak {
    lasts: Duration,
    /// How often the daemon is killed on the way.
    kills: usize,
    /// Some requests are never answered, which takes a while each time.
    hangs: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_that_was_put_is_registered_once_whatever_happens_around_it() {
    Soak { lasts: Duration::from_secs(4), kills: 1, hangs: false }.run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute: run by night"]
async fn every_flag_that_was_put_is_registered_once_whatever_happens_for_a_minute() {
    Soak { lasts: Duration::from_secs(60), kills: 6, hangs: true }.run().await;
}

impl Soak {
    async fn run(self) {
        let mut chance = Chance::of("SOAK_SEED");
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let place = rig.root().join("cortexlab/Subjects");
        let writers: Vec<Writer> = (0..WRITERS)
            .map(|n| {
                let subjects: Vec<_> = (0..SUBJECTS_OF_A_WRITER).map(|k| format!("SOAK_{n}_{k}")).collect();
                assert!(subjects.iter().all(|subject| alyx.control().add_subject(subject, "cortexlab")));
                Writer::new(place.clone(), rig.beside(&format!("aside{n}")), subjects, chance.fork())
            })
            .collect();
        let config = configuration(&alyx, &rig);
        let mut daemon = start(&config);

        let calm = CancellationToken::new();
        let sabotage =
            tokio::spawn(sabotage(alyx.control().clone(), chance.fork(), self.hangs, calm.clone()));
        let lasts = self.lasts;
        let working: Vec<_> = writers
            .into_iter()
            .map(|mut writer| {
                tokio::task::spawn_blocking(move || {
                    writer.work(lasts);
                    writer
                })
            })
            .collect();
        for _ in 0..self.kills {
            let pause = lasts.mul_f64(0.5 / self.kills as f64);
            tokio::time::sleep(pause + pause.mul_f64(chance.below(100) as f64 / 100.0)).await;
            // kill -9, and only then another one: two do not work on one root.
            drop(daemon);
            daemon = start(&config);
        }
        let mut writers = Vec::new();
        for working in working {
            writers.push(working.await.unwrap());
        }
        calm.cancel();
        sabotage.await.unwrap();
        alyx.control().clear_faults();

        let end = Instant::now() + CALM_WITHIN;
        let waiting = |writers: &[Writer]| writers.iter().flat_map(Writer::waiting).collect::<Vec<_>>();
        while Instant::now() < end && daemon.is_alive() && !waiting(&writers).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left = waiting(&writers);
        assert!(daemon.is_alive(), "the daemon has ended: {:?}; it said:\n{}", daemon.wait(), daemon.text());
        let said = daemon.stop();
        let mut wrong: Vec<_> = left.iter().map(|flag| format!("{flag:?} is still there")).collect();
        wrong.extend(said.iter().filter(|line| line.contains("kind=\"Internal\"")).cloned());
        wrong.extend(flags_below(&rig.root()).iter().map(|flag| format!("{flag:?} was forgotten")));
        let truths = writers.iter_mut().flat_map(|writer| writer.truths.drain()).collect::<HashMap<_, _>>();
        wrong.extend(truth::compare(&truths, alyx.control()));
        let (done, asked) = (writers.iter().map(|writer| writer.diary.len()).sum::<usize>(), truths.len());
        let requests = alyx.control().count_requests();
        println!("{done} deeds, {asked} names of sessions, {requests} requests");
        if !wrong.is_empty() {
            for line in writers.iter().flat_map(|writer| &writer.diary).chain(&said) {
                println!("{line}");
            }
            panic!("{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}

/// What is disturbed by nothing is found by events alone: there is no rescan.
fn configuration(alyx: &Alyx, rig: &Rig) -> PathBuf {
    let password = rig.beside("password");
    std::fs::write(&password, &alyx.password).unwrap();
    let config = rig.beside("config.yaml");
    let text = format!(
        "data_roots: [{}]\nalyx:\n  url: {}\n  username: {}\n  password_file: {}\n  max_requests_per_minute: 100000\n  \
         timeouts:\n    request: 5 s\nstate_dir: {}\nwatch:\n  settle: 50 ms\n  rescan_interval: 1 h\n\
         retry:\n  initial: 50 ms\n  max: 400 ms\n  permanent: 400 ms\nworkers: 4\n",
        rig.root().display(),
        alyx.url,
        alyx.user,
        password.display(),
        rig.beside("state").display(),
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn start(config: &Path) -> Program {
    Program::start(program().arg("run").arg("--config").arg(config))
}

/// Lets requests fail by chance.
async fn sabotage(control: SandboxHandle, mut chance: Chance, hangs: bool, calm: CancellationToken) {
    while !calm.is_cancelled() {
        let (method, path_prefix) = *chance.one_of(&[
            (None, ""),
            (None, ""),
            (Some("GET"), "/sessions"),
            (Some("POST"), "/sessions"),
            (Some("POST"), "/register-file"),
            (Some("GET"), "/datasets"),
        ]);
        let fault = match chance.below(14) {
            0 | 1 => Fault::Drop,
            2..=4 => Fault::ApplyThenDrop,
            5 => Fault::Html(502),
            6 => status(500, None),
            7 => status(503, Some(0)),
            8 => status(429, Some(0)),
            9 => status(*chance.one_of(&[400, 403, 404]), None),
            10 if hangs && chance.once_in(10) => Fault::Hang,
            11 if chance.once_in(4) => {
                control.invalidate_tokens();
                continue;
            }
            _ => Fault::Delay(Duration::from_millis(chance.below(300) as u64)),
        };
        let (method, path_prefix) = (method.map(str::to_owned), path_prefix.to_owned());
        control.add_fault(FaultRule { method, path_prefix, times: 1, fault });
        // One in so many requests: if most failed, the daemon would wait for better times, and nothing would happen.
        let next = control.count_requests() + 4 + chance.below(16);
        while control.count_requests() < next && !calm.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn status(code: u16, retry_after: Option<u64>) -> Fault {
    let (body, content_type) = (r#"{"detail": "by chance"}"#.to_owned(), "application/json".to_owned());
    Fault::Status { code, body, content_type, retry_after }
}

fn flags_below(root: &Path) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path());
    all.filter(|path| path.ends_with("create_me.flag")).collect()
}
