//! The daemon: when things happen. A watcher task, a queue, and registration workers.

pub mod lock;
mod outage;
pub mod queue;
pub mod root;
pub mod scan;
pub mod service;
pub mod signals;
pub mod watch_plan;
pub mod watcher;
pub mod worker;

pub use service::{Options, Report, run};
