//! The one-shot commands, one for each method of the registration client, and `propose` and `metadata`.
//!
//! A command connects, calls the library once, and returns an [`Answer`](output::Answer) with text and JSON, of which
//! one is printed.

mod connect;
mod create_sessions;
mod files;
mod manual;
mod measurements;
mod members;
mod metadata;
mod output;
mod propose;
mod record;
mod sessions;

pub(super) use crate::cli::verbs::create_sessions::create_sessions;
pub(super) use crate::cli::verbs::files::{check_protected, find_files, register_files};
pub(super) use crate::cli::verbs::manual::{completions, man};
pub(super) use crate::cli::verbs::measurements::{water, weight};
pub(super) use crate::cli::verbs::members::exists;
pub(super) use crate::cli::verbs::metadata::metadata;
pub(super) use crate::cli::verbs::propose::propose;
pub(super) use crate::cli::verbs::sessions::{create_session, new_session, register_session};
