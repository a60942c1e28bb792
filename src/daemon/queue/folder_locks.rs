//! Session folders at work: no session runs twice at the same time, even if two data roots lead to its folder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::daemon::tree::root::FolderIdentity;

/// The folders at work, known by device and number: a path may have other names.
#[derive(Debug, Default)]
pub struct FolderLocks {
    busy: Mutex<HashMap<FolderIdentity, Weak<tokio::sync::Mutex<()>>>>,
}

/// A folder at work, until it is dropped.
pub type Folder = tokio::sync::OwnedMutexGuard<()>;

impl FolderLocks {
    /// Waits until nobody else is at work in a folder.
    pub async fn enter(&self, identity: FolderIdentity) -> Folder {
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
    fn a_folder_is_entered_by_one_at_a_time_and_others_are_free() {
        let folders = FolderLocks::default();
        let (one, other) = (FolderIdentity { device: 1, inode: 1 }, FolderIdentity { device: 1, inode: 2 });
        let inside = folders.enter(one).now_or_never().unwrap();
        let mut next = Box::pin(folders.enter(one));
        assert!((&mut next).now_or_never().is_none());
        assert!(folders.enter(other).now_or_never().is_some());
        drop(inside);
        assert!(next.now_or_never().is_some());
        assert!(folders.enter(one).now_or_never().is_some());
    }
}
