//! In which repository on Alyx the files of a session are, and whether ONE finds them there.

mod choice;
mod judgement;
pub(crate) mod loadability;
pub(crate) mod mount;
pub(crate) mod placement;
