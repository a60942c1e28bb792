//! What version 0.1.0 does, as recorded from the built program: help, exit codes, JSON, page, log, requests, and the
//! state that it leaves. A change of any of it shows here as a difference of lines.
//!
//! `RECORD=1 cargo test --test it compatibility::` records anew; the difference is then reviewed like any other change.

mod earlier_state;
mod exit_codes;
mod help;
mod json_output;
mod ledger_dump;
mod log_lines;
mod normal;
mod page;
mod recorded;
mod requests;
mod world;
