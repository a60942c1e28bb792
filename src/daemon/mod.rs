//! The daemon: when things happen.
pub mod queue;
