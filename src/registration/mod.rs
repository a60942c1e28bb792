//! The port of `RegistrationClient`: what is registered on Alyx, in which order.
//!
//! [`RegistrationClient`] holds the verbs of Python's client; [`flagged`] is the whole arrow from a flag to its
//! removal, once, as the daemon and the one-shot scan run it.

mod check_protected;
mod checksum;
mod client;
mod confirm;
mod create_sessions;
mod discover;
mod error;
mod files;
pub mod flagged;
mod measurements;
mod names;
mod new_session;
mod outgoing;
mod protected;
mod send;
mod session;
mod session_details;
mod session_reference;
mod standing;

pub use check_protected::ProtectedStatus;
pub use checksum::{Checksum, FileStamp, Progress, checksums};
pub use client::{RegistrationClient, RegistrationOptions};
pub use create_sessions::{CreateSessionsOptions, CreatedSession};
pub use discover::{FoundFile, FoundFiles, LeftOut, LeftOutSummary, Reason};
pub use error::{Error, MissingName};
pub use files::{RegisterFilesOptions, RegisteredFiles, Relation, Versions};
pub use measurements::{WaterOptions, WeightOptions};
pub use new_session::{NewSession, NewSessionOptions};
pub use protected::ProtectedPolicy;
pub use session::FilesToRegister;
pub use session_details::SessionDetails;
pub use session_reference::SessionReference;
