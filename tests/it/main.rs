//! The tests of the program from its users' point of view: the built binary, real files, real sockets, and the
//! sandbox.
//!
//! One executable for all tests, so that there is one thing to link and all tests share the machine. A test that needs
//! the system for itself (mounts, limits) runs itself again in a child process, see `common::namespace`.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "tests print, and poll what has no event"
)]

mod common;

use common::{fault_proxy, namespace, notify_socket, program, rng, terminal, tls, verbs, watcher_rig};

mod alerts;
mod arriving_files;
mod audit;
mod bad_input;
mod bad_network;
mod blocking_calls;
mod browser;
mod changing_files;
mod check;
mod cli_connection;
mod cli_files;
mod cli_members;
mod cli_sessions;
mod compatibility;
mod config_credentials;
mod config_fuzz;
mod config_refusals;
mod config_sample;
mod crash;
mod daemon;
mod disks;
mod docs;
mod event_loss;
mod follow;
mod gaps;
mod hanging_disks;
mod hanging_steps;
mod in_flight;
mod init;
mod injuries;
mod json_schema;
mod kills;
mod late_files;
mod layers;
mod links;
mod lists;
mod loadable;
mod many_files;
mod marks;
mod memory;
mod messages;
mod metadata;
mod next_steps;
mod obstacles;
mod once;
mod one_cases;
mod orphans;
mod other_verbs;
mod permissions;
mod propose;
mod reclaim;
mod refused_files;
mod register_again;
mod registered_by_name;
mod registration;
mod reload;
mod right_values;
mod rpc;
mod scan_flags;
mod secrets;
mod secure_connection;
mod side_by_side;
mod soak;
mod state_folder;
mod systemd;
mod trail;
mod units;
mod verify;
mod watch_settings;
mod watcher_flags;
mod watcher_roots;
mod web;
