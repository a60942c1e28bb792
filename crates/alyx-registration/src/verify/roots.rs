//! The data roots of an audit: whether the disk under a session is still the one that was mounted at its start.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode of a folder.
type Identity = (u64, u64);

/// The data roots as they were when an audit began.
#[derive(Debug, Clone, Default)]
pub struct AuditRoots {
    roots: Vec<(PathBuf, Identity)>,
    /// Folders below them that are on another disk than the folder above, each with its device.
    mounts: HashMap<PathBuf, u64>,
}

impl AuditRoots {
    /// The roots that can be listed now. Blocks.
    pub fn load<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Self {
        let known = |root: &Path| Some((root.to_owned(), identity(root).ok()?));
        Self { roots: roots.into_iter().filter_map(known).collect(), mounts: HashMap::new() }
    }

    /// Notes which disks are mounted above these session folders now. Blocks.
    #[must_use]
    pub fn with_mounts<'a>(mut self, sessions: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut seen: HashSet<&Path> = HashSet::new();
        for session in sessions {
            let Some(root) = self.root_of(session).cloned() else { continue };
            let own = session.ancestors().take_while(|folder| *folder != root);
            for folder in own {
                // So are the folders above.
                if !seen.insert(folder) {
                    break;
                }
                if let (Some(own), Some(above)) = (device(folder), folder.parent().and_then(device))
                    && own != above
                {
                    self.mounts.insert(folder.to_owned(), own);
                }
            }
        }
        self
    }

    /// Whether this is a data root, or a disk that is mounted below one.
    pub fn contains(&self, folder: &Path) -> bool {
        self.mounts.contains_key(folder) || self.roots.iter().any(|(root, _)| root == folder)
    }

    fn root_of(&self, folder: &Path) -> Option<&PathBuf> {
        self.roots.iter().map(|(root, _)| root).find(|root| folder.starts_with(root))
    }

    /// The root of a folder, or the disk mounted between the two, and why it is no longer the one of the start. Of a
    /// root: or any disk below it. `None`: all are, or there is none. Blocks.
    pub(crate) fn lost(&self, folder: &Path) -> Option<(PathBuf, String)> {
        let another = || "another disk or folder is mounted there than when the audit began".to_owned();
        let (root, before) = self.roots.iter().find(|(root, _)| folder.starts_with(root))?;
        match identity(root) {
            Ok(now) if now == *before => {}
            Ok(_) => return Some((root.clone(), another())),
            Err(error) => return Some((root.clone(), error.to_string())),
        }
        let is_concerned = |mount: &Path| match folder == root {
            true => mount.starts_with(root),
            false => folder.starts_with(mount),
        };
        let concerned = self.mounts.iter().filter(|(mount, _)| is_concerned(mount));
        for (mount, before) in concerned {
            match std::fs::metadata(mount) {
                Ok(now) if now.dev() == *before => {}
                Ok(_) => return Some((mount.clone(), another())),
                Err(error) => return Some((mount.clone(), error.to_string())),
            }
        }
        None
    }
}

fn device(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|metadata| metadata.dev())
}

/// The identity of a root that can be listed and holds something.
fn identity(root: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(root)?;
    match std::fs::read_dir(root)?.next() {
        Some(Ok(_)) => Ok((metadata.dev(), metadata.ino())),
        Some(Err(error)) => Err(error),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "it is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_emptied_or_replaced_is_lost() {
        let parent = tempfile::tempdir().unwrap();
        let (root, other) = (parent.path().join("data"), parent.path().join("other"));
        let session = root.join("KS014/2024-05-01/001");
        for folder in [&session, &other.join("KS014")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let roots = AuditRoots::load([root.as_path()]);
        assert_eq!(roots.lost(&session), None);
        assert_eq!(roots.lost(&other), None);
        std::fs::rename(&root, parent.path().join("gone")).unwrap();
        assert_eq!(roots.lost(&session).unwrap().0, root);
        std::fs::create_dir(&root).unwrap();
        assert!(roots.lost(&session).unwrap().1.contains("empty"));
        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&other, &root).unwrap();
        assert!(roots.lost(&session).unwrap().1.contains("another disk"));
    }

    #[test]
    fn a_disk_below_a_root_that_goes_away_is_lost() {
        let parent = tempfile::tempdir().unwrap();
        // Another file system than that of temporary files.
        let Ok(disk) = tempfile::tempdir_in("/dev/shm") else { return };
        if device(disk.path()) == device(parent.path()) {
            return;
        }
        let (root, mount) = (parent.path().join("data"), parent.path().join("data/KS014"));
        std::fs::create_dir_all(root.join("ZM_1085/2024-05-01/001")).unwrap();
        std::os::unix::fs::symlink(disk.path(), &mount).unwrap();
        let (session, other) = (mount.join("2024-05-01/001"), root.join("ZM_1085/2024-05-01/001"));
        std::fs::create_dir_all(&session).unwrap();
        let roots = AuditRoots::load([root.as_path()]).with_mounts([session.as_path(), other.as_path()]);
        assert!(roots.contains(&mount) && !roots.contains(&other));
        std::fs::remove_dir_all(&session).unwrap();
        assert_eq!((roots.lost(&session), roots.lost(&root)), (None, None), "the disk is there");
        std::fs::remove_file(&mount).unwrap();
        for at in [&session, &root] {
            assert_eq!(roots.lost(at).unwrap().0, mount);
        }
        std::fs::create_dir(&mount).unwrap();
        assert!(roots.lost(&session).unwrap().1.contains("another disk"));
        assert_eq!(roots.lost(&other), None);
    }
}
