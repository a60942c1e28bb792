//! Locks on data roots and state folders: two daemons on one root would get in each other's way.
//!
//! They cover one computer. Across computers, the lock on each flag and the second look at Alyx do the rest.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alyx_registration::file_system::is_private_folder;
use alyx_registration::{MarkFolders, RequestMarks};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// Where the locks of a computer are. Only root can create it; the unit gives it to the service user.
const RUN: &str = "/run/alyx-registrar";
/// The file whose lock makes looking at all locks and adding one a single step.
const MUTEX: &str = "locks";
/// How long it is waited for.
const MUTEX_WITHIN: Duration = Duration::from_secs(2);
/// The end of the names of lock files.
const EXTENSION: &str = "lock";

/// The folders that hold the lock files of this computer: each one that this user can use. Others must not be able to
/// write there, or they could keep the daemon from its data.
///
/// A lock is held in all of them, because another user may have only some in common with this one.
#[derive(Debug, Clone, Default)]
pub struct LockFolders(Vec<PathBuf>);

impl LockFolders {
    /// Those in which to lock: `/run/alyx-registrar`, created if possible, and the state folder, if there is one.
    pub fn of(state_dir: Option<&Path>) -> Self {
        // Fails if it exists, or for users other than root.
        let _ = DirBuilder::new().mode(0o700).create(RUN);
        Self::existing(state_dir)
    }

    /// Those that there are. Writes nothing.
    pub fn existing(state_dir: Option<&Path>) -> Self {
        let folders = [Some(Path::new(RUN)), state_dir].into_iter().flatten();
        Self(folders.filter(|folder| is_private_folder(folder)).map(Path::to_owned).collect())
    }
}

/// Names the folder for marks of requests, in place of the usual ones.
const MARKS_VARIABLE: &str = "ALYX_REGISTRAR_MARKS";

/// Where the programs of this computer mark their requests: in the state folder, if there is one; in
/// `/run/alyx-registrar` or, for a user who cannot use that, in a folder of this user that outlives a login; and in
/// folders for all users. A service has its own `/var/tmp`, and a logout may empty `/dev/shm`.
pub fn request_marks(state_dir: Option<&Path>) -> RequestMarks {
    let name = format!("alyx-registrar-{}", rustix::process::geteuid().as_raw());
    let (own, public) = match std::env::var_os(MARKS_VARIABLE).filter(|folder| !folder.is_empty()) {
        Some(folder) => (vec![folder.clone().into()], vec![folder.into()]),
        None => (
            vec![RUN.into(), Path::new("/var/tmp").join(&name), std::env::temp_dir().join(&name)],
            vec!["/var/tmp".into(), "/dev/shm".into()],
        ),
    };
    RequestMarks::new(MarkFolders { state: state_dir.map(Path::to_owned), own, public })
}

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    State,
}

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What it has locked.
    pub at: PathBuf,
    /// Its number and user.
    process: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.process)
    }
}

/// Why a root could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the root.
    #[error(
        "another alyx-registrar ({holder}) is already using {:?}{}; stop it first (systemctl stop alyx-registrar), or leave the flags to it",
        holder.at,
        if holder.at == *root { String::new() } else { format!(", which holds the same sessions as {root:?}") }
    )]
    Taken {
        /// The root to be locked.
        root: PathBuf,
        /// Who holds it, or one around or inside it.
        holder: Holder,
    },
    /// Another daemon uses the state folder.
    #[error("another alyx-registrar ({holder}) keeps its state in {:?}; give each its own state_dir, or stop that one", holder.at)]
    TakenState {
        /// Who uses it.
        holder: Holder,
    },
    /// The system refused.
    #[error("{root:?} cannot be locked ({source})")]
    Io {
        /// The root.
        root: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// What a lock file says: one line each for the process, the kind, device and inode of the folder, and its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    kind: Kind,
    /// Device and inode: a folder may have several paths. `None`: it does not exist yet.
    identity: Option<(u64, u64)>,
    at: PathBuf,
}

impl Claim {
    /// The claim on a folder, under its real path.
    pub(super) fn on(kind: Kind, folder: &Path) -> io::Result<Self> {
        let at = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder))?;
        let identity = std::fs::metadata(&at).ok().map(|m| (m.dev(), m.ino()));
        Ok(Self { kind, identity, at })
    }

    fn conflicts_with(&self, other: &Self) -> bool {
        let is_same = self.identity.is_some() && self.identity == other.identity;
        let overlaps = match self.kind {
            Kind::Root => self.at.starts_with(&other.at) || other.at.starts_with(&self.at),
            Kind::State => self.at == other.at,
        };
        self.kind == other.kind && (is_same || overlaps)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let kind = if self.kind == Kind::Root { "root" } else { "state" };
        let (device, inode) = self.identity.unwrap_or_default();
        let (pid, uid) = (std::process::id(), rustix::process::geteuid().as_raw());
        let head = format!("process {pid}, user {}\n{kind}\n{device} {inode}\n", user_name(uid));
        [head.as_bytes(), self.at.as_os_str().as_bytes()].concat()
    }

    /// The process with its user, and its claim.
    fn parse(bytes: &[u8]) -> Option<(String, Self)> {
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        let mut line = || parts.next();
        let (process, kind, identity) = (line()?, line()?, std::str::from_utf8(line()?).ok()?);
        let (device, inode) = identity.split_once(' ')?;
        let identity = (device.parse().ok()?, inode.parse().ok()?);
        let claim = Self {
            kind: if kind == b"root" { Kind::Root } else { Kind::State },
            identity: (identity != (0, 0)).then_some(identity),
            at: PathBuf::from(OsString::from_vec(line()?.to_vec())),
        };
        Some((String::from_utf8_lossy(process).into_owned(), claim))
    }
}

/// A locked file, removed when it is dropped. The kernel releases the lock however the process ends.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    file: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Not that of another, which may have its name by now.
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
        // A process that another thread is just starting holds a copy.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl LockFile {
    /// Whether others still find it: it may be deleted, alone or with its folder.
    fn is_there(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let found = std::fs::symlink_metadata(&self.path).map(identity).ok();
        found.is_some() && found == self.file.metadata().map(identity).ok()
    }

    /// Creates the lock file of a claim in a folder, unless another process has a conflicting one. `ours` do not count.
    fn create(folder: &Path, claim: &Claim, ours: &[&Path]) -> io::Result<Result<Self, Holder>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mutex = options.open(folder.join(MUTEX))?;
        share(&mutex, folder);
        lock_in_time(&mutex)?;
        if let Some(holder) = holder(folder, claim, ours, true) {
            return Ok(Err(holder));
        }
        // Not by the number of the process, which is 1 in each container.
        let path = folder.join(format!("{}.{EXTENSION}", uuid::Uuid::new_v4()));
        let mut file = options.create_new(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        share(&file, folder);
        let this = Self { path, file: file.try_clone()? };
        file.write_all(&claim.to_bytes())?;
        let _ = flock(&mutex, FlockOperation::Unlock);
        Ok(Ok(this))
    }
}

/// Locks the mutex of a lock folder, unless another process keeps it, such as one that was stopped.
fn lock_in_time(mutex: &File) -> io::Result<()> {
    let until = Instant::now() + MUTEX_WITHIN;
    loop {
        match flock(mutex, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            done => return Ok(done?),
        }
    }
}

/// Gives a file to the owner of its folder: root locks in the folder of the service user, who must see that.
fn share(file: &File, folder: &Path) {
    if let Ok(metadata) = std::fs::metadata(folder) {
        let owner = rustix::fs::Uid::from_raw(metadata.uid());
        let _ = rustix::fs::fchown(file, Some(owner), None);
    }
}

/// The process that holds a claim which conflicts with this one. `clean`: removes the files of processes that were
/// killed.
fn holder(folder: &Path, claim: &Claim, ours: &[&Path], clean: bool) -> Option<Holder> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != EXTENSION) || ours.contains(&path.as_path()) {
            continue;
        }
        // A pipe would be waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let Ok(mut file) = File::options().read(true).custom_flags(flags).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            if clean {
                let _ = std::fs::remove_file(&path);
            }
            continue;
        }
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes).ok().and_then(|_| Claim::parse(&bytes));
        if let Some((process, other)) = read.filter(|(_, other)| other.conflicts_with(claim)) {
            return Some(Holder { at: other.at, process });
        }
    }
    None
}

/// The name of a user; the number if this computer does not list it.
fn user_name(uid: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// Who prevents a folder from being locked, as seen from the lock folders. Locks and writes nothing.
fn in_use(kind: Kind, folder: &Path, folders: &LockFolders) -> Option<Holder> {
    let claim = Claim::on(kind, folder).ok()?;
    folders.0.iter().find_map(|at| {
        // Without it nothing was ever locked here. It keeps others from finding what is only looked at locked.
        let mutex = File::open(at.join(MUTEX)).ok()?;
        lock_in_time(&mutex).ok()?;
        let found = holder(at, &claim, &[], false);
        let _ = flock(&mutex, FlockOperation::Unlock);
        found
    })
}

/// The process that prevents a root from being locked. Locks nothing.
pub fn root_in_use(root: &Path, folders: &LockFolders) -> Option<Holder> {
    in_use(Kind::Root, root, folders)
}

/// The daemon that uses a state folder. Locks nothing.
pub fn state_in_use(state_dir: &Path, folders: &LockFolders) -> Option<Holder> {
    in_use(Kind::State, state_dir, folders)
}

/// The lock files of one claim, in each lock folder.
#[derive(Debug)]
struct LockFiles {
    claim: Claim,
    folders: LockFolders,
    files: Mutex<Vec<LockFile>>,
}

impl LockFiles {
    /// `ours` do not count as another process's.
    fn create(claim: Claim, folders: &LockFolders, ours: &[PathBuf]) -> Result<Self, Holder> {
        let this = Self { claim, folders: folders.clone(), files: Mutex::default() };
        this.restore(ours)?;
        Ok(this)
    }

    /// Creates the files that are missing.
    fn restore(&self, ours: &[PathBuf]) -> Result<(), Holder> {
        let mut files = self.files();
        files.retain(LockFile::is_there);
        let ours: Vec<&Path> =
            ours.iter().chain(files.iter().map(|file| &file.path)).map(PathBuf::as_path).collect();
        let mut new = Vec::new();
        for folder in self.folders.0.iter().filter(|folder| is_private_folder(folder)) {
            if files.iter().any(|file| file.path.parent() == Some(folder)) {
                continue;
            }
            match LockFile::create(folder, &self.claim, &ours) {
                Ok(Ok(file)) => new.push(file),
                Ok(Err(holder)) => return Err(holder),
                // A full disk, for example. The lock on each flag remains.
                Err(error) => tracing::debug!("no lock in {}: {error}", folder.display()),
            }
        }
        files.extend(new);
        Ok(())
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.files().iter().map(|file| file.path.clone()).collect()
    }

    fn files(&self) -> MutexGuard<'_, Vec<LockFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held as long as this value lives. A clone is the same lock.
///
/// Roots that contain one another are detected by their paths, and one root under several names (a link, a bind mount)
/// by device and inode. Unlike an open folder, the lock does not keep a disk from being unmounted. Where this user can
/// use no lock folder, there is no lock: that on each flag remains.
#[derive(Debug, Clone)]
pub struct RootLock(Arc<LockFiles>);

impl RootLock {
    /// Locks a root. A root that does not exist yet is locked by its path.
    ///
    /// # Errors
    /// [`LockError::Taken`] if another process holds it, a folder around it, or one inside it.
    pub fn acquire(root: &Path, folders: &LockFolders) -> Result<Self, LockError> {
        let claim = Claim::on(Kind::Root, root);
        let claim = claim.map_err(|source| LockError::Io { root: root.to_owned(), source })?;
        Self::acquire_with(root, claim, folders, &[])
    }

    /// Locks a root for a process that already holds the locks `held`, which do not conflict.
    pub(super) fn acquire_with(
        root: &Path,
        claim: Claim,
        folders: &LockFolders,
        held: &[Self],
    ) -> Result<Self, LockError> {
        if let Some(same) = held.iter().find(|lock| lock.0.claim == claim) {
            return Ok(same.clone());
        }
        let at = claim.at.clone();
        match LockFiles::create(claim, folders, &paths(held)) {
            Ok(files) => Ok(Self(Arc::new(files))),
            Err(holder) => {
                let holder = if holder.at == at { Holder { at: root.to_owned(), ..holder } } else { holder };
                Err(LockError::Taken { root: root.to_owned(), holder })
            }
        }
    }

    /// Creates the lock files of a process that were deleted.
    ///
    /// # Errors
    /// The process that has locked a root of these meanwhile.
    pub fn restore_all(held: &[Self]) -> Result<(), Holder> {
        let ours = paths(held);
        held.iter().try_for_each(|lock| lock.0.restore(&ours))
    }

    /// Locks a new set of roots, or none, for a process that already holds locks. Roots inside one another share the lock
    /// of the outermost. Roots in both sets stay locked throughout; the others stay locked as long as `held` lives.
    pub(super) fn exchange(
        held: &[Self],
        claims: impl IntoIterator<Item = (PathBuf, Claim)>,
        folders: &LockFolders,
    ) -> Result<Vec<Self>, LockError> {
        let mut outermost: Vec<(PathBuf, Claim)> = Vec::new();
        for (root, claim) in claims {
            // Two roots may be one folder by a bind mount.
            let is_known = |other: &Claim| {
                claim.at.starts_with(&other.at)
                    || claim.identity.is_some() && claim.identity == other.identity
            };
            if !outermost.iter().any(|(_, other)| is_known(other)) {
                outermost.retain(|(_, other)| !other.at.starts_with(&claim.at));
                outermost.push((root, claim));
            }
        }
        outermost.into_iter().map(|(root, claim)| Self::acquire_with(&root, claim, folders, held)).collect()
    }
}

/// The lock files of these locks.
fn paths(held: &[RootLock]) -> Vec<PathBuf> {
    held.iter().flat_map(|lock| lock.0.paths()).collect()
}

/// The lock on a state folder, held by its daemon as long as this value lives.
#[derive(Debug)]
pub struct StateLock {
    folder: PathBuf,
    /// The permissions of the folder, if it exists.
    mode: Option<u32>,
    files: LockFiles,
}

impl StateLock {
    /// Locks a state folder, whether it exists or not.
    ///
    /// # Errors
    /// [`LockError::TakenState`] if another daemon holds it.
    pub fn acquire(state_dir: &Path, folders: &LockFolders) -> Result<Self, LockError> {
        let claim = Claim::on(Kind::State, state_dir)
            .map_err(|source| LockError::Io { root: state_dir.to_owned(), source })?;
        let mode = std::fs::metadata(state_dir).ok().map(|metadata| metadata.mode() & 0o7777);
        let files =
            LockFiles::create(claim, folders, &[]).map_err(|holder| LockError::TakenState { holder })?;
        Ok(Self { folder: state_dir.to_owned(), mode, files })
    }

    /// Creates the folder and the lock files that were deleted.
    ///
    /// # Errors
    /// The daemon that has locked the folder meanwhile.
    pub fn restore(&self) -> Result<(), Holder> {
        if let Some(mode) = self.mode {
            // Fails if it is there.
            let _ = DirBuilder::new().mode(mode).create(&self.folder);
        }
        self.files.restore(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(folder: &tempfile::TempDir) -> LockFolders {
        let locks = folder.path().join("run");
        std::fs::create_dir_all(&locks).unwrap();
        LockFolders(vec![locks])
    }

    fn all(roots: &[&PathBuf], held: &[RootLock], locks: &LockFolders) -> Result<Vec<RootLock>, LockError> {
        let claims = roots.iter().map(|root| (root.to_path_buf(), Claim::on(Kind::Root, root).unwrap()));
        RootLock::exchange(held, claims, locks)
    }

    #[test]
    fn a_lock_covers_all_names_of_a_root_and_the_roots_around_and_inside_it() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let (outer, root) = (folder.path().join("outer"), folder.path().join("outer/data"));
        std::fs::create_dir_all(root.join("lab")).unwrap();
        std::fs::create_dir(outer.join("database")).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert_eq!(root_in_use(&link, &locks), None);
        let lock = RootLock::acquire(&root, &locks).unwrap();
        for same in [&root, &link, &root.join("lab"), &outer, &link.join("lab")] {
            let Err(LockError::Taken { holder, .. }) = RootLock::acquire(same, &locks) else {
                panic!("{same:?}")
            };
            let text = holder.to_string();
            assert!(text.contains(&std::process::id().to_string()) && text.contains("user "), "{text}");
            assert!(root_in_use(same, &locks).is_some(), "{same:?}");
        }
        assert_eq!(root_in_use(&outer.join("database"), &locks), None);
        // A folder whose name merely shares the prefix is not locked.
        assert!(RootLock::acquire(&outer.join("database"), &locks).is_ok());
        drop(lock);
        assert!(RootLock::acquire(&link.join("lab"), &locks).is_ok());
    }

    #[test]
    fn roots_of_one_configuration_that_are_inside_one_another_are_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let (root, link) = (folder.path().join("data"), folder.path().join("link"));
        std::fs::create_dir_all(root.join("lab")).unwrap();
        std::os::unix::fs::symlink(root.join("lab"), &link).unwrap();
        for roots in [[&link, &root], [&root, &link]] {
            let held = all(&roots, &[], &locks).unwrap();
            assert_eq!(held.len(), 1);
            assert!(RootLock::acquire(&link, &locks).is_err());
        }
    }

    #[test]
    fn lock_files_that_are_deleted_alone_or_with_their_folder_are_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (state, root) = (folder.path().join("state"), folder.path().join("data"));
        std::fs::create_dir_all(root.join("lab")).unwrap();
        std::fs::DirBuilder::new().mode(0o750).create(&state).unwrap();
        let locks = LockFolders(vec![state.clone()]);
        let held = all(&[&root], &[], &locks).unwrap();
        let of_state = StateLock::acquire(&state, &locks).unwrap();
        for with_folder in [false, true] {
            match with_folder {
                true => std::fs::remove_dir_all(&state).unwrap(),
                false => paths(&held).iter().for_each(|file| std::fs::remove_file(file).unwrap()),
            }
            assert_eq!(root_in_use(&root, &locks), None);
            for _ in 0..2 {
                of_state.restore().unwrap();
                RootLock::restore_all(&held).unwrap();
            }
            assert!(root_in_use(&root, &locks).is_some() && state_in_use(&state, &locks).is_some());
            assert_eq!(paths(&held).len(), 1);
            assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o7777, 0o750);
        }
        // Too late: another registrar was started in between.
        std::fs::remove_file(&paths(&held)[0]).unwrap();
        let theirs = RootLock::acquire(&root.join("lab"), &locks).unwrap();
        assert!(RootLock::restore_all(&held).is_err());
        drop(theirs);
        RootLock::restore_all(&held).unwrap();
    }

    /// By device and inode, as two paths of a bind mount are.
    #[test]
    fn one_folder_under_two_names_is_no_other_registrar() {
        let one = Claim { kind: Kind::Root, identity: Some((1, 2)), at: "/a".into() };
        let other = Claim { at: "/b".into(), ..one.clone() };
        assert!(one.conflicts_with(&other));
        assert!(!one.conflicts_with(&Claim { identity: Some((1, 3)), ..other.clone() }));
        assert!(!one.conflicts_with(&Claim { kind: Kind::State, ..other }));
        let (process, parsed) = Claim::parse(&one.to_bytes()).unwrap();
        assert!(process.starts_with(&format!("process {}, user ", std::process::id())) && parsed == one);
    }

    #[test]
    fn locks_are_exchanged_without_releasing_roots_in_both_sets() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let path = |name: &str| folder.path().join(name);
        for name in ["a/inner", "b", "c"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let acquire = |name: &str| RootLock::acquire(&path(name), &locks);
        let held = all(&[&path("a"), &path("b")], &[], &locks).unwrap();
        let new = all(&[&path("b"), &path("a/inner"), &path("c")], &held, &locks).unwrap();
        assert_eq!(new.len(), 3);
        // Until the old locks are dropped, both sets are locked.
        assert!(acquire("a").is_err() && acquire("c").is_err());
        drop(held);
        assert!(acquire("b").is_err() && acquire("a/inner").is_err());
        // The way back: around what is held.
        let back = all(&[&path("a")], &new, &locks).unwrap();
        drop(new);
        assert!(acquire("a/inner").is_err() && acquire("b").is_ok());
        // A root that another process holds stays with that process.
        let theirs = acquire("c").unwrap();
        assert!(all(&[&path("a"), &path("c")], &back, &locks).is_err());
        assert!(acquire("a").is_err());
        drop((theirs, back));
        assert!(acquire("a").is_ok());
    }

    #[test]
    fn a_state_folder_has_one_daemon_and_is_no_data_root() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        assert_eq!(state_in_use(folder.path(), &locks), None);
        let state = StateLock::acquire(folder.path(), &locks).unwrap();
        assert!(state_in_use(folder.path(), &locks).is_some());
        assert!(matches!(StateLock::acquire(folder.path(), &locks), Err(LockError::TakenState { .. })));
        assert!(RootLock::acquire(folder.path(), &locks).is_ok());
        drop(state);
        assert!(StateLock::acquire(folder.path(), &locks).is_ok());
    }

    #[test]
    fn the_lock_of_a_process_that_was_killed_is_none_and_its_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let claim = Claim::on(Kind::Root, folder.path()).unwrap();
        let left = locks.0[0].join("1-0.lock");
        std::fs::write(&left, claim.to_bytes()).unwrap();
        assert_eq!(root_in_use(folder.path(), &locks), None);
        let _lock = RootLock::acquire(folder.path(), &locks).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_lock_file_that_another_process_made_under_the_same_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let lock = RootLock::acquire(folder.path(), &locks).unwrap();
        let path = paths(std::slice::from_ref(&lock)).remove(0);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        drop(lock);
        assert!(path.exists());
    }

    #[test]
    fn a_lock_folder_whose_mutex_another_process_keeps_delays_by_seconds_only() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folders(&folder);
        let mutex = File::create(locks.0[0].join(MUTEX)).unwrap();
        flock(&mutex, FlockOperation::LockExclusive).unwrap();
        let lock = RootLock::acquire(folder.path(), &locks).unwrap();
        assert_eq!(paths(std::slice::from_ref(&lock)), [] as [PathBuf; 0]);
        // The file is made with the next look at the locks.
        drop(mutex);
        RootLock::restore_all(std::slice::from_ref(&lock)).unwrap();
        assert_eq!(paths(&[lock]).len(), 1);
    }

    #[test]
    fn others_cannot_take_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let is_used = || LockFolders::of(Some(&state)).0.contains(&state);
        assert!(is_used());
        std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!is_used(), "anyone may write there");
    }
}
