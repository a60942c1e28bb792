//! The state behind every request: the store and the throttle.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::throttle::Throttle;
use crate::store::Store;

/// Everything that a request may change.
pub(crate) struct Server {
    pub store: Store,
    pub throttle: Option<Throttle>,
}

/// Locks even after a panic: one failed test must not fail the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
