//! What the operator types.

pub mod args;
pub mod exit;
pub mod logging;
