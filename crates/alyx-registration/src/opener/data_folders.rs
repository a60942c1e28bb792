//! The data folders: where files are opened as data.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use walkdir::WalkDir;

use crate::opener::beneath::{OpenAt2, hold, openat2};
use crate::opener::file_handle::FileHandle;
use crate::opener::private_paths::PrivatePaths;
use crate::opener::real_path::real_path;
use crate::opener::refusal::{Refusal, allow_for};
use alf::{DatasetName, SessionPath};

/// How often a path is resolved again that changes while it is opened.
const MAX_TRIES: u32 = 3;
/// How many folders above a file that is in no session its assumed data root is.
const ABOVE_A_FILE: usize = 4;

/// Where files are opened as data. A file behind a link counts as lying where the link leads.
///
/// A file is opened if it lies
///
/// - below one of the [`roots`](Self::roots), which may be links themselves;
/// - below the target of a lab's, subject's, date's or session's folder that is a link;
/// - or below a folder of [`allow`](Self::allow).
///
/// A path below none of the roots has an *assumed* root: for a session the folder two levels above its subject, which is
/// the lab's folder in `<lab>/Subjects/<subject>`; for any other file the folder four levels above. It is never `/`.
///
/// [`private`](Self::private) files, and the views of the kernel in `/proc` and `/sys`, are never opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataFolders {
    /// The data roots.
    pub roots: Vec<PathBuf>,
    /// More folders into which links may lead.
    pub allow: Vec<PathBuf>,
    /// The program's own files.
    pub private: PrivatePaths,
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The rule forbids it.
    Refused(Refusal),
    /// It is a folder, a device, a FIFO or a socket.
    NotAFile,
    /// The path leads elsewhere each time it is looked at.
    Changing,
    /// The system refused.
    Io(io::Error),
}

impl DataFolders {
    /// Opens the file to which a path leads, for reading. Blocks.
    ///
    /// Nothing is opened that is not a regular file in one of the folders, whatever replaces it or a folder above it
    /// meanwhile.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, path: &Path) -> Result<(File, Metadata), OpenError> {
        self.open_with(path, &openat2, &|| ())
    }

    /// `before_opening` is called between look and open.
    fn open_with(
        &self,
        path: &Path,
        openat2: &OpenAt2,
        before_opening: &dyn Fn(),
    ) -> Result<(File, Metadata), OpenError> {
        for _ in 0..MAX_TRIES {
            // Held until the end, so that its inode number cannot pass to another file.
            let seen = FileHandle::of(path).map_err(OpenError::Io)?;
            if !seen.metadata.is_file() {
                return Err(OpenError::NotAFile);
            }
            if self.private.find_open(&seen.file, &seen.metadata).is_some() {
                return Err(OpenError::Refused(Refusal::Private));
            }
            let target = std::fs::canonicalize(path).map_err(OpenError::Io)?;
            let folder = self.folder_of(path, &target).map_err(OpenError::Refused)?;
            before_opening();
            let held = match hold(&folder, &target, openat2) {
                Ok(held) if is_same(&held.metadata, &seen.metadata) => held,
                Ok(_) => continue,
                Err(error) if has_moved(&error) => continue,
                Err(error) => return Err(OpenError::Io(error)),
            };
            if rustix::fs::fstatfs(&held.file).is_ok_and(|found| is_view_of_kernel(found.f_type as u32)) {
                return Err(OpenError::Refused(Refusal::System));
            }
            return Ok((held.open(&target).map_err(OpenError::Io)?, held.metadata));
        }
        Err(OpenError::Changing)
    }

    /// Why the file to which a path leads would not be opened, without opening it. Blocks.
    pub fn refusal(&self, path: &Path, metadata: &Metadata) -> Option<Refusal> {
        if self.private.find_by_path(path, metadata).is_some() {
            return Some(Refusal::Private);
        }
        let target = std::fs::canonicalize(path).ok()?;
        self.folder_of(path, &target).err()
    }

    /// The links named like datasets in a session that would not be followed. Blocks; `stop` is polled before each entry.
    pub fn refused_links(&self, session: &Path, stop: &dyn Fn() -> bool) -> Vec<(PathBuf, Refusal)> {
        let entries = WalkDir::new(session).into_iter().take_while(|_| !stop()).filter_map(Result::ok);
        let links = entries.filter(|entry| {
            entry.path_is_symlink()
                && entry.file_name().to_str().is_some_and(|name| DatasetName::parse(name).is_ok())
        });
        let refused = links.filter_map(|link| {
            let metadata = std::fs::metadata(link.path()).ok().filter(Metadata::is_file)?;
            Some((link.path().to_owned(), self.refusal(link.path(), &metadata)?))
        });
        refused.collect()
    }

    /// The folder that allows a target, without links.
    fn folder_of(&self, path: &Path, target: &Path) -> Result<PathBuf, Refusal> {
        if target.starts_with("/proc") || target.starts_with("/sys") {
            return Err(Refusal::System);
        }
        let root = self.roots.iter().find(|root| path.starts_with(root));
        let root = root.cloned().or_else(|| assumed_root(path));
        let others = self.roots.iter().filter(|other| Some(*other) != root.as_ref());
        let real = |folder: &PathBuf| std::fs::canonicalize(folder).ok();
        // They may be on a drive that does not answer.
        let real_in_time = |folder: &PathBuf| real_path(folder);
        let is_above = |folder: &PathBuf| target.starts_with(folder);
        let own = root.iter().filter_map(real).chain(root.iter().flat_map(|root| followed(path, root)));
        if let Some(folder) =
            own.chain(self.allow.iter().chain(others).filter_map(real_in_time)).find(is_above)
        {
            return Ok(folder);
        }
        let roots: Vec<PathBuf> = root.iter().chain(&self.roots).filter_map(real_in_time).collect();
        let more = allow_for(target, &roots, &mount_of(target));
        let allow = more.map(|more| self.allow.iter().cloned().chain([more]).collect()).unwrap_or_default();
        Err(Refusal::Outside { target: target.to_owned(), allow })
    }
}

/// The data root of a path that is below none of the configured ones. Pure.
fn assumed_root(path: &Path) -> Option<PathBuf> {
    let levels = |folder: &Path, levels: usize| {
        let above = folder.ancestors().skip(1).take(levels);
        above.filter(|folder| folder.parent().is_some()).last().map(Path::to_owned)
    };
    match SessionPath::containing(path).map(|(session, _)| session) {
        Ok(session) => levels(session.folder().ancestors().nth(2)?, 2),
        Err(_) => levels(path, ABOVE_A_FILE),
    }
}

/// The targets of the links on the way from a data root to a session. A target above the root allows nothing: with it,
/// everything would be below the link.
fn followed(path: &Path, root: &Path) -> Vec<PathBuf> {
    let Ok((session, _)) = SessionPath::containing(path) else { return Vec::new() };
    let Ok(real_root) = std::fs::canonicalize(root) else { return Vec::new() };
    let on_the_way =
        session.folder().ancestors().take_while(|folder| *folder != root && folder.starts_with(root));
    let links = on_the_way.filter(|folder| folder.is_symlink());
    links
        .filter_map(|link| std::fs::canonicalize(link).ok())
        .filter(|target| !real_root.starts_with(target))
        .collect()
}

/// Where the file system of a path is mounted; the path itself has no links.
fn mount_of(path: &Path) -> PathBuf {
    let device = |folder: &Path| std::fs::metadata(folder).ok().map(|metadata| metadata.dev());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let own = device(folder);
    let inside = folder.ancestors().take_while(|above| device(above) == own);
    inside.last().unwrap_or(folder).to_owned()
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether opening failed because the path is another one by now.
fn has_moved(error: &io::Error) -> bool {
    let moved = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV];
    moved.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether a file system shows the kernel's own state. Numbers from `linux/magic.h`.
fn is_view_of_kernel(magic: u32) -> bool {
    matches!(
        magic,
        0x9FA0 // proc
        | 0x6265_6572 // sysfs
        | 0x6462_6720 // debugfs
        | 0x7472_6163 // tracefs
        | 0x7363_6673 // securityfs
        | 0x6265_6570 // configfs
        | 0x0027_E0EB // cgroup
        | 0x6367_7270 // cgroup2
        | 0xCAFE_4A11 // bpf
        | 0xDE5E_81E4 // efivarfs
        | 0x6165_676C // pstore
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opener::beneath::ways;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    const SESSION: &str = "lab/Subjects/KS014/2024-05-01/001";

    /// A data root with a session, and a disk beside it.
    struct World {
        _folder: tempfile::TempDir,
        top: PathBuf,
        data: DataFolders,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let top = std::fs::canonicalize(folder.path()).unwrap();
            std::fs::create_dir_all(top.join("root").join(SESSION).join("alf")).unwrap();
            std::fs::create_dir_all(top.join("disk/deep")).unwrap();
            let data = DataFolders { roots: vec![top.join("root")], ..DataFolders::default() };
            let world = Self { _folder: folder, top, data };
            world.write("disk/deep/x", "secret");
            world
        }

        fn at(&self, path: &str) -> PathBuf {
            self.top.join(path)
        }

        fn write(&self, path: &str, text: &str) -> PathBuf {
            std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            std::fs::write(self.at(path), text).unwrap();
            self.at(path)
        }

        fn in_session(&self, name: &str) -> PathBuf {
            self.at("root").join(SESSION).join(name)
        }

        /// A link in the session.
        fn link(&self, name: &str, target: impl AsRef<Path>) -> PathBuf {
            symlink(target, self.in_session(name)).unwrap();
            self.in_session(name)
        }
    }

    /// The content of a file, or why it is not opened: the same in every way of opening, and announced by `refusal`.
    fn read(data: &DataFolders, path: &Path) -> Result<String, String> {
        let mut results = ways().into_iter().map(|(way, openat2)| {
            let text = data.open_with(path, &openat2, &|| ()).map(|(mut file, _)| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            });
            (way, text.map_err(|error| format!("{error:?}")))
        });
        let (_, first) = results.next().unwrap();
        for (way, result) in results {
            assert_eq!(result, first, "{way}");
        }
        if let Ok(metadata) = std::fs::metadata(path).map_err(drop)
            && metadata.is_file()
        {
            assert_eq!(data.refusal(path, &metadata).is_some(), first.is_err(), "{path:?}: {first:?}");
        }
        first
    }

    fn is_outside(result: &Result<String, String>) -> bool {
        result.as_ref().is_err_and(|error| error.contains("Outside"))
    }

    #[test]
    fn links_that_stay_in_the_data_root_are_followed() {
        let world = World::new();
        world.write("root/archive/x", "abc");
        let annexed = world.write("root/.git/annex/objects/Q7/MD5E-s3--abc.npy", "abc");
        for path in [
            world.write(&format!("root/{SESSION}/plain"), "abc"),
            world.link("absolute", world.at("root/archive/x")),
            world.link("relative", "../../../../../archive/x"),
            world.link("annex", "../../../../../.git/annex/objects/Q7/MD5E-s3--abc.npy"),
            world.link("annex-absolute", annexed),
            world.link("chain", "absolute"),
            world.link(
                "through-proc",
                Path::new("/proc/self/root").join(world.at("root/archive/x").strip_prefix("/").unwrap()),
            ),
        ] {
            assert_eq!(read(&world.data, &path).as_deref(), Ok("abc"), "{path:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_data_root_is_refused_however_it_is_written_and_allowed_by_its_folder() {
        let mut world = World::new();
        let target = world.at("disk/deep/x");
        let below_proc = Path::new("/proc/self/root").join(target.strip_prefix("/").unwrap());
        symlink(world.at("disk"), world.at("root/to-disk")).unwrap();
        let links = [
            world.link("absolute", &target),
            world.link("relative", "../../../../../../disk/deep/x"),
            world.link("chain", "absolute"),
            world.link("through-folder", "../../../../../to-disk/deep/x"),
            world.link("through-proc", below_proc),
            world.link("up-and-down", world.at("root/lab/../../disk/deep/x")),
        ];
        for link in &links {
            let refused = read(&world.data, link);
            assert!(is_outside(&refused), "{link:?}: {refused:?}");
        }
        let metadata = std::fs::metadata(&links[0]).unwrap();
        let said = world.data.refusal(&links[0], &metadata).unwrap().to_string();
        assert!(said.contains(&format!("links.allow: [{}]", world.at("disk").display())), "{said}");
        // A folder whose name only begins like an allowed one is another folder.
        world.data.allow = vec![world.at("dis"), world.at("disk/deep/x-other")];
        assert!(is_outside(&read(&world.data, &links[0])));
        for allowed in ["disk", "disk/deep"] {
            world.data.allow = vec![world.at(allowed)];
            for link in &links {
                assert_eq!(read(&world.data, link).as_deref(), Ok("secret"), "{link:?}");
            }
        }
    }

    #[test]
    fn a_root_an_allowed_folder_and_every_folder_down_to_the_session_may_be_links() {
        for linked in [
            "root",
            "root/lab",
            "root/lab/Subjects",
            "root/lab/Subjects/KS014",
            "root/lab/Subjects/KS014/2024-05-01",
        ] {
            let world = World::new();
            world.write("root/lab/Subjects/KS014/2024-05-01/001/x", "abc");
            std::fs::create_dir_all(world.at("far")).unwrap();
            std::fs::rename(world.at(linked), world.at("far/real")).unwrap();
            symlink(world.at("far/real"), world.at(linked)).unwrap();
            assert_eq!(read(&world.data, &world.in_session("x")).as_deref(), Ok("abc"), "{linked}");
            let inside = world.link("inside", "x");
            assert_eq!(read(&world.data, &inside).as_deref(), Ok("abc"), "{linked}");
            assert!(is_outside(&read(&world.data, &world.link("out", world.at("disk/deep/x")))), "{linked}");
            // Beside the target of the link: only the root itself reaches that far.
            world.write("far/beside", "secret");
            assert!(
                is_outside(&read(&world.data, &world.link("beside", world.at("far/beside")))),
                "{linked}"
            );
        }
        let mut world = World::new();
        symlink(world.at("disk"), world.at("to-disk")).unwrap();
        world.data.allow = vec![world.at("to-disk")];
        assert_eq!(read(&world.data, &world.link("x", world.at("disk/deep/x"))).as_deref(), Ok("secret"));
    }

    #[test]
    fn a_linked_folder_in_a_session_does_not_lead_out_and_a_link_above_the_root_allows_nothing() {
        let world = World::new();
        world.link("linked", world.at("disk/deep"));
        assert!(is_outside(&read(&world.data, &world.in_session("linked/x"))));
        // The subject is a link to the folder that holds the root.
        symlink(&world.top, world.at("root/lab/Subjects/up")).unwrap();
        std::fs::create_dir_all(world.at("2024-05-01/001")).unwrap();
        symlink(world.at("disk/deep/x"), world.at("2024-05-01/001/x")).unwrap();
        let path = world.at("root/lab/Subjects/up/2024-05-01/001/x");
        assert!(is_outside(&read(&world.data, &path)));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened_and_nothing_hangs() {
        let mut world = World::new();
        world.data.allow = vec!["/dev".into()];
        let fifo = world.in_session("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [
            world.link("to-fifo", &fifo),
            fifo,
            world.link("device", "/dev/zero"),
            world.link("folder", world.in_session("alf")),
        ] {
            assert_eq!(read(&world.data, &path), Err("NotAFile".to_owned()), "{path:?}");
        }
        for (path, error) in [
            (world.link("dangling", "nothing"), "NotFound"),
            (world.link("loop", "loop"), "FilesystemLoop"),
            (world.link("inside-a-file", "plain/x"), "Not"),
        ] {
            let refused = read(&world.data, &path);
            assert!(refused.as_ref().is_err_and(|e| e.contains("Io") && e.contains(error)), "{refused:?}");
        }
    }

    #[test]
    fn private_files_and_those_of_the_kernel_are_never_opened_wherever_they_lie() {
        let mut world = World::new();
        world.data.private =
            [world.write("root/state/ledger", "x"), world.write("disk/password", "x")].into_iter().collect();
        std::fs::hard_link(world.at("disk/password"), world.in_session("hard")).unwrap();
        world.data.allow = vec!["/".into()];
        for path in [
            world.at("root/state/ledger"),
            world.link("ledger", world.at("root/state/ledger")),
            world.link("password", world.at("disk/password")),
            world.in_session("hard"),
        ] {
            assert_eq!(read(&world.data, &path), Err("Refused(Private)".to_owned()), "{path:?}");
        }
        for target in ["/proc/self/environ", "/proc/self/status", "/sys/kernel/uevent_seqnum"] {
            let link = world.link(target.rsplit_once('/').unwrap().1, target);
            assert_eq!(read(&world.data, &link), Err("Refused(System)".to_owned()), "{target}");
        }
        // That it is so does not depend on the path at which the file system is mounted.
        assert!(is_view_of_kernel(rustix::fs::statfs("/proc").unwrap().f_type as u32));
        assert!(!is_view_of_kernel(rustix::fs::statfs(&world.top).unwrap().f_type as u32));
    }

    #[test]
    fn a_path_that_is_swapped_between_look_and_opening_opens_nothing_else() {
        for (way, openat2) in ways() {
            let world = World::new();
            let path = world.link("x", world.write("root/archive/x", "abc"));
            let good = world.at("root/archive");
            // A folder on the way becomes a link to the other disk, and is put right again before the last look.
            let looks = std::cell::Cell::new(0);
            let swap = || {
                looks.set(looks.get() + 1);
                if looks.get() == 1 {
                    std::fs::rename(&good, world.at("kept")).unwrap();
                    symlink(world.at("disk/deep"), &good).unwrap();
                }
            };
            let refused = world.data.open_with(&path, &openat2, &swap);
            assert!(
                matches!(&refused, Err(OpenError::Refused(Refusal::Outside { .. }))),
                "{way}: {refused:?}"
            );
            std::fs::remove_file(&good).unwrap();
            std::fs::rename(world.at("kept"), &good).unwrap();

            // Another file takes the name each time.
            let replace = || {
                std::fs::write(world.at("root/other"), "other").unwrap();
                std::fs::rename(world.at("root/other"), good.join("x")).unwrap();
            };
            let refused = world.data.open_with(&path, &openat2, &replace);
            assert!(matches!(refused, Err(OpenError::Changing)), "{way}: {refused:?}");
            // Only once: it is looked at again.
            looks.set(0);
            let once = || {
                looks.set(looks.get() + 1);
                if looks.get() == 1 {
                    replace();
                }
            };
            let opened = world.data.open_with(&path, &openat2, &once).unwrap();
            assert_eq!(std::io::read_to_string(opened.0).unwrap(), "other", "{way}");
        }
    }

    #[test]
    fn without_a_configured_root_a_session_has_its_labs_folder_and_a_file_the_folders_above_it() {
        for (path, root) in [
            ("/data/cortexlab/Subjects/KS014/2024-05-01/001/alf/x.npy", Some("/data/cortexlab")),
            ("/data/mice/KS014/2024-05-01/001/x.npy", Some("/data")),
            ("/data/KS014/2024-05-01/001/x.npy", Some("/data")),
            ("/repo/Subjects/SP044/#2020-01-01#/obj.attr.npy", Some("/repo")),
            ("/data/x.npy", Some("/data")),
            ("/x.npy", None),
        ] {
            assert_eq!(assumed_root(Path::new(path)).as_deref(), root.map(Path::new), "{path}");
        }
        let world = World::new();
        let data = DataFolders::default();
        world.write("root/lab/.git/annex/objects/x", "abc");
        let link = world.link("x", "../../../../.git/annex/objects/x");
        assert_eq!(read(&data, &link).as_deref(), Ok("abc"));
        assert!(is_outside(&read(&data, &world.link("out", world.at("disk/deep/x")))));
        // A root that is configured elsewhere changes nothing for this session.
        let data = DataFolders { roots: vec![world.at("disk")], ..data };
        assert_eq!(read(&data, &link).as_deref(), Ok("abc"));
    }
}
