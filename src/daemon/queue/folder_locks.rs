//! Folder locks: no session runs twice at the same time, even if two data roots lead to its folder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::daemon::tree::root::FolderIdentity;

/// Locks by device and inode: a folder may have several paths.
#[derive(Debug, Default)]
pub struct FolderLocks {
    busy: Mutex<HashMap<FolderIdentity, Weak<tokio::sync::Mutex<()>>>>,
}

/// Holds the lock of a folder until it is dropped.
pub type FolderGuard = tokio::sync::OwnedMutexGuard<()>;

impl FolderLocks {
    /// Waits for the lock of a folder.
    pub async fn lock(&self, identity: FolderIdentity) -> FolderGuard {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| lock.strong_count() > 0);
            match busy.get(&identity).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    busy.insert(identity, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_folder_is_locked_by_one_task_at_a_time_and_others_stay_free() {
        let folders = FolderLocks::default();
        let (one, other) = (FolderIdentity { device: 1, inode: 1 }, FolderIdentity { device: 1, inode: 2 });
        let inside = folders.lock(one).now_or_never().unwrap();
        let mut next = Box::pin(folders.lock(one));
        assert!((&mut next).now_or_never().is_none());
        assert!(folders.lock(other).now_or_never().is_some());
        drop(inside);
        assert!(next.now_or_never().is_some());
        assert!(folders.lock(one).now_or_never().is_some());
    }
}
