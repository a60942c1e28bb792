//! The ALF naming convention as types: session paths, dataset names and paths, dataset types, timestamps.
//!
//! Everything here is pure: no IO, no clock, no async. A value that exists has been parsed whole.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

#[cfg(test)]
mod agrees_with_one;
mod characters;
pub mod dataset_name;
pub mod dataset_path;
pub mod dataset_type;
pub mod file_pattern;
pub mod near_miss;
pub mod revision;
pub mod session_path;
pub mod spelling;
pub mod timestamp;

pub use crate::characters::is_word;
pub use crate::dataset_name::DatasetName;
pub use crate::dataset_path::DatasetPath;
pub use crate::dataset_type::{DatasetType, DatasetTypes};
pub use crate::file_pattern::FilePattern;
pub use crate::near_miss::{EXTENSION_SYNONYMS, NearMiss};
pub use crate::revision::RevisionPlan;
pub use crate::session_path::SessionPath;
pub use crate::timestamp::SessionTime;
