//! The section `watch` of the configuration, as applied by the built program.

use crate::{common, program};
use std::path::{Path, PathBuf};

use common::{Alyx, Rig};
use program::{Configuration, Program, program};

fn configuration(alyx: &Alyx, rig: &Rig, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

fn start(word: &str, config: &Path) -> Program {
    Program::start(program().arg(word).arg("--config").arg(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_without_its_marker_is_reported_once_and_waited_for() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let watch =
        "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 100 ms\n  require_marker: .mounted\n";
    let config = configuration(&alyx, &rig, watch);
    let mut daemon = start("run", &config);
    let line = daemon.wait_for("counts as not mounted");
    assert!(line.contains(".mounted"), "{line}");
    std::fs::write(rig.root().join(".mounted"), "").unwrap();
    // Its return is reported, too.
    daemon.wait_for("scanned root=");
    daemon.wait_for("registered session");
    assert!(!session.is_flagged());
    // Unmounted and mounted again: a flag created in the meantime is not lost.
    std::fs::remove_file(rig.root().join(".mounted")).unwrap();
    session.flag();
    std::fs::write(rig.root().join(".mounted"), "").unwrap();
    daemon.wait_for("registered session");
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("not mounted")).count(), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_an_empty_mount_point_fails() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = configuration(&alyx, &rig, "");
    let mut scan = start("scan", &config);
    assert_eq!(scan.wait().code(), Some(1), "{}", scan.text());
    assert!(scan.text().contains("is an empty folder"), "{}", scan.text());

    // Not empty, but not the right disk either.
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&alyx, &rig, "watch:\n  require_marker: .mounted\n");
    let mut scan = start("scan", &config);
    assert_eq!(scan.wait().code(), Some(1), "{}", scan.text());
    assert!(scan.text().contains("counts as not mounted"), "{}", scan.text());
    assert!(alyx.control().sessions().is_empty());

    std::fs::write(rig.root().join(".mounted"), "").unwrap();
    let mut scan = start("scan", &config);
    assert_eq!(scan.wait().code(), Some(0), "{}", scan.text());
    assert_eq!(alyx.control().sessions().len(), 1);
}

/// Sessions whose files never arrive, and one that is complete, which is found last.
fn two_that_wait(rig: &Rig) -> [common::Session; 3] {
    let at = |subject: &str| rig.session_at(&format!("cortexlab/Subjects/{subject}/2024-05-01/001"));
    let [copied, empty, complete] = ["KS014", "SWC_001", "SWC_002"].map(at);
    copied.file("alf/spikes.times.npy", "abc").file("alf/spikes.clusters.npy.part", "ab").flag();
    empty.flag();
    complete.file("alf/spikes.times.npy", "abc").flag();
    [copied, empty, complete]
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_for_their_files_let_the_others_of_a_scan_go_first() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    assert!(alyx.control().add_subject("SWC_002", "cortexlab"));
    let [copied, empty, complete] = two_that_wait(&rig);
    let config = configuration(&alyx, &rig, "workers: 1\nwatch: {settle: 50 ms, empty_grace: 10 min}\n");
    let mut scan = start("scan", &config);
    for (session, reason) in [(&copied, "a copy is in progress"), (&empty, "has no file yet")] {
        let line = scan.wait_for(&format!("{} waits, and the other sessions go first: ", session.name()));
        assert!(line.contains(reason), "{line}");
    }
    scan.wait_for(&format!("  {}  ", complete.name()));
    assert!(!complete.is_flagged() && copied.is_flagged() && empty.is_flagged());
    assert!(scan.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_the_scan_would_wait_for_and_does_not_wait() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    assert!(alyx.control().add_subject("SWC_002", "cortexlab"));
    let [copied, empty, complete] = two_that_wait(&rig);
    let config = configuration(&alyx, &rig, "workers: 1\nwatch: {settle: 50 ms, empty_grace: 10 min}\n");
    let mut scan = Program::start(program().args(["scan", "--dry-run", "--config"]).arg(&config));
    assert_eq!(scan.wait().code(), Some(1), "{}", scan.text());
    for expected in [
        format!("waits   {}  a copy is in progress: ", copied.name()),
        format!("waits   {}  the session has no file yet", empty.name()),
        format!("plan    {}  ", complete.name()),
        "1 would be registered, 2 would wait, 0 failed, 3 flags in total".to_owned(),
    ] {
        assert!(scan.text().contains(&expected), "{expected}: {}", scan.text());
    }
}

/// A flag that was removed while its root was unavailable no longer waits.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_sessions_are_kept_across_a_restart_until_their_root_is_back() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (stays, goes) = (rig.session("cortexlab", "nobody"), rig.session("cortexlab", "nobody_else"));
    stays.flag();
    let gone = goes.flag();
    let watch =
        "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 100 ms\n  require_marker: .mounted\n";
    let config = configuration(&alyx, &rig, watch);
    let marker = rig.root().join(".mounted");
    std::fs::write(&marker, "").unwrap();
    let waiting = || {
        let mut status = Program::start(program().args(["status", "--json"]).arg("--config").arg(&config));
        status.wait();
        let status_json: serde_json::Value = serde_json::from_str(&status.text()).unwrap();
        let failures = |session: &serde_json::Value| session["failures"].as_u64().unwrap();
        let sessions = status_json["sessions"].as_array().unwrap();
        sessions.iter().map(|session| (session["session"].clone(), failures(session))).collect::<Vec<_>>()
    };
    let mut daemon = start("run", &config);
    daemon.wait_for("needs attention");
    daemon.wait_for("needs attention");
    daemon.stop();
    std::fs::remove_file(&marker).unwrap();
    std::fs::remove_file(gone).unwrap();
    let mut daemon = start("run", &config);
    daemon.wait_for("counts as not mounted");
    std::fs::write(&marker, "").unwrap();
    daemon.wait_for("scanned root=");
    daemon.stop();
    assert_eq!(waiting(), [(stays.name().into(), 1)]);
    // The back-off does not return with the flag: the flag starts over.
    goes.flag();
    assert_eq!(waiting().iter().map(|(_, failures)| failures).sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_reports_a_flag_inside_a_session_subfolder() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").file("alf/create_me.flag", "");
    let config = configuration(&alyx, &rig, "");
    let mut scan = start("scan", &config);
    assert_eq!(scan.wait().code(), Some(1), "{}", scan.text());
    let advice = format!("move it into the folder of its session, {:?}", session.folder);
    assert!(scan.text().contains(&advice), "{}", scan.text());
    std::fs::rename(session.folder.join("alf/create_me.flag"), session.folder.join("create_me.flag"))
        .unwrap();
    let mut scan = start("scan", &config);
    assert_eq!(scan.wait().code(), Some(0), "{}", scan.text());
    assert!(!session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_polled_gets_its_sessions_registered_without_events() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (before, after) = (rig.session("cortexlab", "KS014"), rig.session("mainenlab", "ZM_1085"));
    before.file("alf/spikes.times.npy", "abc").flag();
    let watch = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  mode: poll\n  poll_interval: 100 ms\n";
    let config = configuration(&alyx, &rig, watch);
    let mut daemon = start("run", &config);
    let scanned = daemon.wait_for("scanned root=");
    assert!(scanned.contains("watched=0"), "{scanned}");
    daemon.wait_for(&format!("session=\"{}\" eid=", before.name()));
    after.file("alf/spikes.times.npy", "a").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", after.name()));
    assert!(!before.is_flagged() && !after.is_flagged());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_flag_is_reported_with_the_reason_and_shown_by_status() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "nobody");
    session.file("alf/spikes.times.npy", "abc").flag();
    let watch = |warn_after: &str| {
        format!("watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  warn_after: {warn_after}\n")
    };
    let never = configuration(&alyx, &rig, &watch("0"));
    let mut daemon = start("run", &never);
    daemon.wait_for("needs attention");
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains("stale flag")), "{said:#?}");

    let config = configuration(&alyx, &rig, &watch("200 ms"));
    let mut daemon = start("run", &config);
    let line = daemon.wait_for("stale flag: created");
    assert!(line.contains(&session.name()), "{line}");
    assert!(line.contains("Alyx does not know subject \"nobody\""), "{line}");
    let mut status = start("status", &config);
    assert_eq!(status.wait().code(), Some(1));
    assert!(status.text().contains("One flag has waited for longer"), "{}", status.text());
    let said = daemon.stop();
    // Once a day.
    assert_eq!(said.iter().filter(|line| line.contains("stale flag")).count(), 1, "{said:#?}");

    // The next daemon knows that it was reported today.
    let mut daemon = start("run", &config);
    daemon.wait_for("scanned root=");
    let marker = rig.session("cortexlab", "KS014");
    marker.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", marker.name()));
    let said = daemon.stop();
    let is_reported = |line: &String| line.contains("stale flag") && line.contains(&session.name());
    assert!(!said.iter().any(is_reported), "{said:#?}");
}

/// The age of a flag is that of its file, so a daemon that has just started, or `status` without a daemon, knows it,
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_is_stale_for_a_new_daemon_and_without_one() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "nobody");
    let flag = session.file("alf/spikes.times.npy", "abc").flag();
    let three_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
    std::fs::File::options().write(true).open(&flag).unwrap().set_modified(three_days_ago).unwrap();
    let config = configuration(&alyx, &rig, "");
    let old = |expected: i32| {
        let mut status = Program::start(program().args(["status", "--json"]).arg("--config").arg(&config));
        assert_eq!(status.wait().code(), Some(expected), "{}", status.text());
        let status_json: serde_json::Value = serde_json::from_str(&status.text()).unwrap();
        let put: jiff::Timestamp = status_json["sessions"][0]["put"].as_str().unwrap().parse().unwrap();
        assert_eq!(put.as_second(), jiff::Timestamp::try_from(three_days_ago).unwrap().as_second());
        status_json["sessions"][0]["old"].as_bool()
    };
    assert_eq!(old(69), Some(true));
    let mut daemon = start("run", &config);
    daemon.wait_for("needs attention");
    assert_eq!(old(1), Some(true));
    let said = daemon.stop();
    // It had its grace period first.
    assert!(!said.iter().any(|line| line.contains("stale flag")), "{said:#?}");
}
