use super::*;
use std::os::unix::fs::PermissionsExt;

use crate::session::request_marks::public::MAX_MARKS;

const AT_MOST: Duration = Duration::from_secs(30);

fn claim(marks: &RequestMarks) -> Result<RequestMark, Elsewhere> {
    claim_since(marks, Instant::now())
}

/// A claim that was first made then.
fn claim_since(marks: &RequestMarks, since: Instant) -> Result<RequestMark, Elsewhere> {
    claim_for(marks, AT_MOST, since)
}

fn claim_for(marks: &RequestMarks, at_most: Duration, since: Instant) -> Result<RequestMark, Elsewhere> {
    let places = marks.0.as_ref().unwrap();
    places.first_claims().forget("a session");
    places.first_claims().since("a session", since);
    places.claim("a session", at_most, Instant::now())
}

fn own(state: Option<PathBuf>, own: Vec<PathBuf>) -> RequestMarks {
    RequestMarks::new(MarkFolders { state, own, public: Vec::new() })
}

/// As a process that is killed: the kernel releases its locks, and nothing else happens.
fn kill(mut mark: RequestMark) {
    for file in std::mem::take(&mut mark.files) {
        flock(&file.file, FlockOperation::Unlock).unwrap();
    }
    std::mem::take(&mut mark.public).into_iter().for_each(PublicMark::kill);
}

/// A folder as `/dev/shm`.
fn public() -> (tempfile::TempDir, RequestMarks) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let public = vec![folder.path().to_owned()];
    (folder, RequestMarks::new(MarkFolders { public, ..MarkFolders::default() }))
}

async fn sending(mark: RequestMark) -> RequestMark {
    mark.sending().await.unwrap()
}

#[tokio::test]
async fn a_request_without_an_answer_holds_the_next_program_up_for_as_long_as_it_may_take() {
    let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [both, other] =
        [Some(state.path().to_owned()), None].map(|state| own(state, vec![run.path().join("registrar")]));
    let mark = sending(claim(&both).unwrap()).await;
    assert!(claim(&other).is_err());
    kill(mark);
    for marks in [&both, &other] {
        let left = claim(marks).unwrap().remaining();
        assert!(left > AT_MOST / 2 && left <= AT_MOST, "{left:?}");
    }
    // Only in the state folder: the shared one did not survive a restart of the computer.
    std::fs::remove_dir_all(run.path().join("registrar")).unwrap();
    let mut mark = claim(&both).unwrap();
    assert!(!mark.remaining().is_zero());
    mark.answered();
    drop(mark);
    assert!(claim(&both).unwrap().remaining().is_zero());
}

#[tokio::test]
async fn a_request_whose_client_gave_up_is_marked_until_it_is_answered() {
    let run = tempfile::tempdir().unwrap();
    let marks = own(None, vec![run.path().to_owned()]);
    drop(claim(&marks).unwrap());
    assert!(claim(&marks).unwrap().remaining().is_zero(), "nothing was sent");
    drop(sending(claim(&marks).unwrap()).await);
    assert!(!claim(&marks).unwrap().remaining().is_zero());
    let mut mark = sending(claim(&marks).unwrap()).await;
    mark.answered();
    drop(mark);
    assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn a_mark_that_says_nothing_holds_the_next_program_up() {
    let run = tempfile::tempdir().unwrap();
    let marks = own(None, vec![run.path().to_owned()]);
    for text in ["", "nonsense", "a b c\n", "x 1 2"] {
        std::fs::write(run.path().join(name("a session")), text).unwrap();
        assert!(!claim(&marks).unwrap().remaining().is_zero(), "{text:?}");
    }
}

#[test]
fn where_nothing_can_be_marked_the_time_since_the_start_counts() {
    let run = tempfile::tempdir().unwrap();
    std::fs::set_permissions(run.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let shared = vec![run.path().to_owned(), run.path().join("none/none")];
    assert!(!claim(&own(None, shared)).unwrap().remaining().is_zero());
    let nothing = RequestMark::default();
    assert!(nothing.remaining().is_zero());
}

#[test]
fn an_answer_that_may_come_from_a_proxy_resolves_nothing() {
    let busy = |status| {
        let (what, body) = (String::new(), String::new());
        alyx_client::Error::Busy { what, status, retry_after: None, body }
    };
    assert!(maybe_done(&busy(504)));
    assert!(!maybe_done(&busy(429)));
    let lost = |maybe_done| {
        let (url, reason) = (String::new(), String::new());
        alyx_client::Error::Unreachable { url, reason, maybe_done, connected: true }
    };
    assert!(maybe_done(&lost(true)));
    assert!(!maybe_done(&lost(false)));
}

#[tokio::test]
async fn a_mark_for_all_users_holds_a_request_up_and_never_prevents_it() {
    let (_folder, marks) = public();
    let long_ago = Instant::now() - AT_MOST;
    let mark = sending(claim(&marks).unwrap()).await;
    assert!(claim(&marks).is_err());
    assert!(claim_since(&marks, long_ago).unwrap().remaining().is_zero());
    kill(mark);
    let mut next = claim(&marks).unwrap();
    assert!(next.remaining() > AT_MOST / 2);
    let half = claim_since(&marks, Instant::now() - AT_MOST / 2);
    assert!(half.is_err());
    next.answered();
    drop(next);
    assert!(claim(&marks).unwrap().remaining().is_zero());
}

#[tokio::test]
async fn a_program_that_waits_longer_for_an_answer_is_waited_for_as_long_by_programs_of_other_users() {
    let (_folder, marks) = public();
    let (short, long) = (AT_MOST / 10, AT_MOST);
    let mark = sending(claim_for(&marks, long, Instant::now()).unwrap()).await;
    let late = || Instant::now() - 2 * short;
    let elsewhere = claim_for(&marks, short, late()).unwrap_err();
    let later = Elsewhere { waited: long, ..elsewhere };
    assert!(!later.recheck_in().is_zero(), "the mark no longer counts before its caller gives up");
    kill(mark);
    let left = claim_for(&marks, short, late()).unwrap().remaining();
    assert!(left > long / 2, "{left:?}");
    assert!(claim_for(&marks, short, Instant::now() - long).unwrap().remaining().is_zero());
}

#[tokio::test]
async fn a_mark_that_is_kept_locked_for_ever_delays_all_attempts_together_for_an_hour_at_most() {
    let (folder, marks) = public();
    let path = folder.path().join(format!("alyx-registrar-{}-lie", name("a session")));
    std::fs::write(&path, format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let (places, start) = (marks.0.as_ref().unwrap(), Instant::now());
    let claim_after = |seconds| places.claim("a session", AT_MOST, start + Duration::from_secs(seconds));
    for seconds in [0, 1, 31, 600, 3000, 3599] {
        let left = claim_after(seconds).unwrap_err().left();
        assert_eq!(left, LONGEST + AT_MOST - Duration::from_secs(seconds));
    }
    assert!(claim_after(3600).unwrap().remaining().is_zero());
    // It was created. The next one of the same name waits anew.
    marks.forget("a session");
    assert!(claim_after(3601).is_err());
}

#[test]
fn a_place_is_given_back_after_the_time_of_a_request_and_a_minute_at_most() {
    let second = Duration::from_secs(1);
    let gives_back = |waited: u32, at_least: u32, request: u32| {
        let (waited, at_least) = (waited * second, at_least * second);
        HeldUp { waited, at_least, at_most: LONGEST }.gives_place_back(request * second)
    };
    for (waited, at_least, request, expected) in [
        (0, 0, 30, false),
        (29, 0, 30, false),
        (31, 0, 30, true),
        (59, 0, 3600, false),
        (61, 0, 3600, true),
        // What was left behind takes that long at least.
        (0, 30, 30, false),
        (0, 31, 30, true),
        (0, 3600, 3600, true),
    ] {
        assert_eq!(gives_back(waited, at_least, request), expected, "{waited} {at_least} {request}");
    }
}

#[test]
fn only_a_session_that_others_hold_up_gives_its_place_back() {
    let (folder, marks) = public();
    let by_turns = marks.clone().by_turns();
    let keeps = |marks: &RequestMarks, claim: &Result<RequestMark, Elsewhere>| {
        marks.keep_place(claim, || "creating a session".to_owned(), AT_MOST).is_ok()
    };
    let long_ago = Instant::now() - 2 * AT_MOST;
    let held = claim_for(&marks, LONGEST, Instant::now()).unwrap();
    let waits = claim_since(&marks, long_ago);
    assert!(waits.is_err() && !keeps(&by_turns, &waits));
    assert!(keeps(&marks, &waits), "a command waits");
    assert!(keeps(&by_turns, &claim(&marks)), "not yet");
    kill(held);
    // A request of this user, whose program was killed, is waited for in place.
    let waits = claim(&marks);
    assert!(!waits.as_ref().unwrap().remaining().is_zero() && keeps(&by_turns, &waits));
    drop(waits);
    // One of another user may be a lie.
    let path = folder.path().join(format!("alyx-registrar-{}-theirs", name("a session")));
    std::fs::write(&path, format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
    if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
        let waits = claim(&marks);
        assert!(!waits.as_ref().unwrap().remaining().is_zero() && !keeps(&by_turns, &waits));
    }
}

#[tokio::test]
async fn a_mark_is_seen_among_any_number_of_other_things() {
    let (folder, marks) = public();
    let at = |end: &str| folder.path().join(format!("alyx-registrar-{}-{end}", name("a session")));
    for n in 0..2 * MAX_MARKS {
        std::os::unix::fs::symlink("/nowhere", at(&format!("{n}-link"))).unwrap();
        std::fs::create_dir(at(&format!("{n}-folder"))).unwrap();
    }
    assert!(claim(&marks).unwrap().remaining().is_zero());
    let mark = claim(&marks).unwrap();
    assert!(claim(&marks).is_err());
    drop(mark);
    // More files than are read.
    (0..=MAX_MARKS).for_each(|n| std::fs::write(at(&format!("{n}-file")), "nonsense").unwrap());
    assert!(claim(&marks).is_err());
    assert!(claim_since(&marks, Instant::now() - LONGEST).is_ok(), "delayed, and not prevented");
}

#[tokio::test]
async fn an_answered_request_leaves_nothing_for_all_users() {
    let (folder, marks) = public();
    kill(sending(claim(&marks).unwrap()).await);
    drop(claim(&marks).unwrap());
    let left = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left(), 1, "it may still arrive");
    let mut mark = claim(&marks).unwrap();
    mark.answered();
    drop(mark);
    assert_eq!(left(), 0);
}

/// A mark that was left long ago, by a program that is gone.
fn leave(path: &std::path::Path, text: &str, hours: u64) {
    std::fs::write(path, text).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

#[test]
fn the_marks_of_programs_that_are_gone_are_removed_when_their_requests_can_no_longer_arrive() {
    let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (shm, _) = public();
    let over = "another-boot 0 0\n";
    let on_its_way = Sent::now(Duration::from_secs(1_000_000)).to_text();
    let folders = [(state.path(), "sending-"), (run.path(), "sending-"), (shm.path(), "alyx-registrar-")];
    for (folder, prefix) in folders {
        leave(&folder.join(format!("{prefix}over")), over, 1);
        leave(&folder.join(format!("{prefix}silent")), "", 25);
        leave(&folder.join(format!("{prefix}silent-today")), "", 23);
        leave(&folder.join(format!("{prefix}unknown-today")), " 0 0\n", 23);
        leave(&folder.join(format!("{prefix}on-its-way")), &on_its_way, 1);
        leave(&folder.join(format!("{prefix}held")), over, 1);
        leave(&folder.join(format!("{prefix}young")), over, 0);
        leave(&folder.join("something else"), over, 1);
    }
    let held = folders.map(|(folder, prefix)| {
        let file = std::fs::File::open(folder.join(format!("{prefix}held"))).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    });
    let marks = RequestMarks::new(MarkFolders {
        state: Some(state.path().to_owned()),
        own: vec![run.path().to_owned()],
        public: vec![shm.path().to_owned()],
    });
    drop(claim(&marks).unwrap());
    for (folder, prefix) in folders {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<String> =
            entries.map(|name| name.into_string().unwrap().replace(prefix, "")).collect();
        left.sort();
        assert_eq!(
            left,
            ["held", "on-its-way", "silent-today", "something else", "unknown-today", "young"],
            "{prefix}"
        );
    }
    drop(held);
}

#[test]
fn stale_marks_are_looked_for_once_a_minute() {
    let (shm, marks) = public();
    let (places, start) = (marks.0.as_ref().unwrap(), Instant::now());
    let path = shm.path().join("alyx-registrar-stale");
    let is_left_after = |seconds| {
        leave(&path, "another-boot 0 0\n", 1);
        drop(places.claim("a session", AT_MOST, start + Duration::from_secs(seconds)).unwrap());
        path.exists()
    };
    assert_eq!(
        [0, 1, 59, 60, 61, 119, 120].map(is_left_after),
        [false, true, true, false, true, true, false]
    );
}

#[test]
fn what_a_container_with_its_own_boot_id_left_behind_is_waited_for_and_what_it_holds_is_not_stale() {
    let (shm, run) = (public(), tempfile::tempdir().unwrap());
    let folders =
        MarkFolders { state: None, own: vec![run.path().to_owned()], public: vec![shm.0.path().to_owned()] };
    let marks = RequestMarks::new(folders);
    let paths = [
        run.path().join(name("a session")),
        shm.0.path().join(format!("alyx-registrar-{}-theirs", name("a session"))),
    ];
    for path in &paths {
        // Sent just now.
        std::fs::write(path, format!("another-boot 0 {}\n", AT_MOST.as_millis())).unwrap();
        let left = claim(&marks).unwrap().remaining();
        assert!(left > AT_MOST / 2 && left <= AT_MOST, "{path:?}: {left:?}");
        let held = std::fs::File::open(path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        leave(path, "another-boot 0 0\n", 48);
        marks.0.as_ref().unwrap().swept.lock().unwrap().take();
        assert!(claim(&marks).is_err() && path.exists(), "{path:?}");
        drop(held);
        assert!(claim(&marks).unwrap().remaining().is_zero(), "{path:?}");
    }
}

#[test]
fn a_claim_that_sent_nothing_and_waits_for_others_holds_no_later_one_up() {
    let (shm, run) = (public(), tempfile::tempdir().unwrap());
    let (own, public) = (vec![run.path().to_owned()], vec![shm.0.path().to_owned()]);
    let marks = RequestMarks::new(MarkFolders { state: None, own, public });
    let theirs = shm.0.path().join(format!("alyx-registrar-{}-theirs", name("a session")));
    std::fs::write(&theirs, Sent::now(AT_MOST).to_text()).unwrap();
    assert!(!claim(&marks).unwrap().remaining().is_zero());
    std::fs::remove_file(&theirs).unwrap();
    assert!(claim(&marks).unwrap().remaining().is_zero());
}

#[test]
fn what_a_hostile_user_puts_into_the_folder_for_all_users_is_not_followed_and_does_not_hang() {
    let (folder, marks) = public();
    let at = |end: &str| folder.path().join(format!("alyx-registrar-{}-{end}", name("a session")));
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    std::fs::write(&target, Sent::now(AT_MOST).to_text()).unwrap();
    std::os::unix::fs::symlink(&target, at("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("nonsense"), [0xff; 5000]).unwrap();
    assert!(claim(&marks).unwrap().remaining().is_zero());
    // The future, and for ever.
    std::fs::write(at("lie"), format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
    let left = claim(&marks).unwrap().remaining();
    assert!(left > AT_MOST && left <= LONGEST, "{left:?}");
    assert!(claim_since(&marks, Instant::now() - LONGEST).unwrap().remaining().is_zero());
    assert!(target.exists());
}

#[test]
fn a_folder_that_is_not_sticky_or_a_link_is_not_for_all_users() {
    let (folder, _) = public();
    assert!(is_public_folder(folder.path()));
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    assert!(!is_public_folder(&link));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!is_public_folder(folder.path()));
}
