//! What Alyx lacks to register the sessions of a new lab: found, proposed, and created one record at a time.

pub(crate) mod apply;
pub(crate) mod change;
pub(crate) mod dataset_types;
pub(crate) mod known_records;
pub(crate) mod needs;
pub(crate) mod proposal;
pub(crate) mod repositories;
pub(crate) mod survey;
