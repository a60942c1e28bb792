//! The exit code of every kind of ending.

use alyx_sandbox::{Fault, FaultRule, Gate};

use crate::compatibility::recorded;
use crate::compatibility::world::{GOOD as GOOD_CONFIG, NOWHERE, World};
use crate::program::Program;

const GOOD: &str = "{root}/cortexlab/Subjects/KS014/2024-05-01/001";
const UNKNOWN: &str = "{root}/cortexlab/Subjects/nobody/2024-05-01/001";

/// Calls whose end does not depend on what earlier ones did.
const ANY_ORDER: &[&str] = &[
    "",
    "--help",
    "--version",
    "help",
    "help scan",
    "fly",
    "scan --fly",
    "completions bash",
    "completions zsh",
    "completions fish",
    "completions tcsh",
    "man",
    "man water",
    "man nosuch",
    "man --dir {rig}/pages",
    "man --dir /proc/nosuch",
    "man water --dir {rig}/pages",
    "sandbox --listen nowhere",
    "sandbox --seed {rig}/nosuch",
    "sandbox --seed {rig}/unknown-key/config.yaml",
    "sandbox --db {rig}/nosuch/file",
    "sandbox --listen 192.0.2.1:1",
    // Configurations.
    "run --config {rig}/nosuch.yaml",
    "run --config {rig}/unknown-key/config.yaml",
    "run --sandbox",
    "run --sandbox --data-root {rig}/nosuch",
    "run --log-level loud",
    "scan --config {rig}/nosuch.yaml",
    "scan --config {rig}/unknown-key/config.yaml",
    "scan --config {rig}/no-secret/config.yaml",
    "scan --config {rig}/away/config.yaml",
    "scan --config {rig}/refused/config.yaml",
    "scan --config {rig}/no-root/config.yaml",
    "scan --config {rig}/etc/config.yaml --dry-run",
    "scan --config {rig}/etc/config.yaml --orphans --no-files",
    "scan --orphans --config {rig}/away/config.yaml",
    "scan --orphans --config {rig}/refused/config.yaml",
    "check --config {rig}/nosuch.yaml",
    "check --config {rig}/unknown-key/config.yaml",
    "check --config {rig}/no-secret/config.yaml",
    "check --config {rig}/away/config.yaml",
    "check --config {rig}/away/config.yaml --offline",
    "check --config {rig}/away/config.yaml --before-start",
    "check --config {rig}/refused/config.yaml",
    "check --config {rig}/no-root/config.yaml",
    "check --config {rig}/no-state/config.yaml",
    "check --config {rig}/etc/config.yaml",
    "check --config {rig}/etc/config.yaml --offline",
    "check --config {rig}/etc/config.yaml --offline --before-start",
    // A state without a daemon.
    "status --config {rig}/nosuch.yaml",
    "status --config {rig}/etc/config.yaml",
    "status --state-dir {rig}/nosuch",
    "status --state-dir {rig}/file",
    "history --config {rig}/nosuch.yaml",
    "history --state-dir {rig}/nosuch",
    "history --state-dir {rig}/damaged",
    "history --state-dir {rig}/nosuch --outcome lost",
    "history --state-dir {rig}/nosuch --outcome needs-attention",
    "history --state-dir {rig}/nosuch --outcome needs_attention",
    "history --state-dir {rig}/nosuch --date yesterday",
    "history --state-dir {rig}/nosuch --limit many",
    "retry",
    "retry --all --state-dir {rig}/nosuch",
    "retry KS014/2024-05-01/001 --state-dir {rig}/nosuch",
    "retry KS014/2024-05-01/001 --all",
    "forget",
    "forget KS014/2024-05-01/001 --state-dir {rig}/nosuch",
    // Writing a configuration.
    "init --yes",
    "init --yes --config {rig}/etc/config.yaml --data-root /data --url https://alyx.example.org --user rig",
    "init --yes --config {rig}/new/config.yaml --data-root data --url alyx --user rig",
    "init --config {rig}/new/config.yaml --data-root /data",
    "init --yes --config {rig}/new/config.yaml --data-root /data --url https://alyx.example.org --user rig",
    "init --yes --config {rig}/new/config.yaml --password-stdin --token-file x",
    // Questions.
    "exists subjects KS014 --url {url} --user test_user",
    "exists subjects nobody --url {url} --user test_user",
    "exists subjects KS014 nobody --url {url} --user test_user",
    "exists data-repository flatiron_cortexlab --url {url} --user test_user",
    "exists planets mars --url {url} --user test_user",
    "exists subjects --url {url} --user test_user",
    "exists subjects KS014 --url http://127.0.0.1:9 --user test_user",
    "exists subjects KS014 --url {url} --user nobody",
    "exists subjects KS014 --url {url}",
    "exists subjects KS014 --url not-an-address --user test_user",
    "exists subjects KS014 --config {rig}/etc/config.yaml",
    "exists subjects KS014 --config {rig}/refused/config.yaml",
    "exists subjects KS014 --config {rig}/away/config.yaml",
    "exists subjects KS014 --config {rig}/unknown-key/config.yaml",
    "exists subjects KS014 --config {rig}/no-secret/config.yaml",
    "exists subjects KS014 --config {rig}/etc/config.yaml --url {url}",
    "exists subjects KS014 --one-settings {rig}/nosuch",
    "exists subjects KS014",
    "find-files {good} --config {rig}/etc/config.yaml",
    "find-files {rig}/nosuch --config {rig}/etc/config.yaml",
    "find-files {root} --config {rig}/etc/config.yaml",
    // Plans.
    "create-session {good} --dry-run --config {rig}/etc/config.yaml",
    "create-session {unknown} --dry-run --config {rig}/etc/config.yaml",
    "register-session {good} --dry-run --config {rig}/etc/config.yaml",
    "water KS014 1 --dry-run --config {rig}/etc/config.yaml",
    "weight KS014 1 --dry-run --config {rig}/etc/config.yaml",
    "weight nobody 1 --dry-run --config {rig}/etc/config.yaml",
    "new-session KS014 {root} --date 2024-05-03 --dry-run --config {rig}/etc/config.yaml",
    "create-sessions {root} --dry-run --config {rig}/etc/config.yaml",
    // Refusals.
    "create-session {unknown} --config {rig}/etc/config.yaml",
    "create-session {good} --users nobody --config {rig}/etc/config.yaml",
    "create-session {good} --qc FINE --config {rig}/etc/config.yaml",
    "create-session {good} --n-trials many --config {rig}/etc/config.yaml",
    "create-session {good} --session-json [1] --config {rig}/etc/config.yaml",
    "create-session {good} --end-time late --config {rig}/etc/config.yaml",
    "create-session {good} --config {rig}/away/config.yaml",
    "create-sessions {rig}/nosuch --config {rig}/etc/config.yaml",
    "create-sessions {root} --glob-pattern **/[x --config {rig}/etc/config.yaml",
    "new-session KS014 {root} --number 0 --config {rig}/etc/config.yaml",
    "new-session KS014 {root} --number 1000 --config {rig}/etc/config.yaml",
    "new-session nobody {root} --config {rig}/etc/config.yaml",
    "new-session KS014 {rig}/nosuch --config {rig}/etc/config.yaml",
    "register-session {unknown} --config {rig}/etc/config.yaml",
    "register-session {good} --no-files --file x --config {rig}/etc/config.yaml",
    "register-session {good} --file {good} --config {rig}/etc/config.yaml",
    "register-session {good} --file /nowhere --config {rig}/etc/config.yaml",
    "register-session {good} --protected maybe --config {rig}/etc/config.yaml",
    "register-files --config {rig}/etc/config.yaml",
    "register-files /nowhere --config {rig}/etc/config.yaml",
    "register-files {good}/alf/spikes.times.npy --max-md5-size much --config {rig}/etc/config.yaml",
    "register-files {good}/alf/spikes.times.npy --content-type subject --config {rig}/etc/config.yaml",
    "register-files {good}/alf/spikes.times.npy --config {rig}/etc/config.yaml",
    "check-protected --config {rig}/etc/config.yaml",
    "check-protected {good}/notes.txt --config {rig}/etc/config.yaml",
    "water KS014 --config {rig}/etc/config.yaml",
    "water KS014 0 --config {rig}/etc/config.yaml",
    "water KS014 -1 --config {rig}/etc/config.yaml",
    "water KS014 much --config {rig}/etc/config.yaml",
    "water KS014 1 --session NaN --config {rig}/etc/config.yaml",
    "water KS014 1 --session /x/KS014/2024-05-01/001 --config {rig}/etc/config.yaml",
    "water KS014 1 --water-type Lemonade --config {rig}/etc/config.yaml",
    "water nobody 1 --config {rig}/etc/config.yaml",
    "weight KS014 0 --config {rig}/etc/config.yaml",
];

/// Calls of which each meets what the earlier ones did.
const ONE_AFTER_THE_OTHER: &[&str] = &[
    "create-session {good} --config {rig}/etc/config.yaml",
    "register-session {good} --config {rig}/etc/config.yaml",
    "register-files {good}/alf/spikes.times.npy --config {rig}/etc/config.yaml",
    "register-files {good}/alf/spikes.times.npy {good}/notes.txt --config {rig}/etc/config.yaml",
    "check-protected {good}/alf/spikes.times.npy --config {rig}/etc/config.yaml",
    "water KS014 1 --config {rig}/etc/config.yaml",
    "weight KS014 20 --config {rig}/etc/config.yaml",
    "new-session KS014 {root} --date 2024-05-03 --config {rig}/etc/config.yaml",
    "scan --orphans --config {rig}/etc/config.yaml",
    "scan --config {rig}/etc/config.yaml",
    "create-sessions {root} --config {rig}/etc/config.yaml",
];

/// The call with the folders of the sessions.
fn whole(typed: &str) -> String {
    typed.replace("{good}", GOOD).replace("{unknown}", UNKNOWN)
}

async fn world() -> World {
    let world = World::new().await;
    world.good_config("");
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").file("notes.txt", "x");
    world.session("cortexlab/Subjects/nobody/2024-05-01/001").flag();
    world.config("away", NOWHERE, &world.alyx.password, "");
    world.config("refused", &world.alyx.url, "wrong", "");
    world.config("unknown-key", &world.alyx.url, "wrong", "fly: true\n");
    let file = world.config("no-secret", &world.alyx.url, "wrong", "");
    std::fs::remove_file(file.with_file_name("password")).unwrap();
    let file = world.config("no-root", &world.alyx.url, &world.alyx.password, "");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("/data\n", "/nosuch\n")).unwrap();
    let file = world.config("no-state", &world.alyx.url, &world.alyx.password, "");
    std::fs::remove_dir_all(file.with_file_name("state")).unwrap();
    std::fs::write(file.with_file_name("state"), "a file in the place of the folder").unwrap();
    std::fs::write(world.rig.beside("file"), "").unwrap();
    std::fs::create_dir(world.rig.beside("damaged")).unwrap();
    std::fs::write(world.rig.beside("damaged/ledger.sqlite"), "no database".repeat(100)).unwrap();
    world
}

async fn table(world: &World, calls: &[&str]) -> String {
    let mut table = String::new();
    for call in calls {
        let mut running = Program::start(&mut world.command(&whole(call)));
        let ended = tokio::task::spawn_blocking(move || (running.wait(), running)).await;
        let (status, _) = ended.unwrap_or_else(|error| panic!("{call}: {error}"));
        let shown = if call.is_empty() { "(no words)" } else { call };
        table += &format!("{:>3}  {shown}\n", status.code().unwrap());
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_with_the_recorded_codes() {
    let world = world().await;
    recorded::compare("exit-codes.txt", &table(&world, ANY_ORDER).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_follow_each_other_end_with_the_recorded_codes() {
    let world = world().await;
    recorded::compare("exit-codes-in-order.txt", &table(&world, ONE_AFTER_THE_OTHER).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_daemon_calls_end_with_the_recorded_codes() {
    let world = world().await;
    let mut daemon = Program::start(&mut world.command(&format!("run --config {GOOD_CONFIG}")));
    world.until_status(GOOD_CONFIG, |status| status["sessions"][0]["failures"].as_u64() > Some(0)).await;
    let mut text = table(
        &world,
        &[
            "status --config {rig}/etc/config.yaml",
            "check --config {rig}/etc/config.yaml",
            "run --config {rig}/etc/config.yaml",
            "run --config {rig}/refused/config.yaml",
            "scan --config {rig}/etc/config.yaml",
            "scan --dry-run --config {rig}/etc/config.yaml",
            "create-sessions {root} --config {rig}/etc/config.yaml",
            "history --config {rig}/etc/config.yaml",
            "retry --all --config {rig}/etc/config.yaml",
        ],
    )
    .await;
    // A session that is running cannot be retried.
    world.until_status(GOOD_CONFIG, |status| status["sessions"][0]["failures"].as_u64() > Some(1)).await;
    text += &table(
        &world,
        &[
            "retry nobody/2024-05-01/001 --config {rig}/etc/config.yaml",
            "retry KS014/2024-05-01/001 --config {rig}/etc/config.yaml",
        ],
    )
    .await;
    daemon.signal("TERM");
    text += &format!("{:>3}  (the daemon, after SIGTERM)\n", daemon.wait().code().unwrap());
    text += &table(
        &world,
        &[
            "status --config {rig}/etc/config.yaml",
            "forget nobody/2024-05-01/001 --config {rig}/etc/config.yaml",
            "forget nobody/2024-05-01/001 --config {rig}/etc/config.yaml",
        ],
    )
    .await;
    std::fs::remove_dir_all(world.rig.root().join("cortexlab/Subjects/nobody")).unwrap();
    let mut daemon = Program::start(&mut world.command(&format!("run --config {GOOD_CONFIG}")));
    world.until_status(GOOD_CONFIG, |status| status["daemon"].is_object()).await;
    text += &table(&world, &["status --config {rig}/etc/config.yaml"]).await;
    daemon.signal("INT");
    text += &format!("{:>3}  (the daemon, after SIGINT)\n", daemon.wait().code().unwrap());
    let refused = "{rig}/refused/config.yaml";
    let daemon = Program::start(&mut world.command(&format!("run --config {refused}")));
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").flag();
    world.until_status(refused, |status| status["daemon"]["login_refused_since"].is_string()).await;
    text += &table(&world, &["status --config {rig}/refused/config.yaml"]).await;
    daemon.stop();
    recorded::compare("exit-codes-beside-a-daemon.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_stopped_end_with_the_recorded_codes() {
    let world = world().await;
    let mut text = String::new();
    for (call, asks) in [
        ("scan --config {rig}/etc/config.yaml", "/sessions"),
        ("scan --orphans --config {rig}/etc/config.yaml", "/sessions"),
        ("register-session {good} --config {rig}/etc/config.yaml", "/sessions"),
        ("exists subjects KS014 --config {rig}/etc/config.yaml", "/subjects"),
    ] {
        for signal in ["INT", "TERM"] {
            let gate = Gate::default();
            world.alyx.control().add_fault(FaultRule {
                method: None,
                path_prefix: asks.into(),
                times: 1,
                fault: Fault::Hold(gate.clone()),
            });
            let mut running = Program::start(&mut world.command(&whole(call)));
            gate.reached().await;
            running.signal(signal);
            text += &format!("{:>3}  {call} (SIG{signal})\n", running.wait().code().unwrap());
            gate.open();
        }
    }
    recorded::compare("exit-codes-when-stopped.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_can_register_nothing_yet_runs_until_it_is_stopped() {
    let world = world().await;
    let mut text = String::new();
    for config in ["no-secret", "away", "refused", "no-root", "no-state"] {
        let call = format!("run --config {{rig}}/{config}/config.yaml");
        let mut daemon = Program::start(&mut world.command(&format!("{call} --log-format json")));
        daemon.wait_for("\"roots\"");
        assert!(daemon.is_alive());
        daemon.signal("TERM");
        text += &format!("{:>3}  {call} (SIGTERM)\n", daemon.wait().code().unwrap());
    }
    recorded::compare("exit-codes-of-daemons.txt", &text);
}
