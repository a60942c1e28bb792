//! The REST client for Alyx: login, one request at a time, typed records, and one error that says what to do next.
//!
//! The client repeats by itself only what is safe to repeat, and only for seconds; minutes and hours belong to
//! the caller's queue.

mod auth;
mod authorities;
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
mod token_store;

pub use auth::Credentials;
pub use call::Turn;
pub use client::Client;
pub(crate) use client::{chain, connections, random};
pub use endpoints::{Endpoint, SessionSearch};
pub use error::{Error, NextStep, ProtectedFile};
pub use measurement_records::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
pub use observer::{Exchange, Observer};
pub use one_settings::{OneSettings, OneSettingsError, one_key};
pub use options::{ClientOptions, Timeouts};
pub use records::{
    CheckProtectedRequest, DataFormatRecord, DatasetRecord, DatasetTypeRecord, FileRecord,
    RegisterFileRequest, RegisteredFileRecord, SessionRecord, SessionRequest, SessionSummary, qc_number,
};
pub use retry::RetryPolicy;
pub use server_look::{Interface, ServerLook};
