//! Commands that need no Alyx: the demo and the sandbox.

pub(crate) mod demo;
pub(crate) mod sandbox;
