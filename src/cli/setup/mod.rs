//! Commands that set up a computer: configuration, password, and a check of both.

pub(crate) mod check;
pub(crate) mod init;
pub(crate) mod passwd;
