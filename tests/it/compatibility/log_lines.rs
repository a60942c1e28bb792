//! The kinds of log lines: level, message and fields.

use std::collections::BTreeSet;

use alyx_sandbox::{Fault, FaultRule};
use serde_json::Value;

use crate::compatibility::recorded;
use crate::compatibility::world::{GOOD, World};
use crate::program::Program;

/// Level, message and names of fields of each kind of line, sorted.
fn kinds(world: &World, said: &[String]) -> String {
    let numbers = regex::Regex::new("(?-u:\\b)[0-9]+(?-u:\\b)").unwrap();
    let mut kinds = BTreeSet::new();
    for line in said {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = line.as_object().unwrap();
        let target = fields["target"].as_str().unwrap();
        // `RUST_LOG=alyx_registrar=debug` selects every part of the program.
        assert!(target.starts_with("alyx_registrar"), "{line}");
        let mut names: Vec<&str> = fields
            .keys()
            .map(String::as_str)
            .filter(|name| !["timestamp", "level", "message", "target"].contains(name))
            .collect();
        names.sort_unstable();
        let message = world.normal(fields["message"].as_str().unwrap_or("-"));
        // The dates of the sessions are ours; other numbers may depend on how fast it went.
        let message = if message.contains("attempt") {
            numbers.replace_all(&message, "<n>").into_owned()
        } else {
            message
        };
        kinds.insert(format!("{:5} {message} [{}]\n", fields["level"].as_str().unwrap(), names.join(" ")));
    }
    kinds.into_iter().collect()
}

fn in_state(status: &Value, state: &str) -> usize {
    status["sessions"].as_array().into_iter().flatten().filter(|session| session["state"] == state).count()
}

const RUN: &str = "run --log-format json --config {rig}/etc/config.yaml";

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lines_about_sessions_are_as_recorded() {
    let world = World::new().await;
    world.good_config("http:\n  listen: 127.0.0.1:0\n");
    let good = world.session("cortexlab/Subjects/KS014/2024-05-01/001");
    good.file("notes.txt", "x").flag();
    let mut daemon = Program::start(&mut world.command(RUN));
    // The line, not the flag: a flag is gone before its session is reported.
    daemon.wait_for("\"message\":\"registered\"");
    let mut said = daemon.stop();

    let dataset =
        world.alyx.control().datasets()[0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(world.alyx.control().protect_dataset(&dataset));
    good.file("alf/spikes.times.npy", "changed").flag();
    world.session("cortexlab/Subjects/nobody/2024-05-01/001").flag();
    world.session("cortexlab/Subjects/my mouse/2024-05-01/001").flag();
    world.session("cortexlab/Subjects/KS014/2024-05-02/001").flag_with("nosuch.npy\n");
    world.rig.session_at("cortexlab/Subjects/KS014/2024-05-03/001").flag();
    std::fs::write(world.rig.root().join("cortexlab/Subjects/KS014/create_me.flag"), "").unwrap();
    let daemon = Program::start(&mut world.command(RUN));
    world
        .until_status(GOOD, |status| {
            in_state(status, "needs_attention") == 4
                && status["sessions"].as_array().map(Vec::len) == Some(4)
                && status["obstacles"].as_array().map(Vec::len) == Some(1)
        })
        .await;
    said.extend(daemon.stop());
    recorded::compare("log-lines-sessions.txt", &kinds(&world, &said));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lines_about_an_outage_and_a_refused_login_are_as_recorded() {
    let world = World::new().await;
    let config = world.good_config("");
    let session = world.session("cortexlab/Subjects/KS014/2024-05-01/001");
    session.flag();
    let every = |fault| FaultRule { method: None, path_prefix: String::new(), times: usize::MAX, fault };
    world.alyx.control().add_fault(every(Fault::Html(503)));
    let mut daemon = Program::start(&mut world.command(RUN));
    world.until_status(GOOD, |status| status["daemon"]["away_since"].is_string()).await;
    world.alyx.control().clear_faults();
    daemon.wait_for("\"message\":\"registered\"");
    world.until_status(GOOD, |status| status["daemon"]["away_since"].is_null()).await;
    let mut said = daemon.stop();

    let password = config.with_file_name("password");
    std::fs::write(&password, "wrong").unwrap();
    assert!(world.alyx.control().invalidate_tokens());
    session.flag();
    let mut daemon = Program::start(&mut world.command(RUN));
    world.until_status(GOOD, |status| status["daemon"]["login_refused_since"].is_string()).await;
    std::fs::write(&password, &world.alyx.password).unwrap();
    daemon.wait_for("\"message\":\"registered\"");
    // A changed configuration, then one that is not understood.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("workers: 1", "workers: 2")).unwrap();
    daemon.signal("HUP");
    daemon.wait_for("workers");
    std::fs::write(&config, format!("{text}fly: true\n")).unwrap();
    daemon.signal("HUP");
    daemon.wait_for("fly");
    said.extend(daemon.stop());
    recorded::compare("log-lines-outage.txt", &kinds(&world, &said));
}
