//! Events that a real kernel does not deliver: the built daemon finds the flags nevertheless.

use crate::{common, namespace, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Alyx, Rig, Session, until};
use namespace::{LIMITS, is_inside, run_inside};
use program::{Configuration, Program, program};

/// A daemon that polls at this interval and never rescans.
fn daemon(alyx: &Alyx, rig: &Rig, poll_interval: &str) -> Program {
    let more = format!(
        "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  rescan_interval: 1 d\n  poll_interval: {poll_interval}\n"
    );
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config =
        Configuration { roots: vec![rig.root()], url, user, password, more }.write(&rig.beside("etc"));
    Program::start(program().arg("run").arg("--config").arg(config))
}

fn session(rig: &Rig, date: &str, number: usize) -> Session {
    rig.session_at(&format!("cortexlab/Subjects/KS014/{date}/{number:03}"))
}

/// Waits until all these sessions are registered.
fn registered(daemon: &mut Program, sessions: &[&Session]) {
    let mut names: Vec<String> =
        sessions.iter().map(|session| format!("session=\"{}\" eid=", session.name())).collect();
    while !names.is_empty() {
        let line = daemon.wait_for("outcome=\"registered\"");
        names.retain(|name| !line.contains(name));
    }
    assert!(!sessions.iter().any(|session| session.is_flagged()));
}

fn process(daemon: &Program, file: &str) -> PathBuf {
    Path::new("/proc").join(daemon.id().to_string()).join(file)
}

/// How many folders a process watches, according to the kernel.
fn watches(daemon: &Program) -> usize {
    let files = fs::read_dir(process(daemon, "fdinfo")).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default());
    texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum()
}

/// CPU time, in hundredths of a second.
fn processor_time(daemon: &Program) -> u64 {
    let text = fs::read_to_string(process(daemon, "stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn is_stopped(daemon: &Program) -> bool {
    let tasks = fs::read_dir(process(daemon, "task")).unwrap();
    let mut states = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    states.all(|state| state.rsplit(')').next().unwrap().trim_start().starts_with(['T', 't']))
}

/// The daemon is stopped, as on a hanging machine, until the kernel's event queue overflows.
#[tokio::test(flavor = "multi_thread")]
async fn flags_whose_events_the_kernel_has_dropped_are_found_and_new_folders_are_watched() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 1_000_000 {
        eprintln!("skipped: this system keeps {limit} events, too many to lose some on purpose");
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (noisy, known) = (session(&rig, "2024-05-01", 1), session(&rig, "2024-05-01", 2));
    let mut daemon = daemon(&alyx, &rig, "1 h");
    daemon.wait_for("data root scanned");
    daemon.signal("STOP");
    until("the daemon is stopped", || is_stopped(&daemon));
    let [a, b] = ["a.tmp", "b.tmp"].map(|name| noisy.folder.join(name));
    fs::write(&a, "").unwrap();
    // Two events each.
    for _ in 0..limit / 4 + 1 {
        fs::rename(&a, &b).unwrap();
        fs::rename(&b, &a).unwrap();
    }
    fs::remove_file(a).unwrap();
    known.file("alf/spikes.times.npy", "abc").flag();
    let new = rig.session_at("mainenlab/Subjects/ZM_1085/2024-05-01/001");
    new.file("alf/spikes.times.npy", "abc").flag();
    daemon.signal("CONT");
    daemon.wait_for("events of");
    registered(&mut daemon, &[&known, &new]);
    // From now on by events.
    new.file("alf/spikes.clusters.npy", "a").flag();
    let next = rig.session_at("mainenlab/Subjects/ZM_1085/2024-05-02/001");
    next.file("alf/spikes.times.npy", "abc").flag();
    registered(&mut daemon, &[&new, &next]);
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("were lost")).count(), 1, "{said:#?}");
}

#[test]
fn at_the_kernels_watch_limit_the_rest_is_polled_until_the_limit_is_raised() {
    let probe = "echo 20 > /proc/sys/user/max_inotify_watches";
    run_inside(&LIMITS, probe, "event_loss::inside_a_namespace_with_few_watches");
}

const WATCHES: &str = "/proc/sys/user/max_inotify_watches";
/// Three dates of ten sessions, and the root, lab, `Subjects` and subject above them.
const FOLDERS: usize = 4 + 3 * 11;
/// One more watch detects unmounting.
const ALL: usize = FOLDERS + 1;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "lowers a limit: run by the test above, in a namespace of its own"]
async fn inside_a_namespace_with_few_watches() {
    if !is_inside() {
        return;
    }
    fs::write(WATCHES, "20").unwrap();
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let sessions: Vec<_> =
        (0..30).map(|n| session(&rig, &format!("2024-05-0{}", 1 + n / 10), 1 + n % 10)).collect();

    let mut patient = daemon(&alyx, &rig, "1 h");
    let message = patient.wait_for("have no watch");
    assert!(message.contains(&format!("18 of the {FOLDERS} folders")), "{message}");
    let command = message.split("sysctl fs.inotify.max_user_watches=").nth(1).unwrap();
    let suggested: u64 = command.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(suggested > FOLDERS as u64, "{message}");
    assert_eq!(watches(&patient), 20);
    // At the limit it stops requesting watches and becomes idle.
    until("it is idle for a second", || {
        let before = processor_time(&patient);
        std::thread::sleep(Duration::from_secs(1));
        processor_time(&patient) - before <= 2
    });
    patient.stop();

    let mut daemon = daemon(&alyx, &rig, "200 ms");
    daemon.wait_for("have no watch");
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").flag();
    }
    registered(&mut daemon, &sessions.iter().collect::<Vec<_>>());
    fs::write(WATCHES, "1000").unwrap();
    until("everything is watched", || watches(&daemon) == ALL);
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("have no watch")).count(), 1, "{said:#?}");
}

#[test]
fn without_any_source_of_events_everything_is_polled_until_there_is_one() {
    let probe = "echo 0 > /proc/sys/user/max_inotify_instances";
    run_inside(&LIMITS, probe, "event_loss::inside_a_namespace_without_inotify");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "lowers a limit: run by the test above, in a namespace of its own"]
async fn inside_a_namespace_without_inotify() {
    if !is_inside() {
        return;
    }
    let instances = "/proc/sys/user/max_inotify_instances";
    fs::write(instances, "0").unwrap();
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut daemon = daemon(&alyx, &rig, "200 ms");
    let message = daemon.wait_for("no events for");
    assert!(message.contains("sysctl fs.inotify.max_user_instances="), "{message}");
    let found = session(&rig, "2024-05-01", 1);
    found.file("alf/spikes.times.npy", "abc").flag();
    registered(&mut daemon, &[&found]);
    assert_eq!(watches(&daemon), 0);
    fs::write(instances, "10").unwrap();
    // The root, lab, `Subjects`, subject, date, session; and the disk.
    until("everything is watched", || watches(&daemon) == 7);
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("no events for")).count(), 1, "{said:#?}");
}

/// A source of events that is restarted removes its watches first: otherwise a root of more than half the limit would
/// be reported as over the limit.
#[test]
fn a_restart_does_not_need_twice_the_watches() {
    let probe = "echo 40 > /proc/sys/user/max_inotify_watches";
    run_inside(&LIMITS, probe, "event_loss::inside_a_namespace_with_just_enough_watches");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "lowers a limit: run by the test above, in a namespace of its own"]
async fn inside_a_namespace_with_just_enough_watches() {
    if !is_inside() {
        return;
    }
    fs::write(WATCHES, "40").unwrap();
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for n in 0..30 {
        session(&rig, &format!("2024-05-0{}", 1 + n / 10), 1 + n % 10);
    }
    let mut daemon = daemon(&alyx, &rig, "200 ms");
    daemon.wait_for("data root scanned");
    assert_eq!(watches(&daemon), ALL);
    let (root, away) = (rig.root(), rig.beside("away"));
    for number in 1..=10 {
        // An event about the root itself causes a restart, although it is the same folder afterwards.
        fs::rename(&root, &away).unwrap();
        fs::rename(&away, &root).unwrap();
        let session = session(&rig, "2024-05-01", number);
        session.file("alf/spikes.times.npy", "abc").flag();
        registered(&mut daemon, &[&session]);
        until("everything is watched", || watches(&daemon) == ALL);
    }
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains("have no watch")), "{said:#?}");
}

/// A root with this number of dates is watched through several sources. A folder that moves away keeps no watch of any
/// of them.
#[tokio::test(flavor = "multi_thread")]
async fn folders_that_were_moved_away_and_created_again_leave_no_watch_behind() {
    const DATES: usize = 560;
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let date = |n: usize| format!("20{:02}-{:02}-{:02}", 10 + n / 280, 1 + n / 28 % 10, 1 + n % 28);
    for n in 0..DATES {
        session(&rig, &date(n), 1);
    }
    let mut daemon = daemon(&alyx, &rig, "1 h");
    daemon.wait_for("data root scanned");
    // The root, lab, `Subjects` and subject; and the disk.
    let all = 4 + 2 * DATES + 1;
    assert_eq!(watches(&daemon), all);
    let subject = rig.root().join("cortexlab/Subjects/KS014");
    fs::create_dir(rig.beside("away")).unwrap();
    for n in 0..DATES {
        fs::rename(subject.join(date(n)), rig.beside("away").join(date(n))).unwrap();
        fs::create_dir_all(subject.join(date(n)).join("001")).unwrap();
    }
    let last = session(&rig, "2024-05-01", 1);
    last.file("alf/spikes.times.npy", "abc").flag();
    registered(&mut daemon, &[&last]);
    until("what is there is watched, and nothing else", || watches(&daemon) == all + 2);
    daemon.stop();
}
