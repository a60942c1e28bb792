//! Integration tests of the sandbox over HTTP: it answers as a recorded Alyx did.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "tests print")]

mod behaves_like_alyx;
mod lists_and_records;
mod plays_faults;
mod replays_recorded_exchanges;
mod rig;
mod serves_the_python_client;

/// A client for requests of the tests.
fn http() -> reqwest::Client {
    // An error means that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
