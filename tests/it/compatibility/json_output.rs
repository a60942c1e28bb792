//! What `--json` says, with what differs from run to run replaced by its kind.

use serde_json::Value;

use crate::compatibility::recorded;
use crate::compatibility::world::{NOWHERE, World};

const SESSION: &str = "{root}/cortexlab/Subjects/KS014/2024-05-01/001";

/// One call after the other, and everything that they said.
async fn said(world: &World, calls: &[&str]) -> String {
    let mut text = String::new();
    for call in calls {
        let said = world.run(&call.replace("{session}", SESSION)).await;
        text += &format!("# {call} -> {}\n", said.code);
        let mut objects: Vec<Value> = said
            .out
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{call}: {error}: {said:?}"))
            })
            .collect();
        if call.starts_with("check ") {
            objects.iter_mut().for_each(without_what_the_computer_is_like);
        }
        for object in objects {
            text += &serde_json::to_string_pretty(&world.normal_json(&object)).unwrap();
            text += "\n";
        }
    }
    text
}

/// Of a check, what is the same on every computer: which checks there are, and which keys. Whether the tests are run
/// by root changes one state, and with it the count.
fn without_what_the_computer_is_like(check: &mut Value) {
    for key in ["problems", "warnings"] {
        if check[key].is_number() {
            check[key] = "<number>".into();
        }
    }
    for row in check["checks"].as_array_mut().into_iter().flatten() {
        let of_the_computer = ["user", "watches", "clock", "watching", "state folder"];
        if of_the_computer.iter().any(|name| row["check"] == *name) {
            for field in row.as_object_mut().unwrap().iter_mut().filter(|(key, _)| *key != "check") {
                *field.1 = "<of the computer>".into();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_of_the_commands_is_as_recorded() {
    let world = World::new().await;
    world.good_config("");
    world.config("away", NOWHERE, &world.alyx.password, "");
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").file("notes.txt", "x");
    let calls = [
        "exists subjects KS014 nobody --json --config {rig}/etc/config.yaml",
        "exists users test_user --json --config {rig}/etc/config.yaml",
        "exists labs cortexlab --json --config {rig}/etc/config.yaml",
        "exists projects practice --json --config {rig}/etc/config.yaml",
        "exists procedures Histology --json --config {rig}/etc/config.yaml",
        "exists locations rig1 --json --config {rig}/etc/config.yaml",
        "exists repositories cortexlab_local --json --config {rig}/etc/config.yaml",
        "exists subjects KS014 --json --config {rig}/away/config.yaml",
        "find-files {session} --json --config {rig}/etc/config.yaml",
        "create-session {session} --dry-run --json --config {rig}/etc/config.yaml",
        "register-session {session} --dry-run --json --config {rig}/etc/config.yaml",
        "create-session {session} --projects practice --json --config {rig}/etc/config.yaml",
        "create-session {session} --dry-run --json --config {rig}/etc/config.yaml",
        "register-session {session} --json --config {rig}/etc/config.yaml",
        "register-session {session} --json --config {rig}/etc/config.yaml",
        "register-session {root}/cortexlab/Subjects/nobody/2024-05-01/001 --json --config {rig}/etc/config.yaml",
        "register-files {session}/alf/spikes.times.npy {session}/notes.txt --json --config {rig}/etc/config.yaml",
        "register-files {session}/alf/spikes.times.npy --dry-run --force --json --config {rig}/etc/config.yaml",
        "check-protected {session}/alf/spikes.times.npy {session}/notes.txt --json --config {rig}/etc/config.yaml",
        "water KS014 1.5 --dry-run --date-time 2024-05-01T10:00:00 --json --config {rig}/etc/config.yaml",
        "water KS014 1.5 --session {session} --date-time 2024-05-01T10:00:00 --json --config {rig}/etc/config.yaml",
        "weight KS014 21.5 --dry-run --date-time 2024-05-01T10:00:00 --json --config {rig}/etc/config.yaml",
        "weight KS014 21.5 --json --config {rig}/etc/config.yaml",
        "new-session KS014 {root} --date 2024-05-03 --dry-run --json --config {rig}/etc/config.yaml",
        "new-session KS014 {root} --date 2024-05-03 --json --config {rig}/etc/config.yaml",
    ];
    let mut text = said(&world, &calls).await;
    let dataset =
        world.alyx.control().datasets()[0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(world.alyx.control().protect_dataset(&dataset));
    text += &said(
        &world,
        &["check-protected {session}/alf/spikes.times.npy --json --config {rig}/etc/config.yaml"],
    )
    .await;
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").file("alf/spikes.times.npy", "changed");
    text += &said(&world, &["register-files {session}/alf/spikes.times.npy --protected refuse --json --config {rig}/etc/config.yaml", "register-files {session}/alf/spikes.times.npy --protected revise --json --config {rig}/etc/config.yaml"]).await;
    recorded::compare("json-commands.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_of_scan_status_history_and_check_is_as_recorded() {
    let world = World::new().await;
    world.good_config("");
    world.config("away", NOWHERE, &world.alyx.password, "");
    world.config("unknown-key", NOWHERE, &world.alyx.password, "fly: true\n");
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").file("notes.txt", "x").flag();
    world.session("cortexlab/Subjects/nobody/2024-05-01/001").flag();
    world.session("cortexlab/Subjects/KS014/2024-05-02/001");
    // The ledger is the daemon's: a scan makes none.
    let calls = [
        "check --json --config {rig}/etc/config.yaml",
        "check --json --offline --config {rig}/etc/config.yaml",
        "check --json --before-start --config {rig}/etc/config.yaml",
        "check --json --config {rig}/away/config.yaml",
        "check --json --config {rig}/unknown-key/config.yaml",
        "scan --orphans --json --config {rig}/etc/config.yaml",
        "scan --dry-run --json --config {rig}/etc/config.yaml",
        "status --json --config {rig}/etc/config.yaml",
        "scan --json --config {rig}/etc/config.yaml",
        "create-sessions {root} --dry-run --json --config {rig}/etc/config.yaml",
        "create-sessions {root} --json --config {rig}/etc/config.yaml",
        "status --json --config {rig}/etc/config.yaml",
        "history --json --config {rig}/etc/config.yaml",
    ];
    recorded::compare("json-scan-status-check.txt", &said(&world, &calls).await);
}
