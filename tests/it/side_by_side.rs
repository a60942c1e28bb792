//! The Python client and the built program run the same scenes on one server, and the resulting records are compared.
use std::process::Command;

/// A comparison of fewer fields would be meaningless.
const AT_LEAST: usize = 2000;

#[test]
#[ignore = "needs a Python with ONE-api 3.6.1: `bash .ci/run` makes one, or set ONE_PYTHON to it; run with --ignored"]
fn both_leave_the_same_records_except_for_intended_differences() {
    let Some(python) = std::env::var_os("ONE_PYTHON") else {
        return eprintln!(
            "skipped: ONE_PYTHON names no Python that has ONE-api 3.6.1; `bash .ci/run` makes one"
        );
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/side_by_side.py");
    let ended = Command::new(python).arg(script).arg(env!("CARGO_BIN_EXE_alyx-registrar")).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    println!("{said}");
    assert!(ended.status.success(), "{said}{complained}");
    let compared = said.lines().last().and_then(|line| line.split_once(" fields compared")).unwrap().0;
    assert!(compared.parse::<usize>().unwrap() >= AT_LEAST, "{said}");
}
