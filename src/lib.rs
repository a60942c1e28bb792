//! The program alyx-registrar: from a flag on a rig's disk to a confirmed session on Alyx.
//!
//! A neuroscience rig creates an empty `create_me.flag` in the folder of a finished session. The daemon finds it,
//! creates the session on the lab's Alyx database, registers the ALF datasets with size and MD5, retries what fails,
//! and removes the flag when Alyx has confirmed everything. The crate [`alyx_registration`] is the counterpart of
//! Python's `one.registration.RegistrationClient`.
//!
//! # Layers
//!
//! Imports point downward; `ARCHITECTURE.md` is the map.
//!
//! | level | module | what it is |
//! |---|---|---|
//! | 4 | [`cli`] | what the operator types |
//! | 3 | [`config`], [`web`], [`alerts`] | YAML to the validated options of every layer; the status page; messages when something is wrong |
//! | 2 | [`daemon`] | time, tasks, signals: when |
//! | 1 | [`ledger`], [`json`], [`humanize`] | what is remembered; the shape of `--json`; numbers and times in words |

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make files and look at the clock"))]

pub mod alerts;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod humanize;
pub mod json;
pub mod ledger;
pub mod web;
