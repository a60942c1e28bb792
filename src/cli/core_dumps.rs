//! No core dumps: a picture of this program's memory would hold the password and the token.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps of this process. Called first of all, so that no secret is in memory yet.
///
/// The limit alone does not hold for a program that collects dumps (systemd-coredump). The other setting does; it
/// also keeps the memory from other programs of the same user. Where a kernel refuses one of them there is nothing
/// that a person could do, so it is not told.
pub(super) fn forbid() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
