//! The daemon: when things happen. A watcher task, a queue, and registration workers.

mod clock;
mod handles;
mod log_throttle;
pub mod messages;
mod options;
pub mod outside;
pub mod queue;
pub mod run_loop;
pub mod status;
pub mod tree;
pub mod verification;
pub mod watch;

pub use crate::daemon::handles::{DaemonIo, Requests};
pub use crate::daemon::messages::{Change, Command, Report, StatusClient};
pub use crate::daemon::options::Options;
pub use crate::daemon::queue::folder_locks::FolderLocks;
pub use crate::daemon::run_loop::run;
