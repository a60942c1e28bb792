//! The port of `RegistrationClient`: what is registered on Alyx, in which order.
//!
//! [`RegistrationClient`] holds the verbs of Python's client; [`flagged`] is the whole arrow from a flag to its
//! removal, once, as the daemon and the one-shot scan run it.

mod checksum;
mod client;
mod confirm;
mod create_sessions;
mod discover;
mod error;
mod files;
pub mod flagged;
mod known;
mod names;
mod outgoing;
mod protected;
mod refusal;
mod send;
mod session;
mod session_details;
mod standing;
mod turns;

pub use checksum::{Checksum, FileStamp, Progress, Reading, checksums};
pub use client::{RegistrationClient, RegistrationOptions};
pub use create_sessions::{CreateSessionsOptions, CreatedSession};
pub use discover::{FoundFile, FoundFiles, LeftOut, LeftOutSummary, Reason};
pub use error::{Error, MissingName};
pub use files::{RegisterFilesOptions, RegisteredFiles, Relation, Versions};
pub use known::KnownChecksums;
pub use protected::ProtectedPolicy;
pub use session::FilesToRegister;
pub use session_details::SessionDetails;
pub use turns::{Turn, Turns};
