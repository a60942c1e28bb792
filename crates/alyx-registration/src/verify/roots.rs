//! The data roots of an audit: whether the disk under a session is still the one that was mounted at its start.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode of a folder.
type Identity = (u64, u64);

/// The data roots as they were when an audit began.
#[derive(Debug, Clone, Default)]
pub struct AuditRoots(Vec<(PathBuf, Identity)>);

impl AuditRoots {
    /// The roots that can be listed now. Blocks.
    pub fn load<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(roots.into_iter().filter_map(|root| Some((root.to_owned(), identity(root).ok()?))).collect())
    }

    /// The root of a folder, and why it is no longer the one of the start. `None`: it is, or there is none. Blocks.
    pub(crate) fn lost(&self, folder: &Path) -> Option<(PathBuf, String)> {
        let (root, before) = self.0.iter().find(|(root, _)| folder.starts_with(root))?;
        let why = match identity(root) {
            Ok(now) if now == *before => return None,
            Ok(_) => "another disk or folder is mounted there than when the audit began".to_owned(),
            Err(error) => error.to_string(),
        };
        Some((root.clone(), why))
    }
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
}
