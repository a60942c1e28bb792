//! The page of the daemon: its addresses, its metrics, its JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{AT_MOST, until};
use crate::compatibility::recorded;
use crate::compatibility::world::World;
use crate::program::Program;

const ADDRESSES: [(&str, &str); 13] = [
    ("GET", ""),
    ("HEAD", ""),
    ("POST", ""),
    ("GET", "healthz"),
    ("POST", "healthz"),
    ("GET", "metrics"),
    ("GET", "status.json"),
    ("GET", "style.css"),
    ("GET", "refresh.js"),
    ("GET", "icon.svg"),
    ("GET", "favicon.ico"),
    ("GET", "nowhere"),
    ("GET", "metrics/"),
];

/// Name and labels of each sample, without its value; the types before them.
fn kinds(metrics: &str) -> String {
    let version = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");
    let kinds: BTreeSet<String> = metrics
        .lines()
        .filter(|line| !line.starts_with("# HELP"))
        .map(|line| match line.strip_prefix('#') {
            Some(_) => line.to_owned(),
            None => line.rsplit_once(' ').unwrap().0.replace(version, "\"<version>\""),
        })
        .collect();
    kinds.into_iter().collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_as_recorded() {
    let world = World::new().await;
    world.good_config("http:\n  listen: 127.0.0.1:0\n");
    world.session("cortexlab/Subjects/KS014/2024-05-01/001").flag();
    world.session("cortexlab/Subjects/nobody/2024-05-01/001").flag();
    let mut daemon = Program::start(&mut world.command("run --config {rig}/etc/config.yaml"));
    let page = daemon.wait_for("the status page is at http").split_whitespace().last().unwrap().to_owned();
    let http = crate::common::http();
    let end = std::time::Instant::now() + AT_MOST;
    let status: Value = loop {
        let body = http.get(format!("{page}status.json")).send().await.unwrap().text().await.unwrap();
        let status: Value = serde_json::from_str(&body).unwrap();
        let done = status["sessions"]
            .as_array()
            .is_some_and(|sessions| sessions.len() == 1 && sessions[0]["state"] == "needs_attention");
        if done && status["last"].as_array().map(Vec::len) == Some(2) {
            break status;
        }
        assert!(std::time::Instant::now() < end, "{status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let mut addresses = String::new();
    for (method, address) in ADDRESSES {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = http.request(method.clone(), format!("{page}{address}")).send().await.unwrap();
        let kind = answer.headers().get("content-type").map_or("-", |kind| kind.to_str().unwrap()).to_owned();
        addresses += &format!("{} {method} /{address} {kind}\n", answer.status().as_u16());
    }
    let answer = http.get(&page).send().await.unwrap();
    for (name, value) in answer.headers() {
        if !["date", "content-length"].contains(&name.as_str()) {
            addresses += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    recorded::compare("page-addresses.txt", &addresses);

    // The last outcomes are in the order in which the two sessions ended.
    let mut status = world.normal_json(&status);
    status["last"].as_array_mut().unwrap().sort_by_key(|outcome| outcome["session"].to_string());
    recorded::compare("page-status.json", &serde_json::to_string_pretty(&status).unwrap());

    // Asked for is what the two sessions need, and nothing waits any more.
    let metrics = http.get(format!("{page}metrics")).send().await.unwrap().text().await.unwrap();
    recorded::compare("metrics.txt", &kinds(&metrics));
    until("registered", || {
        !world.rig.root().join("cortexlab/Subjects/KS014/2024-05-01/001/create_me.flag").exists()
    });
    daemon.stop();
}
