//! The sections of the configuration: defaults and bounds of their keys.

pub(crate) mod credentials;
pub(crate) mod metadata;
mod monitoring;
pub(crate) mod repositories;
pub(crate) mod roots;
pub(crate) mod server;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod webhook;
