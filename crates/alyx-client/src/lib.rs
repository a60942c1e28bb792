//! The REST client for Alyx: login, requests, typed records, and one error type that says what to do next.
//!
//! The client repeats only requests that are safe to repeat, and only for seconds; minutes and hours belong to the
//! caller's queue.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

mod auth;
pub mod backoff;
mod ca_file;
mod call;
mod client;
mod endpoints;
mod error;
mod login;
mod measurement_records;
mod observer;
mod one_settings;
mod options;
mod page;
mod rate_limit;
mod records;
mod reply;
mod retry;
mod server_probe;
pub mod text;
mod token_store;

pub use crate::auth::Credentials;
pub use crate::call::RequestSlot;
pub use crate::client::Client;
pub use crate::client::{error_chain, http_client, install_crypto_provider, jitter};
pub use crate::endpoints::{Endpoint, SessionSearch};
pub use crate::error::{Error, NextStep, ProtectedFile};
pub use crate::measurement_records::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
pub use crate::observer::{Exchange, Observer};
pub use crate::one_settings::{OneSettings, OneSettingsError, one_key};
pub use crate::options::{ClientOptions, Timeouts};
pub use crate::records::{
    CheckProtectedRequest, DataFormatRecord, DatasetRecord, DatasetTypeRecord, FileRecord,
    RegisterFileRequest, RegisteredFileRecord, SessionRecord, SessionRequest, SessionSummary, qc_number,
};
pub use crate::retry::RetryPolicy;
pub use crate::server_probe::{Interface, ServerProbe};
