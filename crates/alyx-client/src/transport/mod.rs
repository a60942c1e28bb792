//! How a request travels: sent, observed, repeated, slowed down, and its answer classified.

pub(crate) mod ca_file;
pub(crate) mod call;
pub(crate) mod diagnosis;
pub(crate) mod observer;
pub(crate) mod proxy;
pub(crate) mod rate_limit;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod server_probe;
