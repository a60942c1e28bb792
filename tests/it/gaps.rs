//! What a session lacks: files that are almost datasets, no dataset at all, names without a type. Reported until it is
//! acknowledged; raw recordings alone are normal.

use crate::common;
use crate::program::{Configuration, Program, output, program};
use std::path::PathBuf;

use alyx_registration::{Error, FlaggedOptions, Gap, OnLeftOut, Rename};
use common::{Alyx, Rig, Session, with_files};
use serde_json::Value;

/// A configuration with more sections; the page is at a free port only where a test asks for it.
fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    // Otherwise ONE finds nothing, which is a finding of its own.
    let more = match more.contains("datasets:") {
        true => more.replace("datasets:\n", "datasets:\n  repository: flatiron_cortexlab\n  exists: false\n"),
        false => format!("{more}datasets: {{repository: flatiron_cortexlab, exists: false}}\n"),
    };
    Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"))
}

fn daemon(config: &PathBuf) -> Program {
    Program::start(program().arg("run").arg("--config").arg(config))
}

/// Runs a command, and returns its exit code and output.
async fn run(config: &PathBuf, words: &[&str]) -> (i32, String) {
    let mut command = program();
    command.args(words).arg("--config").arg(config);
    let output = tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code().unwrap(), text)
}

async fn json(config: &PathBuf, words: &[&str]) -> Vec<Value> {
    let (_, text) = run(config, &[words, &["--json"]].concat()).await;
    // Not the log.
    let text = text.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
}

fn files(session: &Session, names: &[&str]) {
    for name in names {
        session.file(name, "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_near_miss_is_a_gap_with_the_exact_rename() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (name, rename) in [
        ("raw_video_data/_iblrig_leftCamera.raw.MP4", "_iblrig_leftCamera.raw.mp4"),
        ("raw_behavior_data/_iblrig_taskData.raw.ndjson", "_iblrig_taskData.raw.jsonable"),
        ("alf/mpcirois.masks.npy", "mpciROIs.masks.npy"),
        ("alf/_ibl_trials.table.parquet", "_ibl_trials.table.pqt"),
    ] {
        let session = rig.session("cortexlab", "KS014");
        files(&session, &["alf/spikes.times.npy", name]);
        session.flag();
        let done = session.register(&alyx.client(), &with_files()).await.unwrap();
        let gap = done.gap.unwrap();
        assert_eq!(
            gap,
            Gap::NearMiss {
                files: vec![(name.into(), Rename { to: rename.to_owned(), is_free: true })],
                exclude: match &gap {
                    Gap::NearMiss { exclude, .. } => exclude.clone(),
                    other => panic!("{other:?}"),
                },
            }
        );
        assert!(gap.to_string().contains(&format!("{name} (rename it to {rename})")), "{gap}");
        assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
        // The line that the message proposes ends it.
        let line = gap.to_string().split_once("- \"").unwrap().1.trim_end_matches('"').to_owned();
        let exclude = vec![glob::Pattern::new(&line).unwrap()];
        session.flag();
        let done =
            session.register(&alyx.client(), &FlaggedOptions { exclude, ..with_files() }).await.unwrap();
        assert_eq!((done.gap, done.n_files), (None, 1), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_only_resembles_and_one_with_the_right_file_beside_it_are_no_gaps() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    files(
        &session,
        &[
            "raw_video_data/_iblrig_leftCamera.raw.mp4",
            "raw_video_data/_iblrig_leftCamera.raw.MP4",
            "raw_video_data/_iblrig_leftCam.raw.MP4",
            "notes.txt",
        ],
    );
    session.flag();
    let done = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!(done.gap, None);
    assert_eq!(done.n_files, 1);
    // The right name is excluded, so the wrong one is not missing.
    std::fs::remove_file(session.folder.join("raw_video_data/_iblrig_leftCamera.raw.mp4")).unwrap();
    session.file("alf/spikes.times.npy", "abc").flag();
    let exclude = vec![glob::Pattern::new("*.mp4").unwrap()];
    let done = session.register(&alyx.client(), &FlaggedOptions { exclude, ..with_files() }).await.unwrap();
    assert_eq!(done.gap, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_dataset_and_no_file_at_all_are_gaps() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for names in [&["a.nwb", "b.nwb", "c.nwb", "d.nwb"][..], &[".DS_Store", "rig.log"], &[]] {
        let session = rig.session("cortexlab", "KS014");
        files(&session, names);
        session.flag();
        let gap = session.register(&alyx.client(), &with_files()).await.unwrap().gap.unwrap();
        match names.len() {
            4 => assert!(
                gap.to_string().contains("a.nwb, b.nwb, c.nwb, d.nwb")
                    && gap.to_string().ends_with("- \"*.nwb\"")
            ),
            _ => assert_eq!(gap, Gap::NoFile),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_gaps_where_the_datasets_are_not_expected_here() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = alyx.client();
    // The files are not registered from here.
    let session = rig.session("cortexlab", "KS014");
    session.flag();
    let alone = FlaggedOptions { register_files: false, ..with_files() };
    assert_eq!(session.register(&client, &alone).await.unwrap().gap, None);
    // Alyx knows the session without datasets: they may be missing.
    session.file("a.nwb", "x").flag();
    assert!(session.register(&client, &with_files()).await.unwrap().gap.is_some());
    // It has datasets, which are elsewhere now.
    session.file("alf/spikes.times.npy", "abc").flag();
    session.register(&client, &with_files()).await.unwrap();
    std::fs::remove_file(session.folder.join("alf/spikes.times.npy")).unwrap();
    session.flag();
    assert_eq!(session.register(&client, &with_files()).await.unwrap().gap, None);
    // And gaps may be ignored, or keep the flag.
    let session = rig.session("cortexlab", "KS014");
    session.file("a.nwb", "x").flag();
    let options = |on_left_out| FlaggedOptions { on_left_out, ..with_files() };
    let error = session.register(&client, &options(OnLeftOut::KeepFlag)).await.unwrap_err();
    assert!(matches!(error, Error::Gaps(_)) && session.is_flagged(), "{error}");
    assert_eq!(session.register(&client, &options(OnLeftOut::Ignore)).await.unwrap().gap, None);
    assert!(!session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_reported_until_they_are_acknowledged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = configuration(&alyx, &rig, &format!("http:\n  listen: {listen}\n"));
    let (one, other) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "SWC_001"));
    files(&one, &["alf/spikes.times.npy", "raw_video_data/_iblrig_leftCamera.raw.MP4"]);
    files(&other, &["recording.nwb"]);
    one.flag();
    other.flag();
    let mut running = daemon(&config);
    // In any order.
    for _ in 0..2 {
        let line = running.wait_for("registered with gaps: ");
        assert!(line.contains("WARN") && line.contains("outcome=\"gaps\""), "{line}");
    }
    let said = running.text();
    for wanted in ["rename it to _iblrig_leftCamera.raw.mp4", "- \"*.MP4\"", "recording.nwb", "- \"*.nwb\""] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
    let (code, text) = run(&config, &["status"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("registered with gaps (2)") && text.contains("acknowledge KS014"), "{text}");
    let status = json(&config, &["status"]).await;
    assert_eq!(status[0]["gaps"][0]["kind"], "near_miss");
    assert_eq!(status[0]["gaps"][1]["files"][0], "recording.nwb");
    let get = async |path: &str| {
        common::http().get(format!("http://{listen}/{path}")).send().await.unwrap().text().await.unwrap()
    };
    let page = get("").await;
    for wanted in ["2 sessions are registered with gaps", "recording.nwb", "Files left out"] {
        assert!(page.contains(wanted), "{wanted}:\n{page}");
    }
    let metrics = get("metrics").await;
    for wanted in ["alyx_registrar_attempts_total{outcome=\"gaps\"} 2", "alyx_registrar_gaps 2"] {
        assert!(metrics.contains(wanted), "{wanted}:\n{metrics}");
    }
    let history = json(&config, &["history", "--left-out"]).await;
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(
        history.iter().all(|row| row["outcome"] == "gaps" && row["left_out_files"][0]["path"].is_string())
    );
    assert_eq!(json(&config, &["history", "--outcome", "gaps"]).await.len(), 2);
    // Each leads to the session on Alyx, as in the text.
    for row in [&history[0], &status[0]["gaps"][0], &status[0]["last"][0]] {
        let link = row["link"].as_str().unwrap_or_default();
        assert!(link.starts_with(&alyx.url) && link.contains(row["eid"].as_str().unwrap()), "{row}");
    }

    let (code, text) = run(&config, &["acknowledge", &one.name()]).await;
    assert_eq!((code, text.trim()), (0, "1 session acknowledged."));
    assert_eq!(run(&config, &["acknowledge", &one.name()]).await.0, 1);
    let (code, text) = run(&config, &["acknowledge", "--pattern", "*.nwb"]).await;
    assert_eq!((code, text.trim()), (0, "1 session acknowledged."));
    assert_eq!(run(&config, &["status"]).await.0, 0);
    // The same gaps again are no news.
    one.flag();
    running.wait_for("registered with gaps, which are acknowledged");
    assert_eq!(run(&config, &["status"]).await.0, 0);
    running.stop();
    // The ledger remembers both, and the pattern also covers what comes later.
    let third = rig.session("mainenlab", "ZM_1085");
    files(&third, &["later.nwb"]);
    third.flag();
    let mut running = daemon(&config);
    running.wait_for("registered with gaps, which are acknowledged");
    assert_eq!(run(&config, &["status"]).await.0, 0);
    running.stop();
    // Without a daemon the ledger is changed itself.
    let fourth = rig.session("mainenlab", "ZM_1085");
    fourth.flag();
    assert_eq!(run(&config, &["scan"]).await.0, 1);
    assert_eq!(json(&config, &["status"]).await[0]["gaps"][0]["kind"], "no_file");
    assert_eq!(run(&config, &["acknowledge", fourth.folder.to_str().unwrap()]).await.0, 0);
    assert_eq!(json(&config, &["status"]).await[0]["gaps"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_gaps_are_gone_leaves_the_status() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let session = rig.session("cortexlab", "KS014");
    files(&session, &["raw_video_data/_iblrig_leftCamera.raw.MP4"]);
    session.flag();
    let (code, text) = run(&config, &["scan", "--dry-run"]).await;
    assert!(code == 1 && text.contains("rename it to _iblrig_leftCamera.raw.mp4"), "{text}");
    let mut running = daemon(&config);
    running.wait_for("registered with gaps: ");
    let folder = session.folder.join("raw_video_data");
    std::fs::rename(folder.join("_iblrig_leftCamera.raw.MP4"), folder.join("_iblrig_leftCamera.raw.mp4"))
        .unwrap();
    session.flag();
    running.wait_for(" registered");
    assert_eq!(run(&config, &["status"]).await.0, 0);
    assert_eq!(alyx.dataset_paths(&session).await, ["raw_video_data/_iblrig_leftCamera.raw.mp4"]);
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_half_of_a_session_in_another_root_does_not_end_its_gaps() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let video = rig.session_at("one/cortexlab/Subjects/KS014/2024-05-01/001");
    let behaviour = rig.session_at("two/cortexlab/Subjects/KS014/2024-05-01/001");
    files(&video, &["raw_video_data/_iblrig_leftCamera.raw.MP4"]);
    files(&behaviour, &["alf/_ibl_trials.table.pqt"]);
    video.flag();
    let mut running = daemon(&config);
    running.wait_for("registered with gaps: ");
    behaviour.flag();
    running.wait_for(" registered");
    let gaps = &json(&config, &["status"]).await[0]["gaps"];
    assert_eq!(gaps[0]["folder"].as_str(), video.folder.to_str(), "{gaps}");
    let (_, text) = run(&config, &["forget", "KS014/2024-05-01/001"]).await;
    assert!(text.contains("Deleted"), "{text}");
    assert_eq!(json(&config, &["status"]).await[0]["gaps"], serde_json::json!([]));
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_type_is_reported_the_first_time_in_a_root_and_then_counted() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let register = async |name: &str| {
        let session = rig.session("cortexlab", "KS014");
        files(&session, &["alf/spikes.times.npy", name]);
        session.flag();
        json(&config, &["scan"]).await.remove(0)
    };
    // A ledger must be there, as after the first start of the daemon.
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    running.stop();
    let first = register("alf/nobody1.knows.npy").await;
    assert_eq!(first["outcome"], "gaps", "{first}");
    let text = first["gaps"].as_str().unwrap();
    assert!(
        text.contains("alf/nobody1.knows.npy") && text.contains("- \"**/nobody[0-9]*.knows.npy\""),
        "{text}"
    );
    let second = register("alf/nobody2.knows.npy").await;
    assert_eq!(second["outcome"], "registered", "{second}");
    assert!(second["left_out"].as_str().unwrap().contains("alf/nobody2.knows.npy"), "{second}");
    assert_eq!(register("alf/nobody.knows.tsv").await["outcome"], "gaps");
    assert_eq!(json(&config, &["history", "--left-out"]).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_keeps_its_flag_because_of_gaps_needs_attention() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "datasets:\n  on_left_out: keep_flag\n");
    let session = rig.session("cortexlab", "KS014");
    files(&session, &["a.nwb"]);
    session.flag();
    let mut running = daemon(&config);
    let line = running.wait_for("needs attention");
    assert!(line.contains("the session has gaps: none of its files is a dataset: a.nwb"), "{line}");
    assert!(session.is_flagged());
    // Acknowledged, it is tried at once, and its flag goes.
    let name = session.name();
    let (code, text) = run(&config, &["acknowledge", &name]).await;
    assert_eq!((code, text.as_str()), (0, "1 session acknowledged.\n"));
    running.wait_for("registered with gaps, which are acknowledged");
    assert!(!session.is_flagged());
    // So does a pattern, for later sessions, too.
    let (code, _) = run(&config, &["acknowledge", "--pattern", "*.bin"]).await;
    assert_eq!(code, 0);
    let other = rig.session("cortexlab", "SWC_001");
    files(&other, &["x.bin"]);
    other.flag();
    running.wait_for("registered with gaps, which are acknowledged");
    assert!(!other.is_flagged());
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_keeps_a_flag_because_of_gaps_removes_it_once_they_are_acknowledged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "datasets:\n  on_left_out: keep_flag\n");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    running.stop();
    let session = rig.session("cortexlab", "KS014");
    files(&session, &["a.nwb"]);
    session.flag();
    for words in [&["scan", "--dry-run"][..], &["scan"]] {
        let (code, text) = run(&config, words).await;
        assert!(code == 1 && text.contains("none of its files is a dataset"), "{text}");
    }
    let name = session.name();
    assert_eq!(run(&config, &["acknowledge", &name]).await.0, 0);
    for words in [&["scan", "--dry-run"][..], &["scan"]] {
        let (code, text) = run(&config, words).await;
        assert!(code == 0 && !text.contains("none of its files"), "{text}");
    }
    assert!(!session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_pattern_is_listed_and_can_be_withdrawn() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    let (one, other) = (rig.session("cortexlab", "KS014"), rig.session("cortexlab", "SWC_001"));
    for (session, file) in [(&one, "a.nwb"), (&other, "b.nwb")] {
        files(session, &[file]);
        session.flag();
        running.wait_for("registered with gaps");
    }
    let say = async |words: &[&str]| run(&config, words).await;
    assert_eq!(say(&["acknowledge", "--list"]).await.1, "Nothing is acknowledged.\n");
    for (pattern, text) in [("*.nwb", "2 sessions acknowledged.\n"), ("b.*", "0 sessions acknowledged.\n")] {
        let (code, said) = say(&["acknowledge", "--pattern", pattern]).await;
        assert!(code == 0 && said.starts_with(text), "{said}");
    }
    let listed = async || say(&["acknowledge", "--list"]).await.1;
    let is_known = async {
        while !listed().await.contains("pattern  b.*") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(common::AT_MOST, is_known).await.unwrap();
    let text = listed().await;
    for line in ["pattern  *.nwb".to_owned(), format!("session  {}", one.name())] {
        assert!(text.lines().any(|known| known == line), "{text}");
    }
    // The other session matches a pattern that is left.
    let withdrawn = say(&["acknowledge", "--withdraw", "*.nwb"]).await;
    assert_eq!(withdrawn, (0, "Withdrawn; 1 session reported again.\n".to_owned()));
    let status = json(&config, &["status"]).await.remove(0);
    let open: Vec<_> = status["gaps"].as_array().unwrap().iter().map(|gap| gap["session"].clone()).collect();
    assert_eq!(open, [one.name()]);
    let (code, text) = say(&["acknowledge", "--withdraw", "*.dat"]).await;
    assert!(code == 1 && text.contains("*.dat is not an acknowledged pattern"), "{text}");
    running.stop();
    // Without a daemon, too.
    assert_eq!(say(&["acknowledge", "--withdraw", "b.*"]).await.1, "Withdrawn; 1 session reported again.\n");
    assert!(!listed().await.contains("pattern"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_would_overwrite_a_file_is_not_advised() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    files(
        &session,
        &["raw/_iblrig_leftCamera.raw.MP4", "raw/_iblrig_leftCamera.raw.Mp4", "alf/spikes.times.npy"],
    );
    session.flag();
    let gap = session.register(&alyx.client(), &with_files()).await.unwrap().gap.unwrap();
    assert_eq!(gap.files().len(), 2);
    assert!(
        !gap.to_string().contains("rename it to") && gap.to_string().contains("another of that name"),
        "{gap}"
    );
    // The name is that of a folder.
    let session = rig.session("cortexlab", "KS014");
    files(
        &session,
        &["raw/_iblrig_leftCamera.raw.MP4", "raw/_iblrig_leftCamera.raw.mp4/x", "alf/spikes.times.npy"],
    );
    session.flag();
    let gap = session.register(&alyx.client(), &with_files()).await.unwrap().gap.unwrap();
    assert!(!gap.to_string().contains("rename it to"), "{gap}");
    // In an explicit list.
    let names = ["_iblrig_leftCamera.raw.MP4", "_iblrig_leftCamera.raw.mp4"];
    let paths: Vec<PathBuf> = names.iter().map(|name| session.folder.join("raw").join(name)).collect();
    let registered = alyx.client().plan_files(&paths[..1], &Default::default()).await.unwrap();
    assert!(registered.left_out[0].reason.to_string().contains("rename it to"));
    let registered = alyx.client().plan_files(&paths, &Default::default()).await;
    let text = format!("{registered:?}");
    assert!(text.contains("NearMissTaken") || registered.is_err(), "{text}");
}

/// A session as iblrig leaves it on a rig.
const IBL: &[&str] = &[
    "_ibl_experiment.description.yaml",
    "_ibl_log.info-acquisition.log",
    "raw_session.flag",
    "raw_task_data_00/_iblrig_taskData.raw.jsonable",
    "raw_task_data_00/_iblrig_taskSettings.raw.json",
    "raw_task_data_00/_iblrig_encoderEvents.raw.ssv",
    "raw_task_data_00/_iblrig_encoderPositions.raw.ssv",
    "raw_task_data_00/_iblrig_encoderTrialInfo.raw.ssv",
    "raw_task_data_00/_iblrig_ambientSensorData.raw.jsonable",
    "raw_task_data_00/_iblrig_stimPositionScreen.raw.csv",
    "raw_task_data_00/_iblrig_syncSquareUpdate.raw.csv",
    "raw_video_data/_iblrig_leftCamera.raw.mp4",
    "raw_video_data/_iblrig_leftCamera.frameData.bin",
    "raw_video_data/bonsai_workflow.bonsai",
    "raw_video_data/.DS_Store",
];

/// A SpikeGLX run with compressed data, sorted; the uncompressed files are still there.
const SPIKEGLX: &[&str] = &[
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.cbin",
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.ch",
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.meta",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_imec0/KS014_20240501_g0_t0.imec0.ap.bin",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_imec0/KS014_20240501_g0_t0.imec0.ap.meta",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_imec0/KS014_20240501_g0_t0.imec0.lf.bin",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_imec0/KS014_20240501_g0_t0.imec0.lf.meta",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_t0.nidq.bin",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_t0.nidq.meta",
    "raw_ephys_data/KS014_20240501_g0/KS014_20240501_g0_tcat.imec0.ap.xd_384_6_500.txt",
    "alf/probe00/spikes.times.npy",
];

/// An Open Ephys recording with sorted data.
const OPEN_EPHYS: &[&str] = &[
    "Record Node 101/settings.xml",
    "Record Node 101/experiment1/recording1/structure.oebin",
    "Record Node 101/experiment1/recording1/sync_messages.txt",
    "Record Node 101/experiment1/recording1/continuous/Neuropix-PXI-100.ProbeA-AP/continuous.dat",
    "Record Node 101/experiment1/recording1/continuous/Neuropix-PXI-100.ProbeA-AP/sample_numbers.npy",
    "Record Node 101/experiment1/recording1/continuous/Neuropix-PXI-100.ProbeA-AP/timestamps.npy",
    "Record Node 101/experiment1/recording1/events/Neuropix-PXI-100.ProbeA-AP/TTL/states.npy",
    "Record Node 101/experiment1/recording1/events/Neuropix-PXI-100.ProbeA-AP/TTL/full_words.npy",
    "Record Node 101/experiment1/recording1/events/MessageCenter/text.npy",
    "100_RhythmData-A_CH1.continuous",
    "alf/probe00/spikes.times.npy",
    "alf/probe00/spikes.clusters.npy",
];

#[tokio::test(flavor = "multi_thread")]
async fn normal_sessions_of_ibl_spikeglx_and_open_ephys_are_green() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    // The files have the names of real ones, not their content.
    let config = configuration(&alyx, &rig, "metadata: {readers: []}\n");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    running.stop();
    for (names, datasets) in [(IBL, 11), (SPIKEGLX, 4), (OPEN_EPHYS, 2)] {
        let session = rig.session("cortexlab", "KS014");
        files(&session, names);
        session.flag();
        let line = json(&config, &["scan"]).await.remove(0);
        assert_eq!((&line["outcome"], &line["gaps"]), (&"registered".into(), &Value::Null), "{line}");
        assert_eq!(line["datasets"], datasets, "{line}");
    }
    let status = json(&config, &["status"]).await;
    assert_eq!(status[0]["gaps"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_files_alone_are_a_gap() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for names in [&SPIKEGLX[3..10], &OPEN_EPHYS[..10]] {
        let session = rig.session("cortexlab", "KS014");
        files(&session, names);
        session.flag();
        let gap = session.register(&alyx.client(), &with_files()).await.unwrap().gap.unwrap();
        assert_eq!(gap.kind(), "no_dataset", "{gap}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_does_not_report_gaps_that_are_acknowledged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    running.stop();
    let recording = |rig: &Rig| {
        let session = rig.session("cortexlab", "KS014");
        files(&session, &["recording.nwb"]);
        session.flag();
    };
    recording(&rig);
    let (code, text) = run(&config, &["scan"]).await;
    assert!(code == 1 && text.contains("1 with gaps"), "{text}");
    assert_eq!(run(&config, &["acknowledge", "--pattern", "*.nwb"]).await.0, 0);
    recording(&rig);
    let (code, text) = run(&config, &["scan"]).await;
    assert!(code == 0 && !text.contains("with gaps"), "{text}");
}

/// What is known or acknowledged hides no kind of file that was never reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_without_a_type_is_reported_beside_known_and_acknowledged_ones() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    let flagged = |names: &[String]| {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "x");
        for name in names {
            session.file(name, "x");
        }
        session.flag();
    };
    let many: Vec<String> = ('a'..='y').map(|letter| format!("alf/kind{letter}.results.npy")).collect();
    flagged(&many);
    running.wait_for("registered with gaps");
    flagged(&[many, vec!["alf/kindz.results.npy".into()]].concat());
    let line = running.wait_for("registered with gaps");
    let message = line.split(" session=").next().unwrap();
    assert!(message.contains("kindz.results.npy") && !message.contains("kinda.results.npy"), "{line}");

    let video = || "raw_video_data/_iblrig_leftCamera.raw.MP4".to_owned();
    flagged(&[video()]);
    running.wait_for("registered with gaps");
    assert_eq!(run(&config, &["acknowledge", "--pattern", "*.MP4"]).await.0, 0);
    flagged(&[video()]);
    running.wait_for("registered with gaps, which are acknowledged");
    flagged(&[video(), "alf/precious.results.npy".into()]);
    let line = running.wait_for("registered with gaps: ");
    assert!(line.contains("precious.results.npy"), "{line}");
    running.stop();
}

/// Of a session with very many such files, none is acknowledged unseen.
#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_acknowledges_a_session_only_if_it_matches_every_file() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut running = daemon(&config);
    running.wait_for("data root scanned");
    let session = rig.session("cortexlab", "KS014");
    for probe in 0..120 {
        session.file(&format!("a{probe:03}/_iblrig_leftCamera.raw.MP4"), "x");
    }
    session.file("zzz/Spikes.Times.NPY", "x").flag();
    running.wait_for("registered with gaps: ");
    run(&config, &["acknowledge", "--pattern", "*.MP4"]).await;
    let (code, text) = run(&config, &["status"]).await;
    assert!(code == 1 && text.contains(&session.name()), "{text}");
    running.stop();
}
