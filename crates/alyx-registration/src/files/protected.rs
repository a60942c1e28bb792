//! Protected datasets on disk: a changed file whose dataset is protected on Alyx moves into a revision folder.
//!
//! `alf::revision` chooses the folder; this moves the file. Nothing is ever overwritten. A run that is interrupted at any
//! point is completed by the next one, which finds a moved file in its revision folder as a new dataset.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, linkat, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::hashing::checksum::{CHANGING_RETRY, Checksum};
use crate::hashing::stamp::FileStamp;
use crate::opener::beneath::hold_folder;
use crate::opener::file_handle::FileHandle;
use alf::{DatasetPath, RevisionPlan, revision};
use alyx_client::ProtectedFile;

/// How many revision folders are tried if they already contain a file of the same name.
const MOST_TRIES: usize = 200;

/// Where to move a file of a refused request. Pure.
///
/// # Errors
/// [`Error::Invalid`] if Alyx reports a revision that cannot be a folder name.
pub(crate) fn plan(
    file: &DatasetPath,
    protection: &[(String, bool)],
    today: Date,
) -> Result<RevisionPlan, Error> {
    revision::plan(file, protection, today).map_err(|e| Error::Invalid(format!("{file}: {e}")))
}

/// A revision whose folder already contains the file counts as protected, so that the next plan avoids it. Pure.
fn with_taken(protection: &[(String, bool)], taken: &str) -> Vec<(String, bool)> {
    let others = protection.iter().filter(|(name, _)| name != taken).cloned();
    std::iter::once((taken.to_owned(), true)).chain(others).collect()
}

/// Moves a file into the first revision folder of the plan that contains no file of its name.
///
/// Returns the file and its checksum as they are afterwards; `None`: it is not to be moved. Blocks.
///
/// # Errors
/// [`Error::StillChanging`] if the file is not the one that was read; [`Error::CannotMove`] with the reason. In both
/// cases the file is where it was.
pub(crate) fn revise(
    folder: &Path,
    file: &DatasetPath,
    sum: &Checksum,
    protected: &ProtectedFile,
    today: Date,
) -> Result<Option<(DatasetPath, Checksum)>, Error> {
    let from = folder.join(file);
    let mut protection = protected.revisions.clone();
    // A relative link would be broken in another folder.
    if std::fs::symlink_metadata(&from).is_ok_and(|m| m.is_symlink())
        && plan(file, &protection, today)? != RevisionPlan::Keep
    {
        let reason = "it is a link, not a file".to_owned();
        return Err(Error::CannotMove { to: from.clone(), from, reason });
    }
    for _ in 0..MOST_TRIES {
        let RevisionPlan::MoveTo(name) = plan(file, &protection, today)? else { return Ok(None) };
        let dataset = in_revision(file, &name)?;
        let to = folder.join(&dataset);
        let cannot = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::reading(&from, &e),
            _ => Error::CannotMove { from: from.clone(), to: to.clone(), reason: reason(&e) },
        };
        let held = HeldFile::hold(folder, file).map_err(cannot)?;
        let before = held.metadata().map_err(|e| Error::reading(&from, &e))?;
        if FileStamp::of(&before) != sum.stamp {
            return Err(Error::StillChanging { path: from.clone(), wait: CHANGING_RETRY });
        }
        match held.move_new(&format!("#{name}#"), &before).map_err(cannot)? {
            MoveResult::Moved(after) => {
                tracing::info!(?from, ?to, "moved: the dataset is protected on Alyx and has changed");
                let stamp = sum
                    .stamp
                    .after_move(&after)
                    .ok_or(Error::StillChanging { path: to.clone(), wait: CHANGING_RETRY })?;
                return Ok(Some((dataset, Checksum { stamp, ..*sum })));
            }
            MoveResult::Exists => protection = with_taken(&protection, &name),
        }
    }
    no_free_revision(&from)
}

/// Where [`revise`] would move a file now; `None`: it would stay. Blocks.
///
/// # Errors
/// As [`revise`], if the move is known to be impossible.
pub(crate) fn planned_move(
    folder: &Path,
    file: &DatasetPath,
    protected: &ProtectedFile,
    today: Date,
) -> Result<Option<Move>, Error> {
    let from = folder.join(file);
    let mut protection = protected.revisions.clone();
    for _ in 0..MOST_TRIES {
        let RevisionPlan::MoveTo(name) = plan(file, &protection, today)? else { return Ok(None) };
        let to = folder.join(in_revision(file, &name)?);
        if std::fs::symlink_metadata(&to).is_err() {
            return Ok(Some((from, to)));
        }
        protection = with_taken(&protection, &name);
    }
    no_free_revision(&from)
}

fn in_revision(dataset: &DatasetPath, revision: &str) -> Result<DatasetPath, Error> {
    dataset.with_revision(revision).map_err(|e| Error::Invalid(format!("{dataset}: {e}")))
}

fn no_free_revision<T>(path: &Path) -> Result<T, Error> {
    Err(Error::CannotMove {
        from: path.to_owned(),
        to: path.to_owned(),
        reason: "every revision folder already holds a file of that name".into(),
    })
}

/// The system's reason, in clearer words where necessary.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::CrossesDevices => "a revision folder must be on the same disk".into(),
        io::ErrorKind::NotADirectory => "there is a file where the revision folder should be".into(),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => "its folder is a link".into(),
        _ => error.to_string(),
    }
}

/// The result of moving a file without overwriting another.
enum MoveResult {
    /// Moved; what it is now.
    Moved(Metadata),
    /// The target exists.
    Exists,
}

/// A file of a session, with its folders: whatever takes their names meanwhile, the file stays in its session.
struct HeldFile<'a> {
    /// That of its collection, which holds the revision folders.
    collection: File,
    /// The one it is in.
    folder: File,
    name: &'a str,
}

impl<'a> HeldFile<'a> {
    fn hold(session: &Path, file: &'a DatasetPath) -> io::Result<Self> {
        let session = FileHandle::of_folder(session)?.file;
        let collection = hold_folder(&session, Path::new(file.collection().unwrap_or_default()))?;
        let inner = file.revision().map(|name| format!("#{name}#")).unwrap_or_default();
        let folder = hold_folder(&collection, Path::new(&inner))?;
        Ok(Self { collection, folder, name: file.file_name() })
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(FileHandle::in_folder(&self.folder, self.name)?.metadata)
    }

    /// Moves the file into a revision folder, which is created if it is missing. Never overwrites. `source` is the file.
    fn move_new(&self, revision: &str, source: &Metadata) -> io::Result<MoveResult> {
        // With the permissions of the folder around it, as far as the umask allows: users who can read and write the data
        // next to it must be able to do so in it.
        let mode = Mode::from_raw_mode(self.collection.metadata()?.permissions().mode() & 0o777);
        let made = match mkdirat(&self.collection, revision, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        // A link to a folder would move the data out of its session.
        let to = hold_folder(&self.collection, Path::new(revision))?;
        let moved = match renameat_with(&self.folder, self.name, &to, self.name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            // Linked by a run that was interrupted before it removed the old name.
            Err(Errno::EXIST) if is_same_file(&to, self.name, source) => self.remove_old_name(),
            Err(Errno::EXIST) => Ok(false),
            // NFS and some other file systems do not support this rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.link_then_remove(&to),
            Err(error) => Err(error.into()),
        };
        if moved.as_ref().is_ok_and(|moved| *moved) {
            // The request to Alyx comes next, so the new name must survive a power cut. Not every file system can sync.
            for folder in [&to, &self.folder] {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let _ = openat(folder, ".", flags, Mode::empty()).and_then(fsync);
            }
            return Ok(MoveResult::Moved(FileHandle::in_folder(&to, self.name)?.metadata));
        }
        if made {
            // Removes nothing but an empty folder.
            let _ = unlinkat(&self.collection, revision, AtFlags::REMOVEDIR);
        }
        moved.map(|_| MoveResult::Exists)
    }

    /// Whether it was moved; not, if the target exists.
    fn link_then_remove(&self, to: &File) -> io::Result<bool> {
        match linkat(&self.folder, self.name, to, self.name, AtFlags::empty()) {
            Ok(()) => self.remove_old_name(),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_old_name(&self) -> io::Result<bool> {
        unlinkat(&self.folder, self.name, AtFlags::empty())?;
        Ok(true)
    }
}

/// Whether this name in a folder is a hard link to this file, and not a symbolic one.
fn is_same_file(folder: &File, name: &str, file: &Metadata) -> bool {
    let same = |found: FileHandle| (found.metadata.dev(), found.metadata.ino()) == (file.dev(), file.ino());
    FileHandle::in_folder(folder, name).is_ok_and(same)
}

/// A moved file: from where, to where.
pub(crate) type Move = (PathBuf, PathBuf);

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use std::fs;

    const TODAY: Date = date(2024, 5, 1);

    /// A session folder with `alf/a.b.npy`, and the result of `revise` for that file.
    struct Rig {
        folder: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let rig = Self { folder: tempfile::tempdir().unwrap() };
            rig.file("alf/a.b.npy", "new");
            rig
        }

        fn file(&self, name: &str, content: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.folder.path().join(name)).ok()
        }

        fn file_and_sum(&self, name: &str) -> (DatasetPath, Checksum) {
            let path = self.folder.path().join(name);
            let stamp = FileStamp::of(&fs::metadata(&path).unwrap());
            let dataset = DatasetPath::parse(Path::new(name)).unwrap();
            (dataset, Checksum { md5: None, size: 3, stamp })
        }

        fn revise(&self, name: &str, protection: &[(&str, bool)]) -> Result<Option<String>, Error> {
            let (file, sum) = self.file_and_sum(name);
            let revisions = protection.iter().map(|(name, p)| ((*name).to_owned(), *p)).collect();
            let protected = ProtectedFile { file: name.to_owned(), revisions };
            let moved = revise(self.folder.path(), &file, &sum, &protected, TODAY)?;
            Ok(moved.map(|(file, sum)| {
                assert_eq!(sum.stamp, FileStamp::of(&fs::metadata(self.folder.path().join(&file)).unwrap()));
                file.as_str().to_owned()
            }))
        }
    }

    #[test]
    fn a_protected_file_moves_into_a_folder_of_today() {
        let rig = Rig::new();
        assert_eq!(
            rig.revise("alf/a.b.npy", &[("", true)]).unwrap().as_deref(),
            Some("alf/#2024-05-01#/a.b.npy")
        );
        assert_eq!(rig.read("alf/#2024-05-01#/a.b.npy").as_deref(), Some("new"));
        assert_eq!(rig.read("alf/a.b.npy"), None);
    }

    #[test]
    fn the_new_folder_has_the_permissions_of_its_parent() {
        for mode in [0o700, 0o750, 0o755] {
            let rig = Rig::new();
            let path = |name: &str| rig.folder.path().join(name);
            fs::set_permissions(path("alf"), fs::Permissions::from_mode(mode)).unwrap();
            rig.revise("alf/a.b.npy", &[("", true)]).unwrap();
            let made = fs::metadata(path("alf/#2024-05-01#")).unwrap().permissions().mode() & 0o777;
            assert_eq!(made, mode, "{made:o}");
        }
    }

    #[test]
    fn a_file_that_is_not_protected_stays() {
        let rig = Rig::new();
        assert_eq!(rig.revise("alf/a.b.npy", &[("", false)]).unwrap(), None);
        assert_eq!(rig.read("alf/a.b.npy").as_deref(), Some("new"));
        assert_eq!(fs::read_dir(rig.folder.path().join("alf")).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let rig = Rig::new();
        rig.file("alf/#2024-05-01#/a.b.npy", "theirs");
        rig.file("alf/#2024-05-01a#/a.b.npy", "theirs too");
        assert_eq!(
            rig.revise("alf/a.b.npy", &[("", true)]).unwrap().as_deref(),
            Some("alf/#2024-05-01b#/a.b.npy")
        );
        assert_eq!(rig.read("alf/#2024-05-01#/a.b.npy").as_deref(), Some("theirs"));
        assert_eq!(rig.read("alf/#2024-05-01a#/a.b.npy").as_deref(), Some("theirs too"));
        assert_eq!(rig.read("alf/#2024-05-01b#/a.b.npy").as_deref(), Some("new"));
    }

    #[test]
    fn a_file_in_an_older_unprotected_revision_is_not_overwritten_either() {
        let rig = Rig::new();
        rig.file("alf/#2023-01-01#/a.b.npy", "theirs");
        let to = rig.revise("alf/a.b.npy", &[("2023-01-01", false), ("", true)]).unwrap();
        assert_eq!(to.as_deref(), Some("alf/#2024-05-01#/a.b.npy"));
        assert_eq!(rig.read("alf/#2023-01-01#/a.b.npy").as_deref(), Some("theirs"));
    }

    #[test]
    fn an_existing_successor_of_the_own_revision_is_skipped() {
        let rig = Rig::new();
        rig.file("#v1#/a.b.npy", "new");
        rig.file("#v1a#/a.b.npy", "theirs");
        let to = rig.revise("#v1#/a.b.npy", &[("v1", true), ("", true)]).unwrap();
        assert_eq!(to.as_deref(), Some("#v1b#/a.b.npy"));
    }

    #[test]
    fn an_empty_folder_of_an_interrupted_run_is_used() {
        let rig = Rig::new();
        fs::create_dir(rig.folder.path().join("alf/#2024-05-01#")).unwrap();
        assert!(rig.revise("alf/a.b.npy", &[("", true)]).unwrap().is_some());
    }

    #[test]
    fn a_hard_link_of_an_interrupted_run_is_completed() {
        let rig = Rig::new();
        fs::create_dir(rig.folder.path().join("alf/#2024-05-01#")).unwrap();
        let (from, to) = ("alf/a.b.npy", "alf/#2024-05-01#/a.b.npy");
        fs::hard_link(rig.folder.path().join(from), rig.folder.path().join(to)).unwrap();
        assert_eq!(rig.revise(from, &[("", true)]).unwrap().as_deref(), Some(to));
        assert_eq!((rig.read(from), rig.read(to)), (None, Some("new".into())));
    }

    #[test]
    fn linking_and_removing_moves_a_file_and_never_overwrites() {
        let rig = Rig::new();
        let path = |name: &str| rig.folder.path().join(name);
        rig.file("taken/a.b.npy", "theirs");
        fs::create_dir(path("free")).unwrap();
        let (file, _) = rig.file_and_sum("alf/a.b.npy");
        let held = HeldFile::hold(rig.folder.path(), &file).unwrap();
        let moved =
            |to: &str| held.link_then_remove(&FileHandle::of_folder(&path(to)).unwrap().file).unwrap();
        assert!(!moved("taken") && moved("free"));
        assert_eq!(
            (rig.read("taken/a.b.npy").as_deref(), rig.read("free/a.b.npy").as_deref()),
            (Some("theirs"), Some("new"))
        );
        assert_eq!(rig.read("alf/a.b.npy"), None);
    }

    #[test]
    fn a_file_that_was_written_since_it_was_read_does_not_move() {
        let rig = Rig::new();
        let (file, sum) = rig.file_and_sum("alf/a.b.npy");
        fs::write(rig.folder.path().join(&file), "newer still").unwrap();
        let protected = ProtectedFile { file: "x".into(), revisions: vec![(String::new(), true)] };
        let result = revise(rig.folder.path(), &file, &sum, &protected, TODAY);
        assert!(matches!(result, Err(Error::StillChanging { .. })));
        assert_eq!(rig.read("alf/a.b.npy").as_deref(), Some("newer still"));
    }

    #[test]
    fn a_link_to_a_file_is_not_moved() {
        let rig = Rig::new();
        std::os::unix::fs::symlink("a.b.npy", rig.folder.path().join("alf/c.d.npy")).unwrap();
        let error = rig.revise("alf/c.d.npy", &[("", true)]).unwrap_err();
        assert!(matches!(error, Error::CannotMove { .. }), "{error}");
        assert_eq!(rig.revise("alf/c.d.npy", &[("", false)]).unwrap(), None);
    }

    #[test]
    fn a_folder_that_is_a_link_or_a_file_is_refused_with_the_reason() {
        let rig = Rig::new();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), rig.folder.path().join("alf/#2024-05-01#")).unwrap();
        let error = rig.revise("alf/a.b.npy", &[("", true)]).unwrap_err();
        assert!(matches!(error, Error::CannotMove { .. }), "{error}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert_eq!(rig.read("alf/a.b.npy").as_deref(), Some("new"));
    }

    /// By another user of the folder, at the worst moments.
    #[test]
    fn a_file_stays_in_its_session_whatever_takes_the_names_of_its_folders() {
        for swapped in ["alf", "alf/#2024-05-01#"] {
            let (rig, other) = (Rig::new(), tempfile::tempdir().unwrap());
            let path = |name: &str| rig.folder.path().join(name);
            fs::create_dir_all(path("alf/#2024-05-01#")).unwrap();
            fs::create_dir(other.path().join("#2024-05-01#")).unwrap();
            let (file, _) = rig.file_and_sum("alf/a.b.npy");
            let held = HeldFile::hold(rig.folder.path(), &file).unwrap();
            let before = held.metadata().unwrap();
            fs::rename(path(swapped), path("kept")).unwrap();
            std::os::unix::fs::symlink(other.path(), path(swapped)).unwrap();
            let moved = held.move_new("#2024-05-01#", &before);
            assert_eq!(fs::read_dir(other.path().join("#2024-05-01#")).unwrap().count(), 0, "{swapped}");
            let now = if swapped == "alf" { "kept/#2024-05-01#/a.b.npy" } else { "alf/a.b.npy" };
            assert_eq!(rig.read(now).as_deref(), Some("new"), "{swapped}: {}", moved.is_ok());
        }
    }

    #[test]
    fn a_file_whose_folder_is_a_link_is_not_moved() {
        let rig = Rig::new();
        std::os::unix::fs::symlink("alf", rig.folder.path().join("linked")).unwrap();
        let error = rig.revise("linked/a.b.npy", &[("", true)]).unwrap_err();
        assert!(error.to_string().contains("its folder is a link"), "{error}");
        assert_eq!(rig.read("alf/a.b.npy").as_deref(), Some("new"));
    }
}
