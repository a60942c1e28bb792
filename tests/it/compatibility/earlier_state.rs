//! A ledger and a configuration of 0.1.0 are still understood.

use alyx_sandbox::{Fault, FaultRule};
use serde_json::Value;

use crate::common::until;
use crate::compatibility::ledger_dump;
use crate::compatibility::recorded;
use crate::compatibility::world::{GOOD, World};
use crate::program::Program;

const LEDGER: &str = "ledger.sql";
const REGISTERED: &str = "cortexlab/Subjects/KS014/2024-05-01/001";
const UNKNOWN: &str = "cortexlab/Subjects/nobody/2024-05-01/001";
const RETRYING: &str = "mainenlab/Subjects/ZM_1085/2024-05-02/001";

async fn json(world: &World, call: &str) -> (i32, Vec<Value>) {
    let said = world.run(call).await;
    let lines = said.out.lines().map(|line| serde_json::from_str(line).unwrap());
    (said.code, lines.collect())
}

fn state_of(status: &Value, subject: &str) -> Option<String> {
    let mut sessions = status["sessions"].as_array()?.iter();
    let session =
        sessions.find(|session| session["session"].as_str().is_some_and(|name| name.starts_with(subject)))?;
    session["state"].as_str().map(str::to_owned)
}

/// The sessions of the ledger; those that are not registered have their flags.
fn sessions(world: &World) {
    world.session(REGISTERED).file("notes.txt", "x");
    world.session(UNKNOWN).flag();
    world.session(RETRYING).flag();
}

/// Makes the ledger of this version.
async fn made() -> String {
    let world = World::new().await;
    world.good_config("retry:\n  initial: 1 h\n  max: 2 h\n  permanent: 3 h\n");
    sessions(&world);
    let registered = world.session(REGISTERED);
    registered.flag();
    let fault = Fault::Status {
        code: 500,
        body: "{\"detail\": \"the database is away\"}".into(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    // The checksum of a file is remembered only where nothing has changed it for a while.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    // Only the lab of this session has these repositories.
    let rule = FaultRule { method: None, path_prefix: "/subjects/ZM_1085".into(), times: usize::MAX, fault };
    world.alyx.control().add_fault(rule);
    let daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    until("registered", || !registered.is_flagged());
    world
        .until_status(GOOD, |status| {
            state_of(status, "nobody").as_deref() == Some("needs_attention")
                && state_of(status, "ZM_1085").as_deref() == Some("retrying")
                && state_of(status, "KS014").is_none()
        })
        .await;
    daemon.stop();
    ledger_dump::dump(&world.rig.beside("etc/state/ledger.sqlite"), world.rig.root().to_str().unwrap())
}

/// The dump. It is of 0.1.0, whichever version records the rest: it is made where it is missing only.
async fn dump() -> String {
    let file = recorded::path(LEDGER);
    if recorded::recording() && !file.exists() {
        std::fs::write(&file, made().await).unwrap();
    }
    std::fs::read_to_string(file).unwrap()
}

fn pretty(world: &World, values: &[Value]) -> String {
    values
        .iter()
        .map(|value| serde_json::to_string_pretty(&world.normal_json(value)).unwrap() + "\n")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_0_1_0_is_read_and_continued() {
    let world = World::new().await;
    let dump = dump().await;
    world.good_config("");
    sessions(&world);
    ledger_dump::load(
        &dump,
        &world.rig.beside("etc/state/ledger.sqlite"),
        world.rig.root().to_str().unwrap(),
    );
    let mut text = String::new();
    for call in [
        "history --json --config {rig}/etc/config.yaml",
        "history --json --outcome registered --config {rig}/etc/config.yaml",
        "history --json --subject nobody --limit 1 --config {rig}/etc/config.yaml",
        "status --json --config {rig}/etc/config.yaml",
        "status --json --state-dir {rig}/etc/state",
    ] {
        let (code, said) = json(&world, call).await;
        text += &format!("# {call} -> {code}\n{}", pretty(&world, &said));
    }
    // It is continued: what waited is tried, what is remembered is there still.
    assert!(world.alyx.control().add_subject("nobody", "cortexlab"));
    let mut daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    // The lines, not the flags: a flag is gone before its session is written down.
    daemon.wait_for("registered session");
    daemon.wait_for("registered session");
    daemon.stop();
    let (code, mut said) =
        json(&world, "history --json --outcome registered --config {rig}/etc/config.yaml").await;
    said.sort_by_key(|outcome| outcome["session"].to_string());
    text += &format!("# history after the daemon ran -> {code}\n{}", pretty(&world, &said));
    recorded::compare("ledger-history.txt", &text);
}

/// The configuration with every key, for this rig.
fn every_key(world: &World) {
    let folder = world.folder();
    let text = std::fs::read_to_string(recorded::path("config.yaml")).unwrap();
    let text = text
        .replace("<root>", world.rig.root().to_str().unwrap())
        .replace("<rig>", &folder)
        .replace("<url>", &world.alyx.url);
    world.good_config("");
    std::fs::write(world.rig.beside("etc/config.yaml"), text).unwrap();
    crate::tls::Authority::new().write(world.rig.beside("etc/lab.pem"));
    let webhook = world.rig.beside("etc/webhook-password");
    std::fs::write(&webhook, "http://127.0.0.1:9/hook").unwrap();
    std::fs::set_permissions(&webhook, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(world.rig.root().join(".mounted"), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_0_1_0_with_every_key_is_understood() {
    let world = World::new().await;
    every_key(&world);
    let session = world.session(REGISTERED);
    session.file("alf/junk.tmp.npy", "x");
    std::fs::write(session.folder.join("go.flag"), "").unwrap();
    std::fs::remove_dir_all(world.rig.beside("etc/state")).unwrap();
    let mut text = String::new();
    let (code, said) = json(&world, "check --json --offline --config {rig}/etc/config.yaml").await;
    for row in said[0]["checks"].as_array().unwrap() {
        if !["user", "watches", "clock"].iter().any(|name| row["check"] == *name) {
            text += &world.normal(&format!("{} {} {}\n", row["state"], row["check"], row["found"]));
        }
    }
    text += &format!("check --offline -> {code}\n");
    let daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    until("registered", || !session.folder.join("go.flag").exists());
    // The flag goes before its outcome is recorded.
    let is_recorded = |status: &Value| status["sessions"].as_array().is_some_and(Vec::is_empty);
    world.until_status("{rig}/etc/config.yaml", is_recorded).await;
    daemon.stop();
    let (_, said) = json(&world, "history --json --config {rig}/etc/config.yaml").await;
    text += &pretty(&world, &said);
    text += &pretty(&world, &world.alyx.control().sessions());
    text += &pretty(&world, &world.alyx.control().datasets());
    recorded::compare("config-every-key.txt", &text);
}

/// Every key of the sample is in the recorded configuration, set to something, but for those that came later.
#[test]
fn the_recorded_configuration_sets_every_key_that_can_be_set_together() {
    let text = std::fs::read_to_string(recorded::path("config.yaml")).unwrap();
    let sample = include_str!("../../../config/alyx-registrar.yaml");
    // One secret of several, one webhook of two.
    let others = ["password_env", "token_file", "token_env", "one_settings", "webhook_env"];
    let later = [
        "settle_remote",
        "empty_grace",
        "copy_signs",
        "names",
        "earliest",
        "on_left_out",
        "late",
        "late_exclude",
        "late_files",
        "late_rate",
        "repositories",
        "follow",
        "links",
        "allow",
        "complete",
        "metadata",
        "readers",
        "users_map",
        "expect",
        "wait_for",
        "on_missing",
        "measurements",
        "weight",
        "water",
        "skip_subjects",
        "verify",
        "window",
        "reading",
        "max_rate",
        "min_rate",
        "yield",
        "history",
        "keep",
    ];
    let key = regex::Regex::new("^ *(- )?([a-z0-9_]+):").unwrap();
    let keys = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().filter_map(|line| Some(key.captures(line)?[2].to_owned())).collect()
    };
    let missing: Vec<String> = keys(sample)
        .difference(&keys(&text))
        .filter(|key| !others.contains(&key.as_str()) && !later.contains(&key.as_str()))
        .cloned()
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
