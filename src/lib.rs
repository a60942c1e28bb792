//! alyx-registrar: from a flag on a rig's disk to a confirmed session on Alyx.
//!
//! A neuroscience rig drops an empty `create_me.flag` into the folder of a finished session. This crate finds
//! it, creates the session on the lab's Alyx database, registers the ALF datasets with size and MD5, retries
//! what fails, and removes the flag when Alyx has confirmed everything. The same code is a daemon, a command
//! line and a library that stands in for Python's `one.registration.RegistrationClient`.
//!
//! # Layers
//!
//! Imports point downward; two modules of one level do not know each other.
//!
//! | level | module | what it is |
//! |---|---|---|
//! | 6 | [`cli`] | what the operator types |
//! | 5 | [`config`], [`web`], [`alerts`] | YAML to the validated options of every layer; the status page; messages when something is wrong |
//! | 4 | [`daemon`] | time, tasks, signals: when |
//! | 3 | [`registration`] | the port of `RegistrationClient`: what, in which order |
//! | 2 | [`ledger`], [`flag`], [`alyx`], `sandbox` | what is remembered, the flag on disk, the REST client, the embedded Alyx |
//! | 1 | [`alf`], [`backoff`], [`words`] | pure: no IO, no async, no clock |

pub mod alerts;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod humanize;
pub mod ledger;
pub mod web;
