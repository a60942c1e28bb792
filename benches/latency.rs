//! The time from the closing of a flag to the session on Alyx, beyond the settle time.
//!
//! The program runs as a separate process with its watches set; the sandbox in this process records the moment at which
//! it has answered `POST /sessions`. Sessions come one after another, as on a rig. A part of this time is the reading of the
//! session's metadata, which is measured by itself.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alyx_registration::{Beside, KnownSession, MetadataOptions};
use alyx_sandbox::{Sandbox, SandboxOptions};
use clap::Parser;
use common::registrar::{Registrar, Settings};
use common::{Error, Required, Table, median, rig};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use session_metadata::Field;

/// What an IBL rig writes of a session with one task.
const DESCRIPTION: &str = "version: 1.0.0\ntasks:\n- trainingChoiceWorld: {collection: raw_task_data_00}\nprojects: [ibl_training]\n";

/// From the flag to the session on Alyx, beyond the settle time
#[derive(Parser)]
struct Options {
    /// Sessions, one after another
    #[arg(long, default_value_t = 50)]
    sessions: usize,
    /// The settle time, in ms
    #[arg(long, default_value_t = 200)]
    settle: u64,
    /// Trials of the session whose metadata is read
    #[arg(long, default_value_t = 1000)]
    trials: usize,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options: Options = common::options(|| Options { sessions: 2, settle: 10, trials: 3 });
    read_metadata(options.trials)?;
    let (folder, sandbox) = (tempfile::tempdir()?, Sandbox::start(SandboxOptions::default()).await?);
    let root = folder.path().join("data");
    std::fs::create_dir(&root)?;
    let settle = format!("{} ms", options.settle);
    let settings =
        Settings { root: &root, folder: folder.path(), url: sandbox.url(), settle: &settle, more: "" };
    let registrar = Registrar::run(&settings.write()?)?;
    let at_most = Duration::from_secs(30);
    registrar.wait_for("data root scanned", at_most)?;

    let (mut visible, mut removed) = (Vec::new(), Vec::new());
    // The first session includes the login and the lookup of names.
    for number in 0..=options.sessions {
        let session = rig::session(&root, number);
        rig::write_files(&session, number)?;
        sandbox.control().clear_requests();
        rig::flag(&session)?;
        let closed = Instant::now();
        let created =
            sandbox.control().wait_for(|request| request.method == "POST" && request.path == "/sessions");
        tokio::time::timeout(at_most, created).await?;
        let on_alyx = closed.elapsed();
        let gone = || !session.join("create_me.flag").exists();
        if !tokio::task::block_in_place(|| common::wait_until(at_most, gone)) {
            return Err("the flag was not removed".into());
        }
        if number > 0 {
            let beyond = |time: Duration| (time.as_secs_f64() * 1e3) - options.settle as f64;
            visible.push(beyond(on_alyx));
            removed.push(beyond(closed.elapsed()));
        }
    }
    visible.sort_by(f64::total_cmp);
    let slow = visible.get(visible.len() * 9 / 10).copied().unwrap_or(f64::NAN);

    let mut table = Table::begin(&format!(
        "From the closing of a flag, beyond the settle time of {settle}; {} sessions of {} files of 1 kB",
        options.sessions,
        rig::FILES.len()
    ));
    table.limit("session on Alyx, median", median(&visible), "ms", Required::AtMost(50.0));
    table.note("session on Alyx, 90th percentile", common::with_unit(slow, "ms"));
    table.note("files registered and flag removed, median", common::with_unit(median(&removed), "ms"));
    table.print();
    drop(registrar);
    sandbox.stop().await;
    Ok(())
}

/// Reads the metadata of a session of an IBL rig again and again.
fn read_metadata(trials: usize) -> Result<(), Error> {
    let root = tempfile::tempdir()?;
    let folder = rig::session(root.path(), 0);
    rig::write_files(&folder, 0)?;
    let collection = folder.join("raw_task_data_00");
    std::fs::create_dir_all(&collection)?;
    std::fs::write(folder.join("_ibl_experiment.description_rig.yaml"), DESCRIPTION)?;
    let session = alf::SessionPath::parse(&folder)?;
    let start = format!("{}T10:00:00", session.date());
    let settings = json!({
        "IBLRIG_VERSION": "8.12.3", "SUBJECT_NAME": session.subject(), "SESSION_NUMBER": session.number(),
        "RIG_NAME": "rig1", "SESSION_START_TIME": start, "ALYX_USER": "rig_user",
        "PYBPOD_PROTOCOL": "trainingChoiceWorld", "SUBJECT_WEIGHT": 20.5,
    });
    std::fs::write(collection.join("_iblrig_taskSettings.raw.json"), settings.to_string())?;
    // The states of a trial make up most of its line.
    let states: BTreeMap<String, Value> = (0..30)
        .map(|n| (format!("state_{n}"), json!([[f64::from(n) + 0.123_456, f64::from(n) + 1.5]])))
        .collect();
    let trial = |n: usize| {
        let data = json!({"Bpod start timestamp": 1.0, "Trial end timestamp": 1.0 + 3.0 * n as f64, "States timestamps": states});
        json!({"trial_num": n, "trial_correct": n % 2 == 0, "reward_amount": 3.0, "behavior_data": data})
            .to_string()
            + "\n"
    };
    let lines: String = (1..=trials).map(trial).collect();
    std::fs::write(collection.join("_iblrig_taskData.raw.jsonable"), &lines)?;

    let options = MetadataOptions::default();
    let mut times = Vec::new();
    for _ in 0..50 {
        let (took, known) = common::seconds(|| {
            KnownSession::read(&session, Beside::default(), &options, &TimeZone::UTC, Arc::default())
        });
        if known?.metadata.count(Field::NTrials) != u32::try_from(trials).ok() {
            return Err("the trials were not counted".into());
        }
        times.push(took * 1e3);
    }
    let size = common::with_unit(lines.len() as f64 / 1e6, "MB");
    let mut table = Table::begin(&format!("Reading the metadata of a session with {trials} trials, {size}"));
    table.limit("median of 50", median(&times), "ms", Required::AtMost(5.0));
    table.print();
    Ok(())
}
