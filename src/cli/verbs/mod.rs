//! The verbs of the registration client, each as a command.
//!
//! A verb takes what was typed, connects, calls the library once, and gives an [`Answer`](answer::Answer): text for a person and
//! JSON for a program, of which one is printed.

mod answer;
mod connect;
mod files;
mod manual;
mod measurements;
mod members;
mod sessions;

pub(super) use files::{check_protected, find_files, register_files};
pub(super) use manual::{completions, man};
pub(super) use measurements::{water, weight};
pub(super) use members::exists;
pub(super) use sessions::{create_session, create_sessions, new_session, register_session};
