//! The daemon: when things happen.
pub mod queue;
pub mod root;
pub mod scan;
pub mod watch_plan;
pub mod watcher;
