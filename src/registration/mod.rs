//! The port of `RegistrationClient`: what is registered on Alyx, in which order.
//!
//! [`RegistrationClient`] holds the verbs of Python's client; [`flagged`] is the whole arrow from a flag to its
//! removal, once, as the daemon and the one-shot scan run it.
//!
//! | Python | here |
//! |---|---|
//! | `create_sessions` | [`RegistrationClient::create_sessions`] |
//! | `create_session` | [`RegistrationClient::create_session`] |
//! | `create_new_session` | [`RegistrationClient::create_new_session`] |
//! | `register_session` | [`RegistrationClient::register_session`] |
//! | `register_files`, `prepare_files` | [`RegistrationClient::register_files`] |
//! | `register_files(dry=True)` | [`RegistrationClient::plan_files`] |
//! | `find_files` | [`RegistrationClient::find_files`] |
//! | `get_dataset_type` | [`DatasetTypes::find`](crate::alf::DatasetTypes::find) of [`RegistrationClient::dataset_types`] |
//! | `check_protected_files` | [`RegistrationClient::check_protected_files`] |
//! | `_next_revision` | [`next_revision`](crate::alf::revision::next_revision) |
//! | `assert_exists` | [`RegistrationClient::assert_exists`], [`RegistrationClient::assert_all_exist`] |
//! | `ensure_ISO8601` | [`RegistrationClient::ensure_iso8601`] |
//! | `register_water_administration` | [`RegistrationClient::register_water_administration`] |
//! | `register_weight` | [`RegistrationClient::register_weight`] |
//! | `ONE.to_eid` | [`RegistrationClient::to_eid`] |

pub mod advice;
mod batch_size;
mod check_protected;
mod checksum;
mod client;
mod confirm;
mod create_sessions;
mod creations;
mod discover;
mod error;
mod files;
pub mod flagged;
mod gaps;
mod known;
mod measurements;
mod names;
mod new_session;
mod orphans;
mod outgoing;
mod planned_session;
mod posting_order;
mod private_paths;
mod protected;
mod refusal;
mod send;
mod session;
mod session_details;
mod session_reference;
mod standing;
mod turns;

pub use check_protected::ProtectedStatus;
pub use checksum::{Checksum, FileStamp, Progress, Reading, checksums};
pub use client::{RegistrationClient, RegistrationOptions};
pub use create_sessions::{CreateSessionsOptions, CreatedSession};
pub use creations::PendingCreations;
pub use discover::{FoundFile, FoundFiles, LeftOut, LeftOutSummary, Reason};
pub use error::{Error, MissingName};
pub use files::{PlannedFiles, RegisterFilesOptions, RegisteredFiles, Relation, Versions};
pub use known::KnownChecksums;
pub use measurements::{WaterOptions, WeightOptions};
pub use new_session::{NewSession, NewSessionOptions};
pub use orphans::SubjectFolders;
pub use planned_session::PlannedSession;
pub use private_paths::PrivatePaths;
pub use protected::ProtectedPolicy;
pub use session::FilesToRegister;
pub use session_details::SessionDetails;
pub use session_reference::SessionReference;
pub use turns::{Turn, Turns};
