use std::os::unix::fs::PermissionsExt;

use jiff::{SignedDuration, Timestamp};

use crate::ledger::*;
use alyx_registration::{CreatedSessions, Error, Md5Sum, SessionSnapshot, Trail, TrailFile};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn key(inode: u64) -> FileKey {
    FileKey { device: 1, inode, size: 3, mtime_ns: 10, ctime_ns: 20 }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn waiting(flag: &str) -> WaitingRow {
    WaitingRow {
        flag: flag.into(),
        stamp: "1:2:3:4".into(),
        session: "KS014/2024-05-01/001".into(),
        since: at(0),
        failures: 2,
        next: at(60),
        needs_attention: true,
        error: "Alyx does not know subject \"KS014\"".into(),
        kind: None,
        next_step: "create it".into(),
        missing: vec![("subject".into(), "KS014".into())],
    }
}

fn outcome(session: &str, at: Timestamp, outcome: &str) -> OutcomeRow {
    let mut parts = session.split('/').map(str::to_owned);
    OutcomeRow {
        at,
        session: session.into(),
        subject: parts.next(),
        date: parts.next(),
        flag: format!("/data/{session}/create_me.flag").into(),
        attempt: 1,
        outcome: outcome.into(),
        eid: Some("e".into()),
        n_files: 3,
        bytes: u64::MAX,
        took: Duration::from_millis(1500),
        left_out: "2 hidden".into(),
        files: vec![NamedFile { path: "a.nwb".into(), reason: "no ALF name".into() }],
        error: None,
        described: None,
        kind: None,
        next_step: None,
        next: None,
        by: None,
        trail: Default::default(),
    }
}

fn works(ledger: &Ledger) -> bool {
    ledger.set_checksum(&key(7), "md5", at(0));
    ledger.checksum(&key(7), at(0)).as_deref() == Some("md5")
}

#[test]
fn rows_survive_a_restart() {
    let folder = folder();
    let row = outcome("KS014/2024-05-01/001", at(0), "needs_attention");
    {
        let ledger = Ledger::open(folder.path());
        ledger.record(&row, WaitingChange::Set(&waiting("/data/x/create_me.flag")));
        ledger.set_checksum(&key(1), "abc", at(0));
        ledger.set_fact("configuration", "f");
    }
    let ledger = Ledger::open(folder.path());
    assert_eq!(ledger.history(&HistoryFilter::default()), [row]);
    assert_eq!(ledger.waiting(), [waiting("/data/x/create_me.flag")]);
    assert_eq!(ledger.checksum(&key(1), at(0)).as_deref(), Some("abc"));
    assert_eq!(ledger.fact("configuration").as_deref(), Some("f"));
    ledger.update_waiting(WaitingChange::Remove(Path::new("/data/x/create_me.flag")));
    assert_eq!(ledger.waiting(), []);
    assert_eq!(ledger.problem(), None);
}

#[test]
fn a_path_that_is_not_utf8_is_kept_unchanged() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let mut row = waiting("x");
    row.flag = std::ffi::OsStr::from_bytes(b"/data/\xff/create_me.flag").into();
    ledger.update_waiting(WaitingChange::Set(&row));
    assert_eq!(ledger.waiting()[0].flag, row.flag);
}

#[test]
fn a_checksum_is_valid_only_for_the_exact_state_of_its_file() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    ledger.set_checksum(&key(1), "abc", at(0));
    let other = [
        FileKey { device: 2, ..key(1) },
        FileKey { inode: 2, ..key(1) },
        FileKey { size: 4, ..key(1) },
        FileKey { mtime_ns: 11, ..key(1) },
        FileKey { ctime_ns: 21, ..key(1) },
    ];
    for other in other {
        assert_eq!(ledger.checksum(&other, at(0)), None, "{other:?}");
    }
    ledger.set_checksum(&FileKey { ctime_ns: 21, ..key(1) }, "new", at(0));
    assert_eq!(ledger.checksum(&key(1), at(0)), None);
}

#[test]
fn a_checksum_that_was_tampered_with_is_not_used() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    ledger.set_checksum(&key(1), "abc", at(0));
    let other = Connection::open(ledger.path()).unwrap();
    other.execute("UPDATE checksum SET md5 = 'abd'", []).unwrap();
    assert_eq!(ledger.checksum(&key(1), at(0)), None);
}

#[test]
fn sessions_registered_since_a_time_are_returned_in_order_without_failures() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    for (second, word) in [(30, "registered"), (10, "registered"), (20, "retry"), (0, "registered")] {
        ledger.record(&outcome("KS014/2024-05-01/001", at(second), word), WaitingChange::Keep);
    }
    let since = ledger.registered_since(at(10));
    assert_eq!(since.iter().map(|row| row.at).collect::<Vec<_>>(), [at(10), at(30)]);
    assert_eq!((since[0].session.as_str(), since[0].bytes), ("KS014/2024-05-01/001", u64::MAX));
}

#[test]
fn history_is_filtered_and_the_latest_comes_first() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    for (session, time, how) in [
        ("a/2024-05-01/001", 0, "retry"),
        ("a/2024-05-01/001", 1, "registered"),
        ("a/2024-05-02/001", 2, "registered"),
        ("b/2024-05-01/001", 3, "registered"),
    ] {
        ledger.record(&outcome(session, at(time), how), WaitingChange::Keep);
    }
    let times = |filter: HistoryFilter| {
        ledger.history(&filter).iter().map(|row| row.at.as_second() - at(0).as_second()).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(times(HistoryFilter::default()), [3, 2, 1, 0]);
    assert_eq!(times(HistoryFilter { limit: 2, ..Default::default() }), [3, 2]);
    assert_eq!(times(HistoryFilter { subject: text("a"), ..Default::default() }), [2, 1, 0]);
    assert_eq!(times(HistoryFilter { date: text("2024-05-01"), ..Default::default() }), [3, 1, 0]);
    assert_eq!(
        times(HistoryFilter { subject: text("a"), outcome: text("registered"), ..Default::default() }),
        [2, 1]
    );
    assert_eq!(ledger.forget("a/2024-05-01/001"), Some(2));
    assert_eq!(times(HistoryFilter::default()), [3, 2]);
}

#[test]
fn retry_makes_one_session_due_or_all() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let other = WaitingRow { session: "b/2024-05-01/001".into(), ..waiting("/b") };
    ledger.update_waiting(WaitingChange::Set(&waiting("/a")));
    ledger.update_waiting(WaitingChange::Set(&other));
    assert_eq!(ledger.make_due(Some("b/2024-05-01/001"), at(1)), Some(1));
    assert_eq!(ledger.waiting().iter().map(|row| row.next).collect::<Vec<_>>(), [at(1), at(60)]);
    assert_eq!(ledger.make_due(None, at(2)), Some(2));
}

#[test]
fn old_and_excess_rows_are_pruned() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let days = |days: i64| at(days * 86_400);
    for (inode, day) in [(1, 0), (2, 31), (3, 32), (4, 33)] {
        ledger.set_checksum(&key(inode), "abc", days(day));
    }
    for day in [0, 10, 200, 201, 202] {
        ledger.record(&outcome("a/2024-05-01/001", days(day), "registered"), WaitingChange::Keep);
    }
    ledger.prune_to(days(40), 10, 10);
    let known = |inode| ledger.checksum(&key(inode), days(40)).is_some();
    assert_eq!([1, 2, 3, 4].map(known), [false, true, true, true]);
    ledger.prune_to(days(195), 10, 2);
    let left: Vec<_> = ledger.history(&HistoryFilter::default()).iter().map(|row| row.at).collect();
    assert_eq!(left, [days(202), days(201)]);
}

#[test]
fn using_a_checksum_keeps_it() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    ledger.set_checksum(&key(1), "abc", at(0));
    let later = at(0) + SignedDuration::from_hours(29 * 24);
    assert!(ledger.checksum(&key(1), later).is_some());
    ledger.prune(later + SignedDuration::from_hours(29 * 24));
    assert!(ledger.checksum(&key(1), later).is_some());
}

#[test]
fn a_ledger_that_is_deleted_while_in_use_is_created_again() {
    let folder = folder();
    let state = folder.path().join("state");
    let ledger = Ledger::open(&state);
    assert!(works(&ledger));
    std::fs::remove_dir_all(&state).unwrap();
    assert_eq!(ledger.checksum(&key(7), at(0)), None);
    assert!(works(&ledger) && ledger.path().exists());
}

#[test]
fn files_of_the_state_folder_that_are_cut_short_while_in_use_stop_nothing() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    ledger.record(&outcome("a/b/c", at(0), "registered"), WaitingChange::Keep);
    assert!(works(&ledger));
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    for name in names() {
        std::fs::File::options().write(true).open(folder.path().join(name)).unwrap().set_len(0).unwrap();
        ledger.record(&outcome("a/b/c", at(1), "registered"), WaitingChange::Keep);
        ledger.record(&outcome("a/b/c", at(2), "registered"), WaitingChange::Keep);
        assert!(works(&ledger));
        assert_eq!(ledger.history(&HistoryFilter::default()).first().map(|row| row.at), Some(at(2)));
    }
    assert!(names().iter().all(|name| !name.ends_with("-shm")), "a mapped file: {:?}", names());
}

#[test]
fn a_reader_does_not_replace_a_damaged_ledger() {
    let folder = folder();
    drop(Ledger::open(folder.path()));
    let reader = Ledger::open_existing(folder.path(), Access::Read).unwrap().unwrap();
    std::fs::File::options().write(true).open(folder.path().join(FILE_NAME)).unwrap().set_len(0).unwrap();
    assert_eq!(reader.history(&HistoryFilter::default()), []);
    assert!(!folder.path().join("ledger.sqlite.damaged").exists());
}

#[test]
fn checksums_are_written_together_and_known_before() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let daemon_writes = || Ledger::open_existing(folder.path(), Access::Read).unwrap().unwrap();
    for inode in 0..50 {
        ledger.set_checksum(&key(inode), "md5", at(0));
        assert_eq!(ledger.checksum(&key(inode), at(0)).as_deref(), Some("md5"));
    }
    ledger.record(&outcome("a/b/c", at(0), "registered"), WaitingChange::Keep);
    assert_eq!(daemon_writes().checksum(&key(49), at(0)).as_deref(), Some("md5"));
    ledger.set_checksum(&key(50), "md5", at(0));
    drop(ledger);
    assert_eq!(daemon_writes().checksum(&key(50), at(0)).as_deref(), Some("md5"));
}

#[test]
fn a_damaged_ledger_is_set_aside_and_replaced_by_a_new_one() {
    let folder = folder();
    std::fs::write(folder.path().join(FILE_NAME), vec![b'x'; 10_000]).unwrap();
    assert!(works(&Ledger::open(folder.path())));
    assert!(folder.path().join("ledger.sqlite.damaged").exists());
}

#[test]
fn damage_in_the_middle_of_a_large_ledger_loses_only_what_it_remembered() {
    let folder = folder();
    {
        let ledger = Ledger::open(folder.path());
        for i in 0..3000 {
            ledger.set_checksum(&key(i), "00000000000000000000000000000000", at(0));
        }
    }
    let path = folder.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096 * 2) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let ledger = Ledger::open(folder.path());
    for i in 0..3000 {
        assert!(ledger.checksum(&key(i), at(0)).is_none_or(|md5| md5.bytes().all(|b| b == b'0')));
    }
    assert!(works(&ledger));
}

#[test]
fn another_programs_database_is_set_aside() {
    let folder = folder();
    let other = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    other.execute_batch("CREATE TABLE waiting (x); PRAGMA user_version = 1;").unwrap();
    drop(other);
    let ledger = Ledger::open(folder.path());
    assert_eq!(ledger.waiting(), []);
    assert!(works(&ledger));
}

#[test]
fn a_ledger_of_0_1_0_is_read_as_it_is_and_migrated_when_it_is_written() {
    let folder = folder();
    let path = folder.path().join(FILE_NAME);
    let earlier = Connection::open(&path).unwrap();
    earlier.execute_batch(schema::MIGRATIONS[0]).unwrap();
    let row = "INSERT INTO outcome VALUES
        (1, 0, 'a/b/c', 'a', 'b', x'2f', 1, 'registered', 'e', 1, 2, 3, '1 no ALF name', NULL, NULL, NULL)";
    earlier.execute_batch(&format!("{row}; PRAGMA user_version = 1")).unwrap();
    drop(earlier);
    let version = || -> u32 {
        let ledger = Connection::open(&path).unwrap();
        ledger.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let reader = Ledger::open_existing(folder.path(), Access::Read).unwrap().unwrap();
    let left_out = HistoryFilter { left_out: true, ..HistoryFilter::default() };
    let all = reader.history(&HistoryFilter::default());
    assert_eq!((all[0].left_out.as_str(), all[0].files.len()), ("1 no ALF name", 0));
    assert_eq!(reader.history(&left_out), []);
    assert_eq!((reader.gap_book().open().count(), version()), (0, 1));
    let writer = Ledger::open_existing(folder.path(), Access::Change).unwrap().unwrap();
    writer.record(&outcome("a/b/c", at(0), "gaps"), WaitingChange::Keep);
    assert_eq!(version(), schema::VERSION);
    assert_eq!((writer.history(&HistoryFilter::default()).len(), writer.history(&left_out).len()), (2, 1));
    assert!(!folder.path().join("ledger.sqlite.damaged").exists());
}

fn gap(session: &str, files: &[&str]) -> GapRow {
    GapRow {
        session: session.into(),
        at: at(0),
        folder: format!("/data/{session}").into(),
        eid: "e".into(),
        kind: "no_dataset".into(),
        text: "none".into(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
        acknowledged: false,
    }
}

#[test]
fn gaps_are_open_until_their_session_or_all_their_files_are_acknowledged() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let rows = [gap("a", &["x.nwb"]), gap("b", &["x.nwb", "y/z.bin"]), gap("c", &[])];
    ledger.change_gaps(&rows.map(GapChange::Set)).unwrap();
    let open = || -> Vec<String> { ledger.gap_book().open().map(|row| row.session.clone()).collect() };
    let acknowledge = |what: Acknowledged| {
        let (count, changes) = ledger.gap_book().acknowledge(&what);
        ledger.change_gaps(&changes).unwrap();
        count
    };
    assert_eq!(acknowledge(Acknowledged::Pattern("*.nwb".into())), 1);
    assert_eq!(open(), ["b", "c"]);
    assert_eq!(acknowledge(Acknowledged::Pattern("y/*".into())), 1);
    assert_eq!(acknowledge(Acknowledged::Session("a".into())), 0);
    assert_eq!(acknowledge(Acknowledged::Session("c".into())), 1);
    assert_eq!(open(), [] as [&str; 0]);
}

#[test]
fn that_a_session_was_created_twice_is_open_until_it_is_acknowledged_whatever_gaps_it_has() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let (session, others) = ("a".to_owned(), vec!["other".to_owned()]);
    let error = Error::CreatedTwice { session, ours: "ours".into(), others, is_empty: true };
    let mut book = ledger.gap_book();
    let twice = book.add_created_twice(Path::new("/data/a"), &error, at(0));
    assert!(book.add_created_twice(Path::new("/data/a"), &Error::Internal("x".into()), at(0)).is_empty());
    let row = gap("a", &["x.nwb"]);
    for changes in [
        twice,
        vec![GapChange::Set(row.clone())],
        vec![GapChange::Remove(row.folder.clone(), About::Registration)],
    ] {
        ledger.change_gaps(&changes).unwrap();
        let book = ledger.gap_book();
        let open: Vec<&GapRow> = book.created_twice().collect();
        assert!(matches!(open[..], [row] if row.eid == "ours" && row.text.contains("other")), "{open:?}");
    }
    ledger.change_gaps(&[GapChange::Set(row)]).unwrap();
    let mut book = ledger.gap_book();
    // No pattern of files concerns it.
    ledger.change_gaps(&book.acknowledge(&Acknowledged::Pattern("*".into())).1).unwrap();
    assert_eq!(ledger.gap_book().created_twice().count(), 1);
    let (count, changes) = book.acknowledge(&Acknowledged::Session("a".into()));
    assert_eq!(count, 1);
    ledger.change_gaps(&changes).unwrap();
    let book = ledger.gap_book();
    assert_eq!((book.created_twice().count(), book.open().count()), (0, 0));
}

#[test]
fn a_ledger_of_a_newer_version_is_left_unchanged() {
    let folder = folder();
    drop(Ledger::open(folder.path()));
    let path = folder.path().join(FILE_NAME);
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 99; CREATE TABLE later (x);").unwrap();
    drop(newer);
    let ledger = Ledger::open(folder.path());
    assert!(!works(&ledger));
    assert!(ledger.problem().unwrap().contains("newer version"), "{:?}", ledger.problem());
    let newer = Connection::open(&path).unwrap();
    assert_eq!(newer.pragma_query_value(None, "user_version", |row| row.get(0)), Ok(99));
    assert!(!folder.path().join("ledger.sqlite.damaged").exists());
    assert!(Ledger::open_existing(folder.path(), Access::Read).unwrap_err().contains("newer version"));
}

#[test]
fn a_folder_that_is_not_writable_is_reported_with_the_fix() {
    let folder = folder();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    drop(Ledger::open(&state));
    // Root is never denied by permissions; a file in place of the folder fails for every user.
    for unusable in [folder.path().join("file/state"), state.clone()] {
        std::fs::write(folder.path().join("file"), "").unwrap();
        let file = state.join(FILE_NAME);
        let read_only = |on: bool| {
            let mode = |m| std::fs::Permissions::from_mode(m);
            std::fs::set_permissions(&file, mode(if on { 0o400 } else { 0o600 })).unwrap();
            std::fs::set_permissions(&state, mode(if on { 0o500 } else { 0o700 })).unwrap();
        };
        read_only(true);
        let refused = std::fs::write(state.join("probe"), "").is_err();
        let ledger = Ledger::open(&unusable);
        if refused || unusable != state {
            assert!(!works(&ledger));
            assert!(ledger.problem().unwrap().contains("state_dir"), "{:?}", ledger.problem());
        }
        read_only(false);
    }
}

#[test]
fn on_a_full_disk_nothing_is_remembered_until_there_is_room() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    assert!(works(&ledger));
    // A page limit causes the same error as a full disk.
    let limit = |pages: u32| {
        let state = ledger.state.lock().unwrap();
        let connection = &state.open.as_ref().unwrap().connection;
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(1);
    let long = "x".repeat(100_000);
    ledger.record(
        &OutcomeRow { left_out: long.clone(), ..outcome("a/b/c", at(0), "retry") },
        WaitingChange::Keep,
    );
    assert!(ledger.problem().unwrap().contains("full"), "{:?}", ledger.problem());
    assert_eq!(ledger.checksum(&key(7), at(0)).as_deref(), Some("md5"), "reads still work");
    limit(100_000);
    ledger.record(&OutcomeRow { left_out: long, ..outcome("a/b/c", at(0), "retry") }, WaitingChange::Keep);
    assert_eq!(ledger.history(&HistoryFilter::default()).len(), 1);
    assert_eq!(ledger.problem(), None);
}

#[test]
fn another_process_may_read_and_change_a_ledger_in_use() {
    let folder = folder();
    assert!(Ledger::open_existing(folder.path(), Access::Read).unwrap().is_none());
    let daemon = Ledger::open(folder.path());
    daemon.update_waiting(WaitingChange::Set(&waiting("/a")));
    let looking = Ledger::open_existing(folder.path(), Access::Read).unwrap().unwrap();
    assert_eq!(looking.waiting().len(), 1);
    assert_eq!(looking.forget("KS014/2024-05-01/001"), None, "who looks does not change");
    let changing = Ledger::open_existing(folder.path(), Access::Change).unwrap().unwrap();
    assert_eq!(changing.forget("KS014/2024-05-01/001"), Some(1));
    assert_eq!(daemon.waiting(), []);
    drop(daemon);
    assert_eq!(Ledger::open_existing(folder.path(), Access::Read).unwrap().unwrap().waiting(), []);
}

#[test]
fn a_link_in_place_of_the_ledger_is_not_followed() {
    let folder = folder();
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "").unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join(FILE_NAME)).unwrap();
    let _ = works(&Ledger::open(folder.path()));
    assert_eq!(std::fs::read(&precious).unwrap(), b"");
}

#[test]
fn late_files_stand_beside_the_gaps_of_the_registration() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let late = GapRow { kind: "late_files".into(), ..gap("a", &["alf/a.npy"]) };
    ledger.change_gaps(&[GapChange::Set(gap("a", &["x.nwb"])), GapChange::Set(late)]).unwrap();
    let kinds = || -> Vec<String> { ledger.gap_book().open().map(|row| row.kind.clone()).collect() };
    assert_eq!(kinds(), ["no_dataset", "late_files"]);
    // Another kind of gap replaces the one of the registration.
    let near = GapRow { kind: "near_miss".into(), ..gap("a", &["x.NPY"]) };
    ledger.change_gaps(&[GapChange::Set(near)]).unwrap();
    assert_eq!(kinds(), ["near_miss", "late_files"]);
    let (count, changes) = ledger.gap_book().acknowledge(&Acknowledged::Session("a".into()));
    ledger.change_gaps(&changes).unwrap();
    assert_eq!((count, kinds().len()), (1, 0));
    ledger.change_gaps(&[GapChange::Remove("/data/a".into(), About::LateFiles)]).unwrap();
    assert_eq!(ledger.forget("a"), Some(1));
}

#[test]
fn looks_are_remembered_with_their_snapshot_until_they_are_removed() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let row =
        LookRow { folder: "/data/a".into(), session: "a".into(), eid: "e".into(), done: 0, due: at(600) };
    let later = LookRow { done: 1, due: at(3600), ..row.clone() };
    ledger.change_look(&LookChange::Set(row.clone(), Some(SessionSnapshot::default()))).unwrap();
    assert_eq!(ledger.looks(), [row]);
    // Whatever the clock says.
    ledger.prune(at(1_000_000_000));
    // A look that is postponed keeps what it compares with.
    ledger.change_look(&LookChange::Set(later.clone(), None)).unwrap();
    assert_eq!(ledger.looks(), [later]);
    assert_eq!(ledger.snapshot(Path::new("/data/a")), Some(SessionSnapshot::default()));
    ledger.change_look(&LookChange::Remove("/data/a".into())).unwrap();
    assert_eq!((ledger.looks(), ledger.snapshot(Path::new("/data/a"))), (Vec::new(), None));
}

#[test]
fn a_session_that_was_created_is_known_after_a_restart_and_forgotten_after_half_a_year() {
    let folder = folder();
    Ledger::open(folder.path()).add("an-eid");
    let ledger = Ledger::open(folder.path());
    assert_eq!(
        (ledger.contains("an-eid"), ledger.contains("an-eid2"), ledger.contains("an")),
        (true, false, false)
    );
    ledger.set_fact("configuration", "0");
    let days = |n: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * n);
    ledger.prune(days(179));
    assert!(ledger.contains("an-eid"));
    ledger.prune(days(181));
    assert!(!ledger.contains("an-eid") && ledger.fact("configuration").is_some());
}

#[test]
fn the_problem_is_told_while_other_work_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path());
    let problem = ledger.with(|_| {
        let (sender, answer) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(ledger.problem()));
            // If it waited for this work, both would wait for ever.
            Ok(answer.recv_timeout(Duration::from_secs(20)))
        })
    });
    assert_eq!(problem, Some(Ok(None)));
}

#[test]
fn a_sighting_keeps_its_first_time_until_it_is_replaced_or_forgotten() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let row = |path: &str, first, last| SightingRow {
        eid: "e".into(),
        repository: "rig".into(),
        path: path.into(),
        mark: "missing".into(),
        session: "KS014/2024-05-01/001".into(),
        evidence: "root 1:2".into(),
        first: at(first),
        last: at(last),
    };
    assert!(ledger.sighted("missing").is_empty());
    let rows = [row("alf/a.npy", 0, 5), row("alf/b.npy", 5, 5)];
    ledger.set_sightings("e", "missing", &rows).unwrap();
    ledger.set_sightings("f", "bad_copy", &[]).unwrap();
    assert_eq!(ledger.sightings("e", "missing").unwrap(), rows);
    assert_eq!((ledger.sighted("missing").len(), ledger.sighted("bad_copy").len()), (1, 0));
    ledger.set_sightings("e", "missing", &rows[1..]).unwrap();
    assert_eq!(ledger.sightings("e", "missing").unwrap(), rows[1..]);
    // A year between two audits is usual.
    ledger.prune(at(400 * 86_400));
    assert_eq!(ledger.sightings("e", "missing").unwrap().len(), 1);
    ledger.prune(at(800 * 86_400));
    assert_eq!(ledger.sightings("e", "missing").unwrap(), []);
    ledger.set_sightings("e", "missing", &rows).unwrap();
    assert_eq!(ledger.forget("KS014/2024-05-01/001"), Some(2));
}

#[test]
fn the_files_of_an_outcome_go_with_it_and_the_oldest_go_first() {
    let folder = folder();
    let ledger = Ledger::open(folder.path());
    let md5 = Md5Sum::parse("0cc175b9c0f1b6a831c399e269772661");
    let trail = Trail {
        files: vec![
            TrailFile::registered("alf/a.npy", u64::MAX, md5),
            TrailFile::registered("alf/b.npy", 0, None),
            TrailFile::left_out("a.txt", "no ALF name"),
            TrailFile::left_out("alf/a.npy", "both"),
        ],
    };
    for session in ["a", "b"] {
        let row = outcome(session, at(0), "registered");
        ledger.record(&OutcomeRow { trail: trail.clone().into(), ..row }, WaitingChange::Keep);
    }
    let ids: Vec<i64> =
        ledger.history_with_ids(&HistoryFilter::default()).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ledger.trail(ids[0]).files, trail.files[..3]);
    ledger.with(|connection| trails::prune(connection, 3)).unwrap();
    assert_eq!((ledger.trail(ids[1]).files.len(), ledger.trail(ids[0]).files.len()), (0, 3));
    assert_eq!(ledger.forget("b"), Some(1));
    assert_eq!(ledger.trail(ids[0]).files, []);
}
