//! Hashing: MD5 of files, scheduled fairly and remembered from run to run.

pub(crate) mod checksum;
pub(crate) mod checksum_cache;
pub(crate) mod private_paths;
pub(crate) mod read_scheduler;
