//! In which repository on Alyx the files of a session are, and whether ONE finds them there.

pub(crate) mod loadability;
pub(crate) mod placement;
