//! The daemon as a process: start, reload, and what it is built from.

pub(crate) mod core_dumps;
pub(crate) mod io_priority;
pub(crate) mod monitoring;
pub(crate) mod reload;
pub(crate) mod run;
mod verification;
pub(crate) mod wiring;
