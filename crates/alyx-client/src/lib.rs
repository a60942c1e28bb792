//! The REST client for Alyx: login, one request at a time, typed records, and one error that says what to do next.
//!
//! The client repeats by itself only what is safe to repeat, and only for seconds; minutes and hours belong to
//! the caller's queue.

mod auth;
mod authorities;
pub mod backoff;
mod call;
mod client;
mod endpoints;
mod error;
mod login;
mod measurement_records;
mod observer;
mod one_settings;
mod options;
mod pace;
mod page;
mod records;
mod reply;
mod retry;
mod server_look;
pub mod text;
mod token_store;

pub use crate::auth::Credentials;
pub use crate::call::RequestSlot;
pub use crate::client::Client;
pub use crate::client::{chain, connections, random, use_ring};
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
pub use crate::server_look::{Interface, ServerLook};
