//! The scan on real folders: what it finds, what it skips, and which problems it reports.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_registrar::daemon::tree::layout::{DEFAULT_MAX_DEPTH, Layout, Place};
use alyx_registrar::daemon::tree::misplaced::Advice;
use alyx_registrar::daemon::tree::scan::{LinkRefusal, Scan, ScanProblem, Scanner, scan};

/// A data root that is removed with the test.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("root").join(below)
    }
    fn folder(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).unwrap();
        path
    }
    fn flag(&self, below: &str) -> PathBuf {
        let flag = self.folder(below).join("create_me.flag");
        fs::write(&flag, "").unwrap();
        flag
    }
    /// A folder outside the root, with a flag at `below`.
    fn outside(&self, below: &str) -> PathBuf {
        let session = self.folder.path().join("outside").join(below);
        fs::create_dir_all(&session).unwrap();
        fs::write(session.join("create_me.flag"), "").unwrap();
        self.folder.path().join("outside")
    }
    fn layout(&self) -> Layout {
        Layout { root: self.path(""), flags: vec!["create_me.flag".into()], max_depth: DEFAULT_MAX_DEPTH }
    }
    fn scan(&self) -> Scan {
        scan(self.layout(), &|| false)
    }
}

fn flags(scan: &Scan) -> Vec<&Path> {
    let mut flags: Vec<_> = scan.flags.iter().map(|flag| flag.path.as_path()).collect();
    flags.sort();
    flags
}

fn refusals(scan: &Scan) -> Vec<(&Path, &LinkRefusal)> {
    let refused = scan.problems.iter().map(|problem| match problem {
        ScanProblem::LinkRefused { link, why } => (link.as_path(), why),
        other => panic!("{other}"),
    });
    refused.collect()
}

#[test]
fn flags_are_found_with_labs_and_without() {
    let root = Root::new();
    let lab = root.flag("lab/Subjects/KS014/2024-05-01/001");
    let bare = root.flag("KS015/2024-05-02/12");
    root.folder("KS015/2024-05-02/13");
    let scan = root.scan();
    assert_eq!(flags(&scan), [bare, lab]);
    assert_eq!((scan.sessions, scan.stopped), (3, false));
    assert!(scan.problems.is_empty());
}

#[test]
fn spaces_and_letters_of_any_script_in_names_are_found() {
    let root = Root::new();
    let mut expected = vec![root.flag("my mouse/2024-05-01/001"), root.flag("Mäuse 鼠/2024-05-01/001")];
    expected.sort();
    assert_eq!(flags(&root.scan()), expected);
}

#[test]
fn a_name_that_is_not_utf8_is_found_and_refused_as_a_session_with_a_clear_message() {
    let root = Root::new();
    let subject = root.path("").join(OsStr::from_bytes(b"m\xfcller"));
    let session = subject.join("2024-05-01/001");
    fs::create_dir_all(&session).unwrap();
    fs::write(session.join("create_me.flag"), "").unwrap();
    fs::create_dir_all(root.path("KS014/2024-05-01").join(OsStr::from_bytes(b"\xff"))).unwrap();

    let scan = root.scan();
    assert_eq!(flags(&scan), [session.join("create_me.flag")]);
    let refused = SessionPath::parse(scan.flags[0].session_folder()).unwrap_err();
    assert!(matches!(&refused, SessionPathError::NotUtf8(folder) if *folder == session), "{refused}");
    assert!(scan.problems.is_empty());
}

#[test]
fn nothing_below_a_session_is_scanned() {
    let root = Root::new();
    root.flag("KS014/2024-05-01/001");
    root.flag("KS014/2024-05-01/001/raw_data/KS014/2024-05-01/002");
    let mut entered = Vec::new();
    let mut note = |folder: &Path, place: Place, _inode: u64| entered.push((folder.to_owned(), place));
    Scanner::new(root.layout()).scan(&mut note, &|| false);
    entered.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        entered,
        [
            (root.path(""), Place::Above(0)),
            (root.path("KS014"), Place::Above(1)),
            (root.path("KS014/2024-05-01"), Place::Date),
            (root.path("KS014/2024-05-01/001"), Place::Session),
        ]
    );
}

#[test]
fn hidden_and_file_system_folders_are_skipped() {
    let root = Root::new();
    for hidden in [".trash", "lost+found", "$RECYCLE.BIN", "@eaDir"] {
        root.flag(&format!("{hidden}/2024-05-01/001"));
    }
    assert!(root.scan().flags.is_empty());
}

#[test]
fn a_misplaced_flag_is_reported_with_the_folder_where_it_belongs() {
    type Advise = fn(PathBuf) -> Advice;
    let cases: [(&str, &str, Advise); 13] = [
        ("", "", Advice::IntoSessionBelow),
        ("lab", "lab", Advice::IntoSessionBelow),
        ("lab/Subjects", "lab/Subjects", Advice::IntoSessionBelow),
        ("KS015", "KS015", Advice::IntoSessionBelow),
        // The purpose of a subject's flag is unclear; most likely it is for the last session.
        ("KS014", "KS014/2024-05-01/002", Advice::IntoSession),
        ("KS014/2024-05-01", "KS014/2024-05-01/002", Advice::IntoSession),
        ("KS014/2024-05-02", "KS014/2024-05-02", Advice::NoSessionYet),
        // Only existing folders are named.
        ("KS016", "KS016/2024-05-09/0001", Advice::RenameSessionFirst),
        ("KS016/2024-05-09", "KS016/2024-05-09/0001", Advice::RenameSessionFirst),
        ("KS014/20240501/001", "KS014/20240501", Advice::RenameDate),
        ("KS014/2024-02-30", "KS014/2024-02-30", Advice::RenameDate),
        ("KS014/2024-02-30/001", "KS014/2024-02-30", Advice::RenameDate),
        ("KS014/2024-05-01/0001", "KS014/2024-05-01/0001", Advice::RenameSession),
    ];
    for (place, belongs, advice) in cases {
        let root = Root::new();
        for session in ["001", "002"] {
            root.folder(&format!("KS014/2024-05-01/{session}"));
        }
        root.folder("KS016/2024-05-09/0001");
        let misplaced = root.flag(place);
        let scan = root.scan();
        assert!(scan.flags.is_empty(), "{place}");
        let [ScanProblem::Misplaced { flag, advice: found }] = scan.problems.as_slice() else {
            panic!("{place}: {:?}", scan.problems);
        };
        assert_eq!((flag, found), (&misplaced, &advice(root.path(belongs))), "{place}");
        assert!(scan.problems[0].to_string().contains(belongs), "{place}");
    }
}

/// The flags inside sessions that a scan on this day reports, each with its session.
fn too_deep(scanner: &mut Scanner, today: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut scan = scanner.scan(&mut |_, _, _| (), &|| false);
    let found = scanner.find_too_deep(scan.unflagged, today.parse().unwrap(), &|| false);
    scan.problems.extend(found);
    let misplaced = scan.problems.into_iter().map(|problem| match problem {
        ScanProblem::Misplaced { flag, advice: Advice::IntoThisSession(session) } => (flag, session),
        other => panic!("{other}"),
    });
    misplaced.collect()
}

#[test]
fn a_flag_inside_a_session_folder_is_reported_with_the_session_until_it_is_moved() {
    for collection in ["alf", "alf/probe00", "raw video"] {
        let root = Root::new();
        root.folder("KS014/2024-05-01/001/alf/probe00");
        let flag = root.flag(&format!("KS014/2024-05-01/001/{collection}"));
        let expected = [(flag.clone(), root.path("KS014/2024-05-01/001"))];
        let mut scanner = Scanner::new(root.layout());
        for _ in 0..3 {
            assert_eq!(too_deep(&mut scanner, "2024-05-02"), expected, "{collection}");
        }
        fs::rename(&flag, root.path("KS014/2024-05-01/001/create_me.flag")).unwrap();
        assert!(too_deep(&mut scanner, "2024-05-02").is_empty(), "{collection}");
    }
}

#[test]
fn flags_that_are_deeper_hidden_linked_or_not_files_are_not_reported() {
    let root = Root::new();
    for below in ["alf/probe00/#2024-05-01#", ".hidden"] {
        root.flag(&format!("KS014/2024-05-01/001/{below}"));
    }
    root.folder("KS014/2024-05-01/001/raw/create_me.flag");
    symlink(root.outside("real/2024-05-01/001"), root.path("KS014/2024-05-01/001/linked")).unwrap();
    // A session with its own flag is registered anyway.
    root.flag("KS014/2024-05-01/002/alf");
    root.flag("KS014/2024-05-01/002");
    assert!(too_deep(&mut Scanner::new(root.layout()), "2024-05-02").is_empty());
}

#[test]
fn old_sessions_are_checked_in_rotation() {
    let root = Root::new();
    for number in 1..=125 {
        root.folder(&format!("KS014/2020-01-01/{number:03}/alf"));
    }
    let flags = [root.flag("KS014/2020-01-01/001/alf"), root.flag("KS014/2020-01-01/125/alf")];
    let mut scanner = Scanner::new(root.layout());
    let counts: Vec<usize> = (0..3).map(|_| too_deep(&mut scanner, "2024-05-02").len()).collect();
    // A flag that was found stays among the problems after its turn.
    assert_eq!(counts, [1, 1, 2]);
    assert!(too_deep(&mut scanner, "2024-05-02").iter().all(|(flag, _)| flags.contains(flag)));
}

#[test]
fn an_empty_root_is_a_problem_because_its_disk_may_not_be_mounted() {
    let root = Root::new();
    root.folder("");
    let scan = root.scan();
    assert!(matches!(&scan.problems[..], [ScanProblem::EmptyRoot(_)]), "{:?}", scan.problems);
    root.folder("KS014");
    assert!(root.scan().problems.is_empty());
}

#[test]
fn a_folder_with_a_flags_name_is_a_problem_and_the_other_flags_are_found() {
    let root = Root::new();
    root.folder("KS014/2024-05-01/001/create_me.flag");
    let good = root.flag("KS014/2024-05-01/002");
    let scan = root.scan();
    assert_eq!(flags(&scan), [good]);
    assert!(scan.problems[0].to_string().contains("is a folder"), "{}", scan.problems[0]);
}

#[test]
fn a_linked_subject_folder_is_followed_under_the_name_of_the_link() {
    let root = Root::new();
    let outside = root.outside("real/2024-05-01/001");
    root.folder("");
    symlink(outside.join("real"), root.path("KS014")).unwrap();
    let scan = root.scan();
    assert_eq!(flags(&scan), [root.path("KS014/2024-05-01/001/create_me.flag")]);
    assert!(scan.problems.is_empty());
}

#[test]
fn of_two_links_to_one_folder_the_first_by_name_is_followed() {
    let root = Root::new();
    let outside = root.outside("real/2024-05-01/001");
    root.folder("");
    for link in ["z", "a", "m"] {
        symlink(outside.join("real"), root.path(link)).unwrap();
    }
    let scan = root.scan();
    assert_eq!(flags(&scan), [root.path("a/2024-05-01/001/create_me.flag")]);
    let why = LinkRefusal::FollowedElsewhere(root.path("a"));
    assert_eq!(refusals(&scan), [(root.path("m").as_path(), &why), (root.path("z").as_path(), &why)]);
}

#[test]
fn overlapping_links_find_each_session_once() {
    let root = Root::new();
    let outside = root.outside("lab/real/2024-05-01/001");
    root.folder("");
    symlink(&outside, root.path("a")).unwrap();
    symlink(outside.join("lab/real"), root.path("b")).unwrap();
    assert_eq!(flags(&root.scan()), [root.path("a/lab/real/2024-05-01/001/create_me.flag")]);
}

#[test]
fn circular_links_are_refused() {
    let root = Root::new();
    let flag = root.flag("KS014/2024-05-01/001");
    let outside = root.outside("real/2024-05-02/001");
    symlink(root.path(""), root.path("KS014/to the root")).unwrap();
    symlink("itself", root.path("itself")).unwrap();
    symlink(&outside, root.path("away")).unwrap();
    symlink(&outside, outside.join("real/back")).unwrap();
    let scan = root.scan();
    assert_eq!(flags(&scan), [flag, root.path("away/real/2024-05-02/001/create_me.flag")]);
    let refused = refusals(&scan);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|(_, why)| matches!(why, LinkRefusal::Circle(_))), "{refused:?}");
}

#[test]
fn a_second_name_for_a_folder_inside_the_root_is_refused() {
    let root = Root::new();
    let flag = root.flag("KS014/2024-05-01/001");
    symlink(root.path("KS014"), root.path("alias")).unwrap();
    let scan = root.scan();
    assert_eq!(flags(&scan), [flag]);
    assert!(matches!(refusals(&scan)[..], [(_, LinkRefusal::InsideRoot(_))]));
}

#[test]
fn dangling_links_and_links_to_files_are_ignored() {
    let root = Root::new();
    symlink("/nowhere", root.folder("KS014").join("gone")).unwrap();
    symlink("/dev/null", root.path("KS014/file")).unwrap();
    let scan = root.scan();
    assert!(scan.flags.is_empty() && scan.problems.is_empty(), "{:?}", scan.problems);
}

#[test]
fn a_root_that_is_itself_a_link_is_scanned_under_its_own_name() {
    let root = Root::new();
    root.flag("KS014/2024-05-01/001");
    let link = root.folder.path().join("link");
    symlink(root.path(""), &link).unwrap();
    let scan = scan(Layout { root: link.clone(), ..root.layout() }, &|| false);
    assert_eq!(flags(&scan), [link.join("KS014/2024-05-01/001/create_me.flag")]);
}

#[test]
fn a_missing_root_is_a_problem_and_not_an_empty_answer() {
    let root = Root::new();
    let scan = root.scan();
    assert!(matches!(scan.problems[..], [ScanProblem::Unreadable { .. }]));
}

#[test]
fn a_scan_stops_on_request() {
    let root = Root::new();
    for number in 1..100 {
        root.flag(&format!("KS014/2024-05-01/{number:03}"));
    }
    let asked = AtomicUsize::new(0);
    let scan = scan(root.layout(), &|| asked.fetch_add(1, Ordering::Relaxed) == 10);
    assert!(scan.stopped);
    assert!(scan.flags.len() < 10);
}

#[test]
fn one_part_of_the_root_can_be_scanned_alone() {
    let root = Root::new();
    let one = root.flag("KS014/2024-05-01/001");
    root.flag("KS015/2024-05-01/001");
    let mut scanner = Scanner::new(root.layout());
    for part in ["KS014", "KS014/2024-05-01", "KS014/2024-05-01/001"] {
        assert_eq!(flags(&scanner.scan_below(&root.path(part), &mut |_, _, _| (), &|| false)), [&*one]);
    }
    for none in ["gone", "KS014/2024-05-01/001/raw", ".hidden"] {
        let scan = scanner.scan_below(&root.path(none), &mut |_, _, _| (), &|| false);
        assert!(scan.flags.is_empty() && scan.problems.is_empty(), "{none}");
    }
}

/// `cargo test --release --test it scan_flags:: -- --ignored --nocapture`
#[test]
#[ignore = "makes 12,000 sessions and prints how long a warm scan takes"]
fn a_scan_of_12_000_sessions_is_quick() {
    let root = Root::new();
    for subject in 0..100 {
        for day in 0..60 {
            for number in 1..=2 {
                let date = format!("2024-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
                let session = root.folder(&format!("lab/Subjects/S{subject:03}/{date}/{number:03}"));
                for collection in ["alf", "raw_behavior_data", "raw_video_data"] {
                    fs::create_dir(session.join(collection)).unwrap();
                    for file in 0..12 {
                        fs::write(session.join(collection).join(format!("_x_a{file}.b.npy")), "").unwrap();
                    }
                }
            }
        }
    }
    for _ in 0..6 {
        let began = std::time::Instant::now();
        let scan = root.scan();
        println!("{} sessions, {} folders in {:?}", scan.sessions, scan.folders, began.elapsed());
        assert_eq!(scan.sessions, 12_000);
    }
}
