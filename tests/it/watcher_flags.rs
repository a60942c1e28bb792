//! The watcher notices every way in which a flag can appear, on a real file system.

use crate::{rng, watcher_rig};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use alyx_registrar::daemon::watch::{RootOptions, ScanReason, WatchEvent, WatchMode};

use rng::SeededRng;
use watcher_rig::*;

const SESSION: &str = "lab/Subjects/KS014/2024-05-01/001";

#[tokio::test]
async fn a_flag_created_before_the_start_is_reported() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    watching.flag(&flag).await;
    assert_eq!(watching.scanned(ScanReason::Start).await.flags, 1);
}

#[tokio::test]
async fn nothing_below_the_sessions_has_a_watch() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path(SESSION).join("raw_ephys_data/probe00")).unwrap();
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    // The root, lab, Subjects, KS014, the date, the session.
    let summary = watching.scanned(ScanReason::Start).await;
    assert_eq!((summary.watched, summary.folders, summary.sessions), (6, 6, 1));
}

#[tokio::test]
async fn folder_and_flag_created_back_to_back_are_noticed_a_thousand_times() {
    let disk = Disk::new();
    let mut watching = Watching::by_events(&disk).await;
    let root = disk.root();
    let writer = std::thread::spawn(move || {
        let flag = |number: usize| flag(&root.join(format!("S{number}/2024-05-01/001")));
        (0..1000).map(flag).collect::<HashSet<_>>()
    });
    let mut missing = tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap();
    while !missing.is_empty() {
        if let WatchEvent::Flag(flag) = watching.next().await {
            missing.remove(&flag.path);
        }
    }
}

#[tokio::test]
async fn a_subject_that_is_removed_and_created_again_many_times_stays_watched() {
    let disk = Disk::new();
    let mut watching = Watching::by_events(&disk).await;
    for round in 0..300 {
        let flag = disk.flag("KS014/2024-05-01/001");
        if round % 2 == 0 {
            fs::remove_dir_all(disk.path("KS014")).unwrap();
        } else {
            fs::rename(disk.path("KS014"), disk.path(&format!("old{round}"))).unwrap();
        }
        drop(flag);
    }
    let flag = disk.flag("KS014/2024-05-01/001");
    watching.flag_as_it_is(&flag).await;
    touch(&flag, 7);
    watching.flag_as_it_is(&flag).await;
}

fn touch(flag: &Path, seconds: u64) {
    let file = File::options().write(true).open(flag).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[tokio::test]
async fn every_way_of_creating_a_flag_is_noticed() {
    let make_by_name = |flag: &Path| {
        // Created but never opened: no event reports a write or a close.
        let kind = rustix::fs::FileType::RegularFile;
        rustix::fs::mknodat(rustix::fs::CWD, flag, kind, 0o644.into(), 0).unwrap();
    };
    let with_touch = |flag: &Path| {
        assert!(std::process::Command::new("touch").arg(flag).status().unwrap().success());
    };
    let with_content = |flag: &Path| fs::write(flag, "alf\n").unwrap();
    let ways: [&dyn Fn(&Path); 3] = [&make_by_name, &with_touch, &with_content];
    for make in ways {
        let disk = Disk::new();
        fs::create_dir_all(disk.path(SESSION)).unwrap();
        let mut watching = Watching::by_events(&disk).await;
        let flag = disk.path(SESSION).join("create_me.flag");
        make(&flag);
        watching.flag_as_it_is(&flag).await;
    }
}

#[tokio::test]
async fn a_flag_that_is_replaced_by_another_file_is_reported_again() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::by_events(&disk).await;
    fs::write(disk.path("other"), "").unwrap();
    fs::rename(disk.path("other"), &flag).unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_flag_in_folders_of_any_name_is_noticed() {
    let names: [&[u8]; 3] = [b"my mouse", "Mäuse 鼠".as_bytes(), b"m\xfcller"];
    for name in names {
        let disk = Disk::new();
        fs::create_dir(disk.path("lab")).unwrap();
        let mut watching = Watching::by_events(&disk).await;
        let subject = disk.path("lab").join(OsStr::from_bytes(name));
        let flag = flag(&subject.join("2024-05-01/001"));
        watching.flag_as_it_is(&flag).await;
        touch(&flag, 7);
        watching.flag_as_it_is(&flag).await;
    }
}

#[tokio::test]
async fn a_flag_renamed_into_place_is_noticed() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path(SESSION)).unwrap();
    let mut watching = Watching::by_events(&disk).await;
    let (made, flag) = (disk.path(SESSION).join("flag.tmp"), disk.path(SESSION).join("create_me.flag"));
    fs::write(&made, "").unwrap();
    fs::rename(made, &flag).unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_flag_made_as_a_hard_link_is_noticed() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path(SESSION)).unwrap();
    fs::write(disk.path("template"), "").unwrap();
    let mut watching = Watching::by_events(&disk).await;
    let flag = disk.path(SESSION).join("create_me.flag");
    fs::hard_link(disk.path("template"), &flag).unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_flag_that_is_touched_or_rewritten_is_reported_again() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::by_events(&disk).await;
    touch(&flag, 7);
    watching.flag_as_it_is(&flag).await;
    fs::write(&flag, "alf").unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_removed_flag_is_reported_as_gone_and_a_new_one_is_reported_again() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::by_events(&disk).await;
    fs::remove_file(&flag).unwrap();
    watching.gone(&flag).await;
    fs::write(&flag, "").unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn whole_folders_moved_in_from_outside_are_noticed_at_every_level_and_watched_from_then_on() {
    for moved in ["lab", "lab/Subjects/KS014", "lab/Subjects/KS014/2024-05-01", SESSION] {
        let disk = Disk::new();
        flag(&disk.outside(SESSION));
        fs::create_dir_all(disk.path(moved).parent().unwrap()).unwrap();
        let mut watching = Watching::by_events(&disk).await;
        fs::rename(disk.outside(moved), disk.path(moved)).unwrap();
        let flag = disk.path(SESSION).join("create_me.flag");
        watching.flag_as_it_is(&flag).await;
        touch(&flag, 7);
        watching.flag_as_it_is(&flag).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_renamed_takes_its_flags_with_it_at_every_level() {
    let ways = [
        ("lab", "other", "other/Subjects/KS014/2024-05-01/001"),
        ("lab/Subjects/KS014", "lab/Subjects/KS015", "lab/Subjects/KS015/2024-05-01/001"),
        (
            "lab/Subjects/KS014/2024-05-01",
            "lab/Subjects/KS014/2024-05-02",
            "lab/Subjects/KS014/2024-05-02/001",
        ),
        (SESSION, "lab/Subjects/KS014/2024-05-01/002", "lab/Subjects/KS014/2024-05-01/002"),
        // To another subject.
        (SESSION, "KS015/2024-05-01/001", "KS015/2024-05-01/001"),
    ];
    for (from, to, session) in ways {
        let disk = Disk::new();
        let old = disk.flag(SESSION);
        fs::create_dir_all(disk.path(to).parent().unwrap()).unwrap();
        let mut watching = Watching::by_events(&disk).await;
        fs::rename(disk.path(from), disk.path(to)).unwrap();
        let new = disk.path(session).join("create_me.flag");
        let (mut gone, mut found) = (false, false);
        while !(gone && found) {
            match watching.next().await {
                WatchEvent::Gone(path) => gone |= path == old,
                WatchEvent::Flag(flag) => found |= flag.path == new,
                _ => {}
            }
        }
        touch(&new, 7);
        watching.flag_as_it_is(&new).await;
    }
}

#[tokio::test]
async fn a_date_folder_that_is_corrected_is_checked_again() {
    let disk = Disk::new();
    disk.flag("KS014/2024-02-30/001");
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    let problem = watching.problem().await.to_string();
    assert!(problem.contains("2024-02-30") && problem.contains("rename"), "{problem}");
    watching.scanned(ScanReason::Start).await;
    fs::rename(disk.path("KS014/2024-02-30"), disk.path("KS014/2024-02-29")).unwrap();
    watching.flag(&disk.path("KS014/2024-02-29/001/create_me.flag")).await;
}

#[tokio::test]
async fn a_misplaced_flag_is_reported_once_and_found_when_it_is_moved() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path(SESSION)).unwrap();
    let mut watching = Watching::by_events(&disk).await;
    let misplaced = disk.path("lab/Subjects/KS014/2024-05-01/create_me.flag");
    fs::write(&misplaced, "").unwrap();
    let problem = watching.problem().await.to_string();
    assert!(problem.contains("2024-05-01/001"), "{problem}");
    touch(&misplaced, 7);
    watching.rescan.send(()).unwrap();
    let flag = disk.path(SESSION).join("create_me.flag");
    loop {
        match watching.next().await {
            WatchEvent::Scanned(_) => break,
            WatchEvent::Problem(problem) => panic!("reported twice: {problem}"),
            _ => {}
        }
    }
    fs::rename(misplaced, &flag).unwrap();
    watching.flag_as_it_is(&flag).await;
}

/// No event reports it: nothing below the sessions is watched.
#[tokio::test]
async fn a_flag_inside_a_session_subfolder_is_reported_once_by_scans_and_found_when_it_is_moved() {
    let disk = Disk::new();
    let session = format!("KS014/{}/001", jiff::Zoned::now().date());
    let misplaced = disk.flag(&format!("{session}/alf/probe00"));
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    let problem = watching.problem().await.to_string();
    let session = disk.path(&session);
    assert!(problem.contains(&format!("move it into the folder of its session, {session:?}")), "{problem}");
    for _ in 0..2 {
        watching.rescan.send(()).unwrap();
        loop {
            match watching.next().await {
                WatchEvent::Scanned(_) => break,
                WatchEvent::Problem(problem) => panic!("reported twice: {problem}"),
                _ => {}
            }
        }
    }
    let flag = session.join("create_me.flag");
    fs::rename(misplaced, &flag).unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_misplaced_flag_is_reported_once_although_its_suggested_session_changes() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path("KS014/2024-05-01/001")).unwrap();
    fs::write(disk.path("KS014/create_me.flag"), "").unwrap();
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    let problem = watching.problem().await.to_string();
    assert!(problem.contains("KS014/2024-05-01/001"), "{problem}");
    watching.scanned(ScanReason::Start).await;
    fs::create_dir_all(disk.path("KS014/2024-05-02/001")).unwrap();
    watching.rescan.send(()).unwrap();
    loop {
        match watching.next().await {
            WatchEvent::Scanned(_) => break,
            WatchEvent::Problem(problem) => panic!("reported twice: {problem}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_linked_subject_is_watched_under_the_name_of_the_link() {
    let disk = Disk::new();
    fs::create_dir_all(disk.outside("real/2024-05-01/001")).unwrap();
    let mut watching = Watching::by_events(&disk).await;
    symlink(disk.outside("real"), disk.path("KS014")).unwrap();
    flag(&disk.outside("real/2024-05-01/001"));
    watching.flag(&disk.path("KS014/2024-05-01/001/create_me.flag")).await;
    flag(&disk.outside("real/2024-05-02/001"));
    watching.flag(&disk.path("KS014/2024-05-02/001/create_me.flag")).await;
}

#[tokio::test]
async fn a_circular_link_is_reported_and_the_rest_is_watched() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path("KS014")).unwrap();
    let mut watching = Watching::by_events(&disk).await;
    symlink(disk.root(), disk.path("KS014/circle")).unwrap();
    let problem = watching.problem().await.to_string();
    assert!(problem.contains("circle"), "{problem}");
    let flag = disk.flag("KS014/2024-05-01/001");
    watching.flag(&flag).await;
}

#[tokio::test]
async fn polling_finds_what_events_would_have_reported() {
    let disk = Disk::new();
    let root = RootOptions { mode: WatchMode::Poll, ..root_options(disk.root()) };
    let mut watching = Watching::begin(root, options(NEVER, OFTEN));
    assert_eq!(watching.scanned(ScanReason::Start).await.watched, 0);
    let flag = disk.flag(SESSION);
    watching.flag_as_it_is(&flag).await;
    touch(&flag, 7);
    watching.flag_as_it_is(&flag).await;
    fs::rename(disk.path("lab"), disk.outside("")).unwrap();
    watching.gone(&flag).await;
    fs::rename(disk.outside(""), disk.path("lab")).unwrap();
    watching.flag_as_it_is(&flag).await;
}

#[tokio::test]
async fn a_rescan_reports_every_flag_again() {
    let disk = Disk::new();
    let flag = disk.flag(SESSION);
    let mut watching = Watching::by_events(&disk).await;
    watching.rescan.send(()).unwrap();
    watching.flag(&flag).await;
    watching.scanned(ScanReason::Command).await;

    let mut watching = Watching::begin(root_options(disk.root()), options(OFTEN, NEVER));
    watching.scanned(ScanReason::Timer).await;
    watching.flag(&flag).await;
}

#[tokio::test]
async fn acquisition_inside_a_session_is_not_reported() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path(SESSION)).unwrap();
    let mut watching = Watching::by_events(&disk).await;
    for number in 0..200 {
        let collection = disk.path(SESSION).join(format!("raw{number}/2024-05-01/001"));
        fs::create_dir_all(&collection).unwrap();
        fs::write(collection.join("create_me.flag"), "").unwrap();
        fs::write(disk.path(SESSION).join(format!("_x_a{number}.b.npy")), "data").unwrap();
    }
    // Created last, so everything before it was handled when it is reported.
    let last = disk.flag(SESSION);
    match watching.next().await {
        WatchEvent::Flag(flag) => assert_eq!(flag.path, last),
        other => panic!("{other:?}"),
    }
    let events = watching.end().await;
    let is_last = |event: &WatchEvent| matches!(event, WatchEvent::Flag(flag) if flag.path == last);
    assert!(events.iter().all(is_last), "{events:?}");
}

/// This number of dates is watched through several sources, each of which receives a part of the events.
#[tokio::test]
async fn a_large_root_stays_watched_when_its_folders_are_moved_and_created_again() {
    const SUBJECTS: usize = 5;
    const DATES: usize = 110;
    let mut rng = SeededRng::of("MOVES_SEED");
    let disk = Disk::new();
    let date = |number: usize| format!("2024-{:02}-{:02}", 1 + number / 28, 1 + number % 28);
    for subject in 0..SUBJECTS {
        for number in 0..DATES {
            fs::create_dir_all(disk.path(&format!("S{subject}/{}/001", date(number)))).unwrap();
        }
    }
    let mut watching = Watching::by_events(&disk).await;
    for _ in 0..150 {
        // Sometimes the watcher is faster.
        std::thread::sleep(Duration::from_micros(rng.below(1000) as u64));
        let subject = rng.below(2 * SUBJECTS);
        let from = format!("S{subject}/{}", date(rng.below(DATES)));
        let (old, new) = match rng.below(3) {
            0 => (format!("S{subject}"), format!("S{}", rng.below(2 * SUBJECTS))),
            1 => (from, format!("S{}/{}", rng.below(2 * SUBJECTS), date(rng.below(2 * DATES)))),
            _ => (format!("{from}/001"), format!("{from}/{:03}", 1 + rng.below(5))),
        };
        let (old, new) = (disk.path(&old), disk.path(&new));
        if old.exists() && !new.exists() && new.parent().is_some_and(|above| above.exists()) {
            fs::rename(&old, new).unwrap();
            // Another folder takes its place at once.
            if rng.one_in(2) {
                fs::create_dir(&old).unwrap();
            }
        }
    }
    let all = walkdir::WalkDir::new(disk.root()).min_depth(3).max_depth(3);
    let sessions: Vec<_> = all.into_iter().map(|entry| entry.unwrap().into_path()).collect();
    assert!(sessions.len() > SUBJECTS * DATES / 2);
    let mut missing: HashSet<_> = sessions.iter().map(|session| flag(session)).collect();
    while !missing.is_empty() {
        if let WatchEvent::Flag(flag) = watching.next().await {
            missing.remove(&flag.path);
        }
    }
}

/// `cargo test --release --test it watcher_flags:: -- --ignored --nocapture`
#[tokio::test]
#[ignore = "makes 12,000 sessions and prints how long it takes to watch them"]
async fn watching_12_000_sessions_is_quick() {
    let disk = Disk::new();
    for subject in 0..100 {
        for day in 0..60 {
            for number in 1..=2 {
                let date = format!("2024-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
                let session = format!("lab/Subjects/S{subject:03}/{date}/{number:03}");
                fs::create_dir_all(disk.path(&session).join("alf")).unwrap();
            }
        }
    }
    let mut watching = Watching::begin(root_options(disk.root()), options(NEVER, NEVER));
    println!("{:?}", watching.scanned(ScanReason::Start).await);
    watching.rescan.send(()).unwrap();
    let again = watching.scanned(ScanReason::Command).await;
    println!("{again:?}");
    assert_eq!(again.watched, again.folders);
}
