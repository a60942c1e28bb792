use crate::flag::*;
use std::fs;
use std::time::{Duration, SystemTime};

fn session_with_flag(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("create_me.flag");
    fs::write(&path, content).unwrap();
    (root, path)
}

fn load(path: &Path) -> FlagFile {
    FlagFile::load(path).unwrap().unwrap()
}

fn hold(path: &Path) -> HeldFlag {
    load(path).hold().unwrap()
}

/// Sets the modification time to one that no clock gives, so that no test depends on the clock's resolution.
fn touch(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn entries(content: &FlagContent) -> Vec<&str> {
    match content {
        FlagContent::Everything | FlagContent::Sidecar(_) => Vec::new(),
        FlagContent::Only(list) => list.entries().collect(),
    }
}

#[test]
fn an_unchanged_flag_is_removed() {
    let (root, path) = session_with_flag(b"");
    let flag = load(&path);
    assert_eq!(flag.session_folder(), root.path());
    assert_eq!(flag.hold().unwrap().remove_if_unchanged().unwrap(), Removal::Removed);
    assert!(!path.exists());
}

#[test]
fn reading_a_flag_does_not_change_it() {
    let (_root, path) = session_with_flag(b"a.b.npy");
    load(&path).content().unwrap();
    let flag = hold(&path);
    flag.content().unwrap();
    assert_eq!(flag.remove_if_unchanged().unwrap(), Removal::Removed);
}

#[test]
fn a_flag_that_was_touched_rewritten_or_replaced_stays() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("touched", |path| touch(path, 7)),
        ("rewritten", |path| fs::write(path, "alf").unwrap()),
        ("replaced", |path| {
            let new = path.with_extension("new");
            fs::write(&new, "").unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("replaced by a socket", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::net::UnixListener::bind(path).unwrap();
        }),
        ("replaced by a link", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/dev/null", path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (_root, path) = session_with_flag(b"");
        touch(&path, 3);
        let flag = hold(&path);
        change(&path);
        assert_eq!(flag.remove_if_unchanged().unwrap(), Removal::Changed, "{what}");
        assert!(fs::symlink_metadata(&path).is_ok(), "{what}: the flag must still be there");
    }
}

#[test]
fn a_flag_touched_at_the_moment_of_its_removal_is_restored_with_its_content() {
    let (_root, path) = session_with_flag(b"alf");
    let flag = hold(&path);
    assert_eq!(flag.remove_with(|| touch(&path, 7)).unwrap(), Removal::Changed);
    assert_eq!(entries(&load(&path).content().unwrap()), ["alf"]);
}

#[test]
fn a_flag_rewritten_at_the_moment_of_its_removal_is_restored_as_rewritten() {
    let (_root, path) = session_with_flag(b"");
    let flag = hold(&path);
    let removal = flag.remove_with(|| fs::write(&path, "spikes").unwrap()).unwrap();
    assert_eq!(removal, Removal::Changed);
    assert_eq!(fs::read_to_string(&path).unwrap(), "spikes");
}

#[test]
fn a_flag_that_others_removed_is_already_gone() {
    let (_root, path) = session_with_flag(b"");
    let removal = hold(&path).remove_with(|| fs::remove_file(&path).unwrap()).unwrap();
    assert_eq!(removal, Removal::AlreadyGone);
    fs::write(&path, "").unwrap();
    let flag = hold(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(flag.remove_if_unchanged().unwrap(), Removal::AlreadyGone);
}

/// By a user who may write only to the folder around it.
#[test]
fn the_flag_of_another_session_that_takes_the_name_at_the_moment_of_removal_stays() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for name in ["001", "002"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("create_me.flag"), "").unwrap();
    }
    let held = hold(&at("001/create_me.flag"));
    let swap = || {
        fs::rename(at("001"), at("kept")).unwrap();
        std::os::unix::fs::symlink("002", at("001")).unwrap();
    };
    assert_eq!(held.remove_with(swap).unwrap(), Removal::Removed);
    assert!(at("002/create_me.flag").exists() && !at("kept/create_me.flag").exists());
}

/// The session runs again where it is now.
#[test]
fn the_flag_of_a_session_that_was_moved_stays_with_it() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("001")).unwrap();
    fs::write(at("001/create_me.flag"), "").unwrap();
    let held = hold(&at("001/create_me.flag"));
    fs::rename(at("001"), at("002")).unwrap();
    assert_eq!(held.remove_if_unchanged().unwrap(), Removal::AlreadyGone);
    assert!(at("002/create_me.flag").exists());
}

#[test]
fn a_flag_is_held_once_and_released_as_soon_as_it_is_removed_or_dropped() {
    let (_root, path) = session_with_flag(b"");
    let held = hold(&path);
    let Err(FlagError::Elsewhere { holder, .. }) = load(&path).hold() else { panic!("held twice") };
    assert_eq!(holder, Some(std::process::id()));
    // As in a process that is just being started.
    let copy = held.descriptor();
    drop(held);
    let held = hold(&path);
    drop(copy);
    assert_eq!(held.remove_if_unchanged().unwrap(), Removal::Removed);
    fs::write(&path, "").unwrap();
    let _held = hold(&path);
}

#[test]
fn a_flag_that_may_only_be_read_is_held_too() {
    let (_root, path) = session_with_flag(b"alf");
    let file = File::open(&path).unwrap();
    assert_eq!(crate::flag::lock(&file), crate::flag::lock::Lock::Ours);
    assert!(matches!(load(&path).hold(), Err(FlagError::Elsewhere { .. })));
}

/// As on NFS.
#[test]
fn a_file_system_that_locks_only_what_is_open_for_writing_gets_such_a_file() {
    let (_root, path) = session_with_flag(b"alf");
    let picky = |file: &File| match rustix::fs::fcntl_getfl(file).unwrap().contains(rustix::fs::OFlags::RDWR)
    {
        true => crate::flag::lock(file),
        false => crate::flag::lock::Lock::Unavailable,
    };
    let held = load(&path).hold_with(|_, _| false, picky).unwrap();
    assert!(matches!(load(&path).hold(), Err(FlagError::Elsewhere { .. })));
    assert_eq!(entries(&held.content().unwrap()), ["alf"]);
    assert_eq!(held.remove_if_unchanged().unwrap(), Removal::Removed);
}

#[test]
fn without_locks_a_flag_is_used_as_before() {
    let (_root, path) = session_with_flag(b"alf");
    let unlocked = |path| load(path).hold_with(|_, _| false, |_| crate::flag::lock::Lock::Unavailable);
    let (one, other) = (unlocked(&path).unwrap(), unlocked(&path).unwrap());
    assert_eq!(entries(&other.content().unwrap()), ["alf"]);
    assert_eq!(one.remove_if_unchanged().unwrap(), Removal::Removed);
    assert_eq!(other.remove_if_unchanged().unwrap(), Removal::AlreadyGone);
    assert!(matches!(FlagFile::load(&path), Ok(None)));
}

/// The other program has removed the flag between opening and locking, or a person has made a new one.
#[test]
fn the_lock_is_that_of_the_file_which_has_the_name() {
    let (_root, path) = session_with_flag(b"old");
    let replaced = std::cell::Cell::new(false);
    let replacing = |file: &File| {
        if !replaced.replace(true) {
            let new = path.with_extension("new");
            fs::write(&new, "new").unwrap();
            fs::rename(new, &path).unwrap();
        }
        crate::flag::lock(file)
    };
    let held = load(&path).hold_with(|_, _| false, replacing).unwrap();
    assert_eq!(entries(&held.content().unwrap()), ["new"]);
    // It was loaded in another state, so its session runs again.
    assert_eq!(held.remove_if_unchanged().unwrap(), Removal::Changed);
    let removing = |file: &File| {
        fs::remove_file(&path).unwrap();
        crate::flag::lock(file)
    };
    assert!(matches!(load(&path).hold_with(|_, _| false, removing), Err(FlagError::Gone { .. })));
}

#[test]
fn a_missing_flag_is_not_loaded() {
    let root = tempfile::tempdir().unwrap();
    assert!(FlagFile::load(root.path().join("create_me.flag")).unwrap().is_none());
    fs::write(root.path().join("file"), "").unwrap();
    assert!(FlagFile::load(root.path().join("file/create_me.flag")).unwrap().is_none());
}

#[test]
fn a_folder_or_link_with_the_name_of_a_flag_is_refused_with_the_fix() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("create_me.flag");
    fs::create_dir(&folder).unwrap();
    let message = FlagFile::load(&folder).unwrap_err().to_string();
    assert!(message.contains("is a folder") && message.contains("remove it"), "{message}");

    let link = root.path().join("link.flag");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let message = FlagFile::load(&link).unwrap_err().to_string();
    assert!(message.contains("a symbolic link"), "{message}");
}

#[test]
fn an_empty_or_blank_flag_asks_for_everything() {
    for blank in [&b""[..], b"\n", b" \t\r\n\r\n", "\u{feff}".as_bytes(), b"./\n"] {
        let (_root, path) = session_with_flag(blank);
        assert_eq!(load(&path).content().unwrap(), FlagContent::Everything, "{blank:?}");
    }
}

#[test]
fn a_list_loses_its_blank_lines_and_repeats_and_keeps_its_order() {
    let content =
        FlagContent::parse("\u{feff}wheel\r\n\r\n ./alf/a.b.npy \r\nwheel\r\nalf\\a.b.npy\r\n".as_bytes());
    assert_eq!(entries(&content.unwrap()), ["wheel", "alf/a.b.npy"]);
}

#[test]
fn an_entry_selects_by_relative_path_by_folder_and_by_part_of_the_file_name() {
    let content = FlagContent::parse(b"alf/probe00\nraw/x.y.bin\nwheel").unwrap();
    for selected in ["alf/probe00/spikes.times.npy", "raw/x.y.bin", "a/b/_ibl_wheel.position.npy"] {
        assert!(content.selects(selected), "{selected}");
    }
    for left_out in ["alf/probe001/spikes.times.npy", "x.y.bin", "wheels/trials.table.pqt", "b/raw/x.y.bin"] {
        assert!(!content.selects(left_out), "{left_out}");
    }
}

#[test]
fn an_entry_that_selects_nothing_is_reported() {
    let content = FlagContent::parse(b"wheel\nspikse").unwrap();
    assert_eq!(content.without_match(["_ibl_wheel.position.npy"]), ["spikse"]);
}

/// Comparing each line with each file would take minutes here, and would block the daemon.
#[test]
fn a_long_list_is_searched_by_index() {
    let file = |n: usize| format!("raw_video_data/frames{}/_iblrig_leftCamera.frame{n}.png", n % 7);
    let list: String = (0..20_000).map(|n| format!("{}\nCamera.frame{}.\n", file(n), n + 20_000)).collect();
    let content = FlagContent::parse(list.as_bytes()).unwrap();
    assert!((0..40_000).all(|n| content.selects(&file(n))));
    assert!(!(40_000..60_000).any(|n| content.selects(&file(n))));
    assert_eq!(content.without_match((1..40_000).map(file)), [file(0)]);
}

#[test]
fn an_entry_is_a_part_of_a_name_in_letters_of_any_script() {
    let content = FlagContent::parse("üb\né".as_bytes()).unwrap();
    assert!(content.selects("alf/süß.übung.npy") && content.selects("é"));
    assert!(!content.selects("alf/u.b.npy") && !content.selects("üb2/a.b.npy"));
}

#[test]
fn content_that_is_not_utf8_names_its_line() {
    let (_root, path) = session_with_flag(b"alf\n\nm\xfcller.npy\n");
    let message = load(&path).content().unwrap_err().to_string();
    assert!(message.contains("line 3") && message.contains("UTF-8"), "{message}");
}

#[test]
fn a_flag_that_is_too_long_is_refused_without_reading_all_of_it() {
    let (_root, path) = session_with_flag(b"");
    File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(load(&path).content(), Err(FlagError::TooLong { size, .. }) if size == 1 << 40));
}

#[test]
fn a_flag_that_cannot_be_put_back_completely_is_not_put_back_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (held, name) = (File::open(folder.path()).unwrap(), Path::new("create_me.flag"));
    let path = folder.path().join(name);
    let full = |_: &mut File| Err(io::ErrorKind::StorageFull.into());
    let error = create_complete(held.as_fd(), name, 0o600, full).unwrap_err();
    assert_eq!((error.kind(), path.exists()), (io::ErrorKind::StorageFull, false));
    for create in [create_with, |folder: BorrowedFd<'_>, path: &Path, content: &[u8], mode| {
        create_complete(folder, path, mode, |file| file.write_all(content))
    }] {
        assert!(create(held.as_fd(), name, b"a.npy\n", 0o100640).unwrap());
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), about.mode() & 0o777), (b"a.npy\n".to_vec(), 0o640));
        // A new one stays.
        assert!(!create(held.as_fd(), name, b"b.npy\n", 0o640).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"a.npy\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::remove_file(&path).unwrap();
    }
}
