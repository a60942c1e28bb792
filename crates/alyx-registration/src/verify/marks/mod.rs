//! Marks: what Alyx and ONE themselves use to say of one copy that it is missing or bad. Only the file record of this
//! repository is changed, never a dataset.

pub(crate) mod decision;
pub(crate) mod evidence;
pub(crate) mod found;
pub(crate) mod records;
pub(crate) mod target;
