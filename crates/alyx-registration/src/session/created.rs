//! Sessions that this registrar created: their own values may be completed later, those of others may not.

use std::fmt::Debug;

/// Remembers which sessions were created, from one start of the program to the next.
pub trait CreatedSessions: Debug + Send + Sync {
    /// A session was created with this UUID. On disk on return, if that is possible. Blocks.
    fn add(&self, eid: &str);
    /// Whether a session was created with this UUID. Blocks.
    fn contains(&self, eid: &str) -> bool;
}
