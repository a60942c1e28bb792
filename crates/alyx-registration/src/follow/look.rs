//! A look at the copies in one repository: what the disk says of each. Reads no content.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::client::clocks_began;
use crate::client::options::QuietRules;
use crate::error::Error;
use crate::follow::copy::Seen;
use crate::follow::repositories::FollowedRepository;
use crate::hashing::stamp::FileStamp;
use crate::listing::file_system::{is_network, refresh};
use crate::listing::quiet::{Activity, SessionLooks};
use crate::verify::roots::AuditRoots;

/// The disk of a repository, as it was when a look began.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryDisk {
    pub(crate) repository: FollowedRepository,
    /// Its folder without links.
    real: PathBuf,
    identity: AuditRoots,
    is_remote: bool,
}

/// The folders of repositories that are being opened: on a dead network drive, for ever, and by one thread each.
static OPENING: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

impl FollowedRepository {
    /// Why its disk cannot be looked at. Blocks.
    pub fn unavailable(&self) -> Option<String> {
        RepositoryDisk::open(self).err()
    }

    /// As [`unavailable`](Self::unavailable), also if it does not answer within this time. It may be asked again and again.
    pub async fn unavailable_within(&self, patience: Duration) -> Option<String> {
        let hangs = || Some("its disk does not answer".to_owned());
        let opening = || OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if !opening().insert(self.mount.path.clone()) {
            return hangs();
        }
        let own = self.clone();
        let open = tokio::task::spawn_blocking(move || {
            let why = own.unavailable();
            OPENING.lock().unwrap_or_else(PoisonError::into_inner).remove(&own.mount.path);
            why
        });
        match tokio::time::timeout(patience, open).await {
            Ok(why) => why.unwrap_or_else(|_| hangs()),
            Err(_) => hangs(),
        }
    }
}

/// A copy on disk.
#[derive(Debug, Clone)]
pub(crate) struct FoundCopy {
    pub(crate) path: PathBuf,
    pub(crate) stamp: FileStamp,
}

impl FoundCopy {
    /// Whether it is as it was found, which reading it for hours does not say. Blocks.
    pub(crate) fn is_unchanged(&self) -> bool {
        refresh(&self.path);
        std::fs::metadata(&self.path).is_ok_and(|now| FileStamp::of(&now).has_same_content(&self.stamp))
    }
}

impl RepositoryDisk {
    /// The disk of a repository, if it is mounted. Blocks.
    ///
    /// # Errors
    /// Why it is not: an empty folder is a mount point without its disk.
    pub(crate) fn open(repository: &FollowedRepository) -> Result<Self, String> {
        let path = &repository.mount.path;
        if std::fs::read_dir(path).map_err(|error| error.to_string())?.next().is_none() {
            return Err("it is empty, so its disk is not mounted".to_owned());
        }
        let real = std::fs::canonicalize(path).map_err(|error| error.to_string())?;
        let identity = AuditRoots::load([path.as_path()]);
        let is_remote = is_network(path).unwrap_or(true);
        Ok(Self { repository: repository.clone(), real, identity, is_remote })
    }

    /// Why it is no longer the disk that it was. Blocks.
    pub(crate) fn lost(&self) -> Option<String> {
        let path = &self.repository.mount.path;
        match self.identity.contains(path) {
            true => self.identity.lost(path).map(|(_, why)| why),
            false => Some("it was not there when the look began".to_owned()),
        }
    }

    /// Whether it holds a folder with this path. Blocks.
    pub(crate) fn holds(&self, relative: &str) -> bool {
        std::fs::symlink_metadata(self.repository.mount.path.join(relative)).is_ok()
    }

    /// What the disk says of a copy that has one of these names. `sources`: where its source may be. Blocks.
    pub(crate) fn see(
        &self,
        names: &[String],
        sources: &[PathBuf],
        quiet: &QuietRules,
        looks: &SessionLooks,
    ) -> (Seen, Option<FoundCopy>) {
        for name in names {
            let path = self.repository.mount.path.join(name);
            if self.is_remote {
                refresh(&path);
            }
            match std::fs::metadata(&path) {
                Ok(metadata) => return self.judge(path, &metadata, sources, quiet, looks),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if std::fs::symlink_metadata(&path).is_ok() {
                        return (Seen::Unreadable("it is a link that leads nowhere".to_owned()), None);
                    }
                }
                Err(error) => return (Seen::Unreadable(error.to_string()), None),
            }
        }
        (Seen::Absent, None)
    }

    fn judge(
        &self,
        path: PathBuf,
        metadata: &Metadata,
        sources: &[PathBuf],
        quiet: &QuietRules,
        looks: &SessionLooks,
    ) -> (Seen, Option<FoundCopy>) {
        if !metadata.is_file() {
            return (Seen::NoCopy("it is no regular file".to_owned()), None);
        }
        match std::fs::canonicalize(&path) {
            Ok(real) if real.starts_with(&self.real) => {}
            Ok(real) => {
                let why = format!("a link leads out of the repository, to {real:?}");
                return (Seen::NoCopy(why), None);
            }
            Err(error) => return (Seen::Unreadable(error.to_string()), None),
        }
        let stamp = FileStamp::of(metadata);
        for source in sources {
            if let Ok(source) = std::fs::metadata(source)
                && is_same_file(&stamp, &FileStamp::of(&source))
            {
                let why =
                    "it is the registered file itself: a hard link, or the same folder under another path";
                return (Seen::NoCopy(why.to_owned()), None);
            }
        }
        let mut activity = Activity::default();
        activity.add_file(&path, &path, &stamp);
        let now = (Instant::now(), SystemTime::now());
        let verdict = looks.judge(&path, &activity, quiet, self.is_remote, clocks_began(), now);
        let changing = match verdict {
            Ok(()) => None,
            Err(Error::StillChanging { wait, .. } | Error::CopyInProgress { wait, .. }) => Some(wait),
            Err(other) => return (Seen::Unreadable(other.to_string()), None),
        };
        (Seen::File { size: stamp.size, changing, md5: None }, Some(FoundCopy { path, stamp }))
    }
}

/// Whether two stamps are of one file. The same disk may be mounted twice, also over the network: then device numbers differ,
/// but inode, times and size agree. No copying program can set the change time.
pub(crate) fn is_same_file(one: &FileStamp, other: &FileStamp) -> bool {
    one.inode == other.inode && (one.device == other.device || one.has_same_content(other))
}

/// Whether a copy of this file, under the temporary name that a program gives it, lies beside it: then it is about to be
/// replaced. Blocks.
pub(crate) fn is_being_replaced(path: &Path, quiet: &QuietRules) -> bool {
    let Some(folder) = path.parent() else { return false };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| folder.join(entry.file_name()));
    names.any(|name| quiet.copy_signs.iter().any(|sign| sign.complete(&name).as_deref() == Some(path)))
}

/// The folders of data roots that hold subjects, with or without those of a lab: a copy is made of a file in one of them.
/// Blocks.
pub(crate) fn source_folders(roots: &[PathBuf]) -> Vec<PathBuf> {
    let labs = |root: &PathBuf| {
        let labs = std::fs::read_dir(root).into_iter().flatten().flatten();
        labs.map(|lab| lab.path().join("Subjects")).filter(|folder| folder.is_dir()).collect::<Vec<_>>()
    };
    let above =
        roots.iter().flat_map(|root| labs(root).into_iter().chain([root.clone(), root.join("Subjects")]));
    above.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::mount::Mount;
    use std::os::unix::fs::symlink;

    fn at_once() -> QuietRules {
        let none = Duration::ZERO;
        QuietRules { settle: none, settle_remote: none, empty_grace: none, ..QuietRules::default() }
    }

    fn repository(path: &Path) -> FollowedRepository {
        FollowedRepository {
            mount: Mount { path: path.to_owned(), repository: "server".into() },
            is_own: false,
        }
    }

    #[test]
    fn what_is_not_a_file_of_its_own_in_the_repository_is_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (data, server) = (folder.path().join("data"), folder.path().join("server"));
        for folder in [&data, &server] {
            std::fs::create_dir_all(folder.join("S/alf")).unwrap();
            std::fs::write(folder.join("S/alf/copied.x.npy"), "abc").unwrap();
        }
        for name in ["linked", "hard", "outside"] {
            std::fs::write(data.join(format!("S/alf/{name}.x.npy")), "abc").unwrap();
        }
        std::fs::hard_link(data.join("S/alf/hard.x.npy"), server.join("S/alf/hard.x.npy")).unwrap();
        symlink(data.join("S/alf/linked.x.npy"), server.join("S/alf/linked.x.npy")).unwrap();
        symlink(server.join("S/alf/copied.x.npy"), server.join("S/alf/inside.x.npy")).unwrap();
        symlink(folder.path().join("none"), server.join("S/alf/broken.x.npy")).unwrap();
        std::fs::create_dir(server.join("S/alf/folder.x.npy")).unwrap();
        let disk = RepositoryDisk::open(&repository(&server)).unwrap();
        let see = |name: &str| {
            let names = [format!("S/alf/{name}.x.npy")];
            disk.see(&names, &[data.join(&names[0])], &at_once(), &SessionLooks::default()).0
        };
        let file = Seen::File { size: 3, changing: None, md5: None };
        assert_eq!([see("copied"), see("inside")], [file.clone(), file]);
        assert_eq!(see("none"), Seen::Absent);
        for (name, why) in
            [("linked", "leads out"), ("hard", "registered file itself"), ("folder", "no regular file")]
        {
            assert!(matches!(see(name), Seen::NoCopy(said) if said.contains(why)), "{name}: {:?}", see(name));
        }
        assert!(matches!(see("broken"), Seen::Unreadable(why) if why.contains("leads nowhere")));
        // The repository is the data root itself, under another path.
        let alias = folder.path().join("alias");
        symlink(&data, &alias).unwrap();
        let disk = RepositoryDisk::open(&repository(&alias)).unwrap();
        let names = ["S/alf/copied.x.npy".to_owned()];
        let sources: Vec<PathBuf> =
            source_folders(&[data]).iter().map(|folder| folder.join(&names[0])).collect();
        let seen = disk.see(&names, &sources, &at_once(), &SessionLooks::default()).0;
        assert!(matches!(seen, Seen::NoCopy(_)), "{seen:?}");
    }

    #[test]
    fn a_copy_that_was_replaced_or_deleted_after_it_was_read_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.x.npy"), folder.path().join("b"));
        std::fs::write(&path, "abc").unwrap();
        std::fs::write(&other, "abc").unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let copy = FoundCopy { stamp: FileStamp::of(&std::fs::metadata(&path).unwrap()), path: path.clone() };
        assert!(copy.is_unchanged());
        // Of the same size, and with the same time of its content.
        let replaced = std::fs::File::options().write(true).open(&other).unwrap();
        replaced.set_modified(modified).unwrap();
        let changed = || FileStamp::of(&std::fs::metadata(&other).unwrap()).changed;
        // The clock of the file system is coarse.
        while changed() == copy.stamp.changed {
            replaced.set_modified(modified).unwrap();
        }
        std::fs::rename(&other, &path).unwrap();
        assert!(!copy.is_unchanged());
        std::fs::remove_file(&path).unwrap();
        assert!(!copy.is_unchanged());
    }

    #[test]
    fn an_empty_or_replaced_mount_point_is_no_repository() {
        let folder = tempfile::tempdir().unwrap();
        let (mount, other) = (folder.path().join("mnt"), folder.path().join("other"));
        for path in [&mount, &other] {
            std::fs::create_dir(path).unwrap();
        }
        assert!(RepositoryDisk::open(&repository(&mount)).unwrap_err().contains("empty"));
        assert!(RepositoryDisk::open(&repository(&folder.path().join("none"))).is_err());
        for path in [&mount, &other] {
            std::fs::write(path.join("x"), "").unwrap();
        }
        let disk = RepositoryDisk::open(&repository(&mount)).unwrap();
        assert_eq!(disk.lost(), None);
        std::fs::rename(&mount, folder.path().join("away")).unwrap();
        std::fs::rename(&other, &mount).unwrap();
        assert!(disk.lost().is_some());
    }

    #[tokio::test]
    async fn a_repository_whose_disk_hangs_is_asked_by_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path());
        let minute = Duration::from_secs(60);
        assert!(repository.unavailable_within(minute).await.unwrap().contains("empty"));
        OPENING.lock().unwrap().insert(folder.path().to_owned());
        assert!(repository.unavailable_within(minute).await.unwrap().contains("does not answer"));
        OPENING.lock().unwrap().remove(folder.path());
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert_eq!(repository.unavailable_within(minute).await, None);
    }

    #[test]
    fn one_file_on_two_mounts_is_known_by_what_no_copying_program_can_set() {
        let stamp = FileStamp { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };
        assert!(is_same_file(&stamp, &FileStamp { device: 9, ..stamp }));
        assert!(is_same_file(&stamp, &FileStamp { size: 9, ..stamp }), "it grows between the two looks");
        assert!(!is_same_file(&stamp, &FileStamp { device: 9, changed: (6, 8), ..stamp }));
        assert!(!is_same_file(&stamp, &FileStamp { inode: 9, ..stamp }));
    }

    #[test]
    fn a_file_that_a_program_is_about_to_replace_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spikes.times.npy");
        std::fs::write(&path, "old").unwrap();
        assert!(!is_being_replaced(&path, &at_once()));
        std::fs::write(folder.path().join(".spikes.times.npy.a1B2c3"), "n").unwrap();
        assert!(is_being_replaced(&path, &at_once()));
    }
}
