//! The locks of a configuration's data roots. Each is taken once the disk of its root answers: a dead network drive must
//! not keep the other roots from being served.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::daemon::tree::lock::{Claim, Holder, Kind, LockError, LockFolders, RootLock};

/// The locks of data roots. A root is served only once it is locked.
#[derive(Debug, Default)]
pub struct RootLocks {
    folders: LockFolders,
    held: watch::Sender<Held>,
}

/// What is locked.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The roots under their configured names. Those inside one another share the lock of the outermost.
    roots: BTreeSet<PathBuf>,
    locks: Vec<RootLock>,
}

impl Held {
    /// Creates the lock files that were deleted. Blocks.
    ///
    /// # Errors
    /// The process that has locked a root of these meanwhile.
    pub fn restore(&self) -> Result<(), Holder> {
        RootLock::restore_all(&self.locks)
    }

    /// Adds what another configuration of this process holds.
    pub fn add(&mut self, other: Self) {
        self.roots.extend(other.roots);
        self.locks.extend(other.locks);
    }
}

impl RootLocks {
    /// Locks those of the data roots whose disks answer within `patience`, or none. Roots that are in `held` stay locked
    /// throughout, even if their disk does not answer.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn acquire<'a>(
        roots: impl IntoIterator<Item = &'a Path>,
        held: &Held,
        folders: &LockFolders,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let roots: Vec<&Path> = roots.into_iter().collect();
        let answered = claims(&roots, patience)?;
        let mut locked: BTreeSet<PathBuf> = answered.iter().map(|(root, _)| root.clone()).collect();
        let mut locks = RootLock::exchange(&held.locks, answered, folders)?;
        let silent = roots.iter().filter(|root| !locked.contains(**root) && held.roots.contains(**root));
        let silent: Vec<PathBuf> = silent.map(|root| root.to_path_buf()).collect();
        if !silent.is_empty() {
            // Which of the locks are theirs cannot be asked now.
            locks.extend(held.locks.iter().cloned());
            locked.extend(silent);
        }
        Ok(Self { folders: folders.clone(), held: watch::Sender::new(Held { roots: locked, locks }) })
    }

    /// Locks a data root, unless it is locked. Blocks, and hangs as long as its disk does.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn lock(&self, root: &Path) -> Result<(), LockError> {
        if self.is_locked(root) {
            return Ok(());
        }
        self.lock_claimed(root, claim(root)?)
    }

    /// As [`lock`](Self::lock), for a configuration that a reload may replace: while the disk of the root hangs, the locks
    /// of the other roots are not kept. `None`: another configuration is in use.
    ///
    /// # Errors
    /// Those of [`RootLock::acquire`].
    pub fn lock_in_use(locks: &Weak<Self>, root: &Path) -> Option<Result<(), LockError>> {
        if locks.upgrade()?.is_locked(root) {
            return Some(Ok(()));
        }
        let claim = claim(root);
        let locks = locks.upgrade()?;
        Some(claim.and_then(|claim| locks.lock_claimed(root, claim)))
    }

    fn lock_claimed(&self, root: &Path, claim: Claim) -> Result<(), LockError> {
        let mut result = Ok(());
        // One at a time, so that roots of this process that contain one another are not taken for another registrar's.
        self.held.send_modify(|held| {
            result = RootLock::acquire_with(root, claim, &self.folders, &held.locks).map(|lock| {
                held.locks.push(lock);
                held.roots.insert(root.to_owned());
            });
        });
        result
    }

    /// Whether a data root, or the one that contains a path, is locked.
    pub fn is_locked(&self, path: &Path) -> bool {
        self.held.borrow().roots.iter().any(|root| path.starts_with(root))
    }

    /// Waits until the data root that contains a path is locked. `None`: a reload has replaced the configuration.
    pub async fn locked(locks: &Weak<Self>, path: &Path) -> Option<Arc<Self>> {
        let contains = |held: &Held| held.roots.iter().any(|root| path.starts_with(root));
        let mut held = locks.upgrade()?.held.subscribe();
        held.wait_for(contains).await.ok()?;
        locks.upgrade()
    }

    /// What is locked now.
    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }
}

fn claim(root: &Path) -> Result<Claim, LockError> {
    Claim::on(Kind::Root, root).map_err(|source| LockError::Io { root: root.to_owned(), source })
}

/// The claims on the roots whose disks answer in time, in the order of the roots. Threads of others are left behind.
fn claims(roots: &[&Path], patience: Duration) -> Result<Vec<(PathBuf, Claim)>, LockError> {
    let (sender, answers) = channel();
    for (number, root) in roots.iter().enumerate() {
        let (sender, root) = (sender.clone(), root.to_path_buf());
        let named = root.clone();
        let ask = move || drop(sender.send((number, claim(&root).map(|claim| (root, claim)))));
        let spawned = std::thread::Builder::new().name("root lock".into()).spawn(ask);
        spawned.map_err(|source: io::Error| LockError::Io { root: named, source })?;
    }
    drop(sender);
    let until = Instant::now() + patience;
    let mut answered = Vec::new();
    while let Ok((number, claim)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        answered.push((number, claim?));
    }
    answered.sort_by_key(|(number, _)| *number);
    Ok(answered.into_iter().map(|(_, claim)| claim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_root_is_locked_later_unless_another_registrar_has_it_and_what_waits_for_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (state, root) = (folder.path().join("state"), folder.path().join("data"));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir_all(root.join("lab")).unwrap();
        let folders = LockFolders::of(Some(&state));
        let locks = Arc::new(RootLocks::acquire([], &Held::default(), &folders, NEVER).unwrap());
        let in_use = Arc::downgrade(&locks);
        let theirs = RootLock::acquire(&root.join("lab"), &folders).unwrap();
        assert!(matches!(locks.lock(&root), Err(LockError::Taken { .. })) && !locks.is_locked(&root));
        drop(theirs);
        let session = root.join("lab/Subjects/KS014/2024-05-01/001");
        let lock = async { locks.lock(&root).unwrap() };
        tokio::join!(biased; RootLocks::locked(&in_use, &session), lock);
        assert!(locks.is_locked(&session) && !locks.is_locked(folder.path()));
        // One inside it is no other registrar's, whichever comes first.
        locks.lock(&root.join("lab")).unwrap();
        locks.lock(folder.path()).unwrap();
        assert!(RootLock::acquire(&root, &folders).is_err());
        // What waits for a root that never answers keeps no lock of a configuration that was replaced.
        let elsewhere = folder.path().with_file_name("elsewhere");
        let waits = RootLocks::locked(&in_use, &elsewhere);
        let replace = async { drop(locks) };
        let (waited, ()) = tokio::join!(biased; waits, replace);
        assert!(waited.is_none() && RootLocks::lock_in_use(&in_use, &root).is_none());
        RootLock::acquire(&root, &folders).unwrap();
    }

    #[test]
    fn roots_that_are_locked_stay_locked_when_their_disks_do_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (state, root) = (folder.path().join("state"), folder.path().join("data"));
        [&state, &root].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let folders = LockFolders::of(Some(&state));
        let before = RootLocks::acquire([root.as_path()], &Held::default(), &folders, NEVER).unwrap();
        // Hardly any answer comes in no time; one that does changes nothing.
        let after = RootLocks::acquire([root.as_path()], &before.held(), &folders, Duration::ZERO).unwrap();
        drop(before);
        assert!(after.is_locked(&root) && RootLock::acquire(&root, &folders).is_err());
    }
}
