//! The built daemon on a rig where everything happens at once: random writers create, change, flag, move and delete
//! sessions, the server fails at random, and the daemon itself is killed. At the end every flag that was created and
//! not withdrawn is registered exactly once, and removed.
//!
//! A few seconds each time; a minute with `cargo test --test it soak:: -- --ignored`. `SOAK_SEED=number` repeats the
//! actions of the writers.

use crate::{common, program, rng};
mod truth;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alyx_sandbox::{Fault, FaultRule, SandboxHandle};
use common::{Alyx, Rig};
use program::{Program, program};
use rng::SeededRng;
use tokio_util::sync::CancellationToken;
use writer::Writer;

const WRITERS: usize = 4;
const SUBJECTS_PER_WRITER: usize = 3;
/// How long the remaining sessions may take once the disturbances have ended.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(180);

/// The extent of a run.
struct Soak {
    lasts: Duration,
    /// How often the daemon is killed during the run.
    kills: usize,
    /// Some requests are never answered, which takes a while each time.
    hangs: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_is_registered_once_under_random_disturbances() {
    Soak { lasts: Duration::from_secs(4), kills: 1, hangs: false }.run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute: run by night"]
async fn every_flag_is_registered_once_under_random_disturbances_for_a_minute() {
    Soak { lasts: Duration::from_secs(60), kills: 6, hangs: true }.run().await;
}

impl Soak {
    async fn run(self) {
        let mut rng = SeededRng::of("SOAK_SEED");
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let place = rig.root().join("cortexlab/Subjects");
        let writers: Vec<Writer> = (0..WRITERS)
            .map(|n| {
                let subjects: Vec<_> = (0..SUBJECTS_PER_WRITER).map(|k| format!("SOAK_{n}_{k}")).collect();
                assert!(subjects.iter().all(|subject| alyx.control().add_subject(subject, "cortexlab")));
                Writer::new(place.clone(), rig.beside(&format!("aside{n}")), subjects, rng.fork())
            })
            .collect();
        let config = configuration(&alyx, &rig);
        let mut daemon = start(&config);

        let calm = CancellationToken::new();
        let inject_faults =
            tokio::spawn(inject_faults(alyx.control().clone(), rng.fork(), self.hangs, calm.clone()));
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
            tokio::time::sleep(pause + pause.mul_f64(rng.below(100) as f64 / 100.0)).await;
            // kill -9, and only then another daemon: two would refuse to share a root.
            drop(daemon);
            daemon = start(&config);
        }
        let mut writers = Vec::new();
        for working in working {
            writers.push(working.await.unwrap());
        }
        calm.cancel();
        inject_faults.await.unwrap();
        alyx.control().clear_faults();

        let end = Instant::now() + SETTLE_TIMEOUT;
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
        let (done, asked) = (writers.iter().map(|writer| writer.log.len()).sum::<usize>(), truths.len());
        let requests = alyx.control().count_requests();
        println!("{done} deeds, {asked} names of sessions, {requests} requests");
        if !wrong.is_empty() {
            for line in writers.iter().flat_map(|writer| &writer.log).chain(&said) {
                println!("{line}");
            }
            panic!("{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}

/// Undisturbed flags must be found by events alone: there is no rescan.
fn configuration(alyx: &Alyx, rig: &Rig) -> PathBuf {
    let password = rig.beside("password");
    std::fs::write(&password, &alyx.password).unwrap();
    let config = rig.beside("config.yaml");
    let text = format!(
        "data_roots: [{}]\nalyx:\n  url: {}\n  username: {}\n  password_file: {}\n  max_requests_per_minute: 100000\n  \
         timeouts:\n    request: 5 s\nstate_dir: {}\nwatch:\n  settle: 50 ms\n  empty_grace: 0 s\n  rescan_interval: 1 h\n\
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

/// Injects random faults into requests.
async fn inject_faults(control: SandboxHandle, mut rng: SeededRng, hangs: bool, calm: CancellationToken) {
    while !calm.is_cancelled() {
        let (method, path_prefix) = *rng.one_of(&[
            (None, ""),
            (None, ""),
            (Some("GET"), "/sessions"),
            (Some("POST"), "/sessions"),
            (Some("POST"), "/register-file"),
            (Some("GET"), "/datasets"),
        ]);
        let fault = match rng.below(14) {
            0 | 1 => Fault::Drop,
            2..=4 => Fault::ApplyThenDrop,
            5 => Fault::Html(502),
            6 => status(500, None),
            7 => status(503, Some(0)),
            8 => status(429, Some(0)),
            9 => status(*rng.one_of(&[400, 403, 404]), None),
            10 if hangs && rng.one_in(10) => Fault::Hang,
            11 if rng.one_in(4) => {
                control.invalidate_tokens();
                continue;
            }
            _ => Fault::Delay(Duration::from_millis(rng.below(300) as u64)),
        };
        let (method, path_prefix) = (method.map(str::to_owned), path_prefix.to_owned());
        control.add_fault(FaultRule { method, path_prefix, times: 1, fault });
        // Every few requests: if most failed, the daemon would pause, and nothing would be tested.
        let next = control.count_requests() + 4 + rng.below(16);
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
