//! The state behind every request: the store and the throttle.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Store;
use crate::throttle::Throttle;

/// Everything that a request may change.
pub(super) struct Server {
    pub store: Store,
    pub throttle: Option<Throttle>,
}

/// Locks even after a panic: that is another test's failure, not a reason for a second one here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
