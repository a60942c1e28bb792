//! The HTTP side of the sandbox: connections, messages, pages and throttling.

pub(crate) mod connection;
pub(crate) mod message;
pub(crate) mod pagination;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod throttle;
