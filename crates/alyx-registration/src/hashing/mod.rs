//! Hashing: MD5 of files, scheduled fairly and cached from run to run.

pub(crate) mod checksum;
pub(crate) mod checksum_cache;
pub(crate) mod disk_steps;
pub(crate) mod lanes;
pub(crate) mod md5_sum;
pub(crate) mod pressure;
pub(crate) mod progress;
pub(crate) mod read_rate;
pub(crate) mod read_scheduler;
pub(crate) mod reader;
pub(crate) mod root_schedulers;
pub(crate) mod schedule;
pub(crate) mod stamp;
pub(crate) mod yielding;
