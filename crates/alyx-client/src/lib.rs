//! The REST client for Alyx: login, requests, typed records, and one error type that says what to do next.
//!
//! The client repeats only requests that are safe to repeat, and only for seconds; minutes and hours belong to the
//! caller's queue.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

pub mod backoff;
mod client;
mod endpoints;
mod error;
mod lists;
mod login;
mod options;
mod records;
mod regular_file;
pub mod text;
mod transport;

pub use crate::client::Client;
pub use crate::client::{error_chain, http_client, install_crypto_provider, jitter};
pub use crate::endpoints::{Endpoint, SessionSearch};
pub use crate::error::{Error, NextStep, ProtectedFile};
pub use crate::login::credentials::Credentials;
pub use crate::login::one_settings::{OneSettings, OneSettingsError, one_key};
pub use crate::login::token_store;
pub use crate::options::{ClientOptions, LOG_IN_WITH_ONE, Timeouts};
pub use crate::records::measurements::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
pub use crate::records::repository::{LabRecord, RepositoryRecord};
pub use crate::records::{
    CheckProtectedRequest, DataFormatRecord, DatasetRecord, DatasetTypeRecord, FileRecord, ListedFileRecord,
    RegisterFileRequest, RegisteredFileRecord, SessionRecord, SessionRequest, SessionSummary, qc_number,
};
pub use crate::regular_file::open_regular;
pub use crate::transport::call::RequestSlot;
pub use crate::transport::observer::{Exchange, Observer};
pub use crate::transport::proxy::Proxy;
pub use crate::transport::retry::RetryPolicy;
pub use crate::transport::server_probe::{Interface, ServerProbe};
