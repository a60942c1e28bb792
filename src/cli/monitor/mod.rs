//! Commands that show or change what the daemon and its ledger remember.

pub(crate) mod acknowledge;
pub(crate) mod history;
mod names;
pub(crate) mod retry;
pub(crate) mod state;
pub(crate) mod status;
mod status_from_disk;
