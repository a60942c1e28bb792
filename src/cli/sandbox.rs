//! `sandbox`: the embedded Alyx alone, or beside the daemon.
use super::args::{ConfigArgs, SandboxArgs};
use super::exit::Exit;
pub(super) async fn sandbox(_args: &SandboxArgs) -> Exit {
    Exit::Io
}
pub(super) async fn run_beside(_args: &ConfigArgs) -> Exit {
    Exit::Io
}
