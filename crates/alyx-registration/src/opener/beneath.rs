//! Opening beneath a folder: no link, no `..` and no rename leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::opener::file_handle::FileHandle;

/// How often a look-up is repeated that the kernel gave up because something was renamed meanwhile.
const MAX_TRIES: u32 = 16;

/// `openat2` with [`RESOLVE`]; the tests replace it.
pub(crate) type OpenAt2 = dyn Fn(BorrowedFd<'_>, &Path, OFlags) -> rustix::io::Result<OwnedFd>;

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The system call itself.
pub(crate) fn openat2(folder: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(folder, path, flags, Mode::empty(), RESOLVE)
}

/// Holds the file at a path without links, which lies in `folder`, a path without links too.
///
/// A mount below the folder is entered.
///
/// # Errors
/// `ELOOP` or `ENOTDIR` if a part of the path is a link by now, and those of opening.
pub(crate) fn hold(folder: &Path, path: &Path, openat2: &OpenAt2) -> io::Result<FileHandle> {
    let outside = || io::Error::from(Errno::XDEV);
    let inner = path.strip_prefix(folder).map_err(|_| outside())?;
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let from_top = folder.strip_prefix("/").map_err(|_| outside())?;
    let folder = step(top, from_top, OFlags::DIRECTORY, openat2)?;
    FileHandle::holding(File::from(step(folder, inner, OFlags::empty(), openat2)?))
}

/// Holds the folder at a relative path below a held one, to which no link leads.
///
/// # Errors
/// As [`hold`].
pub(crate) fn hold_folder(folder: &File, path: &Path) -> io::Result<File> {
    Ok(File::from(step(folder.try_clone()?.into(), path, OFlags::DIRECTORY, &openat2)?))
}

/// Holds what is at a relative path below a folder.
fn step(folder: OwnedFd, path: &Path, flags: OFlags, openat2: &OpenAt2) -> rustix::io::Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return Ok(folder);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    for _ in 0..MAX_TRIES {
        match openat2(folder.as_fd(), path, flags) {
            Err(Errno::AGAIN) => {}
            // Linux before 5.6, or a filter of system calls that does not know this one.
            Err(Errno::NOSYS | Errno::PERM) => break,
            held => return held,
        }
    }
    by_parts(folder, path, flags)
}

/// The same without `openat2`: one folder after the other, none of them a link.
fn by_parts(folder: OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut held = folder;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV) };
        let last = if parts.peek().is_none() { flags } else { OFlags::DIRECTORY };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | last;
        held = rustix::fs::openat(&held, name, flags, Mode::empty())?;
    }
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode);
    if kind == rustix::fs::FileType::Symlink { Err(Errno::LOOP) } else { Ok(held) }
}

/// The ways of opening that the tests compare: with the system call, and without it.
#[cfg(test)]
pub(crate) fn ways() -> Vec<(&'static str, Box<OpenAt2>)> {
    vec![
        ("openat2", Box::new(openat2)),
        ("an old kernel", Box::new(|_, _, _| Err(Errno::NOSYS))),
        ("a filter", Box::new(|_, _, _| Err(Errno::PERM))),
        ("always busy", Box::new(|_, _, _| Err(Errno::AGAIN))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_path_without_links_is_held_and_one_with_a_link_anywhere_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "abc").unwrap();
        std::fs::write(root.join("../outside"), "secret").unwrap();
        symlink(root.join("a"), root.join("to-a")).unwrap();
        symlink("b/file", root.join("a/to-file")).unwrap();
        symlink("../..", root.join("a/up")).unwrap();
        for (way, openat2) in ways() {
            let at = |path: &str| hold(&root, &root.join(path), &openat2);
            assert_eq!(at("a/b/file").unwrap().metadata.size(), 3, "{way}");
            assert!(at("a/b").unwrap().metadata.is_dir(), "{way}");
            for path in
                ["to-a/b/file", "a/to-file", "a/up/outside", "a/../../outside", "../outside", "a/none"]
            {
                assert!(at(path).is_err(), "{way}: {path}");
            }
            assert!(hold(&root, &root.with_file_name("outside"), &openat2).is_err(), "{way}");
            // A folder that has become a link.
            assert!(hold(&root.join("to-a"), &root.join("to-a/b/file"), &openat2).is_err(), "{way}");
        }
    }

    #[test]
    fn a_look_up_that_the_kernel_gave_up_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::write(root.join("file"), "abc").unwrap();
        let calls = Cell::new(0);
        let (held, calls) = {
            let counter = std::rc::Rc::new(calls);
            let seen = counter.clone();
            let busy = move |folder: BorrowedFd<'_>, path: &Path, flags| {
                seen.set(seen.get() + 1);
                if seen.get() % 3 == 0 { openat2(folder, path, flags) } else { Err(Errno::AGAIN) }
            };
            (hold(&root, &root.join("file"), &busy), counter.get())
        };
        assert!(held.unwrap().metadata.is_file());
        assert_eq!(calls, 6, "three for the folder, three for the file");
    }
}
