//! A lock on a data root: two programs on one root would each find a session absent and each create it.

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
        let io = |source| LockError::Io { root: root.to_owned(), source };
        let real = std::fs::canonicalize(root).or_else(|_| std::path::absolute(root)).map_err(io)?;
        let digest: String = Md5::digest(real.as_os_str().as_encoded_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("alyx-registrar/root/{digest}");
        let address = SocketAddr::from_abstract_name(name).map_err(io)?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(root.to_owned())),
            Err(error) => Err(io(error)),
        }
    }

    /// Locks all roots, or none.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn acquire_all<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Self>, LockError> {
        roots.into_iter().map(Self::acquire).collect()
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
}
