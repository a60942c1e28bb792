//! The daemon's edges: signals, systemd, the control socket, the ledger.

pub mod clean_stop;
pub(crate) mod connections;
pub mod control;
pub(crate) mod ledger_writer;
pub(crate) mod obstacles;
pub mod signals;
pub mod systemd;
