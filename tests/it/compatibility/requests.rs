//! The requests that are made of Alyx, in their order: a change of them is a change of what a server sees.

use alyx_sandbox::RequestSeen;

use crate::common::until;
use crate::compatibility::recorded;
use crate::compatibility::world::World;
use crate::program::Program;

const SESSION: &str = "{root}/cortexlab/Subjects/KS014/2024-05-01/001";

fn line(world: &World, seen: &RequestSeen) -> String {
    let query = if seen.query.is_empty() { String::new() } else { format!("?{}", seen.query) };
    let body = seen.body.as_ref().map(|body| format!(" {}", world.normal_json(body))).unwrap_or_default();
    world.normal(&format!("{} {}{query} -> {}{body}", seen.method, seen.path, seen.status))
}

/// The requests of one call.
async fn requests(world: &World, call: &str) -> String {
    world.alyx.control().clear_requests();
    let said = world.run(&call.replace("{session}", SESSION)).await;
    let seen = world.alyx.control().requests();
    let lines: Vec<String> = seen.iter().map(|seen| format!("{}\n", line(world, seen))).collect();
    format!("# {call} -> {}\n{}\n", said.code, lines.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_scan_are_as_recorded() {
    let world = World::new().await;
    world.good_config("");
    let session = world.session("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.clusters.npy", "abcd").file("notes.txt", "x").flag();
    let scan = "scan --config {rig}/etc/config.yaml";
    let mut text = requests(&world, "scan --dry-run --config {rig}/etc/config.yaml").await;
    text += &format!("first registration\n{}", requests(&world, scan).await);
    session.flag();
    text += &format!("again, nothing has changed\n{}", requests(&world, scan).await);
    session.file("alf/spikes.times.npy", "changed").flag();
    text += &format!("one file has changed\n{}", requests(&world, scan).await);
    session.file("alf/spikes.depths.npy", "new").flag_with("alf/spikes.depths.npy\n");
    text += &format!("a flag with a list of one new file\n{}", requests(&world, scan).await);
    text += &requests(&world, "scan --orphans --config {rig}/etc/config.yaml").await;
    text += &requests(&world, "scan --config {rig}/etc/config.yaml").await;
    world.session("cortexlab/Subjects/nobody/2024-05-01/001").flag();
    text += &format!("an unknown subject\n{}", requests(&world, scan).await);
    recorded::compare("requests-scan.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_the_daemon_are_as_recorded() {
    let world = World::new().await;
    world.good_config("session:\n  users: [test_user]\n  lab: cortexlab\n  projects: [practice]\n  procedures: [Histology]\n  location: rig1\n  task_protocol: task\n  json: {a: 1}\ndatasets:\n  repository: cortexlab_local\n  versions: [\"1.0\"]\n  batch_size: 1\n  protected: revise\n");
    let session = world.session("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.clusters.npy", "abcd").flag();
    world.alyx.control().clear_requests();
    let daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    until("registered", || !session.is_flagged());
    daemon.stop();
    let list = |world: &World| {
        let requests = world.alyx.control().requests();
        // Asked beside the registration, at no certain time.
        let aside = |seen: &&RequestSeen| matches!(seen.path.as_str(), "/labs" | "/data-repository");
        let lines =
            requests.iter().filter(|seen| !aside(seen)).map(|seen| format!("{}\n", line(world, seen)));
        lines.collect::<String>()
    };
    let mut text = format!("first registration\n{}", list(&world));
    let id =
        |dataset: &serde_json::Value| dataset["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let times =
        world.alyx.control().datasets().into_iter().find(|dataset| dataset["name"] == "spikes.times.npy");
    assert!(world.alyx.control().protect_dataset(&id(&times.unwrap())));
    session.file("alf/spikes.times.npy", "changed").flag();
    world.alyx.control().clear_requests();
    let daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    until("registered", || !session.is_flagged());
    daemon.stop();
    text += &format!("\na protected file has changed\n{}", list(&world));
    recorded::compare("requests-daemon.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_the_commands_are_as_recorded() {
    let world = World::new().await;
    world.good_config("");
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").file("alf/spikes.clusters.npy", "abcd");
    world.session("cortexlab/Subjects/KS014/2024-05-02/001").flag();
    let mut text = String::new();
    for call in [
        "check --config {rig}/etc/config.yaml",
        "exists subjects KS014 nobody --config {rig}/etc/config.yaml",
        "exists users test_user --config {rig}/etc/config.yaml",
        "exists locations rig1 --config {rig}/etc/config.yaml",
        "exists repositories cortexlab_local --config {rig}/etc/config.yaml",
        "find-files {session} --config {rig}/etc/config.yaml",
        "create-session {session} --dry-run --config {rig}/etc/config.yaml",
        "create-session {session} --config {rig}/etc/config.yaml",
        "create-session {session} --projects practice --users rig_user --n-trials 7 --config {rig}/etc/config.yaml",
        "register-session {session} --dry-run --config {rig}/etc/config.yaml",
        "register-session {session} --config {rig}/etc/config.yaml",
        "register-session {session} --config {rig}/etc/config.yaml",
        "register-session {session} --force --config {rig}/etc/config.yaml",
        "register-files {session}/alf/spikes.times.npy --config {rig}/etc/config.yaml",
        "register-files {session}/alf/spikes.times.npy --force --versions 1.0 --created-by rig_user --no-exists --qc PASS --labs cortexlab --repository cortexlab_local --no-default --config {rig}/etc/config.yaml",
        "check-protected {session}/alf/spikes.times.npy --config {rig}/etc/config.yaml",
        "new-session KS014 {root} --date 2024-05-03 --dry-run --config {rig}/etc/config.yaml",
        "new-session KS014 {root} --date 2024-05-03 --config {rig}/etc/config.yaml",
        "create-sessions {root} --register-files --config {rig}/etc/config.yaml",
        "water KS014 1.5 --config {rig}/etc/config.yaml",
        "water KS014 0.123456 --date-time 2024-05-01T10:00:00 --water-type Hydrogel --by rig_user --adlib --session {session} --config {rig}/etc/config.yaml",
        "weight KS014 21.34567 --config {rig}/etc/config.yaml",
        "weight KS014 20 --date-time 2024-05-01T10:00:00 --by rig_user --config {rig}/etc/config.yaml",
        "status --config {rig}/etc/config.yaml",
        "history --config {rig}/etc/config.yaml",
        "exists subjects KS014 --url {url} --user test_user",
    ] {
        text += &requests(&world, call).await;
    }
    recorded::compare("requests-commands.txt", &text);
}
