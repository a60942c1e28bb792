//! The daemon: when things happen.
