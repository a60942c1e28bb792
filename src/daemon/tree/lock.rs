//! A lock on a data root: two programs on one root would each find a session absent and each create it.

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
const LIST: &str = "/proc/net/unix";
/// Beginning of the names that hold a path.
const AT: &str = "alyx-registrar/at";
/// The longest name of a socket, in bytes.
const LONGEST: usize = 107;

/// Held as long as this value lives; the kernel lets go of it when the process ends, however it ends.
///
/// Two abstract sockets: one named by the root's real path, one by its device and inode, so that a root is locked by
/// whatever name it goes (a link, a bind mount). A root inside another's, or around it, is found by the paths. This
/// leaves no file anywhere, and unlike an open folder it does not keep a disk from being unmounted. It reaches as far
/// as the network namespace: programs in two containers do not see each other. A clone is the same lock.
#[derive(Debug, Clone)]
pub struct RootLock {
    /// The root's real path.
    at: PathBuf,
    sockets: Vec<Arc<Socket>>,
}

/// A socket that nobody else can have. Two locks of one program may share it.
#[derive(Debug)]
struct Socket {
    name: Vec<u8>,
    _listener: UnixListener,
}

/// Why a root could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else works on it.
    #[error(
        "another alyx-registrar is at work on {at:?}{}: stop that one first (systemctl stop alyx-registrar), or leave the flags to it",
        if at == root { String::new() } else { format!(", which holds the same sessions as {root:?}") }
    )]
    Taken {
        /// The root that was to be locked.
        root: PathBuf,
        /// The one that is.
        at: PathBuf,
    },
    /// Another daemon has the state folder.
    #[error("another alyx-registrar keeps its state in {0:?}; give each its own state_dir, or stop that one")]
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

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The name of the socket for a path. A path that is too long for one is known by its digest alone.
fn name_of(path: &Path) -> Vec<u8> {
    let name = [AT.as_bytes(), path.as_os_str().as_bytes()].concat();
    if name.len() > LONGEST { digest_name("digest", path) } else { name }
}

/// The name of the socket for a folder by whatever path. `None`: it is not there.
fn identity_name(folder: &Path) -> Option<Vec<u8>> {
    let metadata = std::fs::metadata(folder).ok()?;
    Some(format!("alyx-registrar/id/{}-{}", metadata.dev(), metadata.ino()).into_bytes())
}

/// The paths that are locked by somebody.
fn locked() -> Vec<PathBuf> {
    let list = std::fs::read(LIST).unwrap_or_default();
    let marker = format!(" @{AT}");
    let find = |line: &[u8]| {
        let start = line.windows(marker.len()).position(|w| w == marker.as_bytes())? + marker.len();
        Some(PathBuf::from(OsString::from_vec(line.get(start..)?.to_vec())))
    };
    list.split(|byte| *byte == b'\n').filter_map(find).collect()
}

/// Whether a socket of this name is bound by somebody.
fn is_bound(name: &[u8]) -> bool {
    let list = std::fs::read(LIST).unwrap_or_default();
    let shown = [b" @", name].concat();
    list.split(|byte| *byte == b'\n').any(|line| line.ends_with(&shown))
}

/// The folder of another program at work that keeps this one from being locked as a root. Nothing is locked.
pub fn root_in_use(root: &Path) -> Option<PathBuf> {
    let real = real(root).ok()?;
    let around = locked().into_iter().find(|other| overlap(other, &real));
    around.or_else(|| identity_name(&real).filter(|name| is_bound(name)).map(|_| root.to_owned()))
}

/// Whether another daemon has a state folder. Nothing is locked.
pub fn state_in_use(state_dir: &Path) -> bool {
    real(state_dir).is_ok_and(|real| is_bound(&digest_name("state", &real)))
}

impl RootLock {
    /// Locks a root. A root that does not exist yet is locked by its name.
    ///
    /// # Errors
    /// [`LockError::Taken`] where another process holds it, a folder around it, or one inside it.
    pub fn acquire(root: &Path) -> Result<Self, LockError> {
        Self::acquire_beside(root, &[])
    }

    /// Locks a root for a program that holds locks already. What is locked by those is no obstacle.
    fn acquire_beside(root: &Path, held: &[Self]) -> Result<Self, LockError> {
        let io = |source| LockError::Io { root: root.to_owned(), source };
        let taken = |at: &Path| LockError::Taken { root: root.to_owned(), at: at.to_owned() };
        let real = real(root).map_err(io)?;
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
        // After binding: of two that begin at once, one at least sees the other.
        let is_other = |other: &PathBuf| {
            *other != real && overlap(other, &real) && !held.iter().any(|lock| lock.at == *other)
        };
        match locked().into_iter().find(is_other) {
            Some(other) => Err(taken(&other)),
            None => Ok(Self { at: real, sockets }),
        }
    }

    /// Locks all roots, or none. Roots inside one another are one lock: that of the outermost.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn acquire_all<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Self>, LockError> {
        Self::exchange(&[], roots)
    }

    /// Locks other roots, or none, for a program that holds locks already. What is in both is locked throughout, and
    /// what is not in the new ones as long as the old ones live.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn exchange<'a>(
        held: &[Self],
        roots: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Vec<Self>, LockError> {
        let mut outermost: Vec<PathBuf> = Vec::new();
        for root in roots {
            let real = real(root).map_err(|source| LockError::Io { root: root.to_owned(), source })?;
            if !outermost.iter().any(|other| real.starts_with(other)) {
                outermost.retain(|other| !other.starts_with(&real));
                outermost.push(real);
            }
        }
        outermost.iter().map(|root| Self::acquire_beside(root, held)).collect()
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
        let io = |source| LockError::Io { root: state_dir.to_owned(), source };
        let real = real(state_dir).map_err(io)?;
        match bind(&digest_name("state", &real)).map_err(io)? {
            Some(socket) => Ok(Self { _socket: socket }),
            None => Err(LockError::TakenState(state_dir.to_owned())),
        }
    }
}

/// The path without links. A folder that does not exist yet goes by its name.
fn real(folder: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder))
}

fn digest_name(kind: &str, path: &Path) -> Vec<u8> {
    let digest: String =
        Md5::digest(path.as_os_str().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("alyx-registrar/{kind}/{digest}").into_bytes()
}

/// The socket of a name; `None`: somebody has it.
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
    fn a_root_is_locked_once_by_whatever_name_and_with_what_is_around_and_inside_it() {
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
        // A name that merely begins alike is another folder.
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
    fn locks_are_exchanged_without_letting_go_of_what_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a/inner", "b", "c"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let held = RootLock::acquire_all([path("a"), path("b")].iter().map(PathBuf::as_path)).unwrap();
        let new = [path("b"), path("a/inner"), path("c")];
        let locks = RootLock::exchange(&held, new.iter().map(PathBuf::as_path)).unwrap();
        assert_eq!(locks.len(), 3);
        // Until the work on the old ones is done, both count.
        assert!(RootLock::acquire(&path("a")).is_err() && RootLock::acquire(&path("c")).is_err());
        drop(held);
        assert!(RootLock::acquire(&path("b")).is_err() && RootLock::acquire(&path("a/inner")).is_err());
        // The way back: around what is held.
        let back = RootLock::exchange(&locks, [path("a").as_path()]).unwrap();
        drop(locks);
        assert!(RootLock::acquire(&path("a/inner")).is_err() && RootLock::acquire(&path("b")).is_ok());
        // Somebody else's stays his.
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
