//! `verify`: files are read and compared with Alyx, what differs is told apart, and the next run continues.

use crate::audit::{Audited, World};
use crate::common::{Session, snapshot};
use crate::program::{output, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use alyx_registrar::ledger::{Ledger, Verified, VerifiedRow};
use alyx_registration::{EarlierRead, FileStamp, FindingKind};

/// The MD5 of `abc`.
const ABC: &str = "900150983cd24fb0d6963f7d28e17f72";
const TIMES: &str = "alf/spikes.times.npy";

impl World {
    fn verify(&self, words: &[&str]) -> Audited {
        let mut command = program();
        command.arg("verify").args(words).args(["--json", "--config"]).arg(&self.config);
        Audited::of(&mut command)
    }

    fn state(&self) -> PathBuf {
        self.rig.beside("etc/state")
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.state())
    }
}

impl Audited {
    fn numbers<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        names.map(|name| self.totals[name].as_u64().unwrap_or_else(|| panic!("{name}: {self:#?}")))
    }
}

fn stamp(file: &Path) -> FileStamp {
    FileStamp::of(&fs::metadata(file).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_is_read_once_and_equal_and_nothing_is_written() {
    let world = World::new().await;
    drop(world.ledger());
    world.registered("2024-05-01/001").await;
    let session = world.registered("2024-05-02/001").await;
    session.file("alf/spikes.depths.npy", "not on Alyx");
    let before = snapshot(&world.rig.root());
    world.alyx.control().clear_requests();
    let numbers = ["sessions", "files", "equal", "recent", "bytes", "not_compared"];
    let first = world.verify(&["--older-than", "30d"]);
    first.finds(&[]);
    assert_eq!((first.code, first.numbers(numbers)), (Some(0), [2, 4, 4, 0, 16, 0]), "{first:#?}");
    assert_eq!(first.totals["outcome"], "done");
    assert_eq!(snapshot(&world.rig.root()), before);
    let requests = world.alyx.control().requests();
    assert!(requests.iter().all(|seen| seen.method == "GET" || seen.path == "/auth-token"), "{requests:?}");

    assert_eq!(world.verify(&["--older-than", "30d"]).numbers(numbers), [2, 0, 0, 4, 0, 0]);
    // The same content, written again, is read again.
    session.file(TIMES, "abc");
    assert_eq!(world.verify(&["--older-than", "30d"]).numbers(numbers), [2, 1, 1, 3, 3, 0]);
    assert_eq!(world.verify(&["KS014/2024-05-01/001"]).numbers(numbers), [1, 2, 2, 0, 8, 0]);
    let oldest = world.ledger().verified(&session.folder.join(TIMES)).unwrap();
    assert!(world.ledger().was_verified_since(&oldest.path, oldest.at, &stamp(&oldest.path)));

    let said = output(program().args(["verify", "--config"]).arg(&world.config));
    let said = String::from_utf8(said.stdout).unwrap();
    for wanted in [
        "verifying 2 sessions of 1 subject: what was verified longest ago comes first",
        "2 sessions verified, 4 files read (16 B): 4 as on Alyx, 0 differences",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_rot_and_what_was_never_read_are_told_apart_and_one_bad_file_never_ends_the_run() {
    let world = World::new().await;
    drop(world.ledger());
    let damage = |session: &Session, content: &str| {
        session.file(TIMES, content);
        session.folder.join(TIMES)
    };
    let [edited, rotten, gone, cut, linked] = {
        let mut all = Vec::new();
        for day in 1..=5 {
            all.push(world.registered(&format!("2024-05-{day:02}/001")).await);
        }
        <[Session; 5]>::try_from(all).ok().unwrap()
    };
    assert_eq!(world.verify(&[]).code, Some(0));
    let never = world.registered("2024-05-06/001").await;
    for session in [&edited, &never] {
        damage(session, "abd");
    }
    // A disk that lost a bit has left all times as they were.
    let file = damage(&rotten, "abd");
    let row = world.ledger().verified(&file).unwrap();
    assert_eq!((row.result, row.read.md5.to_string().as_str()), (Verified::Equal, ABC));
    world
        .ledger()
        .keep_verified(&[VerifiedRow { read: EarlierRead { stamp: stamp(&file), ..row.read }, ..row }]);
    fs::remove_file(gone.folder.join(TIMES)).unwrap();
    damage(&cut, "a");
    fs::remove_file(linked.folder.join(TIMES)).unwrap();
    symlink("nowhere", linked.folder.join(TIMES)).unwrap();
    let expected = [
        format!("changed KS014/2024-05-01/001 {TIMES}"),
        format!("rotten KS014/2024-05-02/001 {TIMES}"),
        format!("missing KS014/2024-05-03/001 {TIMES}"),
        format!("size_differs KS014/2024-05-04/001 {TIMES}"),
        format!("unreadable KS014/2024-05-05/001 {TIMES}"),
        format!("differs KS014/2024-05-06/001 {TIMES}"),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    // The verdict is the same when what differs is read again.
    for _ in 0..2 {
        let verified = world.verify(&[]);
        verified.finds(&expected);
        assert_eq!((verified.code, &verified.totals["outcome"]), (Some(1), &"incomplete".into()));
        let line = verified.line("rotten");
        let found = "4911e516e5aa21d327512e0c8b197616";
        assert_eq!([&line["expected"], &line["found"]], [ABC, found]);
        assert_eq!(line["repository"], "cortexlab_local");
        assert_eq!(verified.numbers(["files", "equal"]), [9, 6], "{verified:#?}");
    }
    assert_eq!(world.ledger().verified(&file).unwrap().result, Verified::Not(FindingKind::Rotten));
    assert_eq!(world.ledger().verified_totals().differ, 3);
    for session in [edited, rotten, gone, cut, never] {
        damage(&session, "abc");
    }
    world.verify(&[]).finds(&[expected[4]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_at_its_limit_and_the_next_one_continues_where_it_was() {
    let world = World::new().await;
    drop(world.ledger());
    let sessions = [world.registered("2024-05-01/001").await, world.registered("2024-05-02/001").await];
    let verified = || -> Vec<usize> {
        sessions.iter().map(|session| world.ledger().verified_below(&session.folder).len()).collect()
    };
    let nothing = world.verify(&["--time-limit", "0s"]);
    assert_eq!((nothing.code, nothing.numbers(["files", "sessions_left"])), (Some(0), [0, 2]));
    assert_eq!(nothing.totals["stopped"], "time_limit");
    // A file is read even if it is larger than the limit; the session is not complete with it.
    for (bytes, files, stopped, expected) in
        [("1", 1, "bytes", [1, 0]), ("5", 1, "bytes", [2, 0]), ("8", 2, "bytes", [2, 2])]
    {
        let run = world.verify(&["--bytes", bytes]);
        assert_eq!((run.code, run.numbers(["files"])), (Some(0), [files]), "{run:#?}");
        assert_eq!(
            (run.totals["stopped"].as_str(), verified()),
            (Some(stopped), expected.to_vec()),
            "{run:#?}"
        );
    }
    assert_eq!(world.verify(&[]).totals["stopped"], serde_json::Value::Null);
    // Without a ledger, everything is read, and that is said.
    fs::remove_dir_all(world.state()).unwrap();
    let forgetful = world.verify(&["--older-than", "30d"]);
    assert_eq!(forgetful.numbers(["files", "recent"]), [4, 0]);
    assert!(forgetful.log.contains("is not remembered"), "{}", forgetful.log);
}
