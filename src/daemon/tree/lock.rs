//! Locks on data roots: two daemons on one root would each find a session missing and each create it.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest, Md5};

/// Where the kernel lists the sockets of all programs, abstract ones with `@` before their name.
const SOCKET_LIST: &str = "/proc/net/unix";
/// Prefix of the socket names that contain a path.
const PATH_PREFIX: &str = "alyx-registrar/at";
/// The longest name of an abstract socket, in bytes.
const MAX_NAME_LENGTH: usize = 107;

/// Held as long as this value lives; the kernel releases the lock when the process ends, however it ends.
///
/// Two abstract sockets: one named by the root's real path, one by its device and inode, so that a root is locked
/// under all its names (a link, a bind mount). Roots that contain one another are detected by their paths. The lock
/// leaves no file anywhere and, unlike an open folder, does not keep a disk from being unmounted. It covers one
/// network namespace: programs in two containers do not see each other. A clone is the same lock.
#[derive(Debug, Clone)]
pub struct RootLock {
    /// The root's real path.
    at: PathBuf,
    sockets: Vec<Arc<Socket>>,
}

/// A socket that no other process can bind. Two locks of one process may share it.
#[derive(Debug)]
struct Socket {
    name: Vec<u8>,
    _listener: UnixListener,
}

/// Why a root could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the root.
    #[error(
        "another alyx-registrar is already using {at:?}{}; stop it first (systemctl stop alyx-registrar), or leave the flags to it",
        if at == root { String::new() } else { format!(", which holds the same sessions as {root:?}") }
    )]
    Taken {
        /// The root to be locked.
        root: PathBuf,
        /// The root that is already locked.
        at: PathBuf,
    },
    /// Another daemon uses the state folder.
    #[error("another alyx-registrar keeps its state in {0:?}; give each its own state_dir, or stop that one")]
    TakenState(PathBuf),
    /// The system refused.
    #[error("{root:?} cannot be locked ({source})")]
    Io {
        /// The root.
        root: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The name of the socket for a path; a digest if the path is too long.
fn name_of(path: &Path) -> Vec<u8> {
    let name = [PATH_PREFIX.as_bytes(), path.as_os_str().as_bytes()].concat();
    if name.len() > MAX_NAME_LENGTH { digest_name("digest", path) } else { name }
}

/// The name of the socket for a folder by device and inode. `None` if it does not exist.
fn identity_name(folder: &Path) -> Option<Vec<u8>> {
    let metadata = std::fs::metadata(folder).ok()?;
    Some(format!("alyx-registrar/id/{}-{}", metadata.dev(), metadata.ino()).into_bytes())
}

/// The paths that any process has locked.
fn locked_paths() -> Vec<PathBuf> {
    let list = std::fs::read(SOCKET_LIST).unwrap_or_default();
    let marker = format!(" @{PATH_PREFIX}");
    let find = |line: &[u8]| {
        let start = line.windows(marker.len()).position(|w| w == marker.as_bytes())? + marker.len();
        Some(PathBuf::from(OsString::from_vec(line.get(start..)?.to_vec())))
    };
    list.split(|byte| *byte == b'\n').filter_map(find).collect()
}

/// Whether any process has bound a socket of this name.
fn is_bound(name: &[u8]) -> bool {
    let list = std::fs::read(SOCKET_LIST).unwrap_or_default();
    let shown = [b" @", name].concat();
    list.split(|byte| *byte == b'\n').any(|line| line.ends_with(&shown))
}

/// The folder locked by another process that prevents this one from being locked as a root. Locks nothing.
pub fn root_in_use(root: &Path) -> Option<PathBuf> {
    let real = real_path(root).ok()?;
    let around = locked_paths().into_iter().find(|other| overlap(other, &real));
    around.or_else(|| identity_name(&real).filter(|name| is_bound(name)).map(|_| root.to_owned()))
}

/// Whether another daemon uses a state folder. Locks nothing.
pub fn state_in_use(state_dir: &Path) -> bool {
    real_path(state_dir).is_ok_and(|real| is_bound(&digest_name("state", &real)))
}

impl RootLock {
    /// Locks a root. A root that does not exist yet is locked by its path.
    ///
    /// # Errors
    /// [`LockError::Taken`] if another process holds it, a folder around it, or one inside it.
    pub fn acquire(root: &Path) -> Result<Self, LockError> {
        Self::acquire_with(root, &[])
    }

    /// Locks a root for a process that already holds the locks `held`, which do not conflict.
    fn acquire_with(root: &Path, held: &[Self]) -> Result<Self, LockError> {
        let io = |source| LockError::Io { root: root.to_owned(), source };
        let taken = |at: &Path| LockError::Taken { root: root.to_owned(), at: at.to_owned() };
        let real = real_path(root).map_err(io)?;
        let mut sockets = Vec::new();
        for name in [Some(name_of(&real)), identity_name(&real)].into_iter().flatten() {
            let ours = held.iter().flat_map(|lock| &lock.sockets).find(|socket| socket.name == name);
            sockets.push(match ours {
                Some(socket) => Arc::clone(socket),
                None => {
                    let listener = bind(&name).map_err(io)?.ok_or_else(|| taken(root))?;
                    Arc::new(Socket { name, _listener: listener })
                }
            });
        }
        // After binding: of two processes that start at once, at least one sees the other.
        let is_other = |other: &PathBuf| {
            *other != real && overlap(other, &real) && !held.iter().any(|lock| lock.at == *other)
        };
        match locked_paths().into_iter().find(is_other) {
            Some(other) => Err(taken(&other)),
            None => Ok(Self { at: real, sockets }),
        }
    }

    /// Locks all roots, or none. Roots inside one another share the lock of the outermost.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn acquire_all<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Self>, LockError> {
        Self::exchange(&[], roots)
    }

    /// Locks a new set of roots, or none, for a process that already holds locks. Roots in both sets stay locked
    /// throughout; the others stay locked as long as `held` lives.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn exchange<'a>(
        held: &[Self],
        roots: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Vec<Self>, LockError> {
        let mut outermost: Vec<PathBuf> = Vec::new();
        for root in roots {
            let real = real_path(root).map_err(|source| LockError::Io { root: root.to_owned(), source })?;
            if !outermost.iter().any(|other| real.starts_with(other)) {
                outermost.retain(|other| !other.starts_with(&real));
                outermost.push(real);
            }
        }
        outermost.iter().map(|root| Self::acquire_with(root, held)).collect()
    }
}

/// The lock on a state folder, held by its daemon as long as this value lives.
#[derive(Debug)]
pub struct StateLock {
    _socket: UnixListener,
}

impl StateLock {
    /// Locks a state folder, whether it exists or not.
    ///
    /// # Errors
    /// [`LockError::TakenState`] if another daemon holds it.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { root: state_dir.to_owned(), source };
        let real = real_path(state_dir).map_err(io)?;
        match bind(&digest_name("state", &real)).map_err(io)? {
            Some(socket) => Ok(Self { _socket: socket }),
            None => Err(LockError::TakenState(state_dir.to_owned())),
        }
    }
}

/// The path with links resolved; the absolute path if the folder does not exist yet.
fn real_path(folder: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder))
}

fn digest_name(kind: &str, path: &Path) -> Vec<u8> {
    let digest: String =
        Md5::digest(path.as_os_str().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("alyx-registrar/{kind}/{digest}").into_bytes()
}

/// Binds the socket of a name; `None` if it is taken.
fn bind(name: &[u8]) -> io::Result<Option<UnixListener>> {
    match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_covers_all_names_of_a_root_and_the_roots_around_and_inside_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        std::fs::create_dir_all(root.join("lab")).unwrap();
        std::fs::create_dir(folder.path().join("database")).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert_eq!(root_in_use(&link), None);
        let lock = RootLock::acquire(&root).unwrap();
        for same in [&root, &link, &root.join("lab"), &folder.path().to_owned(), &link.join("lab")] {
            assert!(matches!(RootLock::acquire(same), Err(LockError::Taken { .. })), "{same:?}");
            assert!(root_in_use(same).is_some(), "{same:?}");
        }
        assert_eq!(root_in_use(&folder.path().join("database")), None);
        // A folder whose name merely shares the prefix is not locked.
        assert!(RootLock::acquire(&folder.path().join("database")).is_ok());
        drop(lock);
        assert!(RootLock::acquire(&link.join("lab")).is_ok());
    }

    #[test]
    fn roots_of_one_configuration_that_are_inside_one_another_are_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (root, link) = (folder.path().join("data"), folder.path().join("link"));
        std::fs::create_dir_all(root.join("lab")).unwrap();
        std::os::unix::fs::symlink(root.join("lab"), &link).unwrap();
        for roots in [[&link, &root], [&root, &link]] {
            let locks = RootLock::acquire_all(roots.map(PathBuf::as_path)).unwrap();
            assert_eq!(locks.len(), 1);
            assert!(RootLock::acquire(&link).is_err());
        }
    }

    #[test]
    fn locks_are_exchanged_without_releasing_roots_in_both_sets() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a/inner", "b", "c"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let held = RootLock::acquire_all([path("a"), path("b")].iter().map(PathBuf::as_path)).unwrap();
        let new = [path("b"), path("a/inner"), path("c")];
        let locks = RootLock::exchange(&held, new.iter().map(PathBuf::as_path)).unwrap();
        assert_eq!(locks.len(), 3);
        // Until the old locks are dropped, both sets are locked.
        assert!(RootLock::acquire(&path("a")).is_err() && RootLock::acquire(&path("c")).is_err());
        drop(held);
        assert!(RootLock::acquire(&path("b")).is_err() && RootLock::acquire(&path("a/inner")).is_err());
        // The way back: around what is held.
        let back = RootLock::exchange(&locks, [path("a").as_path()]).unwrap();
        drop(locks);
        assert!(RootLock::acquire(&path("a/inner")).is_err() && RootLock::acquire(&path("b")).is_ok());
        // A root that another process holds stays with that process.
        let theirs = RootLock::acquire(&path("c")).unwrap();
        assert!(RootLock::exchange(&back, [path("a").as_path(), path("c").as_path()]).is_err());
        assert!(RootLock::acquire(&path("a")).is_err());
        drop((theirs, back));
        assert!(RootLock::acquire(&path("a")).is_ok());
    }

    #[test]
    fn a_state_folder_has_one_daemon_and_is_no_data_root() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!state_in_use(folder.path()));
        let state = StateLock::acquire(folder.path()).unwrap();
        assert!(state_in_use(folder.path()));
        assert!(matches!(StateLock::acquire(folder.path()), Err(LockError::TakenState(_))));
        assert!(RootLock::acquire(folder.path()).is_ok());
        drop(state);
        assert!(StateLock::acquire(folder.path()).is_ok());
    }
}
