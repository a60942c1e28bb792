//! Tests that need a part of the system for themselves: such a test runs itself again inside its own namespaces, where
//! it may mount a file system or lower a limit without affecting the machine.
use std::process::Command;

/// Private mounts. The second way is for users other than root.
pub const MOUNTS: [&[&str]; 2] =
    [&["--mount", "--propagation", "private"], &["--user", "--map-root-user", "--mount"]];
/// Private limits of the user.
pub const LIMITS: [&[&str]; 1] = [&["--user", "--map-root-user"]];

/// Set if a test runs inside its namespace.
const INSIDE: &str = "ALYX_TEST_INSIDE_A_NAMESPACE";

/// Whether a test runs inside its namespace. An ignored test that is run by hand must not touch the machine's own
/// limits and mounts.
pub fn is_inside() -> bool {
    let is_inside = std::env::var_os(INSIDE).is_some();
    if !is_inside {
        eprintln!("skipped: it is run by another test, in a namespace of its own");
    }
    is_inside
}

/// Runs a test that is marked `#[ignore]` in a child process, inside namespaces of the first kind in which `probe`, a
/// line of shell, succeeds. `test` is the test's full name with its module. If the probe succeeds in none, this prints
/// why and checks nothing.
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

/// Runs a command that must succeed.
pub fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
