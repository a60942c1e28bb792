//! Roots that are missing, deleted, replaced, unmounted and mounted again.

use crate::{namespace, watcher_rig};
use std::fs;

use alyx_registrar::daemon::watch::{RootOptions, ScanReason, WatchEvent, WatchProblem};

use namespace::{MOUNTS, is_inside, must, run_inside};
use watcher_rig::*;

const SESSION: &str = "KS014/2024-05-01/001";

#[tokio::test]
async fn a_missing_root_is_reported_once_and_watched_when_it_appears_again() {
    let disk = Disk::new();
    fs::remove_dir(disk.root()).unwrap();
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, OFTEN));
    assert!(matches!(watching.problem().await, WatchProblem::RootMissing { .. }));
    let flag = flag(&disk.outside(SESSION));
    fs::rename(disk.outside(""), disk.root()).unwrap();
    loop {
        match watching.next().await {
            WatchEvent::Flag(found) if found.path == disk.path(SESSION).join(flag.file_name().unwrap()) => {
                break;
            }
            WatchEvent::Problem(problem) => panic!("message twice: {problem}"),
            _ => {}
        }
    }
    assert_eq!(watching.scanned(ScanReason::NewRoot).await.flags, 1);
    let other = disk.flag("KS014/2024-05-01/002");
    watching.flag(&other).await;
}

#[tokio::test]
async fn a_deleted_root_takes_its_flags_with_it_and_is_watched_again_when_it_is_back() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, OFTEN));
    watching.scanned(ScanReason::Start).await;
    fs::remove_dir_all(disk.root()).unwrap();
    watching.gone(&flag).await;
    assert!(matches!(watching.problem().await, WatchProblem::RootMissing { .. }));
    disk.flag(SESSION);
    watching.scanned(ScanReason::NewRoot).await;
    let other = disk.flag("KS014/2024-05-01/002");
    watching.flag(&other).await;
}

#[tokio::test]
async fn a_root_replaced_by_another_folder_of_the_same_name_is_scanned_again() {
    let disk = Disk::new();
    let old = disk.flag(SESSION);
    flag(&disk.outside("KS015/2024-05-01/001"));
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, OFTEN));
    watching.scanned(ScanReason::Start).await;
    fs::rename(disk.root(), disk.root().with_file_name("away")).unwrap();
    fs::rename(disk.outside(""), disk.root()).unwrap();
    let (mut gone, mut found) = (false, false);
    while !(gone && found) {
        match watching.next().await {
            WatchEvent::Gone(path) => gone |= path == old,
            WatchEvent::Flag(flag) => found |= flag.path == disk.path("KS015/2024-05-01/001/create_me.flag"),
            _ => {}
        }
    }
    let other = disk.flag("KS016/2024-05-01/001");
    watching.flag(&other).await;
}

#[tokio::test]
async fn a_root_without_its_marker_counts_as_not_mounted() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let root = RootOptions { require_marker: Some("rig.disk".into()), ..root_options(disk.root()) };
    let mut watching = Watching::begin(root, options(NEVER, OFTEN));
    match watching.next().await {
        WatchEvent::Problem(WatchProblem::MarkerMissing { marker, .. }) => assert_eq!(marker, "rig.disk"),
        other => panic!("{other:?}"),
    }
    fs::write(disk.path("rig.disk"), "").unwrap();
    watching.flag(&flag).await;
    fs::remove_file(disk.path("rig.disk")).unwrap();
    watching.gone(&flag).await;
}

#[tokio::test]
async fn a_root_that_is_a_file_is_reported_and_waited_for() {
    let disk = Disk::new();
    fs::remove_dir(disk.root()).unwrap();
    fs::write(disk.root(), "").unwrap();
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, OFTEN));
    assert!(matches!(watching.problem().await, WatchProblem::RootUnusable { .. }));
    fs::remove_file(disk.root()).unwrap();
    let flag = disk.flag(SESSION);
    watching.flag(&flag).await;
}

#[tokio::test]
async fn the_watcher_and_its_threads_stop_on_request_while_idle() {
    let disk = Disk::new();
    Watching::by_events(&disk).await.end().await;
    fs::remove_dir(disk.root()).unwrap();
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    watching.problem().await;
    watching.end().await;
}

/// Mounting needs a mount namespace, so this test runs itself again inside one. If the system does not allow that, it
/// prints so and checks nothing.
#[test]
fn remounting_a_disk_is_noticed_without_an_event() {
    run_inside(&MOUNTS, "mount -t tmpfs none /mnt", "watcher_roots::inside_a_mount_namespace");
}

#[tokio::test]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_mount_namespace() {
    if !is_inside() {
        return;
    }
    let mount = |args: &[&str]| must("mount", args);
    let disk = Disk::new();
    let root = disk.root();
    let root = root.to_str().unwrap();
    mount(&["-t", "tmpfs", "first", root]);
    let flag = disk.flag(SESSION);
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, OFTEN));
    watching.scanned(ScanReason::Start).await;

    must("umount", &[root]);
    assert!(matches!(watching.problem().await, WatchProblem::RootReplaced { .. }));
    watching.gone(&flag).await;
    mount(&["-t", "tmpfs", "second", root]);
    disk.flag(SESSION);
    watching.flag_and_scan(&flag, ScanReason::NewRoot).await;
    let other = disk.flag("KS014/2024-05-01/002");
    watching.flag(&other).await;

    // The same with a folder below the root.
    let lab = disk.path("lab");
    fs::create_dir(&lab).unwrap();
    mount(&["-t", "tmpfs", "third", lab.to_str().unwrap()]);
    watching.rescan.send(()).unwrap();
    watching.scanned(ScanReason::Command).await;
    let on_lab = disk.flag("lab/Subjects/KS014/2024-05-01/001");
    watching.flag(&on_lab).await;
}

/// An empty disk with the device number of the previous one, like a disk that is mounted again.
#[test]
fn a_disk_remounted_between_two_checks_is_watched_again() {
    run_inside(
        &MOUNTS,
        "mount -t tmpfs none /mnt",
        "watcher_roots::inside_a_namespace_with_a_briefly_unmounted_disk",
    );
}

#[tokio::test]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_namespace_with_a_briefly_unmounted_disk() {
    if !is_inside() {
        return;
    }
    // The root itself, and a subject.
    for (point, session) in [("", "KS014/2024-05-01/001"), ("KS014", "KS014/2024-05-01/001")] {
        let disk = Disk::new();
        let point = disk.path(point);
        fs::create_dir_all(&point).unwrap();
        let point = point.to_str().unwrap();
        must("mount", &["-t", "tmpfs", "disk", point]);
        fs::create_dir_all(disk.path(session)).unwrap();
        let look_seldom = std::time::Duration::from_secs(1);
        let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, look_seldom));
        watching.scanned(ScanReason::Start).await;
        // The watcher may be scanning it.
        let command = format!(
            "until umount '{point}'; do :; done && mount -t tmpfs disk '{point}' && mkdir -p '{point}/x'"
        );
        must("sh", &["-c", &command]);
        let flag = disk.flag(session);
        watching.flag_and_scan(&flag, ScanReason::NewRoot).await;
        let other = disk.flag("KS014/2024-05-01/002");
        watching.flag(&other).await;
        watching.end().await;
        must("umount", &[point]);
    }
}
