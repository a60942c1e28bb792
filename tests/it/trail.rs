//! The trail: what was registered and recorded, file by file, by whatever command.

use alyx_registrar::ledger::{HistoryFilter, Ledger, WaitingChange};
use serde_json::{Value, json};

use crate::common::{Alyx, MD5_OF_ABC, Rig};
use crate::json_schema::Checker;
use crate::program::Configuration;
use crate::verbs::{Said, at_home, run};

fn said(rig: &Rig, words: &str) -> Said {
    let root = rig.root().join("cortexlab/Subjects/KS014/2024-05-01/001");
    let words: Vec<String> =
        words.split_whitespace().map(|word| word.replace("{s}", root.to_str().unwrap())).collect();
    let config = rig.beside("etc/config.yaml");
    let mut command = at_home(rig, &words.iter().map(String::as_str).collect::<Vec<_>>());
    run(command.arg("--config").arg(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_names_the_files_of_flags_and_of_commands_and_goes_when_the_configuration_says() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "history:\n  keep: 30 d\ndatasets:\n  register: true\n".to_owned();
    Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
    drop(Ledger::open(&rig.beside("etc/state")));
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc").file("notes.txt", "x").flag();
    said(&rig, "scan").ends(0);
    said(&rig, "register-session {s}").ends(0);
    session.file("alf/spikes.amps.npy", "abcde");
    said(&rig, "register-files {s}/alf/spikes.amps.npy").ends(0);
    for _ in 0..2 {
        said(&rig, "weight KS014 21.5 --date-time 2024-05-01T10:00").ends(0);
    }
    said(&rig, "water KS014 1.2 --date-time 2024-05-01T10:00").ends(0);

    let history = said(&rig, "history --files --json").ends(0);
    let rows: Vec<Value> = history.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut checker = Checker::new();
    rows.iter().for_each(|row| checker.check(row));
    let by: Vec<&str> = rows.iter().map(|row| row["by"].as_str().unwrap_or("-")).collect();
    assert_eq!(by, ["water", "weight", "register-files", "register-session", "-"], "{rows:#?}");
    let times = json!({"path": "alf/spikes.times.npy", "size": 3, "md5": MD5_OF_ABC, "left_out": null});
    let notes = json!({"path": "notes.txt", "size": null, "md5": null, "left_out": "no ALF name"});
    let files = |row: &Value| row["files"].as_array().unwrap().clone();
    assert_eq!(files(&rows[4]), [times.clone(), notes.clone()]);
    assert_eq!(files(&rows[3]), [times, notes]);
    let [amps] = &files(&rows[2])[..] else { panic!("{rows:#?}") };
    assert_eq!((&amps["path"], &amps["size"]), (&json!("alf/spikes.amps.npy"), &json!(5)));
    assert_eq!((&rows[2]["datasets"], &rows[2]["bytes"]), (&json!(1), &json!(5)));
    assert_eq!((&rows[1]["outcome"], &rows[1]["session"]), (&json!("recorded"), &json!("KS014")));
    assert!(rows[1]["described"].as_str().unwrap().starts_with("21.5 g for KS014 at 2024-05-01T10:00"));

    let text = said(&rig, "history --files").ends(0).out;
    for wanted in [
        format!("    {MD5_OF_ABC}             3  alf/spikes.times.npy\n"),
        "    left out: notes.txt: no ALF name\n".to_owned(),
        "recorded         KS014  21.5 g for KS014".to_owned(),
    ] {
        assert!(text.contains(&wanted), "{wanted}: {text}");
    }
    let plain = said(&rig, "history --json").ends(0);
    assert!(!plain.out.contains("\"files\""), "{plain:?}");
    // Measurements are no sessions.
    let status: Value = serde_json::from_str(&said(&rig, "status --json").out).unwrap();
    assert_eq!(status["last"].as_array().unwrap().len(), 3, "{status:#}");

    // A daemon prunes as the configuration says; the files go with their outcome.
    let ledger = Ledger::open(&rig.beside("etc/state"));
    let all = HistoryFilter { measurements: true, ..HistoryFilter::default() };
    let ids: Vec<i64> = ledger.history_with_ids(&all).into_iter().map(|(id, _)| id).collect();
    let in_31_days = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(31 * 24);
    ledger.prune(in_31_days);
    assert_eq!(ledger.history(&all).len(), 5, "kept for 180 days");
    let ledger = ledger.keeping(std::time::Duration::from_hours(30 * 24));
    ledger.prune(in_31_days);
    assert_eq!((ledger.history(&all), ledger.trail(ids[4]).files), (vec![], vec![]));
    ledger.update_waiting(WaitingChange::Keep);
}
