//! Registers sessions and their datasets on Alyx: the port of Python's `RegistrationClient`.
//!
//! [`RegistrationClient`] has the verbs of Python's client, and [`RegistrationClient::register_flagged`] for one
//! attempt from a flag to its removal, as the daemon and the one-shot scan run it. Choices are in options, which are
//! plain values; what a run shares and reports is in its [`RunContext`].
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
//! | `get_dataset_type` | [`DatasetTypes::find`](alf::DatasetTypes::find) of [`RegistrationClient::dataset_types`] |
//! | `check_protected_files` | [`RegistrationClient::check_protected_files`] |
//! | `_next_revision` | [`next_revision`](alf::revision::next_revision) |
//! | `assert_exists` | [`RegistrationClient::assert_exists`], [`RegistrationClient::assert_all_exist`] |
//! | `ensure_ISO8601` | [`RegistrationClient::ensure_iso8601`] |
//! | `register_water_administration` | [`RegistrationClient::register_water_administration`] |
//! | `register_weight` | [`RegistrationClient::register_weight`] |
//! | `ONE.to_eid` | [`RegistrationClient::to_eid`] |

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

mod client;
mod error;
mod files;
pub mod flag;
pub mod flagged;
mod follow;
mod hashing;
mod listing;
mod measurements;
mod metadata;
mod opener;
mod propose;
mod reclaim;
mod repository;
mod session;
mod verify;

pub use crate::client::RegistrationClient;
pub use crate::client::context::RunContext;
pub use crate::client::options::{
    CreateSessionsOptions, FilesToRegister, FlaggedOptions, LateOptions, NewSessionOptions, OnLate,
    OnLeftOut, OnRefused, ProtectedPolicy, QuietRules, ReadingOptions, RegisterFilesOptions,
    RegistrationOptions, Relation, RootDatasets, Versions, WaterOptions, WeightOptions,
};
pub use crate::client::record_outcome::RecordOutcome;
pub use crate::error::{ELSEWHERE, Error, MissingName, advice};
pub use crate::files::check_protected::ProtectedStatus;
pub use crate::files::register::{PlannedFiles, RegisteredFile, RegisteredFiles};
pub use crate::files::server_errors::ServerErrors;
pub use crate::flag::{LastLook, LastLooks};
pub use crate::flagged::late::look::{LateLook, LookRules};
pub use crate::flagged::late::pace::{Pace, StatRate};
pub use crate::flagged::late::plan::LookPlan;
pub use crate::follow::copy::FollowMode;
pub use crate::follow::poll::AbsentFiles;
pub use crate::follow::repositories::FollowedRepository;
pub use crate::follow::session::{CopyKind, FollowRules, FollowedCopy, FollowedSession};
pub use crate::hashing::checksum::{Checksum, HashContext, checksums};
pub use crate::hashing::checksum_cache::ChecksumCache;
pub use crate::hashing::disk_steps::{DiskStep, DiskSteps, OpenStep};
pub use crate::hashing::md5_sum::Md5Sum;
pub use crate::hashing::progress::Progress;
pub use crate::hashing::read_rate::{ReadingState, YieldState};
pub use crate::hashing::read_scheduler::ReadScheduler;
pub use crate::hashing::stamp::FileStamp;
pub use crate::hashing::yielding::YieldCause;
pub use crate::listing::accepted_gaps::AcceptedGaps;
pub use crate::listing::copy_signs::{CopySign, DEFAULT_COPY_SIGNS};
pub use crate::listing::discover::{FoundFile, FoundFiles};
pub use crate::listing::file_system;
pub use crate::listing::gap::{Gap, LATE_FILES, LateFile, Rename, Untyped};
pub use crate::listing::left_out::{LeftOut, LeftOutClass, LeftOutReason};
pub use crate::listing::quiet::{Activity, SessionLooks};
pub use crate::listing::snapshot::SessionSnapshot;
pub use crate::listing::summary::LeftOutSummary;
pub use crate::listing::trail::{Trail, TrailFile};
pub use crate::measurements::planned::{PlannedMeasurement, RecordedMeasurement};
pub use crate::metadata::known::KnownSession;
pub use crate::metadata::options::{Measured, MetadataOptions, OnMissing, RootMetadata};
pub use crate::metadata::remarks::Remarks;
pub use crate::metadata::sources::Beside;
pub use crate::opener::data_folders::{DataFolders, OpenError};
pub use crate::opener::private_paths::PrivatePaths;
pub use crate::opener::refusal::{Refusal, allow_line};
pub use crate::propose::apply::Applied;
pub use crate::propose::change::{ByHand, Change, RestCall};
pub use crate::propose::known_records::KnownRecords;
pub use crate::propose::needs::Needs;
pub use crate::propose::proposal::Proposal;
pub use crate::propose::survey::Survey;
pub use crate::reclaim::plan::{KeptReason, ReclaimNeeds};
pub use crate::reclaim::session::{ReadCopies, ReadCopy, ReclaimRules};
pub use crate::repository::loadability::NotLoadable;
pub use crate::repository::mount::Mount;
pub use crate::repository::placement::Placement;
pub use crate::session::create_sessions::CreatedSession;
pub use crate::session::created::CreatedSessions;
pub use crate::session::creation::InFlightCreations;
pub use crate::session::details::SessionDetails;
pub use crate::session::new_session::NewSession;
pub use crate::session::orphans::SubjectFolders;
pub use crate::session::planned::PlannedSession;
pub use crate::session::reference::SessionReference;
pub use crate::session::register::RegisteredSession;
pub use crate::session::request_marks::{MarkFolders, RequestMarks};
pub use crate::verify::audit::{AuditRules, SessionAudit};
pub use crate::verify::copy::HeldCopy;
pub use crate::verify::finding::{Finding, FindingKind, Seen};
pub use crate::verify::flag_need::FlagNeed;
pub use crate::verify::marks::decision::{MARK_APART, MARKS_AT_ONCE, MarkDecision, Sighting, may_mark};
pub use crate::verify::marks::evidence::{Evidence, MarkRoot};
pub use crate::verify::marks::records::{MarkedRecord, RecordChange, RecordState};
pub use crate::verify::marks::target::{Mark, MarkTarget, NotMarked};
pub use crate::verify::roots::AuditRoots;
pub use crate::verify::sessions::SessionPair;
pub use crate::verify::sums::{HeldSum, HeldSums};
pub use crate::verify::totals::AuditTotals;
pub use crate::verify::verdict::{EarlierRead, verdict};
