//! The verbs of the registration client, each as a command.
//!
//! A verb takes what was typed, connects, calls the library once, and gives an [`Answer`](output::Answer): text for people and
//! JSON for a program, of which one is printed.

mod connect;
mod files;
mod manual;
mod measurements;
mod members;
mod output;
mod sessions;

pub(super) use crate::cli::verbs::files::{check_protected, find_files, register_files};
pub(super) use crate::cli::verbs::manual::{completions, man};
pub(super) use crate::cli::verbs::measurements::{water, weight};
pub(super) use crate::cli::verbs::members::exists;
pub(super) use crate::cli::verbs::sessions::{
    create_session, create_sessions, new_session, register_session,
};
