//! What lies in a session folder: which files are datasets, which are left out, and whether anything still arrives.

pub(crate) mod accepted_gaps;
pub(crate) mod completeness;
pub(crate) mod copy_signs;
pub(crate) mod discover;
pub mod file_system;
pub(crate) mod gap;
pub(crate) mod left_out;
pub(crate) mod name_patterns;
pub(crate) mod other_software;
pub(crate) mod quiet;
pub(crate) mod snapshot;
pub(crate) mod summary;
pub(crate) mod trail;
