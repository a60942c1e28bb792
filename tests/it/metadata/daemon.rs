//! The daemon and `scan`: sessions are described, wait, and are skipped, as the configuration says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{SETTINGS, ibl, record, session, settings};
use crate::common::{Alyx, Rig, hold, until};
use crate::program::{Configuration, Program, output, program};

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

fn command(words: &[&str], config: &Path) -> Command {
    let mut command = program();
    command.args(words).arg("--config").arg(config);
    command
}

/// The documents that a command prints.
fn documents(words: &[&str], config: &Path) -> Vec<Value> {
    let said = output(command(words, config).arg("--json"));
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_waits_for_what_is_missing_and_says_from_where_it_knows_the_rest() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file("raw_video_data/left.mp4", "").flag();
    let more = "metadata:\n  users_map: {rig_user: test_user}\nsession: {projects: [practice]}\n";
    let config = configuration(&alyx, &rig, more);
    let mut daemon = Program::start(&mut command(&["run"], &config));
    daemon.wait_for("waiting: the session waits for raw_video_data/left.mp4: the file is still empty");
    assert!(alyx.control().sessions().is_empty());
    session.file("raw_video_data/left.mp4", "x");
    let line = daemon.wait_for("described: ");
    assert!(line.contains("projects, procedures from _ibl_experiment.description_rig.yaml"), "{line}");
    until("registered", || !session.is_flagged());
    daemon.wait_for("registered session");
    let known = record(&alyx, &session).await;
    assert_eq!(known["projects"], json!(["ibl_training", "practice"]));
    assert_eq!(known["users"], json!(["test_user"]));
    daemon.stop();
    let history = documents(&["history"], &config);
    assert!(history[0]["described"].as_str().unwrap().contains(SETTINGS), "{history:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_animal_needs_attention_and_the_others_go_on() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (wrong, right) = (session(&rig), rig.session_at("cortexlab/Subjects/KS014/2024-05-02/001"));
    ibl(&wrong);
    wrong.file(SETTINGS, settings(json!({"SUBJECT_NAME": "SWC_001"}))).flag();
    right.file("alf/spikes.times.npy", "a").flag();
    let config = configuration(&alyx, &rig, "");
    let mut daemon = Program::start(&mut command(&["run"], &config));
    let mut wanted = vec!["the rig wrote \"SWC_001\"", "registered session"];
    while !wanted.is_empty() {
        let line = daemon.wait_for("");
        wanted.retain(|text| !line.contains(text));
    }
    assert!(wrong.is_flagged() && !right.is_flagged());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_subjects_that_are_no_animals_stay_and_do_not_count() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let test = rig.session_at("cortexlab/Subjects/test_subject/2024-05-01/001");
    let real = session(&rig);
    test.flag();
    real.file("alf/spikes.times.npy", "a").flag();
    let config = configuration(&alyx, &rig, "metadata: {skip_subjects: [test_subject]}\n");
    let scanned = documents(&["scan", "--dry-run"], &config);
    assert_eq!(scanned.len(), 1, "{scanned:#?}");
    let mut daemon = Program::start(&mut command(&["run"], &config));
    let mut wanted = vec!["its subject is in metadata.skip_subjects", "registered session"];
    while !wanted.is_empty() {
        let line = daemon.wait_for("");
        wanted.retain(|text| !line.contains(text));
    }
    assert!(test.is_flagged() && !real.is_flagged());
    let status = documents(&["status"], &config);
    assert_eq!(status[0]["sessions"], json!([]));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_scan_shows_what_would_be_sent_and_from_where() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.flag();
    let more = format!(
        "data_roots:\n  - path: {}\n    session: {{location: rig2, projects: [practice]}}\n",
        rig.root().display()
    );
    let config = configuration(&alyx, &rig, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let plain = format!("data_roots:\n  - {}\n", rig.root().display());
    assert!(text.contains(&plain));
    std::fs::write(&config, text.replace(&plain, &more)).unwrap();
    let planned = documents(&["scan", "--dry-run"], &config).remove(0);
    assert_eq!(planned["request"]["location"], "rig1");
    assert_eq!(planned["request"]["projects"], json!(["ibl_training", "practice"]));
    assert!(planned["described"].as_str().unwrap().contains(SETTINGS), "{planned:#}");
    assert!(alyx.control().sessions().is_empty() && session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_creation_and_registration_the_next_daemon_still_knows_the_session_as_its_own() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "datasets: {repository: flatiron_cortexlab, exists: false}\n");
    let gate = hold(&alyx, "POST", "/register-file");
    let daemon = Program::start(&mut command(&["run"], &config));
    gate.reached().await;
    assert_eq!(record(&alyx, &session).await["users"], json!(["test_user"]));
    drop(daemon);
    gate.open();
    // Only now does somebody write down who was there.
    session.file("alyx-session.yaml", "users: [rig_user]\n");
    let mut daemon = Program::start(&mut command(&["run"], &config));
    daemon.wait_for("filled on Alyx: users");
    daemon.wait_for("registered");
    assert_eq!(record(&alyx, &session).await["users"], json!(["rig_user"]));
    daemon.stop();
}
