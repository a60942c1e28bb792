//! Tests that need a part of the system for themselves: one runs itself again inside namespaces of its own, where it
//! may mount a file system or lower a limit, and nobody else on the machine notices.
use std::process::Command;

/// Mounts are this test's own. The second way is for those who are not root.
pub const MOUNTS: [&[&str]; 2] =
    [&["--mount", "--propagation", "private"], &["--user", "--map-root-user", "--mount"]];
/// Limits of the user are this test's own.
pub const LIMITS: [&[&str]; 1] = [&["--user", "--map-root-user"]];

/// Set where a test runs inside.
const INSIDE: &str = "ALYX_TEST_INSIDE_A_NAMESPACE";

/// Whether a test runs inside. One that is asked for by hand, or with all that are ignored, must not touch the
/// machine's own limits and mounts.
pub fn is_inside() -> bool {
    let is_inside = std::env::var_os(INSIDE).is_some();
    if !is_inside {
        eprintln!("skipped: it is run by another test, in a namespace of its own");
    }
    is_inside
}

/// Runs a test that is marked `#[ignore]` in a child process, inside namespaces of the first kind in which `probe`, a
/// line of shell, succeeds. `test` is the whole name of the test, with its module. Where the probe succeeds in none,
/// this says why and checks nothing.
pub fn run_inside(kinds: &[&[&str]], probe: &str, test: &str) {
    let unshare = |kind: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(kind);
        command
    };
    let mut why = String::new();
    for kind in kinds {
        match unshare(kind).args(["sh", "-c", probe]).output() {
            Ok(output) if output.status.success() => {
                let this = std::env::current_exe().unwrap();
                let arguments = ["--exact", test, "--ignored", "--nocapture"];
                let output = unshare(kind).arg(this).args(arguments).env(INSIDE, "1").output().unwrap();
                let (said, complained) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
                return;
            }
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = format!("unshare: {error}"),
        }
    }
    eprintln!("skipped: {test}: this system does not allow it ({why})");
}

/// Runs a command that has to succeed.
pub fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
