//! Files: which of them are datasets, how they differ from Alyx, and how they are registered.

pub(crate) mod batch_size;
pub(crate) mod bisect;
pub(crate) mod check_protected;
pub(crate) mod comparison;
pub(crate) mod confirm;
pub(crate) mod existence;
pub(crate) mod posting_order;
pub(crate) mod protected;
pub(crate) mod register;
pub(crate) mod remote_diff;
pub(crate) mod send;
pub(crate) mod server_errors;
pub(crate) mod upload;
