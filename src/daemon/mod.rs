//! The daemon: when things happen. A watcher task, a queue, and registration workers.

pub mod control;
pub mod credentials;
mod doors;
mod folders;
mod journal;
pub mod lock;
pub mod misplaced;
mod now;
mod obstacles;
pub mod old_flags;
mod options;
mod outage;
mod pulse;
pub mod queue;
mod repeats;
pub mod root;
pub mod scan;
pub mod service;
pub mod signals;
pub mod status;
pub mod survey;
pub mod systemd;
pub mod too_deep;
pub mod watch_plan;
pub mod watcher;
pub mod worker;

pub use doors::{Asker, Change, Doors, Order, Questions};
pub use folders::Folders;
pub use options::Options;
pub use service::{Report, run};
