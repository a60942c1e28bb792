//! Locks: two programs on one data root would each find a session absent and each create it; two daemons on one
//! state folder would each write its ledger.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

/// Held as long as this value lives; the kernel lets go of it when the process ends, however it ends.
///
/// An abstract socket with a name made of the root's real path. It leaves no file anywhere, and unlike an open
/// folder it does not keep a disk from being unmounted.
#[derive(Debug)]
pub struct RootLock {
    _socket: UnixListener,
}

/// Why a root could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else works on it.
    #[error(
        "another alyx-registrar is at work on {0:?}: stop that one first (systemctl stop alyx-registrar), or leave the flags to it"
    )]
    Taken(PathBuf),
    /// Another daemon remembers there.
    #[error(
        "another alyx-registrar is at work with the state folder {0:?}: stop that one first (systemctl stop alyx-registrar), or set another state_dir"
    )]
    TakenState(PathBuf),
    /// The system refused.
    #[error("{root:?} cannot be locked ({source})")]
    Io {
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RootLock {
    /// Locks a root. A root that does not exist yet is locked by its name.
    ///
    /// # Errors
    /// [`LockError::Taken`] where another process holds it.
    pub fn acquire(root: &Path) -> Result<Self, LockError> {
        match bind("root", root) {
            Ok(Some(socket)) => Ok(Self { _socket: socket }),
            Ok(None) => Err(LockError::Taken(root.to_owned())),
            Err(source) => Err(LockError::Io { root: root.to_owned(), source }),
        }
    }

    /// Locks all roots, or none. Two roots that are one folder are one lock.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn acquire_all<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Self>, LockError> {
        let mut seen = std::collections::HashSet::new();
        roots
            .into_iter()
            .filter(|root| real(root).map_or(true, |real| seen.insert(real)))
            .map(Self::acquire)
            .collect()
    }
}

/// Held by the daemon of a state folder as long as this value lives.
#[derive(Debug)]
pub struct StateLock {
    _socket: UnixListener,
}

impl StateLock {
    /// Locks a state folder, whether it is there or not.
    ///
    /// # Errors
    /// [`LockError::TakenState`] where another daemon holds it.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        match bind("state", state_dir) {
            Ok(Some(socket)) => Ok(Self { _socket: socket }),
            Ok(None) => Err(LockError::TakenState(state_dir.to_owned())),
            Err(source) => Err(LockError::Io { root: state_dir.to_owned(), source }),
        }
    }
}

/// The path without links. A folder that does not exist yet goes by its name.
fn real(folder: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder))
}

/// The socket that stands for a folder; `None`: somebody has it.
fn bind(kind: &str, folder: &Path) -> io::Result<Option<UnixListener>> {
    let digest: String = Md5::digest(real(folder)?.as_os_str().as_encoded_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let address = SocketAddr::from_abstract_name(format!("alyx-registrar/{kind}/{digest}"))?;
    match UnixListener::bind_addr(&address) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_locked_once_also_under_another_name_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        std::fs::create_dir(&root).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let lock = RootLock::acquire(&root).unwrap();
        assert!(matches!(RootLock::acquire(&root), Err(LockError::Taken(_))));
        assert!(matches!(RootLock::acquire(&link), Err(LockError::Taken(_))));
        assert!(RootLock::acquire(folder.path()).is_ok());
        drop(lock);
        assert!(RootLock::acquire(&link).is_ok());
    }

    #[test]
    fn two_roots_that_are_one_folder_are_no_conflict() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let locks = RootLock::acquire_all([folder.path(), link.as_path()]).unwrap();
        assert_eq!(locks.len(), 1);
    }

    #[test]
    fn a_state_folder_has_one_daemon_and_is_no_data_root() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateLock::acquire(folder.path()).unwrap();
        assert!(matches!(StateLock::acquire(folder.path()), Err(LockError::TakenState(_))));
        assert!(RootLock::acquire(folder.path()).is_ok());
        drop(state);
        assert!(StateLock::acquire(folder.path()).is_ok());
    }
}
