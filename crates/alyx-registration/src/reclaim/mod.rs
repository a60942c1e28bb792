//! Reclaiming space: which files here have enough verified copies elsewhere. Deletes nothing.

pub(crate) mod plan;
pub(crate) mod session;
