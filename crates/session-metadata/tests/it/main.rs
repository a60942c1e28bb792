//! The tests of session-metadata. They are one executable.

mod completeness;
mod fuzz;
mod hostile;
mod iblrig;
mod merging;
mod recordings;
mod selection;
mod sidecars;
mod updates;
mod world;
