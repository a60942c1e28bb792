//! The Python client beside the built program: both leave the same records, and ONE loads what the program registers.
use std::process::Command;

/// A comparison of fewer fields would be meaningless.
const AT_LEAST: usize = 2000;

/// Runs a script with the built program; `None` without a Python that has ONE-api.
fn script(name: &str) -> Option<String> {
    let Some(python) = std::env::var_os("ONE_PYTHON") else {
        eprintln!("skipped: ONE_PYTHON names no Python that has ONE-api 3.6.1; `bash .ci/run` makes one");
        return None;
    };
    let script = format!("{}/tests/python/{name}", env!("CARGO_MANIFEST_DIR"));
    let ended = Command::new(python).arg(script).arg(env!("CARGO_BIN_EXE_alyx-registrar")).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    println!("{said}");
    assert!(ended.status.success(), "{said}{complained}");
    Some(said.into_owned())
}

#[test]
#[ignore = "needs a Python with ONE-api 3.6.1: `bash .ci/run` makes one, or set ONE_PYTHON to it; run with --ignored"]
fn both_leave_the_same_records_except_for_intended_differences() {
    let Some(said) = script("side_by_side.py") else { return };
    let compared = said.lines().last().and_then(|line| line.split_once(" fields compared")).unwrap().0;
    assert!(compared.parse::<usize>().unwrap() >= AT_LEAST, "{said}");
}

#[test]
#[ignore = "needs a Python with ONE-api 3.6.1: `bash .ci/run` makes one, or set ONE_PYTHON to it; run with --ignored"]
fn one_lists_and_loads_every_dataset_or_the_program_says_that_it_does_not() {
    let Some(said) = script("one_loads.py") else { return };
    assert!(said.contains("6 datasets of 2 sessions loaded"), "{said}");
}

#[test]
#[ignore = "needs a Python with ONE-api 3.6.1: `bash .ci/run` makes one, or set ONE_PYTHON to it; run with --ignored"]
fn a_session_that_the_python_client_creates_in_the_same_instant_is_noticed_in_either_order() {
    let Some(said) = script("same_instant.py") else { return };
    assert!(said.contains("2 races, each noticed"), "{said}");
}
