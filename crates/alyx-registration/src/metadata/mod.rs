//! What is known of a session from its folder: read once before the session is created, carried as a value, sent only
//! where Alyx has nothing.

pub(crate) mod fill;
pub(crate) mod folder;
pub(crate) mod known;
pub(crate) mod layers;
pub(crate) mod measured;
pub(crate) mod options;
pub(crate) mod remarks;
pub(crate) mod repository;
pub(crate) mod sources;
