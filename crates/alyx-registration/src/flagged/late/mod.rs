//! Late files: datasets that appear or change in a session after it was registered. Looks at its folder find them, without
//! watches and without reading contents.

pub(crate) mod look;
pub(crate) mod pace;
pub(crate) mod plan;
