//! Disables core dumps, which would contain the password and the token.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Disables core dumps of this process. Called first, before a secret is in memory.
///
/// The limit does not apply to a program that collects dumps (systemd-coredump); the dumpable flag does, and also
/// denies other programs of the same user access to the memory. A failure is not reported, because the operator could
/// do nothing about it.
pub(crate) fn forbid() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
